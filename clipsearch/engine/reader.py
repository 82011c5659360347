"""Reading an index: every piece of work sees one committed state, and waits for no writer."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from ..errors import (
    IndexCorruptError,
    IndexMigratedError,
    IndexNotFoundError,
    InvalidInputError,
)
from . import catalog
from .database import CATALOG, Connection, connect, translated
from .snapshot import EXACT_ELEMENTS, Snapshot, check_model, load_snapshot

__all__ = ["Reader"]

T = TypeVar("T")
_ATTEMPTS = 20  # a writer would have to delete files under us this often in a row
_abandoned: list[Connection] = []  # of a parent process; closing them here is not allowed


class Reader:
    """Runs work on snapshots of an index, in any number of threads.

    Args:
        folder: The folder of the index.
        exact_elements: Up to how many numbers search is exact.
        on_gpu: Whether a CUDA device searches.
    """

    def __init__(
        self, folder: Path, *, exact_elements: int = EXACT_ELEMENTS, on_gpu: bool = False
    ) -> None:
        self._folder = folder
        self._on_gpu = on_gpu
        self._exact_elements = exact_elements
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._pid = os.getpid()
        self._latest: Snapshot | None = None
        self._fingerprint: str | None = None  # of the model that the index had when it was opened
        self._file: tuple[int, int] | None = None  # device and number of its catalog then
        self._closed = False

    def run(self, work: Callable[[sqlite3.Connection, Snapshot], T]) -> T:
        """Run work within one read transaction.

        Args:
            work: Called with a connection within the transaction and the state that it sees.

        Returns:
            What `work` returns.

        Raises:
            IndexNotFoundError: The index has been deleted or moved.
            IndexMigratedError: The index has been migrated to another model since it was opened,
                or there is another one in its place.
            IndexCorruptError: A file of the index is missing or damaged.
            StorageError: A file cannot be read.
        """
        self.check_place()
        seen = -1
        for _ in range(_ATTEMPTS):
            with self._transaction() as conn:
                generation = catalog.generation(conn)
                try:
                    snapshot = self._snapshot(conn, generation)
                except IndexCorruptError:
                    # A commit after our transaction began may have deleted files that this state
                    # names; then a new transaction sees a newer state.
                    if generation == seen:
                        raise
                    seen = generation
                    continue
                check_model(self._folder, snapshot.meta, self._fingerprint)
                self._fingerprint = str(snapshot.meta["fingerprint"])
                return work(conn, snapshot)
        raise IndexCorruptError(
            f"{self._folder} changes faster than it can be opened. Try again when the writer is "
            "done; if there is none, run `clipsearch verify --full`."
        )

    def check_place(self) -> None:
        """Raise what `run` raises where the index is not in its folder any more.

        Its open files outlive it: without this, they would answer for it.
        """
        try:
            found = os.stat(self._folder / CATALOG)
        except FileNotFoundError as exc:
            if self._file is None:
                return  # opening it says what is missing
            raise IndexNotFoundError(f"index {self._folder.name} is gone") from exc
        file = (found.st_dev, found.st_ino)
        if self._file not in (None, file):
            raise IndexMigratedError(
                f"there is another index in the place of {self._folder.name} since it was opened; "
                "open it again, or run the command again"
            )
        self._file = file

    def _snapshot(self, conn: sqlite3.Connection, generation: int) -> Snapshot:
        latest = self._latest
        if latest is not None and latest.generation == generation:
            return latest
        loaded = load_snapshot(
            self._folder,
            conn,
            previous=latest,
            exact_elements=self._exact_elements,
            on_gpu=self._on_gpu,
        )
        with self._lock:
            if self._latest is None or self._latest.generation < generation:
                self._latest = loaded
        return loaded

    def forget(self) -> None:
        """Open the index anew for the next piece of work, whatever its model is by then."""
        with self._lock:
            self._latest = None
            self._fingerprint = None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        conn = self._take()
        try:
            with translated(self._folder / CATALOG):
                conn.execute("BEGIN")
                yield conn
        finally:
            self._give(conn)

    def _take(self) -> Connection:
        with self._lock:
            if self._closed:
                raise InvalidInputError(f"{self._folder} is closed; open it again to use it")
            if self._pid != os.getpid():  # after a fork
                _abandoned.extend(self._idle)
                self._idle = []
                self._pid = os.getpid()
            if self._idle:
                return self._idle.pop()
        return connect(self._folder)

    def _give(self, conn: Connection) -> None:
        try:
            if conn.in_transaction:
                conn.execute("ROLLBACK")  # nothing was written
        except sqlite3.Error:
            conn.close()
            return
        with self._lock:
            if not self._closed and conn.reusable:
                self._idle.append(conn)
                return
        conn.close()

    def close(self) -> None:
        """Close all files. Work that is under way ends as it should."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            self._latest = None
        if self._pid != os.getpid():
            _abandoned.extend(idle)
            return
        for conn in idle:
            conn.close()
