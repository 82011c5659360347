"""The Classify tab: images against labels, and labels learned from examples."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from clipsearch import ClipSearchError, Encoder, ZeroShotClassifier

from .context import LATEST, QUIET, Context, drop_zone, html, sent
from .dataurls import data_url
from .given_images import EncodedImage, encoded, read_images
from .predictions import bars, table
from .problems import PageError, explained
from .render import blank, escape, message, model_screen
from .strings import Words

__all__ = ["page"]

_MOST_IMAGES = 200
_SETS: dict[str, tuple[str, ...]] = {
    "animals": ("cat", "dog", "horse", "bird", "fish", "lion", "cheetah", "insect"),
    "scenes": ("beach", "mountain", "forest", "city street", "indoor room", "night sky"),
    "things": ("a photo of a person", "food", "a vehicle", "a building", "a plant", "text"),
}


@dataclass(frozen=True, slots=True)
class _State:
    """What one visitor has given."""

    images: tuple[EncodedImage, ...] = ()
    examples: tuple[tuple[str, EncodedImage], ...] = ()
    problem: str = ""  # with what was given last
    pack: bytes | None = None
    learnt: str = ""  # what was learned, as HTML


def page(context: Context, _router: gr.HTML) -> None:
    """Lay out the tab and connect it."""
    words = context.words
    state = gr.State(_State())
    desk = _Desk(context)
    with gr.Row(elem_classes="cs-two"):
        with gr.Column(scale=4, min_width=300):
            drop = drop_zone(
                words,
                words("classify.drop"),
                name="cs-classify-drop",
                many=True,
                most=_MOST_IMAGES,
            )
            given = html(script="result.js", elem_id="cs-given")
            sets = gr.Dropdown(
                [(words("classify.own"), "")]
                + [(words(f"classify.set_{name}"), name) for name in _SETS],
                value="animals",
                label=words("classify.sets"),
            )
            labels = gr.Textbox(
                "\n".join(_SETS["animals"]),
                lines=6,
                max_lines=12,
                label=words("classify.labels"),
                info=words("classify.labels_info"),
                elem_id="cs-labels",
            )
            none = gr.Checkbox(True, label=words("classify.none"))
            templates = gr.Dropdown(
                [
                    (words(f"classify.templates_{name}"), name)
                    for name in ("openai", "simple", "none")
                ],
                value="simple",
                label=words("classify.templates"),
            )
            go = gr.Button(words("classify.go"), variant="primary")
        with gr.Column(scale=6, min_width=320):
            results = html(blank(words("classify.hint")), "result.js", elem_id="cs-classified")
            with gr.Accordion(words("classify.learn"), open=False):
                html(f'<p class="cs-hint">{words("classify.learn_info")}</p>')
                name = gr.Textbox(
                    label=words("classify.example_label"), max_lines=1, elem_id="cs-example-label"
                )
                examples_drop = drop_zone(
                    words, words("classify.example_drop"), name="cs-example-drop", many=True
                )
                learnt = html(script="result.js", elem_id="cs-learnt")
                with gr.Row():
                    train = gr.Button(words("classify.train"), variant="primary")
                    forget = gr.Button(words("classify.forget"))
    options = [labels, none, templates]
    # Images are kept first, then classified with the labels of then: these may change meanwhile.
    added = drop.given(desk.add, state, state, **QUIET)
    dropped = given.chosen(desk.drop_one, state, state, **QUIET)
    sets.input(lambda key: "\n".join(_SETS.get(key, ())), sets, labels, **QUIET)
    for event in (added.then, dropped.then, go.click, none.input, templates.input, results.again):
        event(desk.classify, [state, *options], [given, results], **LATEST)
    examples_drop.given(desk.add_examples, [state, name], [state, learnt], **QUIET)
    train.click(desk.train, [state], [state, learnt], **QUIET)
    forget.click(
        lambda s: (replace(s, examples=(), pack=None), ""), state, [state, learnt], **QUIET
    )


class _Desk:
    """Encodes what is given and renders what comes out."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._words = context.words

    def _encoder(self) -> Encoder:
        return self._context.library.hub.encoder(self._context.library.model())

    def _given(self, event: gr.EventData) -> tuple[list[EncodedImage], str]:
        """The images of an event that can be read, and what is wrong with the others."""
        images, problem = read_images(
            sent(event).get("pictures", []),
            self._context.settings,
            self._words,
            most=_MOST_IMAGES,
        )
        return (encoded(images, self._encoder()) if images else []), problem

    def add(self, state: _State, event: gr.EventData) -> _State:
        """Take images."""
        try:
            given, problem = self._given(event)
        except ClipSearchError as exc:
            return replace(state, problem=explained(exc, self._words))
        images = (*state.images, *given)[:_MOST_IMAGES]
        return replace(state, images=images, problem=problem)

    def drop_one(self, state: _State, event: gr.EventData) -> _State:
        """Take one image away, or all."""
        place = sent(event).get("place", "")
        kept = [p for i, p in enumerate(state.images) if str(i) != place] if place else []
        return replace(state, images=tuple(kept), problem="")

    def classify(self, state: _State, labels: str, none: bool, templates: str) -> tuple[str, str]:
        """The images, what went wrong with those given last, and what they show."""
        problem = message(state.problem) if state.problem else ""
        return _strip(state, self._words), problem + self._found(state, labels, none, templates)

    def _found(self, state: _State, labels: str, none: bool, templates: str) -> str:
        """Bars for one image, a table for many."""
        library = self._context.library
        try:
            waiting = model_screen(library, library.model(), self._words)
            if waiting is not None:
                return waiting
            classifier = self._classifier(state, labels, templates)
            if not state.images:
                return "" if state.problem else blank(self._words("classify.hint"))
            vectors = np.stack([image.vector for image in state.images])
            count = len(classifier.labels) + 1
            found = classifier.predict_vectors(vectors, k=count, none_of_these=none)
        except ClipSearchError as exc:
            return message(explained(exc, self._words))
        note = message(self._words("classify.with_pack"), kind="info") if state.pack else ""
        shown = (
            bars(state.images[0], found[0], self._words)
            if len(found) == 1
            else table(state.images, found, self._words)
        )
        return note + shown

    def _classifier(self, state: _State, labels: str, templates: str) -> ZeroShotClassifier:
        encoder = self._encoder()
        if state.pack is not None:
            return ZeroShotClassifier.load(state.pack, encoder)
        names = [line.strip() for line in labels.replace(";", "\n").splitlines() if line.strip()]
        if not names:
            raise PageError("classify.no_labels")
        return ZeroShotClassifier(encoder, names, templates=templates)

    def add_examples(self, state: _State, label: str, event: gr.EventData) -> Any:
        """Take example images of one label."""
        label = label.strip()
        if not label:
            return self._told(state, self._words("classify.example_needs_label"))
        try:
            given, problem = self._given(event)
        except ClipSearchError as exc:
            return self._told(state, explained(exc, self._words))
        fresh = tuple((label, image) for image in given)
        state = replace(state, examples=(*state.examples, *fresh))
        return state, (message(problem) if problem else "") + self._examples(state)

    def train(self, state: _State) -> Any:
        """Learn a label pack from the examples and say how good it is."""
        labels = list(dict.fromkeys(label for label, _ in state.examples))
        if len(labels) < 2:
            return self._told(state, self._words("classify.two_labels"))
        try:
            classifier = ZeroShotClassifier(self._encoder(), labels, templates="simple")
            vectors = np.stack([image.vector for _, image in state.examples])
            truth = [label for label, _ in state.examples]
            report = classifier.fit(vectors, truth).fit_report_
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "labels.clip"
                classifier.save(path)
                pack = path.read_bytes()
        except ClipSearchError as exc:
            return self._told(state, explained(exc, self._words))
        told = self._words("classify.accuracy_unknown")
        if report.fitted_accuracy is not None and report.zero_shot_accuracy is not None:
            told = self._words(
                "classify.accuracy",
                n=report.examples,
                fitted=f"{report.fitted_accuracy:.0%}",
                zero=f"{report.zero_shot_accuracy:.0%}",
            )
        link = (
            f'<a class="cs-button" download="labels.clip" '
            f'href="{data_url(pack, "application/octet-stream")}">'
            f"{self._words('classify.download_pack')}</a>"
        )
        state = replace(state, pack=pack)
        return state, message(told, kind="info") + link + self._examples(state)

    def _told(self, state: _State, problem: str) -> tuple[_State, str]:
        return state, message(problem) + self._examples(state)

    def _examples(self, state: _State) -> str:
        groups: dict[str, list[EncodedImage]] = {}
        for label, image in state.examples:
            groups.setdefault(label, []).append(image)
        return "".join(
            f'<div class="cs-group"><strong>{escape(label)}</strong> '
            + "".join(f'<img src="{p.thumb}" alt="{escape(p.name)}">' for p in images)
            + "</div>"
            for label, images in groups.items()
        )


def _strip(state: _State, words: Words) -> str:
    """The images given so far."""
    if not state.images:
        return ""
    entries = "".join(
        f'<li><img src="{p.thumb}" alt="{escape(p.name)}"><button type="button" data-do="drop" '
        f'data-place="{i}" aria-label="{escape(words("search.chip_remove", label=p.name))}">×'
        f"</button></li>"
        for i, p in enumerate(state.images)
    )
    return (
        f'<ul class="cs-strip" aria-label="{words("classify.given")}">{entries}</ul>'
        f'<button type="button" class="cs-link" data-do="all">'
        f"{words('classify.remove_all')}</button>"
    )
