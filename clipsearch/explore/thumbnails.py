"""Small copies of indexed images, made once and kept on disk.

A copy is always decoded and encoded again, so that no byte of the original file leaves, EXIF with
its place and owner included. It is kept under a hash of the image's content, so that a moved
or copied image has one copy, and a changed one never an old copy.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Collection

from PIL import Image

from ..cache import read_entry, write_entry
from ..errors import ImageDecodeError, InvalidInputError
from ..images import load_image
from ..intake.originals import check_place, indexed_bytes
from ..types import Item

__all__ = ["PREVIEW_SIDE", "SIDES", "THUMBNAIL_SIDE", "reduced", "thumbnail"]

THUMBNAIL_SIDE = 320  # pixels; sharp in a gallery column of 160 to 240 px on a dense screen
PREVIEW_SIDE = 1600  # pixels; fills a laptop screen
SIDES = (THUMBNAIL_SIDE, PREVIEW_SIDE)
_QUALITY = {THUMBNAIL_SIDE: 80, PREVIEW_SIDE: 86}
_MAKING = 2  # raised whenever the copy of the same bytes changes, so that no old copy is shown
_SHA256 = re.compile("[0-9a-f]{64}")
_END = b"\xff\xd9"  # the last bytes of every JPEG file


def thumbnail(
    item: Item, side: int = THUMBNAIL_SIDE, *, roots: Collection[str] | None = None
) -> bytes:
    """A JPEG copy of an item's image, from the cache where it is there.

    Args:
        item: An item whose image is a file, or lies in a table or archive that is there.
        side: Pixels of the longer side at most: `THUMBNAIL_SIDE` or `PREVIEW_SIDE`.
        roots: As for `indexed_bytes`.

    Raises:
        ImageDecodeError: The item has no image file, or the file is gone or broken.
        ItemNotFoundError: The file lies below none of `roots`.
        InvalidInputError: Another side.
    """
    if side not in SIDES:
        raise InvalidInputError(f"a thumbnail's side is one of {SIDES}, not {side}")
    if not item.has_original:
        raise ImageDecodeError(f"item {item.id} has no image file")
    if roots is not None:
        check_place(item, roots)
        if not item.sha256:  # else a copy that is kept would be found by path and time alone
            raise ImageDecodeError(f"it is not known which bytes item {item.id} had")
    name = _entry_name(item, side)
    kept = read_entry(name)
    if kept is not None and kept.endswith(_END):
        return kept
    data = reduced(
        indexed_bytes(item, roots=roots),
        side,
        quality=_QUALITY[side],
        name=os.path.basename(item.path or ""),
    )
    write_entry(name, data)
    return data


def reduced(
    source: str | bytes | Image.Image, side: int, *, quality: int = 80, name: str | None = None
) -> bytes:
    """An image as JPEG bytes, at most `side` pixels long, upright and without EXIF.

    Args:
        source: A path, the bytes of a file, or an image.
        side: Pixels of the longer side at most.
        quality: Of the JPEG, 1 to 95.
        name: Of the file that bytes come from; camera RAW files are known by it.

    Raises:
        ImageDecodeError: Not an image, broken, or larger than an index takes.
    """
    image = load_image(source, name=name)
    if image is source:
        image = image.copy()  # `thumbnail` reduces in place, and the caller's stays as it is
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=False)
    return buffer.getvalue()


def _entry_name(item: Item, side: int) -> str:
    digest = item.sha256
    if digest is None or not _SHA256.fullmatch(digest):
        digest = hashlib.sha256(
            os.fsencode(f"{item.path or item.place}\0{item.mtime_ns}")
        ).hexdigest()
    digest = hashlib.sha256(f"{_MAKING}\0{digest}".encode()).hexdigest()
    return f"thumbnails/{side}/{digest[:2]}/{digest[2:]}.jpg"
