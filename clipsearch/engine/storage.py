"""The folder of an index: making it, recognising it, describing it."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import IndexCorruptError, IndexExistsError, IndexNotFoundError, IndexVersionError
from ..files import is_temporary, replacing, sync
from . import schema, skipped, vectorsets
from .database import CATALOG, connect, translated
from .file_facts import REMEDY
from .lock import WriterLock
from .parts import COMMITTED, NEW_CATALOG, SUBFOLDERS, check_path, refuse_links
from .snapshot import MODALITIES, Snapshot
from .writer import LOCK_FILE

if TYPE_CHECKING:
    from ..encoder import Encoder

__all__ = ["check_openable", "create", "info", "is_index"]

_OLD_NEW = f"{CATALOG}.new"  # what earlier versions called a catalog that is being made


def is_index(folder: Path) -> bool:
    """Whether there is an index in a folder."""
    try:
        return (folder / CATALOG).is_file()
    except OSError:  # a name that is too long, or may not be looked at
        return False


def create(folder: Path, encoder: Encoder, *, exist_ok: bool = False) -> None:
    """Make an empty index; whatever interrupts this, there is an index afterwards or none.

    Args:
        folder: A folder that does not exist or is empty.
        encoder: The model whose vectors the index will hold.
        exist_ok: Whether it is fine that another process has just made it.

    Raises:
        IndexExistsError: There is an index, or there are other files.
        IndexCorruptError: A link lies where a part of the index would be.
        InvalidInputError: The path is too long.
        StorageError: The folder cannot be written.
    """
    check_path(folder, name=NEW_CATALOG)
    _refuse_if_taken(folder)
    refuse_links(folder)
    with translated(folder):
        made = [path for path in folder.parents if not path.exists()]
        for name in SUBFOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
    with WriterLock(folder / LOCK_FILE).acquire(wait=True), translated(folder / CATALOG):
        if is_index(folder) and exist_ok:
            return
        _refuse_if_taken(folder)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with (
            replacing(folder / CATALOG) as new,
            contextlib.closing(sqlite3.connect(new, isolation_level=None)) as conn,
        ):
            conn.execute("PRAGMA synchronous = FULL")
            schema.create(
                conn,
                {
                    "model_name": encoder.name,
                    "fingerprint": encoder.fingerprint,
                    "dim": int(encoder.dim),
                    "model_details": vectorsets.details(encoder),
                    "created_at": now,
                    "updated_at": now,
                },
            )
            conn.execute("PRAGMA journal_mode = WAL")
        for path in (folder, *made):
            sync(path.parent)


def _refuse_if_taken(folder: Path) -> None:
    if is_index(folder):
        raise IndexExistsError(
            f"{folder} already is an index. Open it with Index.open, or choose another name."
        )
    ours = {
        *SUBFOLDERS,
        LOCK_FILE,
        COMMITTED,
        *(_OLD_NEW + end for end in ("", "-journal", "-wal", "-shm")),
    }
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        names = (path.name for path in folder.iterdir())
        others = sorted(name for name in names if name not in ours and not is_temporary(name))
        if others:
            raise IndexExistsError(
                f"{folder} is not an index and not empty (it holds {others[0]}). Choose an empty "
                "or new folder for the index."
            )
    if folder.exists() and not folder.is_dir():
        raise IndexExistsError(f"{folder} is a file. Choose a new folder for the index.")


def check_openable(folder: Path) -> None:
    """Check that there is an index of a version that can be read; migrate an older one.

    Raises:
        IndexNotFoundError: There is none.
        IndexVersionError: It is newer than this version of clipsearch can read, or older and the
            folder cannot be written.
        IndexCorruptError: The catalog is missing, truncated or no catalog.
        InvalidInputError: The path is too long.
    """
    check_path(folder)
    if not is_index(folder):
        raise _not_found(folder)
    path = folder / CATALOG
    conn = connect(folder)
    try:
        with translated(path):
            version = schema.version_of(conn, str(path))
    finally:
        conn.close()
    if version < schema.FORMAT_VERSION:
        _migrate(folder, version)


def _migrate(folder: Path, version: int) -> None:
    if not os.access(folder, os.W_OK):
        raise IndexVersionError(
            f"{folder} has format version {version} and must be brought to version "
            f"{schema.FORMAT_VERSION}, but cannot be written. Open it once with write permission."
        )
    with WriterLock(folder / LOCK_FILE, purpose="migrating").acquire(wait=True):
        conn = connect(folder, write=True)
        try:
            with translated(folder / CATALOG):
                # Another process may have migrated it while this one waited.
                version = schema.version_of(conn, str(folder / CATALOG))
                if version < schema.FORMAT_VERSION:
                    schema.migrate(conn, version)
        finally:
            conn.close()


def _not_found(folder: Path) -> IndexNotFoundError | IndexCorruptError:
    if any((folder / "vectors").glob("*.npy")):
        return IndexCorruptError(f"{folder / CATALOG} is missing, but there are vectors. {REMEDY}")
    beside: list[str] = []
    with contextlib.suppress(OSError):
        beside = sorted(path.name for path in folder.parent.iterdir() if is_index(path))
    there = f"Beside it: {', '.join(beside)}." if beside else "There is none beside it."
    return IndexNotFoundError(
        f"there is no index at {folder}. {there} Make one: clipsearch index SOURCE -i {folder.name}"
    )


def info(folder: Path, conn: sqlite3.Connection, snapshot: Snapshot) -> dict[str, Any]:
    """What an index is and holds, as JSON-able data."""
    meta = snapshot.meta
    stores = snapshot.stores.values()
    anns = {}
    for modality in MODALITIES:
        ann = snapshot.store(modality).ann
        anns[modality] = (
            None
            if ann is None
            else {
                "kind": ann.entry.kind,
                "covered": ann.entry.count,
                "uncovered": snapshot.store(modality).tail_count(),
                "recall_at_10": ann.entry.recall_at_10,
                "parameters": ann.entry.parameters,
                "size_bytes": ann.entry.facts.size_bytes,
                "built_at": ann.entry.built_at,
            }
        )
    return {
        "name": folder.name,
        "path": str(folder),
        "items": int(meta["items"]),
        "images": int(meta["images"]),
        "captions": int(meta["captions"]),
        "away": len(snapshot.away.left()),
        "dim": int(meta["dim"]),
        "model": {
            "name": meta["model_name"],
            "fingerprint": meta["fingerprint"],
            **json.loads(meta["model_details"]),
        },
        "kept_models": [
            {"name": kept.name, "fingerprint": kept.fingerprint, "left_at": kept.left_at}
            for kept in vectorsets.kept(conn)
        ],
        "generation": snapshot.generation,
        "size_bytes": size_bytes(folder),
        "segments": sum(len(store.segments) for store in stores),
        "tombstones": sum(int(store.deleted.size) for store in stores),
        "ann": anns,
        "skipped": skipped.count(conn),
        "notes": list(snapshot.notes),
        "created_at": meta["created_at"],
        "updated_at": meta["updated_at"],
        "format_version": schema.version_of(conn, str(folder / CATALOG)),
    }


def size_bytes(folder: Path) -> int:
    """Bytes of all files of an index."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total
