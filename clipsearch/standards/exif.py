"""EXIF: what its tags say of when, where and with what an image was taken, and what is on it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from PIL import ExifTags

from .coordinates import place_of
from .dates import parse_date
from .description import Description, camera_of
from .texts import clean_keywords, clean_text, decode, field_text, person_text

__all__ = ["describe_exif"]

_Base, _Gps = ExifTags.Base, ExifTags.GPS
_CHARSET_BYTES = 8  # the head of UserComment, which names its encoding
_ORIGINAL, _DIGITIZED, _MODIFIED = _Base.DateTimeOriginal, _Base.DateTimeDigitized, _Base.DateTime


def describe_exif(tags: Mapping[int, Any], *, little: bool = True) -> Description:
    """The description in EXIF tags.

    Args:
        tags: Of the image and its EXIF part, with the GPS part under its pointer.
        little: Whether the file's numbers are little-endian.
    """
    make, model = field_text(tags.get(_Base.Make)), field_text(tags.get(_Base.Model))
    camera = camera_of(make, model)
    gps = tags.get(ExifTags.IFD.GPSInfo)
    return Description(
        original=parse_date(tags.get(_ORIGINAL)),
        digitized=parse_date(tags.get(_DIGITIZED)),
        modified=parse_date(tags.get(_MODIFIED)),
        camera=camera,
        place=_gps_place(gps) if isinstance(gps, Mapping) and gps else None,
        caption=_caption(tags, (camera, make, model, field_text(tags.get(_Base.Software))), little),
        keywords=_keywords(tags.get(_Base.XPKeywords)),
    )


def _gps_place(gps: Mapping[int, Any]) -> tuple[float, float] | None:
    return place_of(
        gps.get(_Gps.GPSLatitude),
        gps.get(_Gps.GPSLatitudeRef),
        gps.get(_Gps.GPSLongitude),
        gps.get(_Gps.GPSLongitudeRef),
    )


def _caption(tags: Mapping[int, Any], machine: tuple[str | None, ...], little: bool) -> str | None:
    """The first field that describes the image in words of a person."""
    for tag in (_Base.ImageDescription, _Base.XPComment, _Base.UserComment, _Base.XPSubject,
                _Base.XPTitle):  # fmt: skip
        value = tags.get(tag)
        if not value:
            continue
        if tag == _Base.ImageDescription:
            text = field_text(value)
        elif tag == _Base.UserComment:
            text = _user_comment(value, little)
        else:
            text = _xp_text(value)
        if found := person_text(text, not_like=machine):
            return found
    return None


def _bytes(value: Any) -> bytes | None:
    if isinstance(value, bytes):
        return value
    with contextlib.suppress(TypeError, ValueError):
        if isinstance(value, str):
            return value.encode("latin-1")
        if isinstance(value, tuple | list):  # a number would be a length
            return bytes(value)
    return None


def _xp_text(value: Any) -> str | None:
    """A field of Windows, which is UTF-16 with a NUL at its end, as a rule."""
    data = _bytes(value)
    if data is None:
        return field_text(value)
    if len(data) % 2 == 0:
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode("utf-16").partition("\0")[0]  # little-endian without a mark
            if not data.isascii() or b"\0" in data:
                return clean_text(text)
    return field_text(data)


def _keywords(value: Any) -> tuple[str, ...]:
    text = _xp_text(value) if value else None
    return clean_keywords(text.replace(",", ";").split(";")) if text else ()


def _user_comment(value: Any, little: bool) -> str | None:
    """A comment behind the eight bytes that name its encoding, which programs leave out too."""
    data = _bytes(value)
    if data is None:
        return field_text(value)
    head, rest = data[:_CHARSET_BYTES], data[_CHARSET_BYTES:]
    name = head.rstrip(b"\0 ").upper()
    if name == b"UNICODE":
        return _unicode_comment(rest, little)
    if name == b"JIS":
        for encoding in ("iso2022_jp", "cp932"):
            with contextlib.suppress(UnicodeDecodeError):
                return clean_text(rest.rstrip(b"\0 ").decode(encoding))
        return None
    if name in (b"ASCII", b""):
        return field_text(rest)
    return field_text(data)


def _unicode_comment(data: bytes, little: bool) -> str | None:
    """UTF-16 in the order of the file's numbers, of its mark or of its zero bytes; or UTF-8."""
    if not data.strip(b"\0 "):
        return None
    found = decode(data.rstrip(b"\0") if len(data) % 2 else data)
    if found is not None and found.encoding.startswith(("utf-16", "utf-8-sig")):
        return clean_text(found.text)
    if found is not None and data.rstrip(b"\0 ").isascii() and b"\0" not in data.rstrip(b"\0 "):
        return clean_text(found.text)  # the name is wrong
    data = data[: len(data) // 2 * 2]
    # A text is of few blocks of Unicode, so its high bytes vary less than its low ones.
    first, second = len(set(data[0::2])), len(set(data[1::2]))
    little = second < first if first != second else little
    encodings = ("utf-16-le", "utf-16-be") if little else ("utf-16-be", "utf-16-le")
    for encoding in encodings:
        with contextlib.suppress(UnicodeDecodeError):
            return clean_text(data.decode(encoding))
    return None
