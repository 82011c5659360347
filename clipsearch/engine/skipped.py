"""The files that could not be read in earlier runs, remembered so that they are not tried again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass

from .file_state import FileState

__all__ = ["Skipped", "forget", "recall", "remember"]

_PAGE = 500  # keys in one statement


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was skipped, as it was then."""

    key: str
    size_bytes: int
    mtime_ns: int
    reason: str
    ctime_ns: int | None = None
    inode: int | None = None

    @property
    def state(self) -> FileState:
        """What the file system said of it."""
        return FileState(self.size_bytes, self.mtime_ns, self.ctime_ns, self.inode)


def recall(conn: sqlite3.Connection, keys: Sequence[str]) -> dict[str, Skipped]:
    """What is remembered of these keys."""
    found: dict[str, Skipped] = {}
    if not _has_table(conn):
        return found
    for start in range(0, len(keys), _PAGE):
        some = keys[start : start + _PAGE]
        marks = ",".join("?" * len(some))
        query = (
            "SELECT key, size_bytes, mtime_ns, reason, ctime_ns, inode FROM skipped_files "
            f"WHERE key IN ({marks})"
        )
        found.update((row[0], Skipped(*row)) for row in conn.execute(query, some))
    return found


def remember(conn: sqlite3.Connection, skipped: Iterable[Skipped]) -> None:
    """Keep these, in the transaction of a writer."""
    conn.execute(
        "CREATE TABLE IF NOT EXISTS skipped_files (key TEXT PRIMARY KEY, size_bytes INTEGER "
        "NOT NULL, mtime_ns INTEGER NOT NULL, reason TEXT NOT NULL, ctime_ns INTEGER, "
        "inode INTEGER) WITHOUT ROWID"
    )
    conn.executemany(
        "INSERT OR REPLACE INTO skipped_files "
        "(key, size_bytes, mtime_ns, reason, ctime_ns, inode) VALUES (?, ?, ?, ?, ?, ?)",
        (astuple(one) for one in skipped),
    )


def forget(conn: sqlite3.Connection, keys: Iterable[str]) -> None:
    """Drop these, in the transaction of a writer; keys that are not there are ignored."""
    if _has_table(conn):
        conn.executemany("DELETE FROM skipped_files WHERE key = ?", ((key,) for key in keys))


def _has_table(conn: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE name = 'skipped_files'"
    return conn.execute(query).fetchone() is not None
