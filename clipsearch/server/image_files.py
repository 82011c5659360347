"""Files of indexed images, handed out only if they are still what was indexed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from ..errors import ImageDecodeError, ItemNotFoundError
from ..intake.inside import moved
from ..intake.originals import indexed_bytes, original_file
from ..types import Item

__all__ = ["MEDIA_TYPES", "checked_item", "checked_path", "image_answer", "read_image"]

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


def image_answer(
    request: Request, data: bytes, media_type: str, headers: Mapping[str, str]
) -> Response:
    """An image that a browser may keep, and asks about before it shows it again.

    An id names one image, but not for ever: a backup that is put back gives ids again.
    """
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {**headers, "Cache-Control": "private, no-cache", "ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=media_type, headers=headers)


def checked_path(item: Item, roots: Sequence[str] | None) -> str:
    """Where the file of an item's image really is, if still below a folder that was indexed.

    That is its own file, or the table or archive that holds the image.

    Args:
        item: What the index knows.
        roots: The indexed folders, resolved. A path that leads through no link is where it was
            when it was indexed, so it needs none.

    Raises:
        ItemNotFoundError: The item has no file, or links lead it out of the indexed folders.
    """
    path = original_file(item)
    if path is None:
        raise ItemNotFoundError(f"item {item.id} has no image file")
    real = os.path.realpath(path)
    inside = any(Path(real).is_relative_to(root) for root in roots or ())
    allowed = inside or real == os.path.abspath(path)
    if not allowed:
        raise ItemNotFoundError(f"the file of item {item.id} is not in an indexed folder any more")
    return real


def checked_item(item: Item, roots: Sequence[str] | None) -> Item:
    """The item with the place where its image really is.

    Raises:
        ItemNotFoundError: As `checked_path`.
    """
    real = checked_path(item, roots)
    if item.path is None and item.place is not None:
        return replace(item, place=moved(item.place, real))
    return replace(item, path=real)


def read_image(item: Item, roots: Sequence[str] | None) -> bytes:
    """The bytes of an item's file, if they are those that were indexed.

    Raises:
        ItemNotFoundError: The file is gone, moved out, or has changed since.
    """
    try:
        return indexed_bytes(checked_item(item, roots))
    except ImageDecodeError as exc:
        raise ItemNotFoundError(str(exc)) from exc
