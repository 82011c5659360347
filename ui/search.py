"""The Search tab: words, images, filters, results."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from clipsearch import ClipSearchError, Hit, Index, Item, Query
from clipsearch.explore.nearest import nearest_words
from clipsearch.explore.score_histogram import spread
from clipsearch.locations import index_path
from clipsearch.query import encode_together
from clipsearch.types import Hits
from clipsearch.vectors import Floats

from . import filters, gallery
from .changes import changed
from .context import LATEST, QUIET, ROUTED, Context, html, sent
from .meant import still_meant
from .media import hidden_ids
from .problems import explained
from .render import item_name, message, screen, state_screen
from .spec import SearchSpec, from_link

__all__ = ["page"]

PAGE = 48  # cards at a time; more than a 1440-pixel screen shows
_COUNTED = 241  # hits asked for at once, so that small numbers of results are exact
_CAPTIONS = 5


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the parts of the tab show for one search."""

    chips: str
    summary: str = ""
    relevance: str = ""
    gallery: str = ""

    @property
    def values(self) -> list[str]:
        return [self.chips, self.summary, self.relevance, self.gallery]


def page(context: Context, router: gr.HTML) -> None:
    """Lay out the tab and connect it."""
    words, library = context.words, context.library
    state = gr.State(SearchSpec())
    with gr.Row(elem_classes="cs-searchbar"):
        names = library.names()
        index = gr.Dropdown(
            names,
            value=names[0] if names else None,
            label=words("search.index"),
            elem_id="cs-index",
            scale=0,
            min_width=150,
        )
        box = gr.Textbox(
            label=words("search.label"),
            placeholder=words("search.placeholder"),
            elem_id="cs-query",
            max_lines=1,
            max_length=500,
            scale=5,
            min_width=220,
        )
        image = html(
            f'<label class="cs-drop cs-drop-small"><input type="file" accept="image/*" '
            f'aria-label="{words("search.picture")}"><span>{words("search.picture_short")}</span>'
            "</label>",
            "picture.js",
            elem_id="cs-picture",
            min_width=90,
        )
        go = gr.Button(words("search.go"), variant="primary", scale=0, min_width=110)
    chips = html(gallery.chips_row(SearchSpec(), words), "chips.js", elem_id="cs-chips")
    with gr.Row(elem_classes="cs-bar"):
        summary = html("", "summary.js", elem_id="cs-summary", min_width=300)
        relevance = html("", "relevance.js", elem_id="cs-relevance", min_width=260)
    with gr.Accordion(words("search.filters"), open=False, elem_id="cs-filters"):
        fields = filters.layout(context)
    results = html("", "gallery.js", elem_id="cs-gallery")
    further = html("", "further.js", elem_id="cs-further")
    dialog = html("", "dialog.js", elem_id="cs-dialog")
    searcher = _Searcher(context)
    shown = [state, chips, summary, relevance, results]
    inputs = [state, index, box, *fields]

    def typed(spec: SearchSpec, name: str | None, text: str, *values: Any) -> list[Any]:
        name = name or spec.index  # none is chosen while the address names one that is not there
        text = text.strip()[:500]
        if name != spec.index:
            asked = replace(_for_another_index(spec), index=name, text=text)
            return [*searcher.run(asked), *filters.updates(context, asked)]
        asked = filters.applied(spec, values)
        if text != spec.text:  # marks belong to the words they were given for
            asked = replace(asked, liked=(), unliked=())
        return [*searcher.run(replace(asked, text=text)), *(gr.skip() for _ in fields)]

    def acted(spec: SearchSpec, event: gr.EventData) -> list[Any]:
        return searcher.act(spec, sent(event))

    def navigated(search: str) -> list[Any]:
        names = library.names()
        spec = from_link(search[:20_000], names)
        choice = gr.Dropdown(names, value=spec.index if spec.index in names else None)
        return [*searcher.run(spec), choice, spec.text, *filters.updates(context, spec)]

    for trigger in (box.submit, go.click, index.input, *(field.input for field in fields[:-2])):
        trigger(typed, inputs, [*shown, *fields], **LATEST)
    fields[-2].submit(typed, inputs, [*shown, *fields], **LATEST)
    fields[-1].input(typed, inputs, [*shown, *fields], **LATEST)
    for source in (chips, summary, relevance, results, dialog, image):
        source.act(acted, state, shown, **QUIET)
    chips.clear(
        lambda spec: [*searcher.run(SearchSpec(index=spec.index)), "", *filters.emptied()],
        state,
        [*shown, box, *fields],
        **QUIET,
    )
    router.to_search(navigated, router, [*shown, index, box, *fields], **ROUTED)
    results.further(searcher.further, state, further, **QUIET)
    results.open(searcher.open, state, dialog, **QUIET)
    dialog.caption(searcher.caption, state, dialog, **QUIET)


def _for_another_index(spec: SearchSpec) -> SearchSpec:
    """What is asked of another index as well: no filters, and nothing that names items of this."""
    return SearchSpec(chips=tuple(chip for chip in spec.chips if chip.kind != "item"))


class _Searcher:
    """Runs searches for the tab and renders what they find."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._words = context.words
        self._library = context.library

    def run(self, spec: SearchSpec) -> list[Any]:
        """State and all parts for a search; an error becomes a message in place."""
        if spec.is_empty:  # marks refine a search; of a mere list there is nothing to be less like
            spec = replace(spec, unliked=())
        chips = gallery.chips_row(spec, self._words)
        try:
            waiting = state_screen(self._library, spec.index, self._words, model=not spec.is_empty)
            if waiting is not None:
                return [spec, *_Shown(chips, gallery=gallery.in_place(spec, waiting)).values]
            index = self._library.index(spec.index)
            spec, others = still_meant(spec, index)
            chips = gallery.chips_row(spec, self._words)
            notes = [self._words.count("search.others", others)] if others else []
            filters.check(index, spec)
            shown = self._browse(spec, notes) if spec.is_empty else self._search(spec, notes)
        except ClipSearchError as exc:
            problem = gallery.in_place(spec, self._problem(exc))
            return [spec, *_Shown(chips, gallery=problem).values]
        return [spec, *shown.values]

    def _problem(self, error: ClipSearchError) -> str:
        return message(explained(error, self._words))

    def _browse(self, spec: SearchSpec, notes: Sequence[str]) -> _Shown:
        index = self._library.index(spec.index)
        items = index.items(spec.where, limit=_COUNTED)
        return _Shown(
            gallery.chips_row(spec, self._words),
            gallery.summary(
                spec,
                self._browsed(spec, index, len(items)),
                None,
                self._words,
                notes=[*notes, *self._unseen(index, items)],
            ),
            gallery=self._listed(spec, items, "search.none_filtered"),
        )

    def _listed(self, spec: SearchSpec, found: Hits | Sequence[Item], none: str) -> str:
        """The first page of what was found, or the screen for nothing, with the words of a key."""
        if not found:
            nothing = screen(self._words("search.none_title"), self._words(none))
            return gallery.in_place(spec, nothing)
        html = self._cards(spec, found[:PAGE])
        return gallery.gallery(spec, html, self._words, more=len(found) > PAGE)

    def _cards(self, spec: SearchSpec, found: Sequence[Hit] | Sequence[Item]) -> str:
        """A page of what was found."""
        items = [entry.item if isinstance(entry, Hit) else entry for entry in found]
        hidden = hidden_ids(self._library.index(spec.index), items, self._context.settings)
        return gallery.cards(spec, found, self._words, hidden)

    def _browsed(self, spec: SearchSpec, index: Index, found: int) -> str:
        """How many images are shown, and of how many where there are filters."""
        count = len(index) - len(index.away())
        if spec.where is None:
            return self._words.count("search.browse", count, index=spec.index)
        some = self._words.number(found)
        if found == _COUNTED:
            some = self._words("search.more_than", n=self._words.number(_COUNTED - 1))
        total = self._words.number(count)
        return self._words("search.browse_some", found=some, n=total, index=spec.index)

    def _unseen(self, index: Index, found: Sequence[Item]) -> list[str]:
        """What is said of items whose files cannot be found, and of images that are not shown."""
        count = len(index.away())
        notes = [self._words.count("search.away", count)] if count else []
        if hidden_ids(index, found, self._context.settings):
            notes.append(self._words("search.hidden", index=index.path.name))
        return notes

    def _search(self, spec: SearchSpec, notes: Sequence[str]) -> _Shown:
        started = time.perf_counter()
        index = self._library.index(spec.index)
        query, vector = _asked(spec, index)
        hits = index.answer(spec.request(query, _COUNTED))
        took_ms = (time.perf_counter() - started) * 1e3
        _, sample = self._library.sample(spec.index)
        found = spread(sample, vector)
        summary = gallery.summary(
            spec,
            self._count(spec, hits),
            took_ms,
            self._words,
            lines=(*spec.command(_named(index)), spec.python(str(index.path), index.model_name)),
            notes=[
                *notes,
                *([self._words("search.weak")] if hits.weak else []),
                *([self._words("search.approximate")] if hits.approximate else []),
                *self._unseen(index, [hit.item for hit in hits]),
            ],
        )
        return _Shown(
            gallery.chips_row(spec, self._words),
            summary,
            gallery.histogram(found, spec, self._words),
            self._listed(spec, hits, "search.none_text"),
        )

    def _count(self, spec: SearchSpec, hits: Hits) -> str:
        if len(hits) < _COUNTED:
            return self._words.count("search.count", len(hits))
        if spec.where is None and spec.min_score is None and spec.target == "image":
            info = self._library.index(spec.index).info()
            n = self._words.number(max(0, info["images"] - info["away"]))
            return self._words("search.ranked", n=n)
        return self._words("search.count_more", n=_COUNTED - 1)

    def further(self, spec: SearchSpec, event: gr.EventData) -> str:
        """The next page of results."""
        data = sent(event)
        offset = int(data.get("offset", 0))
        try:
            index = self._library.index(spec.index)
            if spec.is_empty:
                items = index.items(spec.where, after=int(data.get("last", 0)), limit=PAGE + 1)
                html, more = self._cards(spec, items[:PAGE]), len(items) > PAGE
            else:
                query, _ = _asked(spec, index)
                hits = index.answer(spec.request(query, PAGE + 1, offset))
                html, more = self._cards(spec, hits[:PAGE]), len(hits) > PAGE
        except ClipSearchError as exc:
            html, more = f"<li>{self._problem(exc)}</li>", False
        return gallery.appended(html, spec.link(), more=more)

    def open(self, spec: SearchSpec, event: gr.EventData) -> str:
        """One result in full."""
        return self._detail(spec, int(sent(event).get("id", 0)))

    def caption(self, spec: SearchSpec, event: gr.EventData) -> str:
        """One result in full, with the captions or words that fit it best."""
        id = int(sent(event).get("id", 0))  # noqa: A001 - the word of Item.id
        try:
            index = self._library.index(spec.index)
            if self._library.facets(spec.index).captions:
                hits = index.search(Query.item(id), _CAPTIONS, target="caption")
                found = [(item_name(hit.item), hit.score) for hit in hits]
                extra = gallery.captions(found, self._words, from_index=True)
            else:
                found = nearest_words(index.encoder, index.vectors([id], "image")[0], _CAPTIONS)
                extra = gallery.captions(found, self._words, from_index=False)
        except ClipSearchError as exc:
            extra = self._problem(exc)
        return self._detail(spec, id, extra)

    def _detail(self, spec: SearchSpec, id: int, extra: str = "") -> str:  # noqa: A002
        try:
            index = self._library.index(spec.index)
            item = index.item(id)
            score = None
            if not spec.is_empty and item.has_image:
                _, vector = _asked(spec, index)
                score = float(index.vectors([id], "image")[0] @ vector)
        except ClipSearchError as exc:
            return self._problem(exc)
        hidden = bool(hidden_ids(index, [item], self._context.settings))
        return gallery.detail(spec, item, score, self._words, hidden=hidden, extra=extra)

    def act(self, spec: SearchSpec, data: dict[str, Any]) -> list[Any]:
        """Change the search as the page asks, and run it."""
        try:
            return self.run(changed(spec, data, self._context))
        except ClipSearchError as exc:
            chips = gallery.chips_row(spec, self._words)
            return [spec, *_Shown(chips, gallery=self._problem(exc)).values]


def _asked(spec: SearchSpec, index: Index) -> tuple[Query, Floats]:
    """The query of a search, with the vectors of its parts, and its own vector [dim]."""
    (query,) = encode_together([spec.query(index.fingerprint)], lambda: index.encoder)
    return query, query.resolve(None, index)


def _named(index: Index) -> str:
    """How a command names an index: by its name where that leads to it, else by its folder."""
    return index.path.name if index_path(index.path.name) == index.path else str(index.path)
