"""Which way up an image is, decided in one place and applied once.

Cameras store pixels as the sensor had them and say in a tag how to turn them. Some decoders of
Pillow turn the pixels themselves (TIFF, HEIF, camera RAW), others leave it to the caller (JPEG,
PNG, WebP, AVIF). This module knows which does what.
"""

from __future__ import annotations

import contextlib
import re
import struct
from dataclasses import dataclass
from typing import IO, Any

from PIL import ExifTags, Image

from ..metadata import DECODER_ERRORS

__all__ = ["Orientation", "load_late_tags", "orientation_of"]

_TAG = ExifTags.Base.Orientation
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)  # orientations that swap width and height
# The container says how to turn the pixels, the decoder has done it, and EXIF counts for nothing.
_TURNED_AT_OPENING = ("HEIF", "JXL", "RAW")
_XMP = re.compile(r"""tiff:Orientation\s*(?:=\s*["']|>)\s*([0-9]+)\s*["'<]""")
_LATE = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # PNG chunks that may say it
_MAX_LATE_BYTES = 16 * 1024 * 1024
_MAX_CHUNKS = 100_000


@dataclass(frozen=True, slots=True)
class Orientation:
    """How an image that was just opened, and not yet loaded, is to be turned.

    Attributes:
        value: EXIF's number of the orientation, 1 to 8.
        full_size: Width and height in pixels, upright.
        turns_itself: Whether loading the image turns it.
    """

    value: int
    full_size: tuple[int, int]
    turns_itself: bool

    def apply(self, loaded: Image.Image) -> Image.Image:
        """The upright image of one that is loaded; what says how to turn it is left out."""
        turn = _TRANSPOSITIONS.get(self.value)
        if turn is None or self.turns_itself:
            return loaded
        turned = loaded.transpose(turn)
        turned.info = {}  # it would be turned again
        return turned


def orientation_of(image: Image.Image) -> Orientation:
    """The orientation of an opened image; a value that is none counts as upright."""
    width, height = image.size
    if image.format in _TURNED_AT_OPENING:
        return Orientation(1, (width, height), turns_itself=True)
    known = _known_to_pillow(image)
    value = _of_xmp(image) if known is None and image.format != "AVIF" else known
    if type(value) is not int or value not in _TRANSPOSITIONS:
        value = 1
    is_tiff = hasattr(image, "tag_v2")
    if is_tiff and getattr(image, "tile", None):  # `size` may be turned already
        tags: Any = image
        width, height = tags.tag_v2[256], tags.tag_v2[257]
    if value in _SIDEWAYS:
        width, height = height, width
    return Orientation(value, (width, height), turns_itself=is_tiff and known is not None)


def _known_to_pillow(image: Image.Image) -> Any:
    """The tag of EXIF, or that of XMP where Pillow finds it; None where there is none."""
    if image.format == "AVIF" and "exif" not in image.info:
        return None  # there EXIF holds what the container says, and XMP counts for nothing
    with contextlib.suppress(*DECODER_ERRORS):
        return image.getexif().get(_TAG)
    return None


def _of_xmp(image: Image.Image) -> int | None:
    """The orientation in XMP, in the spellings that Pillow does not know."""
    xmp = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp")
    if isinstance(xmp, bytes):
        xmp = xmp.decode("utf-8", "replace")
    found = _XMP.search(xmp) if isinstance(xmp, str) else None
    return int(found[1]) if found else None


def load_late_tags(image: Image.Image) -> None:
    """Make all that a PNG says known before its pixels are loaded, which may come before it.

    Asked for EXIF, Pillow would load the pixels first if there is none before them.
    """
    if image.format != "PNG" or not getattr(image, "tile", None) or image.tell() > 0:
        return
    with contextlib.suppress(*DECODER_ERRORS):
        stream: Any = getattr(image, "fp", None)
        _read_to_the_end(image, stream)
    image.info.setdefault("exif", _profile(image))


def _read_to_the_end(image: Image.Image, stream: IO[bytes]) -> None:
    from PIL import PngImagePlugin

    position = stream.tell()
    try:
        stream.seek(8)
        reader = PngImagePlugin.PngStream(stream)
        budget = _MAX_LATE_BYTES
        after_pixels = False
        for _ in range(_MAX_CHUNKS):
            header = stream.read(8)
            if len(header) < 8:
                break
            length, kind = struct.unpack(">I4s", header)
            if kind == b"IEND":
                break
            after_pixels = after_pixels or kind == b"IDAT"
            start = stream.tell()
            if after_pixels and kind in _LATE and length <= budget:
                budget -= length
                reader.call(kind, start, length)
            stream.seek(start + length + 4)  # past the checksum
        image.info.update({k: v for k, v in reader.im_info.items() if k not in image.info})
    finally:
        stream.seek(position)


def _profile(image: Image.Image) -> bytes:
    """EXIF where ImageMagick puts it, in hexadecimal in a text; b"" where there is none."""
    for name in ("Raw profile type exif", "Raw profile type APP1"):
        text = image.info.get(name)
        with contextlib.suppress(ValueError):
            if isinstance(text, str):
                data = bytes.fromhex("".join(text.split("\n")[3:]))
                if data.startswith((b"Exif\0\0", b"II", b"MM")):
                    return data
    return b""
