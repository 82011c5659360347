"""Splitting an index by rows into shards, each of which is an index of its own.

The shards of `indexes/photos` are in `indexes/photos.shards`. A split writes a new subfolder and
then swaps `shards.json`, which names it: that is the commit point, so whatever interrupts a split
leaves the old shards or the new ones. Rows keep their ids, and every shard carries the whole
index's field names and score distributions, so filters, percentiles and `min_score="auto"` mean
the same in a shard as in the whole.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..engine import catalog, digests, schema
from ..engine.compaction import MAX_SEGMENT_ROWS
from ..engine.database import CATALOG, translated
from ..engine.lock import WriterLock
from ..engine.parts import LINK_REMEDY, is_link
from ..engine.reader import Reader
from ..engine.segments import BLOCK_ROWS, write_segment
from ..engine.snapshot import MODALITIES, Snapshot, VectorStore
from ..engine.storage import check_openable
from ..errors import IndexCorruptError, IndexNotFoundError, InvalidInputError
from ..files import replacing, sync
from ..types import Modality
from ..vectors import Halves, Rows

__all__ = ["Shard", "ShardSet", "open_shards", "shard_index", "shards_folder"]

MANIFEST = "shards.json"
_FORMAT = 1
_LOCK_FILE = "shard.lock"
_OWN_FOLDER = re.compile("[0-9a-f]{8}")  # of one set of shards
_OWN_SHARD = re.compile(r"[0-9a-f]{8}/\d{4}-of-\d{4}")
MAX_SHARDS = 4096
_PAGE = 5000  # rows of the catalog copied together
# Of a catalog's tables, those that a shard writes for itself or does without; the FTS tables follow
# by triggers.
_OWN_TABLES = frozenset(
    {
        *("meta", "models", "segments", "tombstones", "ann", "skipped_files", "digests"),
        "removed_items",
    }
)


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard: the folder of an index, and the rows in it."""

    folder: Path
    items: int
    first_row: int
    last_row: int


@dataclass(frozen=True, slots=True)
class ShardSet:
    """All shards of one committed state of an index, by ascending rows."""

    name: str
    generation: int  # of the index that was split
    model_name: str
    fingerprint: str
    dim: int
    shards: tuple[Shard, ...]

    def __len__(self) -> int:
        return len(self.shards)

    @property
    def items(self) -> int:
        """Items of all shards together."""
        return sum(shard.items for shard in self.shards)


def shards_folder(folder: Path) -> Path:
    """Where the shards of an index are: beside it."""
    return folder.with_name(f"{folder.name}.shards")


def open_shards(folder: Path) -> ShardSet:
    """The shards of an index, as their manifest names them.

    Args:
        folder: The folder of the index that was split.

    Raises:
        IndexNotFoundError: The index was not split.
        IndexCorruptError: The manifest cannot be read, or a shard is missing.
    """
    home = shards_folder(folder)
    path = home / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != _FORMAT:
            raise ValueError(f"format {found['format']}, expected {_FORMAT}")
        for shard in found["shards"]:
            if not _OWN_SHARD.fullmatch(shard["folder"]) or is_link(home / shard["folder"]):
                raise ValueError(f"{shard['folder']!r:.100} is no name of a shard")
        shards = tuple(
            Shard(home / s["folder"], int(s["items"]), int(s["first_row"]), int(s["last_row"]))
            for s in found["shards"]
        )
        return ShardSet(
            folder.name,
            int(found["generation"]),
            str(found["model"]),
            str(found["fingerprint"]),
            int(found["dim"]),
            shards,
        )
    except FileNotFoundError as exc:
        raise IndexNotFoundError(
            f"{folder.name} has no shards; split it with: clipsearch shard -i {folder.name} "
            "--shards N"
        ) from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise IndexCorruptError(
            f"{path} is damaged ({exc}); split the index again: clipsearch shard -i {folder.name} "
            "--shards N"
        ) from exc


def shard_index(folder: Path, shards: int) -> ShardSet:
    """Split an index by rows into shards of nearly equal size.

    Args:
        folder: The folder of the index. It stays as it is.
        shards: How many, at least 1 and at most as many as there are items.

    Returns:
        The new shards, which replace earlier ones. Those before the last are deleted; a service
        that still answers from the last ones goes on.

    Raises:
        IndexNotFoundError: There is no index.
        InvalidInputError: The number of shards does not fit.
        IndexCorruptError: A file of the index is damaged, or a link lies where the shards would.
        StorageError: The disk refused; earlier shards are as they were.
    """
    check_openable(folder)
    home = shards_folder(folder)
    if is_link(home):
        raise IndexCorruptError(f"{home} is a symbolic link. {LINK_REMEDY}")
    with translated(home):
        home.mkdir(exist_ok=True)
    with WriterLock(home / _LOCK_FILE, purpose="splitting into").acquire():
        token = secrets.token_hex(4)
        target = home / token
        reader = Reader(folder)
        try:
            found = reader.run(lambda conn, snapshot: _split(conn, snapshot, target, shards))
            with translated(home):
                _publish(home, found)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
        finally:
            reader.close()
    return open_shards(folder)


def _split(
    conn: sqlite3.Connection, snapshot: Snapshot, target: Path, shards: int
) -> dict[str, Any]:
    """Write all shards of one committed state; returns the manifest."""
    rows = catalog.select_rows(conn, "1", ())
    if not 1 <= shards <= min(rows.size, MAX_SHARDS):
        raise InvalidInputError(
            f"cannot split {rows.size:,} items into {shards} shards; choose 1 to "
            f"{max(1, min(rows.size, MAX_SHARDS)):,}"
        )
    shutil.rmtree(target, ignore_errors=True)
    parts = np.array_split(rows, shards)
    entries = []
    for number, part in enumerate(parts, start=1):
        folder = target / f"{number:04d}-of-{shards:04d}"
        with translated(folder):
            _write_shard(conn, snapshot, folder, int(part[0]), int(part[-1]), part.size)
        entries.append(
            {
                "folder": f"{target.name}/{folder.name}",
                "items": int(part.size),
                "first_row": int(part[0]),
                "last_row": int(part[-1]),
            }
        )
    meta = snapshot.meta
    return {
        "format": _FORMAT,
        "generation": snapshot.generation,
        "model": meta["model_name"],
        "fingerprint": meta["fingerprint"],
        "dim": int(meta["dim"]),
        "shards": entries,
    }


def _write_shard(
    source: sqlite3.Connection,
    snapshot: Snapshot,
    folder: Path,
    first: int,
    last: int,
    items: int,
) -> None:
    """Write the rows from `first` to `last` as an index of its own."""
    for name in ("vectors", "ann"):
        (folder / name).mkdir(parents=True)
    meta = snapshot.meta
    names = ("model_name", "fingerprint", "dim", "model_details", "created_at", "updated_at")
    conn = sqlite3.connect(folder / CATALOG, isolation_level=None)
    try:
        schema.create(conn, {name: meta[name] for name in names})
        conn.execute("BEGIN")
        for table in _tables(source):
            _copy(source, conn, table, first, last)
        counts: dict[str, str | int] = {"items": items}
        for modality in MODALITIES:
            counts[f"{modality}s"] = _write_vectors(conn, snapshot, folder, modality)
        counts |= {"generation": snapshot.generation, "next_row": int(meta["next_row"])}
        catalog.set_meta(conn, counts)
        digests.fill(conn, schema.FORMAT_VERSION)
        conn.execute("COMMIT")
        conn.execute("PRAGMA journal_mode = WAL")
    finally:
        conn.close()
    sync(folder)


def _tables(conn: sqlite3.Connection) -> list[str]:
    """Tables of a catalog that a shard takes over."""
    cursor = conn.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    virtual: list[str] = []
    ordinary: list[str] = []
    for name, sql in cursor:
        (virtual if sql and sql.upper().startswith("CREATE VIRTUAL") else ordinary).append(name)
    return [
        name
        for name in ordinary
        if name not in _OWN_TABLES
        and not name.startswith("sqlite_")
        and not any(name.startswith(f"{table}_") for table in virtual)
    ]


def _copy(
    source: sqlite3.Connection, target: sqlite3.Connection, table: str, first: int, last: int
) -> None:
    """Copy a table: the rows of the shard where it is about rows, else the whole of it."""
    columns = [str(column[1]) for column in source.execute(f"PRAGMA table_info({table})")]
    where, values = ("row BETWEEN ? AND ?", (first, last)) if "row" in columns else ("1", ())
    names = ", ".join(f'"{column}"' for column in columns)
    cursor = source.execute(f"SELECT {names} FROM {table} WHERE {where}", values)
    statement = f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))})"
    while page := cursor.fetchmany(_PAGE):
        target.executemany(statement, page)


def _write_vectors(
    conn: sqlite3.Connection, snapshot: Snapshot, folder: Path, modality: Modality
) -> int:
    """Write the vectors of a shard's items as segments; returns how many there are."""
    rows = catalog.vector_rows(conn, modality)
    store = snapshot.store(modality)
    for start in range(0, rows.size, MAX_SEGMENT_ROWS):
        part = rows[start : start + MAX_SEGMENT_ROWS]
        try:
            entry = write_segment(
                folder,
                modality,
                store.dim,
                part.size,
                _blocks(store, part),
            )
        except ValueError as exc:
            raise IndexCorruptError(
                f"{folder.name}: the catalog and the {modality} vectors of the index do not fit "
                f"({exc}); run `clipsearch verify --full`"
            ) from exc
        catalog.insert_segment(conn, entry)
    return int(rows.size)


def _blocks(store: VectorStore, rows: Rows) -> Iterator[tuple[Rows, Halves]]:
    """The vectors that are stored under some rows."""
    for start in range(0, rows.size, BLOCK_ROWS):
        found, vectors = store.take_stored(rows[start : start + BLOCK_ROWS])
        yield found, vectors.astype(np.float16)


def _publish(home: Path, manifest: Mapping[str, Any]) -> None:
    """Make the manifest the one that counts, and delete what it and its predecessor do not name."""
    path = home / MANIFEST
    kept = {str(manifest["shards"][0]["folder"]).partition("/")[0]}
    with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
        before = json.loads(path.read_text(encoding="utf-8"))
        kept.add(str(before["shards"][0]["folder"]).partition("/")[0])
    with replacing(path) as part:
        part.write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        sync(home)  # the shards' folders are there before the manifest names them
    for entry in home.iterdir():
        if _OWN_FOLDER.fullmatch(entry.name) and entry.name not in kept:
            shutil.rmtree(entry, ignore_errors=True)  # never through a link
