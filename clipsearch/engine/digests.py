"""Digests of the catalog's rows, by which an altered bit is noticed that SQLite takes for data.

The table `digests` has a number for every block of rows of every other table: the digests of the
rows, joined by XOR, so that they come and go in any order. It changes in the transaction that
changes the rows. Triggers of a writer's own connection see to that, but for the inserts into a few
tables that get thousands of rows at a time, which `include` digests together.
"""

from __future__ import annotations

import marshal
import sqlite3
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import IndexCorruptError
from .file_facts import REMEDY

__all__ = ["SMALL", "add", "altered", "check", "fill", "include", "is_schema_of", "watch"]

# What is read before anything else is, and always has few rows.
SMALL = ("meta", "models", "segments", "ann", "backgrounds", "extra_fields")
_LARGE = ("items", "tags", "thumbprints")  # whose inserts `include` digests
_SCHEMA = "sqlite_schema"
_BLOCK_BITS = 10  # 1,024 rows a block, in tables that have rows of items
_ODD, _MOST = 0x9E3779B97F4A7C15, 2**63 - 1
# Triggers on the tables of FTS5 crash SQLite; what is in them can be held against the captions.
_TABLES = (
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql LIKE 'CREATE TABLE %' "
    "AND name <> 'digests' AND name NOT GLOB 'words_*' AND name NOT GLOB 'sqlite_*' ORDER BY name"
)
_ADD = (
    "INSERT INTO digests (name, block, digest) VALUES {} ON CONFLICT (name, block) "
    "DO UPDATE SET digest = (digest | excluded.digest) - (digest & excluded.digest)"  # XOR
)


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    columns: tuple[str, ...]
    keys: tuple[str, ...]  # of its primary key

    def block(self, prefix: str = "") -> str:
        """The block of a row in SQL."""
        return f'{prefix}"row" >> {_BLOCK_BITS}' if "row" in self.columns else "0"

    def digest(self, prefix: str = "") -> str:
        """The digest of a row in SQL."""
        columns = (f'{prefix}"{name}"' for name in self.columns)
        return f"row_digest({', '.join(columns)})"

    def stored(self) -> str:
        """The digest of the row `new` in SQL, as it was stored: 1 in a column of floats is 1.0."""
        same = " AND ".join(f'"{key}" = new."{key}"' for key in self.keys)
        return f"(SELECT {self.digest()} FROM main.{self.name} WHERE {same})"


def _row_digest(*values: Any) -> int:
    # Of the ways to write values, the fast one. Every flipped bit changes the checksum; multiplied,
    # checksums do not cancel out where values have changed places.
    return zlib.crc32(marshal.dumps(values, 2)) * _ODD & _MOST


def _tables(conn: sqlite3.Connection, names: Collection[str] | None = None) -> Iterator[_Table]:
    conn.create_function("row_digest", -1, _row_digest, deterministic=True)
    for (name,) in conn.execute(_TABLES).fetchall():
        if names is None or name in names:
            yield _table(conn, name)


def _table(conn: sqlite3.Connection, name: str) -> _Table:
    info = conn.execute("SELECT name, pk FROM pragma_table_info(?)", (name,)).fetchall()
    return _Table(name, tuple(n for n, _ in info), tuple(n for n, pk in info if pk))


def watch(conn: sqlite3.Connection) -> None:
    """Keep the digests in step with whatever a writer's connection changes from here on."""
    conn.execute("PRAGMA recursive_triggers = ON")  # or REPLACE deletes rows without a word
    for table in _tables(conn):
        gone = f"('{table.name}', {table.block('old.')}, {table.digest('old.')})"
        new = f"('{table.name}', {table.block('new.')}, {table.stored()})"
        events = {"DELETE": gone, "UPDATE": f"{gone}, {new}"}
        if table.name not in _LARGE:
            events["INSERT"] = new
        for event, rows in events.items():
            conn.execute(
                f"CREATE TEMP TRIGGER {table.name}_{event.lower()} AFTER {event} "
                f"ON main.{table.name} BEGIN {_ADD.format(rows)}; END"
            )


def include(conn: sqlite3.Connection, name: str, where: str, values: Sequence[Any] = ()) -> None:
    """Digest the rows that were just inserted into a large table.

    Args:
        conn: The writer's connection.
        name: Of the table.
        where: A condition in SQL that only these rows satisfy.
        values: What its placeholders stand for.
    """
    sums = _sums(conn, _table(conn, name), where, values)
    conn.executemany(_ADD.format("(?, ?, ?)"), ((name, *pair) for pair in sums.items()))


def add(conn: sqlite3.Connection, name: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Digest rows that were just inserted into a large table, all columns of exact types."""
    digest = 0
    for row in rows:
        digest ^= _row_digest(*row)
    conn.execute(_ADD.format("(?, 0, ?)"), (name, digest))


def fill(conn: sqlite3.Connection, version: int) -> None:
    """Digest a whole catalog that was just made or migrated, whose version that is."""
    conn.execute("DELETE FROM digests")
    for table in _tables(conn):
        include(conn, table.name, "1")
    conn.execute(_ADD.format("(?, 0, ?)"), (_SCHEMA, _schema(conn, version)))


def is_schema_of(conn: sqlite3.Connection, version: int) -> bool:
    """Whether a catalog has the schema that it was given, and that with this version."""
    try:
        found = conn.execute("SELECT digest FROM digests WHERE name = ?", (_SCHEMA,)).fetchone()
    except sqlite3.OperationalError:  # there are none in older versions
        return False
    return found is not None and found[0] == _schema(conn, version)


def check(conn: sqlite3.Connection, catalog: Path) -> None:
    """Check the tables that are read before anything else.

    Raises:
        IndexCorruptError: One is not as it was written.
    """
    for what in altered(conn, SMALL):
        raise IndexCorruptError(f"{catalog} is damaged: {what}. {REMEDY}")


def altered(conn: sqlite3.Connection, names: Collection[str] | None = None) -> Iterator[str]:
    """What is not as it was written, the schema first.

    Args:
        conn: A connection within a transaction.
        names: Of the tables to look at, `sqlite_schema` among them or not; None for all.

    Yields:
        Sentences for people.
    """
    try:
        (version,) = conn.execute("PRAGMA user_version").fetchone()
        whole = names is None or _SCHEMA in names
        if whole and not is_schema_of(conn, version):
            yield "its schema is not as it was written"
        for table in _tables(conn, names):
            yield from _altered(conn, table)
    except sqlite3.Error as exc:
        yield f"it cannot be read: {exc}"


def _altered(conn: sqlite3.Connection, table: _Table) -> Iterator[str]:
    known = dict(conn.execute("SELECT block, digest FROM digests WHERE name = ?", (table.name,)))
    try:
        found = _sums(conn, table, "1", ())
    except sqlite3.Error as exc:
        yield f"the table {table.name} cannot be read: {exc}"
        return
    for block in sorted(known.keys() | found.keys()):
        if known.get(block, 0) != found.get(block, 0):
            first = block << _BLOCK_BITS
            rows = f" between the rows {first} and {first + (1 << _BLOCK_BITS) - 1}"
            where = rows if "row" in table.columns else ""
            yield f"the table {table.name} is not as it was written{where}"


def _sums(
    conn: sqlite3.Connection, table: _Table, where: str, values: Sequence[Any]
) -> dict[int, int]:
    sums: dict[int, int] = {}
    query = f"SELECT {table.block()}, {table.digest()} FROM {table.name} WHERE {where}"
    for block, digest in conn.execute(query, values):
        sums[block] = sums.get(block, 0) ^ digest
    return sums


def _schema(conn: sqlite3.Connection, version: int) -> int:
    digest = 0
    for fields in conn.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema"):
        digest ^= _row_digest(version, *fields)
    return digest
