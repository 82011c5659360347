"""Filters: a `where` expression as a small tree of its own, then as SQL with bound values.

The expression is SQL's condition syntax: `=`, `!=`, `<`, `<=`, `>`, `>=`, `and`, `or`, `not`, `in`,
`between`, `like`, `is null` and parentheses, over the fields of `FIELDS` and the extra columns of
a table source. sqlglot parses it; every node that is not one of these is refused, names are
looked up, and values are bound. No character of the expression reaches SQLite.

As in SQL, a comparison with a missing value is neither true nor false: `width > 800` and
`not width > 800` both leave out items without a width; `width is null` finds them. `like` knows
`%` and `_`, and does not distinguish upper and lower case of the letters A to Z (of these only).
A date may be cut short: `taken_at = '2024-05'` is all of May 2024, `taken_at <= '2024-05'` is up
to its last moment. Dates are local times, as cameras write them. `tag = 'dog'` means that an item
has the tag; `tag != 'dog'` that it has not.
"""

from __future__ import annotations

import datetime as dt
import difflib
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from .errors import InvalidInputError

__all__ = ["FIELDS", "Field", "compile_where", "parse"]

Type = Literal["integer", "number", "text", "date", "tag"]
Value = str | int | float | bool

# The fields of every index, with their types.
FIELDS: dict[str, str] = {
    "id": "integer",
    "key": "text",
    "path": "text",
    "name": "text",
    "size_bytes": "integer",
    "width": "integer",
    "height": "integer",
    "format": "text",
    "mtime": "date",
    "taken_at": "date",
    "camera": "text",
    "latitude": "number",
    "longitude": "number",
    "caption": "text",
    "tag": "tag",
}

_MAX_LENGTH = 10_000  # characters; far more than anyone types, and a bound on the work
_MAX_DEPTH = 64
_SQL = {
    "id": "items.row",
    "name": "basename(coalesce(items.path, items.key))",
    "mtime": "items.mtime_ns",
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
    """A field that an expression names."""

    name: str
    type: Type
    extra: bool = False


@dataclass(frozen=True, slots=True)
class Compare:
    """`field op value`."""

    field: Field
    op: Literal["=", "!=", "<", "<=", ">", ">="]
    value: Value


@dataclass(frozen=True, slots=True)
class Like:
    """`field like pattern`."""

    field: Field
    pattern: str
    escape: str | None


@dataclass(frozen=True, slots=True)
class IsNull:
    """`field is null`."""

    field: Field


@dataclass(frozen=True, slots=True)
class Not:
    """`not part`."""

    part: Node


@dataclass(frozen=True, slots=True)
class Joined:
    """Parts joined by `and` or `or`."""

    op: Literal["AND", "OR"]
    parts: tuple[Node, ...]


Node = Compare | Like | IsNull | Not | Joined

_OPERATORS: dict[type[exp.Expr], Literal["=", "!=", "<", "<=", ">", ">="]] = {
    exp.EQ: "=",
    exp.NEQ: "!=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}


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


def parse(where: str, extra: Mapping[str, str]) -> Node:
    """Parse an expression; arguments and errors as for `compile_where`."""
    if len(where) > _MAX_LENGTH:
        raise InvalidInputError(f"the filter is longer than {_MAX_LENGTH} characters")
    if "\0" in where:
        raise InvalidInputError("the filter holds a NUL character")
    try:
        trees = sqlglot.parse(where, dialect="sqlite")
    except (SqlglotError, RecursionError, ValueError) as exc:
        detail = re.sub(r"\x1b\[\d*m", "", str(exc)).split("\n")[0] or type(exc).__name__
        raise InvalidInputError(f"the filter {_short(where)} cannot be read: {detail}") from exc
    if len(trees) != 1 or trees[0] is None:
        raise InvalidInputError(f"the filter {_short(where)} must be one expression")
    return _Reader(where, extra).node(trees[0], 0)


class _Reader:
    """Reads sqlglot's tree into ours, refusing whatever is not ours."""

    def __init__(self, where: str, extra: Mapping[str, str]) -> None:
        self._where = where
        self._extra = extra

    def node(self, tree: exp.Expr, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise InvalidInputError(f"the filter is nested deeper than {_MAX_DEPTH} levels")
        down = depth + 1
        match tree:
            case exp.Paren():
                return self.node(self._only(tree, "this"), down)
            case exp.And() | exp.Or():
                return self._joined(tree, down)
            case exp.Not():
                return Not(self.node(self._only(tree, "this"), down))
            case exp.Is():
                return self._is(tree)
            case exp.Between():
                self._only(tree, "this", "low", "high")
                field = self._field(tree.this)
                low = self._compare(field, ">=", tree.args["low"])
                return Joined("AND", (low, self._compare(field, "<=", tree.args["high"])))
            case exp.In():
                return self._in(tree)
            case exp.Like() | exp.ILike() | exp.Escape():
                return self._like(tree)
        op = _OPERATORS.get(type(tree))
        if op is None:
            raise self._refused(tree)
        self._only(tree, "this", "expression")
        if isinstance(tree.expression, exp.Column) and not isinstance(tree.this, exp.Column):
            return self._compare(self._field(tree.expression), _FLIPPED[op], tree.this)
        return self._compare(self._field(tree.this), op, tree.expression)

    def _joined(self, tree: exp.Expr, depth: int) -> Node:
        """Read a chain of one connective without going a level deeper for each link."""
        kind = type(tree)
        parts: list[exp.Expr] = []
        link: exp.Expr = tree
        while type(link) is kind:
            self._only(link, "this", "expression")
            parts.append(link.expression)
            link = link.this
        parts.append(link)
        op: Literal["AND", "OR"] = "AND" if kind is exp.And else "OR"
        return Joined(op, tuple(self.node(part, depth) for part in reversed(parts)))

    def _is(self, tree: exp.Expr) -> Node:
        self._only(tree, "this", "expression")
        field = self._field(tree.this)
        if isinstance(tree.expression, exp.Null):
            return IsNull(field)
        if isinstance(tree.expression, exp.Boolean):
            return self._compare(field, "=", tree.expression)
        raise self._refused(tree.expression)

    def _in(self, tree: exp.Expr) -> Node:
        self._only(tree, "this", "expressions")
        field = self._field(tree.this)
        values = tree.expressions
        if not values:
            raise InvalidInputError(f"{field.name} in () names no value")
        return Joined("OR", tuple(self._compare(field, "=", value) for value in values))

    def _like(self, tree: exp.Expr) -> Node:
        escape: str | None = None
        if isinstance(tree, exp.Escape):
            self._only(tree, "this", "expression")
            character = self._value(tree.expression)
            if not isinstance(character, str) or len(character) != 1:
                raise InvalidInputError("escape must be one character, such as escape '!'")
            escape = character
            tree = tree.this
        if not isinstance(tree, exp.Like | exp.ILike):
            raise self._refused(tree)
        self._only(tree, "this", "expression", "negate")
        field = self._field(tree.this)
        pattern = self._value(tree.expression)
        if field.type not in ("text", "tag") or not isinstance(pattern, str):
            raise InvalidInputError(
                f"{field.name} like {pattern!r}: like compares a text field with a pattern in "
                "single quotes, such as caption like '%beach%'"
            )
        like = Like(field, pattern, escape)
        return Not(like) if tree.args.get("negate") else like

    def _compare(self, field: Field, op: str, tree: exp.Expr) -> Compare:
        value = self._value(tree)
        number = isinstance(value, int | float)
        if field.type in ("integer", "number") and not number:
            raise InvalidInputError(
                f"{field.name} is a number; write it without quotes: {field.name} {op} 800"
            )
        if field.type == "date":
            if number:
                raise InvalidInputError(
                    f"{field.name} is a date; write it in quotes: {field.name} {op} '2024-01-31'"
                )
            _interval(str(value))
        if field.type in ("text", "tag") and number:
            raise InvalidInputError(
                f"{field.name} is text; write the value in single quotes: "
                f"{field.name} {op} '{value}'"
            )
        if field.type == "tag" and op not in ("=", "!="):
            raise InvalidInputError(f"tag knows =, !=, in, like and is null, not {op}")
        return Compare(field, op, value)  # type: ignore[arg-type]

    def _value(self, tree: exp.Expr) -> Value:
        match tree:
            case exp.Paren():
                return self._value(self._only(tree, "this"))
            case exp.Neg():
                inner = self._value(self._only(tree, "this"))
                if isinstance(inner, int | float) and not isinstance(inner, bool):
                    return -inner
            case exp.Boolean():
                return bool(tree.this)
            case exp.Literal() if tree.is_string:
                return str(tree.this)
            case exp.Literal():
                return self._number(str(tree.this))
            case exp.Column():
                raise InvalidInputError(
                    f"{tree.sql()} stands where a value belongs; texts and dates are written in "
                    f"single quotes: '{tree.name}'"
                )
        raise self._refused(tree)

    @staticmethod
    def _number(text: str) -> int | float:
        try:
            value = int(text) if text.isdigit() else float(text)
        except ValueError as exc:
            raise InvalidInputError(f"{text!r} is not a number") from exc
        if isinstance(value, int) and value >= 2**63:
            return float(value)
        return value

    def _field(self, tree: exp.Expr) -> Field:
        if not isinstance(tree, exp.Column):
            raise self._refused(tree)
        self._only(tree, "this", "table")
        name, table = tree.name, tree.table
        if not table and name.lower() in FIELDS:
            return Field(name.lower(), FIELDS[name.lower()])  # type: ignore[arg-type]
        if table.lower() in ("", "extra"):
            found = name if name in self._extra else None
            if found is None:
                found = next((e for e in self._extra if e.lower() == name.lower()), None)
            if found is not None:
                return Field(found, self._extra[found], extra=True)  # type: ignore[arg-type]
        shown = f"{table}.{name}" if table else name
        there = [*FIELDS, *self._extra]
        close = difflib.get_close_matches(name, there, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise InvalidInputError(
            f"there is no field {shown!r}.{hint} The fields are: {', '.join(there)}"
        )

    def _only(self, tree: exp.Expr, *names: str) -> Any:
        """Check that a node has no parts but these; the first of them."""
        for name, part in tree.args.items():
            if name not in names and part not in (None, False, []):
                raise self._refused(tree)
        return tree.args.get(names[0])

    def _refused(self, tree: Any) -> InvalidInputError:
        shown = tree.sql(dialect="sqlite") if isinstance(tree, exp.Expr) else str(tree)
        return InvalidInputError(
            f"{_short(shown)} in the filter {_short(self._where)} is not supported. A filter "
            "compares fields with values by = != < <= > >= in, between, like, is null, joined by "
            "and, or, not, such as: width >= 800 and caption like '%beach%'"
        )


def _short(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "...")


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
    start, end = (bound(moment) for moment in _interval(text))
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
    return int(moment.timestamp()) * 1_000_000_000


@functools.lru_cache(maxsize=256)
def _interval(text: str) -> tuple[dt.datetime, dt.datetime]:
    """The stretch of time that a date names: a year, month, day, minute or second."""
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
