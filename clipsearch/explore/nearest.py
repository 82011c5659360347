"""Everyday words that lie nearest to vectors: what an image or a group of images is about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..classification.contrast import CONTRAST_TEMPLATE, CONTRAST_WORDS
from ..encoder import Encoder
from ..engine.baseline import ScoreBaseline, measure
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
        baseline: How unrelated pairs of texts and images score in the index. With it, a word names
            a group only if it is among the best `words` for it; if it stands out among all words,
            most of which have nothing to do with the group, as a hit better than chance does among
            items; and if it fits better than nine of ten unrelated pairs.

    Returns:
        Words of each group, best first; none for a group that no word fits.
    """
    if not len(centres):
        return []
    vectors = _words(encoder)
    scores = centres @ vectors.T  # [groups, words]
    standing = scores - scores.mean(axis=0) if len(centres) > 1 else scores
    value = standing + 0.5 * scores
    fits = np.ones(scores.shape, bool)
    if baseline is not None:
        for group, centre in enumerate(centres):
            chance = measure(vectors, centre[None], len(vectors))
            least = max(baseline.quantiles[-1], chance.floor if chance else -1)
            fits[group] = scores[group] >= max(least, np.sort(scores[group])[-words])
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
