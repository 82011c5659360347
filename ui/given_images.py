"""Images that a visitor gives: read from the event itself, checked, never written to disk."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from clipsearch import Encoder
from clipsearch.errors import ImageDecodeError
from clipsearch.explore.thumbnails import reduced
from clipsearch.images import load_image
from clipsearch.vectors import Floats

from .dataurls import jpeg_url
from .problems import PageError, explained
from .settings import Settings
from .strings import Words

__all__ = ["EncodedImage", "GivenImage", "encoded", "read_image", "read_images"]

_THUMB_SIDE = 96  # pixels, of the small copy that the page keeps
_MOST = 24  # images in one event
_MOST_CAPTION = 2000  # characters
_MOST_KEY = 40


@dataclass(frozen=True, slots=True)
class GivenImage:
    """An image in memory, with a small copy as a data URL, and what else was sent with it."""

    name: str
    image: Image.Image
    thumb: str
    caption: str = ""
    key: str = ""  # by which the page knows it


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image as the model sees it: a unit vector [dim], with a small copy as a data URL."""

    name: str
    thumb: str
    vector: Floats
    key: str = ""


def encoded(images: Sequence[GivenImage], encoder: Encoder) -> list[EncodedImage]:
    """Images with their vectors, in order."""
    if not images:
        return []
    vectors = encoder.encode_images([image.image for image in images])
    return [EncodedImage(p.name, p.thumb, v, p.key) for p, v in zip(images, vectors, strict=True)]


def read_images(
    given: Sequence[Any], settings: Settings, words: Words, *, most: int = _MOST
) -> tuple[list[GivenImage], str]:
    """Decode what the page sent as a list of `{name, data}`.

    Returns:
        Those that can be read, in order; and what is wrong with the others, in words.

    Raises:
        PageError: There are too many.
    """
    if len(given) > most:
        raise PageError("js.too_many", n=most)
    images, problems = [], []
    for entry in given:
        try:
            images.append(read_image(entry, settings, words))
        except PageError as exc:
            problems.append(explained(exc, words))
    return images, " ".join(problems)


def read_image(given: Any, settings: Settings, words: Words) -> GivenImage:
    """Decode what the page sent as `{name, data}`, `data` being a data URL.

    Raises:
        PageError: It is no image, too large, or has too many pixels.
    """
    fields = given if isinstance(given, Mapping) else {}
    name = str(fields.get("name") or words("search.chip_picture"))[:60]
    encoded = str(fields.get("data", "")).partition(",")[2]
    if len(encoded) * 3 // 4 > settings.max_upload_bytes:
        raise PageError("pictures.too_large", name=name, mb=settings.max_upload_bytes // 1024**2)
    try:
        data = base64.b64decode(encoded, validate=True)
        image = load_image(data, max_pixels=settings.max_pixels)
    except (binascii.Error, ImageDecodeError) as exc:
        raise PageError("js.unreadable", name=name) from exc
    caption, key = (str(fields.get(of) or "").strip() for of in ("caption", "key"))
    thumb = jpeg_url(reduced(image, _THUMB_SIDE))
    return GivenImage(name, image, thumb, caption[:_MOST_CAPTION], key[:_MOST_KEY])
