"""What people make of an index by hand: tags, albums, and saved searches.

Tags and places in albums stay with an item that is away, and go on to the item that replaces it
when its file changes.
"""

from __future__ import annotations

import json
import sqlite3
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..errors import InvalidInputError
from ..folding import nfc
from ..types import Album, SavedSearch
from . import digests

__all__ = [
    "BY_HAND",
    "add_to_album",
    "albums",
    "albums_of",
    "checked_name",
    "create_album",
    "delete_album",
    "delete_search",
    "inherit",
    "remove_from_album",
    "rename_album",
    "save_search",
    "saved_search",
    "saved_searches",
    "tag",
    "untag",
]

BY_HAND = "by hand"  # the set of tags that people give
_MOST_LETTERS = 200
_GIVEN = "row IN (SELECT value FROM json_each(?))"


def checked_name(name: str, what: str) -> str:
    """The name of an album, or a tag, as it is stored.

    Raises:
        InvalidInputError: It is blank, too long, or holds control characters.
    """
    told = nfc(name).strip() if isinstance(name, str) else ""
    if not told or len(told) > _MOST_LETTERS:
        raise InvalidInputError(
            f"the name of {what} has 1 to {_MOST_LETTERS} characters, got {name!r:.100}"
        )
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in told):
        raise InvalidInputError(f"the name of {what} holds control characters: {name!r}")
    return told


def tag(conn: sqlite3.Connection, rows: Sequence[int], label: str) -> int:
    """Tag rows by hand; returns how many of them there are."""
    label, given = checked_name(label, "a tag"), json.dumps(list(rows))
    key = (BY_HAND, label, given)
    conn.execute(f"DELETE FROM tags WHERE name = ? AND label = ? AND {_GIVEN}", key)
    added = conn.execute(
        f"INSERT INTO tags (name, label, row) SELECT ?, ?, row FROM items WHERE {_GIVEN}", key
    )
    digests.include(conn, "tags", f"name = ? AND label = ? AND {_GIVEN}", key)
    return added.rowcount


def untag(conn: sqlite3.Connection, rows: Sequence[int], label: str) -> int:
    """Take a tag away from rows, wherever it came from; returns how many of them had it."""
    key = (nfc(label).strip(), json.dumps(list(rows)))
    had = conn.execute(
        f"SELECT count(DISTINCT row) FROM tags WHERE label = ? AND {_GIVEN}", key
    ).fetchone()
    conn.execute(f"DELETE FROM tags WHERE label = ? AND {_GIVEN}", key)
    return int(had[0])


def albums(conn: sqlite3.Connection) -> list[Album]:
    """All albums by name."""
    cursor = conn.execute(
        "SELECT albums.name, created_at, count(album_items.row), count(away.row) FROM albums "
        "LEFT JOIN album_items ON album_items.name = albums.name LEFT JOIN away USING (row) "
        "GROUP BY albums.name ORDER BY albums.name"
    )
    return [
        Album(name=name, created_at=created_at, items=items, away=away)
        for name, created_at, items, away in cursor
    ]


def create_album(conn: sqlite3.Connection, name: str, created_at: str | None = None) -> None:
    """Make an album unless there is one of this name."""
    name = checked_name(name, "an album")
    conn.execute("INSERT OR IGNORE INTO albums VALUES (?, ?)", (name, created_at or _now()))


def add_to_album(conn: sqlite3.Connection, name: str, rows: Sequence[int]) -> int:
    """Put rows into an album, which is made if need be; returns how many were not in it before."""
    name = checked_name(name, "an album")
    create_album(conn, name)
    added = conn.execute(
        "INSERT INTO album_items (name, row) SELECT ?, row FROM items "
        f"WHERE {_GIVEN} AND row NOT IN (SELECT row FROM album_items WHERE name = ?)",
        (name, json.dumps(list(rows)), name),
    )
    return added.rowcount


def remove_from_album(conn: sqlite3.Connection, name: str, rows: Sequence[int]) -> int:
    """Take rows out of an album; returns how many of them were in it."""
    name = _there(conn, name)
    removed = conn.execute(
        f"DELETE FROM album_items WHERE name = ? AND {_GIVEN}", (name, json.dumps(list(rows)))
    )
    return removed.rowcount


def rename_album(conn: sqlite3.Connection, old: str, new: str) -> None:
    """Give an album another name, which no other one may have."""
    old, new = _there(conn, old), checked_name(new, "an album")
    if old != new and _known(conn, new):
        raise InvalidInputError(f"there is an album {new!r} already; choose another name")
    conn.execute("UPDATE albums SET name = ? WHERE name = ?", (new, old))
    conn.execute("UPDATE album_items SET name = ? WHERE name = ?", (new, old))


def delete_album(conn: sqlite3.Connection, name: str) -> None:
    """Delete an album; its items stay."""
    name = _there(conn, name)
    conn.execute("DELETE FROM album_items WHERE name = ?", (name,))
    conn.execute("DELETE FROM albums WHERE name = ?", (name,))


def albums_of(conn: sqlite3.Connection, rows: Iterable[int]) -> dict[int, tuple[str, ...]]:
    """The names of the albums of rows that are in any, in order."""
    found: dict[int, tuple[str, ...]] = {}
    query = f"SELECT row, name FROM album_items WHERE {_GIVEN} ORDER BY row, name"
    for row, name in conn.execute(query, (json.dumps(list(rows)),)):
        found[row] = (*found.get(row, ()), name)
    return found


def inherit(conn: sqlite3.Connection, heirs: Mapping[int, int]) -> None:
    """Give what rows have by hand to the rows that replace them, before the old ones are deleted.

    Args:
        conn: The writer's connection.
        heirs: New row by old row; nothing was given to a new row yet.
    """
    pairs = [(new, old) for old, new in heirs.items()]
    conn.executemany("UPDATE OR IGNORE album_items SET row = ? WHERE row = ?", pairs)
    conn.executemany(
        f"UPDATE OR IGNORE tags SET row = ? WHERE row = ? AND name = '{BY_HAND}'", pairs
    )


def saved_searches(conn: sqlite3.Connection) -> list[SavedSearch]:
    """All saved searches by name."""
    cursor = conn.execute("SELECT name, request, saved_at FROM saved_searches ORDER BY name")
    return [
        SavedSearch(name=name, request=json.loads(request), saved_at=saved_at)
        for name, request, saved_at in cursor
    ]


def saved_search(conn: sqlite3.Connection, name: str) -> SavedSearch:
    """The saved search of a name, however its accents are typed.

    Raises:
        InvalidInputError: There is none.
    """
    searches = {one.name: one for one in saved_searches(conn)}
    found = searches.get(nfc(name).strip())
    if found is None:
        names = ", ".join(list(searches)[:20]) or "none"
        raise InvalidInputError(f"there is no saved search {name!r}; they are: {names}")
    return found


def save_search(conn: sqlite3.Connection, name: str, request: Mapping[str, Any]) -> None:
    """Keep a search under a name, in place of another one of that name."""
    name = checked_name(name, "a search")
    row = (name, json.dumps(request), _now())
    conn.execute("INSERT OR REPLACE INTO saved_searches VALUES (?, ?, ?)", row)


def delete_search(conn: sqlite3.Connection, name: str) -> None:
    """Delete a saved search."""
    name = saved_search(conn, name).name
    conn.execute("DELETE FROM saved_searches WHERE name = ?", (name,))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _there(conn: sqlite3.Connection, name: str) -> str:
    if not _known(conn, nfc(name).strip()):
        names = ", ".join(album.name for album in albums(conn)[:20]) or "none"
        raise InvalidInputError(f"there is no album {name!r}; the albums are: {names}")
    return nfc(name).strip()


def _known(conn: sqlite3.Connection, name: str) -> bool:
    return conn.execute("SELECT 1 FROM albums WHERE name = ?", (name,)).fetchone() is not None
