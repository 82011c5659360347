"""Refusing a catalog in which something lies that clipsearch did not define.

Triggers, views, generated columns and checks are programs: they run in the process that opens
the catalog. So nothing is done with one before its schema is known to be the one that
clipsearch writes. Its journal is looked at before SQLite is, which deletes the file that a
journal names as that of several databases.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from ..errors import IndexCorruptError
from .parts import CATALOG
from .schema import FORMAT_VERSION, definition, version_of

__all__ = ["check_schema", "refuse_journal"]

_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")  # https://sqlite.org/fileformat.html
_OBJECTS = (
    "SELECT type, name, tbl_name, sql FROM sqlite_schema "
    "WHERE NOT (type = 'index' AND sql IS NULL)"  # which belongs to the definition of its table
)
_Definition = frozenset[str]
_Objects = dict[tuple[str, str, str], _Definition]  # by type, name and table
# What versions before 5 had that this one has not.
_OLD_PARTS = {
    "ann": {"modality TEXT PRIMARY KEY"},
    "backgrounds": {"PRIMARY KEY(kind,modality)"},
    "probes": {"text TEXT PRIMARY KEY"},
    "skipped_files": {
        "CREATE TABLE skipped_files()WITHOUT ROWID",
        "size_bytes INTEGER NOT NULL",
        "mtime_ns INTEGER NOT NULL",
    },
}
_OLD_WORDS = {
    "CREATE VIRTUAL TABLE words USING fts5(caption,content='items',content_rowid='row',"
    "tokenize='unicode61 remove_diacritics 2')",
    "CREATE TRIGGER words_delete AFTER DELETE ON items WHEN old.caption IS NOT NULL BEGIN INSERT "
    "INTO words(words,rowid,caption)VALUES('delete',old.row,old.caption);END",
    "CREATE TRIGGER words_insert AFTER INSERT ON items WHEN new.caption IS NOT NULL BEGIN INSERT "
    "INTO words(rowid,caption)VALUES(new.row,new.caption);END",
}
# What FTS5 makes for the table `words`.
_OF_WORDS = (
    "CREATE TABLE 'words_data'(id INTEGER PRIMARY KEY, block BLOB)",
    "CREATE TABLE 'words_idx'(segid, term, pgno, PRIMARY KEY(segid, term)) WITHOUT ROWID",
    "CREATE TABLE 'words_docsize'(id INTEGER PRIMARY KEY, sz BLOB)",
    "CREATE TABLE 'words_config'(k PRIMARY KEY, v) WITHOUT ROWID",
)
_STATEMENT = re.compile(
    r"CREATE (?:UNIQUE |VIRTUAL )?(TABLE|INDEX|VIEW|TRIGGER) '?(\w+)(?:.*? ON (\w+))?", re.DOTALL
)
_SPACED = re.compile(r"\s*([(),;=])\s*")
_TABLE = re.compile(r"(CREATE TABLE \S+?\()(.*)(\).*)", re.DOTALL)
_COMMA = re.compile(r",(?![^(]*\))")  # outside of parentheses, which are never nested here
_accepted: set[tuple[int, tuple[tuple[str, ...], ...]]] = set()  # versions and their schemas
_MOST_ACCEPTED = 64


def refuse_journal(folder: Path) -> None:
    """Check that a catalog's rollback journal names no other file, which SQLite would delete.

    Only transactions over several databases have such journals, and clipsearch has none.

    Raises:
        IndexCorruptError: It does.
    """
    path = folder / f"{CATALOG}-journal"
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(-min(len(_JOURNAL_MAGIC), file.seek(0, os.SEEK_END)), os.SEEK_END)
        if file.read() == _JOURNAL_MAGIC:
            raise IndexCorruptError(
                f"{path} belongs to a transaction over several databases, and is none of "
                "clipsearch's. Delete that file, or restore the index from a backup."
            )


def check_schema(conn: sqlite3.Connection, where: str) -> None:
    """Check that a catalog has the tables, indexes, views and triggers of its version.

    Args:
        conn: A connection on which nothing else was run.
        where: The path of the catalog, for messages.

    Raises:
        IndexCorruptError: It is no catalog, or has something else.
        IndexVersionError: It is newer than this version of clipsearch can read.
    """
    version = version_of(conn, where)
    found = tuple(conn.execute(_OBJECTS))
    if (version, found) in _accepted or (version == FORMAT_VERSION and _written() == set(found)):
        return
    objects, expected = _described(found), _expected()
    if version == FORMAT_VERSION:
        odd = [one for one in {**expected, **objects} if objects.get(one) != expected.get(one)]
    else:
        odd = [one for one in objects if not _is_of_older(objects[one], expected.get(one), one[1])]
    if odd:
        kind, name, _ = min(odd)
        what = f"has another {kind} {name!r} than"
        if odd[0] not in objects:
            what = f"lacks the {kind} {name!r} of"
        elif odd[0] not in expected:
            what = f"has a {kind} {name!r}, which is not in"
        raise IndexCorruptError(
            f"{where} {what} an index of clipsearch, so it is not used. If it came from elsewhere, "
            "do not trust it; else restore it from a backup."
        )
    if len(_accepted) < _MOST_ACCEPTED:
        _accepted.add((version, found))


@functools.cache
def _written() -> frozenset[tuple[str, ...]]:
    """The rows of `sqlite_schema` in a new catalog, but for indexes without a text."""
    rows: set[tuple[str, ...]] = set()
    for sql in (*re.split(r";\s*(?=CREATE |$)", definition().strip()), *_OF_WORDS):
        if found := _STATEMENT.match(sql := sql.strip().replace(" IF NOT EXISTS", "")):
            kind, name, table = found.groups()
            rows.add((kind.lower(), name, table if kind in ("INDEX", "TRIGGER") else name, sql))
    return frozenset(rows)


@functools.cache
def _expected() -> _Objects:
    """What a catalog of the current version has."""
    return _described(_written())


def _is_of_older(one: _Definition, new: _Definition | None, name: str) -> bool:
    """Whether a definition can be one of an older version, which a migration makes `new` of."""
    return new is not None and (one <= _OLD_WORDS or one - new <= _OLD_PARTS.get(name, set()))


def _described(rows: Iterable[tuple[str, ...]]) -> _Objects:
    """Objects with their definitions, in which spaces and the order of columns mean nothing.

    A column that a migration adds is the last one, wherever it is in a new catalog.
    """
    objects: _Objects = {}
    for kind, name, table, sql in rows:
        text = _SPACED.sub(r"\1", " ".join(str(sql).split()))
        split = _TABLE.fullmatch(text)
        parts = {text} if split is None else {split[1] + split[3], *_COMMA.split(split[2])}
        objects[str(kind), str(name), str(table)] = frozenset(parts)
    return objects
