"""Files without metadata that stops their decoder: whole pixels are readable whatever it is."""

from __future__ import annotations

import struct
import zlib

__all__ = ["stripped"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_TEXT = 1024 * 1024  # bytes of a text, as Pillow has it, ...
_MAX_TEXTS = 16 * 1024 * 1024  # ... and of all of them
_KEPT = {b"tRNS", b"sBIT", b"eXIf", b"acTL", b"fcTL", b"fdAT"}
_HEIF_HEAD = 256 * 1024  # bytes within which items are named
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}


def stripped(data: bytes) -> bytes | None:
    """A PNG, AVIF or HEIC file without the metadata that may stop its decoder.

    Args:
        data: A file that could not be decoded.

    Returns:
        The file without it; None for another format, or where nothing is left out.
    """
    if data.startswith(_SIGNATURE):
        return _png(data)
    return _heif(data) if data[4:8] == b"ftyp" else None


def _heif(data: bytes) -> bytes | None:
    """AVIF or HEIC whose EXIF item has an unknown type, so that it is not read."""
    found = bytearray(data)
    at = data.find(b"infe", 0, _HEIF_HEAD)
    while at >= 0:
        kind = at + (14 if data[at + 4] == 3 else 12)  # after a wide or a narrow item id
        if found[kind : kind + 4] == b"Exif":
            found[kind : kind + 4] = b"none"
        at = data.find(b"infe", at + 4, _HEIF_HEAD)
    return bytes(found) if found != data else None


def _png(data: bytes) -> bytes | None:
    """PNG without chunks that are broken, or too large once they are unpacked."""
    kept = [_SIGNATURE]
    at, left = len(_SIGNATURE), _MAX_TEXTS
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 12 + size
        chunk = data[at:end]
        if not kind[:1].islower():  # what the pixels need
            kept.append(chunk)
        elif len(chunk) == size + 12 and _is_whole(chunk):
            body = chunk[8:-4]
            if kind in _TEXTS:
                length = _text_size(kind, body)
                left -= length
                if length <= _MAX_TEXT and left >= 0:
                    kept.append(chunk)
            elif kind in _KEPT:
                kept.append(chunk)
        if kind == b"IEND":
            break
        at = end
    mended = b"".join(kept)
    return mended if len(mended) < len(data) else None


def _is_whole(chunk: bytes) -> bool:
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


def _text_size(kind: bytes, body: bytes) -> int:
    """The size of a text once it is unpacked, as far as it matters; too large for broken ones."""
    _, _, rest = body.partition(b"\0")
    if kind == b"tEXt":
        return len(rest)
    if kind == b"iTXt":
        is_packed, rest = rest[:1] == b"\1", rest[2:]
        rest = rest.split(b"\0", 2)[-1]
        if not is_packed:
            return len(rest)
    else:
        rest = rest[1:]
    try:
        return len(zlib.decompressobj().decompress(rest, _MAX_TEXT + 1))
    except zlib.error:
        return _MAX_TEXT + 1
