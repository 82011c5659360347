"""Filters from outside: what they may ask about."""

from __future__ import annotations

from collections.abc import Mapping

from ..documents import FIELDS, HIDDEN_FIELDS
from ..engine.filters import compile_where

__all__ = ["checked_where", "visible_fields"]


def visible_fields(fields: Mapping[str, str]) -> dict[str, str]:
    """Of the fields of an index with their types, those that a filter from outside may use."""
    hidden = _hidden(fields)
    return {name: kind for name, kind in fields.items() if name not in hidden}


def checked_where(fields: Mapping[str, str], where: str | None) -> str | None:
    """The filter, if it asks about nothing hidden.

    Raises:
        InvalidInputError: It cannot be read, or names a hidden field.
    """
    if where is None or not where.strip():
        return None
    extra = {name: kind for name, kind in fields.items() if name not in FIELDS}
    compile_where(where, extra, hidden=_hidden(fields))
    return where


def _hidden(fields: Mapping[str, str]) -> frozenset[str]:
    return HIDDEN_FIELDS | {name for name, kind in fields.items() if kind == "path"}
