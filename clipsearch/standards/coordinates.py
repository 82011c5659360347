"""Coordinates as EXIF and XMP write them, as decimal degrees; only those that are a place."""

from __future__ import annotations

import math
import re
from typing import Any

from .texts import field_text

__all__ = ["Place", "place_of", "place_of_degrees", "place_of_texts"]

Place = tuple[float, float]  # latitude, north positive, and longitude, east positive, in degrees

_MOST = {"NS": 90.0, "EW": 180.0}
# A letter, or its word in the languages of cameras. "O" is west in French and east in German.
_HEMISPHERES = {
    "n": "N", "north": "N", "nord": "N", "norte": "N", "northern": "N",
    "s": "S", "south": "S", "sud": "S", "süd": "S", "sur": "S", "sul": "S", "southern": "S",
    "e": "E", "east": "E", "est": "E", "este": "E", "eastern": "E",
    "w": "W", "west": "W", "ouest": "W", "oeste": "W", "ovest": "W", "western": "W",
}  # fmt: skip
_NUMBER = re.compile(r"\d+(?:\.\d*)?|\.\d+")
_WORD = re.compile(r"[^\W\d_]+")


def place_of(latitude: Any, ns: Any, longitude: Any, ew: Any) -> Place | None:
    """The place of EXIF's four GPS fields.

    Args:
        latitude: Degrees, minutes and seconds, or fewer of them, each a number or a rational.
        ns: The hemisphere, however sloppily written; without one there is no place.
        longitude: As the latitude.
        ew: As `ns`.
    """
    north = _signed(_angle(latitude), _hemisphere(ns), "NS")
    east = _signed(_angle(longitude), _hemisphere(ew), "EW")
    return _place(north, east)


def place_of_texts(latitude: Any, longitude: Any, ns: Any = None, ew: Any = None) -> Place | None:
    """The place of two texts: `33,51.5S`, `33,51,30S`, `-33.858`, `33 deg 51' 30.00" S`.

    Args:
        latitude: A text, or a number of degrees.
        longitude: A text, or a number of degrees.
        ns: The hemisphere, where it is a field of its own.
        ew: The hemisphere, where it is a field of its own.
    """
    return _place(_text_angle(latitude, ns, "NS"), _text_angle(longitude, ew, "EW"))


def place_of_degrees(latitude: Any, longitude: Any) -> Place | None:
    """The place of two signed numbers of degrees, which may be written as texts."""
    try:
        return _place(float(latitude), float(longitude))
    except (TypeError, ValueError, OverflowError):
        return None


def _place(latitude: float | None, longitude: float | None) -> Place | None:
    if latitude is None or longitude is None:
        return None
    if not (abs(latitude) <= _MOST["NS"] and abs(longitude) <= _MOST["EW"]):  # NaN is not
        return None
    if abs(latitude) < 1e-6 and abs(longitude) < 1e-6:
        return None  # what receivers write that know no place
    return latitude, longitude


def _hemisphere(ref: Any) -> str | None:
    text = field_text(ref)
    return None if text is None else _HEMISPHERES.get(text.strip(" .").casefold())


def _signed(angle: float | None, hemisphere: str | None, axis: str) -> float | None:
    if angle is None or hemisphere is None or hemisphere not in axis:
        return None
    return -angle if hemisphere in "SW" else angle


def _angle(value: Any) -> float | None:
    """Degrees, minutes and seconds as degrees; None for what is no angle."""
    if isinstance(value, str | bytes):
        return _unsigned(_NUMBER.findall(field_text(value) or ""))
    parts = value if isinstance(value, tuple | list) else (value,)
    return _unsigned(parts)


def _unsigned(values: Any) -> float | None:
    if not 1 <= len(values) <= 3:
        return None
    parts = [_finite(value) for value in values]
    degrees, minutes, seconds = (*parts, 0.0, 0.0)[:3] if len(parts) < 3 else parts
    if degrees is None or degrees < 0:
        return None
    if len(parts) > 1 and minutes is None:
        # Decimal degrees with nothing after them; whole ones alone are no place.
        return degrees if degrees % 1 and not seconds else None
    minutes, seconds = minutes or 0.0, seconds or 0.0
    if not (0 <= minutes <= 60 and 0 <= seconds <= 60):
        return None
    return degrees + minutes / 60 + seconds / 3600


def _finite(value: Any) -> float | None:
    """A number or rational; None for 0/0 and what is none."""
    try:
        if isinstance(value, tuple | list) and len(value) == 2:
            value = value[0] / value[1]
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _text_angle(value: Any, ref: Any, axis: str) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = f"{value:.10f}"
    text = field_text(value)
    if text is None or len(text) > 100:
        return None
    words = [word.casefold() for word in _WORD.findall(text)]
    letters = [_HEMISPHERES[word] for word in words if word in _HEMISPHERES]
    hemisphere = letters[-1] if letters else _hemisphere(ref)
    if re.search(r"\d,\d{4,}", text) and "." not in text and text.count(",") == 1:
        text = text.replace(",", ".")  # a decimal comma
    numbers = [_rational(part) for part in re.findall(r"\d+/\d+|\d+(?:\.\d*)?|\.\d+", text)]
    angle = _unsigned(numbers)
    minus = text.lstrip().startswith(("-", "\u2212"))
    if angle is None or (minus and hemisphere in ("N", "E")):
        return None
    if hemisphere is not None:
        return _signed(angle, hemisphere, axis)
    if len(numbers) > 1:
        return None  # 33,51.5 without a letter
    return -angle if minus else angle


def _rational(text: str) -> Any:
    above, slash, below = text.partition("/")
    return (int(above), int(below)) if slash else text
