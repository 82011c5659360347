"""Where two images that look alike differ, pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..likeness import SIDES, Place, Sight, place_in

__all__ = ["Difference", "difference"]

_LEVELS = 8  # of 255; JPEG alone moves most pixels by less
_BRIGHT = 96  # levels from which a difference has its full color
_COLOR = np.array([255, 60, 0], np.float32)
_WHOLE: Place = (1.0, 0.0, 1.0, 0.0)
_Pixels = npt.NDArray[np.uint8]  # [height, width, 3]


@dataclass(frozen=True, slots=True)
class Difference:
    """Two images laid over each other, and where they differ.

    Attributes:
        one: What the first shows of what both show, uint8 [height, width, 3].
        other: The same of the second, at the same size.
        shown: The first in gray, with what differs in color, at the same size.
        share: Share of the pixels that differ by more than `levels`.
        most: The largest difference of a channel, 0 to 255.
        levels: From which difference on a pixel counts, of 255.
        common: Share of the first image's area that is compared; less than 1 for a crop.
        is_scaled: Whether one of them was made smaller for it.
    """

    one: _Pixels
    other: _Pixels
    shown: _Pixels
    share: float
    most: int
    levels: int
    common: float
    is_scaled: bool


def difference(one: Image.Image, other: Image.Image, side: int) -> Difference:
    """Compare two images at the size of the smaller one.

    Where one shows a part of the other, that part is compared.

    Args:
        one: An image, RGB.
        other: Another one, RGB.
        side: Pixels of the longer side at most.
    """
    place = place_in(_sight(one), _sight(other)) or _WHOLE
    box, other_box = _common(place, one.size, other.size)
    sizes = [(part[2] - part[0], part[3] - part[1]) for part in (box, other_box)]
    width, height = min(sizes, key=lambda size: size[0] * size[1])
    scale = min(1.0, side / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    first, second = (
        np.asarray(image.resize(size, Image.Resampling.LANCZOS, part))
        for image, part in ((one, box), (other, other_box))
    )
    apart = np.abs(first.astype(np.int16) - second).max(axis=2)
    heat = np.clip((apart - _LEVELS) / (_BRIGHT - _LEVELS), 0, 1)[..., None] ** 0.5
    gray = 0.5 * first.mean(axis=2, dtype=np.float32, keepdims=True)
    shown = (gray * (1 - heat) + _COLOR * heat).astype(np.uint8)
    area = (box[2] - box[0]) * (box[3] - box[1]) / (one.width * one.height)
    return Difference(
        one=first,
        other=second,
        shown=shown,
        share=float((apart > _LEVELS).mean()),
        most=int(apart.max()),
        levels=_LEVELS,
        common=area,
        is_scaled=any((round(wide), round(high)) != size for wide, high in sizes),
    )


def _sight(image: Image.Image) -> Sight:
    squashed = image.resize((SIDES[0], SIDES[0]), Image.Resampling.BILINEAR)
    return Sight.of(np.asarray(squashed), *image.size)


def _common(
    place: Place, size: tuple[int, int], other_size: tuple[int, int]
) -> tuple[tuple[float, float, float, float], tuple[float, float, float, float]]:
    """The boxes, in pixels of each, of what two images show both."""
    ends: list[tuple[float, float, float, float]] = []
    for (scale, shift), pixels, other_pixels in zip(
        (place[:2], place[2:]), size, other_size, strict=True
    ):
        low, high = max(0.0, shift), min(1.0, shift + scale)
        inside = ((low - shift) / scale, (high - shift) / scale)
        ends.append(
            (low * pixels, high * pixels, inside[0] * other_pixels, inside[1] * other_pixels)
        )
    (left, right, other_left, other_right), (top, bottom, other_top, other_bottom) = ends
    return (left, top, right, bottom), (
        max(other_left, 0.0),
        max(other_top, 0.0),
        min(other_right, float(other_size[0])),
        min(other_bottom, float(other_size[1])),
    )
