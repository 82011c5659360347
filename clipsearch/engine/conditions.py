"""One comparison of a filter as an SQL condition with bound values.

No character of a filter reaches SQLite: a condition is built from constants, and values are bound.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from dataclasses import dataclass
from typing import Any, Literal

from ..documents import FIELD_COLUMNS
from ..errors import InvalidInputError
from ..folding import ascii_pattern, nfc
from ..names import stored, without_bytes

__all__ = [
    "Condition",
    "Field",
    "Operator",
    "Value",
    "compare",
    "interval",
    "is_null",
    "joined",
    "like",
]

Operator = Literal["=", "!=", "<", "<=", ">", ">="]
Value = str | int | float | bool
Condition = tuple[
    str, tuple[Any, ...]
]  # SQL of constants and placeholders, and what they stand for

_SQL = {
    **{field: f"items.{column}" for field, column in FIELD_COLUMNS.items()},
    "id": "items.row",
    # A date that is cut short counts as its first moment.
    "taken_at": "(items.taken_at || substr('0001-01-01T00:00:00', length(items.taken_at) + 1))",
    "name": "basename(coalesce(items.path, items.key))",
    # Pillow's names are upper case; nobody should have to know.
    "format": "items.format COLLATE NOCASE",
}
_EXTRA_SQL = "(SELECT value FROM json_each(items.extra) WHERE key = ?)"
_TAGGED = "EXISTS (SELECT 1 FROM tags WHERE tags.row = items.row AND {})"
_DATE = re.compile(
    r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2})(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?)?)?)?"
)


@dataclass(frozen=True, slots=True)
class Field:
    """A field that a filter names."""

    name: str
    type: str  # integer, number, text, date or tag
    extra: bool = False

    def column(self) -> Condition:
        """Its value in SQL."""
        if not self.extra:
            return _SQL[self.name], ()
        if self.type == "date":
            return f"strftime('%Y-%m-%dT%H:%M:%S', {_EXTRA_SQL})", (self.name,)
        # A column of mixed types counts as text.
        sql = f"CAST({_EXTRA_SQL} AS TEXT)" if self.type == "text" else _EXTRA_SQL
        return sql, (self.name,)


def joined(op: Literal["AND", "OR"], parts: list[Condition]) -> Condition:
    """Conditions joined, as a balanced tree: SQLite limits the depth of an expression.

    Its parser also limits how much may be open to the left of a parenthesis, so the half with more
    parentheses comes first; that changes no answer.
    """
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    first, second = joined(op, parts[:half]), joined(op, parts[half:])
    if second[0].count("(") > first[0].count("("):
        first, second = second, first
    return f"({first[0]} {op} {second[0]})", first[1] + second[1]


def is_null(field: Field) -> Condition:
    """`field is null`; for tags: the item has none."""
    if field.type == "tag":
        return f"(NOT {_TAGGED.format('1')})", ()
    column, values = field.column()
    return f"({column} IS NULL)", values


def like(field: Field, pattern: str, escape: str | None) -> Condition:
    """`field like pattern`, whatever the case and accents of either."""
    pattern = without_bytes(pattern)  # of a name, as they are stored
    if field.type == "tag":
        return _TAGGED.format("folded_like(tags.label, ?, ?)"), (pattern, escape)
    column, names = field.column()
    condition = f"folded_like({column}, ?, ?)", (*names, pattern, escape)
    if field.extra or field.name == "name":
        return condition
    # SQLite itself is ten times as fast where a text is ASCII.
    sql = (
        f"(CASE WHEN length({column}) = length(CAST({column} AS BLOB)) "
        f"THEN {column} LIKE ? ESCAPE '!' ELSE {condition[0]} END)"
    )
    return sql, (ascii_pattern(pattern, escape), *condition[1])


def compare(field: Field, op: Operator, value: Value) -> Condition:
    """`field op value`; an accent is the same in one character with its letter or after it."""
    if field.type == "date":
        return _compare_date(field, op, str(value))
    if isinstance(value, bool):
        value = int(value)
    column, names = ("tags.label", ()) if field.type == "tag" else field.column()
    if isinstance(value, str):
        is_text = field.name != "format"  # which has a collation, and is ASCII
        if is_text and not (value.isascii() and op in ("=", "!=")):
            column = f"nfc({column})"
        value, name = nfc(without_bytes(value)), nfc(stored(value))
        if name != value and field.type != "tag" and op in ("=", "!="):
            no = "NOT " if op == "!=" else ""  # with escapes as they are stored, or written out
            return f"({column} {no}IN (?, ?))", (*names, value, name)
    if field.type == "tag":
        tagged = _TAGGED.format(f"{column} = ?")
        return (tagged if op == "=" else f"(NOT {tagged})"), (value,)
    return f"({column} {op} ?)", (*names, value)


def _compare_date(field: Field, op: Operator, text: str) -> Condition:
    """A comparison with a stretch of time, from its start to just before its end."""
    bound = _nanoseconds if field.name == "mtime" and not field.extra else _iso
    start, end = (bound(moment) for moment in interval(text))
    column, names = field.column()
    if op in ("=", "!="):
        inside = f"({column} >= ? AND {column} < ?)"
        return (inside if op == "=" else f"(NOT {inside})"), (*names, start, *names, end)
    limit = start if op in ("<", ">=") else end
    return f"({column} {'<' if op in ('<', '<=') else '>='} ?)", (*names, limit)


def _iso(moment: dt.datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _nanoseconds(moment: dt.datetime) -> int:
    try:
        return int(moment.timestamp()) * 1_000_000_000
    except (OverflowError, ValueError, OSError) as exc:  # before any calendar of the system
        raise InvalidInputError(f"no file has a time of change in the year {moment.year}") from exc


@functools.lru_cache(maxsize=256)
def interval(text: str) -> tuple[dt.datetime, dt.datetime]:
    """The stretch of time that a date names: a year, month, day, minute or second.

    Returns:
        Its first moment and the first moment after it.

    Raises:
        InvalidInputError: The text is no date.
    """
    found = _DATE.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError
        year, month, day, hour, minute, second = (int(g) if g else None for g in found.groups())
        start = dt.datetime(year or 0, month or 1, day or 1, hour or 0, minute or 0, second or 0)
        if month is None:
            end = start.replace(year=start.year + 1)
        elif day is None:
            end = (start + dt.timedelta(days=31)).replace(day=1)
        else:
            end = start + (
                dt.timedelta(days=1)
                if hour is None
                else dt.timedelta(minutes=1)
                if second is None
                else dt.timedelta(seconds=1)
            )
    except (ValueError, OverflowError) as exc:
        raise InvalidInputError(
            f"{text!r} is not a date; write one like '2024-05-31', '2024-05' or '2024-05-31 18:30'"
        ) from exc
    return start, end
