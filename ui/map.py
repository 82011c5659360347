"""The Map tab: the whole index on a plane."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
import numpy as np
import numpy.typing as npt

from clipsearch import ClipSearchError, Index
from clipsearch.explore.map_groups import MapGroup, map_groups
from clipsearch.explore.map_points import Codes, ScoreScale, by_score, by_tag, drawn
from clipsearch.explore.projection import IndexMap

from . import filters
from .context import QUIET, ROUTED, Context, address, html
from .gallery import asked_for
from .map_routes import map_url
from .media import media_url
from .problems import explained
from .render import attribute, escape, message, screen, state_screen
from .scripts import script_url
from .spec import SearchSpec, from_link

__all__ = ["page"]

_MOST_TAGS = 11
_COLOURS = (
    "#0f7370", "#d9772b", "#7b5ea7", "#b8384f", "#3b78b5", "#7a8b2a",
    "#c2569b", "#5b6b73", "#a0793d", "#2f9e6e", "#4f5bd5", "#8a4b32",
)  # fmt: skip
_RAMP = ("#75678f", "#4a66a8", "#21918c", "#5ec962", "#fde725")  # viridis, seen on dark as well
_NO_COLOUR = "#8b8d91"  # where colors say nothing
_WAYS = ("cluster", "tag", "score")
_TOOLS = ("move", "box", "lasso")
_FIT = (
    '<svg viewBox="0 0 24 24" width="16" height="16" aria-hidden="true"><path fill="none" '
    'stroke="currentColor" stroke-width="2" d="M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5"/></svg>'
)


def page(context: Context, router: gr.HTML) -> None:
    """Lay out the tab and connect it."""
    words, library = context.words, context.library
    desk = _Desk(context)
    by = gr.Radio(
        [(words(f"map.by_{name}"), name) for name in _WAYS],
        value=_WAYS[0],
        label=words("map.colour"),
        elem_id="cs-map-by",
    )
    shown = html(script="map.js", elem_id="cs-map")

    def navigated(search: str) -> Any:
        asked = address(search).get("by", [""])[0]
        way = asked if asked in _WAYS else _WAYS[0]
        return way, desk.show(from_link(search[:20_000], library.names()), way)

    for event in (router.to_map, shown.again):
        event(navigated, router, [by, shown], **ROUTED)
    by.input(None, by, None, js="(by) => cs.own('by', by)", **QUIET)


class _Desk:
    """Shows the map and its colours."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._words = context.words
        self._library = context.library

    def show(self, spec: SearchSpec, by: str) -> str:
        """The map as data for the script that draws it, with a list of its groups or a scale.

        Args:
            spec: The search: its collection, the query of scores, and the filter.
            by: What colors say, one of `_WAYS`.
        """
        name = spec.index
        try:
            waiting = state_screen(self._context, name)
            if waiting is not None:
                return waiting
            index = self._library.index(name)
            commit = index.seen_id
            made = self._library.map(name)
            if made is None:
                return screen(
                    self._words("map.making_title"),
                    self._words("map.making_text"),
                    retry_ms=700,
                    busy=True,
                )
            filters.check(index, spec)
            return self._map(spec, index, commit, made, by)
        except ClipSearchError as exc:
            return message(explained(exc, self._words))

    def _map(self, spec: SearchSpec, index: Index, commit: str, made: IndexMap, by: str) -> str:
        name, keep = spec.index, drawn(made)
        inside = None if spec.where is None else np.isin(made.rows[keep], index.ids(spec.where))
        counted = slice(None) if inside is None else inside
        scale: ScoreScale | None = None
        groups: Sequence[MapGroup] = []
        colours: Sequence[str] = _COLOURS
        hint = ""
        if by == "tag":
            tags = list(self._library.facets(name).tags[:_MOST_TAGS])
            codes = by_tag(index, made.rows[keep], tags)
            legend = self._legend([*tags, self._words("map.no_tag")], codes[counted])
        elif by == "cluster":
            groups = map_groups(index, made)
            codes = made.clusters[keep].astype(np.uint8)
            legend = self._legend([self._name(group) for group in groups], codes[counted])
        elif spec.is_empty:
            colours, codes = (_NO_COLOUR,), np.zeros(len(keep), np.uint8)
            legend = message(self._words("map.need_text"), kind="info")
        else:
            colours = _RAMP
            codes, scale = by_score(index, made, spec.query(index.fingerprint))
            legend = self._scale(scale, asked_for(spec, self._words))
        route = map_url(name)
        data = {
            "script": script_url("map/tab.js"),
            "index": name,
            "media": media_url(name),
            "points": f"{route}/points/{commit}",
            "name": f"{route}/names/{{id}}",
            "codes": base64.b64encode(codes.tobytes()).decode(),
            "colours": colours,
            "inside": _bits(inside),
            "scored": scale is not None,
            "labels": [
                {"name": self._name(group), "place": group.place, "code": group.number - 1}
                for group in groups
                if group.size
            ],
            "no_item": self._words("map.no_item"),
        }
        if inside is not None:
            found, count = map(self._words.number, (int(inside.sum()), len(keep)))
            told = self._words("search.browse_some", found=found, n=count, index=name)
            hint += message(
                f"{told} · {self._words.count('search.filtered', spec.filters)}", kind="info"
            )
        return hint + self._page(data, legend, len(keep))

    def _name(self, group: MapGroup) -> str:
        if group.named_by == "number":
            return self._words("map.group", n=group.number)
        return group.name

    def _legend(self, labels: Sequence[str], codes: Codes) -> str:
        """The groups, each of which is a button that selects it."""
        counts = np.bincount(codes, minlength=len(labels))
        entries = "".join(
            f'<li><button type="button" class="cs-legendentry" data-group="{place}">'
            f'<i style="background:{_COLOURS[place % len(_COLOURS)]}"></i>{escape(label)} '
            f"<small>{self._words.number(int(count))}</small></button></li>"
            for place, (label, count) in enumerate(zip(labels, counts, strict=True))
            if count
        )
        return (
            f"<h2 class='cs-h'>{self._words('map.groups')}</h2><ul>{entries}</ul>"
            f'<p class="cs-hint">{self._words("map.help")}</p>'
        )

    def _scale(self, scale: ScoreScale, text: str) -> str:
        """What the colours of scores mean, and where chance ends."""
        mark = told = fitting = ""
        if scale.chance is not None:
            at = (scale.chance - scale.low) / (scale.high - scale.low) * 100
            mark = f'<b style="left:{at:.1f}%"></b>'
            found = scale.best >= scale.chance
            key = "map.chance" if found else "map.none_fit"
            told = f'<p class="cs-hint">{self._words(key, score=f"{scale.chance:.2f}")}</p>'
            if found:
                fitting = (
                    f'<button type="button" class="cs-button" data-least="{scale.chance_code}">'
                    f"{self._words('map.choose_fitting')}</button>"
                )
        return (
            f"<h2 class='cs-h'>{self._words('map.scores', text=escape(text))}</h2>"
            f'<div class="cs-scale"><i></i>{mark}'
            f"<span>{scale.low:.2f} {self._words('map.low')}</span>"
            f"<span>{scale.high:.2f} {self._words('map.high')}</span></div>{told}{fitting}"
        )

    def _page(self, data: Mapping[str, Any], legend: str, count: int) -> str:
        words = self._words
        tools = "".join(
            f'<button type="button" data-tool="{tool}" aria-pressed="{pressed}">'
            f"{words(f'map.{tool}')}</button>"
            for tool, pressed in zip(_TOOLS, ("true", "false", "false"), strict=True)
        )
        zoom = "".join(
            f'<button type="button" {action} aria-label="{words(f"map.{name}")}" '
            f'title="{words(f"map.{name}")}">{sign}</button>'
            for name, sign, action in (
                ("zoom_in", "+", 'data-zoom="1.6"'),
                ("zoom_out", "\N{MINUS SIGN}", 'data-zoom="0.625"'),
                ("fit", _FIT, "data-fit"),
            )
        )
        alt = words.count("map.alt", count)
        return (
            f'<div class="cs-mapbox" data-map="{attribute(data)}"><div class="cs-canvasbox">'
            f'<canvas role="application" tabindex="0" aria-label="{escape(alt)}"></canvas>'
            '<div class="cs-maplayer" aria-hidden="true"></div>'
            '<svg class="cs-mapshape" aria-hidden="true"><polygon points=""/></svg>'
            f'<div class="cs-maptools"><div role="group" aria-label="{words("map.tools")}">{tools}'
            f'</div><div role="group" aria-label="{words("map.zooming")}">{zoom}</div>'
            f'<div><button type="button" data-sight>{words("map.sight")}</button></div></div>'
            '<div class="cs-hover" aria-hidden="true" hidden><img alt=""><span></span></div></div>'
            f'<div class="cs-mapside">{legend}</div></div>'
        )


def _bits(inside: npt.NDArray[np.bool_] | None) -> str:
    """Which points the filter leaves, one bit each; nothing without a filter."""
    return "" if inside is None else base64.b64encode(np.packbits(inside).tobytes()).decode()
