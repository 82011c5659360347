"""Memory shared with decoder processes: they write pixels where the encoder reads them.

It is a file without a name, which children get open. So nothing is left behind by whatever is
killed, and `/dev/shm`, which is small in containers, does not count.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
import threading
import weakref
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import StorageError

__all__ = ["Shape", "Slot", "Slots", "mapped", "progress"]

Shape = tuple[int, int, int, int]  # images of a slot, height, width, 3
_PAGE = mmap.ALLOCATIONGRANULARITY
_HEAD_BYTES = 16 * _PAGE  # before the slots: a number for each child
_ZEROS = bytes(1024 * 1024)


@dataclass(frozen=True, slots=True)
class Slot:
    """Room for the pixels of a batch, which belongs to one user at a time."""

    number: int
    pixels: npt.NDArray[np.uint8]  # [images, H, W, 3]


class Slots:
    """The slots of a process and its children. For several threads at a time.

    There are as many as are used at once; pages of memory that are never written do not count.

    Args:
        shape: Of each.

    Raises:
        StorageError: There is no room for them.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._lock = threading.Lock()
        self._free: list[Slot] = []
        self._count = 0
        self.fd, self._in_memory = _unnamed()
        self._close = weakref.finalize(self, os.close, self.fd)
        self._reserve(0, _HEAD_BYTES)
        self.progress = progress(self.fd)

    def take(self) -> Slot:
        """A slot that nobody else has, until it is given back."""
        with self._lock:
            if self._free:
                return self._free.pop()
            number = self._count
            self._reserve(_offset(self.shape, number), _slot_bytes(self.shape))
            self._count += 1
            return Slot(number, mapped(self.fd, self.shape, number))

    def give(self, slot: Slot) -> None:
        """Give a slot back that no process writes to any more."""
        with self._lock:
            self._free.append(slot)

    def close(self) -> None:
        """Give the file up; the memory goes with the last array that is in it."""
        self._close()

    def _reserve(self, start: int, size: int) -> None:
        try:
            if self._in_memory:
                os.ftruncate(self.fd, start + size)
            else:  # what is not there when it is written to would kill the process
                for at in range(start, start + size, len(_ZEROS)):
                    _write(self.fd, _ZEROS[: start + size - at], at)
        except OSError as exc:
            where = "memory" if self._in_memory else tempfile.gettempdir()
            raise StorageError(
                f"no room for {size // 2**20 + 1} MB of decoded images in {where} "
                f"({exc.strerror}); free some, or set a smaller --batch-size"
            ) from exc


def mapped(fd: int, shape: Shape, number: int) -> npt.NDArray[np.uint8]:
    """The pixels of a slot, in whatever process, as uint8 of that shape."""
    memory = mmap.mmap(fd, _slot_bytes(shape), offset=_offset(shape, number))
    return np.frombuffer(memory, np.uint8, int(np.prod(shape))).reshape(shape)


def progress(fd: int) -> npt.NDArray[np.int64]:
    """A number for each child: which of the files that it was given it is at."""
    return np.frombuffer(mmap.mmap(fd, _HEAD_BYTES), np.int64)


def _slot_bytes(shape: Shape) -> int:
    return -(-int(np.prod(shape)) // _PAGE) * _PAGE


def _offset(shape: Shape, number: int) -> int:
    return _HEAD_BYTES + number * _slot_bytes(shape)


def _unnamed() -> tuple[int, bool]:
    """A file without a name, and whether it is in memory, as Linux has them."""
    with contextlib.suppress(AttributeError, OSError):
        return os.memfd_create("clipsearch"), True
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno()), False


def _write(fd: int, data: bytes, at: int) -> None:
    while data:
        count = os.pwrite(fd, data, at)
        data, at = data[count:], at + count
