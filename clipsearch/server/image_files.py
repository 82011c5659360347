"""Images as they are sent to a client: the file that was indexed, or a copy that browsers show."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from ..errors import ImageDecodeError, ItemNotFoundError
from ..explore.thumbnails import PREVIEW_SIDE, THUMBNAIL_SIDE, reduced
from ..images import read_facts
from ..intake.originals import indexed_bytes
from ..types import Item
from .shared_search import ServedIndex

__all__ = ["image_answer", "original_image", "sent_image", "shown_folders"]

# What browsers show, by Pillow's name; anything else is sent as a JPEG copy.
_MEDIA_TYPES = {
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


def shown_folders(named: Iterable[Path], index: ServedIndex) -> list[str]:
    """The folders whose images are shown: those of the operator, and those indexed here."""
    return [*map(str, named), *index.indexed_folders()]


def sent_image(item: Item, roots: Collection[str]) -> tuple[bytes, str]:
    """The bytes of an item's file, if they are those that were indexed, and their media type.

    What they are is told by the bytes, for the index may say anything.

    Args:
        item: What the index knows.
        roots: The folders whose files may be shown.

    Raises:
        ItemNotFoundError: The file is gone, lies elsewhere, has changed since, or is no image.
    """
    try:
        data = indexed_bytes(item, roots=roots)
        name = os.path.basename(item.path or "")
        media_type = _MEDIA_TYPES.get(_format_of(data) or "")
        if media_type is None:
            return reduced(data, PREVIEW_SIDE, name=name), "image/jpeg"
    except ImageDecodeError as exc:
        raise ItemNotFoundError(f"the file of item {item.id} cannot be shown: {exc}") from exc
    return data, media_type


def original_image(item: Item, roots: Collection[str]) -> tuple[bytes, str]:
    """The bytes of an item's file, if they are those that were indexed and an image, whatever kind.

    Args:
        item: What the index knows.
        roots: The folders whose files may be shown.

    Returns:
        The bytes, and the ending of names of their kind, such as "jpg".

    Raises:
        ItemNotFoundError: The file lies elsewhere.
        ImageDecodeError: It is gone, has changed since, or is no image.
    """
    data = indexed_bytes(item, roots=roots)
    kind = _format_of(data)
    if kind is None:  # perhaps a camera's own format; raises for what is no image
        reduced(data, THUMBNAIL_SIDE, name=os.path.basename(item.path or ""))
    return data, {"JPEG": "jpg", "MPO": "jpg", None: "bin"}.get(kind, str(kind).lower())


def _format_of(data: bytes) -> str | None:
    try:
        return read_facts(data).format
    except Exception:  # Pillow raises anything; whoever decodes it says what is wrong
        return None
