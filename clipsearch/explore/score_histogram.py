"""How the scores of one query are spread over an index, for choosing a minimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..vectors import Floats, score

__all__ = ["ScoreSpread", "spread"]

_BINS = 40
_ROOM = 0.02  # cosine added at either end, so that no bar touches the edge


@dataclass(frozen=True, slots=True)
class ScoreSpread:
    """A histogram of scores.

    Attributes:
        low: Lower edge of the first bin, cosine.
        high: Upper edge of the last bin.
        counts: Vectors of the sample in each bin, equally wide.
        sampled: How many vectors were scored.
    """

    low: float
    high: float
    counts: tuple[int, ...]
    sampled: int


def spread(vectors: Floats, query: Floats) -> ScoreSpread:
    """Score a sample against a query.

    Args:
        vectors: float32 [n, dim], unit length: the sample, or all.
        query: float32 [dim], unit length.
    """
    if not len(vectors):
        return ScoreSpread(0.0, 1.0, (0,) * _BINS, 0)
    scores = score(vectors, query)
    low = max(-1.0, float(scores.min()) - _ROOM)
    high = min(1.0, float(scores.max()) + _ROOM)
    counts, _ = np.histogram(scores, bins=_BINS, range=(low, high))
    return ScoreSpread(low, high, tuple(counts.tolist()), len(vectors))
