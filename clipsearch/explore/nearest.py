"""Everyday words that lie nearest to vectors: what an image or a group of images is about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..classification.contrast import CONTRAST_TEMPLATE, CONTRAST_WORDS
from ..encoder import Encoder
from ..errors import InvalidInputError
from ..vectors import Floats
from ..zeroshot import class_vectors

__all__ = ["name_groups", "nearest_words"]


def nearest_words(encoder: Encoder, vector: Floats, k: int = 5) -> list[tuple[str, float]]:
    """The k everyday words that fit a vector best, with their cosines, best first.

    Args:
        encoder: The model that the vector is of.
        vector: float32 [dim], unit length.
        k: How many.

    Raises:
        InvalidInputError: `k` is below 1.
    """
    if k < 1:
        raise InvalidInputError(f"k must be at least 1, not {k}")
    scores = _words(encoder) @ vector
    best = np.argsort(-scores, kind="stable")[:k]
    return [(CONTRAST_WORDS[place], float(scores[place])) for place in best]


def name_groups(encoder: Encoder, centres: Floats, *, words: int = 2) -> list[tuple[str, ...]]:
    """Words for each of several groups that tell it from the others.

    A word is judged by how much better it fits a group than it fits the groups on average, so that
    what all images have in common names none of them.

    Args:
        encoder: The model that the vectors are of.
        centres: float32 [groups, dim], the mean of each group.
        words: How many words a group gets.

    Returns:
        Words of each group, best first.
    """
    if not len(centres):
        return []
    scores = centres @ _words(encoder).T  # [groups, words]
    standing = scores - scores.mean(axis=0) if len(centres) > 1 else scores
    order = np.argsort(-(standing + 0.5 * scores), axis=1, kind="stable")[:, :words]
    return [tuple(CONTRAST_WORDS[place] for place in best) for best in order]


def _words(encoder: Encoder) -> Floats:
    """Vectors of the words, float32 [words, dim]; kept on disk by model."""
    groups: dict[str, Sequence[str]] = {word: [word] for word in CONTRAST_WORDS}
    return class_vectors(encoder, groups, (CONTRAST_TEMPLATE,))
