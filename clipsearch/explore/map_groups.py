"""What the groups of a map are called, each by a name of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..vectors import Floats
from .nearest import name_groups
from .projection import IndexMap

if TYPE_CHECKING:
    from ..index import Index

__all__ = ["MapGroup", "map_groups"]

_MOST_LETTERS = 48  # of a caption that names a group


@dataclass(frozen=True, slots=True)
class MapGroup:
    """One cluster of a map.

    Attributes:
        name: Words that fit it, else the caption of an image at its centre, else "group N".
        named_by: Which of the three it is.
        number: Its place by size, from 1.
        size: How many images it has.
        place: Where it lies on the map, in [0, 1]: the median of its images.
    """

    name: str
    named_by: Literal["words", "caption", "number"]
    number: int
    size: int
    place: tuple[float, float]


def map_groups(index: Index, made: IndexMap) -> list[MapGroup]:
    """The clusters of a map, largest first, under names that no two of them share.

    Args:
        index: The index, with its encoder.
        made: Its map.
    """
    baseline = index.score_baseline("text")
    words: list[tuple[str, ...]] = [() for _ in made.centres]
    if baseline is not None:
        words = name_groups(index.encoder, made.means, baseline=baseline)
    captions = _captions(index, made)
    used = {", ".join(found) for found in words}
    sizes = np.bincount(made.clusters, minlength=len(made.centres))
    groups: list[MapGroup] = []
    for place, found in enumerate(words):
        number = place + 1
        named_by: Literal["words", "caption", "number"] = "words"
        name = ", ".join(found)
        if not name:
            central = (captions.get(row, "") for row in made.central[place].tolist())
            name = next((text for text in central if text and text not in used), "")
            named_by = "caption" if name else "number"
            name = name or f"group {number}"
        used.add(name)
        groups.append(MapGroup(name, named_by, number, int(sizes[place]), _median(made, place)))
    return groups


def _median(made: IndexMap, group: int) -> tuple[float, float]:
    members: Floats = made.places[made.clusters == group]
    if not len(members):
        return 0.5, 0.5
    x, y = np.median(members, axis=0).tolist()
    return x, y


def _captions(index: Index, made: IndexMap) -> dict[int, str]:
    """The captions, cut short, of the images at the centres that have one, by id."""
    rows = ", ".join(str(row) for row in made.central[made.central > 0].tolist())
    items = index.items(f"caption is not null and id in ({rows})", limit=made.central.size)
    found = {item.id: " ".join((item.caption or "").split()) for item in items}
    return {
        row: text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1].rstrip() + "…"
        for row, text in found.items()
    }
