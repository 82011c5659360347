"""Changing an index: staged in one SQLite transaction, committed as a whole or not at all."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import numpy as np

from ..errors import InvalidInputError, StorageError
from ..request import SearchRequest
from ..types import Modality, Record
from ..vectors import Block, Floats, Halves, Rows, check_ids, check_vectors
from . import catalog, committed, compaction, digests, marks, removed, thumbprints
from .catalog import Known
from .database import CATALOG, connect, is_filled, translated
from .file_facts import SegmentEntry
from .file_state import STATE_COLUMNS, FileState
from .garbage import sweep
from .identity import State, advance, check_same, state_of
from .lock import WriterLock
from .outcome import UNSURE, telling
from .schema import FORMAT_VERSION
from .segments import write_segment
from .snapshot import MODALITIES, Snapshot, load_snapshot
from .staged import StagedVectors

__all__ = ["LOCK_FILE", "Writer"]

LOCK_FILE = "writer.lock"
# A segment with more removed rows than live ones is written again when a writer closes: the
# work is proportional to what was removed.
_DELETED_SHARE = 0.5
# A value that cannot be stored, by whom it is refused: SQLite, its Python module, or this package.
_REFUSALS = (
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    UnicodeEncodeError,
    InvalidInputError,
)

T = TypeVar("T")

_log = logging.getLogger("clipsearch")


class Writer:
    """The one writer of an index, from `Index.writer`. Not for several threads at a time.

    Changes are staged until `commit`; leaving the context commits them, or drops them after an
    exception. A staged change is seen by this writer's own lookups and by nobody else.

    Args:
        folder: The folder of the index.
        wait: As for `WriterLock.acquire`.
        opened: A state that the caller has seen; None for any.

    Raises:
        IndexLockedError: Another process is writing.
        IndexMigratedError: The index was migrated or replaced since that state.
        StorageError: The folder cannot be written.
    """

    def __init__(
        self, folder: Path, *, wait: bool | float = False, opened: State | None = None
    ) -> None:
        self._folder = folder
        self._catalog = folder / CATALOG
        self._lock = WriterLock(folder / LOCK_FILE).acquire(wait=wait)
        try:
            self._conn = connect(folder, write=True)
        except BaseException:
            self._lock.release()
            raise
        try:
            with self._translated():
                self._began = state_of(self._conn)
                check_same(folder, self._conn, self._began, opened)
                digests.check(self._conn, self._catalog)
                self._reset()
                self._base: Snapshot | None = None
                # Whose commit, which failed to be synced, the log may end with; see `_settle`.
                self._doubt: Literal["", "own", "another's"] = ""
                if is_filled(folder / f"{CATALOG}-wal"):
                    self._doubt = "another's"
                self._sweep()
                digests.watch(self._conn)
        except BaseException:
            self.close()
            raise

    def _reset(self) -> None:
        """Begin with nothing staged."""
        meta = catalog.meta(self._conn)
        self._dim = int(meta["dim"])
        self._vectors = {modality: StagedVectors() for modality in MODALITIES}
        self._first_row = self._next_row = int(meta["next_row"])
        self._change = {"items": 0, "images": 0, "captions": 0}
        self._staged = 0
        self._dropped: dict[Modality, list[int]] = {}  # rows of vectors, by the change under way
        self._has_new_files = False

    # --- looking up ---------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """The folder of the index."""
        return self._folder

    @property
    def staged(self) -> int:
        """How many changes are staged."""
        return self._staged

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Look something up in the catalog, staged changes included."""
        with self._translated():
            return work(self._conn)

    def lookup(self, keys: Sequence[str]) -> dict[str, Known]:
        """Stored or staged items by key; keys that are not there are left out."""
        with self._translated():
            return {k.key: k for k in catalog.known_by(self._conn, "key", keys)}

    def by_sha256(self, hashes: Sequence[str]) -> dict[str, Known]:
        """One stored or staged item with an image vector a content hash, the oldest."""
        found: dict[str, Known] = {}
        with self._translated():
            for known in catalog.known_by(self._conn, "sha256", hashes):
                if known.has_image and known.sha256 is not None:
                    found.setdefault(known.sha256, known)
        return found

    def with_bytes(self, sha256: str, name: str, most: int) -> list[Known]:
        """Stored or staged items with an image vector that have a content hash.

        Those whose key ends with `name` come first, then the oldest.
        """
        with self._translated():
            return catalog.known_with_bytes(self._conn, sha256, name, most)

    def vector(self, row: int, modality: Modality = "image") -> Floats | None:
        """The stored or staged vector of a row, float32 [dim], or None."""
        with self._translated():
            if modality == "caption":
                captions = catalog.captions(self._conn, [row])
                if not captions:
                    return None
                row = captions[0][0]
            if row >= self._first_row:
                return self._vectors[modality].get(row)
            if self._base is None:
                self._base = load_snapshot(self._folder, self._conn)
            rows, vectors = self._base.store(modality).take_stored(np.asarray([row], np.int64))
            return vectors[0] if rows.size else None

    # --- staging ------------------------------------------------------------------------------

    def put(self, record: Record, *, image: Any = None, caption: Any = None) -> int:
        """Stage an item; it replaces the one with the same key.

        Args:
            record: What is known of it.
            image: Its image vector, [dim], or None.
            caption: Its caption vector, [dim], or None; one of the two is needed.

        Returns:
            Its row, which no other item or caption ever had or will have.

        Raises:
            InvalidInputError: No vector, a bad vector, or a value that cannot be stored.
            StorageError: The disk refused; everything staged is dropped.
        """
        images = _alone(image, self._dim, f"image vector of {record.key}")
        captions = _alone(caption, self._dim, f"caption vector of {record.key}")
        (row,) = self.put_many([record], images=images, captions=captions)
        if isinstance(row, InvalidInputError):
            raise row
        return row

    def put_many(
        self,
        records: Sequence[Record],
        *,
        images: Block | None = None,
        captions: Block | None = None,
    ) -> list[int | InvalidInputError]:
        """Stage items in their order; each replaces the one with the same key.

        Args:
            records: What is known of them.
            images: Positions in `records`, int64 [n] ascending, of those with an image, with the
                image vectors, [n, dim].
            captions: The same for captions; every record needs one of the two.

        Returns:
            The row of each, ascending, or why it cannot be stored, which costs no other one.

        Raises:
            InvalidInputError: There are more or fewer vectors than positions.
            StorageError: The disk refused; everything staged is dropped.
        """
        self._connection()
        given: dict[Modality, Block | None] = {"image": images, "caption": captions}
        for modality, block in given.items():
            if block is not None and len(block[0]) != len(block[1]):
                raise InvalidInputError(
                    f"{len(block[1])} {modality} vectors came for {len(block[0])} items"
                )
        try:
            return [*self._put_together(records, given)] if records else []
        except InvalidInputError as exc:  # one of them: halves are tried by themselves
            if len(records) == 1:
                return [exc]
        ends: list[int | InvalidInputError] = []
        half = len(records) // 2
        for start, stop in ((0, half), (half, len(records))):
            ends += self.put_many(
                records[start:stop],
                images=_part(images, start, stop),
                captions=_part(captions, start, stop),
            )
        return ends

    def _put_together(
        self, records: Sequence[Record], given: Mapping[Modality, Block | None]
    ) -> range:
        first, count = self._next_row, len(records)
        name = f"vector of {records[0].key}" if count == 1 else "vectors"
        has = {modality: np.zeros(count, bool) for modality in MODALITIES}
        staged: dict[Modality, tuple[Rows, Halves]] = {}
        for modality, block in given.items():
            if block is not None and block[0].size:
                vectors = check_vectors(block[1], self._dim, what=f"{modality} {name}")
                staged[modality] = first + block[0], vectors.astype(np.float16)
                has[modality][block[0]] = True
        lone = ~(has["image"] | has["caption"])
        if lone.any():
            key = records[int(lone.argmax())].key
            raise InvalidInputError(f"{key}: an item needs an image or a caption vector")

        def change() -> None:
            heirs = {record.key: row for row, record in enumerate(records, first)}
            replaced = list(catalog.known_by(self._conn, "key", list(heirs)))
            marks.inherit(self._conn, {old.row: heirs[old.key] for old in replaced})
            self._delete(replaced)
            catalog.insert_items(
                self._conn,
                first,
                records,
                has_image=has["image"].tolist(),
                has_caption=has["caption"].tolist(),
            )
            for modality, block in staged.items():
                self._vectors[modality].add(*block)
            self._next_row += count
            self._count(count, int(has["image"].sum()), int(has["caption"].sum()))

        self._stage(change, records[0].key, count)
        return range(first, first + count)

    def touch(
        self,
        row: int,
        *,
        key: str | None = None,
        extra: Mapping[str, Any] | None = None,
        state: FileState | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Stage a change of what is known of an item; what is None stays as it is.

        An item that has the new key is replaced: the file was moved over it.

        Args:
            row: Of the item.
            key: Its new key.
            extra: Its extra columns, all of them.
            state: The state of its file.
            facts: Other fields of its `Record` by name, whose values may be None.

        Raises:
            InvalidInputError: A value that cannot be stored.
        """
        columns = None if extra is None else catalog.extra_json(extra)
        values: dict[str, Any] = {"key": key, "extra": columns}
        if state is not None:
            values |= {name: getattr(state, name) for name in STATE_COLUMNS}

        def change() -> None:
            if key is not None:
                there = catalog.known_by(self._conn, "key", [key])
                self._delete([old for old in there if old.row != row])
            catalog.update_item(
                self._conn,
                row,
                {**{name: v for name, v in values.items() if v is not None}, **(facts or {})},
            )

        self._stage(change, key or str(row))

    def note_states(self, states: Mapping[int, FileState]) -> None:
        """Stage what is known of the files of unchanged items, by row."""
        self._stage(lambda: catalog.update_states(self._conn, states), "states of files")

    def recaption(
        self,
        row: int,
        caption: str | None,
        vector: Any = None,
        *,
        caption_from: Literal["sidecar", "image"] | None = None,
    ) -> None:
        """Stage another caption of an item, which keeps its row, tags and everything else.

        Args:
            row: Of the item.
            caption: The new caption; None takes it away.
            vector: Its vector, [dim]; None for a caption that is not searched by its meaning.
            caption_from: What it was read from; see `Record`.

        Raises:
            InvalidInputError: There is no such item, a bad vector, a value that cannot be stored,
                or the item would be left without any vector.
        """
        block = _alone(vector, self._dim, f"caption vector of item {row}")
        staged = None
        if block is not None:
            vectors = check_vectors(block[1], self._dim, what=f"caption vector of item {row}")
            staged = vectors.astype(np.float16)

        def change() -> None:
            known = next(catalog.known_by(self._conn, "row", [row]), None)
            if known is None:
                raise InvalidInputError(f"there is no item {row}")
            if staged is None and not known.has_image:
                raise InvalidInputError(f"{known.key}: an item needs an image or a caption vector")
            if known.has_caption:
                self._drop("caption", [known.caption_row])
            own = None if staged is None else self._next_row
            catalog.update_item(
                self._conn,
                row,
                {
                    "caption": caption,
                    "caption_from": caption_from,
                    "has_caption": staged is not None,
                    "caption_row": own,
                },
            )
            if staged is not None:
                self._vectors["caption"].add(np.array([self._next_row], np.int64), staged)
                self._next_row += 1
            self._count(0, 0, int(staged is not None) - int(known.has_caption))

        self._stage(change, f"caption of item {row}")

    def remove(self, rows: Iterable[int], *, keep: bool = False) -> int:
        """Stage the removal of rows; returns how many of them there were.

        Args:
            rows: Those that are not there are ignored.
            keep: Whether `restore` can put them back, until a day has passed or the index is
                compacted. What was staged only since the last commit cannot be put back.

        Raises:
            InvalidInputError: A row is no whole number; nothing is staged.
        """
        wanted = np.unique(check_ids(rows)).tolist()
        count = 0

        def change() -> None:
            nonlocal count
            known = list(catalog.known_by(self._conn, "row", wanted))
            if keep:
                removed.drop(self._conn)
                stored = [k.row for k in known if max(k.row, k.caption_row) < self._first_row]
                removed.keep(self._conn, stored)
            self._delete(known)
            count = len(known)

        self._stage(change, "rows to remove")
        self._staged += count - 1
        return count

    def restore(self, rows: Iterable[int]) -> int:
        """Stage that removed rows are put back as they were; returns how many are.

        They were removed with `keep`. Tags, places in albums, captions and vectors come back with
        them. An item whose file was indexed again meanwhile stays under its new row, which gets
        the albums and the tags that were given by hand.

        Raises:
            InvalidInputError: A row is no whole number; nothing is staged.
        """
        wanted = check_ids(rows).tolist()
        count = 0

        def change() -> None:
            nonlocal count
            back = removed.restore(self._conn, wanted)
            self._count(back.items, back.images, back.captions)
            count = back.items

        self._stage(change, "rows to restore")
        return count

    def set_tags(
        self,
        rows: Sequence[int],
        labels: Sequence[str],
        probabilities: Sequence[float | None] | None = None,
        *,
        name: str = "default",
    ) -> None:
        """Stage the replacement of the set of tags `name`.

        Args:
            rows: Row of each tag; a row may come several times. Rows that are gone are left out.
            labels: Label of each tag.
            probabilities: Probability of each tag in [0, 1], or None.
            name: Name of the set; other sets stay.

        Raises:
            InvalidInputError: The lengths differ, or the set is that of the images' own keywords.
        """
        catalog.check_set_name(name)
        shares = [None] * len(rows) if probabilities is None else list(probabilities)
        if not len(rows) == len(labels) == len(shares):
            raise InvalidInputError(
                f"{len(rows)} rows, {len(labels)} labels and {len(shares)} probabilities do not fit"
            )
        tags = [
            (int(row), str(label), None if share is None else float(share))
            for row, label, share in zip(rows, labels, shares, strict=True)
        ]
        self._stage(lambda: catalog.replace_tags(self._conn, name, tags), f"tags {name}")

    def tag(self, rows: Iterable[int], label: str) -> int:
        """Stage a tag that is given by hand; returns how many of the rows there are.

        It stays until `untag`, also when the file of an item changes.

        Raises:
            InvalidInputError: A row is no whole number, or the label is blank or too long.
        """
        return self._mark(lambda conn: marks.tag(conn, check_ids(rows).tolist(), label))

    def untag(self, rows: Iterable[int], label: str) -> int:
        """Stage that rows lose a tag, wherever it came from; returns how many had it."""
        return self._mark(lambda conn: marks.untag(conn, check_ids(rows).tolist(), label))

    def add_to_album(self, name: str, rows: Iterable[int]) -> int:
        """Stage that rows are put into an album, which is made if there is none of this name.

        Returns:
            How many were not in it before.

        Raises:
            InvalidInputError: A row is no whole number, or the name is blank or too long.
        """
        return self._mark(lambda conn: marks.add_to_album(conn, name, check_ids(rows).tolist()))

    def remove_from_album(self, name: str, rows: Iterable[int]) -> int:
        """Stage that rows leave an album; returns how many were in it.

        Raises:
            InvalidInputError: There is no such album.
        """
        return self._mark(
            lambda conn: marks.remove_from_album(conn, name, check_ids(rows).tolist())
        )

    def rename_album(self, old: str, new: str) -> None:
        """Stage another name of an album.

        Raises:
            InvalidInputError: There is none of the old name, or one of the new name.
        """
        self.change(lambda conn: marks.rename_album(conn, old, new))

    def delete_album(self, name: str) -> None:
        """Stage that an album is deleted; its items stay.

        Raises:
            InvalidInputError: There is no such album.
        """
        self.change(lambda conn: marks.delete_album(conn, name))

    def save_search(self, name: str, request: SearchRequest) -> None:
        """Stage that a search is kept under a name, in place of another one of that name.

        Raises:
            InvalidInputError: It holds an image, or the name is blank or too long.
        """
        said = request.to_dict()
        self.change(lambda conn: marks.save_search(conn, name, said))

    def delete_search(self, name: str) -> None:
        """Stage that a saved search is deleted.

        Raises:
            InvalidInputError: There is no such search.
        """
        self.change(lambda conn: marks.delete_search(conn, name))

    def inherit(self, heirs: Mapping[int, int]) -> None:
        """Stage that what rows were given by hand goes to others: new row by old row."""
        if heirs:
            self._stage(lambda: marks.inherit(self._conn, heirs), "marks")

    def _mark(self, work: Callable[[sqlite3.Connection], int]) -> int:
        """Stage a change that counts what it changed."""
        counts: list[int] = []
        self._stage(lambda: counts.append(work(self._conn)), "a mark")
        return counts[0]

    def set_keywords(self, row: int, keywords: Iterable[str]) -> None:
        """Stage the replacement of the keywords that came with an item's image."""
        labels = list(keywords)
        self._stage(lambda: catalog.set_keywords(self._conn, {row: labels}), f"keywords of {row}")

    def set_meta(self, key: str, value: Any) -> None:
        """Stage a small JSON document under a name."""
        self._stage(lambda: catalog.set_document(self._conn, key, value), key)

    def change(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Stage other changes of the catalog; for the modules of this package."""
        self._stage(lambda: work(self._conn), "a change")
        self._dim = int(catalog.meta(self._conn)["dim"])

    def _stage(self, change: Callable[[], None], what: str, count: int = 1) -> None:
        """Make a change within the transaction, wholly or not at all.

        What is refused leaves what was staged before; what is interrupted leaves nothing staged.
        """
        conn = self._connection()
        before = dict(self._change)
        self._dropped = {modality: [] for modality in MODALITIES}
        try:
            with telling(self._folder, self._began), self._translated():
                if not conn.in_transaction:
                    conn.execute("BEGIN IMMEDIATE")
                conn.execute("SAVEPOINT staged")
                try:
                    change()
                except _REFUSALS as exc:
                    conn.execute("ROLLBACK TO staged")
                    conn.execute("RELEASE staged")
                    self._change = before
                    if isinstance(exc, InvalidInputError):
                        raise
                    raise InvalidInputError(f"{what!r} cannot be stored: {exc}") from exc
                conn.execute("RELEASE staged")
                for modality, staged in self._vectors.items():
                    staged.drop(self._dropped[modality])
                self._staged += count
        except InvalidInputError:
            raise
        except BaseException:
            self.rollback()
            raise

    def _delete(self, known: Sequence[Known]) -> None:
        if not known:
            return
        rows = [one.row for one in known]
        images = [one.row for one in known if one.has_image]
        captions = [one.caption_row for one in known if one.has_caption]
        catalog.delete_items(self._conn, rows)
        self._drop("image", images)
        self._drop("caption", captions)
        self._count(-len(rows), -len(images), -len(captions))

    def _drop(self, modality: Modality, rows: Sequence[int]) -> None:
        """Give up the vectors that are stored or staged under some rows."""
        catalog.insert_tombstones(
            self._conn, modality, (row for row in rows if row < self._first_row)
        )
        self._dropped[modality] += rows

    def _count(self, items: int, images: int, captions: int) -> None:
        self._change["items"] += items
        self._change["images"] += images
        self._change["captions"] += captions

    # --- committing ---------------------------------------------------------------------------

    def commit(self) -> int:
        """Make everything staged durable and visible, at once.

        Returns:
            The number of the committed state; unchanged when nothing was staged.

        Raises:
            StorageError: The disk refused; everything staged is dropped, and the message says what
                became of the index.
        """
        conn = self._connection()
        if self._staged == 0:
            self.rollback()
            with self._translated():
                return state_of(conn).generation
        with self._or_nothing():
            for modality in MODALITIES:
                self._write_staged(modality)
                self._merge(
                    modality,
                    compaction.plan_tail(self._entries(modality), compaction.COMMIT_TIER),
                )
            return self._finish()

    @contextlib.contextmanager
    def _or_nothing(self) -> Iterator[None]:
        """Roll back what fails, and say what became of the index where the disk refused."""
        with telling(self._folder, self._began):
            try:
                with self._translated():
                    yield
            except BaseException as exc:
                self.rollback()
                if self._doubt == "own" and isinstance(exc, StorageError):
                    exc.outcome = UNSURE
                raise

    def _write_staged(self, modality: Modality) -> None:
        rows, vectors = self._vectors[modality].all(self._dim)
        if rows.size:
            self._has_new_files = True
            catalog.insert_segment(
                self._conn,
                write_segment(self._folder, modality, self._dim, rows.size, [(rows, vectors)]),
            )

    def _entries(self, modality: Modality) -> list[SegmentEntry]:
        return [e for e in catalog.segments(self._conn) if e.modality == modality]

    def _merge(self, modality: Modality, entries: Sequence[SegmentEntry]) -> None:
        """Replace adjacent segments by one, within the transaction."""
        if not entries:
            return
        deleted = self._given_up(modality)
        self._has_new_files = True
        entry = compaction.merge(self._folder, entries, deleted, self._dim)
        if entry is not None:
            catalog.insert_segment(self._conn, entry)
        catalog.delete_segments(self._conn, [old.name for old in entries])
        low, high = deleted.searchsorted([entries[0].first_row, entries[-1].last_row + 1])
        catalog.delete_tombstones(self._conn, modality, deleted[low:high].tolist())

    def _given_up(self, modality: Modality) -> Rows:
        """Rows that are removed, but still in a segment, and will not be put back; ascending."""
        held = removed.held(self._conn, modality)
        return np.setdiff1d(catalog.tombstones(self._conn, modality), held, assume_unique=True)

    def _finish(self) -> int:
        meta = catalog.meta(self._conn)
        state = advance(self._conn)
        catalog.set_meta(
            self._conn,
            {
                "next_row": self._next_row,
                "updated_at": datetime.now(UTC).isoformat(timespec="seconds"),
                **{name: int(meta[name]) + by for name, by in self._change.items()},
            },
        )
        self._doubt = "own"
        self._conn.execute("COMMIT")
        self._doubt = ""
        committed.note(self._folder, state)
        self._base = None
        self._reset()
        self._sweep()
        return state.generation

    def _settle(self) -> None:
        """Put a commit that changes nothing in the place of one that may have failed in the log.

        A COMMIT that failed to be synced may come back when all programs have closed the catalog,
        or after a power cut, and then names files that must be there.
        """
        if not self._doubt:
            return
        try:
            self._conn.execute("BEGIN IMMEDIATE")
            self._conn.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
            self._conn.execute("COMMIT")
            self._doubt = ""
        finally:
            if self._conn.in_transaction:
                self._conn.execute("ROLLBACK")

    def _sweep(self) -> None:
        """Delete files that the catalog does not name, as far as the disk allows."""
        try:
            sweep(self._folder, self._conn, self._settle)
        except (sqlite3.Error, OSError) as exc:
            _log.debug("sweeping %s: %s", self._folder, exc)

    def compact(self) -> int:
        """Merge all segments without their removed rows, and commit. Returns the generation."""
        if self.read(removed.has_any):
            self.change(lambda conn: removed.drop(conn, every=True))
        if self.read(thumbprints.has_unused):
            self.change(thumbprints.drop_unused)
        self.commit()
        self._rewrite(compaction.plan_full)
        with self._translated():
            self._conn.execute("INSERT INTO words (words) VALUES ('optimize')")
            return state_of(self._conn).generation

    def _tidy(self) -> None:
        """Merge middling segments and rewrite those that are mostly removed rows."""

        def plan(entries: list[SegmentEntry], deleted: Rows) -> list[list[SegmentEntry]]:
            tail = compaction.plan_tail(entries, compaction.CLOSING_TIER)
            if tail:
                return [tail]
            return [
                [e] for e in entries if compaction.deleted_in(e, deleted) > e.count * _DELETED_SHARE
            ]

        self._rewrite(plan)

    def _rewrite(
        self, plan: Callable[[list[SegmentEntry], Rows], list[list[SegmentEntry]]]
    ) -> None:
        """Merge groups of segments in a commit of its own, if the plan has any."""
        conn = self._connection()
        with self._or_nothing():
            groups = {m: plan(self._entries(m), self._given_up(m)) for m in MODALITIES}
            if not any(groups.values()):
                return
            conn.execute("BEGIN IMMEDIATE")
            for modality, of_modality in groups.items():
                for group in of_modality:
                    self._merge(modality, group)
            self._finish()

    def rollback(self) -> None:
        """Drop everything staged.

        An interruption may come just after a commit has succeeded, so what is deleted is decided by
        the catalog, not by what was being done.
        """
        with contextlib.suppress(sqlite3.Error):
            if self._conn.in_transaction:
                self._conn.execute("ROLLBACK")
            if self._doubt == "own":
                self._settle()
        if self._has_new_files:
            self._sweep()
        with self._translated():
            self._reset()

    def close(self) -> None:
        """Drop what is staged and give the lock back. Closing twice is harmless."""
        if not self._lock.held:
            return
        try:
            if self._conn.in_transaction:
                self._conn.execute("ROLLBACK")
            # Leave a short log behind; a reader that is busy prevents that, which is no harm.
            self._conn.execute("PRAGMA busy_timeout = 0")
            self._conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as exc:
            _log.debug("closing %s: %s", self._folder, exc)
        finally:
            self._conn.close()
            self._lock.release()

    def _connection(self) -> sqlite3.Connection:
        if not self._lock.held:
            raise InvalidInputError(f"the writer of {self._folder} is closed")
        return self._conn

    def _translated(self) -> contextlib.AbstractContextManager[None]:
        return translated(self._catalog, self._conn)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.commit()
                with contextlib.suppress(StorageError):  # the next writer tries again
                    self._tidy()
        finally:
            self.close()


def _alone(vector: Any, dim: int, what: str) -> Block | None:
    """A vector from outside, [dim] or [1, dim], as that of the only record."""
    if vector is None:
        return None
    array = np.asarray(vector)
    if array.shape not in ((dim,), (1, dim)):
        raise InvalidInputError(f"{what} must have the shape [{dim}], got {list(array.shape)}")
    return np.zeros(1, np.int64), array.reshape(1, dim)


def _part(block: Block | None, start: int, stop: int) -> Block | None:
    """The vectors of the records from `start` to `stop`, with positions counted from `start`."""
    if block is None:
        return None
    first, last = np.searchsorted(block[0], (start, stop))
    return block[0][first:last] - start, block[1][first:last]
