"""Which regions of an image speak for a text."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from ..classification.contrast import CONTRAST_TEMPLATE, CONTRAST_WORDS
from ..encoder import Encoder
from ..engine.baseline import measure
from ..errors import ClipSearchError, InvalidInputError
from ..images import ImageInput, load_image, prepare
from ..vectors import Floats
from ..zeroshot import class_vectors
from .layers import in_torch

__all__ = ["HeatMap", "explain", "overlay"]

_GRID = 8  # windows a side where the tower cannot be looked into
_WINDOW = 3  # steps that a window is wide
_GAMMA = 0.8
_CERTAIN = 4.0  # standard deviations above unrelated words: the peak is as hot as can be
_STRENGTH = 0.6  # opacity of the hottest region
_SIDE = 512  # pixels of the longer side of an overlay
# Dark blue over green and yellow to white: lightness rises throughout, so that it reads without
# colour as well. Points of matplotlib's viridis.
_RAMP = np.array(
    [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], np.float64
)


@dataclass(frozen=True, slots=True)
class HeatMap:
    """How much regions of an image speak for a text.

    Attributes:
        heat: float32 [H, W] in [0, 1], over `image`; the better the whole image fits the text, the
            higher its peak, which is 1 for one that fits as chance hardly ever does.
        image: The part of the image that the model sees, upright RGB.
        score: Cosine of the whole image with the text.
        found: Whether the image fits the text better than 95 of 100 everyday words that have
            nothing to do with it.
        method: Whether layers were looked into, or regions covered one by one.
    """

    heat: Floats
    image: Image.Image
    score: float
    found: bool
    method: Literal["layers", "covering"]


def explain(encoder: Encoder, image: ImageInput, text: str) -> HeatMap:
    """Find the regions of an image that speak for a text.

    The text is compared with the average everyday word, so that what speaks for any text at all is
    left out.

    Args:
        encoder: The model.
        image: As for `load_encoder(...).encode_images`.
        text: What to look for in the image.

    Raises:
        InvalidInputError: The text is empty.
        ImageDecodeError: The image cannot be decoded.
    """
    if not text.strip():
        raise InvalidInputError("the text is empty; say what to look for in the image")
    pixels = np.array(prepare(load_image(image), encoder.preprocessing))  # uint8 [H, W, 3]
    wanted = encoder.encode_texts([text])[0]
    words = class_vectors(encoder, {w: [w] for w in CONTRAST_WORDS}, (CONTRAST_TEMPLATE,))
    direction = wanted - words.mean(axis=0)
    scores = _by_layers(encoder, pixels, direction)
    method: Literal["layers", "covering"] = "layers"
    if scores is None:
        scores, method = _by_covering(encoder, pixels, direction), "covering"
    vector = encoder.encode_pixels(pixels[None])[0]
    score = float(vector @ wanted)
    chance = measure(words, vector[None], 1)
    peak = 1.0 if chance is None else (score - chance.center) / (_CERTAIN * chance.scale)
    return HeatMap(
        _spread_out(scores, pixels.shape[:2]) * np.float32(np.clip(peak, 0, 1)),
        Image.fromarray(pixels),
        score,
        chance is None or score >= chance.floor,
        method,
    )


def overlay(found: HeatMap) -> Image.Image:
    """The image with its heat map over it, scaled to a longer side of 512 pixels."""
    scale = _SIDE / max(found.image.size)
    size = (round(found.image.width * scale), round(found.image.height * scale))
    image = np.asarray(found.image.resize(size, Image.Resampling.BICUBIC), np.float64)
    heat_image = Image.fromarray(found.heat, mode="F").resize(size, Image.Resampling.BICUBIC)
    heat = np.clip(np.asarray(heat_image, np.float64), 0, 1)
    steps = np.linspace(0, 1, len(_RAMP))
    color = np.stack([np.interp(heat, steps, band) for band in _RAMP.T], axis=-1)  # [H, W, 3]
    alpha = _STRENGTH * (0.25 + 0.75 * heat)[..., None]
    mixed = (1 - alpha) * image + alpha * color
    return Image.fromarray(mixed.round().astype(np.uint8))


def _by_layers(encoder: Encoder, pixels: npt.NDArray[np.uint8], direction: Floats) -> Floats | None:
    """What the layers of the model in torch say; None where they cannot be looked into."""
    try:
        inner = in_torch(encoder)
    except ClipSearchError:
        return None
    saliency = importlib.import_module("clipsearch.explore.saliency")
    scores: Floats | None = saliency.region_scores(inner, pixels, direction)
    return scores


def _by_covering(encoder: Encoder, pixels: npt.NDArray[np.uint8], direction: Floats) -> Floats:
    """How much the score falls when a region is blurred: works with any encoder, 64 images."""
    height, width = pixels.shape[:2]
    radius = max(height, width) / 10
    blurred = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))
    half = _WINDOW / 2
    covered = np.repeat(pixels[None], _GRID * _GRID, axis=0)
    for place in range(_GRID * _GRID):
        row, column = divmod(place, _GRID)
        top, bottom = (
            int(np.clip((row + 0.5 + s) * height / _GRID, 0, height)) for s in (-half, half)
        )
        left, right = (
            int(np.clip((column + 0.5 + s) * width / _GRID, 0, width)) for s in (-half, half)
        )
        covered[place, top:bottom, left:right] = blurred[top:bottom, left:right]
    whole = float(encoder.encode_pixels(pixels[None])[0] @ direction)
    parts = np.concatenate(
        [encoder.encode_pixels(covered[i : i + 16]) for i in range(0, len(covered), 16)]
    )
    return (whole - parts @ direction).astype(np.float32).reshape(_GRID, _GRID)


def _spread_out(scores: Floats, size: tuple[int, int]) -> Floats:
    """Scores of regions [rows, columns] as heat in [0, 1] for every pixel [H, W]."""
    middle = float(np.median(scores))
    positive = np.clip(scores - middle, 0, None)
    top = float(positive.max())
    heat = (positive / top if top > 0 else positive) ** _GAMMA
    image = Image.fromarray(heat.astype(np.float32), mode="F")
    grown = image.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(grown, np.float32), 0, 1)
