"""Safe decoding of images into the pixels that a model expects.

Everything here needs Pillow and numpy only, so that decoding can run in worker processes that
never import torch. `prepare` follows open_clip's own evaluation transform step for step, except
that pixels become RGB *before* they are resized, not after.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from . import rawfiles
from .errors import ImageDecodeError, InvalidInputError
from .files import open_regular, read_regular
from .limits import MAX_FILE_BYTES, file_limit, over
from .metadata import DECODER_ERRORS, ImageFacts, facts_of, read_exif
from .passing import passing_of
from .pixels import frames, widetiff
from .pixels.ground import is_transparent, laid_over_a_ground
from .pixels.orientation import load_late_tags, orientation_of
from .pixels.short_data import lacks_data, may_lack_data
from .pixels.values import Reopen, eight_bits
from .standards.stripped import stripped
from .thumbprint import thumbprint

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "RANGE_GUESSED",
    "ImageInput",
    "Prepared",
    "Preprocessing",
    "check_images",
    "decode_error",
    "image_of_array",
    "image_suffixes",
    "load_image",
    "prepare",
    "prepare_with_facts",
    "read_facts",
]

_T = TypeVar("_T")
ImageInput = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]

DEFAULT_MAX_PIXELS = 179_000_000  # about where Pillow itself calls a file a decompression bomb
_DRAFT_MARGIN = 2  # scaled JPEG decoding stops at twice the model's input: cosine > 0.998 holds
_FACTS_SIDE = 64  # pixels, at which it is seen which frame shows something
_SCALED_FORMATS = ("JPEG", "MPO", rawfiles.FORMAT)
RANGE_GUESSED = "images whose range of values was guessed"  # a note


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a model wants its pixels; open_clip's `preprocess_cfg`."""

    size: tuple[int, int]  # height, width in pixels
    mean: tuple[float, float, float]  # of RGB in [0, 1]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize_mode: Literal["shortest", "longest", "squash"] = "shortest"
    fill_color: int = 0  # of the border that "longest" pads with

    @classmethod
    def from_open_clip(cls, cfg: Mapping[str, Any]) -> Preprocessing:
        """Read the `preprocess_cfg` that open_clip attaches to a model."""
        size = cfg["size"]
        height, width = (size, size) if isinstance(size, int) else size
        red, green, blue = cfg["mean"]
        red_std, green_std, blue_std = cfg["std"]
        interpolation: Literal["bicubic", "bilinear"] = (
            "bilinear" if cfg.get("interpolation") == "bilinear" else "bicubic"
        )
        return cls(
            size=(int(height), int(width)),
            mean=(float(red), float(green), float(blue)),
            std=(float(red_std), float(green_std), float(blue_std)),
            interpolation=interpolation,
            resize_mode=cfg.get("resize_mode") or "shortest",
            fill_color=int(cfg.get("fill_color") or 0),
        )

    def normalise(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Map uint8 [..., H, W, 3] to the model's float32 [..., 3, H, W]."""
        scaled = np.divide(pixels, 255, dtype=np.float32)
        scaled -= np.array(self.mean, np.float32)
        scaled /= np.array(self.std, np.float32)
        return np.ascontiguousarray(np.moveaxis(scaled, -1, -3))


@dataclass(frozen=True, slots=True)
class Prepared:
    """Pixels ready for a model, with the facts of their file."""

    pixels: npt.NDArray[np.uint8]  # [H, W, 3]
    facts: ImageFacts
    notes: tuple[str, ...] = ()  # what was guessed of the image, as the plural of such images


@dataclass(frozen=True, slots=True)
class _Upright:
    """A decoded frame: RGB, turned."""

    rgb: Image.Image
    facts: ImageFacts
    notes: tuple[str, ...]


# Registered with Pillow, but documents, containers or scientific grids, and some would start
# another program (Ghostscript) on untrusted bytes.
_REFUSED_FORMATS = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "MPEG", "PDF", "WMF"}


@functools.cache
def _readable_formats() -> list[str]:
    """Pillow's names of the formats that are opened, those of the extras included."""
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    with contextlib.suppress(ImportError):
        rawfiles.register()
    Image.init()
    widetiff.register()
    names = [name for name in Image.ID if name not in _REFUSED_FORMATS]
    # RAW before TIFF, which most RAW files seem to be; TIFFs that Pillow cannot read at the end.
    return sorted(names, key=lambda name: (name == widetiff.FORMAT, name != rawfiles.FORMAT))


def image_suffixes() -> frozenset[str]:
    """Lower-case file suffixes, with the dot, of the formats that are opened."""
    readable = _readable_formats()
    extensions = Image.registered_extensions()
    return frozenset(ext.lower() for ext, name in extensions.items() if name in readable)


def load_image(
    source: ImageInput, *, max_pixels: int = DEFAULT_MAX_PIXELS, name: str | None = None
) -> Image.Image:
    """Decode an image in full, as upright RGB.

    Args:
        source: A path, the bytes of a file, a Pillow image, or uint8 pixels [H, W, 3] or [H, W].
        max_pixels: Refuse larger images before decoding them.
        name: Of the file that bytes come from, for messages and for formats known by their name.

    Raises:
        ImageDecodeError: Not an image, broken, or larger than `max_pixels`.
        InvalidInputError: `source` is of another type.
    """
    return _decode(source, None, max_pixels, name).rgb


def check_images(images: Iterable[ImageInput]) -> None:
    """Refuse a single image where a list of them belongs; a path would be read by letters."""
    is_one = isinstance(images, np.ndarray) and (
        images.ndim == 2 or (images.ndim == 3 and images.shape[2] in (3, 4))
    )
    if is_one or isinstance(images, str | bytes | os.PathLike | Image.Image):
        raise InvalidInputError("images come in a list; wrap a single one in [ ]")


def prepare(
    source: ImageInput, spec: Preprocessing, *, scaled_decode: bool = True
) -> npt.NDArray[np.uint8]:
    """Decode, resize and crop one image to the model's input, uint8 [H, W, 3].

    Args:
        source: As for `load_image`.
        spec: The model's preprocessing.
        scaled_decode: Let JPEG decode at a fraction of its size (faster; embeddings agree with
            the full decode to a cosine of at least 0.998).

    Raises:
        ImageDecodeError, InvalidInputError: As `load_image`.
    """
    target = spec.size if scaled_decode else None
    return _fit(_decode(source, target, DEFAULT_MAX_PIXELS).rgb, spec)


def prepare_with_facts(
    source: ImageInput,
    spec: Preprocessing,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    name: str | None = None,
) -> Prepared:
    """`prepare`, with the size, format and EXIF facts of the file.

    Args:
        source: As for `load_image`.
        spec: The model's preprocessing.
        max_pixels: Refuse larger images before decoding them.
        name: Of the file that bytes come from, for messages and for formats known by their name.

    Raises:
        ImageDecodeError, InvalidInputError: As `load_image`.
    """
    decoded = _decode(source, spec.size, max_pixels, name)
    facts = replace(decoded.facts, thumbprint=thumbprint(decoded.rgb))
    return Prepared(_fit(decoded.rgb, spec), facts, decoded.notes)


def _mended(source: Any) -> bytes | None:
    """The bytes of a file without its broken metadata; None if that is not the matter."""
    try:
        if isinstance(source, bytes):
            return stripped(source)
        if isinstance(source, (str, os.PathLike)):
            return stripped(read_regular(source, MAX_FILE_BYTES))
        if hasattr(source, "getvalue"):
            return stripped(source.getvalue())
    except OSError:
        pass
    return None


def _mending(decode: Callable[..., _T]) -> Callable[..., _T]:
    """Let what reads an image try a file again without broken metadata."""

    @functools.wraps(decode)
    def mending(source: Any, *arguments: Any) -> _T:
        try:
            return decode(source, *arguments)
        except (ImageDecodeError, *DECODER_ERRORS):
            data = _mended(source)
            if data is not None:
                with contextlib.suppress(ImageDecodeError, *DECODER_ERRORS):  # the first one tells
                    return decode(data, *arguments)
            raise

    return mending


@_mending
def read_facts(path: str | os.PathLike[str] | IO[bytes] | bytes) -> ImageFacts:
    """The facts of a file that is known to decode: from its header alone, but for animations.

    Raises:
        OSError, ValueError: It is gone, or another file by now.
    """
    if isinstance(path, bytes):
        path = _stream(path, getattr(path, "name", ""))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _opened(path) as image:
            if frames.has_several(image):  # which of them was chosen, their pixels say
                target = (_FACTS_SIDE, _FACTS_SIDE)
                try:
                    return _chosen_frame(image, None, target, DEFAULT_MAX_PIXELS, "").facts
                except DECODER_ERRORS as exc:
                    raise OSError(str(exc)) from exc
            load_late_tags(image)
            orientation = orientation_of(image)
            return facts_of(image, read_exif(image), orientation.full_size)


@_mending
def _decode(
    source: ImageInput,
    target: tuple[int, int] | None,
    max_pixels: int,
    name: str | None = None,
) -> _Upright:
    """Decode to upright RGB; with a `target` (height, width), only as finely as it needs."""
    if isinstance(source, np.ndarray):
        source = image_of_array(source)
    if isinstance(source, Image.Image):
        _check_pixels(source.size, max_pixels, "the image")
        return _upright(source, None, None)
    if not isinstance(source, (str, bytes, os.PathLike)):
        raise InvalidInputError(
            f"an image must be a path, bytes, a Pillow image or a uint8 array, "
            f"not {type(source).__name__}"
        )
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels // 2  # Pillow's own limit is twice this number
    name = name or _name_of(source)
    with _errors_translated(source, name, max_pixels), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of broken EXIF, odd palettes, and bombs, checked below
        if not isinstance(source, bytes):
            _check_file(source, name, max_pixels)

        def named() -> Any:
            return _stream(source, name) if isinstance(source, bytes) else source

        def reopen() -> Image.Image:
            return _opened(named())

        with reopen() as image:
            _check_pixels(image.size, max_pixels, name)
            return _chosen_frame(image, reopen, target, max_pixels, name)


def _name_of(source: str | os.PathLike[str] | bytes) -> str:
    if isinstance(source, bytes):
        return str(getattr(source, "name", "the image"))
    return Path(source).name


def _stream(data: bytes, name: str) -> IO[bytes]:
    """Bytes as a file of that name, by which some formats are known."""
    file: Any = io.BytesIO(data)
    file.name = name
    opened: IO[bytes] = file
    return opened


def _opened(file: Any) -> Image.Image:
    """Open a path or a stream with the decoder that reads it best."""
    image = Image.open(file, formats=_readable_formats())
    if not widetiff.is_better_for(image):
        return image
    with image:  # closes what Pillow opened, and leaves a stream open
        pass
    return Image.open(file, formats=[widetiff.FORMAT])


@contextlib.contextmanager
def _errors_translated(
    source: str | os.PathLike[str] | bytes, name: str, max_pixels: int
) -> Iterator[None]:
    """Turn whatever Pillow raises on a bad file into an `ImageDecodeError` with the reason."""
    try:
        yield
    except ImageDecodeError:
        raise
    except UnidentifiedImageError as exc:
        raise ImageDecodeError(f"{name}: {_why_unidentified(source)}") from exc
    except Image.DecompressionBombError as exc:
        raise _too_large(name, str(exc), max_pixels) from exc
    except NotImplementedError as exc:
        raise ImageDecodeError(f"{name}: {exc}") from exc
    except DECODER_ERRORS as exc:
        raise decode_error(name, exc) from exc


def decode_error(name: str, exc: Exception) -> ImageDecodeError:
    """Why an image cannot be decoded, by what was raised when it was read or decoded."""
    passing = passing_of(exc)
    if isinstance(exc, IsADirectoryError):
        reason = "a folder, not an image file"
    elif passing == "gone":
        reason = "the file is gone"
    elif isinstance(exc, PermissionError):
        reason = "no permission to read the file"
    elif isinstance(exc, OSError) and exc.errno is not None:
        reason = exc.strerror or str(exc)
    elif passing is not None:
        reason = "not enough memory to decode it"
    else:
        detail = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
        reason = f"broken image ({detail})"
    return ImageDecodeError(f"{name}: {reason}", passing=passing)


def _check_file(path: str | os.PathLike[str], name: str, max_pixels: int) -> None:
    """Refuse a pipe or device, for which Pillow would wait, and what is too large."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > file_limit(max_pixels):
            raise ImageDecodeError(f"{name}: {over(file_limit(max_pixels))}")


def _why_unidentified(source: str | os.PathLike[str] | bytes) -> str:
    if isinstance(source, bytes):
        size = len(source)
    else:
        with contextlib.suppress(OSError):
            if Path(source).stat().st_size == 0:
                return "the file is empty"
        return "not an image that can be read (unknown or damaged format)"
    return "no bytes" if size == 0 else "not an image that can be read"


def _check_pixels(size: tuple[int, int], max_pixels: int, name: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageDecodeError(f"{name}: the image has no pixels ({width} x {height})")
    if width * height > max_pixels:
        size_text = f"{width} x {height} = {width * height:,} pixels"
        raise _too_large(name, size_text, max_pixels)


def _too_large(name: str, size: str, max_pixels: int) -> ImageDecodeError:
    return ImageDecodeError(
        f"{name}: over the limit of {max_pixels:,} pixels ({size}); raise it with --max-pixels "
        f"if you trust the file",
        passing="limit",
    )


def image_of_array(array: npt.NDArray[Any]) -> Image.Image:
    """A Pillow image of pixels.

    Raises:
        InvalidInputError: They are not uint8 [H, W], [H, W, 3] or [H, W, 4].
    """
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.size == 0:
        raise InvalidInputError(
            f"an image array must be uint8 [H, W, 3] or [H, W], got {array.dtype} "
            f"{list(array.shape)}"
        )
    if array.ndim == 3 and array.shape[2] not in (3, 4):
        raise InvalidInputError(f"an image array must have 3 or 4 channels, got {array.shape[2]}")
    return Image.fromarray(array)


def _chosen_frame(
    image: Image.Image,
    reopen: Reopen | None,
    target: tuple[int, int] | None,
    max_pixels: int,
    name: str,
) -> _Upright:
    """The frame that stands for an opened file: the current one, unless that shows nothing."""
    several, stored_size = frames.has_several(image), image.size
    first = _upright(image, reopen, target)
    if not several:
        return first
    chosen = first
    number = start = image.tell()
    most = frames.spread(first.rgb)
    if most < frames.SHOWS:
        chosen = replace(first, rgb=first.rgb.copy())  # which may be the file's own image
        for later, frame in _later_frames(image, start, stored_size, max_pixels, name):
            shows = frames.spread(frame.rgb)
            if shows >= frames.SHOWS and shows > most:
                number, most = later, shows
                chosen = replace(frame, rgb=frame.rgb.copy())
            if most >= frames.SHOWS_CLEARLY:
                break
    facts = replace(first.facts, width=chosen.facts.width, height=chosen.facts.height, frame=number)
    return _Upright(chosen.rgb, facts, chosen.notes)


def _later_frames(
    image: Image.Image, start: int, stored_size: tuple[int, int], max_pixels: int, name: str
) -> Iterator[tuple[int, _Upright]]:
    """Further frames with their numbers, as many as are looked at.

    One that is broken ends them, but for pages, which do not build on one another.
    """
    left = min(frames.MAX_FRAME_PIXELS, max_pixels) - stored_size[0] * stored_size[1]
    for number in range(frames.MAX_FRAMES):
        if number == start:
            continue
        frame = None
        try:
            image.seek(number)
            left -= image.width * image.height
            if left < 0:
                return
            if frames.is_page(image, stored_size):
                _check_pixels(image.size, max_pixels, name)
                frame = _upright(image, None, None)
        except EOFError:
            return
        except (*DECODER_ERRORS, ImageDecodeError):
            if image.format != "TIFF":
                return
        if frame is not None:
            yield number, frame


def _upright(image: Image.Image, reopen: Reopen | None, target: tuple[int, int] | None) -> _Upright:
    """Load the current frame as RGB, turned as its file says, with its facts.

    With a `target` (height, width), only as finely as it needs.
    """
    load_late_tags(image)
    orientation = orientation_of(image)  # before the size is that of a scaled decode
    exif = read_exif(image)
    if target is not None and image.format in _SCALED_FORMATS:
        side = _DRAFT_MARGIN * max(target)
        image.draft("RGB" if image.mode == "YCbCr" else image.mode, (side, side))
    loaded, is_guessed = eight_bits(image, reopen)
    if reopen is not None:
        _check_data(image, loaded, reopen)
    rgb = orientation.apply(_to_rgb(loaded))
    notes = (RANGE_GUESSED,) if is_guessed else ()
    return _Upright(rgb, facts_of(image, exif, orientation.full_size), notes)


def _check_data(image: Image.Image, loaded: Image.Image, reopen: Reopen) -> None:
    """Judge a file whose data are those of a smaller image as one that was cut off."""
    if may_lack_data(image, loaded):
        with reopen() as again:
            if lacks_data(again):
                raise OSError("image file is truncated: its data end before its pixels do")


def _to_rgb(loaded: Image.Image) -> Image.Image:
    """Convert a loaded image of any of Pillow's modes to RGB."""
    if loaded.mode == "RGB" and "transparency" not in loaded.info:
        return loaded
    if is_transparent(loaded):
        return laid_over_a_ground(loaded)
    return loaded.convert("RGB")


def _fit(image: Image.Image, spec: Preprocessing) -> npt.NDArray[np.uint8]:
    """Resize and crop RGB to `spec.size`, as open_clip's evaluation transform does."""
    height, width = spec.size
    resample = (
        Image.Resampling.BILINEAR if spec.interpolation == "bilinear" else Image.Resampling.BICUBIC
    )
    if spec.resize_mode == "squash":
        image = image.resize((width, height), resample)
    elif spec.resize_mode == "shortest" and height == width:
        # torchvision's Resize(int): the long side is truncated, not rounded.
        short, long = sorted(image.size)
        long = int(height * long / short)
        landscape = image.width >= image.height
        image = image.resize((long, height) if landscape else (height, long), resample)
    else:
        ratios = (image.height / height, image.width / width)
        ratio = max(ratios) if spec.resize_mode == "longest" else min(ratios)
        fitted = (max(1, round(image.width / ratio)), max(1, round(image.height / ratio)))
        image = image.resize(fitted, resample)
    if image.size != (width, height):
        image = _center_crop(image, width, height, spec.fill_color)
    return np.asarray(image, np.uint8)


def _center_crop(image: Image.Image, width: int, height: int, fill: int) -> Image.Image:
    """Pad what is too small, then cut at the rounded middle, as torchvision's center_crop."""
    pad_x, pad_y = max(0, width - image.width), max(0, height - image.height)
    if pad_x or pad_y:
        border = (pad_x // 2, pad_y // 2, (pad_x + 1) // 2, (pad_y + 1) // 2)
        image = ImageOps.expand(image, border, (fill, fill, fill))
    left = round((image.width - width) / 2.0)
    top = round((image.height - height) / 2.0)
    return image.crop((left, top, left + width, top + height))
