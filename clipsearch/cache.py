"""One folder for what can be computed again, shared by all processes of a user without locks.

Everything in it is an entry under `KIND/...`: vectors of class names and of generic texts, maps,
selections on them, thumbnails, exported models and what their names mean. When all of them together
outgrow the limit, those used least recently are deleted, whatever their kind.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InvalidInputError
from .files import expanded, replacing, replacing_folder, sweep, users_folder
from .vectors import Floats

__all__ = [
    "CACHE_VARIABLE",
    "LIMIT_VARIABLE",
    "cache_folder",
    "cached_key",
    "cached_vectors",
    "folder_entry",
    "read_entry",
    "write_entry",
    "write_folder_entry",
]

CACHE_VARIABLE = "CLIPSEARCH_CACHE"
LIMIT_VARIABLE = "CLIPSEARCH_CACHE_MB"
# The thumbnails of 100,000 photos take 1.5 GB, the encoders of a large model as much.
_LIMIT_MB = 4000
_KEPT_SHARE = 0.9  # what stays after a deletion, so that not every write deletes
# The folder is looked through once an hour, and whenever a process has written this share of the
# limit since: looking through 100,000 thumbnails takes half a second.
_LOOK_S = 3600.0
_LOOK_SHARE = 1 / 16
_LOOKED = ".looked-through"
_USED_S = 60.0  # to the minute, so that a page of thumbnails does not write to the disk
# The names that entries have. Nothing else is ever deleted: the variable may name any folder.
_KINDS = ("classes", "items", "maps", "models", "names", "probes", "text", "thumbnails")
_ENTRY = re.compile(
    r"(?:classes|probes)/[0-9a-f]{64}\.npy"
    r"|items/[0-9a-f]{32}\.json"
    r"|maps/[0-9a-f]{64}\.npz"
    r"|models/[0-9a-f]{1,32}"
    r"|names/[0-9a-f]{64}\.json"
    r"|text/[0-9a-f]{1,32}"  # of earlier versions
    r"|thumbnails/[0-9]+/[0-9a-f]{2}/[0-9a-f]{62}\.jpg"
)
_UNIT_TOLERANCE = 1e-3

_written: dict[Path, int] = {}  # bytes by cache folder, since it was looked through


def cache_folder() -> Path:
    """`$CLIPSEARCH_CACHE`, or `clipsearch` in the user's cache folder (`$XDG_CACHE_HOME`)."""
    if os.environ.get(CACHE_VARIABLE):
        return expanded(os.environ[CACHE_VARIABLE]).absolute()
    base = users_folder("XDG_CACHE_HOME", "~/.cache")
    return (base or Path(os.devnull)) / "clipsearch"  # in which nothing can be kept


def cached_key(*parts: Any) -> str:
    """A file name, hex, for JSON-able parts that together decide a result."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_entry(name: str) -> bytes | None:
    """The bytes of an entry, such as "maps/KEY.npz"; None where there is none."""
    path = cache_folder() / name
    try:
        data = path.read_bytes()
    except OSError:
        return None
    _mark_used(path)
    return data


def write_entry(name: str, data: bytes) -> None:
    """Keep bytes; a full or read-only disk only means that they are computed again.

    What is read must be checked by its reader: a power cut may leave it cut short.

    Raises:
        InvalidInputError: `$CLIPSEARCH_CACHE_MB` is not a size.
    """
    path = _place(name)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, durable=False) as part:
            part.write_bytes(data)
        _make_room(len(data))


def folder_entry(name: str) -> Path:
    """Where an entry that is a folder lies, if it is there; its files are read in place."""
    path = _place(name)
    _mark_used(path)
    return path


def write_folder_entry(name: str, fill: Callable[[Path], None]) -> bool:
    """Keep a folder that `fill` writes the files of.

    Returns:
        Whether it was written; a full or read-only disk is no error.

    Raises:
        InvalidInputError: `$CLIPSEARCH_CACHE_MB` is not a size.
    """
    path = _place(name)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_folder(path) as part:
            fill(part)
        _make_room(_size(path))
        return True
    return False


def cached_vectors(
    kind: str, key: str, make: Callable[[], Floats], *, shape: tuple[int, int]
) -> Floats:
    """Unit vectors float32 of that shape: kept ones, if they are there and sound, else made."""
    name = f"{kind}/{key}.npy"
    vectors = _sound(read_entry(name), shape)
    if vectors is None:
        vectors = make()
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(vectors, np.float32), allow_pickle=False)
        write_entry(name, buffer.getvalue())
    return vectors


def _sound(data: bytes | None, shape: tuple[int, int]) -> Floats | None:
    if data is None:
        return None
    try:
        vectors = np.load(io.BytesIO(data), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None  # cut short or not an array: computed again
    if not isinstance(vectors, np.ndarray) or vectors.shape != shape or vectors.dtype != np.float32:
        return None
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.allclose(lengths, 1, atol=_UNIT_TOLERANCE):  # False for what is not finite as well
        return None
    return vectors


def _place(name: str) -> Path:
    if not _ENTRY.fullmatch(name):
        raise ValueError(f"{name} is no name of a cache entry, and would never be deleted")
    return cache_folder() / name


def _mark_used(path: Path) -> None:
    with contextlib.suppress(OSError):
        if abs(time.time() - path.stat().st_mtime) > _USED_S:
            os.utime(path)


def _make_room(written: int) -> None:
    """Delete the entries used least recently, if it is time to look and they are too large."""
    folder, limit = cache_folder(), _limit_bytes()
    _written[folder] = _written.get(folder, 0) + written
    looked = folder / _LOOKED
    with contextlib.suppress(OSError):
        fresh = abs(time.time() - looked.stat().st_mtime) < _LOOK_S  # the clock may be set back
        if fresh and _written[folder] < limit * _LOOK_SHARE:
            return
    _written[folder] = 0
    looked.touch()
    entries = sorted(_entries(folder))
    total = sum(size for _, size, _ in entries)
    if total <= limit:
        return
    for _, size, path in entries:
        if total <= limit * _KEPT_SHARE:
            break
        _delete(path)
        total -= size


def _entries(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """Time of last use, bytes and place of every entry; leftovers of killed writes are deleted."""
    for kind in _KINDS:
        for place, folders, files in os.walk(folder / kind):
            sweep(Path(place))
            for name in (*files, *folders):
                path = Path(place, name)
                if _ENTRY.fullmatch(path.relative_to(folder).as_posix()):
                    if name in folders:
                        folders.remove(name)
                    with contextlib.suppress(OSError):
                        yield path.stat().st_mtime, _size(path), path


def _size(path: Path) -> int:
    """Bytes of an entry; of all its files if it is a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.iterdir())
    return path.stat().st_size


def _delete(path: Path) -> None:
    """Delete an entry; another process may have done so."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _limit_bytes() -> float:
    text = os.environ.get(LIMIT_VARIABLE) or str(_LIMIT_MB)
    try:
        limit = float(text) * 1e6
    except ValueError:
        limit = -1.0
    if not limit >= 0:
        raise InvalidInputError(f"{LIMIT_VARIABLE} must be a number of megabytes, not {text!r}")
    return limit
