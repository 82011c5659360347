"""The lesson on contrastive training: a batch of four, its loss, and what a step would change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
import numpy as np
import numpy.typing as npt

from clipsearch import ClipSearchError, Encoder, Index, Item
from clipsearch.classification.contrast import CONTRAST_TEMPLATE
from clipsearch.explore.contrast import (
    BatchLoss,
    pick_batch,
    sigmoid_loss,
    softmax_loss,
    training_step,
)
from clipsearch.explore.nearest import name_groups
from clipsearch.explore.thumbnails import THUMBNAIL_SIDE

from ..context import LATEST, QUIET, Context, html
from ..dataurls import jpeg_url
from ..media import copy_of
from ..problems import PageError, explained
from ..render import item_name, message, state_screen
from .contrast_table import batch_table
from .lesson import Lesson, prose

__all__ = ["page"]

_SIZE = 4  # images in the batch
_SAMPLE = 4096  # vectors that a batch is chosen from
_RATE = 0.01  # so that the loss falls in some steps, and not at once
_SCALE, _BIAS = 100, -10  # what most CLIP models learn; where SigLIP models begin
_MOST_LOSSES = 200

Vectors = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class _Batch:
    """What one visitor trains on; the n-th caption is that of the n-th image."""

    index: str = ""
    seed: int = 0
    alike: bool = True  # images that are hard to tell apart
    names: tuple[str, ...] = ()
    thumbs: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    are_own: bool = True  # captions of the collection, not words that its model chose
    images: Vectors | None = None  # [n, dim], unit length, where steps have moved them to
    texts: Vectors | None = None
    problem: str = ""  # with the collection, or with what was written last
    losses: tuple[float, ...] = ()  # before the first step, and after each


def page(context: Context) -> Lesson:
    """Lay out the lesson and connect it."""
    words = context.words
    desk = _Desk(context)
    state = gr.State(_Batch())
    html(prose(words("learn.c_title"), words("learn.c_p1"), words("learn.c_p2"), level=2))
    with gr.Row(elem_classes="cs-two"):
        with gr.Column(scale=3, min_width=280):
            captions = gr.Textbox(
                lines=_SIZE,
                max_lines=2 * _SIZE,
                label=words("learn.c_captions"),
                info=words("learn.c_captions_info"),
                elem_id="cs-contrast-captions",
            )
            alike = gr.Radio(
                [(words("learn.c_alike"), True), (words("learn.c_unlike"), False)],
                value=True,
                label=words("learn.c_batch"),
            )
            kind = gr.Radio(
                [(words(f"learn.c_{name}"), name) for name in ("softmax", "sigmoid")],
                value="softmax",
                label=words("learn.c_loss"),
                elem_id="cs-contrast-kind",
            )
            scale = gr.Slider(
                1,
                200,
                value=_SCALE,
                step=1,
                label=words("learn.scale"),
                info=words("learn.scale_info"),
                elem_id="cs-contrast-scale",
            )
            bias = gr.Slider(
                -20,
                0,
                value=_BIAS,
                step=0.5,
                label=words("learn.c_bias"),
                info=words("learn.c_bias_info"),
                visible=False,
            )
        with gr.Column(scale=7, min_width=320):
            with gr.Row(elem_classes="cs-steps"):
                step, shuffle, over, others = (
                    gr.Button(
                        words(f"learn.c_{name}"),
                        variant="primary" if name == "step" else "secondary",
                        min_width=130,
                        elem_classes="cs-steps-button",
                    )
                    for name in ("step", "shuffle", "over", "others")
                )
            shown = html(script="result.js", elem_id="cs-contrast")
    html(
        prose(words("learn.c_h_forces"), words("learn.c_forces"))
        + prose(words("learn.c_h_step"), words("learn.c_steps"))
        + prose(words("learn.c_h_sigmoid"), words("learn.c_sigmoids"))
        + f'<p class="cs-hint">{words("learn.c_sources")}</p>'
    )

    settings = [kind, scale, bias]
    outputs = [state, captions, alike, *settings, shown]
    show: dict[str, Any] = {"fn": desk.show, "inputs": [state, *settings], "outputs": shown}

    # What changes the batch is done first, then shown with the settings of then.
    for event in (scale.input, bias.input):
        event(**show, **LATEST)
    kind.input(desk.bias, kind, bias, **QUIET).then(**show, **LATEST)
    for change in (captions.submit, captions.blur):
        change(desk.told, [state, captions], state, **QUIET).then(**show, **LATEST)
    step.click(desk.trained, [state, *settings], state, **QUIET).then(**show, **LATEST)
    for event, work, given in (
        (shuffle.click, desk.shuffled, state),
        (over.click, desk.begun, state),
        (others.click, lambda batch: desk.begun(replace(batch, seed=batch.seed + 1)), state),
        (alike.input, lambda batch, is_: desk.begun(replace(batch, alike=is_)), [state, alike]),
    ):
        event(work, given, [state, captions], **QUIET).then(**show, **LATEST)
    shown.again(desk.opened, state, outputs, **QUIET)
    return Lesson(lambda index: desk.opened(_Batch(index)), outputs)


class _Desk:
    """Computes what the lesson shows."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._words = context.words

    def opened(self, batch: _Batch) -> tuple[Any, ...]:
        """The lesson as it begins: with what the model learned, and the loss that it knows."""
        library, words = self._context.library, self._words
        kind, scale, bias = "softmax", _SCALE, float(_BIAS)
        told = words("learn.scale_info")
        begun, captions = self.begun(batch)
        if begun.captions:
            encoder = library.hub.encoder(library.index(batch.index).model_name)
            scale = round(min(200, max(1, encoder.logit_scale)))
            told = words("learn.scale_learnt", scale=scale)
            if encoder.logit_bias is not None:
                kind, bias = "sigmoid", float(np.clip(encoder.logit_bias, -20, 0))
        return (
            begun,
            captions,
            batch.alike,
            kind,
            gr.Slider(value=scale, info=told),
            gr.Slider(value=bias, visible=kind == "sigmoid"),
            self.show(begun, kind, scale, bias),
        )

    def bias(self, kind: str) -> Any:
        """The slider of the bias, which only the sigmoid loss has."""
        return gr.Slider(visible=kind == "sigmoid")

    def begun(self, batch: _Batch) -> tuple[_Batch, str]:
        """Four images of the collection with their captions, as the model encodes them."""
        library = self._context.library
        fresh = _Batch(batch.index, batch.seed, batch.alike)
        try:
            if state_screen(self._context, batch.index) is not None:
                return fresh, ""
            index = library.index(batch.index)
            encoder = library.hub.encoder(index.model_name)
            fresh = self._chosen(fresh, index, encoder)
        except ClipSearchError as exc:
            fresh = replace(fresh, problem=explained(exc, self._words))
        return fresh, "\n".join(fresh.captions)

    def _chosen(self, batch: _Batch, index: Index, encoder: Encoder) -> _Batch:
        own = self._context.library.facets(batch.index).captions >= _SIZE
        rows, vectors = index.sample(_SAMPLE, "caption" if own else "image")
        found: dict[str | None, tuple[Item, str]] = {}  # by what the file holds
        for place in pick_batch(vectors, 3 * _SIZE, batch.seed, alike=batch.alike):
            item = index.item(int(rows[place]))
            try:
                thumb = jpeg_url(copy_of(index, item, self._context.settings, THUMBNAIL_SIDE))
            except ClipSearchError:
                continue  # its file is gone, or may not be shown
            found.setdefault(item.sha256, (item, thumb))
        if len(found) < _SIZE:
            raise PageError("learn.c_few", n=_SIZE)
        items, thumbs = zip(*list(found.values())[:_SIZE], strict=True)
        images = index.vectors([item.id for item in items], "image")
        captions = (
            [" ".join((item.caption or "").split()) for item in items]
            if own
            else [CONTRAST_TEMPLATE.format(*name) for name in name_groups(encoder, images, words=1)]
        )
        return replace(
            batch,
            names=tuple(item_name(item) for item in items),
            thumbs=thumbs,
            captions=tuple(captions),
            are_own=own,
            images=images,
            texts=encoder.encode_texts(captions),
        )

    def told(self, batch: _Batch, captions: str) -> _Batch:
        """The batch with captions that the visitor wrote; training begins again."""
        given = tuple(line.strip() for line in captions.splitlines() if line.strip())
        if given == batch.captions or not batch.captions:
            return replace(batch, problem="")
        if len(given) != _SIZE:
            return replace(batch, problem=self._words("learn.c_lines", n=_SIZE))
        library = self._context.library
        try:
            index = library.index(batch.index)
            encoder = library.hub.encoder(index.model_name)
            begun, _ = self.begun(batch)
            if begun.names != batch.names:
                return begun  # the collection has changed
            texts = encoder.encode_texts(given)
        except ClipSearchError as exc:
            return replace(batch, problem=explained(exc, self._words))
        return replace(begun, captions=given, texts=texts, are_own=True)

    def shuffled(self, batch: _Batch) -> tuple[_Batch, str]:
        """Each caption moved to the next image; after as many times as images, all are right."""
        if batch.texts is None:
            return batch, ""
        captions = batch.captions[-1:] + batch.captions[:-1]
        turned = replace(batch, captions=captions, texts=np.roll(batch.texts, 1, axis=0), losses=())
        return turned, "\n".join(captions)

    def trained(self, batch: _Batch, kind: str, scale: float, bias: float) -> _Batch:
        """The vectors one step further."""
        if batch.images is None or batch.texts is None:
            return batch
        found = self._loss(batch.images, batch.texts, kind, scale, bias)
        images, texts = training_step(batch.images, batch.texts, found, scale, _RATE)
        after = self._loss(images, texts, kind, scale, bias).loss
        losses = (*(batch.losses or (found.loss,)), after)
        return replace(batch, images=images, texts=texts, losses=losses[-_MOST_LOSSES:])

    def show(self, batch: _Batch, kind: str, scale: float, bias: float) -> str:
        """The batch with its loss, or what is in the way."""
        try:
            waiting = state_screen(self._context, batch.index)
        except ClipSearchError as exc:
            return message(explained(exc, self._words))
        if waiting is not None:
            return waiting
        problem = message(batch.problem) if batch.problem else ""
        if batch.images is None or batch.texts is None:
            return problem
        found = self._loss(batch.images, batch.texts, kind, scale, bias)
        table = batch_table(
            self._words, found, batch.captions, batch.thumbs, batch.names, batch.losses, kind
        )
        note = "" if batch.are_own else message(self._words("learn.c_words"), kind="info")
        return problem + note + table

    def _loss(
        self, images: Vectors, texts: Vectors, kind: str, scale: float, bias: float
    ) -> BatchLoss:
        if kind == "sigmoid":
            return sigmoid_loss(images, texts, scale, bias)
        return softmax_loss(images, texts, scale)
