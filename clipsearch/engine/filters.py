"""Filters: a `where` expression as an SQL condition with bound values.

No character of the expression reaches SQLite: the condition is built from constants, one for each
node of the parsed tree, and values are bound.

As in SQL, a comparison with a missing value is neither true nor false: `width > 800` and
`not width > 800` both leave out items without a width; `width is null` finds them. `like` knows
`%` and `_`, and does not distinguish upper and lower case of the letters A to Z (of these only).
A date may be cut short: `taken_at = '2024-05'` is all of May 2024, `taken_at <= '2024-05'` is up
to its last moment. Dates are local times, as cameras write them; times of a table that have an
offset are compared in UTC. `tag = 'dog'` means that an item has the tag; `tag != 'dog'` that it
has not. A letter with an accent is the same whether it is one character or two, as on a Mac.
"""

from __future__ import annotations

import datetime as dt
import functools
import unicodedata
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
        extra: Names and types (`integer`, `number`, `text`, `date`, `path`) of the extra columns.

    Returns:
        The condition, built of constants and placeholders only, and the values to bind.

    Raises:
        InvalidInputError: It cannot be read, names an unknown field, or compares a field with a
            value of another type.
    """
    if where is not None and not isinstance(where, str):
        raise InvalidInputError(f"where must be a text such as 'width >= 800', got {where!r}")
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
            conditions = []
            for form in _forms(pattern):
                target = "tags.label" if field.type == "tag" else _column(field, values)
                values.append(form)
                conditions.append(f"{target} LIKE ?")
                if escape is not None:
                    values.append(escape)
                    conditions[-1] += " ESCAPE ?"
            condition = f"({' OR '.join(conditions)})"
            return _TAGGED.format(condition) if field.type == "tag" else condition
        case Compare(field, op, value):
            return _compare_sql(field, op, value, values)


def _compare_sql(field: Field, op: str, value: Value, values: list[Any]) -> str:
    if field.type == "tag":
        forms = _forms(value)
        values.extend(forms)
        tagged = _TAGGED.format(f"tags.label IN ({', '.join('?' * len(forms))})")
        return tagged if op == "=" else f"(NOT {tagged})"
    if field.type == "date":
        return _date_sql(field, op, str(value), values)
    column = _column(field, values)
    if op in ("=", "!="):
        forms = _forms(value)
        values.extend(forms)
        return f"({column} {'NOT ' if op == '!=' else ''}IN ({', '.join('?' * len(forms))}))"
    values.append(int(value) if isinstance(value, bool) else value)
    return f"({column} {op} ?)"


def _forms(value: Value) -> list[Any]:
    """How a value may be stored: an accent in one character with its letter, or after it."""
    if isinstance(value, bool):
        return [int(value)]
    if not isinstance(value, str):
        return [value]
    forms = (value, *(unicodedata.normalize(form, value) for form in ("NFC", "NFD")))
    return list(dict.fromkeys(forms))


def _column(field: Field, values: list[Any]) -> str:
    if not field.extra:
        return _SQL.get(field.name, f"items.{field.name}")
    values.append(field.name)
    if field.type == "date":
        return f"strftime('%Y-%m-%dT%H:%M:%S', {_EXTRA_SQL})"
    # A column of mixed types counts as text.
    return f"CAST({_EXTRA_SQL} AS TEXT)" if field.type == "text" else _EXTRA_SQL


def _date_sql(field: Field, op: str, text: str, values: list[Any]) -> str:
    """A comparison with a stretch of time, from its start to just before its end."""
    bound = _nanoseconds if field.name == "mtime" and not field.extra else _iso
    start, end = (bound(moment) for moment in interval(text))
    if op in ("=", "!="):
        inside = f"({_moment(field, '>=', start, values)} AND {_moment(field, '<', end, values)})"
        return inside if op == "=" else f"(NOT {inside})"
    limit = start if op in ("<", ">=") else end
    return f"({_moment(field, '<' if op in ('<', '<=') else '>=', limit, values)})"


def _moment(field: Field, op: str, limit: str | int, values: list[Any]) -> str:
    column = _column(field, values)
    values.append(limit)
    return f"{column} {op} ?"


def _iso(moment: dt.datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _nanoseconds(moment: dt.datetime) -> int:
    try:
        return int(moment.timestamp()) * 1_000_000_000
    except (OverflowError, ValueError, OSError) as exc:  # before any calendar of the system
        raise InvalidInputError(f"no file has a time of change in the year {moment.year}") from exc
