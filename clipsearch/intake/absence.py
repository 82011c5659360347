"""Which items of a source have lost their file, and what that means: they are away, or removed.

A file that cannot be found may be deleted, or on a drive that is not mounted, so its item is only
marked as away. What the file system cannot tell now, because a drive or network fails, is no reason
to think a file gone.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from ..engine import away
from ..engine.file_state import FileState
from ..names import shown

if TYPE_CHECKING:
    from ..engine.writer import Writer
    from .inside import Lacks

__all__ = ["Absence", "Lookup", "keep", "survey", "told"]

_FOLDERS_KEPT = 512  # whose names are known; files come folder by folder
_GONE = (FileNotFoundError, NotADirectoryError)
# A single file is no question. Of three files, one may go; of four, two may not.
_FEW = 1
_SHARE = 5  # more than one item in so many is a question
_MOST_NAMED = 3


class Lookup:
    """Tells of many files which cannot be found, with one question a folder."""

    def __init__(self) -> None:
        self._listed = lru_cache(_FOLDERS_KEPT)(_listed)
        self._missing = lru_cache(_FOLDERS_KEPT)(_missing)

    def missing(self, path: str) -> str | None:
        """The topmost path that is not there; None if the file is, or if nobody can tell now."""
        folder, name = os.path.split(path)
        listed = self._listed(folder)
        if listed is None or name in listed:
            return None
        try:
            os.stat(path)
        except _GONE:
            return self._missing(folder) or path
        except OSError:
            pass
        return None


def _listed(folder: str) -> frozenset[str] | None:
    """Names of the files in a folder that need no second look; None if it cannot be looked at."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if not entry.is_symlink())
    except _GONE:
        return frozenset()
    except OSError as exc:  # without permission to list it, files may be asked for one by one
        return frozenset() if exc.errno == errno.EACCES else None


def _missing(folder: str) -> str | None:
    """The topmost folder on the way that is not there, or None."""
    missing = None
    while not os.path.exists(folder) and folder != os.path.dirname(folder):
        missing, folder = folder, os.path.dirname(folder)
    return missing


@dataclass(frozen=True, slots=True)
class _Gone:
    """An item whose file cannot be found."""

    missing: str  # the topmost path that is not there
    top: str  # the folder of the source that it was in; empty for the source itself
    is_elsewhere: bool  # whether another file system is there now, or a link leads nowhere
    is_single: bool  # whether its folder is still there
    is_link: bool  # whether a link is left that leads nowhere


@dataclass(slots=True)
class Absence:
    """What of the items of a source cannot be found."""

    total: int = 0  # items
    tops: Counter[str] = field(default_factory=Counter)  # items by the folder of the source
    gone: dict[int, _Gone] = field(default_factory=dict)  # by row
    back: set[int] = field(default_factory=set)  # rows that were away, and are not
    left_out: dict[int, str] = field(default_factory=dict)  # why the source leaves them out, by row

    @property
    def missing(self) -> dict[int, str]:
        """The topmost path that is not there, by row."""
        return {row: gone.missing for row, gone in self.gone.items()}

    def removable(self, *, single: bool, spared: Container[int]) -> list[int]:
        """Rows of items whose file is gone, and not only a link to it.

        Args:
            single: Only those whose folder is still there, on the file system that it was on.
            spared: Rows that are not among them.
        """
        return [
            row
            for row, gone in self.gone.items()
            if row not in spared
            and not gone.is_link
            and not (single and (gone.is_elsewhere or not gone.is_single))
        ]

    def loss(self, rows: Collection[int]) -> str | None:
        """Why a person should be asked before these items are removed, or None."""
        gone = [self.gone[row] for row in rows]
        elsewhere = sum(one.is_elsewhere for one in gone)
        if elsewhere:
            return f"{elsewhere:,} of them were on another file system than the one there now"
        if len(gone) <= _FEW:
            return None
        if len(gone) == self.total:
            return "that is all of them"
        counts = Counter(one.top for one in gone)
        whole = [top for top, n in counts.items() if top and _FEW < n == self.tops[top]]
        if whole:
            names = ", ".join(shown(name) for name in whole[:_MOST_NAMED])
            more = f" and {len(whole) - _MOST_NAMED:,} more" if len(whole) > _MOST_NAMED else ""
            return f"that is everything in {names}{more}"
        if len(gone) * _SHARE > self.total:
            return f"that is more than {1 / _SHARE:.0%}"
        return None


def survey(
    writer: Writer,
    place: str,
    judge: Callable[[str], str | None] | None = None,
    lacks: Lacks | None = None,
) -> Absence:
    """Look for the files of all items of a folder, table or archive.

    Args:
        writer: Of the index.
        place: Path of the folder, table or archive.
        judge: Tells why a file is left out of it now, or None.
        lacks: As `ArchiveSource.lacks`.
    """
    found, lookup, device = Absence(), Lookup(), lru_cache(_FOLDERS_KEPT)(_device)
    start = place.rstrip("/") + "/"

    def look(conn: sqlite3.Connection) -> None:
        before = away.marks(conn)
        for item in away.located(conn, place):
            top, _, below = item.file.removeprefix(start).partition("/")
            top = top if below and item.file.startswith(start) else ""
            found.total += 1
            found.tops[top] += 1
            missing = lookup.missing(item.file)
            lost = None if lacks is None or item.place is None else lacks(item.place)
            if missing is None and lost:
                found.gone[item.row] = _Gone(
                    inside(item.file), top, is_elsewhere=False, is_single=False, is_link=False
                )
                continue
            if missing is not None:
                now = device(os.path.dirname(missing))
                found.gone[item.row] = _Gone(
                    missing,
                    top,
                    is_elsewhere=(
                        (None not in (item.device, now) and item.device != now)
                        or (missing != item.file and os.path.lexists(missing))
                    ),
                    is_single=missing == item.file,
                    is_link=os.path.lexists(item.file),
                )
                continue
            if item.row in before and (lost is not None or before[item.row] != inside(item.file)):
                found.back.add(item.row)
            if judge is not None and item.is_own and (reason := judge(item.file)):
                found.left_out[item.row] = reason

    writer.read(look)
    return found


def inside(archive: str) -> str:
    """What is missing of a member that is not in its archive any more: no path is like that."""
    return f"{archive}!"


def _device(folder: str) -> int | None:
    """Number of the file system that a folder is on."""
    try:
        return FileState.of(os.stat(folder)).device
    except OSError:
        return None


def keep(writer: Writer, gone: Mapping[int, str], back: Iterable[int]) -> None:
    """Say in the catalog what is away, and what no longer is.

    Args:
        writer: Of the index.
        gone: What is missing of items whose file cannot be found, by row.
        back: Rows of items whose file is there.
    """
    before = writer.read(away.marks)
    new = {row: path for row, path in gone.items() if before.get(row) != path}
    found = (before.keys() & set(back)) - gone.keys()
    if new:
        writer.change(lambda conn: away.mark(conn, new))
    if found:
        writer.change(lambda conn: away.clear(conn, found))


def told(count: int) -> str:
    """What is said of items that are away."""
    if count == 1:
        return "1 item is away: its file cannot be found. It is left out of answers until it can"
    return (
        f"{count:,} items are away: their files cannot be found. They are left out of answers "
        "until they can"
    )
