"""What can be done with the images that a visitor has selected."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

from clipsearch import Index, Item
from clipsearch.documents import FIELDS, public_item
from clipsearch.engine.columns import as_text
from clipsearch.names import shown
from clipsearch.spreadsheet import write_csv

from .strings import Words

__all__ = ["add", "csv_parts", "marks", "paths", "remove", "restore", "selected", "take"]

_PAGE = 5000
_WAIT_S = 5.0  # for another writer
_MOST_NAMES = 60
_COLUMNS = (
    *("caption", "width", "height", "format", "size_bytes", "taken_at", "camera"),
    *("latitude", "longitude"),
)


def selected(index: Index, token: str) -> Iterator[Item]:
    """The items that a token stands for, without those that are away, by id."""
    where, after = f"selection = '{token}'", 0
    while page := index.items(where, after, _PAGE):
        yield from page
        after = page[-1].id


def marks(index: Index, ids: Sequence[int]) -> dict[str, Any]:
    """The tags and albums of some items and of all, the most frequent ones, each as its `name`."""
    token = index.keep_selection(ids)
    own = index.facets(f"selection = '{token}'", by=["tag", "album"], limit=_MOST_NAMES)
    every = index.facets(by=["tag"], limit=_MOST_NAMES)

    def values(facets: Any, name: str) -> list[dict[str, Any]]:
        return [{"name": one.value, "n": one.count} for one in facets.by[name].values if one.value]

    albums = [{"name": album.name, "n": album.items} for album in index.albums()]
    return {
        "tag": values(every, "tag"),
        "untag": values(own, "tag"),
        "album": albums,
        "unalbum": values(own, "album"),
    }


def add(index: Index, ids: Sequence[int], what: str, name: str, words: Words) -> str:
    """Tag items ("tag") or put them into an album ("album"), and say so."""
    with index.writer(wait=_WAIT_S) as writer:
        count = writer.tag(ids, name) if what == "tag" else writer.add_to_album(name, ids)
    return words.count(f"picked.{what}", count, name=name.strip())


def take(index: Index, ids: Sequence[int], what: str, name: str, words: Words) -> str:
    """Take a tag from items ("untag"), or them out of an album ("unalbum"), and say so."""
    with index.writer(wait=_WAIT_S) as writer:
        count = writer.untag(ids, name) if what == "untag" else writer.remove_from_album(name, ids)
    return words.count(f"picked.{what}", count, name=name.strip())


def remove(index: Index, ids: Sequence[int], words: Words) -> str:
    """Remove items so that `restore` can put them back, and say so."""
    return words.count("picked.removed", index.remove(ids, keep=True, wait=_WAIT_S))


def restore(index: Index, ids: Sequence[int], words: Words) -> str:
    """Put removed items back, and say how many could be."""
    back = index.restore(ids, wait=_WAIT_S)
    if back < len(ids):
        total = words.number(len(ids))
        return words("picked.restored_some", n=words.number(back), total=total)
    return words.count("picked.restored", back)


def paths(index: Index, ids: Sequence[int]) -> str:
    """Where the files of items are, one a line, in the order of the ids."""
    token = index.keep_selection(ids)
    found = {item.id: shown(item.path or item.key) for item in selected(index, token)}
    return "\n".join(found[row] for row in ids if row in found)


def csv_parts(index: Index, token: str, *, with_paths: bool) -> Iterator[bytes]:
    """A table of the items of a token as the parts of a CSV file that spreadsheets open safely.

    Args:
        index: The index.
        token: Of the selection.
        with_paths: Whether the visitor may see where files are.
    """
    extra = [name.removeprefix("extra.") for name in index.fields() if name not in FIELDS]
    head = ["id", "name", *(["path"] if with_paths else []), *_COLUMNS, "tags", "albums", *extra]
    rows: list[list[object]] = [list(head)]
    mark = "\ufeff"
    for item in selected(index, token):
        public = public_item(item)["extra"]
        where = item.path or item.key
        rows.append(
            [
                item.id,
                shown(where.replace("\\", "/").rsplit("/", 1)[-1]),
                *([shown(where)] if with_paths else []),
                *(getattr(item, name) for name in _COLUMNS),
                ", ".join(item.tags),
                ", ".join(item.albums),
                *(as_text(public.get(name)) for name in extra),
            ]
        )
        if len(rows) >= _PAGE:
            yield (mark + _written(rows)).encode()
            rows, mark = [], ""
    yield (mark + _written(rows)).encode()


def _written(rows: list[list[object]]) -> str:
    text = io.StringIO()
    write_csv(text, rows)
    return text.getvalue()
