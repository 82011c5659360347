"""Comparing stored images by their pixels, which are read from their files when they are needed."""

from __future__ import annotations

import hashlib
import io
import os
from collections import OrderedDict
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Literal, Self

import numpy as np
from PIL import Image, ImageOps

from ..errors import ImageDecodeError
from ..images import Preprocessing, load_image, prepare
from ..likeness import SIDES, Sight, is_confirmed, place_in
from ..metadata import DECODER_ERRORS
from ..types import Item
from .originals import check_indexed_here, indexed_bytes, original_file

__all__ = ["Comparer", "pixel_hash"]

Verdict = Literal["pixels", "looks", "unknown"]

_KEPT = 160  # images that are kept for the next comparisons, of 0.7 MB each
_ALMOST_EQUAL = 6.0  # mean difference in levels up to which equal pixels are thought of


class Comparer:
    """Says how images are like each other. A context manager; not for several threads at a time.

    Args:
        roots: The folders that were indexed on this machine, whose files are read.
        pixels: Whether to tell those apart whose pixels are equal.
        looks: Whether to look for those that are merely alike.
    """

    def __init__(self, roots: Collection[str], *, pixels: bool = True, looks: bool = True) -> None:
        self._roots = roots
        self.unreadable: set[int] = set()  # ids of items whose image could not be read
        self._leader: Sight | None = None
        self._pixels = pixels
        self._looks = looks
        self._sights: OrderedDict[int, Sight | None] = OrderedDict()
        self._hashes: OrderedDict[int, str | None] = OrderedDict()
        workers = max(1, min(4, len(os.sched_getaffinity(0)))) if _has_affinity() else 2
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="compare")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def __call__(self, leader: Item, others: Sequence[Item]) -> list[Verdict | None]:
        """How some items are like one; None for another picture, "unknown" where one is away."""
        self._read([leader, *others])
        if self._leader is not None and self._leader is not self._sights[leader.id]:
            self._leader.forget()
        self._leader = self._sights[leader.id]
        if self._leader is not None:
            self._leader.searched()  # once, before threads ask for it
        ends = list(self._threads.map(lambda other: self._compare(leader, other), others))
        while len(self._sights) > _KEPT:
            self._sights.popitem(last=False)
        while len(self._hashes) > _KEPT:
            self._hashes.popitem(last=False)
        return ends

    def _read(self, items: Sequence[Item]) -> None:
        """Have the sights of items, several at a time; the last used are kept longest."""
        missing = [item for item in items if item.id not in self._sights]
        for item, sight in zip(missing, self._threads.map(self._sight, missing), strict=True):
            self._sights[item.id] = sight
            if sight is None:
                self.unreadable.add(item.id)
        for item in items:
            self._sights.move_to_end(item.id)

    def _compare(self, one: Item, other: Item) -> Verdict | None:
        first, second = self._sights[one.id], self._sights[other.id]
        if first is None or second is None:
            return "unknown"
        if self._have_equal_pixels(one, other, first, second):
            return "pixels"
        if not self._looks:
            return None
        place = place_in(first, second)
        if place is None:
            return None
        if (first.is_photo and second.is_photo) or min(first.side, second.side) <= SIDES[0]:
            return "looks"
        closer = [self._sight(item, SIDES[1]) for item in (one, other)]
        if closer[0] is None or closer[1] is None:
            return "unknown"
        return "looks" if is_confirmed(closer[0], closer[1], place) else None

    def _have_equal_pixels(self, one: Item, other: Item, first: Sight, second: Sight) -> bool:
        if not self._pixels or (one.width, one.height) != (other.width, other.height):
            return False
        apart = np.abs(first.rgb.astype(np.int16) - second.rgb)
        if float(apart.mean()) > _ALMOST_EQUAL:
            return False
        hashes = [self._hash(item) for item in (one, other)]
        return hashes[0] is not None and hashes[0] == hashes[1]

    def _hash(self, item: Item) -> str | None:
        if item.id not in self._hashes:
            try:
                self._hashes[item.id] = pixel_hash(self._bytes(item))
            except ImageDecodeError:
                self._hashes[item.id] = None
        return self._hashes[item.id]

    def _bytes(self, item: Item) -> bytes:
        check_indexed_here(original_file(item) or "", self._roots)
        return indexed_bytes(item)

    def _sight(self, item: Item, side: int = SIDES[0]) -> Sight | None:
        """An item's image, prepared for comparison; None if it cannot be read."""
        whole = Preprocessing(
            (side, side), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear", resize_mode="squash"
        )
        try:
            rgb = prepare(self._bytes(item), whole)
        except ImageDecodeError:
            return None
        return Sight.of(rgb, item.width or side, item.height or side)


def pixel_hash(data: bytes) -> str | None:
    """A hash of what an image file shows at full size, upright, with its transparency.

    Two files have the same if they show the same pixels, whatever their formats. What hides under
    full transparency does not count.

    Returns:
        SHA-256, hex; None for an animation, and where Pillow reads 16 bits a channel as 8: that
        two of these are equal, only their bytes can tell.

    Raises:
        ImageDecodeError: The file cannot be decoded.
    """
    digest = hashlib.sha256()
    shown = load_image(data)
    digest.update(repr(shown.size).encode())
    try:
        with Image.open(io.BytesIO(data)) as image:
            if getattr(image, "n_frames", 1) > 1 or _is_cut(image):
                return None
            image.load()
            if image.mode.startswith("I") or image.mode == "F":
                digest.update(image.mode[:1].encode() + np.asarray(image).tobytes())
            alpha = _alpha(image)
    except DECODER_ERRORS:  # a format that only `images` opens
        alpha = None
    pixels = np.asarray(shown)
    if alpha is not None and alpha.shape == pixels.shape[:2]:
        digest.update(alpha.tobytes())
        pixels = np.where(alpha[..., None] == 0, np.uint8(0), pixels)
    digest.update(np.ascontiguousarray(pixels).tobytes())
    return digest.hexdigest()


def _alpha(image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None:
    """Opacity, upright, uint8 [height, width]; None where all is opaque."""
    if not {"A", "a"} & set(image.getbands()) and "transparency" not in image.info:
        return None
    alpha = np.asarray(ImageOps.exif_transpose(image.convert("RGBA")).getchannel("A"))
    return None if bool((alpha == 255).all()) else alpha


def _is_cut(image: Image.Image) -> bool:
    """Whether a file has more bits a channel than are decoded."""
    parts = getattr(image, "tile", []) if image.mode in ("RGB", "RGBA", "LA") else []
    return any("16" in str(part[3]) for part in parts)


def _has_affinity() -> bool:
    return hasattr(os, "sched_getaffinity")
