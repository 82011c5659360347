"""What an image file says of itself besides its pixels: when, where and with what it was taken."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import ExifTags, Image

from .standards.dates import parse_date
from .standards.description import Description, combined
from .standards.exif import describe_exif
from .standards.iptc import describe_iptc, iptc_of_info, iptc_of_resources
from .standards.texts import person_text
from .standards.xmp import describe_xmp

__all__ = ["DECODER_ERRORS", "ImageFacts", "facts_of", "read_exif", "with_sidecar"]

# What Pillow's decoders raise on bad bytes; anything else is a defect that must surface.
DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    ZeroDivisionError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    struct.error,
    Image.DecompressionBombError,
)


_MAX_BLOCK_BYTES = 1024 * 1024  # of XMP or IPTC in an image; more would cost too much time
_SILENT = Description()
_TIFF_IPTC, _TIFF_RESOURCES, _TIFF_XMP = 33723, 34377, 700


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What the file says of itself; absent facts are None."""

    width: int  # pixels, after EXIF orientation
    height: int
    format: str | None = None
    taken_at: str | None = None  # ISO 8601 local time
    is_edit_date: bool = False  # whether `taken_at` is only when the file was changed
    camera: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    caption: str | None = None
    keywords: tuple[str, ...] = ()
    frame: int | None = None  # from 0; None where the file has but one image
    # Of the pixels, where they were decoded; says nothing of what the file says.
    thumbprint: bytes | None = field(default=None, compare=False)


def read_exif(image: Image.Image) -> dict[int, Any]:
    """EXIF and GPS tags in one flat dict; a broken part of EXIF counts as absent."""
    tags: dict[int, Any] = {}
    exif: Any = None
    with contextlib.suppress(*DECODER_ERRORS):
        exif = image.getexif()
        tags.update(exif)
    if exif is not None:
        with contextlib.suppress(*DECODER_ERRORS):
            tags.update(exif.get_ifd(ExifTags.IFD.Exif))
        tags.pop(ExifTags.IFD.GPSInfo, None)  # where it begins
        with contextlib.suppress(*DECODER_ERRORS):
            if gps := exif.get_ifd(ExifTags.IFD.GPSInfo):
                tags[ExifTags.IFD.GPSInfo] = gps
    return tags


def facts_of(image: Image.Image, exif: dict[int, Any], full_size: tuple[int, int]) -> ImageFacts:
    """What an opened image and its EXIF tags say; `full_size` is width and height, upright."""
    facts = ImageFacts(width=full_size[0], height=full_size[1], format=image.format)
    said = _descriptions(image, exif)
    return _with(facts, combined(said)) if said else facts


def with_sidecar(facts: ImageFacts, sidecar: Description | None) -> ImageFacts:
    """The facts of an image with what a file beside it says.

    The caption of the sidecar counts before that of the image, for it was written later. Of dates,
    places and cameras, those of the image count first; but a date of the sidecar counts before one
    that only says when the image was changed.
    """
    if sidecar is None or sidecar == _SILENT:
        return facts
    place = (
        None
        if facts.latitude is None or facts.longitude is None
        else (facts.latitude, facts.longitude)
    )
    own = Description(
        original=None if facts.is_edit_date else facts.taken_at,
        modified=facts.taken_at if facts.is_edit_date else None,
        camera=facts.camera,
        place=place,
        keywords=facts.keywords,
    )
    merged = combined([own, sidecar])
    return replace(_with(facts, merged), caption=sidecar.caption or facts.caption)


def _with(facts: ImageFacts, said: Description) -> ImageFacts:
    taken_at = said.original or said.digitized
    latitude, longitude = said.place or (None, None)
    return replace(
        facts,
        taken_at=taken_at or said.modified,
        is_edit_date=taken_at is None and said.modified is not None,
        camera=said.camera,
        latitude=latitude,
        longitude=longitude,
        caption=said.caption,
        keywords=said.keywords,
    )


def _descriptions(image: Image.Image, exif: Mapping[int, Any]) -> list[Description]:
    """What each standard says, EXIF first; one that is broken says nothing."""
    found: list[Description] = []

    def add(describe: Callable[..., Description | None], *arguments: Any) -> None:
        with contextlib.suppress(*DECODER_ERRORS, RecursionError):
            if (description := describe(*arguments)) is not None:
                found.append(description)

    if exif:
        add(_exif_description, image, exif)
    for describe, data in _blocks(image):
        if len(data) <= _MAX_BLOCK_BYTES:
            add(describe, data)
    if image.format == "PNG":
        add(_png_description, image.info)
    return found


def _exif_description(image: Image.Image, exif: Mapping[int, Any]) -> Description:
    return describe_exif(exif, little=image.getexif().endian != ">")


def _blocks(image: Image.Image) -> Iterator[tuple[Callable[[bytes], Description | None], bytes]]:
    """The XMP and IPTC in an image, with what reads them."""
    info = image.info
    tiff: Mapping[int, Any] = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    for value in (
        info.get("xmp"),
        info.get("XML:com.adobe.xmp"),
        _raw_profile(info.get("Raw profile type xmp")),
        tiff.get(_TIFF_XMP),
    ):
        if data := _as_bytes(value):
            yield describe_xmp, data
            break
    for value in (
        iptc_of_info(info.get("photoshop")),
        _raw_profile(info.get("Raw profile type iptc")),
        _raw_profile(info.get("Raw profile type 8bim")),
        _iptc_of_tiff(tiff),
    ):
        if data := _as_bytes(value):
            if records := iptc_of_resources(data):
                yield describe_iptc, records
            break


def _iptc_of_tiff(tiff: Mapping[int, Any]) -> bytes | None:
    """The field of TIFF that old programs write as numbers of 32 bits, or Photoshop's."""
    value = tiff.get(_TIFF_IPTC)
    if isinstance(value, int):
        value = (value,)
    if isinstance(value, tuple):
        with contextlib.suppress(struct.error):
            value = struct.pack(f"<{len(value)}L", *value)
            if value[:1] != b"\x1c":  # written in the other order
                value = b"".join(value[n : n + 4][::-1] for n in range(0, len(value), 4))
    return _as_bytes(value) or _as_bytes(tiff.get(_TIFF_RESOURCES))


def _as_bytes(value: Any) -> bytes | None:
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    return bytes(value) if isinstance(value, bytes | bytearray) else None


def _raw_profile(text: Any) -> bytes | None:
    """A profile as ImageMagick hides it in a text of PNG: name, length, then hexadecimal digits."""
    if not isinstance(text, str):
        return None
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return None


def _png_description(info: Mapping[Any, Any]) -> Description:
    """The texts of PNG by the names that its standard gives them."""
    texts = {
        key.casefold(): str(value)
        for key, value in info.items()
        if isinstance(key, str) and isinstance(value, str)
    }
    captions = (person_text(texts.get(key)) for key in ("description", "caption", "title"))
    return Description(
        original=parse_date(texts.get("creation time") or texts.get("creationtime")),
        caption=next((caption for caption in captions if caption), None),
    )
