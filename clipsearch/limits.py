"""How much memory one thing may take: limits in bytes, whatever a header or a count promises.

A file of a few kilobytes can unpack to gigabytes, and a thousand small things are not small. What
is over a limit is skipped with a line that says so; what waits between two steps is counted in
bytes as well as in pieces.
"""

from __future__ import annotations

__all__ = [
    "MAX_CAPTIONS_BYTES",
    "MAX_DOCUMENT_BYTES",
    "MAX_FILE_BYTES",
    "MAX_IMAGE_BYTES",
    "MAX_LINE",
    "MAX_TEXT_BYTES",
    "WAITING_BYTES",
    "file_limit",
    "over",
]

_MB = 1024 * 1024

# An image that passes through the main process: a member of an archive, a cell of a table, a
# download. Photos and RAW files are below; it is held twice while a decoder gets it.
MAX_IMAGE_BYTES = 256 * _MB
# An image file, which only a decoder reads: 179 megapixels of 16-bit RGB.
MAX_FILE_BYTES = 1024 * _MB
_BYTES_OF_PIXEL = 6
MAX_TEXT_BYTES = 4 * _MB  # a caption or JSON of one image; histories of edits make some XMP large
MAX_CAPTIONS_BYTES = 256 * _MB  # of an archive, kept in mind until their images come
MAX_LINE = 16 * _MB  # a line or a value of a table; characters or bytes
MAX_DOCUMENT_BYTES = 512 * _MB  # a JSON table, read whole; COCO's largest has 450 MB
WAITING_BYTES = 64 * _MB  # between two steps: rows read at once, a chunk, images being decoded


def file_limit(max_pixels: int) -> int:
    """How large an image file may be where images of so many pixels are allowed."""
    return max(MAX_FILE_BYTES, _BYTES_OF_PIXEL * max_pixels)


def over(most: int) -> str:
    """What is said of a thing that is larger than `most` bytes."""
    return f"over the limit of {most // _MB:,} MB"
