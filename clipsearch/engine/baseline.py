"""What a score means: the score distribution of pairs that have nothing to do with each other.

A cosine says little by itself: unrelated images and texts score 0.1 with one model and 0.25
with another. So an index keeps how generic texts, and its own captions, score against images
that they do not belong to. Some of these pairs are related by accident ("a dog" and an image of
a dog), and on a small index of few subjects they can be many. They all sit in the upper tail, so
that tail is never measured: the distribution is taken from the part below the 90th percentile, and
extended upwards as the normal distribution that fits there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import IndexCorruptError
from ..vectors import Floats
from .file_facts import REMEDY

__all__ = ["ScoreBaseline", "measure"]

# Unrelated pairs reach the floor of an index of n items in about this share of searches.
_CHANCE = 0.05
# From here on a larger index does not raise the floor: it holds more related items as well, and
# a floor that no chance in a million items reaches would drop most of them.
_MOST_ITEMS = 1000
_TAIL = 0.90  # quantile up to which pairs are taken as unrelated
_STEPS = np.linspace(0.0, _TAIL, 37)
_LEAST_SCALE = 1e-3
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class ScoreBaseline:
    """The scores of unrelated pairs of one kind of query with one modality.

    Attributes:
        center: Their median.
        scale: Standard deviation of the normal distribution that continues them upwards.
        quantiles: Scores at 37 evenly spaced quantiles from 0 to 0.9.
        items: How many items there were when this was measured.
    """

    center: float
    scale: float
    quantiles: tuple[float, ...]
    items: int

    @classmethod
    def of(
        cls, stored: Mapping[tuple[str, str], Mapping[str, Any]], kind: str, modality: str
    ) -> ScoreBaseline | None:
        """The stored distribution for a kind of query ("text", "image") and a modality, if any."""
        found = stored.get((kind, modality))
        if found is None:
            return None
        try:
            return cls(
                float(found["center"]),
                float(found["scale"]),
                tuple(float(q) for q in found["quantiles"]),
                int(found["items"]),
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise IndexCorruptError(
                f"catalog.sqlite is damaged: the score distribution of {kind} queries on "
                f"{modality} vectors cannot be read ({exc}). {REMEDY}"
            ) from exc

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "center": self.center,
            "scale": self.scale,
            "quantiles": list(self.quantiles),
            "items": self.items,
        }

    @property
    def floor(self) -> float:
        """The score below which a hit is no better than chance."""
        chance = _CHANCE / min(max(self.items, 1), _MOST_ITEMS)
        return self.center + self.scale * _NORMAL.inv_cdf(1.0 - chance)

    def percentile(self, score: float) -> float:
        """Share of unrelated pairs that score lower, in [0, 100]."""
        top = self.quantiles[-1]
        if score <= top:
            return float(np.interp(score, self.quantiles, _STEPS)) * 100.0
        above = _upper_tail((score - self.center) / self.scale)
        at_top = _upper_tail((top - self.center) / self.scale)
        return (1.0 - (1.0 - _TAIL) * min(above / max(at_top, 1e-300), 1.0)) * 100.0

    def outdated(self, items: int) -> bool:
        """Whether the index has at least doubled or halved since."""
        return items >= 2 * self.items or 2 * items <= self.items


def measure(
    queries: Floats,
    vectors: Floats,
    items: int,
    *,
    related: npt.NDArray[np.bool_] | None = None,
) -> ScoreBaseline | None:
    """Measure the scores of pairs that are mostly unrelated.

    Args:
        queries: float32 [m, dim], unit length.
        vectors: float32 [n, dim], unit length.
        items: How many items the index has.
        related: bool [m, n], pairs known to belong together, which are left out.

    Returns:
        The distribution, or None without any pair.
    """
    scores = (queries @ vectors.T).astype(np.float64)  # [m, n]
    pairs = scores.ravel() if related is None else scores[~related]
    if pairs.size == 0:
        return None
    quantiles = np.quantile(pairs, _STEPS)
    center, one, top = np.quantile(pairs, [0.5, 0.8413, _TAIL])
    scale = max(one - center, (top - center) / _NORMAL.inv_cdf(_TAIL), _LEAST_SCALE)
    return ScoreBaseline(float(center), float(scale), tuple(quantiles.tolist()), items)


def _upper_tail(z: float) -> float:
    """Probability that a standard normal variable exceeds z."""
    return 0.5 * math.erfc(z / math.sqrt(2.0))
