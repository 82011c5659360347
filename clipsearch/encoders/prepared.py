"""What every image encoder does with its images, before it encodes them and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ..errors import InvalidInputError, ModelLoadError
from ..images import ImageInput, Preprocessing, check_images, prepare

__all__ = ["check_pixels", "encode_prepared", "unit"]

_BATCH = 32
_ZERO = 1e-12  # length of features that have no direction


def encode_prepared(
    images: Sequence[ImageInput],
    spec: Preprocessing,
    encode: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]],
) -> npt.NDArray[np.float32]:
    """Prepare images and encode them, some at a time.

    Args:
        images: Paths, bytes, Pillow images or uint8 arrays [H, W, 3], in any mix.
        spec: How they are prepared.
        encode: From uint8 [n, H, W, 3] to float32 [n, dim].

    Raises:
        ImageDecodeError: One cannot be decoded; nothing is returned.
        InvalidInputError: One is of another type, or a single one is not in a list.
    """
    check_images(images)
    if not len(images):
        return encode(np.empty((0, *spec.size, 3), np.uint8))
    chunks = [images[i : i + _BATCH] for i in range(0, len(images), _BATCH)]
    return np.concatenate(
        [encode(np.stack([prepare(image, spec) for image in chunk])) for chunk in chunks]
    )


def check_pixels(pixels: npt.NDArray[np.uint8], spec: Preprocessing) -> None:
    """Raise `InvalidInputError` where prepared images are not [n, H, W, 3] of the model's size."""
    if pixels.ndim != 4 or pixels.shape[1:] != (*spec.size, 3):
        raise InvalidInputError(
            f"prepared images must be [n, {spec.size[0]}, {spec.size[1]}, 3], "
            f"got {list(pixels.shape)}"
        )


def unit(features: npt.NDArray[np.float32], what: str) -> npt.NDArray[np.float32]:
    """Features [n, dim] at unit length.

    Raises:
        ModelLoadError: One is no direction.
    """
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or (norms < _ZERO).any():
        raise ModelLoadError(f"the model returned a zero or non-finite {what} vector")
    return np.asarray(features / norms, np.float32)
