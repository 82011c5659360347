"""The points of a map as a page draws them: their places, and a byte for the colour of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..query import Query
from ..vectors import Rows
from .projection import IndexMap

if TYPE_CHECKING:
    from ..index import Index
    from ..query import QueryLike

__all__ = ["ScoreScale", "by_score", "by_tag", "drawn", "packed"]

_MOST_POINTS = 200_000  # drawn; a sample of a larger index
_HEADROOM = 0.5  # of the way from the center of chance to its floor, that a scale ends above it
_TOP = 255  # the byte for the highest score

Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ScoreScale:
    """What the bytes of scores mean.

    Attributes:
        low: The score of byte 0, and of all that lie below it.
        high: The score of byte 255.
        chance: The score below which an image fits no better than chance; None if unknown.
        best: The highest score.
    """

    low: float
    high: float
    chance: float | None
    best: float

    @property
    def chance_code(self) -> int:
        """The first byte of a score that is better than chance."""
        if self.chance is None:
            return 0
        return int(np.ceil((self.chance - self.low) / (self.high - self.low) * _TOP))


def drawn(made: IndexMap) -> npt.NDArray[np.int64]:
    """Places in `made.rows` of the images that are drawn, ascending: all, or a fixed sample."""
    count = len(made.rows)
    if count <= _MOST_POINTS:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, _MOST_POINTS, replace=False))


def packed(made: IndexMap) -> bytes:
    """Ids and places of the images that are drawn.

    Returns:
        The ids as little-endian float64 [n], which holds each exactly, then the places as float32
        [n, 2], 16 bytes an image.
    """
    keep = drawn(made)
    return made.rows[keep].astype("<f8").tobytes() + made.places[keep].astype("<f4").tobytes()


def by_tag(index: Index, rows: Rows, tags: Sequence[str]) -> Codes:
    """The place in `tags` of the first of them that each item has; `len(tags)` for none."""
    places = {tag: place for place, tag in enumerate(tags)}
    found = np.full(len(rows), len(tags), np.uint8)
    of_items = index.tags(rows.tolist())
    for at, row in enumerate(rows.tolist()):
        for tag in of_items.get(row, ()):
            if tag in places:
                found[at] = places[tag]
                break
    return found


def by_score(index: Index, made: IndexMap, asked: QueryLike) -> tuple[Codes, ScoreScale]:
    """How well each image that is drawn fits a query, on a scale that chance decides.

    The scale begins where unrelated pairs score in the median, and ends above what chance reaches,
    or at the best score where that is higher: a query that nothing fits lights up nothing.

    Args:
        index: The index, with its encoder.
        made: Its map.
        asked: What to look for.
    """
    query = Query.of(asked)
    vector = query.resolve(lambda: index.encoder, index)
    scores = np.full(len(made.rows), -1.0, np.float32)
    for rows, vectors in index.iter_vectors("image", away=False):
        at = np.minimum(np.searchsorted(made.rows, rows), len(scores) - 1)
        known = made.rows[at] == rows  # others were added since the map was made
        scores[at[known]] = (vectors @ vector)[known]
    baseline = None if query.kind == "vector" else index.score_baseline(query.kind)
    best = float(scores.max())
    if baseline is None:
        low, high, chance = float(scores.min()), best, None
    else:
        low, chance = baseline.center, baseline.floor
        high = max(best, chance + _HEADROOM * (chance - low))
    high = max(high, low + 1e-6)
    codes = np.floor(np.clip((scores[drawn(made)] - low) / (high - low), 0, 1) * _TOP)
    return codes.astype(np.uint8), ScoreScale(low, high, chance, best)
