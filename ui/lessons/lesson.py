"""What every lesson has in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from clipsearch import ClipSearchError, Index, Item

from ..context import Context
from ..library import Library
from ..media import thumb_url
from ..render import escape, item_name

__all__ = ["Lesson", "choices", "model_of", "prose"]

_CHOICES = 12


@dataclass(frozen=True, slots=True)
class Lesson:
    """A lesson that is laid out.

    Attributes:
        open: From the name of a collection, "" for none, to the values of `outputs`.
        outputs: The components that change when the lesson is opened.
    """

    open: Callable[[str], tuple[Any, ...]]
    outputs: list[Any]


def prose(title: str, *paragraphs: str, level: int = 3) -> str:
    """A heading with what is said below it."""
    told = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    return f'<div class="cs-prose"><h{level}>{title}</h{level}>{told}</div>'


def model_of(library: Library, index: str) -> str:
    """The model of a collection; without one, that of pages that need none.

    Raises:
        ClipSearchError: The collection cannot be opened.
    """
    return library.index(index).model_name if index else library.model()


def choices(context: Context, index: str) -> str:
    """Images of a collection to pick from, spread over it."""
    library, words = context.library, context.words
    if not index:
        return ""
    try:
        rows, _ = library.sample(index)
        spread = rows[np.linspace(0, len(rows) - 1, min(_CHOICES, len(rows)), dtype=int)]
        opened: Index = library.index(index)
        items: list[Item] = [opened.item(int(row)) for row in spread]
    except ClipSearchError:
        return ""  # the visitor brings images of their own
    entries = "".join(
        f'<li><button type="button" data-do="pick" '
        f'data-index="{escape(index)}" data-id="{item.id}" '
        f'aria-label="{escape(words("learn.pick_one", name=item_name(item)))}">'
        f'<img src="{thumb_url(index, item.id, item.sha256)}" alt="" loading="lazy">'
        "</button></li>"
        for item in items
        if item.has_original
    )
    title = words("learn.pick", index=escape(index))
    return f'<p class="cs-hint">{title}</p><ul class="cs-picks">{entries}</ul>'
