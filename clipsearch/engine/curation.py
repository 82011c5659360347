"""Curating a data set: near duplicates, and pairs whose image and caption disagree."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ..errors import InvalidInputError
from ..vectors import Floats, Rows, best, is_in, score
from .snapshot import VectorStore

__all__ = ["duplicate_groups", "worst_pairs"]

_BLOCK = 2048  # rows a side: a block of scores is 16 MB
_NEIGHBOURS = 16  # looked up a row where comparing all pairs would take too long
# Comparing all pairs of this many vectors of 512 takes a minute or two on two cores.
_ALL_PAIRS_ELEMENTS = 60_000_000
_MOST_PAIRS = 1_000_000  # joined at a time


def duplicate_groups(store: VectorStore, threshold: float) -> list[list[tuple[int, float]]]:
    """Group rows that are alike, directly or through others.

    Compares all pairs block by block. Where those are too many and there is an ANN file, each row
    is compared with its nearest neighbours only: enough to join a group, since neighbours share
    neighbours.

    Args:
        store: The vectors.
        threshold: Cosine from which two vectors are alike, in (0, 1].

    Returns:
        Groups of at least two `(row, score)`, largest first, then by lowest row. The first of a
        group is its lowest row with score 1; the others, by descending score, carry their cosine
        with it.

    Raises:
        InvalidInputError: The threshold is not in (0, 1].
    """
    if not isinstance(threshold, int | float | np.number) or not 0.0 < threshold <= 1.0:
        raise InvalidInputError(f"threshold must be above 0 and at most 1, got {threshold!r}")
    # float16 vectors of equal images may fall short of 1 by rounding
    limit = np.float32(min(threshold, 1.0 - 1e-3))
    every = store.live_rows()
    if store.ann is not None and every.size * store.dim > _ALL_PAIRS_ELEMENTS:
        pairs = _near_pairs(store, limit)
    else:
        pairs = _all_pairs(store, limit)
    leader = np.arange(every.size)
    for some in _gathered(pairs):
        leader = _joined(leader, np.searchsorted(every, some))
    return _groups(store, every, leader)


def _all_pairs(store: VectorStore, limit: np.float32) -> Iterator[Rows]:
    """Pairs of rows that are alike, int64 [2, pairs], block by block."""
    for i, (rows, vectors) in enumerate(_chunks(store)):
        for j, (others, other_vectors) in enumerate(_chunks(store)):
            if j > i:
                break
            at = np.nonzero(vectors @ other_vectors.T >= limit)
            left, right = rows[at[0]], others[at[1]]
            apart = left > right
            yield np.stack([left[apart], right[apart]])


def _near_pairs(store: VectorStore, limit: np.float32) -> Iterator[Rows]:
    """Pairs of a row and a near neighbor that is alike, int64 [2, pairs], row by row."""
    for rows, vectors in _chunks(store):
        for row, vector in zip(rows.tolist(), vectors, strict=True):
            found = store.search(vector, _NEIGHBOURS)
            near = found.rows[found.scores >= limit]
            near = near[near != row]
            yield np.stack([np.full(near.size, row, np.int64), near])


def _chunks(store: VectorStore) -> Iterator[tuple[Rows, Floats]]:
    for rows, vectors in store.live():
        for start in range(0, rows.size, _BLOCK):
            yield rows[start : start + _BLOCK], vectors[start : start + _BLOCK]


def _gathered(pairs: Iterator[Rows]) -> Iterator[Rows]:
    """The same pairs in fewer and larger arrays, bounded in size."""
    parts: list[Rows] = []
    count = 0
    for part in pairs:
        if part.size:
            parts.append(part)
            count += part.shape[1]
        if count >= _MOST_PAIRS:
            yield np.concatenate(parts, axis=1)
            parts, count = [], 0
    if parts:
        yield np.concatenate(parts, axis=1)


def _joined(leader: npt.NDArray[np.int64], pairs: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
    """Unite the groups of the positions of each pair.

    Args:
        leader: Lowest position of each position's group so far, int64 [n].
        pairs: int64 [2, pairs].

    Returns:
        `leader` of the united groups.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.concatenate([np.stack([np.arange(leader.size), leader]), pairs], axis=1)
    graph = coo_array((np.ones(ends.shape[1]), tuple(ends)), shape=(leader.size, leader.size))
    _, group = connected_components(graph, directed=False)
    _, lowest = np.unique(group, return_index=True)
    united: npt.NDArray[np.int64] = lowest[group]
    return united


def _groups(
    store: VectorStore, every: Rows, leader: npt.NDArray[np.int64]
) -> list[list[tuple[int, float]]]:
    members: dict[int, list[int]] = {}
    for at in np.flatnonzero(leader != np.arange(leader.size)).tolist():
        members.setdefault(int(leader[at]), []).append(at)
    groups = []
    for lead, others in members.items():
        rows = every[np.asarray([lead, *others])]
        _, vectors = store.take(rows)
        scores = np.clip(score(vectors[1:], vectors[0]), -1.0, 1.0)
        ordered = best(rows[1:], scores, rows.size)
        pairs = zip(ordered[0].tolist(), ordered[1].tolist(), strict=True)
        groups.append([(int(rows[0]), 1.0), *pairs])
    return sorted(groups, key=lambda group: (-len(group), group[0][0]))


def worst_pairs(images: VectorStore, captions: VectorStore, k: int) -> tuple[Rows, Floats]:
    """Find the rows whose image and caption vectors agree least.

    Args:
        images: The image vectors.
        captions: The caption vectors of the same state.
        k: How many at most.

    Returns:
        `(rows, cosines)`, lowest first, ties by ascending row.
    """
    rows = np.empty(0, np.int64)
    scores = np.empty(0, np.float32)
    for block_rows, vectors in images.live():
        paired, caption_vectors = captions.take(block_rows)
        own = vectors[is_in(block_rows, paired)]
        agreement = np.einsum("ij,ij->i", own, caption_vectors)
        rows = np.concatenate([rows, paired])
        scores = np.concatenate([scores, agreement])
        if rows.size > 4 * k:
            rows, scores = _lowest(rows, scores, k)
    return _lowest(rows, scores, k)


def _lowest(rows: Rows, scores: Floats, k: int) -> tuple[Rows, Floats]:
    found = best(rows, -scores, k)
    return found[0], -found[1]
