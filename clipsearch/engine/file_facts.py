"""Files that a catalog names: written durably, and recognised when they are read again."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import IndexCorruptError, StorageError
from ..types import Modality
from ..vectors import Halves, Rows
from .parts import LINK_REMEDY

__all__ = [
    "REMEDY",
    "AnnEntry",
    "FileFacts",
    "FileHead",
    "Output",
    "SegmentEntry",
    "check_file",
    "facts_of",
    "hash_file",
    "head_of",
]

REMEDY = (
    "Restore it from a backup of the index, or index the source again into a new index; "
    "`clipsearch verify --full` lists everything that is damaged."
)
_HASH_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What the catalog remembers of a file, to notice that it is not the file that was written."""

    size_bytes: int
    sha256: str
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class FileHead:
    """The first bytes of a file, which are checked before a library reads them."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """One segment as the catalog names it."""

    name: str
    modality: Modality
    first_row: int
    last_row: int
    count: int
    vectors: FileFacts
    rows: FileFacts


@dataclass(frozen=True, slots=True)
class AnnEntry:
    """The ANN file of one modality as the catalog names it."""

    modality: Modality
    name: str
    kind: str
    covered_to: int  # rows up to this one are in the file, unless removed
    count: int  # vectors in the file
    facts: FileFacts
    parameters: dict[str, Any]  # of the search: nprobe, refine
    recall_at_10: float
    built_at: str
    head: FileHead | None = None  # what FAISS reads before it searches; None of older versions


def hash_file(path: Path) -> str:
    """SHA-256 of a file, hex."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_HASH_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def head_of(path: Path, size_bytes: int) -> FileHead:
    """Digest the first bytes of a file."""
    with path.open("rb") as file:
        return FileHead(size_bytes, hashlib.sha256(file.read(size_bytes)).hexdigest())


def check_file(path: Path, facts: FileFacts, *, full: bool = False, remedy: str = REMEDY) -> None:
    """Check that a file is the one that was written.

    The size is always checked. The content is hashed when the time of change differs from the
    recorded one (somebody touched, copied or altered the file) or when `full` asks for it.

    Raises:
        IndexCorruptError: The file is missing, a link, or has another size or content.
    """
    try:
        found = path.lstat()
    except FileNotFoundError as exc:
        raise IndexCorruptError(f"{path} is missing. {remedy}") from exc
    except OSError as exc:
        raise StorageError(f"cannot read {path}: {exc.strerror}") from exc
    if stat.S_ISLNK(found.st_mode):
        raise IndexCorruptError(f"{path} is a symbolic link. {LINK_REMEDY}")
    if not stat.S_ISREG(found.st_mode):  # a pipe may never end
        raise IndexCorruptError(f"{path} is damaged: it is no file. {remedy}")
    if found.st_size != facts.size_bytes:
        raise IndexCorruptError(
            f"{path} is damaged: it has {found.st_size} bytes instead of {facts.size_bytes}. "
            f"{remedy}"
        )
    if (full or found.st_mtime_ns != facts.mtime_ns) and hash_file(path) != facts.sha256:
        raise IndexCorruptError(f"{path} is damaged: its content was altered. {remedy}")


def facts_of(path: Path) -> FileFacts:
    """Sync a finished file to disk and take down what it is."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        found = os.fstat(file.fileno())
    return FileFacts(found.st_size, hash_file(path), found.st_mtime_ns)


class Output:
    """A `.npy` file being written, hashed on the way and synced at the end."""

    facts: FileFacts

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        self._digest = hashlib.sha256()

    def header(self, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> None:
        """Write the header of an array that follows."""
        description = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self, description)

    def write(self, data: bytes | Halves | Rows) -> None:
        """Write data, all of it."""
        plain = data if isinstance(data, bytes) else np.ascontiguousarray(data).data
        view = memoryview(plain).cast("B")
        self._digest.update(view)
        while view:  # a nearly full disk takes a part first
            view = view[self._file.write(view) :]

    def __enter__(self) -> Output:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                os.fsync(self._file.fileno())
                found = os.fstat(self._file.fileno())
                self.facts = FileFacts(found.st_size, self._digest.hexdigest(), found.st_mtime_ns)
        finally:
            self._file.close()
