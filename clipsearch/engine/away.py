"""Items that are away: their file cannot be found, so they are kept, and left out of answers.

The catalog says of each which path is missing, the topmost one, so that a folder that vanished is
one value however many files it had. An item is back the moment its file is: writers take the mark
away when they meet the file, and `Returns` sees to readers meanwhile.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import numpy as np

from ..names import actual, stored
from ..vectors import Rows

__all__ = ["NO_AWAY", "Away", "Located", "Returns", "clear", "load", "located", "mark", "marks"]

_PAGE = 1000
_LOOK_S = 1.0  # how long a reader may not know that a file is back
_PATIENCE_S = 0.25  # how long an answer waits for a look that it has begun
_MOST_LOOKS = 1000  # files that are looked for in vain at a time
# Items that have a file: of their own, or around their image.
_HAS_FILE = "(path IS NOT NULL OR place IS NOT NULL)"
_FILE = "coalesce(path, json_extract(place, '$.file'))"


@dataclass(frozen=True, slots=True)
class Away:
    """The items of one committed state that are away.

    Attributes:
        missing: What is missing, by row, ascending.
        back: Those of the rows whose files are there again, int64, ascending.
    """

    missing: Mapping[int, str] = field(default_factory=dict)
    back: Rows = field(default_factory=lambda: np.empty(0, np.int64))

    def __bool__(self) -> bool:
        return len(self.missing) > self.back.size

    @property
    def rows(self) -> Rows:
        """Rows of the items that are left out of answers, int64, ascending."""
        every = np.fromiter(self.missing, np.int64, len(self.missing))
        return np.setdiff1d(every, self.back, assume_unique=True)

    def without(self, condition: str, values: Sequence[Any]) -> tuple[str, list[Any]]:
        """A condition on `items` that leaves these out too."""
        if not self:
            return condition, list(values)
        hidden = "SELECT row FROM away WHERE row NOT IN (SELECT value FROM json_each(?))"
        back = json.dumps(self.back.tolist())
        return f"items.row NOT IN ({hidden}) AND ({condition})", [back, *values]

    def left(self) -> dict[int, str]:
        """What is missing of those that are not back, by row, ascending."""
        back = set(self.back.tolist())
        return {row: path for row, path in self.missing.items() if row not in back}


NO_AWAY = Away()


@dataclass(frozen=True, slots=True)
class Located:
    """Where the file of an item is, or was."""

    row: int
    file: str  # its own, or the one around it
    is_own: bool
    device: int | None  # number of the file system that it was on
    place: str | None  # of its image in that, as `intake.inside` writes it


def load(conn: sqlite3.Connection) -> Away:
    """The items that are away in the state that a transaction sees."""
    missing = marks(conn)
    return Away(missing) if missing else NO_AWAY


def marks(conn: sqlite3.Connection) -> dict[int, str]:
    """What is missing of the items that are away, by row, ascending."""
    cursor = conn.execute("SELECT row, missing FROM away ORDER BY row")
    return {row: actual(missing) for row, missing in cursor}


def mark(conn: sqlite3.Connection, missing: Mapping[int, str]) -> None:
    """Say of items which path is missing, in the transaction of a writer."""
    conn.executemany(
        "INSERT OR REPLACE INTO away (row, missing) SELECT row, ? FROM items WHERE row = ?",
        ((stored(path), row) for row, path in missing.items()),
    )


def clear(conn: sqlite3.Connection, rows: Iterable[int]) -> None:
    """Say of items that their files are there, in the transaction of a writer."""
    conn.executemany("DELETE FROM away WHERE row = ?", ((row,) for row in rows))


def located(conn: sqlite3.Connection, place: str) -> Iterator[Located]:
    """Items whose file is a folder, table or archive, or lies below it or in it, by their files.

    Args:
        conn: A connection of a writer; it may change the catalog meanwhile.
        place: The absolute path.
    """
    below = stored(place).rstrip("/")
    # "0" is the character after "/"; files of their own by their paths, others by their keys
    ranges = [("path", stored(place), stored(place) + "\0"), ("path", f"{below}/", f"{below}0")]
    ranges += [("key", below + mark, below + chr(ord(mark) + 1)) for mark in "!#/"]
    for column, low, high in ranges:
        after, last = low, 0
        while True:
            own = "path IS NOT NULL" if column == "path" else "path IS NULL AND place IS NOT NULL"
            page = conn.execute(
                f"SELECT row, {_FILE}, device, place, {column} FROM items WHERE {column} >= ? "
                f"AND {column} < ? AND ({column} > ? OR row > ?) AND {own} "
                f"ORDER BY {column}, row LIMIT {_PAGE}",
                (after, high, after, last),
            ).fetchall()
            for row, file, device, inside, _ in page:
                yield Located(row, actual(file), column == "path", device, inside)
            if page:
                last, after = page[-1][0], page[-1][4]
            if len(page) < _PAGE:
                break


class Returns:
    """Finds out, beside the readers of an index, which files that were away are there again.

    A thread looks, so that a network drive that does not answer keeps nobody waiting. It looks
    while answers are asked for, and at a bounded number of files at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of = ""  # the commit whose files these are
        self._files: deque[tuple[str, list[tuple[int, str]]]] = deque()  # by what is missing
        self._back: frozenset[int] = frozenset()
        self._next = 0.0
        self._is_looking = False

    def of(self, conn: sqlite3.Connection, commit_id: str) -> frozenset[int]:
        """Rows of those that are known to be back, in the state that a transaction sees."""
        with self._lock:
            if self._of != commit_id:
                self._read(conn, commit_id)
            is_due = not self._is_looking and monotonic() >= self._next
            self._is_looking |= is_due
        if is_due:  # while one is under way nobody waits: a drive may not answer at all
            looking = threading.Thread(target=self._look, daemon=True, name="away")
            looking.start()
            looking.join(_PATIENCE_S)
        return self._back

    def _read(self, conn: sqlite3.Connection, commit_id: str) -> None:
        by_missing: dict[str, list[tuple[int, str]]] = {}
        cursor = conn.execute(
            f"SELECT row, {_FILE}, missing FROM away JOIN items USING (row) WHERE {_HAS_FILE}"
        )
        for row, file, missing in cursor:
            by_missing.setdefault(actual(missing), []).append((row, actual(file)))
        self._files = deque(by_missing.items())
        self._back &= {row for files in by_missing.values() for row, _ in files}
        self._of, self._next = commit_id, 0.0

    def _look(self) -> None:
        with self._lock:
            files, of, back = self._files, self._of, set(self._back)
        left = _MOST_LOOKS
        for _ in range(len(files)):
            missing, some = files[0]
            if not os.path.exists(missing):
                back.difference_update(row for row, _ in some)
                left -= 1
            else:
                for row, file in some:
                    if left > 0 and row not in back:
                        found = os.path.exists(file)
                        back.update([row] if found else ())
                        left -= not found
            files.rotate(-1)
            if left <= 0:
                break
        with self._lock:
            if of == self._of and back != self._back:
                self._back = frozenset(back)
            self._next = monotonic() + _LOOK_S
            self._is_looking = False
