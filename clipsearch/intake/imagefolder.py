"""Folders of images with a table of their captions, as Hugging Face's imagefolder has them.

`metadata.csv`, `metadata.jsonl` or `metadata.parquet` describes the images of its folder and of
those below, by a column `file_name` (or `*_file_name`) of paths relative to it. The nearest table
that names an image counts.
"""

from __future__ import annotations

import os
import pickle
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..errors import SourceError
from ..names import actual, stored
from .layouts import Asked, Layout, NoFileNamesError
from .pairs import Pair, TableColumns
from .places import LocalPlace
from .rows import Bad, Rows, open_rows
from .tables import caption_text, columns_of, extra_of

__all__ = ["FolderTables"]

_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


class FolderTables:
    """The tables in a folder and below it that describe its images.

    Rows wait in a scratch file of SQLite's, so that memory stays bounded.

    Args:
        root: The folder that is walked.
        top: It, or a folder above it up to which tables are looked for.
    """

    def __init__(self, root: str, top: str) -> None:
        self._root = root
        self._top = top
        self._tables: dict[str, _Table | None] = {}  # by folder
        self._below: dict[str, bool] = {}  # by folder: whether a table is in it or above
        self._columns: dict[str, tuple[str | None, str | None]] = {}
        self.notes: list[str] = []
        self._rows = sqlite3.connect("", check_same_thread=False)
        self._rows.execute(
            "CREATE TABLE rows (path, folder, row, seen, PRIMARY KEY (path, folder)) WITHOUT ROWID"
        )

    def described(self, pair: Pair) -> Pair:
        """A pair of the folder with what the nearest table says of its image."""
        folder, name = os.path.split(pair.key)
        if pair.ignored:
            if name in _NAMES and (table := self._table(folder)) and table.name == pair.key:
                return replace(pair, refused=table.problem or "it describes the images beside it")
            return pair
        if not isinstance(pair.image, str) or not self._is_below_a_table(folder):
            return pair
        while True:
            table = self._table(folder)
            if table is not None and (row := self._row(pair.image, folder)) is not None:
                caption, extra = row
                return replace(pair, caption=caption or pair.caption, extra={**pair.extra, **extra})
            above = os.path.dirname(folder)
            if folder in (self._top, above):
                return pair
            folder = above

    def unseen(self) -> Iterator[Pair]:
        """Images that a table below the folder names, and that are not there."""
        unseen = "SELECT path FROM rows GROUP BY path HAVING NOT max(seen) ORDER BY path"
        for (name,) in self._rows.execute(unseen):
            path = actual(name)
            if path.startswith(self._root.rstrip(os.sep) + os.sep) and not os.path.lexists(path):
                yield Pair(key=path, refused="a table names it, but the file is gone")

    def columns(self) -> TableColumns | None:
        """The columns of all tables that were found; None without any."""
        tables = [table for table in self._tables.values() if table is not None and table.layout]
        if not tables:
            return None
        roles = {
            name: {**kept, "ids": [], "folder": os.path.dirname(name)}
            for table in tables
            if table.layout is not None
            for name, kept in columns_of(table.layout, table.name).tables.items()
        }
        return TableColumns(tables=roles, types=self._columns)

    def _is_below_a_table(self, folder: str) -> bool:
        if folder not in self._below:
            above = os.path.dirname(folder)
            self._below[folder] = self._table(folder) is not None or (
                folder not in (self._top, above) and self._is_below_a_table(above)
            )
        return self._below[folder]

    def _table(self, folder: str) -> _Table | None:
        if folder not in self._tables:
            names = (os.path.join(folder, name) for name in _NAMES)
            name = next((name for name in names if os.path.isfile(name)), None)
            self._tables[folder] = None if name is None else self._read(name)
        return self._tables[folder]

    def _read(self, name: str) -> _Table | None:
        """Read a table into the scratch file; None for one that does not name files."""
        try:
            rows = _opened(name)
            if rows is None:
                return None
            layout = rows.layout
            for row in rows:
                self._keep(row, layout, os.path.dirname(name))
        except SourceError as exc:
            self.notes.append(str(exc))
            return _Table(name, problem=str(exc))
        self._columns |= columns_of(layout, name).types
        self.notes += rows.notes
        return _Table(name, layout)

    def _keep(self, row: Mapping[str, Any] | Bad, layout: Layout, folder: str) -> None:
        """Keep a row; several of one image are one, whose captions are lines."""
        file = None if isinstance(row, Bad) else row.get(layout.image or "")
        if isinstance(row, Bad) or not isinstance(file, str):
            return
        path = os.path.normpath(os.path.join(folder, file.strip().replace("\\", "/")))
        caption = caption_text(row.get(layout.caption)) if layout.caption else None
        extra = extra_of(row, layout, (layout.image, layout.caption))
        before = self._row(path, folder, seen=0)
        if before is not None and before[0] is not None:
            caption = before[0] if caption in (None, before[0]) else f"{before[0]}\n{caption}"
        kept = pickle.dumps((caption, extra if before is None else {**extra, **before[1]}))
        self._rows.execute(
            "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, 0)", (*_as_stored(path, folder), kept)
        )

    def _row(
        self, path: str, folder: str, *, seen: int = 1
    ) -> tuple[str | None, dict[str, Any]] | None:
        where = "WHERE path = ? AND folder = ?"
        names = _as_stored(path, folder)
        found = self._rows.execute(f"SELECT row FROM rows {where}", names).fetchone()
        if found is None:
            return None
        if seen:
            self._rows.execute("UPDATE rows SET seen = 1 WHERE path = ?", names[:1])
        row: tuple[str | None, dict[str, Any]] = pickle.loads(found[0])  # noqa: S301 - our own
        return row


def _as_stored(*names: str) -> tuple[str, ...]:
    return tuple(stored(name) for name in names)


class _Table:
    """A table that describes a folder, or why it cannot be read."""

    def __init__(
        self, name: str, layout: Layout | None = None, *, problem: str | None = None
    ) -> None:
        self.name = name
        self.layout = layout
        self.problem = problem


def _opened(name: str) -> Rows | None:
    """The rows of a table, if it has a column with the names of files."""
    try:
        return open_rows(LocalPlace(name).open, name, Asked(by_file_name=True))
    except NoFileNamesError:
        return None
