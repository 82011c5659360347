"""What a search of the page finds, page by page, as data for the script that shows it."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from clipsearch import ClipSearchError, Hit, Index, InvalidInputError, Item, Query
from clipsearch.explore.score_histogram import spread
from clipsearch.locations import index_path
from clipsearch.query import encode_together
from clipsearch.request import MAX_K
from clipsearch.types import Hits
from clipsearch.vectors import Floats

from . import filters, gallery
from .context import Context
from .meant import letters, still_meant
from .media import hidden_ids
from .problems import explained
from .render import item_name, message, screen, state_screen
from .spec import SearchSpec

__all__ = ["Results"]

PAGE = 60  # cards at a time; more than a 1440-pixel screen shows
CHUNK = 5_000  # proportions at a time
MOST = MAX_K  # hits that can be reached
_COUNTED = 241  # hits asked for at once, so that small numbers of results are exact
_BEST = 500  # hits to sort where no score tells what fits
_STRONG = 99.9999  # percentile: one unrelated pair in a million scores as high


class Results:
    """Answers the searches of the page.

    Args:
        context: The library and the words.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._words = context.words
        self._library = context.library
        self._settings = context.settings

    def first(self, spec: SearchSpec) -> dict[str, Any]:
        """The first cards of a search, and all that stands around them.

        Returns:
            `link`, `index`, `chips`, `indexes` (all names); then either `notice` (HTML) with its
            `kind` ("error": earlier results stay; "waiting": so they do, and the page asks again;
            "screen": there are none), or `cards`, `ratios` (percent of the height) of these and
            further hits, `total` (None where it is not known), `above` (how many are better than
            chance, None if all are or it is not known), `commit`, and the HTML of `summary`,
            `relevance` and `told` (which dates could not be read and were left out).
        """
        spec = spec.folded()
        if spec.is_empty:  # marks refine a search; of a mere list there is nothing to be less like
            spec = replace(spec, unliked=())
        head: dict[str, Any] = {
            "link": spec.link(),
            "index": spec.index,
            "asked": not spec.is_empty,
            "indexes": self._library.names(),
        }
        try:
            waiting = state_screen(self._context, spec.index, model=not spec.is_empty)
            if waiting is not None:
                kind = "waiting" if 'data-retry="0"' not in waiting else "screen"
                return {**head, **self._around(spec), "kind": kind, "notice": waiting}
            index = self._library.index(spec.index)
            spec, others = still_meant(spec, index)
            notes = [self._words.count("search.others", others)] if others else []
            spec, wrong = filters.with_readable_dates(index, spec)
            head["link"] = spec.link()
            told = "".join(message(self._words("search.bad_date", text=date)) for date in wrong)
            filters.check(index, spec)
            show = self._browse if spec.is_empty else self._search
            found = show(spec, index, notes)
        except ClipSearchError as exc:
            return {**head, **self._around(spec), **self._failed(exc)}
        around = {**self._around(spec, index), "commit": index.seen_id, "told": told}
        return {**head, **around, **found}

    def further(self, spec: SearchSpec, offset: int) -> dict[str, Any]:
        """The cards of a search from an offset on, as `cards`, with the `commit` they are of."""
        return self._part(spec, offset, PAGE, lambda hits: {"cards": self._cards(spec, hits)})

    def shapes(self, spec: SearchSpec, offset: int) -> dict[str, Any]:
        """The `ratios` of the hits from an offset on, whether there are `more`, and `above`."""

        def of(hits: Hits) -> dict[str, Any]:
            return {
                "ratios": [_ratio(hit.item) for hit in hits],
                "more": len(hits) == CHUNK,
                "above": _above(spec, hits, offset),
            }

        return self._part(spec, offset, CHUNK, of)

    def ids(self, spec: SearchSpec, offset: int, count: int) -> dict[str, Any]:
        """The `ids` of so many hits from an offset on."""
        if not offset and count == MOST and self._is_whole(spec):  # in whatever order
            ids = partial(self._library.index(spec.index).ids, spec.where)
            return self._part(spec, 0, 1, lambda _: {"ids": ids()[:MOST]})
        return self._part(spec, offset, count, lambda hits: {"ids": [h.item.id for h in hits]})

    def _is_whole(self, spec: SearchSpec) -> bool:
        """Whether a search only orders what its filter lets through."""
        if spec.is_empty:
            return True
        try:
            info = self._library.index(spec.index).info()
        except ClipSearchError:
            return False
        few = int(info["items"]) <= MOST and spec.target == "image"
        return (
            few and info["items"] == info["images"] and not (spec.least is not None or spec.hybrid)
        )

    def _part(self, spec: SearchSpec, offset: int, k: int, of: Any) -> dict[str, Any]:
        try:
            index = self._library.index(spec.index)
            hits = self._hits(spec, index, k, offset)
        except ClipSearchError as exc:
            return self._failed(exc)
        return {"commit": index.seen_id, **of(hits)}

    def _hits(self, spec: SearchSpec, index: Index, k: int, offset: int = 0) -> Hits:
        if spec.is_empty:
            return index.answer(spec.listing(k, offset))
        query, _ = _asked(spec, index)
        return _answer(spec, index, query, k, offset)

    def _failed(self, error: ClipSearchError) -> dict[str, Any]:
        return {"kind": "error", "notice": message(explained(error, self._words))}

    def _around(self, spec: SearchSpec, index: Index | None = None) -> dict[str, Any]:
        """The chips, those that are items of the collection with their names."""
        chips = []
        for chip in spec.chips:
            if chip.kind == "item" and index is not None and not chip.label:
                chip = replace(chip, label=item_name(index.item(int(chip.value)))[:40])
            chips.append(chip)
        named = replace(spec, chips=tuple(chips))
        return {"chips": gallery.chips_row(named, self._words)}

    def _browse(self, spec: SearchSpec, index: Index, notes: Sequence[str]) -> dict[str, Any]:
        hits = index.answer(spec.listing(_COUNTED))
        count = len(index) - len(index.away())
        told = gallery.summary(
            spec,
            self._browsed(spec, index, len(hits)),
            None,
            self._words,
            notes=[*notes, *self._unseen(index, hits)],
        )
        total = len(hits) if len(hits) < _COUNTED else count if spec.where is None else None
        return self._listed(spec, hits, told, "search.none_filtered", total)

    def _listed(
        self, spec: SearchSpec, hits: Hits, summary: str, none: str, total: int | None
    ) -> dict[str, Any]:
        """The first page of what was found, or the screen for nothing, with the words of a key."""
        found: dict[str, Any] = {"summary": summary}
        if not hits:
            nothing = screen(self._words("search.none_title"), self._words(none))
            return {**found, "kind": "screen", "notice": nothing}
        return {
            **found,
            "cards": self._cards(spec, hits[:PAGE], hits.floor),
            "ratios": [_ratio(hit.item) for hit in hits],
            "total": total,
            "above": _above(spec, hits, 0),
            "weak": hits.weak,
        }

    def _cards(
        self, spec: SearchSpec, hits: Sequence[Hit], floor: float | None = None
    ) -> list[dict[str, Any]]:
        """What a card shows; `fit` is a word for how well it fits, `told` that in numbers."""
        if isinstance(hits, Hits):
            floor = hits.floor
        index = self._library.index(spec.index)
        hidden = hidden_ids(index, [hit.item for hit in hits], self._settings)
        return [self._card(hit, floor, hidden) for hit in hits]

    def _card(self, hit: Hit, floor: float | None, hidden: Collection[int]) -> dict[str, Any]:
        item = hit.item
        card: dict[str, Any] = {
            "id": item.id,
            "name": item_name(item),
            "version": (item.sha256 or "")[:16],
            "width": item.width or 0,
            "height": item.height or 0,
            "image": item.has_original and item.id not in hidden,
            "meant": letters(item),
        }
        if math.isnan(hit.score):
            return card
        said = {"score": f"{hit.score:.3f}"}
        if hit.percentile is None:
            return {
                **card,
                "score": round(hit.score, 4),
                "told": self._words("search.score", **said),
            }
        told = self._words("search.score_share", **said, percent=f"{hit.percentile:.1f}")
        fit = "strong" if hit.percentile >= _STRONG else "good"
        if floor is not None and hit.score < floor:
            fit = "weak"
        return {**card, "score": round(hit.score, 4), "told": told, "fit": fit}

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

    def _unseen(self, index: Index, hits: Hits) -> list[str]:
        """What is said of items whose files cannot be found, and of images that are not shown."""
        count = len(index.away())
        notes = [self._words.count("search.away", count)] if count else []
        if hidden_ids(index, [hit.item for hit in hits], self._settings):
            notes.append(self._words("search.hidden", index=index.path.name))
        return notes

    def _search(self, spec: SearchSpec, index: Index, notes: Sequence[str]) -> dict[str, Any]:
        started = time.perf_counter()
        query, vector = _asked(spec, index)
        hits = _answer(spec, index, query, _COUNTED)
        took_ms = (time.perf_counter() - started) * 1e3
        _, sample = self._library.sample(spec.index)
        total = self._total(spec, index, hits)
        summary = gallery.summary(
            spec,
            self._count(spec, hits, total),
            took_ms,
            self._words,
            notes=[
                *notes,
                *([self._words("search.weak")] if hits.weak else []),
                *([self._words("search.approximate")] if hits.approximate else []),
                *self._unseen(index, hits),
            ],
        )
        none = "search.none_sorted" if spec.sorting else "search.none_text"
        found = self._listed(spec, hits, summary, none, total)
        found["relevance"] = gallery.histogram(spread(sample, vector), spec, self._words)
        command, exact = spec.command(_named(index))
        python = spec.python(str(index.path), index.model_name)
        found["share"] = gallery.share(command, python, self._words, exact=exact)
        return found

    def _total(self, spec: SearchSpec, index: Index, hits: Hits) -> int | None:
        if len(hits) < _COUNTED:
            return len(hits)
        if spec.where is None and spec.least is None and spec.target == "image":
            info = index.info()
            return max(0, int(info["images"]) - int(info["away"]))
        return None

    def _count(self, spec: SearchSpec, hits: Hits, total: int | None) -> str:
        """How many results; of a whole collection, how many of it are better than chance."""
        if total is None:
            return self._words("search.count_more", n=_COUNTED - 1)
        above = _above(spec, hits, 0)
        if above:
            fitting = self._words.count("search.fitting", above)
            return f"{fitting} · {self._words.count('search.count', total)}"
        if hits.weak:
            return self._words.count("search.nearest", total)
        if above == 0:
            unclear = self._words("search.unclear")
            return f"{unclear} · {self._words.count('search.nearest', total)}"
        if len(hits) < _COUNTED:
            return self._words.count("search.count", total)
        return self._words("search.ranked", n=self._words.number(total))


def _answer(spec: SearchSpec, index: Index, query: Query, k: int, offset: int = 0) -> Hits:
    """The hits of a search; where it is not known what fits, a number of the best are sorted."""
    try:
        return index.answer(spec.request(query, k, offset))
    except InvalidInputError:
        if spec.least == spec.min_score:  # not asked by us
            raise
    unlimited = replace(spec.request(query, _BEST), min_score=None)
    hits = index.answer(unlimited)
    return replace(hits, hits=hits.hits[offset : offset + k])


def _above(spec: SearchSpec, hits: Hits, offset: int) -> int | None:
    """The place of the first hit that is no better than chance; None if there is none.

    Args:
        spec: The search; where keywords take part, scores do not fall from hit to hit.
        hits: A part of what it found.
        offset: Where that part begins.
    """
    if hits.floor is None or spec.hybrid or spec.sorting:
        return None
    if hits.weak and not offset:
        return 0
    for place, hit in enumerate(hits):
        if hit.score < hits.floor:
            return offset + place
    return None


def _ratio(item: Item) -> int:
    """Width in percent of the height, within what a row can hold."""
    if not item.width or not item.height:
        return 100
    return min(max(round(100 * item.width / item.height), 30), 400)


def _asked(spec: SearchSpec, index: Index) -> tuple[Query, Floats]:
    """The query of a search, with the vectors of its parts, and its own vector [dim]."""
    (query,) = encode_together([spec.query(index.fingerprint)], lambda: index.encoder)
    return query, query.resolve(None, index)


def _named(index: Index) -> str:
    """How a command names an index: by its name where that leads to it, else by its folder."""
    return index.path.name if index_path(index.path.name) == index.path else str(index.path)
