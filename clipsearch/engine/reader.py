"""Reading an index: every piece of work sees one committed state, and waits for no writer."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..errors import (
    IndexCorruptError,
    IndexMigratedError,
    IndexNotFoundError,
    InvalidInputError,
    StorageError,
)
from .away import Away, Returns
from .database import CATALOG, Connection, connect, stamp, translated
from .identity import State, check_same, state_of
from .snapshot import EXACT_ELEMENTS, Snapshot, load_snapshot

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
        self._returns = Returns()
        # the commit, rows whose files are back, and the latest state as it is seen with them
        self._view: tuple[str, frozenset[int], Snapshot] | None = None
        self._opened: State | None = None
        self._stamp: tuple[int, ...] = ()  # of the catalog that the idle connections are of
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def opened(self) -> State | None:
        """The first state that was read: what is read later is of the same index and model."""
        return self._opened

    def run(self, work: Callable[[sqlite3.Connection, Snapshot], T]) -> T:
        """Run work within one read transaction.

        Args:
            work: Called with a connection within the transaction and the state that it sees.

        Returns:
            What `work` returns.

        Raises:
            IndexNotFoundError: The index was deleted or moved.
            IndexMigratedError: The index was migrated to another model, or replaced, since it was
                opened.
            IndexCorruptError: A file of the index is missing or damaged.
            StorageError: A file cannot be read.
        """
        seen = ""
        for _ in range(_ATTEMPTS):
            with self._transaction() as (conn, state):
                try:
                    snapshot = self._snapshot(conn, state)
                except IndexCorruptError:
                    # A commit after our transaction began may have deleted files that this state
                    # names; then a new transaction sees a newer state.
                    if state.commit_id == seen:
                        raise
                    seen = state.commit_id
                    continue
                return work(conn, self._seen(conn, snapshot))
        raise IndexCorruptError(
            f"{self._folder} changes faster than it can be opened. Try again when the writer is "
            "done; if there is none, run `clipsearch verify --full`."
        )

    def state(self) -> State:
        """The state that there is now, of which no file is read but the catalog.

        Raises:
            IndexNotFoundError, IndexMigratedError, StorageError: As `run`.
        """
        with self._transaction() as (_, state):
            return state

    def _snapshot(self, conn: sqlite3.Connection, state: State) -> Snapshot:
        latest = self._latest
        if latest is not None and latest.commit_id == state.commit_id:
            return latest
        loaded = load_snapshot(
            self._folder,
            conn,
            previous=latest,
            exact_elements=self._exact_elements,
            on_gpu=self._on_gpu,
        )
        with self._lock:
            # Another thread may have read a newer one meanwhile. A lower number alone means
            # nothing: an older copy may have been restored.
            if self._latest is latest or (
                self._latest is not None and self._latest.generation < loaded.generation
            ):
                self._latest = loaded
        return loaded

    def _seen(self, conn: sqlite3.Connection, snapshot: Snapshot) -> Snapshot:
        """A state as files are now: those of items that were away may be there again."""
        missing = snapshot.away.missing
        if not missing:
            return snapshot
        back = self._returns.of(conn, snapshot.commit_id)
        seen = self._view
        if seen is None or seen[0] != snapshot.commit_id or seen[1] is not back:
            rows = np.array(sorted(back), np.int64)
            seen = snapshot.commit_id, back, snapshot.without(Away(missing, rows))
            self._view = seen
        return seen[2]

    def forget(self) -> None:
        """Read the index from now on whatever it is, and whatever its model."""
        with self._lock:
            self._opened = None
        self._let_go()

    def _let_go(self) -> None:
        """Keep nothing open or in memory, nor connections that are given back later."""
        with self._lock:
            self._latest = self._view = None
            self._stamp = ()
            idle, self._idle = self._idle, []
            if self._pid != os.getpid():
                _abandoned.extend(idle)
                return
        for conn in idle:
            conn.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[tuple[Connection, State]]:
        """A connection within a transaction, and the state that it sees."""
        conn = self._take()
        try:
            with translated(self._folder / CATALOG, conn):
                conn.execute("BEGIN")
                state = state_of(conn)
                check_same(self._folder, conn, state, self._opened)
                if self._opened is None:
                    self._opened = state
                yield conn, state
        except IndexMigratedError:
            self._let_go()
            raise
        finally:
            self._give(conn)

    def _take(self) -> Connection:
        now = self._look()
        with self._lock:
            if self._closed:
                raise InvalidInputError(f"{self._folder} is closed; open it again to use it")
            if self._pid != os.getpid():  # after a fork
                _abandoned.extend(self._idle)
                self._idle = []
                self._pid = os.getpid()
            outdated: list[Connection] = []
            if self._stamp != now:
                outdated, self._idle = self._idle, []
                self._stamp = now
            known = self._idle.pop() if self._idle else None
        for conn in outdated:
            conn.close()
        if known is not None:
            return known
        new = connect(self._folder)
        new.stamp = now
        return new

    def _look(self) -> tuple[int, ...]:
        """The stamp of the catalog. Open files outlive an index that is gone: they tell nothing."""
        try:
            with translated(self._folder / CATALOG):
                return stamp(self._folder)
        except StorageError as exc:
            if not isinstance(exc.__cause__, FileNotFoundError):
                raise
            if self._opened is None:
                return ()  # opening it says what is missing
            self._let_go()
            raise IndexNotFoundError(f"index {self._folder.name} is gone") from exc

    def _give(self, conn: Connection) -> None:
        try:
            if conn.in_transaction:
                conn.execute("ROLLBACK")  # nothing was written
        except sqlite3.Error:
            conn.close()
            return
        with self._lock:
            if not self._closed and conn.reusable and conn.stamp == self._stamp:
                self._idle.append(conn)
                return
        conn.close()

    def close(self) -> None:
        """Close all files. Work that is under way ends as it should."""
        with self._lock:
            self._closed = True
        self._let_go()
