"""Items that are like nothing else in their index."""

from __future__ import annotations

import numpy as np

from ..errors import InvalidInputError
from ..vectors import Floats, Rows

__all__ = ["outliers"]

_NEIGHBOURS = 5  # one twin does not make a picture ordinary
_BLOCK = 1024  # rows compared at a time: 4096 x 1024 floats are 16 MB


def outliers(
    rows: Rows, vectors: Floats, k: int = 24, *, neighbours: int = _NEIGHBOURS
) -> list[tuple[int, float]]:
    """The items least like their nearest neighbours.

    Args:
        rows: Ids, int64 [n].
        vectors: float32 [n, dim], unit length: a sample of the index, or all of it.
        k: How many at most, at least 1.
        neighbours: The mean is over so many nearest others.

    Returns:
        Ids with the mean cosine to their neighbours, lowest first, ties by id.

    Raises:
        InvalidInputError: `k` or `neighbours` is below 1.
    """
    if k < 1 or neighbours < 1:
        raise InvalidInputError(f"k and neighbours must be at least 1, not {k} and {neighbours}")
    count = min(neighbours, len(rows) - 1)
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
