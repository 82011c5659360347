"""Checking that an index is whole: nothing missing, altered, lost or doubled."""

from __future__ import annotations

import dataclasses
import itertools
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ClipSearchError, IndexCorruptError
from ..types import Modality
from ..vectors import Rows, is_in
from . import catalog, committed, digests, vectorsets, words_check
from .ann import ANN_REMEDY, Ann, ann_file, open_ann
from .database import CATALOG, connect, translated
from .file_facts import SegmentEntry, check_file
from .garbage import strangers
from .identity import State, state_of
from .parts import COMMITTED
from .segments import Segment, segment_files
from .snapshot import EXACT_ELEMENTS, MODALITIES, VectorStore
from .storage import check_openable

__all__ = ["Verification", "verify"]

_MOST_PROBLEMS = 100  # listed; a broken disk can have millions
_SAMPLE = 20  # stored vectors that are searched for
_UNIT_ERROR = 2e-3  # float16 rounds each number to 2^-11 of itself
_REINDEX = "Restore the index from a backup, or index the source again into a new index."
_NO_COPY = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)  # disk errors
# What is held against its digests without --full, too.
_ALSO = ("sqlite_schema", "documents", "tombstones", "probes")
_NOT_FULL = (
    "without --full, the content of items, captions, tags and vectors was not compared with what "
    "was written, nor the keyword index with the captions"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What `Index.verify` found."""

    generation: int
    full: bool
    items: int
    segments: int
    checked_bytes: int
    problems: tuple[str, ...] = field(default=())  # each with what to do about it
    notes: tuple[str, ...] = field(default=())  # nothing that makes an answer wrong

    @property
    def ok(self) -> bool:
        """Whether the index is sound."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {"ok": self.ok, **dataclasses.asdict(self)}


def verify(folder: Path, *, full: bool = False) -> Verification:
    """Check an index; searches and a writer may go on meanwhile.

    Args:
        folder: The folder of the index.
        full: Whether to read and hash every file and row, and to hold the keyword index against the
            captions and ANN search against exact search. Otherwise sizes, counts and rows are
            checked, and what the index says of itself.

    Returns:
        What was found. A damaged file is a problem in the report, not an error.

    Raises:
        IndexNotFoundError: There is no index.
        IndexVersionError: It was written by a newer clipsearch.
    """
    try:
        check_openable(folder)
    except IndexCorruptError as exc:
        return Verification(
            generation=0, full=full, items=0, segments=0, checked_bytes=0, problems=(str(exc),)
        )
    while True:
        check = _Check(folder, full=full)
        found = check.run()
        if found.ok or check.unchanged():
            return found
        # A writer may have deleted files of the state that was being checked: check the new one.


class _Check:
    """One run over one committed state."""

    def __init__(self, folder: Path, *, full: bool) -> None:
        self._folder = folder
        self._full = full
        self._problems: list[str] = []
        self._notes: list[str] = []
        self._bytes = 0
        self._state: State | None = None

    def run(self) -> Verification:
        items = 0
        entries: list[SegmentEntry] = []
        try:
            conn = connect(self._folder)
            try:
                with translated(self._folder / CATALOG, conn):
                    conn.execute("BEGIN")
                    self._state = state_of(conn)
                    self._commits(self._state)
                    items = self._catalog(conn)
                    self._digests(conn)
                    if self._full:
                        self._words(conn)
                    entries = catalog.segments(conn)
                    dim = int(catalog.meta(conn)["dim"])
                    for modality in MODALITIES:
                        self._modality(conn, modality, dim)
                    for model in vectorsets.kept(conn):
                        for entry in catalog.segments(conn, model.fingerprint):
                            self._segment(entry, model.dim)
                    conn.execute("ROLLBACK")
            finally:
                conn.close()
        except ClipSearchError as exc:
            self._problems.append(str(exc))
        if not self._full:
            self._notes.append(_NOT_FULL)
        self._notes += [
            f"{path} does not belong to the index and is left alone"
            for path in strangers(self._folder)
        ]
        problems = self._problems[:_MOST_PROBLEMS]
        if len(self._problems) > _MOST_PROBLEMS:
            problems.append(f"... and {len(self._problems) - _MOST_PROBLEMS} more")
        return Verification(
            generation=0 if self._state is None else self._state.generation,
            full=self._full,
            items=items,
            segments=len(entries),
            checked_bytes=self._bytes,
            problems=tuple(problems),
            notes=tuple(self._notes),
        )

    def unchanged(self) -> bool:
        try:
            conn = connect(self._folder)
            try:
                return state_of(conn) == self._state
            finally:
                conn.close()
        except (ClipSearchError, sqlite3.Error, ValueError):
            return True

    def _catalog(self, conn: sqlite3.Connection) -> int:
        """Check the catalog itself; returns how many items it has."""
        path = self._folder / CATALOG
        self._bytes += path.stat().st_size
        pragma = "integrity_check" if self._full else "quick_check"
        for (line,) in conn.execute(f"PRAGMA {pragma}(10)").fetchall():
            if line != "ok":
                self._problems.append(f"{path} is damaged: {line}. {_REINDEX}")
        meta = catalog.meta(conn)
        counts = catalog.counts(conn)
        for name, count in counts.items():
            if name in meta and int(meta[name]) != count:
                self._problems.append(
                    f"{path} is damaged: it says {meta[name]} {name}, but has {count}. {_REINDEX}"
                )
        if counts["words"] != counts["with_caption_text"]:
            self._problems.append(
                f"{path} is damaged: {counts['words']} captions are in the keyword index instead "
                f"of {counts['with_caption_text']}. {_REINDEX}"
            )
        if counts["stray_away"]:
            self._problems.append(
                f"{path} is damaged: {counts['stray_away']} items that are away do not exist. "
                f"{_REINDEX}"
            )
        for what in ("tags", "albums"):
            if stray := counts[f"stray_{what}"]:
                self._problems.append(
                    f"{path} is damaged: {stray} {what} belong to no item. {_REINDEX}"
                )
        return counts["items"]

    def _commits(self, state: State) -> None:
        """Check that the catalog has the last commit that was made."""
        later = committed.later(self._folder, state)
        if later is not None:
            self._problems.append(
                f"{self._folder / CATALOG} has state {state.generation}, but state {later} was "
                "committed here. Either this is an older copy, or one that was made while the "
                f"index was being written, or the end of {CATALOG}-wal is damaged or was left "
                "behind. To go back to the later state, restore a backup of it; to go on with "
                f"this one, run `clipsearch index` again, or delete {COMMITTED}."
            )

    def _digests(self, conn: sqlite3.Connection) -> None:
        """Hold rows against their digests: of all tables, or of those that have few."""
        names = None if self._full else {*digests.SMALL, *_ALSO}
        path = self._folder / CATALOG
        self._problems += [
            f"{path} is damaged: {what}. {_REINDEX}" for what in digests.altered(conn, names)
        ]

    def _words(self, conn: sqlite3.Connection) -> None:
        """Let FTS5 hold the keyword index against the captions, in a copy: it needs to write."""
        try:
            words_check.check(conn)
        except sqlite3.Error as exc:
            path = self._folder / CATALOG
            if getattr(exc, "sqlite_errorcode", 0) & 0xFF in _NO_COPY:
                self._notes.append(f"the keyword index of {path} could not be checked: {exc}")
                return
            self._problems.append(
                f"{path} is damaged: the keyword index does not fit the captions: {exc}. {_REINDEX}"
            )

    def _modality(self, conn: sqlite3.Connection, modality: Modality, dim: int) -> None:
        entries = [e for e in catalog.segments(conn) if e.modality == modality]
        for one, next_one in itertools.pairwise(entries):
            if one.last_row >= next_one.first_row:
                self._problems.append(
                    f"segments {one.name} and {next_one.name} overlap. {_REINDEX}"
                )
        segments = [s for e in entries if (s := self._segment(e, dim)) is not None]
        if len(segments) < len(entries):
            return  # what is missing has been reported; comparing rows would only repeat it
        deleted = catalog.tombstones(conn, modality)
        stored = np.concatenate([np.empty(0, np.int64), *(s.rows for s in segments)])
        self._rows(conn, modality, stored, deleted)
        entry = catalog.ann_entries(conn).get(modality)
        if entry is None:
            return
        path = ann_file(self._folder, entry.name)
        try:
            check_file(path, entry.facts, full=self._full, remedy=ANN_REMEDY)
            self._bytes += entry.facts.size_bytes
            ann = open_ann(self._folder, entry, dim)
        except IndexCorruptError as exc:
            self._problems.append(str(exc))
            return
        if self._full:
            renamed = catalog.renamed_rows(conn, modality)
            store = VectorStore(segments, deleted, ann, dim, EXACT_ELEMENTS, renamed=renamed)
            self._recall(store, ann, path)

    def _segment(self, entry: SegmentEntry, dim: int) -> Segment | None:
        try:
            for path, facts in zip(
                segment_files(self._folder, entry.name), (entry.vectors, entry.rows), strict=True
            ):
                check_file(path, facts, full=self._full)
                self._bytes += facts.size_bytes
            segment = Segment(self._folder, entry, dim)
            if self._full:
                self._values(segment)
        except IndexCorruptError as exc:
            self._problems.append(str(exc))
            return None
        return segment

    def _values(self, segment: Segment) -> None:
        """Check that every vector is finite and of unit length."""
        for rows, vectors in segment.blocks():
            lengths = np.linalg.norm(vectors, axis=1)
            wrong = ~(np.abs(lengths - 1.0) < _UNIT_ERROR)
            if wrong.any():
                raise IndexCorruptError(
                    f"segment {segment.entry.name} is damaged: the vector of row "
                    f"{int(rows[wrong.argmax()])} is not of unit length. {_REINDEX}"
                )

    def _rows(
        self, conn: sqlite3.Connection, modality: Modality, stored: Rows, deleted: Rows
    ) -> None:
        """Hold the rows of segments against the items."""
        path = self._folder / CATALOG
        live = stored[~is_in(stored, deleted)]
        wanted = catalog.vector_rows(conn, modality)
        lost = wanted[~is_in(wanted, live)]
        strays = live[~is_in(live, wanted)]
        ghosts = deleted[~is_in(deleted, np.sort(stored))]
        for rows, what in (
            (lost, f"items have no {modality} vector"),
            (strays, f"{modality} vectors belong to no item"),
            (ghosts, f"removed rows are listed that no {modality} segment has"),
        ):
            if rows.size:
                shown = ", ".join(map(str, rows[:5].tolist()))
                self._problems.append(
                    f"{path} is damaged: {rows.size} {what}, the first are {shown}. {_REINDEX}"
                )

    def _recall(self, store: VectorStore, ann: Ann, path: Path) -> None:
        """Search for a sample of stored vectors, with the ANN file and exactly."""
        rows, vectors = store.sample(_SAMPLE, np.random.default_rng(0))
        hits = 0
        total = 0
        for row, vector in zip(rows.tolist(), vectors, strict=True):
            exact = store.search(vector, 10, exact=True)
            found = store.search(vector, 10)
            if (
                row not in found.rows.tolist()
                and float(exact.scores[-1]) < float(exact.scores[0]) - 1e-4
            ):
                self._problems.append(f"{path} does not find row {row}. {ANN_REMEDY}")
            total += exact.rows.size
            hits += int((found.scores >= exact.scores[-1]).sum())
        if total and hits < 0.8 * total:
            self._problems.append(f"{path} finds only {hits} of {total} neighbours. {ANN_REMEDY}")
        elif total:
            self._notes.append(
                f"{path.name}: {hits} of {total} neighbours of a sample found; recall@10 of texts "
                f"was {ann.entry.recall_at_10:.3f} when it was built"
            )
