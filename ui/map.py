"""The Map tab: the whole index on a plane."""

from __future__ import annotations

import base64
from typing import Any

import gradio as gr
import numpy as np

from clipsearch import ClipSearchError, Index
from clipsearch.explore.nearest import name_groups
from clipsearch.explore.projection import IndexMap
from clipsearch.query import Query

from .context import LATEST, ROUTED, Context, address, html
from .media import media_url
from .problems import explained
from .render import attribute, escape, message, screen, state_screen

__all__ = ["page"]

_MOST_POINTS = 20_000  # drawn; a sample of a larger index
_MOST_TAGS = 11
_COLOURS = (
    "#0f7370", "#d9772b", "#7b5ea7", "#b8384f", "#3b78b5", "#7a8b2a",
    "#c2569b", "#5b6b73", "#a0793d", "#2f9e6e", "#4f5bd5", "#8a4b32",
)  # fmt: skip


def page(context: Context, router: gr.HTML) -> None:
    """Lay out the tab and connect it."""
    words, library = context.words, context.library
    desk = _Desk(context)
    html(f'<p class="cs-lead">{words("map.lead")}</p>')
    with gr.Row(elem_classes="cs-controls"):
        names = library.names()
        index = gr.Dropdown(
            names, value=names[0] if names else None, label=words("search.index"), min_width=150
        )
        by = gr.Radio(
            [(words(f"map.by_{name}"), name) for name in ("cluster", "tag", "score")],
            value="cluster",
            label=words("map.colour"),
            scale=2,
            min_width=300,
        )
        query = gr.Textbox(
            label=words("map.query"),
            placeholder=words("search.placeholder"),
            max_lines=1,
            elem_id="cs-map-query",
        )
    shown = html(script="map.js", elem_id="cs-map")

    def navigated(search: str) -> Any:
        found = library.names()
        asked = address(search).get("index", [""])[0]
        chosen = asked or (found[0] if found else "")
        choice = gr.Dropdown(found, value=chosen if chosen in found else None)
        return choice, desk.show(chosen, "cluster", "")

    inputs = [index, by, query]
    router.to_map(navigated, router, [index, shown], **ROUTED)
    for event in (index.input, by.input, shown.again):
        event(desk.show, inputs, shown, **LATEST)
    query.submit(
        lambda name, text: (desk.show(name, "score", text), "score"),
        [index, query],
        [shown, by],
        **LATEST,
    )


class _Desk:
    """Makes the map and its colours."""

    def __init__(self, context: Context) -> None:
        self._words = context.words
        self._library = context.library

    def show(self, name: str | None, by: str, query: str) -> str:
        """The map as data for the script that draws it, with a list of its groups."""
        name = name or ""
        try:
            waiting = state_screen(self._library, name, self._words)
            if waiting is not None:
                return waiting
            index = self._library.index(name)
            made = self._library.map(name)
            if made is None:
                return screen(
                    self._words("map.making_title"),
                    self._words("map.making_text"),
                    retry_ms=700,
                    busy=True,
                )
            keep = _kept(len(made.rows))
            rows = made.rows[keep]
            labels, groups, values = self._colours(name, index, made, keep, by, query)
        except ClipSearchError as exc:
            return message(explained(exc, self._words))
        places = np.round(made.places[keep] * 65535).astype("<u2")
        data = {
            "index": name,
            "media": media_url(name),
            "rows": base64.b64encode(rows.astype("<i4").tobytes()).decode(),
            "places": base64.b64encode(places.tobytes()).decode(),
            "groups": base64.b64encode(groups.astype("u1").tobytes()).decode(),
            "values": None if values is None else base64.b64encode(values.tobytes()).decode(),
            "colours": _COLOURS,
            "labels": labels,
            "words": {
                "chosen": self._words("map.chosen"),
                "search": self._words("map.search"),
            },
        }
        return self._page(
            data, labels, np.bincount(groups, minlength=len(labels)), values is not None
        )

    def _colours(
        self, name: str, index: Index, made: IndexMap, keep: Any, by: str, query: str
    ) -> tuple[list[str], Any, Any]:
        """Words of the groups, the group of each point, and 8-bit values for scores."""
        if by == "tag":
            return self._tags(name, index, made.rows[keep])
        named = name_groups(index.encoder, made.centres)
        labels = [", ".join(names) for names in named]
        values = None
        if by == "score" and query.strip():
            vector = Query.text(query).resolve(lambda: index.encoder, index)
            scores = index.vectors(made.rows[keep].tolist(), "image") @ vector
            low, high = float(scores.min()), float(scores.max())
            values = np.round((scores - low) / max(high - low, 1e-6) * 255).astype("u1")
        return labels, made.clusters[keep], values

    def _tags(self, name: str, index: Index, rows: Any) -> tuple[list[str], Any, Any]:
        tags = list(self._library.facets(name).tags[:_MOST_TAGS])
        places = {tag: place for place, tag in enumerate(tags)}
        of_items = index.tags(rows.tolist())
        groups = np.array(
            [
                next((places[tag] for tag in of_items.get(row, ()) if tag in places), len(tags))
                for row in rows.tolist()
            ],
            np.int64,
        )
        return [*tags, self._words("map.no_tag")], groups, None

    def _page(self, data: dict[str, Any], labels: list[str], counts: Any, scored: bool) -> str:
        legend = "".join(
            f'<li><button type="button" class="cs-legendentry" data-group="{place}">'
            f'<i style="background:{_COLOURS[place % len(_COLOURS)]}"></i>{escape(label)} '
            f"<small>{int(count)}</small></button></li>"
            for place, (label, count) in enumerate(zip(labels, counts, strict=True))
            if count
        )
        scale = (
            f'<p class="cs-legend"><span>{self._words("map.low")}</span><i></i>'
            f"<span>{self._words('map.high')}</span></p>"
            if scored
            else ""
        )
        alt = self._words("map.alt", n=len(labels))
        return (
            f'<div class="cs-mapbox" data-map="{attribute(data)}"><div class="cs-canvasbox">'
            f'<canvas role="img" aria-label="{escape(alt)}"></canvas>'
            f'<div class="cs-hover" hidden><img alt=""></div></div><div class="cs-mapside">'
            f"<h2 class='cs-h'>{self._words('map.groups')}</h2><ul>{legend}</ul>{scale}"
            f'<p class="cs-hint">{self._words("map.help")}</p>'
            f'<p class="cs-selected" role="status"></p><div class="cs-peek"></div></div></div>'
        )


def _kept(count: int) -> Any:
    if count <= _MOST_POINTS:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, _MOST_POINTS, replace=False))
