"""Facets: how many items that satisfy a filter have each value, with the filter that finds these.

Counting in SQL reads every item for every facet. Therefore the values are kept as small codes,
numpy arrays in the order of rows, which are read once for a committed state.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sqlite3
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from ..errors import InvalidInputError
from ..folding import nfc
from ..names import without_bytes
from ..types import Facet, FacetName, Facets, FacetValue
from ..vectors import Rows, is_in
from . import catalog
from .selection import Selection
from .snapshot import Snapshot

__all__ = ["FACETS", "MOST_VALUES", "Chosen", "chosen_where", "facets"]

FACETS: tuple[FacetName, ...] = get_args(FacetName)
# Of facets, the values that were chosen: an item has any of those of each.
Chosen = Mapping[FacetName, Collection[str | bool | None]]
MOST_VALUES = 100  # of a facet whose values are any texts

# Of a state's codes that are kept: those of ten million items without tags. Beyond that they are
# read again for each answer.
_MOST_BYTES = 256 << 20
_PAGE = 20_000
_MOST_CHOICES = 50  # cameras or tags of a menu
_MOST_LETTERS = 1_000  # of a value; a longer one would leave no room for the rest of a filter
_SHAPES = ("landscape", "portrait", "square")
_KIB, _MIB = 1 << 10, 1 << 20
# From each of these bytes on begins another class of sizes.
_SIZES = {"64 KB": 64 * _KIB, "256 KB": 256 * _KIB, "1 MB": _MIB, "4 MB": 4 * _MIB}
_SIZES |= {"16 MB": 16 * _MIB, "64 MB": 64 * _MIB}
_FIELDS = {"year": "taken_at", "month": "taken_at", "size": "size_bytes"}  # else named as the facet
# Fields whose extra column of the same name answers where they are empty.
_ASKED: dict[str, tuple[str, ...]]
_ASKED = {"year": ("taken_at",), "month": ("taken_at",), "size": ("size_bytes",)}
_ASKED |= {"folder": ("path", "key")}


def _classes() -> dict[str, str]:
    """The classes of sizes, smallest first, with the filter of each."""
    names, bounds = list(_SIZES), list(_SIZES.values())
    found = {f"< {names[0]}": f"size_bytes < {bounds[0]}"}
    for (low, least), (high, most) in itertools.pairwise(_SIZES.items()):
        found[f"{low} - {high}"] = f"(size_bytes >= {least} and size_bytes < {most})"
    return {**found, f">= {names[-1]}": f"size_bytes >= {bounds[-1]}"}


_CLASSES = _classes()
_MONTH = re.compile(r"(\d{4})(?:-(\d{2}).*)?", re.ASCII | re.S)
_READ = (
    "SELECT row, camera, format, substr(taken_at, 1, 10), coalesce(path, key), "
    f"coalesce(1 + {' + '.join(f'(size_bytes >= {size})' for size in _SIZES.values())}, 0), "
    "CASE WHEN width > height THEN 1 WHEN width < height THEN 2 WHEN width = height THEN 3 "
    "WHEN width IS NOT NULL THEN 4 ELSE 0 END, "
    "(caption IS NOT NULL) + 2 * has_caption FROM items ORDER BY row"
)

Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Codes = npt.NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True, slots=True)
class _Coded:
    """Values as codes: 0 for none, then the names in order, then whatever no filter can name."""

    codes: Codes
    names: tuple[str, ...]

    def counts(self, mask: Mask | None) -> Counts:
        """How many of the items have each code, int64 [2 + names]; all of them without a mask."""
        return _counts(self.codes, mask, len(self.names) + 2)

    @property
    def nbytes(self) -> int:
        """Bytes that it needs."""
        return self.codes.nbytes + _bytes_of(self.names)


@dataclass(frozen=True, slots=True)
class _Several:
    """Values of which an item may have several: for each name in order, the items that have it."""

    at: npt.NDArray[np.int32]  # positions of items, ascending for each name
    starts: Rows  # where the items of each name begin
    has: Mask  # which items have any
    names: tuple[str, ...]

    def counts(self, mask: Mask | None) -> Counts:
        """How many of the items have none, each name, and, always 0, one that no filter names."""
        none = np.count_nonzero(~self.has if mask is None else mask & ~self.has)
        if mask is None:
            each = np.diff(self.starts, append=self.at.size)
        elif self.starts.size:
            each = np.add.reduceat(mask[self.at], self.starts, dtype=np.int64)
        else:
            each = self.starts
        return np.concatenate([[none], each, [0]])

    @property
    def nbytes(self) -> int:
        """Bytes that it needs."""
        arrays = self.at.nbytes + self.starts.nbytes + self.has.nbytes
        return arrays + _bytes_of(self.names)


@dataclass(frozen=True, slots=True)
class _Columns:
    """What facets need of the items of a state, by ascending row."""

    rows: Rows
    texts: dict[str, _Coded | _Several]  # camera, format, tag, album
    days: _Coded
    months: Rows  # of each code of a day, its place among the names of months, or -1
    month_names: tuple[str, ...]  # newest first
    folders: _Coded  # each with a slash at its end
    sizes: npt.NDArray[np.uint8]  # 0 for none, then the number of the class from 1
    shapes: npt.NDArray[np.uint8]  # 0 for none, the number of the shape from 1, 4 for a width alone
    captions: npt.NDArray[np.uint8]  # 1 for a text, 2 for a vector, added up

    @property
    def nbytes(self) -> int:
        """Bytes that they need."""
        coded = sum(part.nbytes for part in (*self.texts.values(), self.days, self.folders))
        return coded + self.rows.nbytes + 3 * self.sizes.nbytes


def facets(
    conn: sqlite3.Connection,
    snapshot: Snapshot,
    where: str | None,
    by: Collection[str] | None,
    folder: str | None,
    limit: int,
    chosen: Chosen | None = None,
) -> Facets:
    """Count the items that satisfy a filter by their values; see `Index.facets`."""
    names = FACETS if by is None else tuple(dict.fromkeys([by] if isinstance(by, str) else by))
    _check(names)
    of_each = {name: tuple(values) for name, values in (chosen or {}).items() if values}
    wheres = _wheres(of_each)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InvalidInputError(f"limit must be a whole number of at least 1, got {limit!r}")
    columns = snapshot.kept.get("facets") or _read(conn)
    if columns.nbytes <= _MOST_BYTES:
        snapshot.kept["facets"] = columns
    extra = {name.casefold() for name, kind in catalog.extra_fields(conn).items() if kind != "path"}
    are_asked = {name for name in FACETS if not extra.isdisjoint(_ASKED.get(name, (name,)))}
    masks: dict[str, Mask] = {}
    for own, values in of_each.items():
        mask = None if own in are_asked else _holding(columns, own, values)
        if mask is None:  # the filter tells
            mask = _selected(conn, snapshot, columns, _where_any(own, values))
        masks[_group(own)] = mask | masks.get(_group(own), np.False_)
    base = _mask(conn, snapshot, columns, where)

    def counter(group: str | None) -> _Counter:
        """Counts what satisfies everything, but for what was chosen of one group of facets."""
        mask = base
        for other, chosen_of_it in masks.items():
            if other != group:
                mask = chosen_of_it if mask is None else mask & chosen_of_it
        return _Counter(columns, mask, folder, limit)

    whole = counter(None)
    of_group = {group: counter(group) for group in masks}
    counted: dict[str, Facet] = {}
    for name in names:
        facet = of_group.get(_group(name), whole).facet(name)
        if name in are_asked:
            others = [other for group, other in wheres.items() if group != _group(name)]
            facet = _asked(conn, snapshot, facet, *_condition(conn, snapshot, _all(where, *others)))
        counted[name] = facet
    return whole.choices(counted)


def chosen_where(chosen: Chosen) -> str | None:
    """The filter for items that have, of each facet, any of its chosen values.

    Years and months are one facet here: an item is of any of them. None for nothing chosen.

    Raises:
        InvalidInputError: There is no such facet, or not with such a value.
    """
    return _all(*_wheres({name: tuple(values) for name, values in chosen.items()}).values())


def _wheres(chosen: Mapping[FacetName, Sequence[str | bool | None]]) -> dict[str, str]:
    """The filter of each group of facets of which something is chosen."""
    _check(chosen)
    found: dict[str, list[str]] = {}
    for name, values in chosen.items():
        if values:
            found.setdefault(_group(name), []).append(_where_any(name, values))
    return {group: _any(parts) for group, parts in found.items()}


def _group(name: str) -> str:
    return "taken_at" if name in ("year", "month") else name


def _check(names: Iterable[str]) -> None:
    if unknown := [name for name in names if name not in FACETS]:
        raise InvalidInputError(
            f"there is no facet {unknown[0]!r}; the facets are: {', '.join(FACETS)}"
        )


def _any(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"({' or '.join(parts)})"


def _all(*parts: str | None) -> str | None:
    """Filters joined, each of them in parentheses where there are several."""
    given = [part for part in parts if part is not None and part.strip()]
    return given[0] if len(given) == 1 else " and ".join(f"({part})" for part in given) or None


def _where_any(name: str, values: Sequence[str | bool | None]) -> str:
    return _any([_where(name, value) for value in dict.fromkeys(values)])


def _where(name: str, value: str | bool | None) -> str:
    """The filter that finds the items with a value of a facet."""
    field = _FIELDS.get(name, name)
    if name == "caption":
        return "caption is null" if not value else "caption is not null"
    if name == "folder":
        if not value:
            raise InvalidInputError("a chosen folder needs a name")
        return _inside(nfc(without_bytes(str(value))).rstrip("/") + "/")
    if value is None:
        return f"{field} is null"
    known = _CLASSES if name == "size" else _SHAPES if name == "orientation" else None
    if known is not None and value not in known:
        raise InvalidInputError(f"there is no {name} {value!r}; there are: {', '.join(known)}")
    return _CLASSES[str(value)] if name == "size" else f"{field} = {_quoted(str(value))}"


def _condition(
    conn: sqlite3.Connection, snapshot: Snapshot, where: str | None
) -> tuple[str, list[Any]]:
    if where is None:
        return snapshot.away.without("1", ())
    from .filters import compile_where  # loads sqlglot, which an answer without filter spares

    return snapshot.away.without(*compile_where(where, catalog.extra_fields(conn)))


def _mask(
    conn: sqlite3.Connection, snapshot: Snapshot, columns: _Columns, where: str | None
) -> Mask | None:
    """Which items count; None for all."""
    if where is None or not where.strip():
        return ~is_in(columns.rows, snapshot.away.rows) if snapshot.away else None
    return _selected(conn, snapshot, columns, where)


def _selected(conn: sqlite3.Connection, snapshot: Snapshot, columns: _Columns, where: str) -> Mask:
    """Which items satisfy a filter."""
    condition, values = _condition(conn, snapshot, where)
    selection = snapshot.selections.get(
        "item", where, lambda: Selection(catalog.select_rows(conn, condition, values))
    )
    return selection.holds(columns.rows)


def _holding(columns: _Columns, name: str, values: Sequence[str | bool | None]) -> Mask | None:
    """Which items have any of some values of a facet; None where only a filter tells."""
    mask = np.zeros(columns.rows.size, bool)
    for value in values:
        held = _holding_one(columns, name, value)
        if held is None:
            return None
        mask |= held
    return mask


def _holding_one(columns: _Columns, name: str, value: str | bool | None) -> Mask | None:
    text = str(value)
    held: Mask
    if name == "caption":
        held = (columns.captions & 1).astype(bool) == bool(value)
    elif name == "size":
        held = columns.sizes == (0 if value is None else 1 + list(_CLASSES).index(text))
    elif name == "orientation":  # 4 for a width alone
        held = columns.shapes % 4 == (0 if value is None else 1 + _SHAPES.index(text))
    elif name in ("year", "month"):
        months = [month[: len(text)] == text for month in columns.month_names]
        if value is None:
            held = columns.days.codes == 0
        elif len(text) in (4, 7) and any(months):
            held = np.array([*months, False])[columns.months][columns.days.codes]
        else:
            return None
    elif name == "folder":
        names, folder = columns.folders.names, nfc(without_bytes(text)).rstrip("/") + "/"
        first, last = bisect_left(names, folder), bisect_left(names, f"{folder[:-1]}0")
        held = (columns.folders.codes > first) & (columns.folders.codes <= last)
    else:
        return _holding_text(columns.texts[name], value)
    return held


def _holding_text(coded: _Coded | _Several, value: str | bool | None) -> Mask | None:
    held: Mask
    if value is None:
        held = coded.codes == 0 if isinstance(coded, _Coded) else ~coded.has
        return held
    place = bisect_left(coded.names, str(value))
    if place == len(coded.names) or coded.names[place] != value:
        return None
    if isinstance(coded, _Coded):
        held = coded.codes == place + 1
    else:
        held = np.zeros(coded.has.size, bool)
        held[np.split(coded.at, coded.starts[1:])[place]] = True
    return held


def _asked(
    conn: sqlite3.Connection,
    snapshot: Snapshot,
    facet: Facet,
    condition: str,
    values: Sequence[Any],
) -> Facet:
    """Values counted by their filters, where an extra column answers for an empty field too."""
    counted = []
    for value in facet.values:
        own, bound = _condition(conn, snapshot, value.where)
        count = catalog.select_rows(conn, f"({condition}) AND ({own})", (*values, *bound)).size
        counted.append(
            FacetValue(value=value.value, count=count, where=value.where, below=value.below)
        )
    return Facet(values=tuple(value for value in counted if value.count), distinct=facet.distinct)


# --- counting -----------------------------------------------------------------------------------


class _Counter:
    """Counts the items of a mask, which may be None for all of them."""

    def __init__(
        self, columns: _Columns, mask: Mask | None, folder: str | None, limit: int
    ) -> None:
        self._columns = columns
        self._mask = mask
        self._folder = folder
        self._limit = limit
        self._days = columns.days.counts(mask)
        self._texts = {
            name: columns.texts[name].counts(mask) for name in ("camera", "tag")
        }  # of menus

    def choices(self, by: dict[str, Facet]) -> Facets:
        """The facets that were counted, with the choices of menus."""
        columns = self._columns
        days = [columns.days.names[at] for at in np.flatnonzero(self._days[1:-1])]
        items = columns.rows.size if self._mask is None else int(np.count_nonzero(self._mask))
        return Facets(
            cameras=self._names("camera"),
            tags=self._names("tag"),
            first_taken=days[0] if days else None,
            last_taken=days[-1] if days else None,
            has_sizes=bool(self._small(columns.shapes, 5)[1:].any()),
            captions=int(self._small(columns.captions, 4)[2:].sum()),
            items=items,
            by=by,
        )

    def facet(self, name: str) -> Facet:
        """The values of one facet."""
        if name in self._columns.texts:
            return self._text(name)
        if name == "folder":
            return self._folders()
        if name in ("year", "month"):
            return _whole(self._dates(4 if name == "year" else 7))
        counted = {"size": self._sizes, "orientation": self._shapes, "caption": self._captions}
        return _whole(counted[name]())

    def _small(self, codes: npt.NDArray[np.uint8], size: int) -> Counts:
        return _counts(codes, self._mask, size)

    def _names(self, name: str) -> tuple[str, ...]:
        """The most frequent values of a menu."""
        counts, names = self._texts[name][1:-1], self._columns.texts[name].names
        return tuple(names[at] for at in _frequent(counts)[:_MOST_CHOICES])

    def _text(self, name: str) -> Facet:
        coded = self._columns.texts[name]
        counts = self._texts[name] if name in self._texts else coded.counts(self._mask)
        order = _frequent(counts[1:-1])
        values = [
            FacetValue(
                value=coded.names[at],
                count=int(counts[at + 1]),
                where=_where(name, coded.names[at]),
            )
            for at in order[: self._limit]
        ]
        values += _none(counts[0], name)
        return Facet(values=tuple(values), distinct=len(order))

    def _dates(self, length: int) -> Iterator[FacetValue]:
        """The years or months, which are so many letters of a month, newest first."""
        months = self._columns.months
        size = len(self._columns.month_names)
        of_months = np.bincount(months[months >= 0], self._days[months >= 0], size)
        counted: dict[str, int] = {}
        for month, count in zip(self._columns.month_names, of_months.tolist(), strict=True):
            counted[month[:length]] = counted.get(month[:length], 0) + int(count)
        for name, count in counted.items():
            if count:
                yield FacetValue(value=name, count=count, where=_where("month", name))
        yield from _none(self._days[0], "taken_at")

    def _sizes(self) -> Iterator[FacetValue]:
        """The classes of bytes, smallest first."""
        counts = self._small(self._columns.sizes, len(_CLASSES) + 1)
        for (value, where), count in zip(_CLASSES.items(), counts[1:].tolist(), strict=True):
            if count:
                yield FacetValue(value=value, count=count, where=where)
        yield from _none(counts[0], "size_bytes")

    def _shapes(self) -> Iterator[FacetValue]:
        counts = self._small(self._columns.shapes, 5)
        for name, count in zip(_SHAPES, counts[1:4].tolist(), strict=True):
            if count:
                yield FacetValue(value=name, count=count, where=_where("orientation", name))
        yield from _none(counts[0] + counts[4], "orientation")

    def _captions(self) -> Iterator[FacetValue]:
        counts = self._small(self._columns.captions, 4)
        for value, count in ((True, counts[1] + counts[3]), (False, counts[0] + counts[2])):
            if count:
                where = _where("caption", value)
                yield FacetValue(value=value, count=int(count), where=where)

    def _folders(self) -> Facet:
        """The folders in a folder, or in the one that has all items, in order of their names."""
        names = self._columns.folders.names
        counts = self._columns.folders.counts(self._mask)
        before = np.concatenate([[0], np.cumsum(counts[1:-1])])  # of each folder
        found = []
        for first, last, name in _children(names, self._opened(names)):
            count = int(before[last] - before[first])
            if count:
                below = last - first > (names[first] == name)
                found.append(
                    FacetValue(
                        value=name.rstrip("/") or name,
                        count=count,
                        where=_inside(name),
                        below=below,
                    )
                )
        return Facet(values=tuple(found[: self._limit]), distinct=len(found))

    def _opened(self, names: Sequence[str]) -> str:
        """The folder whose folders are asked for, with a slash at its end, or nothing."""
        if self._folder is None:
            return _common(names)
        opened = nfc(without_bytes(self._folder)).rstrip("/") + "/"
        first = bisect_left(names, opened)
        if first == len(names) or not names[first].startswith(opened):
            raise InvalidInputError(
                f"no item of the index lies in the folder {self._folder}; write a folder as facets "
                "show it"
            )
        return opened


def _counts(codes: Codes, mask: Mask | None, size: int) -> Counts:
    """How many items have each code, int64 [size]; those outside of a mask do not count."""
    found = np.bincount(codes if mask is None else codes * mask, minlength=size).astype(np.int64)
    if mask is not None:
        found[0] -= np.count_nonzero(~mask)
    return found


def _bytes_of(names: Sequence[str]) -> int:
    return sum(60 + 2 * len(name) for name in names)


def _whole(values: Iterable[FacetValue]) -> Facet:
    """A facet all of whose values are given, in order."""
    found = tuple(values)
    return Facet(values=found, distinct=sum(value.value is not None for value in found))


def _none(count: int, field: str) -> list[FacetValue]:
    """The items without a value, if there are any."""
    if not count:
        return []
    return [FacetValue(value=None, count=int(count), where=f"{field} is null")]


def _frequent(counts: Counts) -> list[int]:
    """Positions of the counts above 0, largest first, ties in order."""
    order = np.argsort(-counts, kind="stable")
    return [int(at) for at in order[: np.count_nonzero(counts)]]


def _month(day: str) -> str | None:
    """The month of a date as filters read it: one that is cut short is its first moment."""
    found = _MONTH.fullmatch(day)
    if found is None or not (1 <= int(found[1]) <= 9998 and 1 <= int(found[2] or 1) <= 12):
        return None
    return f"{found[1]}-{found[2] or '01'}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _inside(folder: str) -> str:
    """The filter for the items in a folder, and below it; "0" is the character after "/"."""
    low, high = _quoted(folder), _quoted(f"{folder[:-1]}0")
    return f"(path >= {low} and path < {high} or path is null and key >= {low} and key < {high})"


def _common(names: Sequence[str]) -> str:
    """The deepest folder that has all of some folders, which are in order, or nothing."""
    if not names:
        return ""
    shared = os.path.commonprefix([names[0], names[-1]])  # noqa: RUF071 - cut at a slash
    return shared[: shared.rfind("/") + 1]


def _children(names: Sequence[str], opened: str) -> Iterator[tuple[int, int, str]]:
    """The folders right below one: where each begins and ends among the names, and its name.

    One that has nothing but another folder is given as that. A folder without others below it
    is its own and only one.
    """
    at = bisect_left(names, opened)
    end = bisect_left(names, f"{opened[:-1]}0") if opened else len(names)
    if end - at == 1 and names[at] == opened:
        yield at, end, opened
        return
    at += at < end and names[at] == opened
    while at < end:
        child = names[at][: names[at].index("/", len(opened)) + 1]
        last = bisect_left(names, f"{child[:-1]}0", at, end)
        yield at, last, _common((names[at], names[last - 1]))
        at = last


# --- reading ------------------------------------------------------------------------------------


def _read(conn: sqlite3.Connection) -> _Columns:
    """Read the values of all items, those that are away included."""
    camera, format_, days, folders = _Names(_nameable), _Names(_cased), _Names(str), _Names(_nfc)
    numbers: list[list[npt.NDArray[Any]]] = [[], [], [], []]
    cursor = conn.execute(_READ)
    while page := cursor.fetchmany(_PAGE):
        rows, cameras, formats, taken, places, *others = zip(*page, strict=True)
        camera.add(cameras)
        format_.add(formats)
        days.add(taken)
        folders.add([place[: place.rfind("/") + 1] or None for place in places])
        numbers[0].append(np.array(rows, np.int64))
        for kept, column in zip(numbers[1:], others, strict=True):
            kept.append(np.array(column, np.uint8))
    rows_, sizes, shapes, captions = (
        np.concatenate([np.empty(0, kind), *parts])
        for kind, parts in zip((np.int64, *[np.uint8] * 3), numbers, strict=True)
    )
    texts: dict[str, _Coded | _Several] = {"camera": camera.coded(), "format": format_.coded()}
    texts["tag"] = _several(conn, "label", "tags", rows_)
    texts["album"] = _several(conn, "name", "album_items", rows_)
    by_day = days.coded()
    of_days = [None, *map(_month, by_day.names), None]
    names = tuple(sorted({month for month in of_days if month}, reverse=True))
    place = {month: at for at, month in enumerate(names)}
    months = np.array([place.get(month or "", -1) for month in of_days], np.int64)
    return _Columns(rows_, texts, by_day, months, names, folders.coded(), sizes, shapes, captions)


def _several(conn: sqlite3.Connection, name: str, table: str, rows: Rows) -> _Several:
    """The names of items that may have several, each of which counts once for an item."""
    by_name: dict[str, list[Rows]] = {}
    cursor = conn.execute(f"SELECT {name}, json_group_array(row) FROM {table} GROUP BY {name}")
    has = np.zeros(rows.size, bool)
    for text, listed in cursor:
        named = np.array(json.loads(listed), np.int64)
        at = np.searchsorted(rows, named[is_in(named, rows)])
        has[at] = True
        if at.size and (same := _nameable(text)):
            by_name.setdefault(same, []).append(at)
    names = tuple(sorted(by_name))
    sets = [np.unique(np.concatenate(by_name[name])) for name in names]
    lengths = np.array([0, *(at.size for at in sets)], np.int64)
    every = np.concatenate([np.empty(0, np.int32), *sets]).astype(np.int32)
    return _Several(every, np.cumsum(lengths)[:-1], has, names)


class _Names:
    """Collects texts as codes, equal ones once.

    Args:
        same: From a text to the name that a filter finds it by; nothing if none does.
    """

    def __init__(self, same: Callable[[str], str]) -> None:
        self._same = same
        self._known: dict[str | None, int] = {}
        self._parts: list[npt.NDArray[np.int32]] = []

    def add(self, texts: Iterable[str | None]) -> None:
        known = self._known
        self._parts.append(
            np.array([known.setdefault(text, len(known)) for text in texts], np.int32)
        )

    def coded(self) -> _Coded:
        """All of them, with the names in order."""
        same = {text: self._same(text) for text in self._known if text is not None}
        names = tuple(sorted({name for name in same.values() if name}))
        place = dict(zip(names, itertools.count(1)))
        codes = [
            0 if text is None else place.get(same[text], len(names) + 1) for text in self._known
        ]
        kind = np.min_scalar_type(len(names) + 1)
        every = np.concatenate([np.empty(0, np.int32), *self._parts])
        return _Coded(np.array(codes, kind)[every], names)


def _nfc(text: str) -> str:
    return "" if "\0" in text else nfc(text)


def _nameable(text: str) -> str:
    """A text as filters compare it, or nothing if none can name it."""
    name = _nfc(text)
    # A filter compares what is written in ASCII alone as it is stored.
    is_other = name.isascii() and not text.isascii()
    return "" if is_other or len(name) > _MOST_LETTERS else name


def _cased(text: str) -> str:
    """A format, whose case makes no difference."""
    return _nameable(text.upper() if text.isascii() else text)
