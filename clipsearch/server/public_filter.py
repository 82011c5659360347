"""Filters and facets from outside: what they may ask about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..documents import FIELDS, HIDDEN_FIELDS
from ..engine.facets import FACETS
from ..engine.filters import compile_where
from ..errors import InvalidInputError
from ..types import FacetName

__all__ = ["checked_where", "visible_facets", "visible_fields"]

_HIDDEN_FACET: FacetName = "folder"  # which tells where files are


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


def visible_facets(by: Sequence[FacetName] | None) -> list[FacetName]:
    """The facets to count, all that may be seen by default.

    Raises:
        InvalidInputError: One of them would tell where files are.
    """
    if _HIDDEN_FACET in (by or ()):
        raise InvalidInputError("folders are not shown over HTTP; count by something else")
    return [name for name in by or FACETS if name != _HIDDEN_FACET]


def _hidden(fields: Mapping[str, str]) -> frozenset[str]:
    return HIDDEN_FIELDS | {name for name, kind in fields.items() if kind == "path"}
