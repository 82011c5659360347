"""What the items of an index have in common, for building filters: cameras, tags, dates."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..index import Index

__all__ = ["Facets", "facets"]

_MOST_ITEMS = 20_000  # read at most; choices for a menu need no more
_MOST_CHOICES = 50
_PAGE = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Facets:
    """Choices for filters, most frequent first.

    Attributes:
        cameras: Camera names.
        tags: Tags.
        first_taken: Earliest date, ISO 8601, None where no item has one.
        last_taken: Latest date.
        has_sizes: Whether items know their width.
        captions: How many items have a caption vector.
    """

    cameras: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    first_taken: str | None = None
    last_taken: str | None = None
    has_sizes: bool = False
    captions: int = 0


def facets(index: Index) -> Facets:
    """The facets of an index, from its first 20,000 items."""
    cameras: Counter[str] = Counter()
    tags: Counter[str] = Counter()
    dates: list[str] = []
    sized = captions = after = seen = 0
    while seen < _MOST_ITEMS and (page := index.items(after=after, limit=_PAGE)):
        for item in page:
            tags.update(item.tags)
            sized += item.width is not None
            captions += item.has_caption
            if item.camera:
                cameras[item.camera] += 1
            if item.taken_at:
                dates.append(item.taken_at)
        seen += len(page)
        after = page[-1].id
    return Facets(
        cameras=tuple(name for name, _ in cameras.most_common(_MOST_CHOICES)),
        tags=tuple(name for name, _ in tags.most_common(_MOST_CHOICES)),
        first_taken=min(dates)[:10] if dates else None,
        last_taken=max(dates)[:10] if dates else None,
        has_sizes=sized > 0,
        captions=captions,
    )
