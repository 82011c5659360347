"""Two images of the page laid over each other, with what differs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from clipsearch import Index, Item
from clipsearch.errors import ImageDecodeError
from clipsearch.explore.difference import difference
from clipsearch.explore.thumbnails import reduced
from clipsearch.images import load_image
from clipsearch.intake.originals import indexed_bytes
from clipsearch.server.image_files import shown_folders

from .context import Context
from .dataurls import jpeg_url

__all__ = ["compared"]

_SIDE = 1200  # pixels of images that are laid over each other


def compared(context: Context, name: str, ids: Sequence[int]) -> dict[str, str]:
    """Lay two images over each other.

    Args:
        context: The library and the words.
        name: Of the collection.
        ids: Of the two.

    Returns:
        What both show, as addresses of images: `one`, `other` and `difference`; and `told`.

    Raises:
        ClipSearchError: One of them cannot be shown.
    """
    index, words = context.library.index(name), context.words
    one, other = (_image(context, index, index.item(id_)) for id_ in ids)
    found = difference(one, other, _SIDE)
    if found.most == 0:
        told = [words("curate.equal_scaled" if found.is_scaled else "curate.equal")]
    else:
        share = f"{100 * found.share:.{1 if found.share < 0.1 else 0}f}"
        told = [words("curate.differs", share=share, levels=found.levels, most=found.most)]
        if found.common < 0.99:
            told.append(words("curate.cropped", common=round(100 * found.common)))
        if found.is_scaled:
            told.append(words("curate.scaled"))
    images = {"one": found.one, "other": found.other, "difference": found.shown}
    urls = {
        part: jpeg_url(reduced(Image.fromarray(pixels), _SIDE, quality=88))
        for part, pixels in images.items()
    }
    return {**urls, "told": ", ".join(told)}


def _image(context: Context, index: Index, item: Item) -> Image.Image:
    if not item.sha256:  # whatever bytes there are now
        raise ImageDecodeError(f"it is not known which bytes item {item.id} had")
    data = indexed_bytes(item, roots=shown_folders(context.settings.roots, index))
    return load_image(data, name=Path(item.path or "").name)
