"""Filters: a `where` expression as an SQL condition with bound values.

The syntax is that of SQL's conditions: `=`, `!=`, `<`, `<=`, `>`, `>=`, `and`, `or`, `not`, `in`,
`between`, `like`, `is null` and parentheses, over the fields of `FIELDS` and the extra columns of a
table source. sqlglot parses it; every node that is not one of these is refused, names are looked
up, and what is left is written as SQL by `conditions`.

As in SQL, a comparison with a missing value is neither true nor false: `width > 800` and
`not width > 800` both leave out items without a width; `width is null` finds them. `like` knows
`%` and `_`, and does not distinguish case, accents and width: `like '%ete%'` finds ÉTÉ. `=` does.
A date may be cut short: `taken_at = '2024-05'` is all of May 2024, `taken_at <= '2024-05'` is up
to its last moment. Dates are local times, as cameras write them; times of a table that have an
offset are compared in UTC. `tag = 'dog'` means that an item has the tag; `tag != 'dog'` that it
has not. A letter with an accent is the same whether it is one character or two, as on a Mac.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Collection, Mapping
from typing import Any, Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from ..documents import FIELDS
from ..errors import InvalidInputError
from ..folding import nfc
from .conditions import Condition, Field, Operator, Value, compare, interval, is_null, joined, like

__all__ = ["compile_where"]

_MAX_LENGTH = 10_000  # characters; far more than anyone types, and a bound on the work
_MAX_DEPTH = 32  # of `and` within `or` within `and`; more than SQLite's parser has room for is 40

_OPERATORS: dict[type[exp.Expr], Operator] = {
    exp.EQ: "=",
    exp.NEQ: "!=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_FLIPPED: dict[Operator, Operator] = {
    "<": ">",
    "<=": ">=",
    ">": "<",
    ">=": "<=",
    "=": "=",
    "!=": "!=",
}


def compile_where(
    where: str | None, extra: Mapping[str, str], *, hidden: Collection[str] = ()
) -> tuple[str, list[Any]]:
    """Turn an expression into an SQL condition on the table `items`.

    Args:
        where: The expression; None or blank for every item.
        extra: Names and types (`integer`, `number`, `text`, `date`, `path`) of the extra columns.
        hidden: Fields that must not be asked about.

    Returns:
        The condition, built of constants and placeholders only, and the values to bind.

    Raises:
        InvalidInputError: It cannot be read, names an unknown or hidden field, or compares a field
            with a value of another type.
    """
    if where is not None and not isinstance(where, str):
        raise InvalidInputError(f"where must be a text such as 'width >= 800', got {where!r}")
    if where is None or not where.strip():
        return "1", []
    condition, values = _compiled(where, tuple(extra.items()), frozenset(hidden))
    return condition, list(values)


@functools.lru_cache(maxsize=64)
def _compiled(where: str, extra: tuple[tuple[str, str], ...], hidden: frozenset[str]) -> Condition:
    if len(where) > _MAX_LENGTH:
        raise InvalidInputError(f"the filter is longer than {_MAX_LENGTH} characters")
    if "\0" in where:
        raise InvalidInputError("the filter holds a NUL character")
    try:
        trees = sqlglot.parse(where, dialect="sqlite")
    except RecursionError as exc:
        raise _too_deep(where) from exc
    except (SqlglotError, ValueError) as exc:
        detail = re.sub(r"\x1b\[\d*m", "", str(exc)).split("\n")[0] or type(exc).__name__
        raise InvalidInputError(f"the filter {_short(where)} cannot be read: {detail}") from exc
    if len(trees) != 1 or trees[0] is None:
        raise InvalidInputError(f"the filter {_short(where)} must be one expression")
    try:
        return _Compiler(where, dict(extra), hidden).node(trees[0], 0)
    except RecursionError as exc:
        raise _too_deep(where) from exc


class _Compiler:
    """Writes sqlglot's tree as a condition, refusing whatever a filter does not have."""

    def __init__(self, where: str, extra: Mapping[str, str], hidden: Collection[str]) -> None:
        self._where = where
        self._extra = extra
        self._hidden = hidden

    def node(self, tree: exp.Expr, depth: int, *, negated: bool = False) -> Condition:
        """A tree, or what is true where it is false.

        `not` is moved down to the comparisons, which keeps SQL's third value as it is.
        """
        if depth > _MAX_DEPTH:
            raise InvalidInputError(
                f"the filter alternates between `and` and `or` over more than {_MAX_DEPTH} levels"
            )
        tree, negated = self._unwrapped(tree, negated)
        if not isinstance(tree, exp.And | exp.Or):
            leaf = self._leaf(tree)
            return (f"(NOT {leaf[0]})", leaf[1]) if negated else leaf
        op = _connective(tree, negated)
        parts: list[Condition] = []
        links: list[tuple[exp.Expr, bool]] = [(tree, negated)]
        while links:  # a chain of one connective is one level, however long it is
            link, negated = links.pop()
            if isinstance(link, exp.And | exp.Or) and _connective(link, negated) == op:
                self._only(link, "this", "expression")
                links += [self._unwrapped(link.args[s], negated) for s in ("expression", "this")]
            else:
                parts.append(self.node(link, depth + 1, negated=negated))
        return joined(op, parts)

    def _unwrapped(self, tree: exp.Expr, negated: bool) -> tuple[exp.Expr, bool]:
        """A tree without the parentheses and `not`s around it, and whether it is negated."""
        while isinstance(tree, exp.Paren | exp.Not):
            negated ^= isinstance(tree, exp.Not)
            tree = self._only(tree, "this")
        return tree, negated

    def _leaf(self, tree: exp.Expr) -> Condition:
        """One comparison."""
        match tree:
            case exp.Is():
                return self._is(tree)
            case exp.Between():
                self._only(tree, "this", "low", "high")
                field = self._field(tree.this)
                low = self._compare(field, ">=", tree.args["low"])
                return joined("AND", [low, self._compare(field, "<=", tree.args["high"])])
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

    def _is(self, tree: exp.Expr) -> Condition:
        self._only(tree, "this", "expression")
        field = self._field(tree.this)
        if isinstance(tree.expression, exp.Null):
            return is_null(field)
        if isinstance(tree.expression, exp.Boolean):
            return self._compare(field, "=", tree.expression)
        raise self._refused(tree.expression)

    def _in(self, tree: exp.Expr) -> Condition:
        self._only(tree, "this", "expressions")
        field = self._field(tree.this)
        values = tree.expressions
        if not values:
            raise InvalidInputError(f"{field.name} in () names no value")
        return joined("OR", [self._compare(field, "=", value) for value in values])

    def _like(self, tree: exp.Expr) -> Condition:
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
            hint = (
                f"a date may be cut short instead: {field.name} = '2024-05'"
                if field.type == "date"
                else "like compares a text field with a pattern in single quotes, such as "
                "caption like '%beach%'"
            )
            raise InvalidInputError(f"{field.name} like {pattern!r}: {hint}")
        condition = like(field, pattern, escape)
        return (f"(NOT {condition[0]})", condition[1]) if tree.args.get("negate") else condition

    def _compare(self, field: Field, op: Operator, tree: exp.Expr) -> Condition:
        value = self._value(tree)
        number = isinstance(value, int | float)
        if field.type in ("integer", "number") and not number:
            shown = str(value).lower() if str(value).lower() in ("true", "false") else "800"
            raise InvalidInputError(
                f"{field.name} is a number; write it without quotes: {field.name} {op} {shown}"
            )
        if field.type == "date":
            if number:
                raise InvalidInputError(
                    f"{field.name} is a date; write it in quotes: {field.name} {op} '2024-01-31'"
                )
            interval(str(value))
        if field.type in ("text", "tag") and number:
            raise InvalidInputError(
                f"{field.name} is text; write the value in single quotes: "
                f"{field.name} {op} '{value}'"
            )
        if field.type == "tag" and op not in ("=", "!="):
            raise InvalidInputError(f"tag knows =, !=, in, like and is null, not {op}")
        return compare(field, op, value)

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
            self._check_open(name.lower())
            return Field(name.lower(), FIELDS[name.lower()])
        if table.lower() in ("", "extra"):
            found = name if name in self._extra else None
            if found is None:
                found = next((e for e in self._extra if _plain(e) == _plain(name)), None)
            if found is not None:
                self._check_open(found)
                kind = self._extra[found]
                return Field(found, "text" if kind == "path" else kind, extra=True)
        shown = f"{table}.{name}" if table else name
        there = [field for field in (*FIELDS, *self._extra) if field not in self._hidden]
        close = difflib.get_close_matches(name, there, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise InvalidInputError(
            f"there is no field {shown!r}.{hint} The fields are: {', '.join(there)}"
        )

    def _check_open(self, name: str) -> None:
        if name in self._hidden:
            raise InvalidInputError(f"{name} cannot be filtered by here")

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


def _connective(tree: exp.And | exp.Or, negated: bool) -> Literal["AND", "OR"]:
    """What joins the parts of a tree once it is negated, by De Morgan, or as it is."""
    return "AND" if isinstance(tree, exp.And) is not negated else "OR"


def _plain(name: str) -> str:
    """A column's name without what may differ where it is typed."""
    return nfc(name).casefold()


def _too_deep(where: str) -> InvalidInputError:
    return InvalidInputError(
        f"the filter {_short(where)} is nested too deeply; write it with fewer parentheses"
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "...")
