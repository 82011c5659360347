"""Vectors of one modality that wait for their commit."""

from __future__ import annotations

import bisect
from collections.abc import Iterable

import numpy as np

from ..vectors import Floats, Halves, Rows, is_in

__all__ = ["StagedVectors"]


class StagedVectors:
    """Blocks of vectors in the order in which they were staged, by ascending rows."""

    def __init__(self) -> None:
        self._firsts: list[int] = []  # first row of each block
        self._blocks: list[tuple[Rows, Halves]] = []
        self._dropped: set[int] = set()

    def add(self, rows: Rows, vectors: Halves) -> None:
        """Stage vectors, float16 [n, dim]; rows, int64 [n], go on from those before."""
        self._firsts.append(int(rows[0]))
        self._blocks.append((rows, vectors))

    def drop(self, rows: Iterable[int]) -> None:
        """Give up the vectors of rows; those that are not here are ignored."""
        if self._blocks:
            self._dropped.update(rows)

    def get(self, row: int) -> Floats | None:
        """The vector of a row, float32 [dim], or None."""
        block = bisect.bisect_right(self._firsts, row) - 1
        if block < 0 or row in self._dropped:
            return None
        rows, vectors = self._blocks[block]
        at = int(np.searchsorted(rows, row))
        return vectors[at].astype(np.float32) if at < rows.size and rows[at] == row else None

    def all(self, dim: int) -> tuple[Rows, Halves]:
        """Rows, int64 [n] ascending, and vectors, float16 [n, dim], of all that is not dropped."""
        rows = np.concatenate([np.empty(0, np.int64), *(rows for rows, _ in self._blocks)])
        vectors = np.concatenate([np.empty((0, dim), np.float16), *(v for _, v in self._blocks)])
        if self._dropped:
            kept = ~is_in(rows, np.sort(np.fromiter(self._dropped, np.int64)))
            rows, vectors = rows[kept], vectors[kept]
        return rows, vectors
