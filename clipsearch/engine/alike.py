"""Pairs of images that may be copies of each other, found by what the index keeps of them.

Two images are worth a closer look if their embeddings are alike and their thumbprints do not
speak against it, or if their thumbprints are equal and their embeddings not too far apart (a small
copy of a photo is embedded as a blurred one). Memory is linear in the number of images: every image
keeps its nearest ones only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..thumbprint import standardized
from ..vectors import Floats, Rows
from .snapshot import VectorStore

__all__ = ["CLOSE", "Bounds", "Neighbours", "Prints", "neighbours"]

_BLOCK = 2048  # rows a side: a block of scores is 16 MB
_QUERIES = 1024  # looked up together in an ANN file
_MOST = 32  # neighbors that an image keeps
# Comparing all pairs of this many vectors of 512 takes a minute or two on two cores.
_ALL_PAIRS_ELEMENTS = 60_000_000
_MOST_PAIRS = 1_000_000  # held before the nearest of each image are chosen
CLOSE = 0.9  # correlation of thumbprints from which the structure is as good as equal
_AGAINST = 0.35  # below it, it is another one; a crop to 92 % at a corner leaves 0.5

Prints = npt.NDArray[np.uint8]  # [n, 144]
_Edges = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]  # positions, and scores


@dataclass(frozen=True, slots=True)
class Bounds:
    """From which cosine two images are looked at.

    Attributes:
        near: If their thumbprints do not speak against it.
        far: If their thumbprints are close.
        blind: If one of them has no thumbprint.
    """

    near: float
    far: float
    blind: float

    @property
    def lowest(self) -> np.float32:
        """Below it, no pair is looked at; float16 vectors of equal images may fall short of 1."""
        return np.float32(min(self.near, self.far, self.blind, 1.0 - 1e-3))


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Who may be a copy of whom.

    Attributes:
        starts: Where the neighbors of each position begin, int64 [n + 1].
        ends: Their positions, nearest first, int32.
        scores: Their cosines, float32.
    """

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int32]
    scores: Floats

    def of(self, position: int) -> Iterator[tuple[int, float]]:
        """Neighbors of a position with their cosines, nearest first."""
        part = slice(int(self.starts[position]), int(self.starts[position + 1]))
        yield from zip(self.ends[part].tolist(), self.scores[part].tolist(), strict=True)


def neighbours(
    store: VectorStore,
    rows: Rows,
    prints: Prints,
    there: npt.NDArray[np.bool_],
    bounds: Bounds,
    tell: Callable[[int], None],
) -> Neighbours:
    """Find who may be a copy of whom.

    Compares all pairs block by block. Where those are too many and there is an ANN file, each row
    is compared with its nearest neighbors.

    Args:
        store: The vectors.
        rows: The rows to compare, int64 [n], ascending; all of them live.
        prints: Their thumbprints.
        there: Which of them have one.
        bounds: What is worth a look.
        tell: Told how many rows are compared.

    Returns:
        The nearest neighbors of every row, by positions in `rows`; both have each other.
    """
    if store.ann is not None and rows.size * store.dim > _ALL_PAIRS_ELEMENTS:
        found = _by_lookup(store, rows, bounds.lowest, tell)
    else:
        found = _all_pairs(store, rows, bounds.lowest, tell)
    kept: list[_Edges] = []
    count = 0
    for left, right, scores in found:
        worth = _worth(left, right, scores, prints, there, bounds)
        left, right, scores = left[worth], right[worth], scores[worth]
        kept.append((left, right, scores))
        count += left.size
        if count > _MOST_PAIRS:
            kept = [_nearest(kept)]
            count = kept[0][0].size // 2
    left, right, scores = _nearest(kept)
    starts = np.searchsorted(left, np.arange(rows.size + 1)).astype(np.int64)
    return Neighbours(starts, right.astype(np.int32), scores)


def _worth(
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    scores: Floats,
    prints: Prints,
    there: npt.NDArray[np.bool_],
    bounds: Bounds,
) -> npt.NDArray[np.bool_]:
    """Which pairs are worth a look, bool [pairs]."""
    worth = np.zeros(left.size, bool)
    for start in range(0, left.size, 65536):
        part = slice(start, start + 65536)
        one, other = standardized(prints[left[part]]), standardized(prints[right[part]])
        structure = np.einsum("ij,ij->i", one, other)
        # An image without any contrast has a thumbprint of zeros, which says nothing.
        known = there[left[part]] & there[right[part]] & one.any(axis=1) & other.any(axis=1)
        limit = np.full(structure.size, bounds.blind, np.float32)
        limit[known] = bounds.near
        limit[known & (structure >= CLOSE)] = min(bounds.far, bounds.near)
        limit[known & (structure < _AGAINST)] = np.inf
        worth[part] = scores[part] >= np.where(limit == 1.0, np.float32(1.0 - 1e-3), limit)
    return worth


def _all_pairs(
    store: VectorStore, rows: Rows, limit: np.float32, tell: Callable[[int], None]
) -> Iterator[_Edges]:
    """Pairs of positions whose cosine is not too low, block by block."""
    for i, (positions, vectors) in enumerate(_chunks(store, rows)):
        for j, (others, other_vectors) in enumerate(_chunks(store, rows)):
            if j > i:
                break
            products = vectors @ other_vectors.T
            at = np.nonzero(products >= limit)
            left, right = positions[at[0]], others[at[1]]
            apart = left > right
            yield left[apart], right[apart], products[at][apart]
        tell(int(positions[-1]) + 1)


def _by_lookup(
    store: VectorStore, rows: Rows, limit: np.float32, tell: Callable[[int], None]
) -> Iterator[_Edges]:
    """Pairs of a position and a near neighbor, of all positions."""
    assert store.ann is not None  # noqa: S101 - the caller has looked
    count = store.ann.candidates(_MOST)
    for positions, vectors in _chunks(store, rows):
        for start in range(0, positions.size, _QUERIES):
            part = slice(start, start + _QUERIES)
            found = store.ann.search_many(vectors[part], count)
            yield from _scored(store, rows, positions[part], vectors[part], found)
        tell(int(positions[-1]) + 1)
    tail = rows[rows > store.covered_to]
    for positions, vectors in _chunks(store, tail):
        new = positions + (rows.size - tail.size)
        for others, other_vectors in _chunks(store, rows):
            products = vectors @ other_vectors.T
            at = np.nonzero(products >= limit)
            left, right = new[at[0]], others[at[1]]
            apart = left > right
            yield left[apart], right[apart], products[at][apart]


def _scored(
    store: VectorStore, rows: Rows, positions: Rows, vectors: Floats, found: Rows
) -> Iterator[_Edges]:
    """The pairs of some rows with what an ANN file found for them, scored exactly."""
    at = np.searchsorted(rows, found)
    at[at == rows.size] = 0
    which, place = np.nonzero(rows[at] == found)  # neither padding nor removed since
    other = at[which, place]
    apart = positions[which] != other
    which, other = which[apart], other[apart]
    distinct, back = np.unique(other, return_inverse=True)
    _, taken = store.take(rows[distinct])
    for start in range(0, which.size, 8192):
        part = slice(start, start + 8192)
        scores = np.einsum("ij,ij->i", vectors[which[part]], taken[back[part]])
        yield positions[which[part]], other[part].astype(np.int64), scores


def _nearest(parts: list[_Edges]) -> _Edges:
    """Both directions of all pairs, the nearest of each position, by position and score."""
    if not parts:
        nothing = np.empty(0, np.int64)
        return nothing, nothing, np.empty(0, np.float32)
    left = np.concatenate([ends for part in parts for ends in part[:2]])
    right = np.concatenate([ends for part in parts for ends in part[1::-1]])
    scores = np.concatenate([part[2] for part in parts for _ in range(2)])
    order = np.lexsort((right, -scores, left))
    left, right, scores = left[order], right[order], scores[order]
    twice = np.zeros(left.size, bool)
    twice[1:] = (left[1:] == left[:-1]) & (right[1:] == right[:-1])
    left, right, scores = left[~twice], right[~twice], scores[~twice]
    rank = np.arange(left.size) - np.searchsorted(left, left)
    near = rank < _MOST
    return left[near], right[near], scores[near]


def _chunks(store: VectorStore, rows: Rows) -> Iterator[tuple[Rows, Floats]]:
    """Positions and vectors of rows, in blocks."""
    for live, vectors in store.live():
        at = np.searchsorted(rows, live)
        at[at == rows.size] = 0
        mine: npt.NDArray[Any] = np.flatnonzero(rows[at] == live) if rows.size else at[:0]
        for start in range(0, mine.size, _BLOCK):
            some = mine[start : start + _BLOCK]
            yield at[some].astype(np.int64), vectors[some]
