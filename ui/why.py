"""The Why dialog: the regions of an image that speak for a text."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from PIL import Image

from clipsearch import ClipSearchError
from clipsearch.explore.explain import HeatMap, explain, overlay
from clipsearch.explore.thumbnails import PREVIEW_SIDE, reduced

from .context import LATEST, QUIET, ROUTED, Context, address, drop_zone, html, sent
from .dataurls import jpeg_url
from .given_images import read_image
from .media import copy_of
from .problems import explained
from .render import blank, escape, item_name, message, model_screen
from .spec import read_integer

__all__ = ["page"]

_MOST_TEXTS = 4
_SIDE = 640  # pixels of the image kept for a visitor


@dataclass(frozen=True, slots=True)
class _Image:
    """The image under study, reduced, as JPEG bytes."""

    name: str = ""
    data: bytes = b""
    index: str = ""
    problem: str = ""  # with what was given last


def page(context: Context, router: gr.HTML) -> None:
    """Lay out the tab and connect it."""
    words = context.words
    state = gr.State(_Image())
    desk = _Desk(context)
    html(f'<p class="cs-lead">{words("why.lead")}</p>')
    with gr.Row(elem_classes="cs-two"):
        with gr.Column(scale=3, min_width=280):
            drop = drop_zone(
                words, words("why.drop"), name="cs-why-drop", many=False, script="why.js"
            )
            texts = gr.Textbox(
                label=words("why.texts"),
                info=words("why.texts_info"),
                placeholder=words("why.placeholder"),
                lines=3,
                max_lines=5,
                elem_id="cs-why-texts",
            )
            go = gr.Button(words("why.go"), variant="primary")
        with gr.Column(scale=7, min_width=320):
            results = html(blank(words("why.hint")), "result.js", elem_id="cs-heat")

    def navigated(search: str) -> Any:
        fields = address(search)
        text = fields.get("text", [""])[0][:300]
        number = fields.get("item", [""])[0]
        index = fields.get("index", [""])[0]
        id = read_integer(number)  # noqa: A001 - the word of Item.id
        if "given" in fields:  # the page sends that image by itself
            return gr.skip(), gr.skip(), gr.skip()
        if id is None:
            return _Image(), text, blank(words("why.hint"))
        return (*desk.from_item(index, id, text),)

    slow: Mapping[str, Any] = {"show_progress": "full", "show_progress_on": results}
    router.to_why(navigated, router, [state, texts, results], **{**ROUTED, **slow})
    # An image is kept first, then explained with the texts of then: they may change meanwhile.
    kept = drop.given(desk.given, state, [state, texts], **QUIET)
    for event in (kept.then, go.click, results.again):
        event(desk.show, [state, texts], results, **{**LATEST, **slow})


class _Desk:
    """Explains the image of a visitor."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._words = context.words

    def from_item(self, index: str, id: int, text: str) -> tuple[_Image, str, str]:  # noqa: A002
        """An image of an index."""
        try:
            opened = self._context.library.index(index)
            item = opened.item(id)
            copy = copy_of(opened, item, self._context.settings, PREVIEW_SIDE)
            data = reduced(copy, _SIDE, quality=90)
        except ClipSearchError as exc:
            return _Image(), text, message(explained(exc, self._words))
        image = _Image(item_name(item), data, index)
        return image, text, self.show(image, text)

    def given(self, state: _Image, event: gr.EventData) -> tuple[_Image, Any]:
        """An image that was dropped, or one of another tab, which comes with its text."""
        text = sent(event).get("text")
        texts = gr.skip() if text is None else str(text)[:300]  # others may be typed meanwhile
        try:
            (image,) = sent(event).get("pictures", [])[:1] or [None]
            found = read_image(image, self._context.settings, self._words)
            data = reduced(found.image, _SIDE, quality=90)
        except ClipSearchError as exc:
            return replace(state, problem=explained(exc, self._words)), texts
        return _Image(found.name, data), texts

    def show(self, state: _Image, texts: str) -> str:
        """What went wrong with the image given last, and one heat map for every text."""
        problem = message(state.problem) if state.problem else ""
        return problem + self._regions(state, texts)

    def _regions(self, state: _Image, texts: str) -> str:
        library = self._context.library
        asked = [line.strip() for line in texts.splitlines() if line.strip()][:_MOST_TEXTS]
        try:
            model = library.index(state.index).model_name if state.index else library.model()
            waiting = model_screen(library, model, self._words)
            if waiting is not None:
                return waiting
            if not state.data:
                return "" if state.problem else blank(self._words("why.hint"))
            if not asked:
                return _plain(state) + message(self._words("why.need_text"), kind="info")
            encoder = library.hub.encoder(model)
            found = [(text, explain(encoder, state.data, text)) for text in asked]
        except ClipSearchError as exc:
            return message(explained(exc, self._words))
        figures = "".join(self._figure(text, heat) for text, heat in found)
        method = self._words(f"why.method_{found[0][1].method}")
        return (
            f'<label class="cs-slider">{self._words("why.strength")} <input type="range" min="0" '
            f'max="1" step="0.05" value="1" data-opacity></label>'
            f'<div class="cs-heats">{figures}</div>'
            f'<div class="cs-legend" aria-hidden="true">'
            f"<span>{self._words('why.less')}</span><i></i>"
            f'<span>{self._words("why.more")}</span></div><p class="cs-hint">{method}</p>'
        )

    def _figure(self, text: str, heat: HeatMap) -> str:
        height, width = heat.heat.shape
        row, column = divmod(int(heat.heat.argmax()), width)
        vertical = ("top", "middle", "bottom")[3 * row // height]
        horizontal = ("left", "centre", "right")[3 * column // width]
        place = f"{self._words(f'why.{vertical}')}, {self._words(f'why.{horizontal}')}"
        alt = self._words("why.alt", text=text, place=place)
        none = ""
        if not heat.found:
            alt = self._words("why.alt_none", text=text)
            none = f'<br><span class="cs-hint">{self._words("why.not_found")}</span>'
        return (
            f'<figure><div class="cs-stack"><img src="{_url(heat.image)}" alt="">'
            f'<img class="cs-heat" src="{_url(overlay(heat))}" alt="{escape(alt)}"></div>'
            f"<figcaption>{escape(text)} <span class='cs-score'>{heat.score:.2f}</span>{none}"
            "</figcaption></figure>"
        )


def _plain(state: _Image) -> str:
    return (
        f'<div class="cs-heats"><figure><img src="{jpeg_url(state.data)}" '
        f'alt="{escape(state.name)}"></figure></div>'
    )


def _url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=86)
    return jpeg_url(buffer.getvalue())
