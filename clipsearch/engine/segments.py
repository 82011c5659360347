"""Segments: immutable files of vectors, each with a sidecar file of the rows they belong to.

Vectors are read with positional reads, not through a memory map: the page cache serves them
either way, but a read of a file that somebody truncated is an error that can be caught, where a
mapped page would kill the process, and it does not count as resident memory of the reader.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import threading
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..errors import IndexCorruptError
from ..files import sync
from ..types import Modality
from ..vectors import Block, Floats, Halves, Rows
from .ann import GpuVectors
from .file_facts import REMEDY, Output, SegmentEntry, check_file

__all__ = ["BLOCK_ROWS", "Segment", "segment_files", "write_segment"]

BLOCK_ROWS = 4096  # rows read and converted at a time: 8 MB of float32 at 512 dimensions
_GAP_ROWS = 8  # rows read in vain rather than starting another read


def segment_files(folder: Path, name: str) -> tuple[Path, Path]:
    """Paths of the vector file and of the row file of a segment."""
    return folder / "vectors" / f"{name}.npy", folder / "vectors" / f"{name}.rows.npy"


def write_segment(
    folder: Path, modality: Modality, dim: int, count: int, blocks: Iterable[tuple[Rows, Halves]]
) -> SegmentEntry:
    """Write one segment durably; the catalog does not know of it yet.

    Args:
        folder: The folder of the index.
        modality: Which vectors these are.
        dim: Their length.
        count: How many rows the blocks hold together, at least 1.
        blocks: Rows, int64 [n], ascending over all blocks, and float16 [n, dim] unit vectors.

    Returns:
        The entry for the catalog.

    Raises:
        OSError: The disk refused; what was written is deleted again.
        ValueError: The blocks hold more or fewer rows than `count`.
    """
    all_rows = np.empty(count, np.int64)
    name = f"{modality}-{secrets.token_hex(8)}"
    vector_path, row_path = segment_files(folder, name)
    try:
        with Output(vector_path) as out:
            out.header(np.dtype(np.float16), (count, dim))
            done = 0
            for rows, vectors in blocks:
                all_rows[done : done + rows.size] = rows
                out.write(vectors)
                done += rows.size
        if done != count:
            raise ValueError(f"{done} rows were given instead of {count}")
        with Output(row_path) as row_out:
            row_out.header(np.dtype(np.int64), (count,))
            row_out.write(all_rows)
        sync(vector_path.parent)
    except BaseException:
        for path in (vector_path, row_path):
            with contextlib.suppress(OSError):
                path.unlink()
        raise
    return SegmentEntry(
        name, modality, int(all_rows[0]), int(all_rows[-1]), count, out.facts, row_out.facts
    )


class Segment:
    """An open segment. Stays readable when a writer deletes its files.

    Args:
        folder: The folder of the index.
        entry: What the catalog says of the segment.
        dim: Length of a vector.

    Raises:
        IndexCorruptError: A file is missing, damaged or of another shape.
    """

    def __init__(self, folder: Path, entry: SegmentEntry, dim: int) -> None:
        self.entry = entry
        self._dim = dim
        self._path, self._row_path = segment_files(folder, entry.name)
        check_file(self._path, entry.vectors)
        check_file(self._row_path, entry.rows)
        # What is allocated below is at most as large as the files are.
        if entry.vectors.size_bytes < entry.count * dim * 2:
            raise IndexCorruptError(f"{self._path} is damaged: it ends too early. {REMEDY}")
        if entry.rows.size_bytes < entry.count * 8:
            raise IndexCorruptError(f"{self._row_path} is damaged: it ends too early. {REMEDY}")
        self._fd, self._offset = _open_array(
            self._path, entry.vectors.size_bytes, np.dtype(np.float16), (entry.count, dim)
        )
        self._close = weakref.finalize(self, os.close, self._fd)
        # Rows without gaps need no table.
        dense = entry.last_row - entry.first_row + 1 == entry.count
        self._rows: Rows | None = None if dense else self._read_rows()
        self._floats: Floats | None = None
        self._gpu: GpuVectors | None = None
        self._lock = threading.Lock()

    def _read_rows(self) -> Rows:
        fd, offset = _open_array(
            self._row_path, self.entry.rows.size_bytes, np.dtype(np.int64), (self.entry.count,)
        )
        try:
            rows = np.empty(self.entry.count, np.int64)
            _read_into(fd, rows, offset, self._row_path)
        finally:
            os.close(fd)
        ascending = bool((rows[1:] > rows[:-1]).all())
        if not ascending or (rows[0], rows[-1]) != (self.entry.first_row, self.entry.last_row):
            raise IndexCorruptError(f"{self._row_path} is damaged: rows out of order. {REMEDY}")
        return rows

    @property
    def rows(self) -> Rows:
        """Rows of the vectors, int64 [count], ascending."""
        if self._rows is None:
            return np.arange(self.entry.first_row, self.entry.last_row + 1, dtype=np.int64)
        return self._rows

    def find(self, rows: Rows) -> tuple[Rows, Rows]:
        """Find rows in this segment.

        Args:
            rows: int64 [m], ascending.

        Returns:
            `(positions, which)`: positions in the segment, ascending, and the indices into the
            argument that they belong to. Rows that are not here are left out.
        """
        if self._rows is None:
            which = np.flatnonzero((rows >= self.entry.first_row) & (rows <= self.entry.last_row))
            return rows[which] - self.entry.first_row, which
        at = np.searchsorted(self._rows, rows)
        at[at == self._rows.size] = 0
        which = np.flatnonzero(self._rows[at] == rows)
        return at[which].astype(np.int64), which

    def after(self, row: int) -> int:
        """Position of the first vector whose row is greater than `row`."""
        if self._rows is None:
            return min(max(row - self.entry.first_row + 1, 0), self.entry.count)
        return int(np.searchsorted(self._rows, row, side="right"))

    def read(self, start: int, stop: int) -> Halves:
        """Stored vectors from position `start` to `stop`, float16 [n, dim]."""
        out = np.empty((stop - start, self._dim), np.float16)
        _read_into(self._fd, out, self._offset + start * self._dim * 2, self._path)
        return out

    def on_gpu(self) -> GpuVectors:
        """The vectors on a CUDA device, copied there on first need."""
        with self._lock:
            if self._gpu is None:
                self._gpu = GpuVectors(self.blocks(), self._dim)
            return self._gpu

    def keep_floats(self) -> None:
        """Hold the vectors as float32 in memory from now on."""
        with self._lock:
            if self._floats is None:
                floats = np.empty((self.entry.count, self._dim), np.float32)
                for start in range(0, self.entry.count, BLOCK_ROWS):
                    stop = min(start + BLOCK_ROWS, self.entry.count)
                    floats[start:stop] = self.read(start, stop)
                self._floats = floats

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """Rows and float32 vectors from position `start` to the end, block by block."""
        if self._floats is not None:
            yield self.rows[start:], self._floats[start:]
            return
        rows = self.rows
        for at in range(start, self.entry.count, BLOCK_ROWS):
            stop = min(at + BLOCK_ROWS, self.entry.count)
            yield rows[at:stop], self.read(at, stop).astype(np.float32)

    def take(self, positions: Rows) -> Floats:
        """Vectors at some positions.

        Args:
            positions: int64 [m], ascending.

        Returns:
            float32 [m, dim].
        """
        if self._floats is not None:
            return self._floats[positions]
        out = np.empty((positions.size, self._dim), np.float16)
        if positions.size == 0:
            return out.astype(np.float32)
        # Runs of nearby positions are one read.
        breaks = np.flatnonzero(np.diff(positions) > _GAP_ROWS) + 1
        starts = np.concatenate([[0], breaks])
        stops = np.concatenate([breaks, [positions.size]])
        width = self._dim * 2
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            first, last = int(positions[start]), int(positions[stop - 1])
            if last - first == stop - 1 - start:
                _read_into(self._fd, out[start:stop], self._offset + first * width, self._path)
            else:
                out[start:stop] = self.read(first, last + 1)[positions[start:stop] - first]
        return out.astype(np.float32)


def _open_array(
    path: Path, size_bytes: int, dtype: np.dtype[np.generic], shape: tuple[int, ...]
) -> tuple[int, int]:
    """Open a `.npy` file and check its header; descriptor and offset of the data.

    The header is not parsed: what numpy would write is known, but for how many spaces it ends with.
    """
    offset = min(max(size_bytes - math.prod(shape) * dtype.itemsize, 0), 2**16)
    text = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': {shape}, }}"
    wanted = text.ljust(offset - 11).encode() + b"\n"
    try:
        with path.open("rb") as file:
            head = file.read(offset)
            if head != b"\x93NUMPY\x01\x00" + len(wanted).to_bytes(2, "little") + wanted:
                raise IndexCorruptError(f"{path} is damaged: its header was altered. {REMEDY}")
            return os.dup(file.fileno()), offset
    except FileNotFoundError as exc:
        raise IndexCorruptError(f"{path} is missing. {REMEDY}") from exc


def _read_into(fd: int, out: Halves | Rows, offset: int, path: Path) -> None:
    """Fill an array from a file, or say that the file is too short."""
    view = out.data.cast("B")
    done = 0
    while done < len(view):
        got = os.preadv(fd, [view[done:]], offset + done)
        if got == 0:
            raise IndexCorruptError(f"{path} is damaged: it ends too early. {REMEDY}")
        done += got
