"""Pairs whose image and caption disagree."""

from __future__ import annotations

import numpy as np

from ..vectors import Floats, Rows, best, is_in
from .snapshot import VectorStore

__all__ = ["worst_pairs"]


def worst_pairs(
    images: VectorStore, captions: VectorStore, k: int, *, among: Rows | None = None
) -> tuple[Rows, Floats]:
    """Find the rows whose image and caption vectors agree least.

    Args:
        images: The image vectors.
        captions: The caption vectors of the same state.
        k: How many at most.
        among: The only rows to look at, ascending; None for all.

    Returns:
        `(rows, cosines)`, lowest first, ties by ascending row.
    """
    rows = np.empty(0, np.int64)
    scores = np.empty(0, np.float32)
    for block_rows, vectors in images.live():
        if among is not None:
            wanted = is_in(block_rows, among)
            block_rows, vectors = block_rows[wanted], vectors[wanted]
        paired, caption_vectors = captions.take(block_rows)
        own = vectors[is_in(block_rows, paired)]
        agreement = np.einsum("ij,ij->i", own, caption_vectors)
        rows = np.concatenate([rows, paired])
        scores = np.concatenate([scores, agreement])
        if rows.size > 4 * k:
            rows, scores = _lowest(rows, scores, k)
    return _lowest(rows, scores, k)


def _lowest(rows: Rows, scores: Floats, k: int) -> tuple[Rows, Floats]:
    found = best(rows, -scores, k)
    return found[0], -found[1]
