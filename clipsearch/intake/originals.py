"""The files of indexed images, read only while they are what was indexed."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import IO

from ..errors import ImageDecodeError
from ..rawfiles import named
from ..types import Item
from .inside import file_around, read_inside

__all__ = ["indexed_bytes", "original_file"]


def indexed_bytes(item: Item) -> bytes:
    """The bytes of an item's image, if they are still those that were indexed.

    So a file that was replaced, by a link to one outside the indexed folders for instance, is
    never shown under the name of the old one.

    Raises:
        ImageDecodeError: The item has no image file, or the file is gone, is no regular file
            any more, or has changed.
    """
    path = original_file(item)
    if path is None:
        raise ImageDecodeError(f"item {item.id} has no image file")
    try:
        # The last part must not become a link, or a pipe that never answers, once it is resolved.
        descriptor = os.open(os.path.realpath(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ImageDecodeError(_changed(item))
            if item.path is None and item.place is not None:
                data = _inside(item, item.place, file)
            elif item.size_bytes not in (None, status.st_size):
                raise ImageDecodeError(_changed(item))
            else:
                data = named(file.read(status.st_size + 1), path)
    except OSError as exc:
        raise ImageDecodeError(f"the file of item {item.id} is gone or cannot be read") from exc
    if item.sha256 is not None and hashlib.sha256(data).hexdigest() != item.sha256:
        raise ImageDecodeError(_changed(item))
    return data


def original_file(item: Item) -> str | None:
    """Path of the file that holds an item's image: its own, or the table or archive around it."""
    return item.path or (None if item.place is None else file_around(item.place))


def _inside(item: Item, place: str, file: IO[bytes]) -> bytes:
    try:
        return read_inside(place, file)
    except ImageDecodeError as exc:
        raise ImageDecodeError(_changed(item)) from exc


def _changed(item: Item) -> str:
    return f"the file of item {item.id} has changed since it was indexed; index it again"
