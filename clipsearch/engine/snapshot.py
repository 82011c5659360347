"""One committed state of an index, open for searching."""

from __future__ import annotations

import copy
import hashlib
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import IndexCorruptError
from ..types import Modality
from ..vectors import Block, Floats, Rows, best, exact_top_k, exact_top_k_many, is_in
from . import away, catalog, digests
from .ann import MOST_ON_GPU, Ann, open_ann
from .away import NO_AWAY, Away
from .file_facts import AnnEntry
from .parts import CATALOG
from .row_names import NO_RENAMED, RowNames
from .segments import BLOCK_ROWS, Segment
from .selection import Selection, Selections

__all__ = [
    "EXACT_ELEMENTS",
    "MODALITIES",
    "Found",
    "Snapshot",
    "VectorStore",
    "load_snapshot",
]

MODALITIES: tuple[Modality, ...] = ("image", "caption")

# Up to this many numbers (78,125 vectors of 512) search is exact and the vectors are kept in
# memory as float32: scanning them at the 8 to 12 GB/s that one core reads takes 13 to 20 ms.
EXACT_ELEMENTS = 40_000_000
# A filter that leaves at most this share of the exact limit is searched exactly beside an ANN file
# too. Selected rows are read one by one, which costs about fifteen times a scan in memory.
_SELECTED_SHARE = 0.07
# An answer longer than this share of all vectors is cheaper to find exactly.
_LONG_ANSWER_SHARE = 0.02

_ROUNDING_MARGIN = 32
_NO_ITEM = np.zeros(1, np.int64)  # rows begin with 1

_log = logging.getLogger("clipsearch")


@dataclass(frozen=True, slots=True)
class Found:
    """Rows with their scores, best first, ties by ascending row."""

    rows: Rows
    scores: Floats
    approximate: bool


class VectorStore:
    """The vectors of one modality in one committed state. Immutable, safe for threads.

    Args:
        segments: Open segments by ascending, disjoint ranges of rows.
        deleted: Rows that are removed but still in a segment, int64, ascending.
        ann: The open ANN file, if there is one.
        dim: Length of a vector.
        exact_elements: Up to how many numbers the search is exact.
        on_gpu: Whether a CUDA device searches, exactly, instead of the ANN file.
        renamed: Rows of vectors that are not those of their items, and of these items.

    A caption that was changed has its vector under a row of its own, for segments and ANN files
    are in the order of rows and are never changed. Methods take and return rows of items, but for
    those that say otherwise.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        deleted: Rows,
        ann: Ann | None,
        dim: int,
        exact_elements: int,
        *,
        on_gpu: bool = False,
        renamed: tuple[Rows, Rows] = NO_RENAMED,
    ) -> None:
        self._names = RowNames(*renamed)
        self.segments = tuple(segments)
        self.deleted = deleted
        self.ann = ann
        self.dim = dim
        self.exact_limit = max(1, exact_elements // dim)
        self._on_gpu = on_gpu
        self.stored = sum(segment.entry.count for segment in segments)

    def __len__(self) -> int:
        return self.stored - int(self.deleted.size)

    def without(self, rows: Rows) -> VectorStore:
        """The same vectors without those of some items, int64, ascending."""
        names = self._stored_under(rows)
        there = [part[segment.find(part)[1]] for segment, part in self._split(names)]
        other = copy.copy(self)
        other.deleted = np.union1d(self.deleted, np.concatenate([self.deleted, *there]))
        return other

    @property
    def covered_to(self) -> int:
        """The last row that the ANN file covers; 0 without one."""
        return self.ann.entry.covered_to if self.ann is not None else 0

    def tail_count(self) -> int:
        """How many stored vectors the ANN file does not cover."""
        return sum(s.entry.count - s.after(self.covered_to) for s in self.segments)

    def search(
        self, query: Floats, k: int, *, allowed: Selection | None = None, exact: bool = False
    ) -> Found:
        """Find the k best rows.

        Args:
            query: float32 [dim], unit length.
            k: How many, at least 0.
            allowed: The only vectors that may be found; None for all.
            exact: Whether to leave the ANN file aside.

        Returns:
            As many as there are, at most k. Scores are exact in any case.
        """
        if self._on_gpu and not exact and allowed is None and k + self.deleted.size <= MOST_ON_GPU:
            return Found(*self._top_k(self._gpu_candidates(query, k), query, k), False)
        if self._scans(k, allowed, exact):
            return self._exact(query, k, allowed)
        covered = self._approximate(query, k, allowed)
        if covered is None:
            return self._exact(query, k, allowed)
        tail = self._blocks(after=self.covered_to)
        rows, scores = self._top_k(self._among(tail, allowed), query, k)
        return Found(
            *best(np.concatenate([covered[0], rows]), np.concatenate([covered[1], scores]), k), True
        )

    def search_many(
        self, queries: Floats, k: int, *, allowed: Selection | None = None, exact: bool = False
    ) -> list[Found]:
        """`search` for several queries, float32 [m, dim]; those that scan all vectors, at once."""
        if len(queries) == 1 or self._on_gpu or not self._scans(k, allowed, exact):
            return [self.search(query, k, allowed=allowed, exact=exact) for query in queries]
        blocks = self._blocks() if allowed is None else self._selected(allowed.rows)
        named, skip = self._named(blocks)
        return [Found(*found, False) for found in exact_top_k_many(named, queries, k, skip=skip)]

    def selection(self, rows: Rows) -> Selection:
        """The vectors of some items, int64, ascending, to be searched."""
        return Selection(self._stored_under(rows))

    def _stored_under(self, rows: Rows) -> Rows:
        """Rows of the vectors of some items, ascending as the rows of the items are."""
        return np.sort(self._names.of_vectors(rows)) if self._names else rows

    def _named(self, blocks: Iterable[Block]) -> tuple[Iterable[Block], Rows]:
        """Blocks of vectors with the rows of their items, and the rows that count for nothing."""
        if not self._names:
            return blocks, self.deleted
        return (
            (np.where(is_in(rows, self.deleted), 0, self._names.of_items(rows)), vectors)
            for rows, vectors in blocks
        ), _NO_ITEM

    def _top_k(self, blocks: Iterable[Block], query: Floats, k: int) -> tuple[Rows, Floats]:
        """The k best items of some blocks of vectors."""
        named, skip = self._named(blocks)
        return exact_top_k(named, query, k, skip=skip)

    def _scans(self, k: int, allowed: Selection | None, exact: bool) -> bool:
        """Whether all vectors, or all that are allowed, are scored, rather than the ANN file's."""
        if self.ann is None or exact or k > len(self) * _LONG_ANSWER_SHARE:
            return True
        return allowed is not None and allowed.size <= self.exact_limit * _SELECTED_SHARE

    def _gpu_candidates(self, query: Floats, k: int) -> Iterator[Block]:
        """Rows that a GPU finds, with a few more than wanted against rounding, to score again."""
        for segment in self.segments:
            count = min(k + int(self.deleted.size) + _ROUNDING_MARGIN, MOST_ON_GPU)
            rows = np.sort(segment.on_gpu().candidates(query, count))
            rows = rows[~is_in(rows, self.deleted)]
            yield rows, segment.take(segment.find(rows)[0])

    def _exact(self, query: Floats, k: int, allowed: Selection | None) -> Found:
        blocks = self._blocks() if allowed is None else self._selected(allowed.rows)
        return Found(*self._top_k(blocks, query, k), False)

    def _approximate(
        self, query: Floats, k: int, allowed: Selection | None
    ) -> tuple[Rows, Floats] | None:
        """The k best of the rows that the ANN file covers, or None when it found too few."""
        if self.ann is None:
            return None
        covered = self.stored - self.tail_count()
        if allowed is None:
            selectable = covered - int((self.deleted <= self.covered_to).sum())
        else:
            selectable = allowed.size - allowed.count_after(self.covered_to)
        if selectable == 0:  # all that may be found came, or came back, after the file was built
            return np.empty(0, np.int64), np.empty(0, np.float32)
        want = min(self.ann.candidates(k), selectable)
        ask = want
        while True:
            rows, exhausted = self.ann.search(query, ask, k=k, allowed=allowed, total=covered)
            rows = np.sort(rows)
            rows = rows[~is_in(rows, self.deleted)]
            rows, vectors = self.take_stored(rows)
            if rows.size >= want or exhausted:
                break
            ask *= 2  # deleted rows took places; ask for more
        if rows.size < min(k, selectable):
            return None
        return self._top_k([(rows, vectors)], query, k)

    def _blocks(self, *, after: int = 0) -> Iterator[Block]:
        """Vectors whose row is greater than `after`, deleted ones too, by ascending row."""
        candidates = [s for s in self.segments if s.entry.last_row > after]
        count = sum(s.entry.count for s in candidates)  # floats are kept of whole segments
        for segment in candidates:
            if count <= self.exact_limit:
                segment.keep_floats()
            yield from segment.blocks(segment.after(after))

    def live(self) -> Iterator[Block]:
        """The rows of all items that have a vector, with their vectors, by ascending row."""
        if not self._names:
            yield from self.live_as_stored()
            return
        rows = self.live_rows()
        for start in range(0, rows.size, BLOCK_ROWS):
            yield self.take(rows[start : start + BLOCK_ROWS])

    def live_as_stored(self, *, after: int = 0) -> Iterator[Block]:
        """Vectors that are not removed and whose row is greater than `after`, by ascending row."""
        for segment in self.segments:
            if segment.entry.last_row <= after:
                continue
            for rows, vectors in segment.blocks(segment.after(after)):
                alive = ~is_in(rows, self.deleted)
                yield (rows, vectors) if alive.all() else (rows[alive], vectors[alive])

    def live_rows(self) -> Rows:
        """Rows of all items that have a vector, int64, ascending."""
        rows = np.concatenate([np.empty(0, np.int64), *(s.rows for s in self.segments)])
        rows = rows[~is_in(rows, self.deleted)]
        return np.sort(self._names.of_items(rows)) if self._names else rows

    def take(self, rows: Rows) -> tuple[Rows, Floats]:
        """Vectors of items.

        Args:
            rows: int64 [m], ascending.

        Returns:
            The rows of those that have one, ascending, with float32 vectors [n, dim].
        """
        stored = self._stored_under(rows)
        if self.deleted.size:
            stored = stored[~is_in(stored, self.deleted)]
        found, vectors = self.take_stored(stored)
        if not self._names:
            return found, vectors
        of_items = self._names.of_items(found)
        order = np.argsort(of_items)
        return of_items[order], vectors[order]

    def take_stored(self, rows: Rows) -> tuple[Rows, Floats]:
        """Vectors that are stored under some rows, removed ones too; else as `take`."""
        kept_rows, kept = [rows[:0]], [np.empty((0, self.dim), np.float32)]
        for segment, part in self._split(rows):
            positions, which = segment.find(part)
            if which.size:
                kept_rows.append(part[which])
                kept.append(segment.take(positions))
        return np.concatenate(kept_rows), np.concatenate(kept)

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Rows, Floats]:
        """Some items, chosen at random, with their vectors.

        Args:
            count: How many at most.
            rng: Where the randomness comes from.

        Returns:
            int64 [n], ascending, and float32 [n, dim].
        """
        draw = count + int(self.deleted.size)
        if self.stored <= 4 * draw:
            chosen = np.sort(rng.permutation(self.stored)[:draw])
        else:  # some are drawn twice, which leaves a few less
            chosen = np.unique(rng.integers(self.stored, size=draw))
        first = 0
        rows = [np.empty(0, np.int64)]
        for segment in self.segments:
            inside = chosen[(chosen >= first) & (chosen < first + segment.entry.count)] - first
            rows.append(segment.rows[inside])
            first += segment.entry.count
        live = np.concatenate(rows)
        live = live[~is_in(live, self.deleted)]
        if live.size > count:
            live = rng.choice(live, count, replace=False)
        return self.take(np.sort(self._names.of_items(live)))

    def _split(self, rows: Rows) -> Iterator[tuple[Segment, Rows]]:
        """Ascending rows, by the segment in whose range they are."""
        for segment in self.segments:
            low = int(np.searchsorted(rows, segment.entry.first_row))
            high = int(np.searchsorted(rows, segment.entry.last_row, side="right"))
            if high > low:
                yield segment, rows[low:high]

    def _selected(self, rows: Rows) -> Iterator[Block]:
        """Blocks of some rows; the caller knows that they are alive."""
        for segment, part in self._split(rows):
            positions, which = segment.find(part)
            for start in range(0, which.size, BLOCK_ROWS):
                stop = start + BLOCK_ROWS
                yield part[which[start:stop]], segment.take(positions[start:stop])

    @staticmethod
    def _among(blocks: Iterable[Block], allowed: Selection | None) -> Iterator[Block]:
        for rows, vectors in blocks:
            if allowed is None:
                yield rows, vectors
            else:
                keep = allowed.holds(rows)
                if keep.any():
                    yield rows[keep], vectors[keep]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a search needs of one committed state, except the items themselves."""

    generation: int
    commit_id: str
    meta: Mapping[str, Any]
    stores: Mapping[Modality, VectorStore]  # with those of items that are away
    present: Mapping[Modality, VectorStore]  # without them: what answers are made of
    away: Away
    baselines: Mapping[tuple[str, str], Mapping[str, Any]]
    notes: tuple[str, ...]
    selections: Selections = field(default_factory=Selections, compare=False)
    # some vectors by modality, which tell how a query's scores are spread
    samples: dict[str, Floats] = field(default_factory=dict, compare=False)
    # what was read of all items, those that are away included, by what it is for
    kept: dict[str, Any] = field(default_factory=dict, compare=False)

    def store(self, modality: Modality) -> VectorStore:
        """The vectors of one modality, of items that are away too."""
        return self.stores[modality]

    @property
    def seen_id(self) -> str:
        """Id of what answers are made of: that of the commit, and of the files that are back."""
        back = self.away.back
        return (
            f"{self.commit_id}-{hashlib.sha256(back.tobytes()).hexdigest()}"
            if back.size
            else self.commit_id
        )

    def without(self, away: Away) -> Snapshot:
        """This state for answers in which these items do not occur."""
        hidden = away.rows
        present = {
            modality: store.without(hidden) if hidden.size else store
            for modality, store in self.stores.items()
        }
        return replace(self, present=present, away=away, selections=Selections(), samples={})


def load_snapshot(
    folder: Path,
    conn: sqlite3.Connection,
    *,
    previous: Snapshot | None = None,
    exact_elements: int = EXACT_ELEMENTS,
    on_gpu: bool = False,
) -> Snapshot:
    """Open the state that a transaction sees.

    Args:
        folder: The folder of the index.
        conn: A connection within a read transaction.
        previous: Another state; files that both name, with the same content, are not opened again.
        exact_elements: Up to how many numbers the search is exact.
        on_gpu: Whether a CUDA device searches.

    Raises:
        IndexCorruptError: A file that the catalog names is missing or damaged. A damaged ANN file
            is no error: search becomes exact, and a note says so.
    """
    digests.check(conn, folder / CATALOG)
    meta = catalog.meta(conn)
    dim = int(meta["dim"])
    open_segments: dict[str, Segment] = {}
    open_anns: dict[str, Ann] = {}
    for store in previous.stores.values() if previous is not None else ():
        open_segments.update({segment.entry.name: segment for segment in store.segments})
        if store.ann is not None:
            open_anns[store.ann.entry.name] = store.ann
    by_modality: dict[Modality, list[Segment]] = {modality: [] for modality in MODALITIES}
    for entry in catalog.segments(conn):
        segment = open_segments.get(entry.name)
        if segment is None or segment.entry != entry:
            segment = Segment(folder, entry, dim)
        by_modality[entry.modality].append(segment)
    notes: list[str] = []
    anns: dict[str, Ann | None] = {}
    for modality, of_modality in catalog.ann_entries(conn).items():
        ann = open_anns.get(of_modality.name)
        if ann is None or ann.entry != of_modality:
            ann = _ann_or_note(folder, of_modality, dim, notes)
        anns[modality] = ann
    stores = {
        modality: VectorStore(
            by_modality[modality],
            catalog.tombstones(conn, modality),
            anns.get(modality),
            dim,
            exact_elements,
            on_gpu=on_gpu,
            renamed=catalog.renamed_rows(conn, modality),
        )
        for modality in MODALITIES
    }
    snapshot = Snapshot(
        generation=int(meta["generation"]),
        commit_id=str(meta["commit_id"]),
        meta=meta,
        stores=stores,
        present=stores,
        away=NO_AWAY,
        baselines=catalog.baselines(conn),
        notes=tuple(notes),
    )
    found = away.load(conn)
    return snapshot.without(found) if found else snapshot


def _ann_or_note(folder: Path, entry: AnnEntry, dim: int, notes: list[str]) -> Ann | None:
    try:
        return open_ann(folder, entry, dim)
    except IndexCorruptError as exc:
        note = f"{exc} Until then every search is exact."
        notes.append(note)
        _log.warning(note)
        return None
