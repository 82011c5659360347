"""Albums, saved searches and examples of an index, as the page shows and changes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from clipsearch import ClipSearchError, Index
from clipsearch.engine.writer import Writer
from clipsearch.request import SearchRequest
from clipsearch.types import SavedSearch

from .library import Library
from .meant import still_meant
from .problems import PageError
from .spec import MAX_CHIPS, SORTS, Chip, SearchSpec, from_link, pack_vector

__all__ = ["change", "examples", "listed"]

_WAIT_S = 5.0  # for another writer
_EXAMPLES = 6
_LONGEST = 60  # letters of an example
_LOOKED_AT = 200  # items


def listed(index: Index, name: str) -> dict[str, Any]:
    """The albums (`name`, `n`) and the saved searches (`name`, `link`) of an index.

    Args:
        index: The index.
        name: Its name on the page.
    """
    return {
        "albums": [{"name": album.name, "n": album.items} for album in index.albums()],
        "searches": [
            {"name": saved.name, "link": _link(saved, index, name)}
            for saved in index.saved_searches()
        ],
    }


def change(index: Index, what: str, sent: Mapping[str, Any]) -> None:
    """Make, rename or delete an album, or save or forget a search.

    Args:
        index: The index.
        what: "make", "rename", "delete", "save" or "forget".
        sent: `name`; the `new` name, or the `link` of the search.

    Raises:
        PageError: There is another album or search of that name.
    """
    name, new = (str(sent.get(field, ""))[:1000] for field in ("name", "new"))
    request = _request(index, str(sent.get("link", ""))) if what == "save" else None
    with index.writer(wait=_WAIT_S) as writer:
        if request is not None:
            writer.save_search(name, request)
        elif what == "make":
            _make(index, writer, name)
        elif what == "rename":
            writer.rename_album(name, new)
        elif what == "delete":
            writer.delete_album(name)
        else:
            writer.delete_search(name)


def _make(index: Index, writer: Writer, name: str) -> None:
    if any(album.name == name.strip() for album in index.albums()):
        raise PageError("album.there", name=name)
    writer.add_to_album(name, [])


def examples(library: Library, name: str) -> list[str]:
    """A few things to search for: frequent tags and some captions of an index itself."""
    index = library.index(name)
    tags = [tag for tag in library.facets(name).tags if len(tag) <= _LONGEST]
    said = (item.caption or "" for item in index.items("caption is not null", limit=_LOOKED_AT))
    captions = list(dict.fromkeys(text.strip() for text in said if 0 < len(text) <= _LONGEST))
    step = max(1, len(captions) // _EXAMPLES)
    found = [*tags[: _EXAMPLES // 2], *captions[::step][:_EXAMPLES], *tags[_EXAMPLES // 2 :]]
    return list(dict.fromkeys(found))[:_EXAMPLES]


def _request(index: Index, link: str) -> SearchRequest:
    """The search of a link, for any face to ask again."""
    spec, _ = still_meant(from_link(link[:20_000], []), index)
    if spec.is_empty:
        return spec.listing(10)
    return replace(spec.request(spec.query(index.fingerprint), 1), k=10)


def _link(saved: SavedSearch, index: Index, name: str) -> str:
    """The page's address of a saved search; empty where the page has no place for all of it."""
    try:
        request = SearchRequest.from_dict(saved.request)
        spec = _spec(request, name, index.fingerprint)
    except ClipSearchError:
        return ""
    if len(spec.chips) > MAX_CHIPS or request.exact:
        return ""
    if request.sort is not None or request.reverse:
        orders = {order: name for name, order in SORTS.items()}
        found = orders.get((request.order, request.reverse))
        if found is None:
            return ""
        spec = replace(spec, sort="" if request.query is None and found == "newest" else found)
    return spec.link()


def _spec(request: SearchRequest, name: str, fingerprint: str) -> SearchSpec:
    text = ""
    chips: list[Chip] = []
    for term in () if request.query is None else request.query.terms:
        if term.kind == "text" and term.weight == 1 and not text and not chips:
            text = term.value
        elif term.kind == "vector":
            packed = pack_vector(np.asarray(term.value, np.float32), fingerprint)
            chips.append(Chip("vector", packed, term.weight))
        else:
            kind = "item" if term.kind == "item" else "text"
            chips.append(Chip(kind, str(term.value), term.weight))  # type: ignore[arg-type]
    return SearchSpec(
        index=name,
        text=text,
        chips=tuple(chips),
        where_text=request.where or "",
        target=request.target,
        min_score=request.min_score,
        hybrid=request.hybrid,
    )
