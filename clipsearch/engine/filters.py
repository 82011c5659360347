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
offset are compared in UTC, and so is a date that is written with one. `tag = 'dog'` means that an
item has the tag; `tag != 'dog'` that it has not; `album = 'Trip'` is asked in the same way. A
letter with an accent is the same whether it is one character or two, as on a Mac.

`meta.w = 5` reaches inside a column of objects, `'all' in tags` asks for an element of a list;
where no column is named `tags`, these are the item's own. Exact decimals and integers of any length
are compared digit by digit. A column that is named like a field answers where the field is empty,
and always as `extra.NAME`. A name with blanks stands in double quotes. `selection = 'TOKEN'`
asks for the items that were selected on the map of the page.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal

import sqlglot
from sqlglot import exp
from sqlglot.dialects.sqlite import SQLite
from sqlglot.errors import SqlglotError

from ..documents import FIELDS
from ..errors import InvalidInputError
from ..folding import nfc
from ..item_sets import is_token, kept_items
from .columns import INTEGERS, is_exact
from .conditions import (
    IN_SET,
    Condition,
    Field,
    Operator,
    Value,
    compare,
    contains,
    has_offset,
    interval,
    is_null,
    joined,
    like,
    time_of_day,
    where_empty,
)

__all__ = ["compile_where"]

_MAX_LENGTH = 10_000  # characters; far more than anyone types, and a bound on the work
_MAX_DEPTH = 32  # of `and` within `or` within `and`; more than SQLite's parser has room for is 40

_MAX_NESTED = 32  # of parentheses; sqlglot's parser ends at 46 where Python ends at 1,000 calls
_TOKEN = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|\w+|\S", re.ASCII)

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
    return condition, [part for value in values for part in _bound(value)]


def _bound(value: Any) -> tuple[Any, ...]:
    """A value as it is bound; for the token of a set of items, its index and ids."""
    if not isinstance(value, _Token):
        return (value,)
    index_id, items = kept_items(value)
    return index_id, items, items


@functools.lru_cache(maxsize=64)
def _compiled(where: str, extra: tuple[tuple[str, str], ...], hidden: frozenset[str]) -> Condition:
    if len(where) > _MAX_LENGTH:
        raise InvalidInputError(f"the filter is longer than {_MAX_LENGTH} characters")
    if "\0" in where:
        raise InvalidInputError("the filter holds a NUL character")
    text = _quoted(where, [name for name, _ in extra])
    if _nesting(text) > _MAX_NESTED:
        raise _too_deep(where)
    try:
        with ThreadPoolExecutor(1) as fresh:  # whose stack is empty, however deep the caller's is
            trees = fresh.submit(sqlglot.parse, text, dialect="sqlite").result()
    except RecursionError as exc:
        raise _too_deep(where) from exc
    except (SqlglotError, ValueError) as exc:
        detail = re.sub(r"\x1b\[\d*m", "", str(exc)).split("\n")[0] or type(exc).__name__
        raise InvalidInputError(f"the filter {_short(where)} cannot be read: {detail}") from exc
    if len(trees) != 1 or trees[0] is None:
        raise InvalidInputError(f"the filter {_short(where)} must be one expression")
    with ThreadPoolExecutor(1) as fresh:
        return fresh.submit(_Compiler(where, dict(extra), hidden).node, trees[0], 0).result()


def _nesting(where: str) -> float:
    """How deep a filter is nested: its parentheses, each `not` in a row for half of one."""
    deepest = here = row = 0.0
    opened: list[float] = []
    for token in _TOKEN.finditer(where):
        match token[0].lower():
            case "(" | "[":
                opened.append(1 + row)
                here, row = here + opened[-1], 0
            case ")" | "]":
                here -= opened.pop() if opened else 0
                row = 0
            case "not" | "-" | "~" | "+":
                row += 0.5
            case _:
                row = 0
        deepest = max(deepest, here + row)
    return deepest


class _Token(str):
    """The token of a set of items, which may be too large to be remembered with a filter."""

    __slots__ = ()


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
        if isinstance(tree, exp.EQ) and tree.this.sql().lower() == "selection":
            token = str(tree.expression.this) if isinstance(tree.expression, exp.Literal) else ""
            if is_token(token):
                return IN_SET, (_Token(token),)
        if isinstance(tree.expression, exp.Column) and not isinstance(tree.this, exp.Column):
            return self._compare(self._field(tree.expression), _FLIPPED[op], tree.this)
        return self._compare(self._field(tree.this), op, tree.expression)

    def _is(self, tree: exp.Expr) -> Condition:
        self._only(tree, "this", "expression")
        field = self._field(tree.this)
        if isinstance(tree.expression, exp.Null):
            empty = is_null(field)
            if field.column_too is None:
                return empty
            return joined("AND", [empty, is_null(field.column_too)])
        if isinstance(tree.expression, exp.Boolean):
            return self._compare(field, "=", tree.expression)
        raise self._refused(tree.expression)

    def _in(self, tree: exp.Expr) -> Condition:
        self._only(tree, "this", "expressions", "field")
        listed = tree.args.get("field")
        is_value = isinstance(tree.this, exp.Literal | exp.Neg | exp.Boolean)
        if listed is None and is_value and len(tree.expressions) == 1:  # 5 in (sizes)
            listed = tree.expressions[0]
        if listed is not None:
            return self._contains(listed, tree.this)
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
        condition = self._either(field, lambda one: self._like_one(one, pattern, escape))
        return (f"(NOT {condition[0]})", condition[1]) if tree.args.get("negate") else condition

    def _like_one(self, field: Field, pattern: Value, escape: str | None) -> Condition:
        if field.type not in ("text", "tag", "list", "any") or not isinstance(pattern, str):
            hint = (
                f"a date may be cut short instead: {field.name} = '2024-05'"
                if field.type == "date"
                else "like compares a text field with a pattern in single quotes, such as "
                "caption like '%beach%'"
            )
            raise InvalidInputError(f"{field.name} like {pattern!r}: {hint}")
        return like(field, pattern, escape)

    def _contains(self, listed: exp.Expr, value: exp.Expr) -> Condition:
        """`'all' in tags`: whether a list has an element."""
        name = listed.sql().lower() if isinstance(listed, exp.Column) else ""
        if name in ("tags", "albums") and name not in {one.lower() for one in self._extra}:
            return self._compare(Field(name[:-1], "tag"), "=", value)
        field = self._field(listed)
        field = field.column_too or field
        if field.type == "tag":
            return self._compare(field, "=", value)
        holds_paths = field.extra and self._extra[field.name] == "path"
        if field.type not in ("list", "any") and not holds_paths:
            raise InvalidInputError(
                f"{field.name} is no list; `in` takes a list column, such as 'all' in tags, or "
                f"values in parentheses: {field.name} in ('a', 'b')"
            )
        return contains(field, self._value(value))

    def _compare(self, field: Field, op: Operator, tree: exp.Expr) -> Condition:
        value = self._value(tree)
        return self._either(field, lambda one: self._compare_one(one, op, value))

    @staticmethod
    def _either(field: Field, condition: Callable[[Field], Condition]) -> Condition:
        """A condition on a field, or on the column of its name where the field is empty."""
        if field.column_too is None:
            return condition(field)
        try:
            full = condition(field)
        except InvalidInputError:
            return condition(field.column_too)  # a value that the field never has
        try:
            return where_empty(field, full, condition(field.column_too))
        except InvalidInputError:
            return full

    @staticmethod
    def _compare_one(field: Field, op: Operator, value: Value) -> Condition:
        number = isinstance(value, int | float | Decimal)
        if field.type == "decimal" and isinstance(value, str) and is_exact(value):
            return compare(field, op, value)
        if field.type in ("integer", "number", "decimal") and not number:
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
            if not field.extra and has_offset(str(value)):
                raise InvalidInputError(
                    f"{field.name} is local time; write the date without an offset"
                )
        if field.type in ("text", "tag", "time") and number:
            raise InvalidInputError(
                f"{field.name} is text; write the value in single quotes: "
                f"{field.name} {op} '{value}'"
            )
        if field.type == "tag" and op not in ("=", "!="):
            raise InvalidInputError(f"{field.name} knows =, !=, in, like and is null, not {op}")
        if field.type == "list":
            raise InvalidInputError(
                f"{field.name} is a list; ask whether {value!r} in {field.name}"
            )
        if field.type == "object":
            raise InvalidInputError(
                f"{field.name} is an object; name a part of it: {field.name}.PART {op} {value!r}"
            )
        return compare(field, op, time_of_day(str(value)) if field.type == "time" else value)

    def _value(self, tree: exp.Expr) -> Value:
        match tree:
            case exp.Paren():
                return self._value(self._only(tree, "this"))
            case exp.Neg():
                inner = self._value(self._only(tree, "this"))
                if isinstance(inner, int | float | Decimal) and not isinstance(inner, bool):
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
    def _number(text: str) -> int | float | Decimal:
        """A number as it is written, whose digits may be more than a float has."""
        try:
            if text.isdigit():
                return int(text) if int(text) in INTEGERS else Decimal(text)
            value, exact = float(text), Decimal(text)
        except (ValueError, ArithmeticError) as exc:
            raise InvalidInputError(f"{text!r} is not a number") from exc
        return value if Decimal(repr(value)) == exact else exact

    def _field(self, tree: exp.Expr) -> Field:
        names = self._names(tree)
        name = ".".join(names)
        if len(names) == 1 and name.lower() in FIELDS:
            self._check_open(name.lower())
            own = self._column(names)
            field = Field(name.lower(), FIELDS[name.lower()])
            if own is None or own.name in self._hidden or self._extra[own.name] == "path":
                return field
            return replace(field, column_too=own)
        found = self._column(names)
        if found is None and names[0].lower() == "extra":
            found = self._column(names[1:])
        if found is not None:
            self._check_open(found.name)
            return found
        there = [field for field in (*FIELDS, *self._extra) if field not in self._hidden]
        close = difflib.get_close_matches(name, there, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise InvalidInputError(
            f"there is no field {name!r}.{hint} The fields are: {', '.join(there)}"
        )

    def _names(self, tree: exp.Expr) -> list[str]:
        """The names that dots join."""
        if isinstance(tree, exp.Paren):
            return self._names(self._only(tree, "this"))
        if isinstance(tree, exp.Dot):
            self._only(tree, "this", "expression")
            if isinstance(tree.expression, exp.Identifier):
                return [*self._names(tree.this), tree.expression.name]
        if not isinstance(tree, exp.Column):
            raise self._refused(tree)
        self._only(tree, "this", "table", "db", "catalog")
        return [part.name for part in tree.parts]

    def _column(self, names: Sequence[str]) -> Field | None:
        """The extra column that names lead to, or a value inside of it."""
        for length in range(len(names), 0, -1):
            name = ".".join(names[:length])
            found = name if name in self._extra else None
            if found is None:
                found = next((e for e in self._extra if _plain(e) == _plain(name)), None)
            if found is None:
                continue
            kind = self._extra[found]
            if length < len(names):
                if kind in ("list", "object", "path"):
                    return Field(found, "any", extra=True, inside=tuple(names[length:]))
                continue
            return Field(found, "text" if kind == "path" else kind, extra=True)
        return None

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


_WORD = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|\[[^\]]*\]|[^\W\d]\w*|.", re.S)
_OPERATOR_WORDS = frozenset(
    ("and", "or", "not", "in", "between", "like", "is", "null", "escape", "true", "false", "ilike")
)


def _quoted(where: str, columns: Sequence[str]) -> str:
    """A filter with quotes around columns that are named like a word of SQL, such as `select`."""
    words = {name.lower() for name in columns if name.isidentifier()} - _OPERATOR_WORDS
    if not any(_is_keyword(word) for word in words):
        return where
    return "".join(
        f'"{word}"' if word.lower() in words and _is_keyword(word) else word
        for word in _WORD.findall(where)
    )


def _is_keyword(word: str) -> bool:
    return word.upper() in SQLite.Tokenizer.KEYWORDS


def _connective(tree: exp.And | exp.Or, negated: bool) -> Literal["AND", "OR"]:
    """What joins the parts of a tree once it is negated, by De Morgan, or as it is."""
    return "AND" if isinstance(tree, exp.And) is not negated else "OR"


def _plain(name: str) -> str:
    """A column's name without what may differ where it is typed."""
    return nfc(name).casefold()


def _too_deep(where: str) -> InvalidInputError:
    return InvalidInputError(
        f"the filter {_short(where)} is nested over {_MAX_NESTED} levels deep; write it with fewer "
        "parentheses"
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "...")
