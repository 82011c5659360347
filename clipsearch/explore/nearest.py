"""Everyday words that lie nearest to vectors: what an image or a group of images is about."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from ..classification.contrast import CONTRAST_TEMPLATE, CONTRAST_WORDS
from ..encoder import Encoder
from ..engine.baseline import ScoreBaseline
from ..errors import InvalidInputError
from ..vectors import Floats
from ..zeroshot import class_vectors

__all__ = ["name_groups", "nearest_words"]

_CHANCE = 0.15  # of the groups that no word fits, the share that gets a name all the same


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


def name_groups(
    encoder: Encoder, centres: Floats, *, words: int = 2, baseline: ScoreBaseline | None = None
) -> list[tuple[str, ...]]:
    """Words for each of several groups that tell it from the others; each word names one group.

    A word is judged by how much better it fits a group than it fits the groups on average, so that
    what all images have in common names none of them.

    Args:
        encoder: The model that the vectors are of.
        centres: float32 [groups, dim], the mean of each group; normalised if there is no
            `baseline`, and not normalised if there is: a cosine with it is then the mean of those
            of the group's members.
        words: How many words a group gets at most.
        baseline: How unrelated pairs of texts and images score. With it, a word names a group only
            if it fits better than the best of all words would by chance. The less alike the
            members are (the shorter their mean), the less chance reaches in the mean of them.

    Returns:
        Words of each group, best first; none for a group that no word fits.
    """
    if not len(centres):
        return []
    scores = centres @ _words(encoder).T  # [groups, words]
    standing = scores - scores.mean(axis=0) if len(centres) > 1 else scores
    value = standing + 0.5 * scores
    fits = np.ones(scores.shape, bool)
    if baseline is not None:
        reached = baseline.scale * NormalDist().inv_cdf(1 - _CHANCE / scores.shape[1])
        lengths = np.linalg.norm(centres, axis=1, keepdims=True)
        fits = scores >= baseline.center + reached * lengths
    names: list[list[str]] = [[] for _ in centres]
    used: set[int] = set()
    for place in np.argsort(-np.where(fits, value, -np.inf), axis=None, kind="stable"):
        group, word = divmod(int(place), scores.shape[1])
        if fits[group, word] and word not in used and len(names[group]) < words:
            names[group].append(CONTRAST_WORDS[word])
            used.add(word)
    return [tuple(found) for found in names]


def _words(encoder: Encoder) -> Floats:
    """Vectors of the words, float32 [words, dim]; kept on disk by model."""
    groups: dict[str, Sequence[str]] = {word: [word] for word in CONTRAST_WORDS}
    return class_vectors(encoder, groups, (CONTRAST_TEMPLATE,))
