"""Learning from few examples: a logistic regression on frozen embeddings beside zero-shot.

The regression's logits are added to the zero-shot logits with a weight that cross-validation
chooses. The weight may be zero, so examples that teach nothing change nothing.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision"
(2021), section 3.1.5 (logistic regression on CLIP features); Zhang et al., "Tip-Adapter:
Training-free Adaption of CLIP for Few-shot Classification" (2022), equation 3 (adding few-shot
logits to zero-shot logits with a residual ratio); Lin et al., "Multimodality Helps Unimodality"
(2023) (the class's text vector as one more example).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import InvalidInputError
from ..vectors import Floats
from .heads import Adapter, ClassHead
from .metrics import log_loss

__all__ = ["FitReport", "fit_adapter"]

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_FOLDS = 5
_STRENGTHS = (10.0, 100.0)  # scikit-learn's C, inverse regularisation, for unit vectors
_BLENDS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_LONE = (10.0, 0.5)  # strength and blend where one example a class leaves nothing to validate on
_STEPS = 200
_TOLERANCE = 1e-3  # of the gradient; finer changes no answer


@dataclass(frozen=True, slots=True)
class FitReport:
    """What was learned, with cross-validated accuracies."""

    examples: int
    classes_with_examples: int
    blend: float
    strength: float
    zero_shot_accuracy: float | None  # of the examples; None if they are too few to tell
    fitted_accuracy: float | None  # of each example, by a fit without it


def fit_adapter(
    head: ClassHead, vectors: Floats, truth: Integers
) -> tuple[Adapter | None, FitReport]:
    """Learn an adapter for a head.

    Args:
        head: The zero-shot classifier; an adapter that it has is left aside.
        vectors: Examples, float32 [n, dim], unit length.
        truth: Row of the right label, int64 [n].

    Returns:
        The adapter, None where it would change nothing, and the report.

    Raises:
        InvalidInputError: The shapes do not fit together.
    """
    if vectors.ndim != 2 or len(vectors) != len(truth):
        raise InvalidInputError(f"got {len(vectors)} examples but {len(truth)} labels")
    classes = len(head.labels)
    seen = np.unique(truth)
    if len(truth) == 0 or classes < 2:
        return None, FitReport(len(truth), len(seen), 0.0, 0.0, None, None)
    zero_shot = head.cosines(vectors).astype(np.float64) * head.logit_scale
    shots = np.bincount(truth, minlength=classes)
    if shots.max() < 2:
        strength, blend = _LONE
        report = FitReport(len(truth), len(seen), blend, strength, None, None)
    else:
        strength, blend, accuracy = _choose(head, vectors, truth, zero_shot)
        plain = float((zero_shot.argmax(axis=1) == truth).mean())
        report = FitReport(len(truth), len(seen), blend, strength, plain, accuracy)
    if blend == 0:
        return None, report
    coef, intercept = _regress(head.weights, vectors, truth, strength)
    return Adapter(coef=coef, intercept=intercept, blend=blend, examples=len(truth)), report


def _choose(
    head: ClassHead, vectors: Floats, truth: Integers, zero_shot: Doubles
) -> tuple[float, float, float]:
    """Strength and blend of best cross-validated accuracy, ties to the least log loss."""
    folds = _folds(truth)
    choices = []
    for strength in _STRENGTHS:
        learnt = np.empty_like(zero_shot)
        for kept, held in folds:
            coef, intercept = _regress(head.weights, vectors[kept], truth[kept], strength)
            learnt[held] = vectors[held] @ coef.T + intercept
        for blend in _BLENDS:
            logits = zero_shot + blend * learnt
            accuracy = float((logits.argmax(axis=1) == truth).mean())
            choices.append((accuracy, -log_loss(logits, truth), strength, blend))
    accuracy, _, strength, blend = max(choices)
    return strength, blend, accuracy


def _folds(truth: Integers) -> list[tuple[Integers, Integers]]:
    """Rows to learn from and rows held out, with each class spread over the folds."""
    from sklearn.model_selection import StratifiedKFold

    count = min(_FOLDS, int(np.bincount(truth).max()))
    folds = StratifiedKFold(count, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class may have fewer examples than there are folds
        return list(folds.split(truth, truth))


def _regress(
    weights: Floats, vectors: Floats, truth: Integers, strength: float
) -> tuple[Floats, Floats]:
    """Multinomial logistic regression on the examples and the text vector of every class."""
    from sklearn.linear_model import LogisticRegression

    classes = len(weights)
    x = np.concatenate([vectors, weights]).astype(np.float64)
    y = np.concatenate([truth, np.arange(classes)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an unfinished descent is still a good adapter
        model = LogisticRegression(C=strength, max_iter=_STEPS, tol=_TOLERANCE).fit(x, y)
    coef, intercept = model.coef_, model.intercept_
    if classes == 2:  # scikit-learn keeps one row for two classes
        coef = np.concatenate([-coef, coef]) / 2
        intercept = np.concatenate([-intercept, intercept]) / 2
    return np.asarray(coef, np.float32), np.asarray(intercept, np.float32)
