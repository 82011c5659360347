"""What a filter selects, small enough to be remembered as long as a state lasts."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..vectors import Rows, is_in

__all__ = ["Selection", "Selections"]

# Of a state's selections. One of ten million rows has 2.5 MB at most; its codes may have 32.
_MOST_BYTES = 64 << 20
_MOST = 256


class Selection:
    """Rows of vectors that a search may find; they never change. Safe for threads.

    They are held as a list where that is short, and else as a bitmap, which FAISS takes as it is.

    Args:
        rows: int64 [n], ascending, greater than or equal to 0.

    Attributes:
        size: How many they are.
        codes: What the ANN file has of these rows alone, kept here by `Ann`; None without.
        codes_bytes: Bytes of that.
        is_used: Whether the ANN file was searched for them before.
    """

    def __init__(self, rows: Rows) -> None:
        self.size = int(rows.size)
        in_bits = (int(rows[-1]) >> 3) + 1 if rows.size else 1
        self._rows = rows if rows.nbytes <= in_bits else None
        self._nbytes = in_bits + (rows.nbytes if self._rows is not None else 0)
        self._bits = None if self._rows is not None else _packed(rows)
        self.codes: Any = None
        self.codes_bytes = 0
        self.is_used = False

    @property
    def nbytes(self) -> int:
        """Bytes that it needs, with its bitmap."""
        return self._nbytes + self.codes_bytes

    @property
    def rows(self) -> Rows:
        """The rows, int64 [size], ascending."""
        if self._rows is not None:
            return self._rows
        return np.flatnonzero(np.unpackbits(self.bits, bitorder="little")).astype(np.int64)

    @property
    def bits(self) -> npt.NDArray[np.uint8]:
        """The bitmap, uint8 [n]: that of a row is `1 << row % 8` in the byte `row // 8`."""
        if self._bits is None:  # two threads may both make it; either will do
            self._bits = _packed(self.rows)
        return self._bits

    def count_after(self, row: int) -> int:
        """How many of the rows are greater than `row`."""
        if self._rows is not None:
            return self.size - int(np.searchsorted(self._rows, row, side="right"))
        first = row + 1
        tail = self.bits[first >> 3 :]
        if tail.size == 0:
            return 0
        below = int(tail[0]) & ((1 << (first & 7)) - 1)
        return int(np.bitwise_count(tail).sum()) - below.bit_count()

    def holds(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Which rows are among these, bool [n]."""
        if self._rows is not None and self._bits is None:
            return is_in(rows, self._rows)
        at = rows >> 3
        inside = (at >= 0) & (at < self.bits.size)  # an altered ANN file may name any row
        found: npt.NDArray[np.bool_] = inside & (
            (self.bits[np.where(inside, at, 0)] >> (rows & 7).astype(np.uint8)) & 1
        ).astype(bool)
        return found


def _packed(rows: Rows) -> npt.NDArray[np.uint8]:
    """The bitmap of ascending rows."""
    bits = np.zeros((int(rows[-1]) >> 3) + 1 if rows.size else 1, np.uint8)
    if rows.size:
        at = rows >> 3
        starts = np.flatnonzero(np.diff(at, prepend=-1))  # of the rows of each byte
        bits[at[starts]] = np.bitwise_or.reduceat(
            np.uint8(1) << (rows & 7).astype(np.uint8), starts
        )
    return bits


class Selections:
    """What the latest filters select in one state, within a bound of memory; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], Selection] = OrderedDict()

    def get(self, target: str, where: str, make: Callable[[], Selection]) -> Selection:
        """What a filter selects of the vectors of a modality, remembered or made."""
        key = target, where
        found = self._kept.get(key) or make()
        with self._lock:
            found = self._kept.setdefault(key, found)  # or that of another thread
            self._kept.move_to_end(key)
            held = sum(kept.nbytes + sys.getsizeof(of) for (_, of), kept in self._kept.items())
            while len(self._kept) > 1 and (held > _MOST_BYTES or len(self._kept) > _MOST):
                (_, of), gone = self._kept.popitem(last=False)
                held -= gone.nbytes + sys.getsizeof(of)
        return found
