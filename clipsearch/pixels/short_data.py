"""Files whose data end before their pixels do, of which a decoder says nothing.

A JPEG decoder fills what is missing with grey, and Pillow leaves it zero in a PNG, if the data have
a proper end: those of a smaller image below the header of a larger one, or what some programs make
of a file that was cut off. The strips and tiles of a TIFF may be such JPEGs. A progressive JPEG
with its whole first scan shows the whole image, if only coarsely, and is sound.
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from PIL import Image, UnidentifiedImageError

__all__ = ["lacks_data", "may_lack_data"]

_GREY = 128  # of what a JPEG decoder has no data for; one less where it is inverted
_WITHIN_SCANS = {bytes([code]) for code in (0, *range(0xD0, 0xD8))}  # after 0xFF
_MORE = bytes.fromhex("5aa53cc369967817") * 16  # any data, which decode to something
_PIECE = 1024 * 1024
# Tags of TIFF.
_WIDTH, _HEIGHT, _STRIP_ROWS, _TILE_COLUMNS, _TILE_ROWS, _TABLES = 256, 257, 278, 322, 323, 347
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the color type of PNG
# First column and row of each pass of an interlaced PNG, and the steps to the next ones.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
           (0, 1, 1, 2))  # fmt: skip


def may_lack_data(image: Image.Image, loaded: Image.Image) -> bool:
    """Whether the last pixels of an image look as if the file had none for them.

    Args:
        image: The image as it was opened.
        loaded: Its pixels.
    """
    if image.format == "PNG":
        last_row = loaded.crop((0, loaded.height - 1, loaded.width, loaded.height))
        return not any(last_row.tobytes())
    if image.format == "TIFF":
        return image.info.get("compression") == "jpeg"
    return image.format in ("JPEG", "MPO") and _ends_gray(loaded)


def _ends_gray(loaded: Image.Image) -> bool:
    last = loaded.getpixel((loaded.width - 1, loaded.height - 1))
    values = last if isinstance(last, tuple) else (last,)
    return all(isinstance(value, int) and abs(value - _GREY) <= 1 for value in values)


def lacks_data(again: Any) -> bool:
    """Whether an image, opened and not loaded, has data for fewer pixels than it says."""
    if again.format == "TIFF":
        return _has_short_parts(again)
    again.fp.seek(0)
    data: bytes = again.fp.read()
    return _is_short_png(data) if again.format == "PNG" else _takes_more(data)


def _takes_more(jpeg: bytes) -> bool:
    """Whether data that are added at the end of the first scan show in the pixels."""
    found = _end_of_scan(jpeg)
    if found is None:
        return False
    end, restarts = found
    more = _MORE + bytes([0xFF, 0xD0 + restarts % 8]) + _MORE
    with (
        Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as one,
        Image.open(io.BytesIO(jpeg[:end] + more + jpeg[end:]), formats=["JPEG"]) as other,
    ):
        return one.tobytes() != other.tobytes()


def _has_short_parts(tiff: Any) -> bool:
    """Whether a strip or tile of a TIFF that is a JPEG has fewer pixels than its place."""
    tags = tiff.tag_v2
    height = tags[_HEIGHT]
    is_tiled = _TILE_ROWS in tags
    rows = tags[_TILE_ROWS] if is_tiled else min(tags.get(_STRIP_ROWS, height), height)
    offsets, sizes = (tags[324], tags[325]) if is_tiled else (tags[273], tags[279])
    across = -(-tags[_WIDTH] // tags[_TILE_COLUMNS]) if is_tiled else 1
    parts = zip(offsets, sizes, strict=False)  # further ones are of further channels
    for number, (offset, size) in enumerate(itertools.islice(parts, across * -(-height // rows))):
        tiff.fp.seek(offset)
        data = tags.get(_TABLES, b"\xff\xd8\xff\xd9")[:-2] + tiff.fp.read(size)[2:] + b"\xff\xd9"
        expected = rows if is_tiled else min(rows, height - number * rows)
        try:
            part = Image.open(io.BytesIO(data), formats=["JPEG"])
        except UnidentifiedImageError:  # which libtiff has read all the same
            continue
        with part:
            if part.height < expected or (_ends_gray(part) and _takes_more(data)):
                return True
    return False


def _end_of_scan(jpeg: bytes) -> tuple[int, int] | None:
    """Where the data of the first scan end, and how many restarts are in them."""
    at, restarts = 2, 0
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF:
        kind = jpeg[at + 1]
        if kind == 0xFF:  # fills
            at += 1
            continue
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4])
        if kind == 0xDA:
            while (at := jpeg.find(b"\xff", at)) >= 0:
                if jpeg[at + 1 : at + 2] not in _WITHIN_SCANS:
                    return at, restarts
                restarts += jpeg[at + 1] != 0
                at += 2
            return None
    return None


def _is_short_png(png: bytes) -> bool:
    """Whether a PNG has fewer bytes of pixels than its header asks for."""
    width, height, bits, color, _, _, interlaced = struct.unpack(">IIBBBBB", png[16:29])
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    left = 0
    for x, y, step_x, step_y in passes:
        columns, rows = -(-(width - x) // step_x), -(-(height - y) // step_y)
        if columns > 0 and rows > 0:
            left += rows * (1 + (columns * bits * _CHANNELS[color] + 7) // 8)
    unpacked = zlib.decompressobj()
    for data in _pixel_data(png):
        while data and left > 0:
            left -= len(unpacked.decompress(data, _PIECE))
            data = unpacked.unconsumed_tail
    return left > 0


def _pixel_data(png: bytes) -> Iterator[bytes]:
    at = 8
    while at + 8 <= len(png):
        size, kind = struct.unpack_from(">I4s", png, at)
        if kind == b"IDAT":
            yield png[at + 8 : at + 8 + size]
        at += 12 + size
