"""Pictures that a visitor gives: read from the event itself, checked, never written to disk."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from clipsearch.errors import ImageDecodeError, InvalidInputError
from clipsearch.exploring.thumbnails import reduced
from clipsearch.images import load_image

from .strings import Words

if TYPE_CHECKING:
    from .app import Settings

__all__ = ["GivenPicture", "read_pictures"]

_THUMB_SIDE = 96  # pixels, of the small copy that the page keeps
_MOST = 24  # pictures in one event


@dataclass(frozen=True, slots=True)
class GivenPicture:
    """A picture in memory, with a small copy as a data URL."""

    name: str
    image: Image.Image
    thumb: str


def read_pictures(given: Sequence[Any], settings: Settings, words: Words) -> list[GivenPicture]:
    """Decode what the page sent as `{name, data}`, `data` being a data URL.

    Raises:
        ImageDecodeError: One is no picture, or has too many pixels.
        InvalidInputError: One is too large, or there are too many.
    """
    if len(given) > _MOST:
        raise InvalidInputError(words("js.too_many", n=_MOST))
    return [_read(entry, settings, words) for entry in given]


def data_url(jpeg: bytes) -> str:
    """JPEG bytes as an address that needs no server."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _read(entry: Any, settings: Settings, words: Words) -> GivenPicture:
    fields = entry if isinstance(entry, Mapping) else {}
    name = str(fields.get("name") or words("search.chip_picture"))[:60]
    encoded = str(fields.get("data", "")).partition(",")[2]
    if len(encoded) * 3 // 4 > settings.max_upload_bytes:
        raise InvalidInputError(
            words("pictures.too_large", name=name, mb=settings.max_upload_bytes // 1024**2)
        )
    try:
        data = base64.b64decode(encoded, validate=True)
        image = load_image(data, max_pixels=settings.max_pixels)
    except (binascii.Error, ImageDecodeError) as exc:
        raise ImageDecodeError(words("js.unreadable", name=name)) from exc
    return GivenPicture(name, image, data_url(reduced(image, _THUMB_SIDE)))
