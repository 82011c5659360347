"""One comparison of a filter as an SQL condition with bound values.

No character of a filter reaches SQLite: a condition is built from constants, and values are bound.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from ..documents import FIELD_COLUMNS
from ..errors import InvalidInputError
from ..folding import ascii_pattern, nfc
from ..names import stored, without_bytes

__all__ = [
    "IN_SET",
    "NAMED",
    "Condition",
    "Field",
    "Operator",
    "Value",
    "compare",
    "contains",
    "has_offset",
    "interval",
    "is_null",
    "joined",
    "like",
    "time_of_day",
    "where_empty",
]

Operator = Literal["=", "!=", "<", "<=", ">", ">="]
Value = str | int | float | bool | Decimal
Condition = tuple[
    str, tuple[Any, ...]
]  # SQL of constants and placeholders, and what they stand for

_SQL = {
    **{field: f"items.{column}" for field, column in FIELD_COLUMNS.items()},
    "id": "items.row",
    # A date that is cut short counts as its first moment.
    "taken_at": "(CASE WHEN length(items.taken_at) >= 19 THEN items.taken_at "
    "ELSE items.taken_at || substr('0001-01-01T00:00:00', length(items.taken_at) + 1) END)",
    "name": "basename(coalesce(items.path, items.key))",
    # Pillow's names are upper case; nobody should have to know.
    "format": "items.format COLLATE NOCASE",
    "orientation": "(CASE WHEN items.width > items.height THEN 'landscape' "
    "WHEN items.width < items.height THEN 'portrait' "
    "WHEN items.width = items.height THEN 'square' END) COLLATE NOCASE",
}
_IN_ANY_CASE = ("format", "orientation")  # which are ASCII
# A value of an extra column, or one inside it, after as many steps as there are names.
_STEP = "json_each(CASE WHEN {0}.type IN ('object', 'array') THEN {0}.value END) AS {1}"
# Whether an item has a name of a field that holds several, and where it is.
_NAMED = {
    "tag": ("tags.label", "EXISTS (SELECT 1 FROM tags WHERE tags.row = items.row AND {})"),
    "album": (
        "album_items.name",
        "EXISTS (SELECT 1 FROM album_items WHERE album_items.row = items.row AND {})",
    ),
}
# An item with some letters of its content: a backup that is put back gives rows to other images.
NAMED = "(items.row || ':' || substr(coalesce(items.sha256, items.key), -8))"
# Of the index itself and of no other, whose items may have the same ids. A number is what a text
# begins with, so that rows are looked up, and not all compared.
IN_SET = (
    "((SELECT value FROM meta WHERE key = 'index_id') = ? "
    "AND items.row IN (SELECT CAST(value AS INTEGER) FROM json_each(?)) "
    f"AND {NAMED} IN (SELECT value FROM json_each(?)))"
)
_TIME = re.compile(r"(\d{1,2}):([0-5]\d)(?::([0-5]\d)(?:\.(\d+))?)?")
_DATE = re.compile(
    r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2})(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?"
    r"(Z|[+-]\d{2}:?\d{2})?)?)?)?"
)


@dataclass(frozen=True, slots=True)
class Field:
    """A field that a filter names.

    Attributes:
        name: Its name, or that of its column.
        type: integer, number, text, date or tag, which has several names; of an extra column also
            decimal, time, list, object, or any: what is inside of one, whose values tell.
        extra: Whether it is an extra column of tables.
        inside: Names of parts, or numbers in a list, that lead to a value inside the column.
        column_too: The extra column of the same name, which answers where the field is empty.
    """

    name: str
    type: str
    extra: bool = False
    inside: tuple[str, ...] = ()
    column_too: Field | None = None

    def column(self) -> Condition:
        """Its value in SQL."""
        if not self.extra:
            return _SQL[self.name], ()
        if self.type == "date":
            sql, names = self.picked("value")
            return f"strftime('%Y-%m-%dT%H:%M:%S', {sql})", names
        # A column of mixed types counts as text.
        return self.picked("CAST(value AS TEXT)" if self.type == "text" else "value")

    def picked(self, what: str, values: tuple[Any, ...] = ()) -> Condition:
        """Something of its value in SQL, in which `value` and `type` stand for those of the JSON.

        Args:
            what: An expression of SQL.
            values: What its placeholders stand for.
        """
        steps = ["json_each(items.extra) AS j0"]
        keys = ["j0.key = ?"]
        for depth in range(1, len(self.inside) + 1):
            steps.append(_STEP.format(f"j{depth - 1}", f"j{depth}"))
            keys.append(f"CAST(j{depth}.key AS TEXT) = ?")
        last = f"j{len(self.inside)}"
        said = re.sub(r"\b(value|type)\b", rf"{last}.\1", what)
        sql = f"(SELECT {said} FROM {', '.join(steps)} WHERE {' AND '.join(keys)})"
        return sql, (*values, self.name, *self.inside)


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
    """`field is null`; for tags and albums: the item has none."""
    if field.type == "tag":
        return f"(NOT {_NAMED[field.name][1].format('1')})", ()
    column, values = field.picked("value") if field.extra else field.column()
    return f"({column} IS NULL)", values


def where_empty(field: Field, full: Condition | None, empty: Condition) -> Condition:
    """One condition where a field has a value, and another one where it is empty.

    Args:
        field: The field.
        full: The condition on it; None if it cannot be compared so.
        empty: The condition on the extra column of its name.
    """
    is_empty = is_null(field)
    sql, values = full or ("NULL", ())
    return (
        f"(CASE WHEN {is_empty[0]} THEN {empty[0]} ELSE {sql} END)",
        (*is_empty[1], *empty[1], *values),
    )


def like(field: Field, pattern: str, escape: str | None) -> Condition:
    """`field like pattern`, whatever the case and accents of either."""
    pattern = without_bytes(pattern)  # of a name, as they are stored
    if field.type == "tag":
        column, exists = _NAMED[field.name]
        return exists.format(f"folded_like({column}, ?, ?)"), (pattern, escape)
    if field.type == "list":
        return _any_element(field, "folded_like(e.value, ?, ?)", (pattern, escape))
    column, names = field.column()
    condition = f"folded_like({column}, ?, ?)", (*names, pattern, escape)
    if field.extra or field.name == "name":
        return condition
    sql = f"(CASE WHEN {_is_ascii(column)} THEN {column} LIKE ? ESCAPE '!' ELSE {condition[0]} END)"
    return sql, (ascii_pattern(pattern, escape), *condition[1])


def _is_ascii(column: str) -> str:
    """Whether a text is ASCII: then SQLite itself is ten times as fast as our functions."""
    return f"length({column}) = length(CAST({column} AS BLOB))"


def _nfc(column: str) -> str:
    return f"(CASE WHEN {_is_ascii(column)} THEN {column} ELSE nfc({column}) END)"


def compare(field: Field, op: Operator, value: Value) -> Condition:
    """`field op value`; an accent is the same in one character with its letter or after it."""
    if field.type == "date":
        return _compare_date(field, op, str(value))
    if isinstance(value, bool):
        value = int(value)
    if field.type == "decimal":
        return _compare_exact(field, op, str(value))
    if field.type == "any":
        return _compare_any(field, op, value)
    if isinstance(value, Decimal):
        value = float(value)
    column, names = (_NAMED[field.name][0], ()) if field.type == "tag" else field.column()
    if isinstance(value, str):
        is_text = field.name not in _IN_ANY_CASE
        if is_text and not (value.isascii() and op in ("=", "!=")):
            has_column = not field.extra and field.name != "name" and field.type != "tag"
            column = _nfc(column) if has_column else f"nfc({column})"
        value, name = nfc(without_bytes(value)), nfc(stored(value))
        if name != value and field.type != "tag" and op in ("=", "!="):
            no = "NOT " if op == "!=" else ""  # with escapes as they are stored, or written out
            return f"({column} {no}IN (?, ?))", (*names, value, name)
    if field.type == "tag":
        tagged = _NAMED[field.name][1].format(f"{column} = ?")
        if column == _NAMED[field.name][0]:  # which is looked up at once for all items
            table, name = column.split(".")
            tagged = f"items.row IN (SELECT row FROM {table} WHERE {name} = ?)"
        return (tagged if op == "=" else f"(NOT {tagged})"), (value,)
    return f"({column} {op} ?)", (*names, value)


def contains(field: Field, value: Value) -> Condition:
    """`value in field`, for a list; neither true nor false where there is none."""
    if isinstance(value, str):
        return _any_element(field, "e.type = 'text' AND nfc(e.value) = ?", (nfc(value),))
    plain = int(value) if isinstance(value, bool) else value
    number = float(plain) if isinstance(plain, Decimal) else plain
    condition = (
        "CASE e.type WHEN 'text' THEN exact_compare(e.value, ?) = 0 "
        "WHEN 'array' THEN 0 WHEN 'object' THEN 0 ELSE e.value = ? END"
    )
    return _any_element(field, condition, (str(plain), number))


def _any_element(field: Field, condition: str, values: tuple[Any, ...]) -> Condition:
    """Whether any element `e` of a list satisfies a condition."""
    sql, names = field.picked("CASE type WHEN 'array' THEN value END")
    found = f"EXISTS (SELECT 1 FROM json_each({sql}) AS e WHERE {condition})"
    return f"(CASE WHEN {sql} IS NOT NULL THEN {found} END)", (*names, *names, *values)


def _compare_exact(field: Field, op: Operator, number: str) -> Condition:
    """A comparison digit by digit, also of integers that SQLite takes for floats."""
    names = json.dumps([field.name, *field.inside])
    sql, values = field.picked(
        "CASE WHEN typeof(value) = 'real' AND type = 'integer' "
        "THEN exact_inside(items.extra, ?, ?) ELSE exact_compare(value, ?) END",
        (names, number, number),
    )
    return f"({sql} {op} 0)", values


def _compare_any(field: Field, op: Operator, value: Value) -> Condition:
    """A comparison with a value inside of a column: with a number by value, else with a text."""
    if isinstance(value, str):
        sql, values = field.picked("CASE type WHEN 'text' THEN nfc(value) END")
        return f"({sql} {op} ?)", (*values, nfc(value))
    number = float(value) if isinstance(value, Decimal) else value
    sql, values = field.picked(
        "CASE type WHEN 'text' THEN exact_compare(value, ?) "
        "WHEN 'array' THEN NULL WHEN 'object' THEN NULL ELSE (value > ?) - (value < ?) END",
        (str(value), number, number),
    )
    return f"({sql} {op} 0)", values


def time_of_day(text: str) -> str:
    """A time as a column keeps it: `9:30` as `09:30:00`, without zeros at the end of its fraction.

    Raises:
        InvalidInputError: The text is no time.
    """
    found = _TIME.fullmatch(text.strip())
    if found is None or int(found[1]) > 23:
        raise InvalidInputError(f"{text!r} is not a time of day; write one like '18:30'")
    fraction = (found[4] or "").rstrip("0")
    return f"{int(found[1]):02}:{found[2]}:{found[3] or '00'}" + (
        f".{fraction}" if fraction else ""
    )


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


def has_offset(text: str) -> bool:
    """Whether a date says how far its time is from UTC."""
    found = _DATE.fullmatch(text.strip())
    return found is not None and found.groups()[-1] is not None


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
        *parts, offset = found.groups()
        year, month, day, hour, minute, second = (int(part) if part else None for part in parts)
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
        if offset and offset != "Z":  # dates with an offset are compared in UTC
            ahead = dt.timedelta(hours=int(offset[1:3]), minutes=int(offset[-2:]))
            ahead = -ahead if offset[0] == "-" else ahead
            start, end = start - ahead, end - ahead
    except (ValueError, OverflowError) as exc:
        raise InvalidInputError(
            f"{text!r} is not a date; write one like '2024-05-31', '2024-05' or '2024-05-31 18:30'"
        ) from exc
    return start, end
