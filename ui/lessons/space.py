"""The lesson on the joint space: cosines, softmax and templates, with live widgets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
import numpy as np

from clipsearch import ClipSearchError, Encoder, Index, Item, ZeroShotClassifier
from clipsearch.classification.chances import softmax
from clipsearch.classification.prompts import fill, resolve_templates
from clipsearch.explore.thumbnails import THUMBNAIL_SIDE

from ..context import LATEST, QUIET, Context, drop_zone, html, sent
from ..dataurls import jpeg_url
from ..given_images import EncodedImage, encoded, read_images
from ..media import copy_of
from ..problems import PageError, explained
from ..render import escape, item_name, message, model_screen
from .lesson import Lesson, choices, model_of, prose

__all__ = ["page"]

_IMAGES = 3
_TEXTS = 3
_SCALE = 100  # what most CLIP models learn
_TEMPLATES = ("none", "simple", "openai")


@dataclass(frozen=True, slots=True)
class _State:
    """What one visitor looks at."""

    index: str = ""  # the collection whose model and images are shown
    images: tuple[EncodedImage, ...] = ()
    problem: str = ""  # with what was given last


def page(context: Context) -> Lesson:
    """Lay out the lesson and connect it."""
    words = context.words
    state = gr.State(_State())
    desk = _Desk(context)
    html(prose(words("learn.title"), words("learn.p1"), level=2))
    with gr.Row(elem_classes="cs-two"):
        with gr.Column(scale=3, min_width=280):
            texts = gr.Textbox(
                words("learn.default_texts"),
                lines=3,
                max_lines=4,
                label=words("learn.texts"),
                info=words("learn.texts_info"),
                elem_id="cs-learn-texts",
            )
            drop = drop_zone(words, words("learn.drop"), name="cs-learn-drop", many=True)
            picker = html(script="result.js", elem_id="cs-learn-pick")
            temperature = gr.Slider(
                1,
                200,
                value=_SCALE,
                step=1,
                label=words("learn.scale"),
                info=words("learn.scale_info"),
            )
        with gr.Column(scale=7, min_width=320):
            matrix = html(script="result.js", elem_id="cs-matrix")
    html(prose(words("learn.h_softmax"), words("learn.p2")))
    html(prose(words("learn.h_prompts"), words("learn.p3")))
    prompts = html(script="result.js", elem_id="cs-prompts")
    html(prose(words("learn.h_train"), words("learn.p4")))

    def opened(index: str) -> tuple[Any, ...]:
        fresh, scale = desk.samples(index), desk.scale(index)
        matrix_and_prompts = desk.show(fresh, words("learn.default_texts"), scale or _SCALE)
        return fresh, *matrix_and_prompts, choices(context, index), desk.slider(scale)

    outputs = [matrix, prompts]
    inputs = [state, texts, temperature]
    # Images are kept first, then shown with the texts of then: these may change meanwhile.
    kept = [
        picker.chosen(desk.picked, state, state, **QUIET),
        drop.given(desk.given, state, state, **QUIET),
    ]
    for event in (*(k.then for k in kept), texts.submit, texts.blur, temperature.release):
        event(desk.show, inputs, outputs, **LATEST)
    matrix.again(desk.again, inputs, [state, *outputs, temperature], **QUIET)
    return Lesson(opened, [state, *outputs, picker, temperature])


class _Desk:
    """Computes what the widgets show."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._words = context.words

    def samples(self, name: str) -> _State:
        """Images of a collection that the default texts find."""
        library = self._context.library
        try:
            if not name or not len(library.index(name)):
                return _State(name)
            index = library.index(name)
            if not library.hub.is_loaded(index.model_name):
                return _State(name)
            asked = self._words("learn.default_texts").splitlines()
            found: dict[int, Item] = {}
            for text in ("a cat", "a cup of coffee", "a flower", *asked):
                found |= {hit.item.id: hit.item for hit in index.search(text, 1)}
            items = [item for item in found.values() if item.has_original][:_IMAGES]
            vectors = index.vectors([item.id for item in items], "image")
            return _State(
                name,
                tuple(
                    EncodedImage(item_name(item), self._thumb(index, item), vector)
                    for item, vector in zip(items, vectors, strict=True)
                ),
            )
        except ClipSearchError:
            return _State(name)  # the visitor brings images of their own

    def _thumb(self, index: Index, item: Item) -> str:
        return jpeg_url(copy_of(index, item, self._context.settings, THUMBNAIL_SIDE))

    def scale(self, index: str) -> int | None:
        """What the model learned, within the slider's range; None while it is not loaded."""
        library = self._context.library
        try:
            model = model_of(library, index)
            if library.hub.is_loaded(model):
                return round(min(200, max(1, library.hub.encoder(model).logit_scale)))
        except ClipSearchError:
            pass  # the page says so where the matrix would be
        return None

    def slider(self, scale: int | None) -> Any:
        """The slider at what the model learned, or as it is."""
        if scale is None:
            return gr.skip()
        return gr.Slider(value=scale, info=self._words("learn.scale_learnt", scale=scale))

    def picked(self, state: _State, event: gr.EventData) -> _State:
        """An image of the collection in place of the last one shown."""
        chosen = sent(event)
        try:
            index = self._context.library.index(str(chosen.get("index", "")))
            item = index.item(int(chosen.get("id", 0)))
            name, thumb = item_name(item), self._thumb(index, item)
            shown = EncodedImage(name, thumb, index.vectors([item.id], "image")[0])
        except ClipSearchError as exc:
            return replace(state, problem=explained(exc, self._words))
        others = (other for other in state.images if other.thumb != thumb)
        return _State(state.index, (shown, *others)[:_IMAGES])

    def again(self, state: _State, texts: str, scale: float) -> Any:
        """Once the model is there; it brings its own scale, unless images were shown before."""
        learnt = None if state.images else self.scale(state.index)
        state = state if state.images else self.samples(state.index)
        return (state, *self.show(state, texts, learnt or scale), self.slider(learnt))

    def given(self, state: _State, event: gr.EventData) -> _State:
        """Images of the visitor in place of those shown."""
        library = self._context.library
        try:
            images = sent(event).get("pictures", [])
            read, problem = read_images(images, self._context.settings, self._words)
            if not read:
                return replace(state, problem=problem)
            model = model_of(library, state.index)
            fresh = encoded(read[:_IMAGES], library.hub.encoder(model))
        except ClipSearchError as exc:
            return replace(state, problem=explained(exc, self._words))
        return _State(state.index, (*fresh, *state.images)[:_IMAGES], problem)

    def show(self, state: _State, texts: str, scale: float) -> tuple[str, str]:
        """What went wrong with what was given last; cosines and chances, templates compared."""
        problem = message(state.problem) if state.problem else ""
        if problem and not state.images:
            return problem, ""
        matrix, prompts = self._compared(state, texts, scale)
        return problem + matrix, prompts

    def _compared(self, state: _State, texts: str, scale: float) -> tuple[str, str]:
        library, images = self._context.library, state.images
        asked = [line.strip() for line in texts.splitlines() if line.strip()][:_TEXTS]
        try:
            model = model_of(library, state.index)
            waiting = model_screen(library, model, self._words)
            if waiting is not None:
                return waiting, ""
            if not asked or not images:
                raise PageError("learn.need")
            encoder = library.hub.encoder(model)
            cosines = np.stack([p.vector for p in images]) @ encoder.encode_texts(asked).T
            chances = softmax(cosines.astype(np.float64) * scale)
            matrix = self._matrix(images, asked, cosines, chances)
            return matrix, self._prompts(encoder, images[0], asked)
        except ClipSearchError as exc:
            return message(explained(exc, self._words)), ""

    def _matrix(
        self, images: tuple[EncodedImage, ...], asked: list[str], cosines: Any, chances: Any
    ) -> str:
        heads = "".join(f'<th scope="col">{escape(text)}</th>' for text in asked)
        low, high = float(cosines.min()), float(cosines.max())
        rows = []
        for image, row, chance in zip(images, cosines, chances, strict=True):
            cells = "".join(
                f'<td style="--heat:{(c - low) / max(high - low, 1e-6):.2f}"><b>{c:.3f}</b>'
                f'<span class="cs-bartrack"><span style="width:{100 * p:.1f}%"></span></span>'
                f"<small>{100 * p:.1f} %</small></td>"
                for c, p in zip(row, chance, strict=True)
            )
            rows.append(
                f'<tr><th scope="row"><img src="{image.thumb}" alt="{escape(image.name)}"></th>'
                f"{cells}</tr>"
            )
        return (
            f'<div class="cs-tablebox"><table class="cs-table cs-matrix"><caption>'
            f"{self._words('learn.matrix')}</caption><thead><tr><td></td>{heads}</tr></thead>"
            f"<tbody>{''.join(rows)}</tbody></table></div>"
            f'<p class="cs-hint">{self._words("learn.matrix_help")}</p>'
        )

    def _prompts(self, encoder: Encoder, image: EncodedImage, asked: list[str]) -> str:
        distinct = list(dict.fromkeys(text.removeprefix("a ") for text in asked))
        rows = []
        for name in _TEMPLATES:
            classifier = ZeroShotClassifier(encoder, distinct, templates=name)
            chances = classifier.probabilities(image.vector[None])[0]
            sentences = resolve_templates(name)
            example = fill(sentences[:1], distinct[0])[0]
            cells = "".join(f"<td>{100 * p:.1f} %</td>" for p in chances)
            rows.append(
                f'<tr><th scope="row">{self._words(f"classify.templates_{name}")}<br>'
                f"<small>{len(sentences)} × “{escape(example)}”</small></th>{cells}</tr>"
            )
        heads = "".join(f'<th scope="col">{escape(text)}</th>' for text in distinct)
        return (
            f'<div class="cs-tablebox"><table class="cs-table"><caption>'
            f'<img src="{image.thumb}" alt="{escape(image.name)}"> '
            f"{self._words('learn.prompts')}</caption><thead><tr><td></td>{heads}</tr></thead>"
            f"<tbody>{''.join(rows)}</tbody></table></div>"
        )
