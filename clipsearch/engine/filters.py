"""Filters: a `where` expression as an SQL condition with bound values.

No character of the expression reaches SQLite: the condition is built from constants, one for each
node of the parsed tree, and values are bound.

As in SQL, a comparison with a missing value is neither true nor false: `width > 800` and
`not width > 800` both leave out items without a width; `width is null` finds them. `like` knows
`%` and `_`, and does not distinguish upper and lower case of the letters A to Z (of these only).
A date may be cut short: `taken_at = '2024-05'` is all of May 2024, `taken_at <= '2024-05'` is up
to its last moment. Dates are local times, as cameras write them. `tag = 'dog'` means that an item
has the tag; `tag != 'dog'` that it has not.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidInputError
from .expression import (
    FIELDS,
    Compare,
    Field,
    IsNull,
    Joined,
    Like,
    Node,
    Not,
    Value,
    interval,
    parse,
)

__all__ = ["FIELDS", "compile_where"]

_SQL = {
    "id": "items.row",
    "name": "basename(coalesce(items.path, items.key))",
    "mtime": "items.mtime_ns",
    # Pillow's names are upper case; nobody should have to know.
    "format": "items.format COLLATE NOCASE",
}
_EXTRA_SQL = "(SELECT value FROM json_each(items.extra) WHERE key = ?)"
_TAGGED = "EXISTS (SELECT 1 FROM tags WHERE tags.row = items.row AND {})"


def compile_where(where: str | None, extra: Mapping[str, str]) -> tuple[str, list[Any]]:
    """Turn an expression into an SQL condition on the table `items`.

    Args:
        where: The expression; None or blank for every item.
        extra: Names and types (`integer`, `number`, `text`) of the extra columns.

    Returns:
        The condition, built of constants and placeholders only, and the values to bind.

    Raises:
        InvalidInputError: It cannot be read, names an unknown field, or compares a field with a
            value of another type.
    """
    if where is None or not where.strip():
        return "1", []
    condition, values = _compiled(where, tuple(extra.items()))
    return condition, list(values)


@functools.lru_cache(maxsize=64)
def _compiled(where: str, extra: tuple[tuple[str, str], ...]) -> tuple[str, tuple[Any, ...]]:
    values: list[Any] = []
    return _sql(parse(where, dict(extra)), values), tuple(values)


def _sql(node: Node, values: list[Any]) -> str:
    """A node as SQL; appends the values to bind."""
    match node:
        case Joined(op, parts):
            if len(parts) == 1:
                return _sql(parts[0], values)
            half = len(parts) // 2  # balanced, for SQLite limits the depth of an expression
            left = _sql(Joined(op, parts[:half]), values)
            return f"({left} {op} {_sql(Joined(op, parts[half:]), values)})"
        case Not(part):
            return f"(NOT {_sql(part, values)})"
        case IsNull(field):
            if field.type == "tag":
                return f"(NOT {_TAGGED.format('1')})"
            return f"({_column(field, values)} IS NULL)"
        case Like(field, pattern, escape):
            target = "tags.label" if field.type == "tag" else _column(field, values)
            values.append(pattern)
            condition = f"{target} LIKE ?"
            if escape is not None:
                values.append(escape)
                condition += " ESCAPE ?"
            return _TAGGED.format(condition) if field.type == "tag" else f"({condition})"
        case Compare(field, op, value):
            return _compare_sql(field, op, value, values)


def _compare_sql(field: Field, op: str, value: Value, values: list[Any]) -> str:
    if field.type == "tag":
        values.append(value)
        tagged = _TAGGED.format("tags.label = ?")
        return tagged if op == "=" else f"(NOT {tagged})"
    if field.type == "date":
        return _date_sql(field, op, str(value), values)
    column = _column(field, values)
    values.append(int(value) if isinstance(value, bool) else value)
    return f"({column} {op} ?)"


def _column(field: Field, values: list[Any]) -> str:
    if not field.extra:
        return _SQL.get(field.name, f"items.{field.name}")
    values.append(field.name)
    # A column of mixed types counts as text.
    return f"CAST({_EXTRA_SQL} AS TEXT)" if field.type == "text" else _EXTRA_SQL


def _date_sql(field: Field, op: str, text: str, values: list[Any]) -> str:
    """A comparison with a stretch of time, from its start to just before its end."""
    bound = _nanoseconds if field.name == "mtime" else _iso
    start, end = (bound(moment) for moment in interval(text))
    column = _SQL.get(field.name, f"items.{field.name}")
    if op in ("=", "!="):
        values.extend((start, end))
        inside = f"({column} >= ? AND {column} < ?)"
        return inside if op == "=" else f"(NOT {inside})"
    values.append(start if op in ("<", ">=") else end)
    return f"({column} {'<' if op in ('<', '<=') else '>='} ?)"


def _iso(moment: dt.datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _nanoseconds(moment: dt.datetime) -> int:
    try:
        return int(moment.timestamp()) * 1_000_000_000
    except (OverflowError, ValueError, OSError) as exc:  # before any calendar of the system
        raise InvalidInputError(f"no file has a time of change in the year {moment.year}") from exc
