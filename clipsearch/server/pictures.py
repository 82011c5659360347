"""Files of indexed pictures, handed out only if they are still what was indexed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from ..errors import ItemNotFoundError
from ..types import Item

__all__ = ["MEDIA_TYPES", "ROOTS", "checked_path", "read_picture"]

ROOTS = "roots"  # of `Index.get_meta`: folders that were indexed, resolved

# What browsers show, by Pillow's name; anything else is sent as a JPEG copy.
MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "AVIF": "image/avif",
}


def checked_path(item: Item, roots: Sequence[str] | None) -> str:
    """Where an item's file really is, if that is still below a folder that was indexed.

    Args:
        item: What the index knows.
        roots: The indexed folders, resolved. A path that leads through no link is where it was
            when it was indexed, so it needs none.

    Raises:
        ItemNotFoundError: The item has no file, or links lead it out of the indexed folders.
    """
    if item.path is None:
        raise ItemNotFoundError(f"item {item.id} has no image file of its own")
    real = os.path.realpath(item.path)
    inside = any(Path(real).is_relative_to(root) for root in roots or ())
    allowed = inside or real == os.path.abspath(item.path)
    if not allowed:
        raise ItemNotFoundError(f"the file of item {item.id} is not in an indexed folder any more")
    return real


def read_picture(item: Item, roots: Sequence[str] | None) -> bytes:
    """The bytes of an item's file, if they are those that were indexed.

    Raises:
        ItemNotFoundError: The file is gone, moved out, or has changed since.
    """
    path = checked_path(item, roots)
    try:
        # The last part must not have become a link, or a pipe, since it was resolved.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size != item.size_bytes:
                raise ItemNotFoundError(_changed(item))
            data = file.read(status.st_size + 1)
    except OSError as exc:
        raise ItemNotFoundError(f"the file of item {item.id} cannot be read") from exc
    if item.sha256 is not None and hashlib.sha256(data).hexdigest() != item.sha256:
        raise ItemNotFoundError(_changed(item))
    return data


def _changed(item: Item) -> str:
    return f"the file of item {item.id} has changed since it was indexed; index it again"
