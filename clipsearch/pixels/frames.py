"""The frame or page that stands for a file with several: the first that shows something."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from PIL import Image

from ..metadata import DECODER_ERRORS

__all__ = [
    "MAX_FRAMES",
    "MAX_FRAME_PIXELS",
    "SHOWS",
    "SHOWS_CLEARLY",
    "has_several",
    "is_page",
    "spread",
]

MAX_FRAMES = 20  # that are looked at
MAX_FRAME_PIXELS = 150_000_000  # of all that are looked at, together
# Of `spread`: a frame with less is empty, or has hardly begun to be faded in; one that is not clear
# gives way to a later one that shows more.
SHOWS, SHOWS_CLEARLY = 32.0, 80.0
# Layers (PSD) and sizes (ICO, ICNS) are no frames.
_FORMATS = frozenset({"AVIF", "DCX", "FLI", "GIF", "HEIF", "MPO", "PNG", "TIFF", "WEBP"})
_SIDE = 128  # pixels; frames are reduced to about this before they are judged
_SPECKS = 0.1  # percent of the reduced pixels
_SUBFILE_KIND, _OLD_SUBFILE_KIND = 254, 255
_REDUCED, _MASK = 1, 4


def has_several(image: Image.Image) -> bool:
    """Whether an opened image has several frames or pages, of which one is to be chosen."""
    with contextlib.suppress(*DECODER_ERRORS):
        return image.format in _FORMATS and bool(getattr(image, "is_animated", False))
    return False


def is_page(image: Image.Image, size: tuple[int, int]) -> bool:
    """Whether the current frame is one of its own, and no copy or mask of another.

    Args:
        image: An image that was moved to a later frame.
        size: Of the first frame, as stored.
    """
    if image.format == "MPO":  # previews and gain maps are smaller
        return image.size == size
    tags: Any = getattr(image, "tag_v2", {})
    kind = tags.get(_SUBFILE_KIND, 0)
    is_copy = isinstance(kind, int) and bool(kind & (_REDUCED | _MASK))
    return not is_copy and tags.get(_OLD_SUBFILE_KIND) != 2


def spread(rgb: Image.Image) -> float:
    """How much an RGB image shows: the levels between its darkest and brightest parts.

    Small specks and noise count for little, a line of text on a page for much.
    """
    step = max(1, min(rgb.size) // _SIDE)
    small = rgb.reduce(step) if step > 1 else rgb
    shares = np.cumsum(np.reshape(small.histogram(), (3, 256)), axis=1)  # of levels, per channel
    specks = shares[0, -1] * _SPECKS / 100
    low = (shares <= specks).sum(axis=1)
    high = (shares < shares[0, -1] - specks).sum(axis=1)
    return float((high - low).max())
