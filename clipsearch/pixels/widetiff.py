"""TIFFs that Pillow cannot read, as a format of Pillow's, through tifffile.

They come from microscopes, satellites and scientific programs: several channels of floats or of 16
and more bits, channels in planes, odd numbers of bits.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from ..metadata import DECODER_ERRORS
from .depth import Declared, as_8_bits, declared_by_tiff, scale_of, scale_of_alpha

__all__ = ["FORMAT", "is_better_for", "register"]

FORMAT = "WIDE_TIFF"  # Pillow's key; to users it is a TIFF
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PLANES = 2  # of the tag PlanarConfiguration
_COMPRESSIONS = (1, 8, 32773, 32946)  # that need no further package: none, Deflate, PackBits
_MAX_BYTES = 1_200_000_000  # of the values of a page
_CMYK = 5
_NOT_READ = (3, 6, 8, 9, 10)  # palettes, YCbCr and Lab, whose channels are no levels of light
_ALPHA = (1, 2)  # of the tag ExtraSamples: premultiplied or not


def register() -> None:
    """Make Pillow open them; `FORMAT` must come after TIFF in the formats to try."""
    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # it prints of bad files
    Image.register_open(FORMAT, WideTiffFile, lambda prefix: prefix.startswith(_MAGIC))


def is_better_for(image: Image.Image) -> bool:
    """Whether Pillow has opened a TIFF that it would read wrong: wide channels in planes."""
    tags: Any = getattr(image, "tag_v2", None)
    if tags is None or tags.get(284) != _PLANES:
        return False
    bits = tags.get(258, (1,))
    if tags.get(262) in _NOT_READ:
        return False
    return max(bits) > 8 and tags.get(259, 1) in _COMPRESSIONS


class WideTiffFile(ImageFile.ImageFile):
    """The first page of a TIFF, scaled to 8 bits a channel."""

    format = "TIFF"
    format_description = "TIFF with wide or many channels"

    def _open(self) -> None:
        import tifffile

        stream: Any = self.fp
        stream.seek(0)
        try:
            self._tiff = tifffile.TiffFile(stream)
            page: Any = self._tiff.pages[0]
        except Exception as exc:
            raise SyntaxError(f"not a TIFF ({exc})") from exc
        tags = {tag.code: tag.value for tag in page.tags.values()}
        self._page, self._declared = page, declared_by_tiff(tags)
        if page.ndim not in (2, 3) or page.dtype is None or page.imagedepth != 1:
            raise SyntaxError("no TIFF of one plane")
        if page.photometric in _NOT_READ:
            raise SyntaxError("channels that are no levels of light")
        channels = page.samplesperpixel
        alphas = [kind in _ALPHA for kind in page.extrasamples]
        self._alpha = channels - len(alphas) + alphas.index(True) if any(alphas) else None
        drawn = channels - len(alphas)
        self._channels = 3 if drawn >= 3 or (channels >= 3 and self._alpha is None) else 1
        if page.photometric == _CMYK and drawn >= 4:
            self._channels, self._alpha = 4, None
        mode = {1: "L", 3: "RGB", 4: "CMYK"}[self._channels]
        self._mode = mode if self._alpha is None else mode + "A"
        self._size = (page.imagewidth, page.imagelength)
        with contextlib.suppress(*DECODER_ERRORS):
            exif = self.getexif()
            exif.endian, exif.bigtiff = self._tiff.byteorder, self._tiff.is_bigtiff
            exif.load_from_fp(stream, page.offset)
        if page.nbytes > _MAX_BYTES:
            raise OSError(f"its values take {page.nbytes:,} bytes, over {_MAX_BYTES:,}")
        self.is_guessed = False

    def load(self) -> Any:
        """Read the values at first use."""
        if self._page is not None:
            page, self._page = self._page, None
            try:
                values = page.asarray(maxworkers=1)
            except ImportError as exc:
                raise NotImplementedError(_needs_extra(page)) from exc
            except Exception as exc:
                if "imagecodecs" in str(exc):
                    raise NotImplementedError(_needs_extra(page)) from exc
                raise OSError(f"{type(exc).__name__}: {exc}") from exc
            finally:
                self._tiff.close()
            loaded = self._image(np.asarray(values), page)
            self.im = loaded.im
            self.tile = []
        return Image.Image.load(self)

    def _image(self, values: npt.NDArray[Any], page: Any) -> Image.Image:
        if values.dtype.kind == "c":
            values = np.abs(values)
        if values.dtype.kind == "b":
            values = values.astype(np.uint8) * 255
        if values.ndim == 3 and page.planarconfig == 2:
            values = np.moveaxis(values, 0, -1)  # -> [H, W, C]
        if values.ndim == 2:
            values = values[..., None]
        colors = values[..., : self._channels]
        declared = self._declared
        scale = scale_of(colors, declared)
        if colors.dtype == np.uint8:
            levels = 255 - colors if declared.white_is_zero else colors
        else:
            self.is_guessed = scale.guessed
            levels = as_8_bits(colors, scale, declared)
        if self._alpha is not None:
            alpha = values[..., self._alpha : self._alpha + 1]
            if alpha.dtype != np.uint8:
                alpha = as_8_bits(alpha, scale_of_alpha(alpha), Declared())
            levels = np.concatenate([levels, alpha], axis=-1)
        levels = np.ascontiguousarray(levels)
        return Image.frombytes(self.mode, levels.shape[1::-1], levels.tobytes())


def _needs_extra(page: Any) -> str:
    how = getattr(page.compression, "name", str(page.compression))
    bits = f"{page.bitspersample} bits a value, compression {how}"
    return f"a TIFF of this kind ({bits}) needs: pip install 'clipsearch[tiff]'"
