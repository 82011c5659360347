"""Classifying everything in an index from its stored vectors."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .engine.catalog import check_set_name
from .zeroshot import ZeroShotClassifier

if TYPE_CHECKING:
    from .index import Index

__all__ = ["TagReport", "tag_index"]

_BATCH = 8192


@dataclass(frozen=True, slots=True)
class TagReport:
    """How many items got which label."""

    items: int
    tagged: int  # items with at least one label
    counts: dict[str, int]  # label -> items, most frequent first


def tag_index(
    index: Index,
    classifier: ZeroShotClassifier,
    *,
    name: str = "default",
    multi_label: bool = False,
    none_of_these: bool = False,
    threshold: float | None = None,
) -> TagReport:
    """Give items the labels that their stored image vectors fit, for `where "tag = 'dog'"`.

    The tags of an earlier call with the same `name` are replaced. No image is opened.

    Args:
        index: What is tagged; its model must be the classifier's.
        classifier: Says which label fits.
        name: Name of this set of tags.
        multi_label: Every label at or above the threshold (0.5 by default), not the best one.
        none_of_these: Leave items untagged that no label fits.
        threshold: Leave items untagged whose best probability is lower; by default what the
            classifier's calibration found.

    Raises:
        IndexLockedError: Another process is writing to the index.
        InvalidInputError: `name` is that of the images' own keywords.
    """
    check_set_name(name)
    least = classifier.threshold if threshold is None else threshold
    least = 0.5 if least is None and multi_label else least or 0.0
    rows, labels, probabilities = [], [], []
    items = 0
    tagged: set[int] = set()
    for ids, vectors in index.iter_vectors("image", batch=_BATCH):
        items += len(ids)
        chances = classifier.probabilities(
            np.asarray(vectors, np.float32), multi_label=multi_label, none_of_these=none_of_these
        )
        if multi_label:
            at, which = np.nonzero(chances[:, : len(classifier.labels)] >= least)
        else:
            best = chances.argmax(axis=1)
            at = np.flatnonzero(
                (best < len(classifier.labels)) & (chances[np.arange(len(best)), best] >= least)
            )
            which = best[at]
        rows += ids[at].tolist()
        labels += [classifier.labels[c] for c in which.tolist()]
        probabilities += chances[at, which].tolist()
        tagged.update(ids[at].tolist())
    index.set_tags(rows, labels, probabilities, name=name)
    return TagReport(items, len(tagged), dict(Counter(labels).most_common()))
