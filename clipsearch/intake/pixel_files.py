"""Images in memory as the bytes of a file, which every step after the source takes."""

from __future__ import annotations

import contextlib
import io

from PIL import Image

from ..files import read_regular
from ..limits import MAX_IMAGE_BYTES

__all__ = ["file_bytes"]

# What an uncompressed TIFF holds as it is. PNG takes thirty times as long to write.
_KEPT = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "F")
_LIKE = {"PA": "RGBA", "RGBa": "RGBA", "La": "LA"}
# Tags of the TIFF that an image came from, on how its pixels lie there.
_STRUCTURE = frozenset(
    (*range(254, 270), 273, *range(277, 285), *range(317, 348), *range(512, 533))
)


def file_bytes(image: Image.Image) -> bytes:
    """The bytes of the file that an image was opened from, else those of a TIFF of its pixels.

    Raises:
        DECODER_ERRORS: It is decoded only now, and broken; or no file holds such pixels.
    """
    file = getattr(image, "fp", None)
    name = getattr(image, "filename", "")
    if name and file is not None:
        with contextlib.suppress(OSError):  # it may be gone, or no file; the pixels are here
            return read_regular(name, MAX_IMAGE_BYTES)
    exif = Image.Exif()
    if known := image.getexif():
        exif.load(known.tobytes())  # a copy: the image is the caller's
    for tag in _STRUCTURE & exif.keys():
        del exif[tag]
    if "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode not in _KEPT:
        image = image.convert(_LIKE.get(image.mode, "RGB"))
    buffer = io.BytesIO()
    image.save(buffer, "TIFF", compression="raw", exif=exif)
    return buffer.getvalue()
