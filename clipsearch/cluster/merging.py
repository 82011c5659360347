"""One shard's answer, and the merging of several into the answer of the whole index."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..engine.reader import Reader
from ..engine.search import Request, search
from ..errors import InvalidInputError, ItemNotFoundError
from ..index import Index
from ..query import Query, Term
from ..types import Hit, Hits, Modality
from ..vectors import Floats, Rows, score

__all__ = [
    "FetchedVectors",
    "ShardAnswer",
    "ShardReader",
    "ShardedHits",
    "described",
    "merge",
    "shard_request",
]


@dataclass(frozen=True, slots=True)
class ShardAnswer:
    """The best of one shard. `scores` are not clipped to [-1, 1], so that they order exactly."""

    scores: Floats  # float32 [n]
    hits: tuple[Hit, ...]  # [n], best first, ties by ascending id
    approximate: bool
    generation: int


@dataclass(frozen=True, slots=True)
class ShardedHits(Hits):
    """Hits of a sharded index. Not all shards answered if `missing` names any."""

    missing: tuple[int, ...] = ()  # numbers of the shards that did not answer, from 1
    shards: int = 1

    @property
    def partial(self) -> bool:
        """Whether better hits may be in shards that did not answer."""
        return bool(self.missing)


class ShardReader:
    """Answers for one shard. Safe for threads.

    Args:
        folder: The folder of the shard.

    Raises:
        IndexNotFoundError: There is none.
        IndexCorruptError: It is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._index = Index.open(folder)
        self._reader = Reader(folder)

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the model whose vectors it holds."""
        return self._index.fingerprint

    def check(self) -> None:
        """Read the state of the shard; raises what a search would raise."""
        self._reader.run(lambda conn, snapshot: snapshot.generation)

    def search(self, query: Query, vector: Floats, request: Request) -> ShardAnswer:
        """Find the best of this shard.

        Args:
            query: What was asked, as `described` makes it.
            vector: The resolved query, float32 [dim], unit length.
            request: What was asked besides, as `shard_request` makes it.

        Raises:
            InvalidInputError: A bad filter or request.
            IndexCorruptError: A file of the shard is damaged.
        """
        started = time.perf_counter()

        def work(conn: object, snapshot: object) -> ShardAnswer:
            (hits,) = search(conn, snapshot, [query], vector[None], request, started)  # type: ignore[arg-type]
            ids = np.asarray([hit.item.id for hit in hits], np.int64)
            order = np.argsort(ids)
            shelf = snapshot.shelf(request.target)  # type: ignore[attr-defined]
            rows, vectors = shelf.take(ids[order])
            scores = np.empty(rows.size, np.float32)
            scores[order] = score(vectors, vector)
            return ShardAnswer(scores, hits.hits, hits.approximate, hits.generation)

        return self._reader.run(work)

    def vectors(self, ids: Sequence[int], modality: Modality | None = None) -> dict[int, Floats]:
        """Vectors of the items that are in this shard, by id; see `Index.vectors`."""
        found: dict[int, Floats] = {}
        for number in ids:
            try:
                found[number] = self._index.vectors([number], modality)[0]
            except ItemNotFoundError:
                continue  # in another shard, or in none
        return found

    def fields(self) -> dict[str, str]:
        """Names and types of what `where` knows, the same in every shard."""
        return self._index.fields()

    def close(self) -> None:
        """Close all files."""
        self._reader.close()
        self._index.close()


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


def described(query: Query) -> Query:
    """The query without its pictures, which a shard does not need: it gets the vector.

    What decides the score distribution, the kinds and signs of the terms, stays.
    """
    return Query(
        tuple(
            Term("item", 0, term.weight) if term.kind == "image" else term for term in query.terms
        )
    )


def shard_request(request: Request) -> Request:
    """What every shard is asked, for any of them may hold all of the best.

    Raises:
        InvalidInputError: A keyword ranking is asked for. It depends on how rare a word is in
            the whole index, which no shard knows.
    """
    if request.hybrid:
        raise InvalidInputError(
            "a sharded index has no hybrid search: how rare a word is can only be told from the "
            "whole index; search without hybrid, or the index that was split"
        )
    return replace(request, k=request.k + request.offset, offset=0)


def merge(
    answers: Sequence[ShardAnswer], request: Request, *, missing: Sequence[int] = (), shards: int
) -> ShardedHits:
    """Merge the answers of shards.

    Args:
        answers: Of the shards that answered, in any order.
        request: What was asked of the whole.
        missing: Numbers of the shards that did not answer.
        shards: How many shards there are.

    Returns:
        At most `request.k` hits from `request.offset` on: best first, ties by ascending id.
    """
    hits = [hit for answer in answers for hit in answer.hits]
    rows: Rows = np.asarray([hit.item.id for hit in hits], np.int64)
    scores = np.concatenate([np.empty(0, np.float32), *(answer.scores for answer in answers)])
    order = np.lexsort((rows, -scores))[request.offset : request.offset + request.k]
    return ShardedHits(
        hits=tuple(hits[i] for i in order.tolist()),
        generation=max((answer.generation for answer in answers), default=0),
        approximate=any(answer.approximate for answer in answers),
        missing=tuple(sorted(missing)),
        shards=shards,
    )
