"""Images that tests draw, and files of them that Pillow cannot write."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import tifffile
from PIL import Image, ImageDraw

ORIENTATIONS = range(1, 9)
# What a camera would have stored, had it said that the image is to be turned by this orientation.
_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def picture(size: tuple[int, int] = (96, 64)) -> Image.Image:
    """RGB that looks different from every side, with all levels from dark to light."""
    width, height = size
    across = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    down = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    image = Image.fromarray(np.stack([across, down, (across + down) / 2], -1).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.rectangle((2, 2, width // 3, height // 4), fill="black")
    draw.ellipse((width // 2, height // 2, width - 4, height - 4), fill="white")
    return image


def stored(image: Image.Image, orientation: int) -> Image.Image:
    turn = _STORED.get(orientation)
    return image if turn is None else image.transpose(turn)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def animated(frames: list[Image.Image], kind: str, **options) -> bytes:
    if kind == "WEBP":
        options = {"lossless": True, **options}
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def tiff(values: np.ndarray, photometric: str = "minisblack", **options) -> bytes:
    buffer = io.BytesIO()
    big = options.pop("bigtiff", False)
    order = options.pop("byteorder", "<")
    with tifffile.TiffWriter(buffer, bigtiff=big, byteorder=order) as writer:
        writer.write(values, photometric=photometric, metadata=None, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png_with(data: bytes, *chunks: bytes, late: bool = False) -> bytes:
    """A PNG with further chunks, before its pixels or after them."""
    at = len(data) - 12 if late else 33
    return data[:at] + b"".join(chunks) + data[at:]


def png16(values: np.ndarray, *chunks: bytes) -> bytes:
    """A PNG of 16-bit values [H, W] or [H, W, C]: grey, grey and alpha, RGB or RGBA."""
    values = values.reshape(*values.shape[:2], -1)
    color = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2]]
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, color, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    pixels = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + pixels


def endless_jpeg() -> bytes:
    """A JPEG of many scans, which takes half a minute to decode."""
    file = io.BytesIO()
    Image.new("L", (4000, 4000), 90).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    scan = data.rindex(b"\xff\xda")
    return data[:scan] + data[scan:-2] * 500 + b"\xff\xd9"
