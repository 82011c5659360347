"""Items that are like nothing else in their index."""

from __future__ import annotations

import numpy as np

from ..errors import InvalidInputError
from ..vectors import Floats, Rows

__all__ = ["outliers"]

_NEIGHBORS = 5  # one twin does not make an image ordinary
_BLOCK = 1024  # rows compared at a time: 4096 x 1024 floats are 16 MB


def outliers(rows: Rows, vectors: Floats, k: int = 24) -> list[tuple[int, float]]:
    """The items least similar to their nearest neighbors.

    Args:
        rows: Ids, int64 [n].
        vectors: float32 [n, dim], unit length: a sample of the index, or all of it.
        k: How many at most, at least 1.

    Returns:
        Ids with the mean cosine to their five nearest neighbors, lowest first, ties by id.

    Raises:
        InvalidInputError: `k` is below 1.
    """
    if k < 1:
        raise InvalidInputError(f"k must be at least 1, not {k}")
    count = min(_NEIGHBORS, len(rows) - 1)
    if count < 1:
        return []
    means = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = vectors[start : start + _BLOCK] @ vectors.T  # [block, n]
        block[np.arange(len(block)), start + np.arange(len(block))] = -2  # not oneself
        nearest = -np.partition(-block, count - 1, axis=1)[:, :count]
        means[start : start + _BLOCK] = nearest.mean(axis=1)
    order = np.lexsort((rows, means))[:k]
    return [(int(rows[place]), float(means[place])) for place in order]
