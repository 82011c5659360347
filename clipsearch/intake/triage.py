"""What can be said of a pair before it is decoded."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from ..engine.catalog import extra_json
from ..engine.skipped import Skipped
from .pairs import Pair

if TYPE_CHECKING:
    from ..engine.catalog import Known

__all__ = [
    "content_hash",
    "has_columns",
    "is_gone",
    "is_same",
    "is_unchanged",
    "problem",
    "status_of",
]


def problem(pair: Pair) -> str | None:
    """Why a pair cannot be stored whatever its bytes are, or None."""
    if pair.image is None and not (pair.caption and pair.caption.strip()):
        return "neither an image nor a caption"
    if "\0" in pair.key or (isinstance(pair.image, str) and "\0" in pair.image):
        return "the path contains a NUL character"
    try:
        pair.key.encode()
    except UnicodeEncodeError:
        return "the name is not valid Unicode"
    return None


def status_of(pair: Pair) -> tuple[os.stat_result | None, str | None]:
    """The status of a pair's file, or why it cannot be read; neither for one without a file."""
    if not isinstance(pair.image, str):
        return None, None
    try:
        status = os.stat(pair.image)
    except FileNotFoundError:
        return None, "the file is gone"
    except OSError as exc:
        return None, exc.strerror or str(exc)
    if not stat.S_ISREG(status.st_mode):
        return None, "not a regular file"
    return status, None


def is_gone(path: str) -> bool:
    """Whether there is no file of that name; one that cannot be looked at now may be there."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def is_unchanged(pair: Pair, status: os.stat_result | None, before: Known) -> bool:
    """Whether an item was stored from the same file and caption, with the same columns."""
    if pair.caption != before.caption and pair.caption is not None:
        return False
    if not has_columns(pair, before):
        return False
    if status is None:  # bytes are hashed in any case; a caption alone is compared above
        return pair.image is None
    return status.st_size == before.size_bytes and status.st_mtime_ns == before.mtime_ns


def has_columns(pair: Pair, before: Known) -> bool:
    """Whether an item has the extra columns that a pair gives, if it gives any."""
    return not pair.extra or extra_json(pair.extra) == before.extra


def is_same(status: os.stat_result | None, broken: Skipped | None) -> bool:
    """Whether a file is still as it was when it was skipped."""
    if status is None or broken is None:
        return False
    return (status.st_size, status.st_mtime_ns) == (broken.size_bytes, broken.mtime_ns)


def content_hash(image: str | bytes | None) -> str | None:
    """SHA-256 of an image's bytes; None where there are none to read (decoding says why)."""
    if image is None:
        return None
    if isinstance(image, bytes):
        return hashlib.sha256(image).hexdigest()
    try:
        with Path(image).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
