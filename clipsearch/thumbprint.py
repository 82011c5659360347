"""Thumbprints: what is kept of every image's structure, to find copies without its file."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["THUMBPRINT_BYTES", "standardized", "thumbprint"]

_SIDE = 12  # cells
THUMBPRINT_BYTES = _SIDE * _SIDE
_LEAST_CONTRAST = 2.0  # levels; below it a thumbprint tells nothing


def thumbprint(image: Image.Image) -> bytes:
    """The brightness of an image in 12 x 12 cells, row by row, a byte each.

    Args:
        image: The whole image, upright, RGB.
    """
    small = image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return small.convert("L").tobytes()


def standardized(prints: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Thumbprints as vectors whose inner product is their correlation.

    Args:
        prints: uint8 [n, 144].

    Returns:
        float32 [n, 144], of unit length; zero for an image without contrast.
    """
    values = prints.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    length = np.sqrt(np.einsum("ij,ij->i", values, values))
    flat = length < _LEAST_CONTRAST * _SIDE
    values /= np.where(flat, np.float32(1), length)[:, None]
    values[flat] = 0
    return values
