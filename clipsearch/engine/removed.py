"""Items that were removed so that they can be put back as they were.

All that the catalog said of them is kept, and their vectors stay in the segments, until a day has
passed or the index is compacted.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from ..types import Modality
from ..vectors import Rows
from . import away, catalog, digests, marks

__all__ = ["Restored", "drop", "has_any", "held", "keep", "restore"]

_KEPT = timedelta(days=1)
_GIVEN = "row IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back: how many items, and how many vectors of each kind."""

    items: int
    images: int
    captions: int


def keep(conn: sqlite3.Connection, rows: Sequence[int]) -> None:
    """Keep what is known of items that are about to be removed, all of them committed."""
    given = json.dumps(list(rows))
    cursor = conn.execute(f"SELECT * FROM items WHERE {_GIVEN}", (given,))
    names = [column[0] for column in cursor.description]
    items = [dict(zip(names, fields, strict=True)) for fields in cursor]
    tags: dict[int, list[list[object]]] = {}
    for row, *tag in conn.execute(
        f"SELECT row, name, label, probability FROM tags WHERE {_GIVEN}", (given,)
    ):
        tags.setdefault(row, []).append(tag)
    albums, missing = marks.albums_of(conn, rows), away.marks(conn)
    now = _before(timedelta())
    conn.executemany(
        "INSERT OR REPLACE INTO removed_items VALUES (?, ?, ?, ?, ?)",
        (
            (
                row := item["row"],
                now,
                row if item["has_image"] else None,
                (item["caption_row"] or row) if item["has_caption"] else None,
                json.dumps([item, tags.get(row, []), albums.get(row, ()), missing.get(row)]),
            )
            for item in items
        ),
    )


def restore(conn: sqlite3.Connection, rows: Sequence[int]) -> Restored:
    """Put removed items back under their ids, with their tags and places in albums.

    Where another item has the key of one by now, because its file was indexed again, that one gets
    the albums and the tags that were given by hand. What is no longer kept is left out.
    """
    found = conn.execute(
        "SELECT row, removed_at, image_row, caption_row, known FROM removed_items "
        f"WHERE {_GIVEN} ORDER BY row",
        (json.dumps(list(rows)),),
    ).fetchall()
    there = {m: set(catalog.tombstones(conn, m).tolist()) for m in ("image", "caption")}
    known_albums = {album.name for album in marks.albums(conn)}
    back: list[int] = []
    vectors: dict[Modality, list[int]] = {"image": [], "caption": []}
    for row, _, image_row, caption_row, known in found:
        of_row: dict[Modality, int | None] = {"image": image_row, "caption": caption_row}
        if any(one is not None and one not in there[m] for m, one in of_row.items()):
            continue  # its vectors are gone
        item, tags, albums, missing = json.loads(known)
        albums = [name for name in albums if name in known_albums]
        other = conn.execute("SELECT row FROM items WHERE key = ?", (item["key"],)).fetchone()
        if other is not None:
            for name, label, _ in tags:
                if name == marks.BY_HAND:
                    marks.tag(conn, other, label)
            for name in albums:
                marks.add_to_album(conn, name, other)
            continue
        names = ", ".join(item)
        values = ", ".join("?" * len(item))
        conn.execute(f"INSERT INTO items ({names}) VALUES ({values})", tuple(item.values()))
        conn.executemany("INSERT INTO tags VALUES (?, ?, ?, ?)", ((row, *tag) for tag in tags))
        conn.executemany(
            "INSERT INTO album_items (row, name) VALUES (?, ?)", ((row, name) for name in albums)
        )
        if missing is not None:
            away.mark(conn, {row: missing})
        back.append(row)
        for modality, one in of_row.items():
            vectors[modality] += [] if one is None else [one]
    for table in ("items", "tags"):
        digests.include(conn, table, _GIVEN, (json.dumps(back),))
    for modality, some in vectors.items():
        catalog.delete_tombstones(conn, modality, some)
    if found:  # ANN files that were made meanwhile do not have them
        first = min(removed_at for _, removed_at, *_ in found)
        conn.execute("DELETE FROM ann WHERE built_at >= ?", (first,))
    conn.execute(f"DELETE FROM removed_items WHERE {_GIVEN}", (json.dumps(list(rows)),))
    return Restored(len(back), len(vectors["image"]), len(vectors["caption"]))


def held(conn: sqlite3.Connection, modality: Modality) -> Rows:
    """Rows of the vectors that stay in segments although they are removed, int64, ascending."""
    cursor = conn.execute(
        f"SELECT {modality}_row FROM removed_items WHERE {modality}_row IS NOT NULL"
    )
    return np.sort(np.fromiter((row for (row,) in cursor), np.int64))


def has_any(conn: sqlite3.Connection) -> bool:
    """Whether there are items that can be put back."""
    return conn.execute("SELECT 1 FROM removed_items LIMIT 1").fetchone() is not None


def drop(conn: sqlite3.Connection, *, every: bool = False) -> None:
    """Forget items that were removed more than a day ago, or all of them."""
    before = "~" if every else _before(_KEPT)
    conn.execute("DELETE FROM removed_items WHERE removed_at < ?", (before,))


def _before(age: timedelta) -> str:
    return (datetime.now(UTC) - age).isoformat(timespec="seconds")
