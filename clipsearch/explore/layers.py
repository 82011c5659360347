"""The model in torch, for those who look into its layers."""

from __future__ import annotations

from typing import Any

from ..encoder import Encoder
from ..encoders.devices import has_torch
from ..errors import MissingExtraError

__all__ = ["in_torch", "is_in_torch"]


def in_torch(encoder: Encoder) -> Any:
    """The encoder that has the layers, loaded on first need; another kind of encoder as it is.

    Raises:
        MissingExtraError: Torch is not installed.
        ClipSearchError: The model cannot be loaded in torch: its files are gone, or others.
    """
    inner = _inner(encoder)
    if not has_torch():
        raise MissingExtraError(
            f"the layers of {encoder.name} can only be read with torch, which is not installed; "
            "pip install torch open_clip_torch timm"
        )
    return inner.in_torch() if hasattr(inner, "in_torch") else inner


def is_in_torch(encoder: Encoder) -> bool:
    """Whether nothing must be loaded for that."""
    inner = _inner(encoder)
    return bool(getattr(inner, "is_in_torch", not hasattr(inner, "in_torch")))


def _inner(encoder: Encoder) -> Any:
    return getattr(encoder, "_encoder", encoder)  # of a server's shared encoder
