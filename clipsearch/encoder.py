"""The encoder protocol that every layer above programs against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from .images import ImageInput, Preprocessing

__all__ = ["Encoder"]


@runtime_checkable
class Encoder(Protocol):
    """Turns images and texts into unit vectors of one joint space.

    Several threads may call it at once.
    """

    @property
    def name(self) -> str:
        """The name that `load_encoder` takes."""
        ...

    @property
    def dim(self) -> int:
        """Length of every vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hex digest that changes when weights, preprocessing or tokenizer change."""
        ...

    @property
    def preprocessing(self) -> Preprocessing:
        """How images must be prepared for `encode_pixels`."""
        ...

    @property
    def logit_scale(self) -> float:
        """Factor (already exponentiated) that turns cosines into logits."""
        ...

    @property
    def logit_bias(self) -> float | None:
        """Bias of a sigmoid (SigLIP) model; None for softmax models."""
        ...

    def encode_images(self, images: Sequence[ImageInput]) -> npt.NDArray[np.float32]:
        """Encode images, float32 [n, dim], unit length, in order."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode texts, float32 [n, dim], unit length, in order."""
        ...

    def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Encode prepared images, uint8 [n, H, W, 3], as float32 [n, dim], unit length."""
        ...
