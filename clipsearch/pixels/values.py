"""The pixels of an opened image as 8 bits a channel, whatever the file has."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .depth import Declared, Scale, as_8_bits, declared_by, scale_of, scale_of_alpha

__all__ = ["Reopen", "eight_bits"]

Reopen = Callable[[], Image.Image]  # the same file again, opened and not yet loaded

_Words = npt.NDArray[np.uint16]
_SWAPPED = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
_COLORS = {"RGB": 3, "RGBA": 3, "CMYK": 4}
_WHOLE = Scale(0.0, 65535.0)


def eight_bits(image: Image.Image, reopen: Reopen | None = None) -> tuple[Image.Image, bool]:
    """Load an opened image.

    Args:
        image: An image, loaded or not.
        reopen: Opens its file again: Pillow reads the upper half of 16-bit colors alone, and a
            second look is what gets the lower half.

    Returns:
        The loaded image with 8 bits a channel, in any of Pillow's modes with so many, and whether
        the range of its values had to be guessed.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return _grey(image)
    if _raw_mode(image).endswith((";16B", ";16L", ";16N")):
        if _is_animated_png(image):  # whose frames are drawn over one another as Pillow reads them
            return _colors(image, None)
        return _grey_and_alpha(image) if _raw_mode(image) == "LA;16B" else _colors(image, reopen)
    if (scaled := _wide_ppm(image)) is not None:
        return scaled
    _load(image)
    return image, bool(getattr(image, "is_guessed", False))


def _load(image: Image.Image) -> None:
    """Load an image; a PNG that is cut off after its pixels is whole."""
    try:
        image.load()
    except OSError as exc:
        has_pixels = not getattr(image, "tile", None) and "reading image file" not in str(exc)
        if image.format != "PNG" or not has_pixels:
            raise


def _grey(image: Image.Image) -> tuple[Image.Image, bool]:
    declared = declared_by(image)
    key = image.info.get("transparency")
    _load(image)
    values: npt.NDArray[Any] = np.asarray(image)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if image.mode == "I" and declared.bits == 32 and declared.signed is False:
        values = values.view(np.uint32)
    scale = scale_of(values, declared)
    levels = as_8_bits(values, scale, declared)
    if not isinstance(key, int):
        return Image.fromarray(levels), scale.guessed
    alpha = np.where(values == key, 0, 255).astype(np.uint8)
    return Image.fromarray(np.stack([levels, alpha], axis=-1)), scale.guessed


def _grey_and_alpha(image: Image.Image) -> tuple[Image.Image, bool]:
    """A PNG of 16-bit grey and alpha: four bytes a pixel, which RGBA has, too."""
    declared = declared_by(image)
    bytes_ = _loaded_as(image, "RGBA").astype(np.uint16)  # [H, W, 4]
    words = bytes_[..., 0::2] * 256 + bytes_[..., 1::2]  # [H, W, 2]
    return _scaled(words, 1, declared)


def _colors(image: Image.Image, reopen: Reopen | None) -> tuple[Image.Image, bool]:
    declared = declared_by(image)
    raw_mode = _raw_mode(image)
    key = image.info.get("transparency")
    count = _COLORS[image.mode]
    in_planes = getattr(image, "tag_v2", {}).get(284) == 2  # libtiff heeds no raw mode then
    is_premultiplied = "a;" in raw_mode and not in_planes
    if is_premultiplied:  # Pillow divides the upper half alone by alpha
        raw_mode = raw_mode.replace("a;", "A;")
        upper = _loaded_as(image, raw_mode)
    else:
        _load(image)
        upper = np.asarray(image)
    words = upper.astype(np.uint16) * 256 + 255
    of_few_bits = scale_of(words[..., :count], declared) != _WHOLE
    if not of_few_bits and key is None and not is_premultiplied:
        return image, False
    if reopen is not None and not in_planes:
        with reopen() as again:
            lower = _loaded_as(again, raw_mode[:-1] + _SWAPPED[raw_mode[-1]])
        words = upper.astype(np.uint16) * 256 + lower
    if is_premultiplied:
        opaque = 2 ** int(words[..., 3].max(initial=1)).bit_length() - 1
        alpha = words[..., 3:].astype(np.float32) / opaque
        with np.errstate(all="ignore"):
            words[..., :3] = np.nan_to_num(np.clip(words[..., :3] / alpha, 0, 65535))
    if isinstance(key, tuple) and image.mode == "RGB":
        clear = (words == np.array(key, np.uint16)).all(axis=-1, keepdims=True)
        words = np.concatenate([words, np.where(clear, 0, 65535).astype(np.uint16)], axis=-1)
    return _scaled(words, count, declared)


def _wide_ppm(image: Any) -> tuple[Image.Image, bool] | None:
    """A binary PPM with more than 8 bits a channel, of which Pillow drops the lower ones."""
    if image.format != "PPM" or image.mode != "RGB" or not image.tile:
        return None
    codec, _, offset, arguments = image.tile[0]
    top = arguments[1] if isinstance(arguments, tuple) and len(arguments) == 2 else 255
    if codec != "ppm" or top <= 255:
        return None
    image.fp.seek(offset)
    data = image.fp.read(image.width * image.height * 6)
    if len(data) < image.width * image.height * 6:
        raise OSError("image file is truncated")
    words = np.frombuffer(data, ">u2").astype(np.uint16).reshape(image.height, image.width, 3)
    high = None if top == 65535 else float(top)
    return _scaled(words, 3, Declared(high=high, bits=16, signed=False))


def _scaled(words: _Words, count: int, declared: Declared) -> tuple[Image.Image, bool]:
    """16-bit channels [H, W, C] as an image; those from `count` on are alpha."""
    scale = scale_of(words[..., :count], declared)
    levels = (words >> 8).astype(np.uint8) if scale == _WHOLE else as_8_bits(words, scale, declared)
    if words.shape[-1] > count and scale != _WHOLE:
        alpha = words[..., count]
        levels[..., count] = as_8_bits(alpha, scale_of_alpha(alpha), Declared())
    mode = {1: "LA", 3: "RGBA", 4: "CMYK"}[count]
    mode = "RGB" if words.shape[-1] == count == 3 else mode
    return Image.frombytes(mode, levels.shape[1::-1], levels.tobytes()), scale.guessed


def _raw_mode(image: Image.Image) -> str:
    """How Pillow will read the pixels; "" where they are loaded, or read otherwise."""
    tiles = getattr(image, "tile", None)
    if not tiles or image.mode not in _COLORS:
        return ""
    arguments = tiles[0][3]
    raw_mode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return raw_mode if isinstance(raw_mode, str) else ""


def _loaded_as(image: Any, raw_mode: str) -> npt.NDArray[np.uint8]:
    """The pixels of an image, their bytes taken in another way, [H, W, C]."""
    image.tile = [
        tile._replace(args=(raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode)
        for tile in image.tile
    ]
    _load(image)
    return np.asarray(image)


def _is_animated_png(image: Image.Image) -> bool:
    return image.format == "PNG" and bool(getattr(image, "is_animated", False))
