"""The orders in which items are listed, for items in memory and as SQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeVar

from .folding import fold
from .types import Item

__all__ = ["COLUMNS", "SORTS", "Sort", "arranged", "in_order", "name_key", "order_by"]

Sort = Literal["score", "date", "size", "name"]
SORTS: tuple[Sort, ...] = ("score", "date", "size", "name")

T = TypeVar("T")
_NUMBER = re.compile(r"\d{1,999}", re.ASCII)
_DESCENDING = ("date", "size")  # newest and largest first
# What is not known comes last, whichever way round.
_VALUES: dict[str, Callable[[Item], Any]] = {
    "date": lambda item: item.taken_at or None,
    "size": lambda item: item.size_bytes,
    "name": lambda item: name_key(item.path or item.key),
}
# The same values as SQL over the table `items`.
COLUMNS: dict[Sort, str] = {
    "date": "nullif(taken_at, '')",
    "size": "size_bytes",
    "name": "name_key(coalesce(path, key))",
}


def name_key(path: str) -> str:
    """What orders names as people do: without case and accents, 2 before 10."""
    name = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    # a number after its length: longer ones are greater
    return _NUMBER.sub(
        lambda number: f"{len(number[0].lstrip('0')):03}{number[0].lstrip('0')}", fold(name)
    )


def in_order(
    entries: Iterable[T], item_of: Callable[[T], Item], sort: Sort, *, reverse: bool
) -> list[T]:
    """Entries sorted by their items; equal ones, and those without a value, stay as they are.

    Args:
        entries: In the order in which they were ranked, which is that of "score".
        item_of: The item of an entry.
        sort: What to sort by: newest, largest, or name from A to Z first.
        reverse: Whether to turn the order round; what has no value stays last.
    """
    ranked = list(entries)
    values = ranked if sort == "score" else [_VALUES[sort](item_of(entry)) for entry in ranked]
    return arranged(ranked, values, sort, reverse=reverse)


def arranged(ranked: Sequence[T], values: Sequence[Any], sort: Sort, *, reverse: bool) -> list[T]:
    """As `in_order`, by the value that is given for each entry, which "score" does not read."""
    if sort == "score":
        return list(ranked[::-1] if reverse else ranked)
    known = list(zip(values, ranked, strict=True))
    found = [pair for pair in known if pair[0] is not None]
    found.sort(key=lambda pair: pair[0], reverse=(sort in _DESCENDING) is not reverse)
    return [entry for _, entry in found] + [entry for key, entry in known if key is None]


def order_by(sort: Sort, *, reverse: bool) -> str:
    """The same order as SQL over the table `items`, ties by ascending row."""
    column = COLUMNS[sort]
    way = "DESC" if (sort in _DESCENDING) is not reverse else "ASC"
    return f"{column} IS NULL, {column} {way}, row"
