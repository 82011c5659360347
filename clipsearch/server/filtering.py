"""Filters from outside: what they may ask about."""

from __future__ import annotations

from ..engine.expression import FIELDS, Compare, IsNull, Joined, Like, Node, Not, parse
from ..errors import InvalidInputError
from ..index import Index

__all__ = ["HIDDEN_FIELDS", "checked_where", "visible_fields"]

# `path like '/home/a%'` would spell out the server's folders letter by letter.
HIDDEN_FIELDS = frozenset({"key", "path", "name"})


def visible_fields(index: Index) -> dict[str, str]:
    """Names and types of the fields that a filter from outside may use."""
    return {name: kind for name, kind in index.fields().items() if name not in HIDDEN_FIELDS}


def checked_where(index: Index, where: str | None) -> str | None:
    """The filter, if it asks about nothing hidden.

    Raises:
        InvalidInputError: It cannot be read, or names a hidden field.
    """
    if where is None or not where.strip():
        return None
    extra = {name: kind for name, kind in index.fields().items() if name not in FIELDS}
    hidden = sorted(_names(parse(where, extra)) & HIDDEN_FIELDS)
    if hidden:
        raise InvalidInputError(f"{hidden[0]} cannot be filtered by over HTTP")
    return where


def _names(node: Node) -> set[str]:
    """Names of the built-in fields in a filter."""
    match node:
        case Joined(_, parts):
            return set().union(*(_names(part) for part in parts))
        case Not(part):
            return _names(part)
        case Compare(field) | Like(field) | IsNull(field):
            return set() if field.extra else {field.name}
