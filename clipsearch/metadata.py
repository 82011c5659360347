"""What an image file says of itself besides its pixels: when, where and with what it was taken."""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import struct
from dataclasses import dataclass
from typing import Any

from PIL import ExifTags, Image

__all__ = ["DECODER_ERRORS", "ImageFacts", "facts_of", "read_exif"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What the file says of itself; absent facts are None."""

    width: int  # pixels, after EXIF orientation
    height: int
    format: str | None = None
    taken_at: str | None = None  # ISO 8601 local time
    camera: str | None = None
    latitude: float | None = None
    longitude: float | None = None


def read_exif(image: Image.Image) -> dict[int, Any]:
    """EXIF and GPS tags in one flat dict; broken EXIF counts as absent."""
    tags: dict[int, Any] = {}
    with contextlib.suppress(*DECODER_ERRORS):
        exif = image.getexif()
        tags.update(exif)
        tags.update(exif.get_ifd(ExifTags.IFD.Exif))
        gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
        tags[ExifTags.IFD.GPSInfo] = gps
    return tags


def facts_of(image: Image.Image, exif: dict[int, Any], full_size: tuple[int, int]) -> ImageFacts:
    """What an opened image and its EXIF tags say; `full_size` is width and height, upright."""
    gps = exif.get(ExifTags.IFD.GPSInfo)
    gps = gps if isinstance(gps, dict) else {}
    return ImageFacts(
        width=full_size[0],
        height=full_size[1],
        format=image.format,
        taken_at=_iso_time(
            exif.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
        ),
        camera=_camera(exif.get(ExifTags.Base.Make), exif.get(ExifTags.Base.Model)),
        latitude=_degrees(gps.get(ExifTags.GPS.GPSLatitude), gps.get(ExifTags.GPS.GPSLatitudeRef)),
        longitude=_degrees(
            gps.get(ExifTags.GPS.GPSLongitude), gps.get(ExifTags.GPS.GPSLongitudeRef)
        ),
    )


def _iso_time(value: Any) -> str | None:
    """EXIF's "2024:05:01 12:30:00" as "2024-05-01T12:30:00"; None for what is no date."""
    if not isinstance(value, str):
        return None
    day, _, clock = value.strip(" \0").partition(" ")
    text = day.replace(":", "-") + ("T" + clock.strip() if clock else "")
    try:
        taken = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return (
        taken.date().isoformat()
        if not clock
        else taken.replace(tzinfo=None).isoformat(timespec="seconds")
    )


def _camera(make: Any, model: Any) -> str | None:
    """Maker and model in one phrase, without saying the maker twice."""
    maker = make.strip().strip("\0").strip() if isinstance(make, str) else ""
    name = model.strip().strip("\0").strip() if isinstance(model, str) else ""
    if name.lower().startswith(maker.lower()):
        maker = ""
    return f"{maker} {name}".strip() or None


def _degrees(value: Any, hemisphere: Any) -> float | None:
    """EXIF's (degrees, minutes, seconds) as signed decimal degrees."""
    if not isinstance(value, (tuple, list)) or len(value) != 3:
        return None
    try:
        degrees, minutes, seconds = (float(part) for part in value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    total = degrees + minutes / 60 + seconds / 3600
    if not math.isfinite(total) or total > 180:
        return None
    return -total if hemisphere in ("S", "W") else total
