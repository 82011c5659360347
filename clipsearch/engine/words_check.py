"""Holding the keyword index against the captions: FTS5's own check, and what every word finds."""

from __future__ import annotations

import contextlib
import sqlite3

from .schema import WORDS

__all__ = ["check"]

_TABLES = ("captions", "words_data", "words_idx", "words_docsize", "words_config")


def check(conn: sqlite3.Connection) -> None:
    """Check that the keyword index of a catalog finds the words of its captions, and no others.

    FTS5 checks an index by a statement that writes, so this is done in a copy, which SQLite keeps
    in a temporary file: it needs no permission, and keeps no writer waiting. FTS5 reads the index
    from its start to its end and not as a search does, which goes by pointers; so every word is
    looked up as well, and again after the index was built anew.

    Raises:
        sqlite3.DatabaseError: It does not.
    """
    with contextlib.closing(sqlite3.connect("", isolation_level=None)) as copy:
        copy.execute("CREATE TABLE captions (row INTEGER PRIMARY KEY, caption TEXT)")
        copy.execute(WORDS)
        copy.execute("BEGIN")
        for table in _TABLES:
            rows = conn.execute(f"SELECT * FROM {table}")
            marks = ", ".join("?" * len(rows.description))
            copy.execute(f"DELETE FROM {table}")
            copy.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
        copy.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
        copy.execute("CREATE VIRTUAL TABLE terms USING fts5vocab('words', 'row')")
        before = _found(copy)
        copy.execute("INSERT INTO words (words) VALUES ('rebuild')")
        if _found(copy) != before:
            raise sqlite3.DatabaseError("some words find other captions than have them")


def _found(conn: sqlite3.Connection) -> dict[str, tuple[int, ...]]:
    """What tells apart which captions every word finds."""
    terms = conn.execute("SELECT term FROM terms").fetchall()
    query = (
        "SELECT count(*), sum(rowid), sum(rowid % 65521 * (rowid % 32749)) FROM words "
        "WHERE words MATCH ?"
    )
    return {term: conn.execute(query, (f'"{term}"',)).fetchone() for (term,) in terms}
