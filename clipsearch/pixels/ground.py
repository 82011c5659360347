"""Transparent images laid over a ground on which what is drawn can be seen.

White is the ground that most transparent images are made for, and the one that is taken as long as
something can be seen on it. A white logo would vanish, so a drawing that is mostly white gets a
dark ground.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

__all__ = ["is_transparent", "laid_over_a_ground"]

_WHITE = (255, 255, 255)
_DARK = (48, 48, 48)  # on which black can be told from it as well
_CLEAR_SHARE = 0.02  # of the area: with less of it transparent, an image is a photo
_NEAR = 32  # levels of each channel; what differs less from the ground is not seen
_LOST_SHARE = 0.5  # of what is drawn
_SAMPLE_SIDE = 128  # pixels


def is_transparent(image: Image.Image) -> bool:
    """Whether an image may have transparent pixels."""
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def laid_over_a_ground(image: Image.Image) -> Image.Image:
    """An image that may be transparent as RGB."""
    layer = image.convert("RGBA")
    ground = Image.new("RGBA", layer.size, (*_ground_of(layer), 255))
    return Image.alpha_composite(ground, layer).convert("RGB")


def _ground_of(layer: Image.Image) -> tuple[int, int, int]:
    """White or dark, for an RGBA image."""
    if layer.getchannel("A").getextrema()[0] == 255:
        return _WHITE
    step = max(1, min(layer.size) // _SAMPLE_SIDE)
    some = np.asarray(layer)[::step, ::step]  # [h, w, 4]
    drawn = some[..., 3].astype(np.float32) / 255
    if drawn.mean() > 1 - _CLEAR_SHARE or not drawn.any():
        return _WHITE
    colors = some[..., :3]
    weight = float(drawn.sum())
    lost_on_white = float(drawn[colors.min(axis=-1) > _WHITE[0] - _NEAR].sum()) / weight
    if lost_on_white <= _LOST_SHARE:
        return _WHITE
    lost_on_dark = (np.abs(colors.astype(np.int16) - _DARK[0]) < _NEAR).all(axis=-1)
    return _DARK if float(drawn[lost_on_dark].sum()) / weight < lost_on_white else _WHITE
