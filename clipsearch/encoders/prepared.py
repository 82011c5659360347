"""What every image encoder does with its images, before it encodes them and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ..encoder import EncodingProgress
from ..errors import InvalidInputError, ModelLoadError
from ..images import ImageInput, Preprocessing, check_images, prepare

__all__ = ["check_pixels", "encode_prepared", "in_batches", "unit"]

_BATCH = 32
_TEXT_BATCH = 1024  # where progress is to be told; else all texts are encoded together
_T = TypeVar("_T")
_ZERO = 1e-12  # length of features that have no direction


def encode_prepared(
    images: Sequence[ImageInput],
    spec: Preprocessing,
    encode: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]],
    *,
    batch_size: int | None = None,
    progress: EncodingProgress | None = None,
) -> npt.NDArray[np.float32]:
    """Prepare images and encode them, some at a time.

    Args:
        images: Paths, bytes, Pillow images or uint8 arrays [H, W, 3], in any mix.
        spec: How they are prepared.
        encode: From uint8 [n, H, W, 3] to float32 [n, dim].
        batch_size: How many at a time; None for 32.
        progress: Called after each batch.

    Raises:
        ImageDecodeError: One cannot be decoded; nothing is returned.
        InvalidInputError: One is of another type, or a single one is not in a list.
    """
    check_images(images)

    def encoded(some: Sequence[ImageInput]) -> npt.NDArray[np.float32]:
        pixels = [prepare(image, spec) for image in some]
        return encode(np.stack(pixels) if pixels else np.empty((0, *spec.size, 3), np.uint8))

    return in_batches(
        images, encoded, batch_size=_BATCH if batch_size is None else batch_size, progress=progress
    )


def in_batches(
    values: Sequence[_T],
    encode: Callable[[Sequence[_T]], npt.NDArray[np.float32]],
    *,
    batch_size: int | None,
    progress: EncodingProgress | None,
) -> npt.NDArray[np.float32]:
    """Encode values some at a time; without a size and `progress`, all of them together.

    Raises:
        InvalidInputError: `batch_size` is no whole number, or below 1.
    """
    is_whole = isinstance(batch_size, int | np.integer) and not isinstance(batch_size, bool)
    if batch_size is not None and not (is_whole and batch_size > 0):
        raise InvalidInputError(
            f"batch_size must be a whole number of at least 1, got {batch_size!r}"
        )
    size = batch_size or (len(values) if progress is None else _TEXT_BATCH)
    parts = []
    for start in range(0, len(values), max(1, size)):
        parts.append(encode(values[start : start + size]))
        if progress is not None:
            progress(min(start + size, len(values)), len(values))
    return np.concatenate(parts) if parts else encode(values[:0])


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
