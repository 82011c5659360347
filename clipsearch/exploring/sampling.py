"""A sample of an index's vectors, which stands for all of them where all would be too many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..types import Modality
from ..vectors import Floats, Rows

if TYPE_CHECKING:
    from ..index import Index

__all__ = ["sample_vectors"]

_SEED = 0  # the same index always gives the same sample


def sample_vectors(
    index: Index, limit: int, *, modality: Modality = "image"
) -> tuple[Rows, Floats]:
    """At most `limit` vectors, each with the same chance; all of them where there are no more.

    Returns:
        Ids, int64 [n], ascending, and float32 [n, dim] unit vectors.
    """
    rng = np.random.default_rng(_SEED)
    rows, kept, keys = [np.empty(0, np.int64)], [np.empty((0, index.dim), np.float32)], []
    count = 0
    keys.append(np.empty(0))
    for ids, vectors in index.iter_vectors(modality):
        rows.append(ids)
        kept.append(vectors)
        keys.append(rng.random(ids.size))  # the `limit` smallest keys are the sample
        count += ids.size
        if count > 2 * limit:
            rows, kept, keys = _smallest(rows, kept, keys, limit)
            count = limit
    rows, kept, _ = _smallest(rows, kept, keys, limit)
    order = np.argsort(rows[0])
    return rows[0][order], kept[0][order]


def _smallest(
    rows: list[Rows], kept: list[Floats], keys: list[np.ndarray], limit: int
) -> tuple[list[Rows], list[Floats], list[np.ndarray]]:
    all_rows, all_kept, all_keys = np.concatenate(rows), np.concatenate(kept), np.concatenate(keys)
    if all_keys.size <= limit:
        return [all_rows], [all_kept], [all_keys]
    best = np.argpartition(all_keys, limit)[:limit]
    return [all_rows[best]], [all_kept[best]], [all_keys[best]]
