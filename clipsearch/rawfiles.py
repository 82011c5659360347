"""Camera RAW files as a format of Pillow, through LibRaw; the extra `raw` installs it."""

from __future__ import annotations

import contextlib
import io
import os
import struct
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, ImageFile

__all__ = ["FORMAT", "RAW_SUFFIXES", "RawBytes", "named", "register"]

FORMAT = "RAW"
RAW_SUFFIXES = frozenset({
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef",
    ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2",
    ".srf", ".srw", ".x3f",
})  # fmt: skip
# First bytes that no other format has. Most RAW files begin like TIFF, and hold a small preview
# that Pillow would take for the image; they are known by their name alone.
_HEAD_BYTES = 4 * 1024 * 1024  # within which EXIF is
_XMP = 700  # a tag of TIFF
_MAGIC = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM")


class RawBytes(bytes):
    """The bytes of a RAW file that know its name, where no path tells it."""

    name: str


def named(data: bytes, name: str) -> bytes:
    """The bytes of an image file, with its name where the format is known by that alone."""
    if Path(name).suffix.lower() not in RAW_SUFFIXES:
        return data
    raw = RawBytes(data)
    raw.name = os.path.basename(name)
    return raw


def register() -> None:
    """Make Pillow open RAW files; `FORMAT` must come before TIFF in the formats to try.

    Raises:
        ImportError: The extra is not installed.
    """
    import rawpy  # noqa: F401

    Image.register_open(FORMAT, RawImageFile)
    Image.register_extensions(FORMAT, sorted(RAW_SUFFIXES))


class RawImageFile(ImageFile.ImageFile):
    """A RAW photo, developed with the camera's white balance and turned upright."""

    format = FORMAT
    format_description = "Camera RAW"

    def _open(self) -> None:
        import rawpy

        file: Any = self.fp
        name = self.filename or getattr(file, "name", "")
        if Path(str(name)).suffix.lower() not in RAW_SUFFIXES:
            if not file.read(16).startswith(_MAGIC):
                raise SyntaxError("not a RAW file")
            file.seek(0)
        self._raw: Any = rawpy.RawPy()
        try:
            self._raw.open_buffer(file)
        except rawpy.LibRawError as exc:
            raise SyntaxError(f"LibRaw cannot read it ({_said(exc)})") from exc
        sizes = self._raw.sizes
        sideways = sizes.flip in (5, 6)  # LibRaw's codes of quarter turns
        size = (sizes.height, sizes.width) if sideways else (sizes.width, sizes.height)
        self._mode, self._size, self._half = "RGB", size, False

    def getexif(self) -> Image.Exif:
        """EXIF without the orientation, for the photo is turned; empty where it is not known."""
        if self._exif is None:
            self._exif = Image.Exif()
            with contextlib.suppress(OSError, ValueError, SyntaxError, struct.error):
                self._load_exif(self._exif)
            self._exif.pop(ExifTags.Base.Orientation, None)
        return self._exif

    def _load_exif(self, exif: Image.Exif) -> None:
        """Most RAW files are laid out as TIFF; Fujifilm's hold a JPEG with EXIF."""
        file: Any = self.fp
        file.seek(0)
        head: bytes = file.read(_HEAD_BYTES)
        if head.startswith(b"FUJIFILMCCD-RAW"):
            start, size = struct.unpack_from(">II", head, 84)
            with Image.open(io.BytesIO(head[start : start + size]), formats=["JPEG"]) as preview:
                exif.load(preview.info.get("exif", b""))
            return
        order = {b"II": b"II*\0", b"MM": b"MM\0*"}.get(head[:2])
        if order is None:
            return
        exif.load(order + head[4:])  # some makers have a mark of their own
        packet = exif.get(_XMP)
        if isinstance(packet, bytes):
            self.info.setdefault("xmp", packet)

    def draft(
        self, mode: str | None, size: tuple[int, int] | None
    ) -> tuple[str, tuple[int, int, float, float]] | None:
        """Develop at half the size, which is quicker, where that is no less than `size`."""
        if size is not None and self._raw is not None:
            self._half = min(self._size) // 2 >= max(size)
        return None

    def load(self) -> Any:
        """Develop the photo at first use."""
        import rawpy

        if self._raw is not None:
            raw, self._raw = self._raw, None
            try:
                pixels = raw.postprocess(
                    use_camera_wb=True, half_size=self._half, output_bps=8
                )  # [H, W, 3]
            except rawpy.LibRawError as exc:
                raise OSError(f"LibRaw cannot develop it ({_said(exc)})") from exc
            finally:
                raw.close()
            developed = Image.fromarray(pixels)
            self.im = developed.im
            self._size = developed.size
            self.tile = []
        return Image.Image.load(self)


def _said(exc: BaseException) -> str:
    text = exc.args[0] if exc.args else type(exc).__name__
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)
