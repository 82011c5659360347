"""What the large view says of one item, and what can be made of its image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipsearch import Index, Item, Query
from clipsearch.engine.columns import as_text
from clipsearch.errors import ImageDecodeError
from clipsearch.explore.nearest import nearest_words
from clipsearch.explore.thumbnails import reduced
from clipsearch.images import load_image
from clipsearch.intake.originals import indexed_bytes
from clipsearch.names import shown
from clipsearch.server.image_files import shown_folders

from .context import Context
from .dataurls import jpeg_url
from .given_images import read_image
from .problems import PageError
from .render import escape, item_name
from .spec import pack_vector
from .strings import Words

__all__ = ["Box", "captions", "chip_of_image", "chip_of_region", "details", "read_box"]

Box = tuple[float, float, float, float]  # left, top, width, height, as shares of the image

_CAPTIONS = 5
_EXTRA = 12  # further fields
_THUMB_SIDE = 96  # pixels
_LEAST_SIDE = 8  # pixels of a region


def details(item: Item, words: Words, *, paths: bool) -> dict[str, Any]:
    """What is known of an item: a table as HTML, its name, and its path where `paths` are shown."""
    path = Path(item.path) if item.path else None
    size = f"{item.width} × {item.height}" if item.width else ""
    if item.size_bytes:
        size += f" · {item.size_bytes / 1024:,.0f} KB"
    place = ""
    if item.latitude is not None and item.longitude is not None:
        place = f"{item.latitude:.4f}, {item.longitude:.4f}"
    rows = [
        (words("item.file"), shown(path.name if path else item.key)),
        (words("item.path"), shown(str(path.parent)) if path and paths else ""),
        (words("item.size"), size),
        (words("item.taken"), (item.taken_at or "").replace("T", " ")),
        (words("item.camera"), item.camera or ""),
        (words("item.place"), place),
        (words("item.tags"), ", ".join(item.tags)),
        (words("item.id"), str(item.id)),
        *((str(key), as_text(value) or "") for key, value in list(item.extra.items())[:_EXTRA]),
    ]
    table = "".join(
        f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>" for key, value in rows if value
    )
    found = {
        "name": item_name(item),
        "gone": words("item.picture_gone"),
        "table": f"<dl>{table}</dl>",
    }
    return {**found, "path": shown(str(path))} if path and paths else found


def captions(index: Index, id: int, words: Words, *, captioned: bool) -> str:  # noqa: A002
    """The captions of the index, or where it has none the words, that fit an image, as HTML."""
    if captioned:
        hits = index.search(Query.item(id), _CAPTIONS, target="caption")
        found = [(item_name(hit.item), hit.score) for hit in hits]
    else:
        found = nearest_words(index.encoder, index.vectors([id], "image")[0], _CAPTIONS)
    title = words("item.captions_found" if captioned else "item.words_found")
    entries = "".join(
        f"<li><span>{escape(text)}</span> <span class='cs-figure'>{score:.2f}</span></li>"
        for text, score in found
    )
    return f"<h3>{title}</h3><ol>{entries}</ol>"


def chip_of_image(index: Index, given: Mapping[str, Any], context: Context) -> dict[str, str]:
    """An image that a visitor gave as a part of a search: `value`, `label` and `thumb`.

    Raises:
        PageError: It cannot be read.
    """
    image = read_image(given, context.settings, context.words)
    vector = index.encoder.encode_images([image.image])[0]
    packed = pack_vector(vector, index.encoder.fingerprint)
    return {"value": packed, "label": image.name, "thumb": image.thumb}


def chip_of_region(index: Index, item: Item, box: Box, context: Context) -> dict[str, str]:
    """A region of an item's image as a part of a search, cut from the original.

    Raises:
        PageError: The region is too small to be searched for.
        ImageDecodeError: There is no image, or it has changed since.
        ItemNotFoundError: It lies where the page may show no image from.
    """
    if not item.sha256:  # whatever bytes there are now
        raise ImageDecodeError(f"it is not known which bytes item {item.id} had")
    data = indexed_bytes(item, roots=shown_folders(context.settings.roots, index))
    image = load_image(data, name=Path(item.path or "").name)
    left, top = round(box[0] * image.width), round(box[1] * image.height)
    right = round((box[0] + box[2]) * image.width)
    bottom = round((box[1] + box[3]) * image.height)
    if right - left < _LEAST_SIDE or bottom - top < _LEAST_SIDE:
        raise PageError("view.region_small")
    part = image.crop((left, top, right, bottom))
    packed = pack_vector(index.encoder.encode_images([part])[0], index.encoder.fingerprint)
    label = context.words("view.region_of", name=item_name(item)[:40])
    return {"value": packed, "label": label, "thumb": jpeg_url(reduced(part, _THUMB_SIDE))}


def read_box(text: str) -> Box:
    """Read `left,top,width,height`, shares of an image.

    Raises:
        PageError: It is none within the image.
    """
    try:
        left, top, width, height = map(float, text.split(","))
    except ValueError:
        raise PageError("view.region_small") from None
    if not (0 <= left <= left + width <= 1.001 and 0 <= top <= top + height <= 1.001):
        raise PageError("view.region_small")
    return left, top, width, height
