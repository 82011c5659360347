"""Searches in one committed state: filter, rank, fuse, cut off, fetch the items."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import IndexCorruptError, InvalidInputError
from ..ordering import COLUMNS, arranged, in_order, order_by
from ..request import MAX_K, SearchRequest
from ..types import Hit, Hits, Item
from ..vectors import Floats, Rows, score
from . import catalog
from .baseline import ScoreBaseline
from .file_facts import REMEDY
from .fitting import nothing_fits
from .keywords import words_of
from .selection import Selection
from .snapshot import Snapshot

__all__ = [
    "Keywords",
    "depth_of",
    "floor_of",
    "fuse",
    "hits_of",
    "match_keywords",
    "search",
    "sorted_hits",
]

# Reciprocal rank fusion: 1 / (60 + rank). Source: Cormack, Clarke, Buettcher, SIGIR 2009.
RRF_K = 60
_FUSION_DEPTH = 200  # ranks beyond this add next to nothing to a fused score
# A word that no more than this share of the captions have, or this many, is in one by no chance.
_RARE, _FEW = 0.01, 3


@dataclass(frozen=True, slots=True)
class Keywords:
    """What a query's words find in captions.

    Attributes:
        rows: int64 [n], best BM25 first.
        rare: Those of `rows`, ascending, that have a word which few captions have.
    """

    rows: Rows
    rare: Rows


def search(
    conn: sqlite3.Connection,
    snapshot: Snapshot,
    requests: Sequence[SearchRequest],
    vectors: Sequence[Floats | None],
    started: float,
) -> list[Hits]:
    """Answer requests; those that differ in nothing but their queries are scored together.

    Args:
        conn: A connection within a read transaction.
        snapshot: The state that the transaction sees.
        requests: What is asked. A query says whose score distribution applies, and has the
            keywords.
        vectors: The resolved query of each, float32 [dim], unit length; None where it has none.
        started: `time.perf_counter()` when the work began.

    Returns:
        The hits of each request, in order.

    Raises:
        InvalidInputError: A bad filter, or `min_score="auto"` without a score distribution.
        IndexCorruptError: The catalog lacks an item that a segment holds.
    """
    alike: dict[tuple[object, ...], list[int]] = {}
    found: dict[int, Hits] = {}
    resolved: dict[int, Floats] = {}
    for place, (request, vector) in enumerate(zip(requests, vectors, strict=True)):
        if vector is None:
            found[place] = _list(conn, snapshot, request, started)
        else:
            resolved[place] = vector
            alike.setdefault(tuple(request.parameters.values()), []).append(place)
    for places in alike.values():
        together = [requests[place] for place in places]
        of_these = np.stack([resolved[place] for place in places])
        hits = _search_alike(conn, snapshot, together, of_these, started)
        found.update(zip(places, hits, strict=True))
    return [found[place] for place in range(len(requests))]


def _list(
    conn: sqlite3.Connection, snapshot: Snapshot, request: SearchRequest, started: float
) -> Hits:
    """The items that satisfy a filter, sorted."""
    condition, values = _condition(conn, snapshot, request)
    order = order_by(request.order, reverse=request.reverse)
    items = catalog.listed(conn, condition, values, order, request.k, request.offset)
    return Hits(
        hits=tuple(Hit(item=item, score=math.nan) for item in items),
        generation=snapshot.generation,
        took_ms=(time.perf_counter() - started) * 1e3,
    )


def _search_alike(
    conn: sqlite3.Connection,
    snapshot: Snapshot,
    requests: Sequence[SearchRequest],
    vectors: Floats,
    started: float,
) -> list[Hits]:
    """Answer requests that differ in nothing but their queries."""
    common = requests[0]
    store = snapshot.present[common.target]
    allowed = _allowed(conn, snapshot, common)
    found = store.search_many(vectors, depth_of(common), allowed=allowed, exact=common.exact)
    ranked: list[tuple[Rows, Floats, ScoreBaseline | None, bool]] = []
    for request, vector, one in zip(requests, vectors, found, strict=True):
        query = request.looked_for
        baseline = ScoreBaseline.of(snapshot.baselines, query.kind, request.target)
        floor = floor_of(snapshot, request)
        rows, scores = one.rows, one.scores
        weak = bool(rows.size) and nothing_fits(
            snapshot, query, request.target, vector, float(scores[0])
        )
        if request.hybrid:
            words = match_keywords(conn, snapshot, request)
            others, vectors_of_others = store.take(np.setdiff1d(words.rows, rows))
            cosines = dict(zip(others.tolist(), score(vectors_of_others, vector), strict=True))
            rows, scores = fuse(rows, scores, words, cosines, floor, request)
            weak = weak and not words.rare.size
        else:
            rows, scores = rows[scores >= floor], scores[scores >= floor]
        asked = np.arange(rows.size)
        if request.sorts_all:
            values = catalog.values_of(conn, rows, COLUMNS[request.order])
            asked = np.array(
                arranged(asked.tolist(), values, request.order, reverse=request.reverse), np.int64
            )
        asked = asked[request.offset : request.offset + request.k]
        ranked.append((rows[asked], scores[asked], baseline, weak and bool(rows.size)))
    items = _items(conn, {row for rows, *_ in ranked for row in rows.tolist()})
    return [
        Hits(
            hits=sorted_hits(hits_of(items, rows, scores, baseline), request),
            generation=snapshot.generation,
            took_ms=(time.perf_counter() - started) * 1e3,
            approximate=one.approximate,
            weak=weak,
            floor=None if baseline is None else baseline.floor,
        )
        for (rows, scores, baseline, weak), one in zip(ranked, found, strict=True)
    ]


def depth_of(request: SearchRequest) -> int:
    """How many of each ranking count."""
    asked = MAX_K if request.sorts_all else request.k + request.offset
    return max(asked, _FUSION_DEPTH) if request.hybrid else asked


def hits_of(
    items: Mapping[int, Item], rows: Rows, scores: Floats, baseline: ScoreBaseline | None
) -> tuple[Hit, ...]:
    """Rows with their cosines as hits."""
    return tuple(
        Hit(
            item=items[row],
            score=value,
            percentile=None if baseline is None else baseline.percentile(value),
        )
        for row, value in zip(rows.tolist(), np.clip(scores, -1.0, 1.0).tolist(), strict=True)
    )


def sorted_hits(hits: Sequence[Hit], request: SearchRequest) -> tuple[Hit, ...]:
    """Hits in the order that was asked for; ties as they were ranked."""
    return tuple(in_order(hits, lambda hit: hit.item, request.order, reverse=request.reverse))


def _items(conn: sqlite3.Connection, rows: set[int]) -> dict[int, Item]:
    items = catalog.items(conn, sorted(rows))
    if len(items) < len(rows):
        raise IndexCorruptError(
            f"catalog.sqlite is damaged: it has no item {min(rows - items.keys())}, but a segment "
            f"has. {REMEDY}"
        )
    return items


def _condition(
    conn: sqlite3.Connection, snapshot: Snapshot, request: SearchRequest
) -> tuple[str, list[object]]:
    if request.where is None:
        return snapshot.away.without("1", ())
    from .filters import compile_where  # loads sqlglot, which a search without filter spares

    return snapshot.away.without(*compile_where(request.where, catalog.extra_fields(conn)))


def _allowed(
    conn: sqlite3.Connection, snapshot: Snapshot, request: SearchRequest
) -> Selection | None:
    """The vectors that are searched of items that satisfy the filter; None for all.

    It is remembered with the state, for the next page or the next query of a session.
    """
    if request.where is None:
        return None

    def select() -> Selection:
        condition, values = _condition(conn, snapshot, request)
        rows = catalog.select_rows(conn, f"has_{request.target} AND ({condition})", values)
        return snapshot.present[request.target].selection(rows)

    return snapshot.selections.get(request.target, request.where, select)


def floor_of(snapshot: Snapshot, request: SearchRequest) -> float:
    """The least score of a hit; `InvalidInputError` where "auto" has no score distribution."""
    if request.min_score is None:
        return -math.inf
    if request.min_score != "auto":
        return float(request.min_score)
    kind = request.looked_for.kind
    baseline = ScoreBaseline.of(snapshot.baselines, kind, request.target)
    if baseline is None:
        raise InvalidInputError(
            "min_score 'auto' needs the score distribution of unrelated pairs, which this index "
            f"does not have for {kind} queries on {request.target} vectors. "
            "Run `clipsearch compact`, or give a number."
        )
    return baseline.floor


def match_keywords(
    conn: sqlite3.Connection, snapshot: Snapshot, request: SearchRequest
) -> Keywords:
    """Find the captions that have words of the query's texts.

    A word that most captions have says nothing (BM25 gives it no weight), and is left out.
    """
    captions = int(snapshot.meta["captions"]) or int(snapshot.meta["items"])
    most, few = max(_FEW, captions // 2), max(_FEW, int(captions * _RARE))
    words = words_of(request.looked_for.texts)
    phrases = [word.phrase for word in words]
    counts = {
        one: len(catalog.captions_with(conn, one, most + 1))
        for one in dict.fromkeys([*phrases, *(part for word in words for part in word.parts)])
    }
    telling = [one for one, count in counts.items() if 0 < count <= most]
    if not telling:
        return Keywords(np.empty(0, np.int64), np.empty(0, np.int64))
    condition, values = _condition(conn, snapshot, request)
    rows = catalog.matching_words(
        conn,
        " OR ".join(telling),
        f"has_{request.target} AND ({condition})",
        values,
        depth_of(request),
    )
    rare = [
        catalog.captions_with(conn, phrase, few)
        for phrase in telling
        if counts[phrase] <= few and phrase in phrases
    ]
    return Keywords(rows, np.intersect1d(rows, np.concatenate([rows[:0], *rare])))


def fuse(
    rows: Rows,
    scores: Floats,
    words: Keywords,
    others: Mapping[int, float],
    floor: float,
    request: SearchRequest,
) -> tuple[Rows, Floats]:
    """Fuse two rankings.

    Args:
        rows: By cosine, best first, [n].
        scores: Their cosines, float32 [n].
        words: What keywords found.
        others: Cosines of those of `words` that are not in `rows`; one that has none is no hit.
        floor: The least cosine of a hit.
        request: Where it leaves the least score to chance ("auto"), rare words are above it.

    Returns:
        Rows, best first, ties by ascending id, and their cosines.
    """
    cosine = {**others, **dict(zip(rows.tolist(), scores.tolist(), strict=True))}
    rare = set(words.rare.tolist() if request.min_score == "auto" else ())
    fused: dict[int, float] = {}
    for ranking in (rows.tolist(), words.rows.tolist()):
        for rank, row in enumerate(ranking, start=1):
            fused[row] = fused.get(row, 0.0) + 1.0 / (RRF_K + rank)
    order = sorted(
        (row for row in fused if row in cosine and (row in rare or cosine[row] >= floor)),
        key=lambda row: (-fused[row], row),
    )
    return (
        np.asarray(order, np.int64),
        np.asarray([cosine[row] for row in order], np.float32),
    )
