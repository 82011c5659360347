"""Calibration of probabilities: temperature and abstention threshold.

Source: Guo et al., "On Calibration of Modern Neural Networks" (2017), for temperature scaling;
Platt, "Probabilistic Outputs for Support Vector Machines" (1999), for the shift that sigmoid
models need as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..errors import InvalidInputError
from ..vectors import Floats
from .chances import sigmoid
from .heads import ClassHead
from .metrics import expected_calibration_error, log_loss, reliability_bins

__all__ = [
    "CalibrationFigures",
    "CalibrationReport",
    "calibrated",
    "cross_validated",
    "fitted_margin",
]

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

DEFAULT_TARGET_ACCURACY = 0.95
_FOLDS = 5
_MIN_IMAGES = 10
_TEMPERATURES = np.geomspace(0.02, 50, 161)  # 5 % steps
_LEAST_SLOPE = 1e-3  # of a sigmoid model's logits
_MIN_ANSWERED = 5  # below this many answers a measured accuracy says nothing


@dataclass(frozen=True, slots=True)
class CalibrationFigures:
    """How well calibrated the probabilities of one classifier are."""

    accuracy: float  # top-1, of all images
    ece: float  # expected calibration error of the best label's probability, 15 bins
    coverage: float  # share of images that get an answer
    answered_accuracy: float  # top-1 of those that get an answer
    bins: tuple[tuple[float, float, int], ...]  # mean probability, accuracy, count


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """What calibration changed; `after` is measured on held-out images."""

    images: int
    temperature: float
    shift: float
    threshold: float | None
    target_accuracy: float
    before: CalibrationFigures
    after: CalibrationFigures


def calibrated(head: ClassHead, vectors: Floats, truth: Integers, *, target: float) -> ClassHead:
    """The head with temperature and threshold fitted to labelled image vectors.

    Args:
        head: What is calibrated; its labels and adapter stay.
        vectors: float32 [n, dim], unit length.
        truth: Row of the right label, int64 [n].
        target: Accuracy that answered images shall have. The threshold is the lowest probability
            with which they do; None if nothing reaches it.
    """
    head = replace(head, temperature=1.0, shift=0.0, threshold=None)
    logits = head.logits(vectors)
    temperature, shift = (
        (_fit_temperature(logits, truth), 0.0)
        if head.logit_bias is None
        else _fit_platt(logits, truth)
    )
    head = replace(head, temperature=temperature, shift=shift)
    return replace(head, threshold=_fit_threshold(*_best(head, vectors, truth), target))


def fitted_margin(head: ClassHead, vectors: Floats, named: npt.NDArray[np.bool_]) -> ClassHead:
    """The head with the margin of best balanced accuracy at telling whether any label fits.

    Args:
        head: Has generic texts.
        vectors: float32 [n, dim], unit length.
        named: Whether some label fits, bool [n], with both kinds in it.
    """
    chance = np.clip(head.none_probability(vectors), 1e-12, 1 - 1e-12)
    logits = np.log(chance) - np.log1p(-chance)
    edges = np.unique(logits)
    cuts = (edges[1:] + edges[:-1]) / 2 if len(edges) > 1 else edges
    if named.all() or not named.any():
        raise InvalidInputError("the margin needs images that fit a label and images that fit none")
    balanced = [((logits[~named] > cut).mean() + (logits[named] <= cut).mean()) / 2 for cut in cuts]
    return replace(head, none_margin=head.none_margin - float(cuts[int(np.argmax(balanced))]))


def cross_validated(
    head: ClassHead, vectors: Floats, truth: Integers, *, target: float
) -> CalibrationReport:
    """Fit on all images and report cross-validated figures.

    Raises:
        InvalidInputError: Too few images, or a target outside (0, 1).
    """
    if len(truth) < _MIN_IMAGES:
        raise InvalidInputError(
            f"calibration needs at least {_MIN_IMAGES} labelled images, got {len(truth)}"
        )
    if not 0 < target < 1:
        raise InvalidInputError(f"the target accuracy must be between 0 and 1, got {target}")
    fold = np.random.default_rng(0).permutation(len(truth)) % _FOLDS
    confidence = np.empty(len(truth))
    right = np.empty(len(truth), bool)
    answered = np.empty(len(truth), bool)
    for f in range(_FOLDS):
        held = fold == f
        fitted = calibrated(head, vectors[~held], truth[~held], target=target)
        confidence[held], right[held] = _best(fitted, vectors[held], truth[held])
        answered[held] = confidence[held] >= (fitted.threshold or 0.0)
    final = calibrated(head, vectors, truth, target=target)
    plain, plain_right = _best(head, vectors, truth)
    return CalibrationReport(
        images=len(truth),
        temperature=final.temperature,
        shift=final.shift,
        threshold=final.threshold,
        target_accuracy=target,
        before=_figures(plain, plain_right, plain >= (head.threshold or 0.0)),
        after=_figures(confidence, right, answered),
    )


def _best(
    head: ClassHead, vectors: Floats, truth: Integers
) -> tuple[Doubles, npt.NDArray[np.bool_]]:
    """Probability of the best label of each vector, and whether that label is right."""
    probabilities = head.probabilities(vectors)
    best = probabilities.argmax(axis=1)
    return probabilities[np.arange(len(best)), best], best == truth


def _figures(
    confidence: Doubles, right: npt.NDArray[np.bool_], answered: npt.NDArray[np.bool_]
) -> CalibrationFigures:
    return CalibrationFigures(
        accuracy=float(right.mean()),
        ece=expected_calibration_error(confidence, right),
        coverage=float(answered.mean()),
        answered_accuracy=float(right[answered].mean()) if answered.any() else 0.0,
        bins=tuple(reliability_bins(confidence, right)),
    )


def _fit_temperature(logits: Doubles, truth: Integers) -> float:
    """The temperature of least log loss: the best of a grid, refined between its neighbours."""
    from scipy.optimize import minimize_scalar

    def loss(temperature: float) -> float:
        return log_loss(logits / temperature, truth)

    best = int(np.argmin([loss(t) for t in _TEMPERATURES]))
    around = _TEMPERATURES[max(0, best - 1)], _TEMPERATURES[best : best + 2][-1]
    found = minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-8})
    return float(found.x)


def _fit_platt(logits: Doubles, truth: Integers) -> tuple[float, float]:
    """The temperature and shift of least log loss of independent labels.

    A model that ranks backwards is not turned round: the slope stays positive.
    """
    from scipy.optimize import minimize

    right = np.zeros(logits.shape, bool)
    right[np.arange(len(truth)), truth] = True
    sign = np.where(right, 1.0, -1.0).ravel()
    center, scale = float(logits.mean()), max(float(logits.std()), 1e-9)
    x = (logits.ravel() - center) / scale

    def loss(line: Doubles) -> tuple[float, Doubles]:
        margin = sign * (line[0] * x + line[1])
        slack = -sign * sigmoid(-margin) / x.size
        value = float(np.logaddexp(0, -margin).mean())
        return value, np.array([(slack * x).sum(), slack.sum()])

    least = _LEAST_SLOPE * scale
    start = np.array([max(scale, least), center])  # as the model has it
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(least, None), (None, None)])
    slope, intercept = float(found.x[0]) / scale, float(found.x[1])
    return 1 / slope, (intercept - slope * center) / slope


def _fit_threshold(
    confidence: Doubles, right: npt.NDArray[np.bool_], target: float
) -> float | None:
    """The lowest probability above which the share of right answers reaches the target."""
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence = confidence[order]
    share = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    last_of_tie = np.append(sorted_confidence[1:] < sorted_confidence[:-1], True)
    enough = np.arange(1, len(order) + 1) >= min(_MIN_ANSWERED, len(order))
    reached = np.flatnonzero((share >= target) & last_of_tie & enough)
    return float(sorted_confidence[reached[-1]]) if reached.size else None
