"""Connections to the catalog's SQLite database, and its errors in our words."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path, PurePath

from .. import folding
from ..errors import (
    ClipSearchError,
    IndexCorruptError,
    IndexLockedError,
    InvalidInputError,
    StorageError,
)
from ..ordering import name_key
from .columns import is_exact
from .foreign import check_schema, refuse_journal
from .parts import CATALOG, refuse_links

__all__ = ["CATALOG", "Connection", "connect", "stamp", "translated"]

_BUSY_S = 30.0
_Value = str | bytes | int | float | None  # of SQLite
# How SQLite says that a statement is over one of its limits.
_TOO_MUCH = ("parser stack overflow", "Expression tree is too large", "too many SQL variables")
_READER_CACHE_KIB = 8 * 1024
_WRITER_CACHE_KIB = 64 * 1024


class Connection(sqlite3.Connection):
    """A connection that knows whether it may be kept."""

    reusable = True  # False: SQLite was told that the file does not change, so nobody may wait
    stamp: tuple[int, ...] = ()  # of the file, as it was just before it was opened


def stamp(folder: Path) -> tuple[int, ...]:
    """What is another after a catalog's file was replaced, or written by whatever program.

    SQLite takes a file for unchanged that SQLite has not changed, such as one that a backup was
    copied over: a connection of before would go on with the pages that it remembers.
    """
    found = os.stat(folder / CATALOG)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _basename(path: str | None) -> str | None:
    return None if path is None else PurePath(path).name


def _nfc(text: _Value) -> _Value:
    return folding.nfc(text) if isinstance(text, str) else text


def _folded_like(text: _Value, pattern: str, escape: str | None) -> bool | None:
    return None if text is None else folding.like(str(text), pattern, escape)


def _exact_compare(value: _Value, other: str) -> int | None:
    """-1, 0 or 1 as a number, or a text that is one, is less, equal or greater; else None."""
    if (
        value is None
        or isinstance(value, bytes)
        or (isinstance(value, str) and not is_exact(value))
    ):
        return None
    one, two = Decimal(str(value)), Decimal(other)
    return (one > two) - (one < two)


def _exact_inside(extra: str, names: str, other: str) -> int | None:
    """`_exact_compare` of an integer that is too large for SQLite, in a JSON text."""
    value = json.loads(extra)
    for name in json.loads(names):
        value = value[int(name) if isinstance(value, list) else name]
    return _exact_compare(str(value) if isinstance(value, int) else value, other)


def connect(folder: Path, *, write: bool = False) -> Connection:
    """Open a connection to the catalog of an index, in autocommit mode.

    Args:
        folder: The folder of the index.
        write: Whether it may change the catalog. A reader of a folder without write permission
            falls back to a read-only connection, which is not `reusable` if SQLite cannot follow
            changes there.

    Raises:
        StorageError: The file cannot be opened.
        IndexCorruptError: The file is no database, has another schema than its version, or a
            part of the index is a link.
        IndexVersionError: It is newer than this version of clipsearch can read.
    """
    refuse_links(folder)
    path = folder / CATALOG
    with translated(path):
        refuse_journal(folder)
    uri = path.absolute().as_uri()
    modes = ["mode=rw"] if write else ["mode=rw", "mode=ro", "mode=ro&immutable=1"]
    with translated(path):
        for mode in modes:
            conn = sqlite3.connect(
                f"{uri}?{mode}",
                uri=True,
                timeout=_BUSY_S,
                isolation_level=None,
                check_same_thread=False,
                factory=Connection,
            )
            conn.reusable = "immutable" not in mode
            try:
                _configure(conn, path, write=write)
            except sqlite3.OperationalError:
                conn.close()
                if mode == modes[-1] or os.access(folder, os.W_OK):
                    raise
            except BaseException:
                conn.close()
                raise
            else:
                return conn
    raise AssertionError("unreachable")


def _configure(conn: sqlite3.Connection, path: Path, *, write: bool) -> None:
    conn.execute("PRAGMA trusted_schema = OFF")
    conn.execute("PRAGMA cell_size_check = ON")
    conn.execute("PRAGMA mmap_size = 0")
    defensive = getattr(sqlite3, "SQLITE_DBCONFIG_DEFENSIVE", None)
    if defensive is not None:  # from Python 3.12 on
        conn.setconfig(defensive, True)  # type: ignore[attr-defined, unused-ignore]
    check_schema(conn, str(path))
    conn.create_function("basename", 1, _basename, deterministic=True)
    conn.create_function("name_key", 1, name_key, deterministic=True)
    conn.create_function("nfc", 1, _nfc, deterministic=True)
    conn.create_function("exact_compare", 2, _exact_compare, deterministic=True)
    conn.create_function("exact_inside", 3, _exact_inside, deterministic=True)
    conn.create_function("folded_like", 3, _folded_like, deterministic=True)
    conn.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB if write else _READER_CACHE_KIB}")
    if write:
        # The schema is known now. Older versions of SQLite think it unsafe that triggers use FTS5.
        conn.execute("PRAGMA trusted_schema = ON")
        conn.execute("PRAGMA synchronous = FULL")
    else:
        conn.execute("PRAGMA query_only = ON")


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors, and the system's, into ours."""
    try:
        yield
    except ClipSearchError:
        raise
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise  # a mistake of ours, not of the disk
    except sqlite3.Error as exc:
        raise _translate(path, exc) from exc
    except OSError as exc:
        name = exc.filename or path
        raise StorageError(
            f"cannot read or write {name}: {exc.strerror or exc}. The index is as it was before; "
            "free some space or fix the permissions, then try again."
        ) from exc


def _translate(path: Path, exc: sqlite3.Error) -> ClipSearchError:
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_BUSY:
        return IndexLockedError(f"{path} is locked by another program: {exc}. Try again later.")
    storage = {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
    }
    if code in storage:
        return StorageError(
            f"{path}: {exc}. The index is as it was before; free some space or fix the "
            "permissions, then try again."
        )
    if str(exc).startswith(_TOO_MUCH):
        return InvalidInputError(f"the filter is too long or nested too deeply: {exc}")
    return IndexCorruptError(
        f"{path} is damaged: {exc}. Restore it from a backup, or delete the folder and index the "
        "source again with `clipsearch index`."
    )
