"""Checks on vectors, with the exact top-k search that everything approximate is held against.

A score is the inner product of unit vectors, accumulated by `numpy.einsum` in float32. Unlike a
BLAS product, whose last bits depend on where a row stands in its block, it gives a row the same
score in whichever block and company the row is read. So equal vectors tie exactly, and a row that
an approximate index found gets the very score that exact search gives it.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import InvalidInputError

__all__ = [
    "Block",
    "Floats",
    "Halves",
    "Rows",
    "best",
    "check_ids",
    "check_vector",
    "check_vectors",
    "exact_top_k",
    "exact_top_k_many",
    "is_in",
    "score",
    "unit",
]

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Rows = npt.NDArray[np.int64]
Block = tuple[Rows, Floats]  # int64 [n] ascending, float32 [n, dim] unit vectors

# float32 products of unit vectors, summed in another order, differ by far less than this.
_ROUNDING = 1e-5
# Fewer queries than this are scored one by one: the products of a few are bound by memory anyway.
_FEW_QUERIES = 4
_LOWEST = np.float32(-2.0)  # below every cosine
# Shorter than this, the direction of a float32 vector is rounding noise.
_MIN_LENGTH = 1e-6


def check_ids(ids: int | Iterable[int]) -> Rows:
    """Ids from outside, one or several, as int64 [n] in the order given.

    Raises:
        InvalidInputError: One is no whole number.
    """
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu":
        return ids.astype(np.int64).reshape(-1)
    try:
        if isinstance(ids, str | bytes):
            raise TypeError
        if hasattr(ids, "__array__") and np.asarray(ids).dtype.kind in "iu":  # a column of a table
            return check_ids(np.asarray(ids))
        several = ids if isinstance(ids, Iterable) else (ids,)
        numbers = [None if isinstance(i, bool) else operator.index(i) for i in several]
        return np.asarray(numbers, np.int64)
    except (TypeError, OverflowError) as exc:
        raise InvalidInputError(f"item ids are whole numbers, got {ids!r}") from exc


def check_vectors(vectors: Any, dim: int, *, what: str = "vectors") -> Floats:
    """Check vectors from outside and scale them to unit length.

    Args:
        vectors: Array-like [n, dim], any real dtype; need not be normalised.
        dim: The length that every vector must have.
        what: Name for messages.

    Returns:
        float32 [n, dim], unit length, C-contiguous, in the order given.

    Raises:
        InvalidInputError: Wrong shape or type, a value that is not finite, or a zero vector.
    """
    try:
        array = np.ascontiguousarray(vectors, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as exc:
        raise InvalidInputError(f"{what} must be numbers of shape [n, {dim}]: {exc}") from exc
    if array.ndim != 2 or array.shape[1] != dim:
        raise InvalidInputError(f"{what} must have the shape [n, {dim}], got {list(array.shape)}")
    # In float64 no square of a float32 overflows, so a length is finite if its vector is.
    lengths = np.sqrt(np.einsum("ij,ij->i", array, array, dtype=np.float64))
    finite = np.isfinite(lengths)
    if not finite.all():
        raise InvalidInputError(f"{what} hold NaN or infinity, first in row {int(finite.argmin())}")
    if array.shape[0] and float(lengths.min()) < _MIN_LENGTH:
        raise InvalidInputError(
            f"{what} hold a zero vector, which has no direction, first in row "
            f"{int(lengths.argmin())}"
        )
    scaled: Floats = np.empty_like(array)
    np.divide(array, lengths[:, None], out=scaled, casting="same_kind")
    return scaled


def check_vector(vector: Any, dim: int, *, what: str = "vector") -> Floats:
    """Check one vector from outside and scale it to unit length.

    Args:
        vector: Array-like [dim] or [1, dim]; need not be normalised.
        dim: The length it must have.
        what: Name for messages.

    Returns:
        float32 [dim], unit length.

    Raises:
        InvalidInputError: As `check_vectors`.
    """
    array = np.asarray(vector)
    if array.ndim == 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 1 or array.shape[0] != dim:
        raise InvalidInputError(f"{what} must have the shape [{dim}], got {list(array.shape)}")
    row: Floats = check_vectors(array[None, :], dim, what=what)[0]
    return row


def unit(vector: npt.NDArray[Any]) -> Floats:
    """Scale vectors to unit length along the last axis; the caller knows that none is zero."""
    wide = np.asarray(vector, dtype=np.float64)
    scaled: Floats = (wide / np.linalg.norm(wide, axis=-1, keepdims=True)).astype(np.float32)
    return scaled


def score(vectors: Floats, query: Floats) -> Floats:
    """Score rows against one query, each independently of the others.

    Args:
        vectors: float32 [n, dim], unit length.
        query: float32 [dim], unit length.

    Returns:
        float32 [n] cosines.
    """
    products: Floats = np.einsum("ij,j->i", vectors, query)
    return products


def best(rows: Rows, scores: Floats, k: int) -> tuple[Rows, Floats]:
    """Take the k best rows.

    Args:
        rows: int64 [n], distinct.
        scores: float32 [n].
        k: How many, at least 0.

    Returns:
        `(rows, scores)` of length min(k, n), by descending score, ties by ascending row. Of rows
        that tie at the cut, the lowest are taken.
    """
    if k <= 0:
        return rows[:0], scores[:0]
    if rows.size > k:
        cut = np.partition(scores, rows.size - k)[rows.size - k]
        keep = scores >= cut
        rows, scores = rows[keep], scores[keep]
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


def is_in(rows: Rows, some: Rows) -> npt.NDArray[np.bool_]:
    """Which rows are in an ascending array of rows, bool [n]."""
    if some.size == 0:
        return np.zeros(rows.size, bool)
    at = np.searchsorted(some, rows)
    at[at == some.size] = 0
    found: npt.NDArray[np.bool_] = some[at] == rows
    return found


def exact_top_k(
    blocks: Iterable[Block], query: Floats, k: int, *, skip: Rows | None = None
) -> tuple[Rows, Floats]:
    """Search blocks of vectors exactly.

    Args:
        blocks: Rows, distinct over all blocks, with their unit vectors.
        query: float32 [dim], unit length.
        k: How many, at least 0.
        skip: Rows to leave out, ascending.

    Returns:
        `(rows, scores)` of length min(k, total), ordered as by `best`.
    """
    rows = np.empty(0, np.int64)
    scores = np.empty(0, np.float32)
    for block_rows, vectors in blocks:
        block_scores = score(vectors, query)
        if skip is not None and skip.size:
            alive = ~is_in(block_rows, skip)
            block_rows, block_scores = block_rows[alive], block_scores[alive]
        found = best(block_rows, block_scores, k)
        rows = np.concatenate([rows, found[0]])
        scores = np.concatenate([scores, found[1]])
        if rows.size > 8 * k:
            rows, scores = best(rows, scores, k)
    return best(rows, scores, k)


def exact_top_k_many(
    blocks: Iterable[Block], queries: Floats, k: int, *, skip: Rows | None = None
) -> list[tuple[Rows, Floats]]:
    """Search blocks of vectors exactly for several queries in one pass.

    Gives the same answers as `exact_top_k` for each query: BLAS products choose the candidates
    with a margin for rounding, and the candidates are scored again one by one.

    Args:
        blocks: As for `exact_top_k`.
        queries: float32 [m, dim], unit length.
        k: How many, at least 0.
        skip: Rows to leave out, ascending.

    Returns:
        One `(rows, scores)` a query, in order.
    """
    found: list[list[tuple[Rows, Floats]]] = [[] for _ in queries]
    floor = np.full(len(queries), -np.inf, np.float32)  # k-th best score so far
    for rows, vectors in blocks:
        dead = None if skip is None or not skip.size else np.flatnonzero(is_in(rows, skip))
        for q, chosen in _candidates(vectors, queries, k, floor, dead):
            exact = score(vectors[chosen], queries[q])
            found[q].append(best(rows[chosen], exact, k))
            if sum(part[0].size for part in found[q]) >= 4 * k:
                found[q] = [_merged(found[q], k)]
            if found[q][-1][0].size >= k > 0:
                floor[q] = max(floor[q], found[q][-1][1][-1])
    return [_merged(parts, k) for parts in found]


def _candidates(
    vectors: Floats,
    queries: Floats,
    k: int,
    floor: Floats,
    dead: npt.NDArray[np.intp] | None,
) -> Iterator[tuple[int, npt.NDArray[np.intp]]]:
    """Positions in a block that may be among the k best of a query, query by query."""
    if k <= 0:
        return
    few = len(queries) < _FEW_QUERIES
    # [n, dim] @ [dim, m] -> [m, n], contiguous by query
    products = None if few else queries @ vectors.T
    for q in range(len(queries)):
        scores = score(vectors, queries[q]) if products is None else products[q]
        if dead is not None:
            scores[dead] = -np.inf
        cut = max(floor[q], _LOWEST)
        if scores.size > k:
            cut = max(cut, np.partition(scores, scores.size - k)[scores.size - k])
        chosen = np.flatnonzero(scores >= cut - _ROUNDING)
        if chosen.size:
            yield q, chosen


def _merged(parts: list[tuple[Rows, Floats]], k: int) -> tuple[Rows, Floats]:
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    return best(
        np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]), k
    )
