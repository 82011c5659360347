"""Whether anything fits a query, or the best hits are only what scores highest by chance."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from ..query import Query
from ..types import Modality
from ..vectors import Floats
from .baseline import ScoreBaseline
from .snapshot import Snapshot

__all__ = ["nothing_fits"]

# How far, in standard deviations of unrelated pairs, the best hit must be below the floor of
# `min_score="auto"`. That floor is for each hit; a query fails only where all of them miss it
# clearly. Images score each other over a wider range.
_BELOW_FLOOR = {"text": 0.4, "image": 1.2}
_FAR_BELOW_FLOOR = {"text": 2.5, "image": 3.0}  # however much it stands out
# A best hit below that fits all the same if it stands out from the scores of its own query. With z
# as the expected greatest of as many normal numbers, it has to be z + 0.55 (z - 1.25) standard
# deviations above their mean: the scores of larger collections have longer tails.
_STANDS_OUT, _SINCE = 0.55, 1.25
_SAMPLE = 4096
_SEED = 0
_NORMAL = NormalDist()


def nothing_fits(
    snapshot: Snapshot, query: Query, target: Modality, vector: Floats, best: float
) -> bool:
    """Whether no hit of a query fits well.

    Not told, so False, of captions and of queries that subtract something or are mere vectors: no
    score distribution is known that would tell.

    Args:
        snapshot: What was searched.
        query: What was asked.
        target: Which vectors were searched.
        vector: The resolved query, float32 [dim].
        best: The highest score of all.
    """
    baseline = ScoreBaseline.of(snapshot.baselines, query.kind, target)
    if baseline is None or target != "image" or any(term.weight < 0 for term in query.terms):
        return False
    below = (baseline.floor - best) / baseline.scale
    if below <= _BELOW_FLOOR[query.kind]:
        return False
    if below > _FAR_BELOW_FLOOR[query.kind]:
        return True
    scores = _sample(snapshot, target) @ vector
    expected = _NORMAL.inv_cdf(1.0 - 1.0 / (max(baseline.items, 1) + 1))
    spread = max(float(scores.std()), 1e-6)
    least = expected + _STANDS_OUT * (expected - _SINCE)
    return bool((best - float(scores.mean())) / spread < least)


def _sample(snapshot: Snapshot, modality: Modality) -> Floats:
    """Some vectors of a state, always the same ones, float32 [n, dim]; remembered with it."""
    found = snapshot.samples.get(modality)
    if found is None:
        _, found = snapshot.store(modality).sample(_SAMPLE, np.random.default_rng(_SEED))
        snapshot.samples[modality] = found
    return found
