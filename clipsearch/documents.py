"""An item's columns as `types.Item` lists them, and the JSON documents made of items and hits."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any, get_origin, get_type_hints

from .names import stored
from .types import (
    Duplicate,
    Facet,
    Facets,
    FacetValue,
    FieldType,
    Hit,
    Hits,
    Item,
    columns_of_items,
)

__all__ = [
    "COLUMNS",
    "DEFAULTS",
    "FIELDS",
    "FIELD_COLUMNS",
    "HIDDEN_FIELDS",
    "PUBLIC",
    "STORED",
    "TYPES",
    "duplicate_document",
    "duplicate_of_public",
    "facets_document",
    "facets_of_public",
    "field_name",
    "finite",
    "hit_document",
    "hits_document",
    "hits_of_public",
    "holds_path",
    "item_of_public",
    "public_duplicate",
    "public_hit",
    "public_item",
]

# An absolute path, a home folder, a drive or share, or a URL of a file, also within a list.
_PATH = re.compile(
    r"(?:^|[\s\"'\[({,=:;|])(?:/[^/\s]|~[\w.-]*[/\\]|[A-Za-z]:[/\\](?!/)|\\\\|file:)", re.I
)

COLUMNS = columns_of_items()  # every field of an item, with what is said of it
TYPES: dict[str, Any] = get_type_hints(Item)  # of every column, as Python has it
DEFAULTS: dict[str, Any] = {
    field.name: field.default if field.default_factory is MISSING else field.default_factory()
    for field in fields(Item)
    if field.default is not MISSING or field.default_factory is not MISSING
}

# The columns of the catalog's table of items, besides `row`, which is the id.
STORED = tuple(name for name, column in COLUMNS.items() if column.stored)

_FILTERED = [
    (column.field_name or name, name, column.field)
    for name, column in COLUMNS.items()
    if column.field is not None
]
# The columns that stand behind the fields of filters.
FIELD_COLUMNS = {field: name for field, name, _ in _FILTERED}
# The fields that filters know in every index, with their types.
FIELDS: dict[str, FieldType] = {
    **{field: kind for field, _, kind in _FILTERED},
    "name": "text",  # the last part of the path or key
    "orientation": "text",  # landscape, portrait or square
}
# Filters from outside must not use these: `path like '/home/a%'` would spell out the server's
# folders letter by letter.
HIDDEN_FIELDS = frozenset(
    {"name", *(name for name, of in FIELD_COLUMNS.items() if COLUMNS[of].tells_place)}
)

# What HTTP shows of an item, in order; never where its file is.
PUBLIC = tuple(
    name
    for _, name in sorted(
        (column.public, name) for name, column in COLUMNS.items() if column.public is not None
    )
)


def field_name(column: str) -> str:
    """The name of an extra column in filters: with `extra.` where a field is named like it."""
    return f"extra.{column}" if column.lower() in FIELDS else column


def holds_path(value: Any) -> bool:
    """Whether a value of an extra column holds the place of a file on this machine."""
    if isinstance(value, str):
        return _PATH.search(value) is not None
    if isinstance(value, Mapping):
        return any(holds_path(one) for pair in value.items() for one in pair)
    return isinstance(value, list) and any(map(holds_path, value))


def finite(value: Any) -> Any:
    """A value as every reader of JSON takes it, which has no word for infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(one) for name, one in value.items()}
    return [finite(one) for one in value] if isinstance(value, list) else value


def hit_document(hit: Hit) -> dict[str, Any]:
    """A hit for the person whose index it is: its score, then all that is known of its item."""
    head: dict[str, Any] = {
        "id": hit.item.id,
        "path": hit.item.path and stored(hit.item.path),
        "score": _number(hit.score, 6),
    }
    if hit.percentile is not None:
        head["percentile"] = round(hit.percentile, 3)
    known = {
        name: getattr(hit.item, name)
        for name, column in COLUMNS.items()
        if not (column.internal or name in head)
    }
    known["extra"] = finite(known["extra"])
    known["key"] = stored(hit.item.key)
    return {**head, **{name: value for name, value in known.items() if value not in (None, (), {})}}


def duplicate_document(member: Duplicate) -> dict[str, Any]:
    """A member of a group of duplicates for the person whose index it is."""
    item = member.item
    return {
        "id": item.id,
        "path": item.path and stored(item.path),
        "key": stored(item.key),
        "score": member.score,
        "kind": member.kind,
        "checked": member.checked,
        "keep": member.keep,
        "sha256": item.sha256,
        "size_bytes": item.size_bytes,
        "width": item.width,
        "height": item.height,
    }


def public_duplicate(member: Duplicate) -> dict[str, Any]:
    """A member of a group of duplicates for anybody who may ask over HTTP."""
    known = duplicate_document(member)
    return {name: value for name, value in known.items() if name not in ("path", "key")}


def facets_document(facets: Facets) -> dict[str, Any]:
    """Facets as JSON; only those of folders tell where files are."""
    return asdict(facets)


def facets_of_public(document: Mapping[str, Any]) -> Facets:
    """The facets of a document that `facets_document` made."""
    by = {
        name: Facet(
            values=tuple(FacetValue(**value) for value in facet["values"]),
            distinct=facet["distinct"],
        )
        for name, facet in document["by"].items()
    }
    menus = {name: tuple(document[name]) for name in ("cameras", "tags")}
    return Facets(**{**document, **menus, "by": by})


def public_item(item: Item) -> dict[str, Any]:
    """An item for anybody who may ask over HTTP: without its key, path and hashes."""
    document = {name: getattr(item, name) for name in PUBLIC}
    document["extra"] = {k: finite(v) for k, v in item.extra.items() if not holds_path(v)}
    return document


def public_hit(hit: Hit) -> dict[str, Any]:
    """A hit for anybody who may ask over HTTP."""
    return {**public_item(hit.item), "score": _number(hit.score), "percentile": hit.percentile}


def _number(score: float, digits: int | None = None) -> float | None:
    """A score as JSON, which has no NaN."""
    if math.isnan(score):
        return None
    return score if digits is None else round(score, digits)


def hits_document(hits: Hits, hit: Callable[[Hit], dict[str, Any]]) -> dict[str, Any]:
    """Hits with the state that they are of, and where there are shards, which are missing.

    Args:
        hits: What a search found.
        hit: How one hit is shown.
    """
    document: dict[str, Any] = {
        "hits": [hit(one) for one in hits],
        "generation": hits.generation,
        "approximate": hits.approximate,
        "weak": hits.weak,
        "took_ms": round(hits.took_ms, 3),
    }
    if hits.shards is not None:
        document |= {"partial": hits.partial, "missing_shards": list(hits.missing)}
    return document


def item_of_public(document: Mapping[str, Any]) -> Item:
    """The item of a document that `public_item` made; its key says only its id."""
    known = {name: document[name] for name in PUBLIC if name in document}
    known |= {name: tuple(known[name]) for name in known if get_origin(TYPES[name]) is tuple}
    return Item(key=f"#{document['id']}", **known)


def duplicate_of_public(document: Mapping[str, Any]) -> Duplicate:
    """The member of a document that `public_duplicate` made."""
    known = {name: document[name] for name in ("id", "sha256", "size_bytes", "width", "height")}
    item = Item(key=f"#{document['id']}", **known)
    return Duplicate(
        item,
        document["score"],
        document["kind"],
        checked=document["checked"],
        keep=document.get("keep"),
    )


def hits_of_public(document: Mapping[str, Any]) -> Hits:
    """The hits of a document that `hits_document` made with `public_hit`."""
    missing = document.get("missing_shards")
    return Hits(
        hits=tuple(
            Hit(
                item=item_of_public(hit),
                score=math.nan if hit["score"] is None else hit["score"],
                percentile=hit["percentile"],
            )
            for hit in document["hits"]
        ),
        generation=document["generation"],
        took_ms=document["took_ms"],
        approximate=document["approximate"],
        weak=bool(document.get("weak")),
        missing=tuple(missing or ()),
    )
