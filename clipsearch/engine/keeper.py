"""Which of some copies of an image to keep, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from ..types import Item, KeepReason

__all__ = ["keeper"]


def keeper(items: Sequence[Item]) -> tuple[int, KeepReason]:
    """Suggest which of some copies to keep.

    The one with the most pixels; of these the largest file; of these the one of which most is known
    (caption, tags, albums); of these the one with the shortest path.

    Args:
        items: Two or more.

    Returns:
        Its position, and the first of these in which it is ahead of all others.
    """
    first, second = sorted(range(len(items)), key=lambda place: _order(items[place]))[:2]
    ranks = zip(_order(items[first]), _order(items[second]), strict=True)
    at = next((at for at, (one, other) in enumerate(ranks) if one != other), -1)
    reasons: tuple[KeepReason, ...] = get_args(KeepReason)
    return first, reasons[min(at, len(reasons) - 1)]


def _order(item: Item) -> tuple[int, int, int, int, str, int]:
    place = item.path or item.key
    known = sum(map(bool, (item.caption, item.tags, item.albums)))
    pixels = (item.width or 0) * (item.height or 0)
    return -pixels, -(item.size_bytes or 0), -known, len(place), place, item.id
