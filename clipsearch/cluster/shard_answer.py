"""One shard's answer, and the merging of several into the answer of the whole index."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..engine import catalog
from ..engine.baseline import ScoreBaseline
from ..engine.reader import Reader
from ..engine.search import (
    Keywords,
    depth_of,
    floor_of,
    fuse,
    hits_of,
    match_keywords,
    search,
    sorted_hits,
)
from ..engine.snapshot import Snapshot
from ..errors import InvalidInputError, ItemNotFoundError
from ..index import Index
from ..query import Query, Term
from ..request import SearchRequest
from ..types import Hit, Hits, Item, Modality
from ..vectors import Floats, Rows, score

__all__ = [
    "FetchedVectors",
    "KeywordReader",
    "ShardAnswer",
    "ShardIndex",
    "described",
    "merge",
    "without_cosine",
]


@dataclass(frozen=True, slots=True)
class ShardAnswer:
    """Hits of one shard. `scores` are not clipped to [-1, 1], so that they order exactly."""

    scores: Floats  # float32 [n]
    hits: tuple[Hit, ...]  # [n]
    approximate: bool
    generation: int
    floor: float  # the least score of a hit, as `min_score` means it in this index
    weak: bool = False  # whether nothing fits well in this shard


class ShardIndex(Index):
    """One shard, asked for its part of an answer. Safe for threads."""

    def best(self, request: SearchRequest, vector: Floats | None) -> ShardAnswer:
        """Find the best of this shard by their vectors, for any shard may hold all of the best.

        Without a query these are the first in the order that is asked for.

        Args:
            request: What was asked of the whole index, as `described` makes it. Where keywords
                count as well, hits below the least score are among the answer, for fusing tells.
            vector: The resolved query, float32 [dim], unit length; None if there is none.

        Returns:
            Best first, ties by ascending id.

        Raises:
            InvalidInputError: A bad filter or request.
            IndexCorruptError: A file of the shard is damaged.
        """
        started = time.perf_counter()
        own = replace(
            request,
            k=depth_of(request),
            offset=0,
            hybrid=False,
            min_score=None if request.hybrid else request.min_score,
            sort=None if request.query is not None else request.sort,
            reverse=request.query is None and request.reverse,
        )

        def work(conn: sqlite3.Connection, snapshot: Snapshot) -> ShardAnswer:
            (hits,) = search(conn, snapshot, [own], [vector], started)
            if vector is None:
                none = np.full(len(hits), np.nan, np.float32)
                return ShardAnswer(none, hits.hits, False, hits.generation, -np.inf)
            floor = floor_of(snapshot, request)
            ids = np.asarray([hit.item.id for hit in hits], np.int64)
            order = np.argsort(ids)
            rows, vectors = snapshot.present[request.target].take(ids[order])
            scores = np.empty(rows.size, np.float32)
            scores[order] = score(vectors, vector)
            return ShardAnswer(
                scores, hits.hits, hits.approximate, hits.generation, floor, hits.weak
            )

        return self._reader.run(work)

    def look_up(self, ids: Sequence[int], request: SearchRequest, vector: Floats) -> ShardAnswer:
        """Items that are in this shard and have the vector that is searched, by ascending id.

        Args:
            ids: Which, of the whole index, ascending.
            request: As in `best`.
            vector: As in `best`.
        """

        def work(conn: sqlite3.Connection, snapshot: Snapshot) -> ShardAnswer:
            items = catalog.items(conn, ids)
            alive = np.asarray(sorted(items), np.int64)
            rows, vectors = snapshot.present[request.target].take(alive)
            scores = score(vectors, vector)
            baseline = ScoreBaseline.of(snapshot.baselines, request.looked_for.kind, request.target)
            hits = hits_of(items, rows, scores, baseline)
            floor = floor_of(snapshot, request)
            return ShardAnswer(scores, hits, False, snapshot.generation, floor)

        return self._reader.run(work)

    def items_of(self, ids: Sequence[int]) -> dict[int, Item]:
        """Those of the items that are in this shard, by id."""
        return self._reader.run(lambda conn, snapshot: catalog.items(conn, ids))

    def vectors_of(self, ids: Sequence[int]) -> dict[int, Floats]:
        """Vectors of those of the items that are in this shard, by id; see `Index.vectors`."""
        found: dict[int, Floats] = {}
        for number in ids:
            try:
                found[number] = self.vectors([number])[0]
            except ItemNotFoundError:
                continue  # in another shard, or in none
        return found


class KeywordReader:
    """Ranks the captions of the whole index by a query's words, for `hybrid`. Safe for threads.

    How rare a word is can only be told from the whole index, which is beside its shards.

    Args:
        folder: The folder of the index that was split.
        generation: Its state when it was split; None if it was not.
    """

    def __init__(self, folder: Path, generation: int | None) -> None:
        self._folder = folder
        self._generation = generation
        self._reader = Reader(folder)

    def match(self, request: SearchRequest) -> Keywords:
        """What the query's words find.

        Raises:
            InvalidInputError: A bad filter; or the index is not the one any more that was split.
            IndexNotFoundError: The index is gone.
        """

        def work(conn: sqlite3.Connection, snapshot: Snapshot) -> Keywords:
            if self._generation not in (None, snapshot.generation):
                raise InvalidInputError(
                    f"{self._folder.name} has changed since it was split, so hybrid search cannot "
                    "rank its captions; search without hybrid, or split it and serve it again"
                )
            return match_keywords(conn, snapshot, request)

        return self._reader.run(work)

    def index_id(self) -> str:
        """The random id of the index."""
        return self._reader.state().index_id

    def close(self) -> None:
        """Close all files."""
        self._reader.close()


class FetchedVectors:
    """Vectors of items that the shards have sent; what a `Query` needs of an index.

    Args:
        dim: Length of a vector.
        found: Vectors by item id.
        name: Name of the index, for messages.
    """

    def __init__(self, dim: int, found: dict[int, Floats], name: str) -> None:
        self._dim = dim
        self._found = found
        self._name = name

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._dim

    def vectors(self, ids: Sequence[int], modality: Modality | None = None) -> Floats:
        """Vectors of items, float32 [n, dim], in the order of `ids`.

        Raises:
            ItemNotFoundError: No shard has one of them.
        """
        for number in ids:
            if number not in self._found:
                raise ItemNotFoundError(f"there is no item {number} in index {self._name}")
        return np.stack([self._found[number] for number in ids])


def described(request: SearchRequest) -> SearchRequest:
    """The request without images and vectors of terms: a shard gets the vector of the query.

    What decides the score distribution, the kinds and signs of the terms, stays.
    """
    if request.query is None:
        return request
    terms = (
        Term("item", 0, term.weight) if term.kind == "image" else replace(term, vector=None)
        for term in request.query.terms
    )
    return replace(request, query=Query(tuple(terms)))


def without_cosine(words: Keywords, answers: Sequence[ShardAnswer]) -> list[int]:
    """Ids found by keywords that are in no answer, ascending: what to look up."""
    known = {hit.item.id for answer in answers for hit in answer.hits}
    return sorted(set(words.rows.tolist()) - known)


def merge(
    answers: Sequence[ShardAnswer],
    request: SearchRequest,
    *,
    words: Keywords | None = None,
    looked_up: Sequence[ShardAnswer] = (),
    missing: Sequence[int] = (),
    shards: int,
) -> Hits:
    """Merge the answers of shards.

    Args:
        answers: Of the shards that answered, in any order.
        request: What was asked of the whole.
        words: What keywords found in the whole, where they count as well.
        looked_up: What the shards have of `without_cosine`.
        missing: Numbers of the shards that did not answer.
        shards: How many shards there are.

    Returns:
        At most `request.k` hits from `request.offset` on: best first, ties by ascending id.
    """
    if request.query is None:
        return _merge_lists(answers, request, missing=missing, shards=shards)
    hits = [hit for answer in answers for hit in answer.hits]
    rows: Rows = np.asarray([hit.item.id for hit in hits], np.int64)
    scores = np.concatenate([np.empty(0, np.float32), *(answer.scores for answer in answers)])
    order = np.lexsort((rows, -scores))
    by_id = {hit.item.id: hit for hit in hits}
    ranked = rows[order]
    found_in = [answer for answer in answers if answer.hits]
    weak = bool(found_in) and all(answer.weak for answer in found_in)
    if words is not None:
        best = order[: depth_of(request)]
        others = dict(zip(rows.tolist(), scores.tolist(), strict=True))
        for answer in looked_up:
            found = [hit.item.id for hit in answer.hits]
            others |= zip(found, answer.scores.tolist(), strict=True)
            by_id |= zip(found, answer.hits, strict=True)
        floor = max((answer.floor for answer in answers), default=-np.inf)
        ranked, _ = fuse(rows[best], scores[best], words, others, floor, request)
        weak = weak and not words.rare.size
    asked = slice(request.offset, request.offset + request.k)
    if request.sorts_all:
        chosen = sorted_hits([by_id[row] for row in ranked.tolist()], request)[asked]
    else:
        chosen = sorted_hits([by_id[row] for row in ranked[asked].tolist()], request)
    return Hits(
        hits=chosen,
        generation=max((answer.generation for answer in answers), default=0),
        approximate=any(answer.approximate for answer in answers),
        weak=weak and bool(ranked.size),
        missing=tuple(sorted(missing)),
        shards=shards,
    )


def _merge_lists(
    answers: Sequence[ShardAnswer],
    request: SearchRequest,
    *,
    missing: Sequence[int],
    shards: int,
) -> Hits:
    """Merge what shards list without a query."""
    by_id = sorted((hit for answer in answers for hit in answer.hits), key=lambda hit: hit.item.id)
    chosen = sorted_hits(by_id, request)[request.offset : request.offset + request.k]
    return Hits(
        hits=chosen,
        generation=max((answer.generation for answer in answers), default=0),
        missing=tuple(sorted(missing)),
        shards=shards,
    )
