"""Sigmoid and softmax in numpy: to import scipy's takes a quarter of a second and 14 MB."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["log_softmax", "logsumexp", "sigmoid", "softmax"]

Doubles = npt.NDArray[np.float64]


def sigmoid(logits: Doubles) -> Doubles:
    """Probabilities of logits, each for itself."""
    return np.asarray(np.exp(-np.logaddexp(0, -logits)))


def logsumexp(logits: Doubles) -> Doubles:
    """The logarithm of the sum of exponentials of each row, float64 [n, classes] to [n]."""
    greatest = logits.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(logits - greatest).sum(axis=1)) + greatest[:, 0])


def log_softmax(logits: Doubles) -> Doubles:
    """Logarithms of probabilities that sum to 1 in each row, float64 [n, classes]."""
    return np.asarray(logits - logsumexp(logits)[:, None])


def softmax(logits: Doubles) -> Doubles:
    """Probabilities that sum to 1 in each row, float64 [n, classes]."""
    return np.asarray(np.exp(log_softmax(logits)))
