"""The filters and options of the Search tab."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from clipsearch import ClipSearchError, Index, InvalidInputError
from clipsearch.item_sets import kept_items
from clipsearch.names import shown
from clipsearch.types import Facets

from .context import Context
from .problems import PageError
from .spec import SearchSpec

__all__ = ["applied", "check", "emptied", "layout", "updates"]

_WIDTHS = (0, 640, 1024, 1600, 2400, 4000)


def layout(context: Context) -> list[Any]:
    """The fields, in the order in which their values are read."""
    words = context.words
    with gr.Row():
        date_from = gr.Textbox(label=words("search.date_from"), placeholder="2024-01-01")
        date_to = gr.Textbox(label=words("search.date_to"), placeholder="2024-12-31")
        width = gr.Dropdown(
            [(words("search.any") if w == 0 else f"≥ {w}", w) for w in _WIDTHS],
            value=0,
            label=words("search.min_width"),
        )
        camera = gr.Dropdown([(words("search.any"), "")], value="", label=words("search.camera"))
    with gr.Row():
        tags = gr.Dropdown([], multiselect=True, label=words("search.tags"))
        target = gr.Radio(
            [(words("search.target_image"), "image"), (words("search.target_caption"), "caption")],
            value="image",
            label=words("search.target"),
        )
        where = gr.Textbox(
            label=words("search.where"), placeholder=words("search.where_info"), max_length=2000
        )
        hybrid = gr.Checkbox(label=words("search.hybrid"), value=False)
    return [date_from, date_to, width, camera, tags, target, where, hybrid]


def applied(spec: SearchSpec, values: Sequence[Any]) -> SearchSpec:
    """A search with the values of the fields."""
    date_from, date_to, width, camera, tags, target, where, hybrid = values
    return replace(
        spec,
        date_from=(date_from or "").strip(),
        date_to=(date_to or "").strip(),
        min_width=int(width or 0),
        camera=camera or "",
        tags=tuple(tags or ()),
        target="caption" if target == "caption" else "image",
        where_text=(where or "").strip(),
        hybrid=bool(hybrid),
    )


def emptied() -> list[Any]:
    """The values of the fields without any filter."""
    return ["", "", 0, "", [], "image", "", False]


def updates(context: Context, spec: SearchSpec) -> list[Any]:
    """Choices that this index has, and the values of the search."""
    try:
        found = context.library.facets(spec.index)
    except ClipSearchError:
        found = Facets()  # the gallery says why
    any_camera = (context.words("search.any"), "")
    return [
        gr.Textbox(spec.date_from, placeholder=found.first_taken or "2024-01-01"),
        gr.Textbox(spec.date_to, placeholder=found.last_taken or "2024-12-31"),
        gr.Dropdown(value=spec.min_width if spec.min_width in _WIDTHS else 0),
        gr.Dropdown(
            [any_camera, *((shown(camera), camera) for camera in found.cameras)],
            value=spec.camera,
            visible=bool(found.cameras),
        ),
        gr.Dropdown(
            [(shown(tag), tag) for tag in found.tags],
            value=list(spec.tags),
            visible=bool(found.tags),
        ),
        gr.Radio(value=spec.target, visible=found.captions > 0),
        spec.where_text,
        gr.Checkbox(value=spec.hybrid, visible=found.captions > 0),
    ]


def check(index: Index, spec: SearchSpec) -> None:
    """Read the filters alone, so that a visitor hears which of them is wrong.

    Raises:
        PageError: One cannot be read, or a selection is gone or is one of another index.
    """
    if spec.selection:
        try:
            index_id, _ = kept_items(spec.selection)
        except InvalidInputError as exc:
            raise PageError("search.selection_gone") from exc
        if index_id != index.index_id:
            raise PageError("search.other_selection")
    for date in filter(None, (spec.date_from, spec.date_to)):
        try:
            index.items(SearchSpec(date_from=date).where, limit=0)
        except InvalidInputError as exc:
            raise PageError("search.bad_date", text=date) from exc
    try:
        index.items(spec.where, limit=0)
    except InvalidInputError as exc:
        raise PageError("search.bad_filter", detail=exc) from exc
