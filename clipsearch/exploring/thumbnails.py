"""Small copies of indexed pictures, made once and kept on disk.

A copy is always decoded and encoded again, so that no byte of the original file leaves, EXIF with
its place and owner included. It is kept under the hash of the picture's content, so that a moved
or copied picture has one copy, and a changed one never an old copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
from pathlib import Path

from PIL import Image

from ..caching import cache_folder
from ..errors import ImageDecodeError, InvalidInputError
from ..images import DEFAULT_MAX_PIXELS, load_image
from ..types import Item
from .originals import indexed_bytes

__all__ = ["PREVIEW_SIDE", "SIDES", "THUMBNAIL_SIDE", "reduced", "thumbnail"]

THUMBNAIL_SIDE = 320  # pixels; sharp in a gallery column of 160 to 240 px on a dense screen
PREVIEW_SIDE = 1600  # pixels; fills a laptop screen
SIDES = (THUMBNAIL_SIDE, PREVIEW_SIDE)
_QUALITY = {THUMBNAIL_SIDE: 80, PREVIEW_SIDE: 86}
_FOLDER = "thumbnails"


def thumbnail(item: Item, side: int = THUMBNAIL_SIDE) -> bytes:
    """A JPEG copy of an item's picture, from the cache where it is there.

    Args:
        item: An item whose picture is a file of its own.
        side: Pixels of the longer side at most: `THUMBNAIL_SIDE` or `PREVIEW_SIDE`.

    Raises:
        ImageDecodeError: The item has no picture file, or the file is gone or broken.
        InvalidInputError: Another side.
    """
    if side not in SIDES:
        raise InvalidInputError(f"a thumbnail's side is one of {SIDES}, not {side}")
    if item.path is None:
        raise ImageDecodeError(f"item {item.id} has no picture file of its own")
    kept = _kept_at(item, side)
    with contextlib.suppress(OSError):
        return kept.read_bytes()
    data = reduced(indexed_bytes(item), side, quality=_QUALITY[side])
    _keep(kept, data)
    return data


def reduced(
    source: str | bytes | Image.Image,
    side: int,
    *,
    quality: int = 80,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> bytes:
    """A picture as JPEG bytes, at most `side` pixels long, upright and without EXIF.

    Raises:
        ImageDecodeError: Not a picture, broken, or larger than `max_pixels`.
    """
    image = load_image(source, max_pixels=max_pixels)
    if image is source:
        image = image.copy()  # `thumbnail` reduces in place, and the caller's stays as it is
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=False)
    return buffer.getvalue()


def _kept_at(item: Item, side: int) -> Path:
    digest = item.sha256 or hashlib.sha256(f"{item.path}\0{item.mtime_ns}".encode()).hexdigest()
    return cache_folder() / _FOLDER / str(side) / digest[:2] / f"{digest[2:]}.jpg"


def _keep(path: Path, data: bytes) -> None:
    """Write at once or not at all; a full or read-only disk only costs the time of another copy."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
