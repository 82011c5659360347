"""The lesson on self-attention: where the patches of an image look."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from clipsearch import ClipSearchError, Encoder
from clipsearch.encoders.devices import has_torch
from clipsearch.explore.attention import Attention, image_attention, toy_attention
from clipsearch.explore.layers import is_in_torch
from clipsearch.explore.thumbnails import PREVIEW_SIDE, reduced
from clipsearch.models import BUNDLED_MODEL

from ..context import LATEST, QUIET, Context, drop_zone, html, sent
from ..given_images import read_image
from ..media import copy_of
from ..problems import explained
from ..render import blank, copy_block, item_name, message, screen
from .attention_stage import stage
from .lesson import Lesson, choices, model_of, prose

__all__ = ["page"]

_SIDE = 640  # pixels of the image kept for a visitor
_SHARPNESS = 12
_EXAMPLE = "ViT-B-32-256/datacomp_s34b_b86k"  # as the README has it


@dataclass(frozen=True, slots=True)
class _Look:
    """What one visitor looks into."""

    index: str = ""
    name: str = ""  # of the image
    data: bytes = b""  # reduced, as JPEG
    may_load: bool = False  # whether the visitor asked for the model's layers
    problem: str = ""  # with what was given last


def page(context: Context) -> Lesson:
    """Lay out the lesson and connect it."""
    words = context.words
    desk = _Desk(context)
    state = gr.State(_Look())
    html(prose(words("learn.a_title"), words("learn.a_p1"), words("learn.a_p2"), level=2))
    notice = html(elem_id="cs-attention-notice")
    load = gr.Button(
        words("learn.a_load"), variant="primary", visible=False, elem_id="cs-attention-load"
    )
    with gr.Row(elem_classes="cs-two"):
        with gr.Column(scale=3, min_width=280):
            layer = gr.Slider(
                1,
                12,
                value=1,
                step=1,
                label=words("learn.a_layer"),
                visible=False,
                elem_id="cs-attention-layer",
            )
            head = gr.Dropdown(_heads(context, 2, toy=True), value=0, label=words("learn.a_head"))
            through = gr.Checkbox(
                label=words("learn.a_through"), info=words("learn.a_through_info"), visible=False
            )
            sharpness = gr.Slider(
                1,
                40,
                value=_SHARPNESS,
                step=1,
                label=words("learn.a_sharpness"),
                info=words("learn.a_sharpness_info"),
                elem_id="cs-attention-sharpness",
            )
            drop = drop_zone(words, words("learn.a_drop"), name="cs-attention-drop", many=False)
            picker = html(script="result.js", elem_id="cs-attention-pick")
        with gr.Column(scale=7, min_width=320):
            shown = html(script="attention.js", elem_id="cs-attention")
    html(
        prose(words("learn.a_h_heads"), words("learn.a_heads"))
        + prose(words("learn.a_h_rollout"), words("learn.a_rollout"))
        + f'<p class="cs-hint">{words("learn.a_sources")}</p>'
    )

    settings = [layer, head, through, sharpness]
    outputs = [notice, load, *settings, shown]
    inputs = [state, *settings]
    # An image is kept first, then shown with the settings of then.
    kept = [
        picker.chosen(desk.picked, state, state, **QUIET),
        drop.given(desk.given, state, state, **QUIET),
    ]
    for event in (*(k.then for k in kept), layer.input, head.input, through.input, sharpness.input):
        event(desk.show, inputs, shown, **LATEST)
    asked = load.click(desk.loading, state, [state, load, shown], **QUIET)
    asked.then(desk.entered, state, outputs, **QUIET)

    def opened(index: str) -> tuple[Any, ...]:
        return *desk.opened(_Look(index)), choices(context, index)

    return Lesson(opened, [state, *outputs, picker])


def _heads(context: Context, count: int, *, toy: bool) -> list[tuple[str, int]]:
    """The heads of a layer, and the mean of all as -1."""
    words = context.words
    names = (
        [words("learn.a_colour"), words("learn.a_place")]
        if toy
        else [words("learn.a_head_n", n=n) for n in range(1, count + 1)]
    )
    return [(words("learn.a_mean"), -1), *((name, place) for place, name in enumerate(names))]


class _Desk:
    """Computes what the lesson shows."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._words = context.words
        self._lock = threading.Lock()
        self._last: tuple[tuple[str, str], Attention | None] | None = None  # what is large

    def opened(self, look: _Look) -> tuple[Any, ...]:
        """The lesson with the first image of the collection."""
        library = self._context.library
        if look.index and not look.data:
            try:
                rows, _ = library.sample(look.index)
                for row in rows[:8].tolist():
                    look = self._of_item(look, look.index, row)
                    if look.data:
                        break
            except ClipSearchError as exc:
                look = replace(look, problem=explained(exc, self._words))
        return look, *self.entered(look)

    def picked(self, look: _Look, event: gr.EventData) -> _Look:
        """An image of the collection."""
        chosen = sent(event)
        try:
            return self._of_item(look, str(chosen.get("index", "")), int(chosen.get("id", 0)))
        except ClipSearchError as exc:
            return replace(look, problem=explained(exc, self._words))

    def _of_item(self, look: _Look, index: str, id: int) -> _Look:  # noqa: A002 - as Item.id
        opened = self._context.library.index(index)
        item = opened.item(id)
        copy = copy_of(opened, item, self._context.settings, PREVIEW_SIDE)
        data = reduced(copy, _SIDE, quality=90)
        return replace(look, name=item_name(item), data=data, problem="")

    def given(self, look: _Look, event: gr.EventData) -> _Look:
        """An image of the visitor."""
        try:
            (image,) = sent(event).get("pictures", [])[:1] or [None]
            found = read_image(image, self._context.settings, self._words)
            data = reduced(found.image, _SIDE, quality=90)
        except ClipSearchError as exc:
            return replace(look, problem=explained(exc, self._words))
        return replace(look, name=found.name, data=data, problem="")

    def loading(self, look: _Look) -> tuple[_Look, Any, str]:
        """The visitor asks for the model's own layers, which takes a moment."""
        title, text = self._words("learn.a_loading"), self._words("learn.a_loading_text")
        return (
            replace(look, may_load=True),
            gr.Button(visible=False),
            screen(title, text, busy=True),
        )

    def entered(self, look: _Look) -> tuple[Any, ...]:
        """What can be looked into, with the controls that it has, as it begins."""
        notice, may_load, found = "", False, None
        try:
            found = self._attention(look)
            notice, may_load = self._notice(look, found)
        except ClipSearchError as exc:
            notice = message(explained(exc, self._words))
        is_real = found is not None
        layers, heads, head = (found.layers, found.heads, -1) if found else (1, 2, 0)
        return (
            notice,
            gr.Button(visible=may_load),
            gr.Slider(maximum=max(layers, 2), value=layers, visible=is_real),
            gr.Dropdown(_heads(self._context, heads, toy=not is_real), value=head),
            gr.Checkbox(value=False, visible=is_real),
            gr.Slider(value=_SHARPNESS, visible=not is_real),
            self.show(look, layers, head, False, _SHARPNESS),
        )

    def _notice(self, look: _Look, found: Attention | None) -> tuple[str, bool]:
        """What is shown, the model's own attention or a toy; whether the first can be asked for."""
        model = self._model(look)
        if found is not None:
            return self._told("real", model), False
        if model == BUNDLED_MODEL:
            command = f"clipsearch index {self._words('learn.a_folder')} -i vit -m {_EXAMPLE}"
            how = f'<p class="cs-hint">{self._words("learn.a_command")}</p>'
            copied = copy_block(command, self._words("search.copy_command"))
            return self._told("conv", model) + how + copied, False
        if not has_torch():
            return self._told("no_torch", model), False
        if self._encoder(look) is not None:
            return self._told("none", model), False
        return self._told("can", model), True

    def _told(self, key: str, model: str) -> str:
        return message(self._words(f"learn.a_{key}", model=model), kind="info")

    def _model(self, look: _Look) -> str:
        return model_of(self._context.library, look.index)

    def _encoder(self, look: _Look) -> Encoder | None:
        """The model, if its layers are there or were asked for."""
        hub, model = self._context.library.hub, self._model(look)
        if model == BUNDLED_MODEL or not has_torch():
            return None
        if look.may_load:
            return hub.encoder(model)
        encoder = hub.encoder(model) if hub.is_loaded(model) else None
        return encoder if encoder is not None and is_in_torch(encoder) else None

    def _attention(self, look: _Look) -> Attention | None:
        """The model's own, if it has any and may be asked; kept until another one is asked for."""
        encoder = self._encoder(look)
        if encoder is None or not look.data:
            return None
        key = encoder.fingerprint, hashlib.sha256(look.data).hexdigest()
        with self._lock:
            if self._last is None or self._last[0] != key:
                self._last = key, image_attention(encoder, look.data)
            return self._last[1]

    def show(self, look: _Look, layer: float, head: int, through: bool, sharpness: float) -> str:
        """What went wrong with the image given last, and the image with where its patches look."""
        words = self._words
        problem = message(look.problem) if look.problem else ""
        if not look.data:
            return problem or blank(words("learn.a_need"))
        try:
            found = self._attention(look)
            chosen = None if head < 0 else int(head)
            if found is not None:
                looks = found.looks(int(layer) - 1, chosen, through=through)
                return problem + stage(words, found, looks, look.name)
            toy = toy_attention(look.data, sharpness)
            looks = toy.attention.looks(0, chosen)
            return problem + stage(words, toy.attention, looks, look.name, toy=toy, head=chosen)
        except ClipSearchError as exc:
            return problem + message(explained(exc, words))
