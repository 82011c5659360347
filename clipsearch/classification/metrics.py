"""Measures of classification, calibration and retrieval, on arrays alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..vectors import Floats
from .chances import log_softmax

__all__ = [
    "RetrievalFigures",
    "expected_calibration_error",
    "log_loss",
    "positive_ranks",
    "ranks_figures",
    "reliability_bins",
    "top_k_accuracy",
]

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_BINS = 15  # as in Guo et al. (2017)
_BLOCK = 512  # queries scored together


def top_k_accuracy(scores: npt.NDArray[np.floating], truth: Integers, k: int) -> float:
    """Share of rows whose true class is among the k best; ties go to the earlier class."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((order == truth[:, None]).any(axis=1).mean())


def log_loss(logits: Doubles, truth: Integers) -> float:
    """Mean negative log-likelihood of the true classes under the softmax of logits [n, classes]."""
    return float(-log_softmax(logits)[np.arange(len(truth)), truth].mean())


def reliability_bins(
    confidence: Doubles, right: npt.NDArray[np.bool_]
) -> list[tuple[float, float, int]]:
    """Mean confidence, accuracy and count of every bin of equal width that is not empty."""
    at = np.clip(np.ceil(confidence * _BINS).astype(np.int64) - 1, 0, _BINS - 1)
    return [
        (float(confidence[at == b].mean()), float(right[at == b].mean()), int((at == b).sum()))
        for b in range(_BINS)
        if (at == b).any()
    ]


def expected_calibration_error(confidence: Doubles, right: npt.NDArray[np.bool_]) -> float:
    """Mean gap between confidence and accuracy, weighted by the count of each bin, in [0, 1].

    Source: Guo et al., "On Calibration of Modern Neural Networks" (2017), equation 5.
    """
    n = max(1, confidence.size)
    return sum(
        count / n * abs(mean - share) for mean, share, count in reliability_bins(confidence, right)
    )


@dataclass(frozen=True, slots=True)
class RetrievalFigures:
    """One direction of retrieval."""

    recall: dict[int, float]  # k -> share of queries with a right answer among the k best
    median_rank: float  # of the best right answer, from 1
    mrr: float  # mean of 1 / rank
    queries: int


def positive_ranks(queries: Floats, answers: Floats, right: list[Integers]) -> Integers:
    """Rank, from 1, of the best right answer to every query; ties go to the earlier answer.

    Args:
        queries: Unit vectors, float32 [n, dim].
        answers: Unit vectors, float32 [m, dim].
        right: For every query the rows of `answers` that are right, at least one.

    Returns:
        int64 [n].
    """
    ranks = np.empty(len(queries), np.int64)
    for start in range(0, len(queries), _BLOCK):
        scores = queries[start : start + _BLOCK] @ answers.T  # [block, m]
        for row, line in enumerate(scores):
            positives = right[start + row]
            best = positives[np.lexsort((positives, -line[positives]))[0]]
            ahead = (line > line[best]).sum() + (line[:best] == line[best]).sum()
            ranks[start + row] = 1 + ahead
    return ranks


def ranks_figures(ranks: Integers, ks: Iterable[int] = (1, 5, 10)) -> RetrievalFigures:
    """Recall, median rank and MRR of the ranks of the best right answers.

    A query counts as found when any of its right answers is among the k best, as CLIP_benchmark
    counts (`image_retrieval_recall@k`, `text_retrieval_recall@k`).
    """
    return RetrievalFigures(
        recall={k: float((ranks <= k).mean()) for k in ks},
        median_rank=float(np.median(ranks)),
        mrr=float((1 / ranks).mean()),
        queries=int(ranks.size),
    )
