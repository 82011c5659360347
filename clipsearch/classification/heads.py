"""The arithmetic of classification: from image vectors to probabilities of classes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..errors import InvalidInputError
from ..vectors import Floats
from .chances import logsumexp, sigmoid, softmax

__all__ = ["NONE_LABEL", "Adapter", "ClassHead"]

Doubles = npt.NDArray[np.float64]

NONE_LABEL = "none of these"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A linear classifier on image vectors, learned from examples and added to zero-shot logits."""

    coef: Floats  # [classes, dim]
    intercept: Floats  # [classes]
    blend: float  # weight of its logits beside the zero-shot logits; 0 is zero-shot alone
    examples: int

    def logits(self, vectors: Floats) -> Doubles:
        """What is added to the zero-shot logits of unit vectors [n, dim], float64 [n, classes]."""
        raw = vectors.astype(np.float64) @ self.coef.T.astype(np.float64) + self.intercept
        return np.asarray(self.blend * raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassHead:
    """Class vectors with all that turns cosines into probabilities.

    Without `none_of_these`, a CLIP model's probabilities are the softmax of its logits and those
    of a sigmoid (SigLIP) model are each label's own. The probability that nothing fits compares
    the best label with the generic texts in `contrast`, on the model's own scale: beforehand, the
    labels together and the generic texts together are equally likely, and each as likely as any
    other of its kind, so that among more labels the best one must fit better.
    """

    labels: tuple[str, ...]
    weights: Floats  # [classes, dim], unit length
    logit_scale: float
    logit_bias: float | None = None  # of sigmoid models
    contrast: Floats | None = None  # [texts, dim], unit length
    none_margin: float = 0.0  # in logits; higher says "none" more readily
    temperature: float = 1.0
    shift: float = 0.0  # added to a sigmoid model's logits by calibration
    threshold: float | None = None
    adapter: Adapter | None = field(default=None)

    def cosines(self, vectors: Floats) -> Floats:
        """Cosines of unit vectors [n, dim] with every class, float32 [n, classes]."""
        return np.asarray(vectors @ self.weights.T, np.float32)

    def logits(self, vectors: Floats) -> Doubles:
        """Logits with adapter and calibration, float64 [n, classes]."""
        logits = self.cosines(vectors).astype(np.float64) * self.logit_scale
        if self.adapter is not None:
            logits += self.adapter.logits(vectors)
        if self.logit_bias is not None:
            logits += self.logit_bias + self.shift
        return np.asarray(logits / self.temperature)

    def probabilities(
        self, vectors: Floats, *, multi_label: bool = False, none_of_these: bool = False
    ) -> Doubles:
        """Probabilities of unit vectors [n, dim].

        Args:
            vectors: float32 [n, dim], unit length.
            multi_label: Judge every label for itself: by the sigmoid of a SigLIP model, against
                the generic texts for a CLIP model.
            none_of_these: Add a last column, the probability that no label fits.

        Returns:
            float64 [n, classes] or [n, classes + 1], in [0, 1]. Rows sum to 1 unless
            `multi_label` or the model is a sigmoid model without `none_of_these`.

        Raises:
            InvalidInputError: The generic texts that this needs were not encoded.
        """
        logits = self.logits(vectors)
        if multi_label:
            if self.logit_bias is None:
                logits = (self._alone(vectors) - self._rest(vectors)[:, None]) / self.temperature
            own = sigmoid(logits)
            if not none_of_these:
                return own
            nothing = 1 - own.max(axis=1, keepdims=True)
            return np.concatenate([own, nothing], axis=1)
        if not none_of_these:
            is_sigmoid = self.logit_bias is not None
            return sigmoid(logits) if is_sigmoid else softmax(logits)
        shares = softmax(logits)
        nothing = self.none_probability(vectors)[:, None]
        return np.concatenate([shares * (1 - nothing), nothing], axis=1)

    def _alone(self, vectors: Floats) -> Doubles:
        """Logits that can be held against those of other texts, float64 [n, classes].

        An adapter's logits say only which class is likelier than another, so their mean is taken
        out; a temperature is for differences, and must not move where they are 0.
        """
        logits = self.cosines(vectors).astype(np.float64) * self.logit_scale
        if self.adapter is not None:
            learnt = self.adapter.logits(vectors)
            logits += learnt - learnt.mean(axis=1, keepdims=True)
        return logits

    def none_probability(self, vectors: Floats) -> Doubles:
        """Probability that no label fits, float64 [n]; from texts alone, whatever was learnt."""
        best = self.cosines(vectors).max(axis=1).astype(np.float64) * self.logit_scale
        return sigmoid(self._rest(vectors) - (best - np.log(len(self.labels))))

    def _rest(self, vectors: Floats) -> Doubles:
        """Logit of "something else", the mean over the generic texts, float64 [n]."""
        if self.contrast is None:
            raise InvalidInputError("this classifier has no generic texts to compare labels with")
        logits = (vectors @ self.contrast.T).astype(np.float64) * self.logit_scale
        total = logsumexp(logits)
        return np.asarray(total - np.log(len(self.contrast)) + self.none_margin)
