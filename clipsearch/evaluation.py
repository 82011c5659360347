"""How good a model or an index is, on data of one's own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .classification.labelled import Captioned, Labelled
from .classification.metrics import (
    RetrievalFigures,
    expected_calibration_error,
    positive_ranks,
    ranks_figures,
    reliability_bins,
    top_k_accuracy,
)
from .encoder import Encoder
from .errors import InvalidInputError, SourceError
from .intake.embedder import embed_files
from .zeroshot import ZeroShotClassifier

if TYPE_CHECKING:
    from .index import Index

__all__ = [
    "IndexReport",
    "RetrievalReport",
    "ZeroShotReport",
    "evaluate_index",
    "evaluate_retrieval",
    "evaluate_zeroshot",
]

_WORST_PAIRS = 10
_NEAR = 0.3  # length of the noise that turns a stored vector into a query near it


@dataclass(frozen=True, slots=True)
class ZeroShotReport:
    """Zero-shot classification of labelled images."""

    model: str
    images: int
    skipped: tuple[str, ...]
    classes: int
    top1: float
    top5: float
    mean_per_class: float
    ece: float
    per_class: dict[str, float]  # top-1 of each class, worst first
    confusions: tuple[tuple[str, str, int], ...]  # truth, answer, count; most frequent first
    bins: tuple[tuple[float, float, int], ...]  # mean probability, accuracy, count
    images_per_s: float


@dataclass(frozen=True, slots=True)
class RetrievalReport:
    """Retrieval between images and their captions."""

    model: str
    images: int
    captions: int
    skipped: tuple[str, ...]
    text_to_image: RetrievalFigures
    image_to_text: RetrievalFigures


@dataclass(frozen=True, slots=True)
class IndexReport:
    """Search as the index does it, against exact search."""

    items: int
    queries: int
    k: int
    recall: float  # mean share of the exact k best that search returned
    worst: float  # of one query
    approximate: bool  # whether an ANN file took part at all
    search_ms: float  # median
    exact_ms: float


def evaluate_zeroshot(classifier: ZeroShotClassifier, data: Labelled) -> ZeroShotReport:
    """Classify labelled images and count.

    Args:
        classifier: Its labels must hold every class of `data`.
        data: Images and classes.

    Raises:
        InvalidInputError: A class is not among the labels.
        SourceError: No image could be read.
    """
    rows = {label: row for row, label in enumerate(classifier.labels)}
    missing = sorted({c for c in data.classes if c not in rows})
    if missing:
        raise InvalidInputError(f"classes without a label: {', '.join(missing[:5])}")
    started = perf_counter()
    encoded = embed_files(data.images, classifier.encoder)
    seconds = perf_counter() - started
    if not len(encoded.kept):
        raise SourceError("none of the images could be read")
    truth = np.array([rows[data.labels[at]] for at in encoded.kept], np.int64)
    logits = classifier.head.logits(encoded.vectors)
    probabilities = classifier.probabilities(encoded.vectors)
    best = np.argsort(-logits, axis=1, kind="stable")[:, 0]
    right = best == truth
    confidence = probabilities[np.arange(len(best)), best]
    per_class = {
        classifier.labels[c]: float(right[truth == c].mean()) for c in np.unique(truth).tolist()
    }
    wrong = Counter(zip(truth[~right].tolist(), best[~right].tolist(), strict=True))
    return ZeroShotReport(
        model=classifier.encoder.name,
        images=len(truth),
        skipped=tuple(f"{data.images[at]}: {why}" for at, why in encoded.skipped),
        classes=len(classifier.labels),
        top1=float(right.mean()),
        top5=top_k_accuracy(logits, truth, 5),
        mean_per_class=float(np.mean(list(per_class.values()))),
        ece=expected_calibration_error(confidence, right),
        per_class=dict(sorted(per_class.items(), key=lambda pair: (pair[1], pair[0]))),
        confusions=tuple(
            (classifier.labels[t], classifier.labels[a], n)
            for (t, a), n in wrong.most_common(_WORST_PAIRS)
        ),
        bins=tuple(reliability_bins(confidence, right)),
        images_per_s=len(truth) / seconds,
    )


def evaluate_retrieval(encoder: Encoder, data: Captioned) -> RetrievalReport:
    """Find images by their captions and captions by their images.

    Every caption of an image counts as right for it. Images that cannot be read are left out
    with their captions.

    Raises:
        SourceError: No image could be read.
    """
    encoded = embed_files(data.images, encoder)
    if not len(encoded.kept):
        raise SourceError("none of the images could be read")
    new_row = {int(old): new for new, old in enumerate(encoded.kept)}
    kept = [i for i, image in enumerate(data.image_of) if image in new_row]
    image_of = np.array([new_row[data.image_of[i]] for i in kept], np.int64)
    texts = encoder.encode_texts([data.captions[i] for i in kept])
    return RetrievalReport(
        model=encoder.name,
        images=len(encoded.kept),
        captions=len(kept),
        skipped=tuple(f"{data.images[at]}: {why}" for at, why in encoded.skipped),
        text_to_image=ranks_figures(
            positive_ranks(texts, encoded.vectors, [np.array([i]) for i in image_of])
        ),
        image_to_text=ranks_figures(
            positive_ranks(encoded.vectors, texts, _captions_of(image_of, len(encoded.kept)))
        ),
    )


def _captions_of(image_of: npt.NDArray[np.int64], images: int) -> list[npt.NDArray[np.int64]]:
    order = np.argsort(image_of, kind="stable")
    return np.split(order, np.searchsorted(image_of[order], np.arange(1, images)))


def evaluate_index(index: Index, *, queries: int = 200, k: int = 10) -> IndexReport:
    """Compare search as it is with exact search.

    Args:
        index: Needs no encoder.
        queries: Stored vectors, drawn evenly and moved by noise, that are searched for.
        k: How many hits are compared.

    Raises:
        SourceError: The index is empty.
        InvalidInputError: `queries` or `k` is below 1.
    """
    if queries < 1 or k < 1:
        raise InvalidInputError(f"queries and k must be at least 1, not {queries} and {k}")
    parts = [vectors for _, vectors in index.iter_vectors("image", away=False)]
    items = sum(map(len, parts))
    if not items:
        raise SourceError("the index has no images to search, or all of them are away")
    drawn = np.unique(np.linspace(0, items - 1, min(queries, items)).astype(np.int64))
    stored = np.concatenate([np.asarray(part, np.float32) for part in parts])[drawn]
    noise = np.random.default_rng(0).normal(size=stored.shape)
    noise *= _NEAR / np.linalg.norm(noise, axis=1, keepdims=True)
    recalls, fast_ms, exact_ms, approximate = [], [], [], False
    for vector in (stored + noise).astype(np.float32):
        started = perf_counter()
        found = index.search(vector, k)
        middle = perf_counter()
        exact = index.search(vector, k, exact=True)
        fast_ms.append(1000 * (middle - started))
        exact_ms.append(1000 * (perf_counter() - middle))
        approximate |= found.approximate
        best = {hit.item.id for hit in exact}
        recalls.append(len(best & {hit.item.id for hit in found}) / max(1, len(best)))
    return IndexReport(
        items=items,
        queries=len(recalls),
        k=k,
        recall=float(np.mean(recalls)),
        worst=float(min(recalls)),
        approximate=approximate,
        search_ms=float(np.median(fast_ms)),
        exact_ms=float(np.median(exact_ms)),
    )
