"""A folder for arrays that can be computed again, shared by processes without locks."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .vectors import Floats

__all__ = ["CACHE_VARIABLE", "cache_folder", "cached_key", "cached_vectors"]

CACHE_VARIABLE = "CLIPSEARCH_CACHE"
_MAX_FILES = 2000  # of 80 classes x 512 floats: 330 MB; the older half goes when it is reached
_UNIT_TOLERANCE = 1e-3


def cache_folder() -> Path:
    """`$CLIPSEARCH_CACHE`, or `clipsearch` in the user's cache folder (`$XDG_CACHE_HOME`)."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE]).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "clipsearch"


def cached_key(*parts: Any) -> str:
    """A file name, hex, for JSON-able parts that together decide a result."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def cached_vectors(
    kind: str, key: str, make: Callable[[], Floats], *, shape: tuple[int, int]
) -> Floats:
    """Unit vectors float32 of that shape: kept ones, if they are there and sound, else made."""
    vectors = _load(kind, key, shape)
    if vectors is None:
        vectors = make()
        _save(kind, key, vectors)
    return vectors


def _load(kind: str, key: str, shape: tuple[int, int]) -> Floats | None:
    path = cache_folder() / kind / f"{key}.npy"
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None  # absent, cut short or not an array: computed again
    if not isinstance(vectors, np.ndarray) or vectors.shape != shape or vectors.dtype != np.float32:
        return None
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.allclose(lengths, 1, atol=_UNIT_TOLERANCE):  # False for what is not finite as well
        return None
    return vectors


def _save(kind: str, key: str, vectors: Floats) -> None:
    """Keep vectors; a full or read-only disk only means that they are computed again."""
    folder = cache_folder() / kind
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        _make_room(folder)
        descriptor, name = tempfile.mkstemp(dir=folder, suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                np.save(file, np.ascontiguousarray(vectors, np.float32), allow_pickle=False)
            os.replace(name, folder / f"{key}.npy")
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise


def _make_room(folder: Path) -> None:
    entries = [entry for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)]
    if len(entries) < _MAX_FILES:
        return
    entries.sort(key=lambda entry: entry.stat().st_mtime)
    for entry in entries[: len(entries) // 2]:
        with contextlib.suppress(OSError):
            os.unlink(entry.path)
