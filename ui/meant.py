"""Whether ids in links and marks still name the images that they were given for.

A backup that is put back gives ids again. So links and marks keep a few letters of the content of
the image that each id meant.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from clipsearch import Index, Item

from .spec import MEANT_LETTERS, SearchSpec

__all__ = ["letters", "still_meant"]

_MOST = 500  # ids of one filter expression


def letters(item: Item) -> str:
    """A few letters that say which image an item is: of its content, or of its key without one."""
    said = item.sha256 or item.key
    return hashlib.sha256(said.encode(errors="surrogateescape")).hexdigest()[:MEANT_LETTERS]


def still_meant(spec: SearchSpec, index: Index) -> tuple[SearchSpec, int]:
    """A search without the ids that name other images now than they did.

    Args:
        spec: The search. Of ids that it says nothing of, nothing is known, and they stay.
        index: What it searches.

    Returns:
        The search, which says what each of its ids means, and how many ids were left out.
    """
    before = dict(spec.meant)
    now = _letters_of(spec.ids, index)
    wrong = {id_ for id_, said in now.items() if before.get(id_, said) != said}
    kept = spec.without(wrong) if wrong else spec
    said = {**before, **now}
    return replace(kept, meant=tuple((i, said[i]) for i in set(kept.ids) if i in said)), len(wrong)


def _letters_of(ids: Iterable[int], index: Index) -> Mapping[int, str]:
    """The letters of those ids that there are."""
    wanted = sorted(set(ids))
    found = {}
    for start in range(0, len(wanted), _MOST):
        some = wanted[start : start + _MOST]
        listed = ", ".join(map(str, some))
        for item in index.items(f"id in ({listed})", limit=len(some)):
            found[item.id] = letters(item)
    return found
