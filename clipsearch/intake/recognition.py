"""How a file is recognised as an image: by its suffix, or by its first bytes."""

from __future__ import annotations

from ..rawfiles import RAW_SUFFIXES

__all__ = ["NEEDS_EXTRA", "looks_like_an_image"]

# Images that are read only where an extra is installed, with its name.
NEEDS_EXTRA = dict.fromkeys((".heic", ".heif", ".avif"), "heif") | dict.fromkeys(
    RAW_SUFFIXES, "raw"
)
# First bytes of JPEG, PNG, GIF, TIFF (both orders), BMP and WebP/RIFF files.
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*", b"BM", b"RIFF")


def looks_like_an_image(start: bytes) -> bool:
    """Whether a file without an image suffix starts like an image all the same.

    Args:
        start: Its first 12 bytes.
    """
    if start.startswith(b"RIFF"):
        return start[8:] == b"WEBP"
    return start.startswith(_MAGIC)
