"""Values of more than 8 bits as the 8 bits that models are given.

A 16-bit file seldom uses 16 bits: cameras and scanners give 10, 12 or 14, and put them at the
lower end. The range is taken from what the file declares. Where it declares none, it is guessed
from nearly all of the values, so that a few hot pixels do not make the rest black.
"""

from __future__ import annotations

import contextlib
import re
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..metadata import DECODER_ERRORS

__all__ = ["Declared", "Scale", "as_8_bits", "declared_by", "scale_of", "scale_of_alpha"]

Values = npt.NDArray[Any]

_SAMPLE = 1 << 18  # values that a range is guessed from
_OUTLIERS = 0.1  # percent of the values at either end that a guess may cut off
_NARROW = 1 / 8  # of a range: values that fill less of it are stretched ...
_FLAT = 1 / 64  # ... unless they hardly differ
_LEVELS = 64  # that an image has to have: a drawing of a few gray levels is no narrow photo
_OVERSHOOT = 0.05  # of a range, by which resampled values may exceed it
_FINITE = 1e30  # what is larger stands for no value in many programs
# What maps of heights write where they have no value.
_NO_VALUES = (-9999.0, -99999.0, -32767.0, -32768.0)
_SIGNIFICANT = re.compile(r'SignificantBits="(\d{1,2})"')  # OME-XML
_SHOWN = re.compile(r"^(min|max)=([-+.\deE]+)\s*$", re.MULTILINE)  # ImageJ


@dataclass(frozen=True, slots=True)
class Declared:
    """What a file says of its values.

    Attributes:
        low: The value that is black.
        high: The value that is white; None where it is not said.
        bits: Bits of a value as it is stored.
        signed: Whether values may be negative; None where it is not said.
        counted: Whether `high` may be the largest value that occurs, hot pixels included.
        no_value: The value that stands for none.
        white_is_zero: Whether black and white are swapped.
    """

    low: float = 0.0
    high: float | None = None
    bits: int | None = None
    signed: bool | None = None
    counted: bool = False
    no_value: float | None = None
    white_is_zero: bool = False


@dataclass(frozen=True, slots=True)
class Scale:
    """The values that become 0 and 255, and whether they had to be guessed."""

    low: float
    high: float
    guessed: bool = False


# --- what files declare -------------------------------------------------------------------------


def declared_by(image: Image.Image) -> Declared:
    """What an opened image that is not yet loaded says of its values."""
    with contextlib.suppress(*DECODER_ERRORS):
        if hasattr(image, "tag_v2"):
            return declared_by_tiff(image.tag_v2)
        if image.format == "PNG":
            return _declared_by_png(image)
        if image.format == "PPM":
            return _declared_by_ppm(image)
        if image.format == "JPEG2000":
            return _declared_by_jpeg_2000(image)
    return Declared()


def declared_by_tiff(tags: Any) -> Declared:
    """What the tags of a TIFF, by number, say of its values."""
    bits = _first(tags.get(258)) or 1
    kind = _first(tags.get(339)) or 1  # unsigned, signed, float
    no_value = None
    with contextlib.suppress(TypeError, ValueError):
        no_value = float(_text(tags.get(42113)).strip("\0 "))
    low, high, counted = _tiff_range(tags)
    whole = 2.0 ** (bits - (kind == 2)) - 1
    if kind == 1 and bits not in (8, 16, 32, 64):
        low, high, counted = 0.0, whole, False
    elif high is not None and high <= low:
        low, high = 0.0, None
    return Declared(
        low,
        high,
        bits=int(bits),
        signed=kind == 2 if kind in (1, 2) else None,
        counted=counted,
        no_value=no_value,
        white_is_zero=_first(tags.get(262)) == 0,
    )


def _tiff_range(tags: Any) -> tuple[float, float | None, bool]:
    description = _text(tags.get(270))
    if found := _SIGNIFICANT.search(description):
        return 0.0, 2.0 ** int(found[1]) - 1, False
    if description.startswith("ImageJ="):
        shown = {name: float(value) for name, value in _SHOWN.findall(description)}
        if "max" in shown:
            return shown.get("min", 0.0), shown["max"], False
    if (high := _first(tags.get(341))) is not None:  # SMaxSampleValue
        return _first(tags.get(340)) or 0.0, high, True
    high = _first(tags.get(281))  # MaxSampleValue, which may just say how many bits there are
    if high is not None and high not in (255, 65535):
        return _first(tags.get(280)) or 0.0, high, True
    if (white := _first(tags.get(50717))) is not None:
        return _first(tags.get(50714)) or 0.0, white, False
    return 0.0, None, False


def _first(value: Any) -> float | None:
    if isinstance(value, (tuple, list)):
        value = value[0] if value else None
    if value is None:
        return None
    number = float(value)
    return number if np.isfinite(number) else None


def _text(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        value = value[0] if value else ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def _declared_by_png(image: Image.Image) -> Declared:
    """sBIT; Pillow skips it. The header is short, and is read again."""
    stream: Any = getattr(image, "fp", None)
    if stream is None:
        return Declared(bits=16, signed=False)
    position = stream.tell()
    try:
        stream.seek(8)
        for _ in range(1000):
            length, kind = struct.unpack(">I4s", stream.read(8))
            if kind in (b"IDAT", b"IEND"):
                break
            data = stream.read(min(length, 4))
            if kind == b"sBIT" and data:
                bits = data[0] if len(data) < 3 else max(data[:3])  # the last may be of alpha
                high = 2.0**bits - 1 if 1 <= bits < 16 else None
                return Declared(0.0, high, bits=16, signed=False)
            stream.seek(length - len(data) + 4, 1)
    finally:
        stream.seek(position)
    return Declared(bits=16, signed=False)


def _declared_by_ppm(image: Any) -> Declared:
    """Pillow scales values up to a maximum that is not 65535 to 65535."""
    arguments = image.tile[0][3]
    is_scaled = isinstance(arguments, tuple) and arguments[1] != 65535 and image.mode == "I"
    return Declared(0.0, 65535.0 if is_scaled else None, bits=16, signed=False)


def _declared_by_jpeg_2000(image: Image.Image) -> Declared:
    """Pillow scales values of fewer than 16 bits to 16."""
    stream: Any = getattr(image, "fp", None)
    position = stream.tell()
    try:
        stream.seek(0)
        header = stream.read(65536)
    finally:
        stream.seek(position)
    at = header.find(b"\xff\x4f\xff\x51")
    precision = (header[at + 42] & 0x7F) + 1 if at >= 0 else 16
    return Declared(0.0, 65535.0 if precision < 16 else None, bits=16, signed=False)


# --- the range ----------------------------------------------------------------------------------


def scale_of(values: Values, declared: Declared) -> Scale:
    """The range of an image's values: declared, or guessed from them.

    Args:
        values: Any numbers, of any shape.
        declared: What the file says of them.
    """
    some = _sample(values, declared)
    if not some.size:
        return Scale(0.0, 1.0)
    if declared.high is not None:
        scale = Scale(declared.low, declared.high)
        low, high = _most(some)
        exceeded = high > declared.high or (declared.low > 0 and low < declared.low)
        of_hot_pixels = (
            declared.counted
            and high - low < _NARROW * (declared.high - declared.low)
            and declared.high <= float(some.max(initial=-np.inf))
        )
        if not exceeded and not of_hot_pixels:
            return scale
        if exceeded and declared.bits == 16 and declared.low == 0 and not declared.counted:
            return Scale(0.0, 65535.0)  # as PNG wants it: few bits, at the upper end
    return _guessed(some, declared, is_color=values.ndim == 3 and values.shape[-1] > 2)


def scale_of_alpha(values: Values) -> Scale:
    """The range of opacities, of which the largest is at least half of what it could be."""
    some = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    most = float(some.max(initial=0))
    return Scale(0.0, 1.0 if most <= 1 else 2.0 ** int(most).bit_length() - 1)


def _guessed(some: Values, declared: Declared, *, is_color: bool) -> Scale:
    """The range that values most likely have, without the few that lie far out."""
    low, high = _most(some)
    is_float = some.dtype.kind == "f"
    is_whole = not is_float or bool((some == np.round(some)).all())
    if low < 0 and low < -high / 16:
        return _of_signed(low, high, is_whole=is_whole)
    low = max(low, 0.0)
    top = _usual_top(high, is_float=is_float, is_whole=is_whole)
    is_narrow = _FLAT * high < high - low < _NARROW * top
    is_stretched = is_float or (high >= 16 and not is_color)
    is_unusual = not is_whole and 1.25 < high < 64
    if is_unusual or (is_narrow and is_stretched and np.unique(some).size >= _LEVELS):
        return Scale(0.0 if low < _NARROW * high else low, high, guessed=True)
    if is_float:
        within = float(some.min()) >= 0 and float(some.max()) <= 1
        return Scale(0.0, top, guessed=top != 1 or not within)
    if 0 < high < 16 and np.unique(some).size == 2:
        return Scale(0.0, high, guessed=True)  # a mask
    return Scale(0.0, top, guessed=high > 0 and top < 2.0 ** (declared.bits or 16) - 1)


def _usual_top(high: float, *, is_float: bool, is_whole: bool) -> float:
    """The white of values from 0 up to about `high`: 1 for floats, else that of so many bits."""
    if is_float and high <= 1.25:
        return 1.0
    if high <= 255 * (1.0 if is_whole else 1 + _OVERSHOOT):
        return 255.0
    return 2.0 ** int(high).bit_length() - 1 if high < 2.0**32 else high


def _of_signed(low: float, high: float, *, is_whole: bool) -> Scale:
    """The range of values on both sides of 0: of so many bits, if they fill half of it."""
    if not is_whole and low >= -1.25 and high <= 1.25:
        half = bottom = 1.0
    else:
        half = 2.0 ** int(max(abs(low), high)).bit_length()
        bottom = half
        half -= is_whole
    if high - low < (half + bottom) / 2:
        return Scale(low, high, guessed=True) if high > low else Scale(low - 1, high + 1, True)
    return Scale(-bottom, half, guessed=True)


def _sample(values: Values, declared: Declared) -> Values:
    """At most `_SAMPLE` of the values, without those that stand for none, flat."""
    step = max(1, round((values.size / _SAMPLE) ** 0.5))
    some: Values = values[::step, ::step].ravel() if values.ndim > 1 else values[:: step * step]
    if some.dtype.kind == "f":
        some = some.astype(np.float64)
        some = some[np.abs(some) < _FINITE]  # NaN is not less than anything
    if declared.no_value is not None:
        some = some[some != declared.no_value]
    elif some.size and some.dtype.kind in "if" and float(some.min()) in _NO_VALUES:
        rest: Values = some[some != some.min()]
        if rest.size and float(rest.min()) > float(some.min()) / 2:  # nothing comes near it
            return rest
    return some


def _most(some: Values) -> tuple[float, float]:
    """Where nearly all of the values are; all of them where nearly all are equal."""
    if not some.size:
        return 0.0, 0.0
    low, high = (float(v) for v in np.percentile(some, (_OUTLIERS, 100 - _OUTLIERS)))
    return (low, high) if high > low else (float(some.min()), float(some.max()))


# --- the values ---------------------------------------------------------------------------------


def as_8_bits(values: Values, scale: Scale, declared: Declared) -> npt.NDArray[np.uint8]:
    """Values mapped to 0..255; those outside of the range are cut off, and no value is black."""
    if values.dtype == np.uint16:  # by a table, which is quicker and takes no memory
        table = np.arange(65536, dtype=np.float32)
        return as_8_bits(table, scale, declared)[values]
    levels = values.astype(np.float32)
    none = ~(np.abs(levels) < _FINITE)  # NaN is not less than anything
    if declared.no_value is not None:
        none |= values == declared.no_value
    with np.errstate(all="ignore"):
        levels -= scale.low
        levels *= 255 / ((scale.high - scale.low) or 1.0)
        np.clip(levels, 0, 255, out=levels)
    if declared.white_is_zero:
        levels = 255 - levels
    levels[none] = 0
    return levels.round().astype(np.uint8)
