"""The catalog: every statement that reads or changes the SQLite database of an index.

Functions take an open connection and leave transactions to their caller, because a transaction is
what makes an answer belong to one committed state.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import operator
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from ..documents import STORED, holds_path
from ..errors import InvalidInputError
from ..names import actual, stored
from ..types import Item, Modality, Record
from ..vectors import Rows
from . import digests
from .baseline import ScoreBaseline
from .columns import INTEGERS, as_json, json_text
from .conditions import NAMED
from .file_facts import AnnEntry, FileFacts, FileHead, SegmentEntry
from .file_state import STATE_COLUMNS, FileState
from .keywords import indexed
from .marks import albums_of
from .parts import OWN_FILES

__all__ = ["CURRENT", "KEYWORDS", "Known", "extra_json"]

_CHUNK = 900  # bound values a statement, below SQLite's oldest limit of 999

_COLUMNS = ", ".join(STORED)
_NAMES = ("key", "path")  # stored as `names.stored` writes them
# The others are a record's as they are.
_OF_INDEX = (*_NAMES, "extra", "has_image", "has_caption", "caption_row")
_OF_RECORD = tuple(name for name in STORED if name not in _OF_INDEX)
_INSERT = (
    f"INSERT INTO items (row, {', '.join((*_OF_RECORD, *_OF_INDEX))}, caption_words) "
    f"VALUES ({', '.join('?' * (2 + len(STORED)))})"
)
_values_of = operator.attrgetter(*_OF_RECORD)
# What both SQLite and Python read as a day, or a moment of it.
_DATE = re.compile(
    r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?", re.ASCII
)
KEYWORDS = "keywords"  # the set of tags that come with the images themselves
_MOST_ROWS = 2**63 - 1
_MOST_DIMENSIONS = 2**16
_ANN_NUMBERS = frozenset({"nprobe", "refine", "nlist", "trained_on"})
CURRENT = "(SELECT value FROM meta WHERE key = 'fingerprint')"  # the index's model
_KNOWN = (
    "row, key, path, sha256, caption, caption_from, beside, extra, has_image, has_caption, "
    "coalesce(caption_row, row), place, size_bytes, mtime_ns, ctime_ns, inode, device"
)


@dataclass(frozen=True, slots=True)
class Known:
    """What ingestion must know of an item that is already stored."""

    row: int
    key: str
    path: str | None
    sha256: str | None
    caption: str | None
    caption_from: str | None
    beside: str | None
    extra: str | None  # as `extra_json` writes it
    has_image: bool
    has_caption: bool
    caption_row: int  # the row of its caption vector, if it has one
    place: str | None  # where its image lies inside another file, as `intake.inside` writes it
    state: FileState  # of its file


def meta(conn: sqlite3.Connection) -> dict[str, Any]:
    """Everything that the catalog says of the index as a whole, and of its model."""
    model = conn.execute(
        f"SELECT name, dim, details FROM models WHERE fingerprint = {CURRENT}"
    ).fetchone()
    if model is None:
        raise sqlite3.DatabaseError("the model is missing")
    of_model = zip(("model_name", "dim", "model_details"), model, strict=True)
    found = {**dict(conn.execute("SELECT key, value FROM meta")), **dict(of_model)}
    _check_number("dim", found["dim"], 1, _MOST_DIMENSIONS)
    for name in ("generation", "next_row", "items", "images", "captions"):
        _check_number(name, found.get(name), 0, _MOST_ROWS)
    return found


def _check_number(name: str, value: Any, least: int, most: int) -> None:
    """Refuse a number that no writer has stored, before anything is allocated for it."""
    if not isinstance(value, int) or not least <= value <= most:
        raise sqlite3.DatabaseError(f"{name} is {value!r:.50}")


def set_meta(conn: sqlite3.Connection, values: dict[str, str | int]) -> None:
    """Change what the catalog says of the index as a whole."""
    conn.executemany("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", values.items())


def document(conn: sqlite3.Connection, key: str) -> Any:
    """A small JSON document, or None."""
    found = conn.execute("SELECT json FROM documents WHERE key = ?", (key,)).fetchone()
    return None if found is None else json.loads(found[0])


def set_document(conn: sqlite3.Connection, key: str, value: Any) -> None:
    """Keep a small JSON document."""
    conn.execute("INSERT OR REPLACE INTO documents VALUES (?, ?)", (key, json.dumps(value)))


# --- items --------------------------------------------------------------------------------------


def insert_items(
    conn: sqlite3.Connection,
    first: int,
    records: Sequence[Record],
    *,
    has_image: Iterable[bool],
    has_caption: Iterable[bool],
) -> None:
    """Store items under new rows, which are numbered on from `first`."""
    extras = [_plain_columns(record.extra) if record.extra else {} for record in records]
    _note_fields(conn, extras)
    conn.executemany(
        _INSERT,
        (
            (
                row,
                *_values_of(record),
                stored(record.key),
                None if record.path is None else stored(record.path),
                _as_json(extra),
                image,
                caption,
                None,
                _words(record.caption),
            )
            for row, (record, extra, image, caption) in enumerate(
                zip(records, extras, has_image, has_caption, strict=True), first
            )
        ),
    )
    digests.include(conn, "items", "row BETWEEN ? AND ?", (first, first + len(records) - 1))
    tagged = {row: record.tags for row, record in enumerate(records, first) if record.tags}
    if tagged:
        set_keywords(conn, tagged)


def _words(caption: str | None) -> str | None:
    return None if caption is None else indexed(caption)


def extra_json(extra: Mapping[str, Any]) -> str | None:
    """The extra columns of an item as they are stored; None without any."""
    return _as_json(_plain_columns(extra))


def _plain_columns(extra: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): as_json(value) for name, value in extra.items()}


def _as_json(plain: Mapping[str, Any]) -> str | None:
    return json_text(plain) if plain else None


def _note_fields(conn: sqlite3.Connection, extras: Sequence[Mapping[str, Any]]) -> None:
    """Remember names and types of extra columns; a column of mixed types is text."""
    if not any(extras):
        return
    fetched = conn.execute("SELECT name, type, arrow IS NOT NULL FROM extra_fields").fetchall()
    known = {name: kind for name, kind, _ in fetched}
    typed = {name for name, _, is_typed in fetched if is_typed}
    before = dict(known)
    for name, value in (pair for extra in extras for pair in extra.items()):
        if value is not None:
            known[name] = _both_kinds(known.get(name), _kind(value), typed=name in typed)
    (last,) = conn.execute("SELECT coalesce(max(position), 0) FROM extra_fields").fetchone()
    new = [(name, kind) for name, kind in known.items() if before.get(name) != kind]
    conn.executemany(
        "INSERT INTO extra_fields (name, type, position) VALUES (?, ?, ?) "
        "ON CONFLICT (name) DO UPDATE SET type = excluded.type",
        ((name, kind, position) for position, (name, kind) in enumerate(new, last + 1)),
    )


_WRITTEN_AS_TEXT = ("decimal", "date", "time")
_NUMBERS = {"integer", "number", "decimal"}


def _both_kinds(old: str | None, new: str, *, typed: bool) -> str:
    """The type of a column of one type that has a value of another, or the same one.

    Args:
        old: Its type up to here; None or empty where no value was.
        new: That of the value.
        typed: Whether a table has declared it, so that it need not be told by its values.
    """
    if not old or old == new:
        return new
    if "path" in (old, new):
        return "path"
    if {old, new} <= _NUMBERS:
        return "decimal" if "decimal" in (old, new) else "number"
    if typed and old in _WRITTEN_AS_TEXT and new in ("text", *_WRITTEN_AS_TEXT):
        return old
    return "text"


def _kind(value: Any) -> str:
    if isinstance(value, int):
        return "integer" if value in INTEGERS else "decimal"
    if isinstance(value, float):
        return "number"
    if holds_path(value):
        return "path"
    if isinstance(value, list | dict):
        return "list" if isinstance(value, list) else "object"
    if _DATE.fullmatch(value):
        with contextlib.suppress(ValueError):
            dt.datetime.fromisoformat(value)
            return "date"
    return "text"


def extra_fields(conn: sqlite3.Connection) -> dict[str, str]:
    """Names and types of the extra columns, in the order in which they came.

    The types are `integer`, `number`, `decimal` (compared digit by digit), `text`, `date`, `time`,
    `list`, `object` and `path`: a text that holds the place of a file in one item at least.
    """
    cursor = conn.execute("SELECT name, type FROM extra_fields ORDER BY position, name")
    return {name: kind or "text" for name, kind in cursor}


def items(conn: sqlite3.Connection, rows: Sequence[int]) -> dict[int, Item]:
    """Items by row; rows that do not exist are left out."""
    fetched: list[tuple[Any, ...]] = []
    for chunk in _chunks(rows):
        marks = ", ".join("?" * len(chunk))
        fetched += conn.execute(f"SELECT row, {_COLUMNS} FROM items WHERE row IN ({marks})", chunk)
    return {item.id: item for item in _items(conn, fetched)}


def page(
    conn: sqlite3.Connection, condition: str, values: Sequence[Any], after: int, limit: int
) -> list[Item]:
    """Items with rows greater than `after` that satisfy a condition, by ascending row."""
    fetched = conn.execute(
        f"SELECT row, {_COLUMNS} FROM items WHERE row > ? AND ({condition}) ORDER BY row LIMIT ?",
        (after, *values, limit),
    ).fetchall()
    return _items(conn, fetched)


def listed(
    conn: sqlite3.Connection,
    condition: str,
    values: Sequence[Any],
    order: str,
    limit: int,
    offset: int,
) -> list[Item]:
    """Items that satisfy a condition, in an order that `ordering.order_by` wrote."""
    fetched = conn.execute(
        f"SELECT row, {_COLUMNS} FROM items WHERE {condition} ORDER BY {order} LIMIT ? OFFSET ?",
        (*values, limit, offset),
    ).fetchall()
    return _items(conn, fetched)


def _items(conn: sqlite3.Connection, fetched: Sequence[tuple[Any, ...]]) -> list[Item]:
    rows = [fields[0] for fields in fetched]
    tags, albums = tags_of(conn, rows), albums_of(conn, rows)
    return [
        _item(fields, tags.get(row, ()), albums.get(row, ()))
        for row, fields in zip(rows, fetched, strict=True)
    ]


def _item(fields: tuple[Any, ...], tags: tuple[str, ...], albums: tuple[str, ...]) -> Item:
    known = dict(zip(STORED, fields[1:], strict=True))
    known["key"], known["path"] = actual(known["key"]), _actual(known["path"])
    known["extra"] = json.loads(known["extra"]) if known["extra"] else {}
    known["has_image"], known["has_caption"] = bool(known["has_image"]), bool(known["has_caption"])
    return Item(id=fields[0], tags=tags, albums=albums, **known)


def tags_of(conn: sqlite3.Connection, rows: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """Distinct labels of rows, most probable first."""
    found: dict[int, dict[str, None]] = {}
    for chunk in _chunks(rows):
        marks = ", ".join("?" * len(chunk))
        for row, label in conn.execute(
            f"SELECT row, label FROM tags WHERE row IN ({marks}) "
            "ORDER BY row, probability DESC, label",
            chunk,
        ):
            found.setdefault(row, {})[label] = None
    return {row: tuple(labels) for row, labels in found.items()}


def vector_rows(conn: sqlite3.Connection, modality: Modality) -> Rows:
    """Rows under which the vectors of all items are stored, int64, ascending."""
    if modality == "image":
        return select_rows(conn, "has_image", ())
    cursor = conn.execute("SELECT coalesce(caption_row, row) FROM items WHERE has_caption")
    return np.sort(np.fromiter((row for (row,) in cursor), np.int64))


def renamed_rows(conn: sqlite3.Connection, modality: Modality) -> tuple[Rows, Rows]:
    """Rows of vectors that are not those of their items, ascending, and of these items."""
    found: list[tuple[int, int]] = []
    if modality == "caption":
        query = (
            "SELECT caption_row, row FROM items WHERE caption_row IS NOT NULL ORDER BY caption_row"
        )
        found = conn.execute(query).fetchall()
    pairs = np.array(found, np.int64).reshape(-1, 2)
    return pairs[:, 0].copy(), pairs[:, 1].copy()


def captions(conn: sqlite3.Connection, rows: Sequence[int]) -> list[tuple[int, int, str | None]]:
    """Row of the vector, row of the item and text of the captions of items that have a vector."""
    found: list[tuple[int, int, str | None]] = []
    for chunk in _chunks(rows):
        marks = ", ".join("?" * len(chunk))
        found += conn.execute(
            "SELECT coalesce(caption_row, row), row, caption FROM items "
            f"WHERE has_caption AND row IN ({marks}) ORDER BY row",
            chunk,
        )
    return found


def named(conn: sqlite3.Connection, rows: Sequence[int]) -> list[str]:
    """Texts that name items by their row and their content, in the form of `NAMED`."""
    condition = "row IN (SELECT value FROM json_each(?))"
    found = conn.execute(f"SELECT {NAMED} FROM items WHERE {condition}", (json.dumps(rows),))
    return [text for (text,) in found]


def select_rows(conn: sqlite3.Connection, condition: str, values: Sequence[Any]) -> Rows:
    """Rows of the items that satisfy a condition, int64, ascending."""
    cursor = conn.execute(f"SELECT row FROM items WHERE {condition} ORDER BY row", tuple(values))
    return np.fromiter((row for (row,) in cursor), np.int64)


def values_of(conn: sqlite3.Connection, rows: Rows, column: str) -> list[Any]:
    """The value of a column, or of another expression, of some items, in the order of `rows`."""
    found = dict(
        conn.execute(
            f"SELECT row, {column} FROM items WHERE row IN (SELECT value FROM json_each(?))",
            (json.dumps(rows.tolist()),),
        )
    )
    return [found.get(row) for row in rows.tolist()]


def known_by(conn: sqlite3.Connection, column: str, values: Iterable[Any]) -> Iterator[Known]:
    """Items whose `key`, `sha256` or `row` is one of the values, by ascending row a chunk."""
    wanted = [stored(value) for value in values] if column == "key" else list(values)
    for chunk in _chunks(wanted):
        marks = ", ".join("?" * len(chunk))
        for fields in conn.execute(
            f"SELECT {_KNOWN} FROM items WHERE {column} IN ({marks}) ORDER BY row", chunk
        ):
            yield _known(fields)


def known_with_bytes(conn: sqlite3.Connection, sha256: str, name: str, most: int) -> list[Known]:
    """At most so many items with an image vector that have a content hash.

    Those whose key ends with a name come first, then all by ascending row.
    """
    name = stored(name)
    cursor = conn.execute(
        f"SELECT {_KNOWN} FROM items WHERE sha256 = ? AND has_image "
        "ORDER BY substr(key, -length(?)) = ? DESC, row LIMIT ?",
        (sha256, name, name, most),
    )
    return [_known(fields) for fields in cursor]


def _known(fields: tuple[Any, ...]) -> Known:
    row, key, path, sha256, caption, caption_from, beside, extra, *flags, caption_row, place = (
        fields[:12]
    )
    has_image, has_caption = map(bool, flags)
    return Known(
        row,
        actual(key),
        _actual(path),
        sha256,
        caption,
        caption_from,
        beside,
        extra,
        has_image,
        has_caption,
        caption_row,
        place,
        FileState(*fields[12:]),
    )


def _actual(path: str | None) -> str | None:
    return None if path is None else actual(path)


def counts(conn: sqlite3.Connection) -> dict[str, int]:
    """What there really is, counted."""
    names = {
        "items": "SELECT count(*) FROM items",
        "images": "SELECT count(*) FROM items WHERE has_image",
        "captions": "SELECT count(*) FROM items WHERE has_caption",
        "with_caption_text": "SELECT count(*) FROM items WHERE caption IS NOT NULL",
        "words": "SELECT count(*) FROM words_docsize",
        "stray_tags": "SELECT count(*) FROM tags WHERE row NOT IN (SELECT row FROM items)",
        "stray_albums": "SELECT count(*) FROM album_items WHERE row NOT IN "
        "(SELECT row FROM items) OR name NOT IN (SELECT name FROM albums)",
        "stray_away": "SELECT count(*) FROM away WHERE row NOT IN (SELECT row FROM items)",
    }
    return {name: int(conn.execute(sql).fetchone()[0]) for name, sql in names.items()}


def delete_items(conn: sqlite3.Connection, rows: Sequence[int]) -> None:
    """Delete items with their tags and places in albums."""
    for chunk in _chunks(rows):
        marks = ", ".join("?" * len(chunk))
        for table in ("items", "tags", "album_items", "away"):
            conn.execute(f"DELETE FROM {table} WHERE row IN ({marks})", chunk)


def update_item(conn: sqlite3.Connection, row: int, values: Mapping[str, Any]) -> None:
    """Change some columns of an item; a new caption with its words."""
    if "caption" in values:
        values = {**values, "caption_words": _words(values["caption"])}
    if isinstance(extra := values.get("extra"), str):
        _note_fields(conn, [json.loads(extra)])
    if values:
        values = {
            name: stored(str(value)) if name in _NAMES else value for name, value in values.items()
        }
        changes = ", ".join(f"{name} = ?" for name in values)
        conn.execute(f"UPDATE items SET {changes} WHERE row = ?", (*values.values(), row))
    if "path" in values or "place" in values:  # its file was found somewhere else
        conn.execute("DELETE FROM away WHERE row = ?", (row,))


def update_states(conn: sqlite3.Connection, states: Mapping[int, FileState]) -> None:
    """Change what is known of the files of items, by row."""
    conn.executemany(
        f"UPDATE items SET {', '.join(f'{name} = ?' for name in STATE_COLUMNS)} WHERE row = ?",
        ((*astuple(state), row) for row, state in states.items()),
    )


def displaced_key(row: int, key: str) -> str:
    """Key of an item while another one has taken its own: no source can give one like it."""
    return f"\0{row} {key}"


def displaced(conn: sqlite3.Connection) -> dict[int, str]:
    """Row and former key of the items whose key another one has taken."""
    found = conn.execute("SELECT row, key FROM items WHERE key >= char(0) AND key < char(1)")
    return {row: actual(key.partition(" ")[2]) for row, key in found}


def captions_with(conn: sqlite3.Connection, expression: str, most: int) -> Rows:
    """Rows whose caption matches an FTS5 expression, at most so many."""
    cursor = conn.execute("SELECT rowid FROM words WHERE words MATCH ? LIMIT ?", (expression, most))
    return np.fromiter((row for (row,) in cursor), np.int64)


def matching_words(
    conn: sqlite3.Connection, expression: str, condition: str, values: Sequence[Any], limit: int
) -> Rows:
    """Rows whose caption matches an FTS5 expression and a condition, best BM25 first."""
    cursor = conn.execute(
        "SELECT items.row FROM words JOIN items ON items.row = words.rowid "
        f"WHERE words MATCH ? AND ({condition}) ORDER BY bm25(words), items.row LIMIT ?",
        (expression, *values, limit),
    )
    return np.fromiter((row for (row,) in cursor), np.int64)


# --- files --------------------------------------------------------------------------------------


def segments(conn: sqlite3.Connection, fingerprint: str | None = None) -> list[SegmentEntry]:
    """All segments of a model, the index's own by default, by modality and row."""
    cursor = conn.execute(
        "SELECT name, modality, first_row, last_row, count, vectors_size_bytes, vectors_sha256, "
        "vectors_mtime_ns, rows_size_bytes, rows_sha256, rows_mtime_ns FROM segments "
        f"WHERE fingerprint = coalesce(?, {CURRENT}) ORDER BY modality, first_row",
        (fingerprint,),
    )
    return [_segment(f) for f in cursor]


def _segment(f: Sequence[Any]) -> SegmentEntry:
    name, modality, first, last, count = f[:5]
    _check_name("vectors", f"{name}.npy", modality)
    if not 1 <= first <= last < _MOST_ROWS or not 1 <= count <= last - first + 1:
        raise sqlite3.DatabaseError(f"segment {name} has {count} rows from {first} to {last}")
    return SegmentEntry(name, modality, first, last, count, FileFacts(*f[5:8]), FileFacts(*f[8:11]))


def _check_name(subfolder: str, name: str, modality: str) -> None:
    """Refuse a file that no writer has named so, which may be anybody's."""
    if OWN_FILES[subfolder].fullmatch(name) is None or not name.startswith(f"{modality}-"):
        raise sqlite3.DatabaseError(f"{name!r:.100} is no name of a file with {modality!r} vectors")


def insert_segment(
    conn: sqlite3.Connection, entry: SegmentEntry, fingerprint: str | None = None
) -> None:
    """Name a segment of a model, which thereby becomes part of the index."""
    conn.execute(
        f"INSERT INTO segments VALUES (?, coalesce(?, {CURRENT}), {', '.join('?' * 10)})",
        (
            entry.name,
            fingerprint,
            entry.modality,
            entry.first_row,
            entry.last_row,
            entry.count,
            *astuple(entry.vectors),
            *astuple(entry.rows),
        ),
    )


def delete_segments(conn: sqlite3.Connection, names: Iterable[str]) -> None:
    """Forget segments; their files become garbage."""
    conn.executemany("DELETE FROM segments WHERE name = ?", [(name,) for name in names])


def tombstones(conn: sqlite3.Connection, modality: str) -> Rows:
    """Rows that are removed but still in a segment, int64, ascending."""
    cursor = conn.execute("SELECT row FROM tombstones WHERE modality = ? ORDER BY row", (modality,))
    return np.fromiter((row for (row,) in cursor), np.int64)


def insert_tombstones(conn: sqlite3.Connection, modality: str, rows: Iterable[int]) -> None:
    """Mark rows as removed."""
    conn.executemany(
        "INSERT OR IGNORE INTO tombstones VALUES (?, ?)", ((modality, row) for row in rows)
    )


def delete_tombstones(conn: sqlite3.Connection, modality: str, rows: Iterable[int]) -> None:
    """Forget tombstones: no segment has their rows any more, or they are put back."""
    conn.executemany(
        "DELETE FROM tombstones WHERE modality = ? AND row = ?", ((modality, row) for row in rows)
    )


def ann_entries(conn: sqlite3.Connection) -> dict[str, AnnEntry]:
    """The ANN files of the index's model, by modality."""
    cursor = conn.execute(
        "SELECT modality, name, kind, covered_to, count, size_bytes, sha256, mtime_ns, parameters, "
        f"recall_at_10, built_at, head_bytes, head_sha256 FROM ann WHERE fingerprint = {CURRENT}"
    )
    return {f[0]: _ann_entry(f) for f in cursor}


def _ann_entry(f: Sequence[Any]) -> AnnEntry:
    _check_name("ann", f"{f[1]}.faiss", f[0])
    parameters = json.loads(f[8])
    if not isinstance(parameters, dict):
        raise sqlite3.DatabaseError("the parameters of an ANN file are no object")
    for name in _ANN_NUMBERS & parameters.keys():
        _check_number(name, parameters[name], 0, _MOST_ROWS)
    _check_number("covered_to", f[3], 0, _MOST_ROWS)
    head = None if f[11] is None else FileHead(f[11], f[12])
    return AnnEntry(f[0], f[1], f[2], f[3], f[4], FileFacts(*f[5:8]), parameters, f[9], f[10], head)


def set_ann(conn: sqlite3.Connection, entry: AnnEntry) -> None:
    """Name the ANN file of a modality."""
    conn.execute(
        f"INSERT OR REPLACE INTO ann VALUES ({CURRENT}, {', '.join('?' * 13)})",
        (
            entry.modality,
            entry.name,
            entry.kind,
            entry.covered_to,
            entry.count,
            *astuple(entry.facts),
            json.dumps(entry.parameters),
            entry.recall_at_10,
            entry.built_at,
            *((None, None) if entry.head is None else astuple(entry.head)),
        ),
    )


def delete_ann(conn: sqlite3.Connection, modality: str) -> None:
    """Forget the ANN file of a modality."""
    conn.execute(f"DELETE FROM ann WHERE fingerprint = {CURRENT} AND modality = ?", (modality,))


def file_names(conn: sqlite3.Connection) -> tuple[list[str], list[str]]:
    """Names of the segments and of the ANN files of all models."""
    return (
        [name for (name,) in conn.execute("SELECT name FROM segments")],
        [name for (name,) in conn.execute("SELECT name FROM ann")],
    )


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


# --- tags and score distributions ---------------------------------------------------------------


def replace_tags(
    conn: sqlite3.Connection, name: str, tags: Iterable[tuple[int, str, float | None]]
) -> None:
    """Replace the set of tags `name` by `(row, label, probability)` of the rows that exist."""
    conn.execute("DELETE FROM tags WHERE name = ?", (name,))
    distinct = {(row, label): probability for row, label, probability in tags}
    conn.executemany(
        "INSERT INTO tags (name, row, label, probability) "
        "SELECT ?, row, ?, ? FROM items WHERE row = ?",
        ((name, label, probability, row) for (row, label), probability in distinct.items()),
    )
    digests.include(conn, "tags", "name = ?", (name,))


def check_set_name(name: str) -> None:
    """Check that a set of tags may be written by a user.

    Raises:
        InvalidInputError: It is the one that holds the images' own keywords.
    """
    if name == KEYWORDS:
        raise InvalidInputError(
            f"the set of tags {name!r} holds the keywords that come with the images; "
            "choose another name"
        )


def set_keywords(conn: sqlite3.Connection, keywords: Mapping[int, Iterable[str]]) -> None:
    """Replace the keywords of rows, which are tags of a set of their own."""
    conn.executemany(
        "DELETE FROM tags WHERE row = ? AND name = ?", ((row, KEYWORDS) for row in keywords)
    )
    conn.executemany(
        "INSERT OR IGNORE INTO tags (row, name, label) VALUES (?, ?, ?)",
        ((row, KEYWORDS, label) for row, labels in keywords.items() for label in labels),
    )
    rows = "row IN (SELECT value FROM json_each(?))"
    digests.include(conn, "tags", f"name = ? AND {rows}", (KEYWORDS, json.dumps(list(keywords))))


def keywords_of(conn: sqlite3.Connection, row: int) -> set[str]:
    """The keywords of a row that came with its image."""
    query = "SELECT label FROM tags WHERE row = ? AND name = ?"
    return {label for (label,) in conn.execute(query, (row, KEYWORDS))}


def baselines(conn: sqlite3.Connection) -> dict[tuple[str, str], dict[str, Any]]:
    """Score distributions of unrelated pairs, by kind of query and modality."""
    cursor = conn.execute(
        f"SELECT kind, modality, json FROM backgrounds WHERE fingerprint = {CURRENT}"
    )
    return {(kind, modality): json.loads(text) for kind, modality, text in cursor}


def set_baselines(
    conn: sqlite3.Connection, values: Mapping[tuple[str, Modality], ScoreBaseline]
) -> None:
    """Keep score distributions of unrelated pairs, by kind of query and modality."""
    conn.executemany(
        f"INSERT OR REPLACE INTO backgrounds VALUES ({CURRENT}, ?, ?, ?)",
        ((*of, json.dumps(baseline.to_dict())) for of, baseline in values.items()),
    )


def probes(conn: sqlite3.Connection) -> dict[str, bytes]:
    """Vectors of sample texts, float16 bytes by text."""
    return dict(
        conn.execute(f"SELECT text, vector FROM probes WHERE fingerprint = {CURRENT} ORDER BY text")
    )


def set_probes(conn: sqlite3.Connection, vectors: Iterable[tuple[str, bytes]]) -> None:
    """Keep vectors of sample texts, float16 bytes."""
    conn.executemany(f"INSERT OR REPLACE INTO probes VALUES ({CURRENT}, ?, ?)", vectors)
