"""The files that could not be read in earlier runs: not tried again, and no news."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from ..names import actual, stored

__all__ = ["Skipped", "count", "everything", "forget", "recall", "remember", "under"]

_PAGE = 500  # keys in one statement
_COLUMNS = "key, size_bytes, mtime_ns, reason, ctime_ns, inode, sha256"


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was skipped, as it was then.

    A file of its own is known again by size and times, the bytes of a member of an archive by their
    hash. What has neither is looked at in every run, and is no news while the reason is the same.
    """

    key: str
    size_bytes: int | None
    mtime_ns: int | None
    reason: str
    ctime_ns: int | None = None
    inode: int | None = None
    sha256: str | None = None


def recall(conn: sqlite3.Connection, keys: Sequence[str]) -> dict[str, Skipped]:
    """What is remembered of these keys."""
    found: dict[str, Skipped] = {}
    for start in range(0, len(keys), _PAGE):
        some = [stored(key) for key in keys[start : start + _PAGE]]
        marks = ",".join("?" * len(some))
        query = f"SELECT {_COLUMNS} FROM skipped_files WHERE key IN ({marks})"
        found.update((one.key, one) for one in map(_skipped, conn.execute(query, some)))
    return found


def everything(conn: sqlite3.Connection) -> Iterator[Skipped]:
    """All that is remembered, by key."""
    return map(_skipped, conn.execute(f"SELECT {_COLUMNS} FROM skipped_files ORDER BY key"))


def under(conn: sqlite3.Connection, start: str) -> list[str]:
    """Remembered keys that begin so, in order."""
    low = stored(start)
    high = low[:-1] + chr(ord(low[-1]) + 1)
    query = "SELECT key FROM skipped_files WHERE key >= ? AND key < ? ORDER BY key"
    return [actual(key) for (key,) in conn.execute(query, (low, high))]


def count(conn: sqlite3.Connection) -> int:
    """How many are remembered."""
    return int(conn.execute("SELECT count(*) FROM skipped_files").fetchone()[0])


def remember(conn: sqlite3.Connection, skipped: Iterable[Skipped]) -> None:
    """Keep these, in the transaction of a writer."""
    conn.executemany(
        f"INSERT OR REPLACE INTO skipped_files ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
        ((stored(one.key), *astuple(one)[1:]) for one in skipped),
    )


def forget(conn: sqlite3.Connection, keys: Iterable[str]) -> None:
    """Drop these, in the transaction of a writer; keys that are not there are ignored."""
    conn.executemany("DELETE FROM skipped_files WHERE key = ?", ((stored(key),) for key in keys))


def _skipped(row: tuple[Any, ...]) -> Skipped:
    return Skipped(actual(row[0]), *row[1:])
