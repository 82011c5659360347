"""The Curate tab: near-duplicates, weak pairs and outliers, marked and exported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import gradio as gr

from clipsearch import ClipSearchError, Duplicate, Index, Item
from clipsearch.engine.curation import KINDS
from clipsearch.explore.outliers import outliers
from clipsearch.names import shown, stored
from clipsearch.server.image_files import shown_folders

from .context import LATEST, QUIET, ROUTED, Context, html, sent
from .dataurls import csv_url, data_url
from .meant import letters
from .media import thumb_url
from .problems import explained
from .render import escape, item_name, message, state_screen
from .spec import MEANT_LETTERS, from_link

__all__ = ["page"]

Kind = Literal["duplicates", "pairs", "outliers"]
_KINDS: tuple[Kind, ...] = ("duplicates", "pairs", "outliers")
_THRESHOLD = 0.8  # what `Index.duplicates` takes by itself
_MOST_GROUPS = 40
_MOST_ITEMS = 48
_MOST_MARKS = 10_000


_Mark = tuple[int, str]  # an id, and letters of the image that was seen under it


@dataclass(frozen=True, slots=True)
class _Marks:
    """What a visitor has marked."""

    index: str = ""
    ids: tuple[_Mark, ...] = ()
    rest: tuple[_Mark, ...] = ()  # all but the first of every group shown


def page(context: Context, router: gr.HTML) -> None:
    """Lay out the tab and connect it."""
    words, library = context.words, context.library
    state = gr.State(_Marks())
    desk = _Desk(context)
    html(f'<p class="cs-lead">{words("curate.lead")}</p>')
    with gr.Row(elem_classes="cs-controls"):
        kind = gr.Radio(
            [(words(f"curate.{name}"), name) for name in _KINDS],
            value="duplicates",
            label=words("curate.what"),
            scale=3,
            min_width=300,
        )
        threshold = gr.Slider(
            0.6, 1.0, value=_THRESHOLD, step=0.01, label=words("curate.threshold"), min_width=220
        )
        likeness = gr.CheckboxGroup(
            [(words(f"curate.kind_{name}"), name) for name in KINDS],
            value=list(KINDS),
            label=words("curate.kinds"),
            min_width=300,
        )
        go = gr.Button(words("curate.find"), variant="primary", scale=0, min_width=110)
    index = gr.State("")  # what the address says
    marks = html(script="result.js", elem_id="cs-marks")
    results = html(script="result.js", elem_id="cs-curated")
    inputs = [state, index, kind, threshold, likeness]
    outputs = [state, marks, results]

    def navigated(search: str) -> Any:
        chosen = from_link(search[:20_000], library.names()).index
        return [chosen, *desk.find(_Marks(), chosen, "duplicates", _THRESHOLD), list(KINDS)]

    router.to_curate(navigated, router, [index, *outputs, likeness], **ROUTED)
    for event in (
        go.click,
        kind.input,
        threshold.release,
        likeness.input,
        results.again,
    ):
        event(desk.find, inputs, outputs, **LATEST)
    results.chosen(desk.mark, state, [state, marks], **QUIET)
    marks.chosen(desk.mark_many, inputs, outputs, **QUIET)


class _Desk:
    """Finds what is worth a look, and keeps the marks."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._words = context.words
        self._library = context.library
        self._settings = context.settings

    def find(
        self,
        state: _Marks,
        name: str | None,
        kind: Kind,
        threshold: float,
        likeness: Sequence[str] = KINDS,
    ) -> Any:
        """The groups or items of a kind; of duplicates, those that are alike in a named way."""
        name = name or ""
        if state.index != name:
            state = _Marks(index=name)
        try:
            waiting = state_screen(self._context, name, model=False)
            if waiting is not None:
                return state, "", waiting
            index = self._library.index(name)
            if kind == "duplicates":
                state, shown = self._duplicates(state, index, threshold, likeness)
            else:
                state, shown = getattr(self, f"_{kind}")(state, index)
        except ClipSearchError as exc:
            return state, self._bar(state), message(explained(exc, self._words))
        if not shown_folders(self._settings.roots, index):
            shown = message(self._words("search.hidden", index=name), kind="info") + shown
        return state, self._bar(state), shown

    def _duplicates(
        self, state: _Marks, index: Index, threshold: float, likeness: Sequence[str]
    ) -> tuple[_Marks, str]:
        least = None if threshold == _THRESHOLD else min(max(float(threshold), 0.5), 1.0)
        groups = index.duplicates(least, kinds=likeness) if likeness else []
        rest = tuple(_mark(item) for group in groups for item, _ in group[1:])[:_MOST_MARKS]
        state = replace(state, rest=rest)
        if not groups:
            return state, message(self._words("curate.no_duplicates"), kind="info")
        told = self._words("curate.groups", n=len(groups), more=len(rest))
        parts = [
            f'<section class="cs-dupes" aria-label="{self._words("curate.group", n=place + 1)}">'
            f'<ul class="cs-grid">'
            + "".join(self._card(state, one.item, self._likeness(one)) for one in group[:12])
            + "</ul></section>"
            for place, group in enumerate(groups[:_MOST_GROUPS])
        ]
        return state, f'<p class="cs-count">{told}</p>' + "".join(parts)

    def _likeness(self, member: Duplicate) -> str:
        """How a member is like its leader, with the cosine of those that are not equal."""
        told = str(self._words(f"curate.is_{member.kind}"))
        if not member.checked:
            told = str(self._words("curate.is_unchecked"))
        return f"{told} {member.score:.3f}" if member.kind == "looks" else told

    def _pairs(self, state: _Marks, index: Index) -> tuple[_Marks, str]:
        hits = index.pairs(_MOST_ITEMS)
        state = replace(state, rest=())
        if not hits:
            return state, message(self._words("curate.no_pairs"), kind="info")
        return state, self._grid(
            state, [(hit.item, hit.score) for hit in hits], "curate.pairs_help"
        )

    def _outliers(self, state: _Marks, index: Index) -> tuple[_Marks, str]:
        rows, vectors = self._library.sample(state.index)
        found = outliers(rows, vectors, _MOST_ITEMS // 2)
        state = replace(state, rest=())
        if not found:
            return state, message(self._words("curate.no_outliers"), kind="info")
        items = [(index.item(row), score) for row, score in found]
        return state, self._grid(state, items, "curate.outliers_help")

    def _grid(self, state: _Marks, found: Sequence[tuple[Item, float]], help_key: str) -> str:
        cards = "".join(self._card(state, item, f"{score:.2f}") for item, score in found)
        return f'<p class="cs-count">{self._words(help_key)}</p><ul class="cs-grid">{cards}</ul>'

    def _card(self, state: _Marks, item: Item, score: str) -> str:
        name, where = escape(item_name(item)), escape(shown(item.path or item.key))
        image = (
            f'<img src="{thumb_url(state.index, item.id, item.sha256)}" alt="" loading="lazy">'
            if item.has_original
            else '<span class="cs-nopicture"></span>'
        )
        checked = " checked" if _mark(item) in state.ids else ""
        size = f"{item.width} × {item.height}" if item.width else ""
        return (
            f'<li class="cs-card"><label class="cs-marker"><span class="cs-open">{image}</span>'
            f'<input type="checkbox" data-do="mark" data-id="{item.id}" '
            f'data-meant="{letters(item)}"{checked} '
            f'aria-label="{escape(self._words("curate.mark", name=item_name(item)))}"></label>'
            f'<div class="cs-under"><span class="cs-name" title="{where}">'
            f"{name}<br><small>{size}</small></span>"
            f'<span class="cs-score">{score}</span></div></li>'
        )

    def mark(self, state: _Marks, event: gr.EventData) -> Any:
        """Set or take back one mark."""
        data = sent(event)
        number = str(data.get("id", ""))
        if not number.isdecimal():
            return state, gr.skip()
        mark = (int(number), str(data.get("meant", ""))[:MEANT_LETTERS])
        kept = [other for other in state.ids if other != mark]
        if data.get("checked") and len(kept) < _MOST_MARKS:
            kept.append(mark)
        state = replace(state, ids=tuple(kept))
        return state, self._bar(state)

    def mark_many(
        self,
        state: _Marks,
        name: str | None,
        kind: Kind,
        threshold: float,
        likeness: Sequence[str],
        event: gr.EventData,
    ) -> Any:
        """Mark all but the first of every group, or none."""
        rest = sent(event).get("do") == "rest"
        ids = tuple(dict.fromkeys((*state.ids, *state.rest))) if rest else ()
        return self.find(replace(state, ids=ids), name, kind, threshold, likeness)

    def _bar(self, state: _Marks) -> str:
        """How many are marked, and their list to download."""
        count = self._words.count("curate.marked", len(state.ids))
        parts = [f'<div class="cs-markbar" role="status"><strong>{count}</strong>']
        if state.rest:
            parts.append(_button("rest", self._words("curate.mark_rest")))
        if state.ids:
            table, paths = self._exports(state)
            parts.append(
                _button("none", self._words("curate.unmark"))
                + f'<a class="cs-button" download="marked.csv" href="{table}">CSV</a>'
                f'<a class="cs-button" download="marked.txt" href="{paths}">'
                f"{self._words('curate.paths')}</a>"
            )
        return "".join(parts) + f'<span class="cs-hint">{self._words("curate.safe")}</span></div>'

    def _exports(self, state: _Marks) -> tuple[str, str]:
        rows: list[tuple[object, ...]] = [("id", "path", "caption")]
        paths: list[str] = []
        for row, meant in state.ids:
            try:
                item = self._library.index(state.index).item(row)
            except ClipSearchError:
                continue  # removed meanwhile
            if letters(item) != meant:
                continue  # another image has the id now
            paths.append(shown(item.path or item.key) + "\n")
            rows.append((row, stored(item.path or item.key), item.caption or ""))
        return csv_url(rows), data_url("".join(paths).encode(), "text/plain;charset=utf-8")


def _mark(item: Item) -> _Mark:
    return item.id, letters(item)


def _button(do: str, label: str) -> str:
    return f'<button type="button" class="cs-button" data-do="{do}">{label}</button>'
