"""Connections to the catalog's SQLite database, and its errors in our words."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
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
from ..files import advice
from ..ordering import name_key
from . import digests
from .columns import is_exact
from .file_facts import REMEDY
from .foreign import check_schema, refuse_journal
from .parts import CATALOG, refuse_links

__all__ = ["CATALOG", "Connection", "connect", "is_filled", "stamp", "translated"]

_BUSY_S = 30.0
_Value = str | bytes | int | float | None  # of SQLite
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
# How SQLite says that a statement is over one of its limits.
_TOO_MUCH = re.compile("parser stack|Expression tree|too many|at most|too complex|too (big|large)")
# What comes of values that no writer could have stored.
_ODD_VALUES = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError)
# SQLite's errors of the disk, with the system's number where there is one.
_STORAGE = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_IOERR: None,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: None,
    sqlite3.SQLITE_PERM: errno.EACCES,
}
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
        write: Whether it may change the catalog. A reader of a folder without write permission,
            or on a full disk, falls back to a read-only connection, which is not `reusable` if
            SQLite cannot follow changes there.

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
            except sqlite3.OperationalError as exc:
                conn.close()
                if mode == modes[-1] or (os.access(folder, os.W_OK) and not _is_full(path, exc)):
                    raise
            except BaseException:
                conn.close()
                raise
            else:
                return conn
    raise AssertionError("unreachable")


def _is_full(path: Path, exc: sqlite3.OperationalError) -> bool:
    """Whether a disk without space keeps SQLite from opening a catalog that is whole by itself."""
    if exc.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return False
    return not is_filled(path.with_name(f"{path.name}-wal"))


def is_filled(path: Path) -> bool:
    """Whether there is a file with anything in it."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


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
def translated(path: Path, conn: sqlite3.Connection | None = None) -> Iterator[None]:
    """Turn SQLite's errors, and the system's, into ours.

    Args:
        path: The catalog.
        conn: A connection to it, with which it is told apart whether the catalog is damaged or
            what was asked is too much. None where nothing is asked but what every catalog has.
    """
    try:
        yield
    except ClipSearchError:
        raise
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise  # a mistake of ours, not of the disk
    except sqlite3.Error as exc:
        raise _translate(path, exc, conn) from exc
    except OSError as exc:
        name = exc.filename or path
        raise StorageError(
            f"cannot read or write {name}: {exc.strerror or exc}. {advice(exc.errno)}"
        ) from exc
    except UnicodeEncodeError as exc:  # of what was asked for; nothing that is stored is like that
        raise InvalidInputError(f"the text cannot be looked up: {exc}") from exc
    except UnicodeDecodeError as exc:  # a text of the catalog, or a name in a message of SQLite
        raise IndexCorruptError(f"{path} is damaged: {exc}. {REMEDY}") from exc
    except _ODD_VALUES as exc:
        what = _damage(conn)
        if what is None and isinstance(exc, OverflowError):
            raise InvalidInputError(f"the number cannot be looked up: {exc}") from exc
        if what is None:
            raise  # a mistake of ours
        raise IndexCorruptError(f"{path} is damaged: {what}. {REMEDY}") from exc


def _translate(path: Path, exc: sqlite3.Error, conn: sqlite3.Connection | None) -> ClipSearchError:
    full = getattr(exc, "sqlite_errorcode", None)  # None: of Python's module, or of ours
    code = None if full is None else full & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return IndexLockedError(f"{path} is locked by another program: {exc}. Try again later.")
    if code in _STORAGE:
        if full == sqlite3.SQLITE_IOERR_SHMSIZE:
            return StorageError(f"{path}: the disk is full. {advice(errno.ENOSPC)}")
        return StorageError(f"{path}: {exc}. {advice(_STORAGE[code])}")
    what: str | None = str(exc)
    if code is not None and code not in _DAMAGE:
        what = None if _TOO_MUCH.search(str(exc)) else _damage(conn) if conn else str(exc)
    if what is None:
        return InvalidInputError(
            f"SQLite cannot answer this: {exc}. Make the filter or the query simpler or shorter."
        )
    return IndexCorruptError(f"{path} is damaged: {what}. {REMEDY}")


def _damage(conn: sqlite3.Connection | None) -> str | None:
    """What in the catalog is not as it was written, if anything is."""
    return None if conn is None else next(digests.altered(conn), None)
