"""The losses of contrastive training, for a batch that is small enough to look at.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision"
(2021), figure 3 (softmax); Zhai et al., "Sigmoid Loss for Language Image Pre-Training" (2023),
algorithm 1 (sigmoid).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..classification.chances import log_softmax
from ..errors import InvalidInputError

__all__ = ["BatchLoss", "pick_batch", "sigmoid_loss", "softmax_loss", "training_step"]

Doubles = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.floating]

_AMONG = 48  # random vectors that a batch is picked from


@dataclass(frozen=True, slots=True)
class BatchLoss:
    """What a loss makes of a batch of n images, each with its own text.

    Attributes:
        cosines: float64 [n, n]; a row is an image, a column a text, and the diagonal the pairs.
        by_image: float64 [n, n], probability that the text of the column belongs to the image of
            the row; with softmax, rows sum to 1.
        by_text: float64 [n, n], the same asked of the text; with softmax, columns sum to 1. With
            sigmoid both are the same.
        image_losses: float64 [n], in nats.
        text_losses: float64 [n], in nats.
    """

    cosines: Doubles
    by_image: Doubles
    by_text: Doubles
    image_losses: Doubles
    text_losses: Doubles

    @property
    def loss(self) -> float:
        """The loss of the batch: the mean over images and over texts, in nats."""
        return float(self.image_losses.mean() + self.text_losses.mean()) / 2

    @property
    def errors(self) -> Doubles:
        """The errors p - y, float64 [n, n]: n times the derivative of the loss by each logit.

        Below 0 (only on the diagonal) a step pulls image and text together, above 0 it pushes
        them apart.
        """
        return (self.by_image + self.by_text) / 2 - np.eye(len(self.cosines))


def softmax_loss(images: Vectors, texts: Vectors, scale: float) -> BatchLoss:
    """CLIP's loss: the cross-entropy of each row and of each column with the diagonal.

    Args:
        images: Unit vectors, [n, dim].
        texts: Unit vectors of their texts, [n, dim].
        scale: What cosines are multiplied by (1 / temperature), above 0.

    Raises:
        InvalidInputError: The shapes differ.
    """
    cosines = _cosines(images, texts)
    rows = log_softmax(scale * cosines)
    columns = log_softmax(scale * cosines.T).T
    return BatchLoss(cosines, np.exp(rows), np.exp(columns), -np.diag(rows), -np.diag(columns))


def sigmoid_loss(images: Vectors, texts: Vectors, scale: float, bias: float) -> BatchLoss:
    """SigLIP's loss: every entry is asked for itself whether it is a pair.

    Args:
        images: Unit vectors, [n, dim].
        texts: Unit vectors of their texts, [n, dim].
        scale: What cosines are multiplied by, above 0.
        bias: What is then added.

    Raises:
        InvalidInputError: The shapes differ.
    """
    cosines = _cosines(images, texts)
    logits = scale * cosines + bias
    signs = 2 * np.eye(len(logits)) - 1
    losses = np.logaddexp(0, -signs * logits)
    chances = np.exp(-np.logaddexp(0, -logits))
    return BatchLoss(cosines, chances, chances, losses.sum(axis=1), losses.sum(axis=0))


def training_step(
    images: Vectors, texts: Vectors, found: BatchLoss, scale: float, rate: float
) -> tuple[Doubles, Doubles]:
    """One step of gradient descent on the vectors themselves, which stay unit vectors.

    A real step changes the weights of both encoders; here there are none between the loss and the
    vectors.

    Args:
        images: Unit vectors, [n, dim].
        texts: Unit vectors of their texts, [n, dim].
        found: The loss of these vectors.
        scale: The scale of that loss.
        rate: The learning rate.

    Returns:
        The images and the texts after the step.
    """
    by_cosine = scale * found.errors / len(images)  # derivative of the loss
    return (
        _moved(images, by_cosine @ texts.astype(np.float64), rate),
        _moved(texts, by_cosine.T @ images.astype(np.float64), rate),
    )


def pick_batch(vectors: Vectors, count: int, seed: int, *, alike: bool) -> list[int]:
    """Places of vectors for a batch, among a few random ones.

    Args:
        vectors: Unit vectors, [n, dim].
        count: How many; fewer where there are fewer.
        seed: Other seeds, other places.
        alike: Those that are most like the first, which are hard to tell apart; else those that
            are least like each other.
    """
    some = np.random.default_rng(seed).permutation(len(vectors))[:_AMONG]
    chosen = some[:1]
    while len(chosen) < min(count, len(some)):
        left = some[~np.isin(some, chosen)]
        if alike:
            place = left[(vectors[left] @ vectors[chosen[0]]).argmax()]
        else:
            place = left[(vectors[left] @ vectors[chosen].T).max(axis=1).argmin()]
        chosen = np.append(chosen, place)
    return [int(place) for place in chosen]


def _cosines(images: Vectors, texts: Vectors) -> Doubles:
    if images.shape != texts.shape or images.ndim != 2 or not len(images):
        raise InvalidInputError(
            f"a batch has as many texts as images, of one length; not {images.shape} images and "
            f"{texts.shape} texts"
        )
    return np.asarray(images.astype(np.float64) @ texts.astype(np.float64).T)


def _moved(vectors: Vectors, gradient: Doubles, rate: float) -> Doubles:
    """Unit vectors one step against a gradient, of which only what turns them counts."""
    along = (gradient * vectors).sum(axis=1, keepdims=True) * vectors
    moved = vectors - rate * (gradient - along)
    return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True))
