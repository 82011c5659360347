"""The filters of a search: those that cannot be read, and the panel beside the results."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from clipsearch import Index, InvalidInputError
from clipsearch.engine.facets import MOST_VALUES
from clipsearch.item_sets import kept_items
from clipsearch.names import shown
from clipsearch.types import Facet, FacetName, Facets, FacetValue

from .context import Context
from .problems import PageError
from .spec import SearchSpec, facet_field
from .strings import Words

__all__ = ["check", "label", "panel", "with_readable_dates"]

_SECTIONS: tuple[FacetName, ...] = (
    *("year", "month", "folder", "album", "camera", "tag", "format", "orientation", "size"),
)
_MOST_OPENED = 20  # folders of the tree
_MORE = 2_000  # values of a facet that is shown whole


def check(index: Index, spec: SearchSpec) -> None:
    """Read the filters alone, so that a visitor hears which of them is wrong.

    Raises:
        PageError: One cannot be read, or a selection is gone or is one of another index.
    """
    if spec.selection:
        try:
            index_id, _ = kept_items(spec.selection)
        except InvalidInputError as exc:
            raise PageError("search.selection_gone") from exc
        if index_id != index.index_id:
            raise PageError("search.other_selection")
    try:
        index.items(spec.where, limit=0)
    except InvalidInputError as exc:
        raise PageError("search.bad_filter", detail=exc) from exc


def with_readable_dates(index: Index, spec: SearchSpec) -> tuple[SearchSpec, list[str]]:
    """A search without dates that cannot be read, and these."""
    wrong = []
    for date in filter(None, (spec.date_from, spec.date_to)):
        try:
            index.items(SearchSpec(date_from=date).where, limit=0)
        except InvalidInputError:
            wrong.append(date)
    kept = ("" if date in wrong else date for date in (spec.date_from, spec.date_to))
    date_from, date_to = kept
    return replace(spec, date_from=date_from, date_to=date_to), wrong


def panel(
    spec: SearchSpec, context: Context, *, opened: Sequence[str] = (), more: Sequence[str] = ()
) -> dict[str, Any]:
    """How many images have each value, of the collection and of what the filters leave of it.

    Args:
        spec: The search, whose query does not count.
        context: The library and the words.
        opened: Folders of the tree that are open.
        more: Facets whose values are all shown.

    Returns:
        `items` and `all`: what satisfies the filters, and the collection; `first` and `last`: the
        days of its oldest and newest image; `captions` and `sizes`: whether there are such;
        `months`: [month or None, count] of what satisfies the filters, newest first; `sections`:
        each with `name`, `title`, `distinct` and `values`; `folders`: the values in each folder
        that is open. Of a value there are its `field` of an address, its `label`, `n` and `of`:
        its count under the filters and in the collection, and whether it is `on` or has more
        `below` it.

    Raises:
        ClipSearchError: The filters cannot be read, or the index cannot.
    """
    index = context.library.index(spec.index)
    whole = context.library.facets(spec.index)
    names = [name for name in _SECTIONS if name != "folder" or context.settings.shows_paths]
    asked: dict[str, Any] = {"chosen": spec.of_facets, "limit": _MORE if more else MOST_VALUES}
    found = index.facets(spec.where_but_facets, by=names, **asked)
    if more:
        whole = index.facets(by=names, limit=_MORE)
    folders = {}
    for folder in opened[:_MOST_OPENED] if "folder" in names else ():
        try:
            under = index.facets(spec.where_but_facets, by=["folder"], folder=folder, **asked)
            of = index.facets(by=["folder"], folder=folder, limit=asked["limit"])
        except InvalidInputError:  # none of its items are there any more
            continue
        folders[folder] = _values("folder", under, of, spec, context.words, folder=folder)
    return {
        "items": found.items,
        "all": whole.items,
        "first": whole.first_taken,
        "last": whole.last_taken,
        "captions": whole.captions > 0,
        "sizes": whole.has_sizes,
        "months": _months(spec, found.by["month"]),
        "sections": [
            {
                "name": name,
                "title": context.words(f"facet.{name}"),
                "distinct": whole.by[name].distinct,
                "values": _values(name, found, whole, spec, context.words),
            }
            for name in names
        ],
        "folders": folders,
    }


def label(name: str, value: str | None, words: Words) -> str:
    """What a value of a facet is called, outside of its section."""
    if value is None or name == "caption":
        return words(f"facet.{'no' if value is None else 'with'}_{name}")
    if name == "orientation":
        return words(f"facet.{value}")
    if name == "size":
        return _size(value)
    return shown(value)


def _values(
    name: FacetName,
    found: Facets,
    whole: Facets,
    spec: SearchSpec,
    words: Words,
    *,
    folder: str | None = None,
) -> list[dict[str, Any]]:
    """The values of a facet in order, those that are chosen whether or not anything has them."""
    chosen = spec.of_facets.get(name, [])
    counted: list[FacetValue] = list(found.by[name].values)
    known = {value.value for value in counted}
    everywhere = {value.value: value.count for value in whole.by[name].values}
    if name != "folder":  # of the tree, every folder is shown
        for value in chosen:
            if value not in known:
                counted.append(FacetValue(value=value, count=0, where=""))
    else:
        counted += [
            replace(value, count=0) for value in whole.by[name].values if value.value not in known
        ]
        counted.sort(key=lambda value: str(value.value))
    base = folder
    if name == "folder" and base is None:
        parents = [os.path.dirname(str(value.value)) for value in counted]
        base = os.path.commonpath(parents) if parents and "" not in parents else ""
    values = []
    for one in counted:
        value = None if one.value is None else str(one.value)
        called = label(name, value, words)
        if name == "folder" and value is not None and base is not None:
            called = shown(value.removeprefix(base).lstrip("/")) or called
        values.append(
            {
                "field": facet_field(name, value),
                "label": called,
                "n": one.count,
                "of": everywhere.get(one.value),
                "on": value in chosen,
                "below": one.below,
            }
        )
    return values


def _months(spec: SearchSpec, months: Facet) -> list[tuple[str | None, int]]:
    """The months of what satisfies all filters, those that chose years and months included."""
    dates = list(itertools.chain(spec.of_facets.get("year", ()), spec.of_facets.get("month", ())))
    return [
        (None if value.value is None else str(value.value), value.count)
        for value in months.values
        if not dates
        or value.value in dates
        or any(date and str(value.value).startswith(date) for date in dates)
    ]


def _size(value: str) -> str:
    return value.replace(" - ", " \N{EN DASH} ").replace(">=", "\N{GREATER-THAN OR EQUAL TO}")
