"""The store: what was embedded becomes items of an index, a batch at a time, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from time import monotonic
from typing import TYPE_CHECKING, Self

import numpy as np

from ..engine import skipped
from ..errors import InvalidInputError
from ..images import PASSING_REASONS
from ..metadata import ImageFacts, with_sidecar
from ..types import Record, Status
from ..vectors import Block, Floats
from .embedder import Embedded
from .log import IngestLog
from .triage import content_hash, has_columns, is_gone

if TYPE_CHECKING:
    from ..engine.catalog import Known
    from ..engine.writer import Writer

__all__ = ["Store"]

_COMMIT_ITEMS = 2048  # an interruption costs at most so many items ...
_COMMIT_SECONDS = 5.0  # ... or so much time
# What `Record` has too, besides the caption, which a source may give.
_FACTS = tuple(
    field.name
    for field in fields(ImageFacts)
    if field.name in Record.__dataclass_fields__ and field.name != "caption"
)


@dataclass(slots=True)
class _End:
    """How a pair ends, once the record that it may have is stored."""

    embedded: Embedded
    status: Status
    reason: str | None = None
    also: str | None = None
    record: Record | None = None
    image: Floats | None = None


class Store:
    """Writes batches into an index and commits them now and then; at its end, as a context, too.

    What is embedded already is not written twice: a file that was touched keeps its item, one that
    was moved takes its item along, and one with the bytes of another gets a copy of its vector.

    Args:
        writer: Of the index.
        log: Takes the end of every pair.
        again: Encodes an image that was left out because its bytes were stored, which they no
            longer are; gives it an `image` or an `error`.
        retry: Whether what was skipped before was asked to be tried again, so that it is news if
            it fails again.
    """

    def __init__(
        self,
        writer: Writer,
        log: IngestLog,
        again: Callable[[Embedded], None],
        *,
        retry: bool = False,
    ) -> None:
        self._retry = retry
        self._writer = writer
        self._log = log
        self._again = again
        self._committed = monotonic()
        self._ends: list[_End] = []  # of the batch under way, in order
        self._before: dict[str, Known] = {}  # items with the keys of this batch, as it began
        self._twins: dict[str, Known] = {}  # items with its bytes
        self._changed: set[str] = set()  # keys and hashes that this batch has changed since

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._log.timed("write"):  # after an interruption too: what is finished stays
            try:
                self._flush()
            finally:
                self._writer.commit()

    def __call__(self, batch: Sequence[Embedded]) -> None:
        """Store a batch, and commit if it is time.

        Raises:
            ImageDecodeError: The log raises, and a pair is skipped.
            StorageError: The disk refused; what was not committed is dropped.
        """
        with self._log.timed("write"):
            self._before = self._writer.lookup([one.pair.key for one in batch])
            hashes = [one.sha256 for one in batch if one.sha256 is not None]
            self._twins = self._writer.by_sha256(hashes)
            self._changed.clear()
            for embedded in batch:
                self._take(embedded)
            self._flush()
            late = monotonic() - self._committed > _COMMIT_SECONDS
            if self._writer.staged >= _COMMIT_ITEMS or (late and self._writer.staged):
                self._writer.commit()
                self._committed = monotonic()

    def _take(self, embedded: Embedded) -> None:
        key = embedded.pair.key
        if key in self._changed:
            self._flush()
            self._before.pop(key, None)
            self._before.update(self._writer.lookup([key]))
        twin = self._twin(embedded)
        if twin is not None and self._reuse(embedded, twin):
            return
        if embedded.image is None and embedded.error is None and embedded.pair.image is not None:
            self._again(embedded)  # the item with the same bytes is gone by now
        if embedded.error is not None:
            also = "known" if self._is_known(embedded) else None
            self._ends.append(_End(embedded, "skipped", embedded.error, also))
            return
        end = _End(embedded, "indexed", also="updated" if key in self._before else None)
        self._put(end, embedded.image)

    def _is_known(self, embedded: Embedded) -> bool:
        """Whether an image that failed did so before, and was tried only because that may pass."""
        before = embedded.candidate.skipped
        if before is None or self._retry or before.reason != embedded.error:
            return False
        return before.mtime_ns is None and before.sha256 is None  # else its bytes are others

    def _twin(self, embedded: Embedded) -> Known | None:
        """The item that has the same bytes: that of the pair itself, else the oldest."""
        sha256, own = embedded.sha256, self._before.get(embedded.pair.key)
        if sha256 is None:
            return None
        if own is not None and own.has_image and own.sha256 == sha256:
            return own  # it has these bytes still, even if an older item has them too
        twin = self._twins.get(sha256)
        if sha256 in self._changed or (twin is not None and twin.key in self._changed):
            self._flush()
            twin = self._writer.by_sha256([sha256]).get(sha256)
        return twin

    def _reuse(self, embedded: Embedded, twin: Known) -> bool:
        """Store a file whose bytes are already in the index, if its vector is, without encoding."""
        pair, candidate = embedded.pair, embedded.candidate
        mtime_ns = candidate.status.st_mtime_ns if candidate.status else None
        same_caption = pair.caption is None or pair.caption == twin.caption
        columns = None if has_columns(pair, twin) else pair.columns
        if twin.key == pair.key and same_caption:
            end = _End(embedded, "unchanged")
            if columns is not None:
                end.reason, end.also = "new columns", "updated"
            try:
                self._writer.touch(twin.row, mtime_ns=mtime_ns, extra=columns, place=pair.place)
            except InvalidInputError as exc:  # a value of this pair cannot be stored
                end = _End(embedded, "skipped", str(exc))
            self._ends.append(end)
            return True
        path, gone = candidate.path, twin.path is not None and is_gone(twin.path)
        if pair.key not in self._before and path is not None and same_caption and gone:
            self._writer.touch(twin.row, key=pair.key, path=path, mtime_ns=mtime_ns)
            self._changed.update((twin.key, pair.key, twin.sha256 or ""))
            self._ends.append(_End(embedded, "unchanged", f"moved from {twin.path}", "moved"))
            return True
        vector = self._writer.vector(twin.row)
        if vector is None:
            return False
        if embedded.size_bytes is None:
            embedded.size_bytes = twin.size_bytes
        if twin.key == pair.key:
            end = _End(embedded, "indexed", "new caption", "updated")
        else:
            end = _End(embedded, "duplicate", f"same bytes as {twin.key}")
        self._put(end, vector)
        return True

    def _put(self, end: _End, image: Floats | None) -> None:
        end.record, end.image = _record(end.embedded), image
        self._ends.append(end)
        self._changed.add(end.record.key)
        if end.record.sha256 is not None:
            self._changed.add(end.record.sha256)

    def _flush(self) -> None:
        """Write what has been decided, and close the pairs."""
        ends, self._ends = self._ends, []
        puts = [end for end in ends if end.record is not None]
        if puts:
            rows = self._writer.put_many(
                [end.record for end in puts if end.record is not None],
                images=_block([end.image for end in puts]),
                captions=_block([end.embedded.caption for end in puts]),
            )
            for end, row in zip(puts, rows, strict=True):
                if isinstance(row, InvalidInputError):  # a value of this pair cannot be stored
                    end.status, end.reason, end.also = "skipped", str(row), None
        self._remember(ends)
        for end in ends:
            self._log.close(end.embedded.pair.key, end.status, end.reason, end.also)

    def _remember(self, ends: Sequence[_End]) -> None:
        """Keep in mind what was skipped, and forget what no longer is."""
        broken = [
            _skipped(end.embedded, end.reason or "") for end in ends if end.status == "skipped"
        ]
        if broken:
            self._writer.change(lambda conn: skipped.remember(conn, broken))
        mended = [
            end.embedded.pair.key
            for end in ends
            if end.status != "skipped" and end.embedded.candidate.skipped is not None
        ]
        if mended:
            self._writer.change(lambda conn: skipped.forget(conn, mended))


def _skipped(embedded: Embedded, reason: str) -> skipped.Skipped:
    """What is remembered of an image that was skipped; if that may pass, only that it was."""
    pair, status = embedded.pair, embedded.candidate.status
    if embedded.error is None or any(passing in reason for passing in PASSING_REASONS):
        return skipped.Skipped(pair.key, None, None, reason)
    if status is not None:
        return skipped.Skipped(
            pair.key,
            status.st_size,
            status.st_mtime_ns,
            reason,
            status.st_ctime_ns,
            status.st_ino,
        )
    # On a cluster the bytes stay with the workers.
    sha256 = content_hash(pair.image) if pair.image else None
    return skipped.Skipped(pair.key, None, None, reason, sha256=sha256)


def _block(vectors: Sequence[Floats | None]) -> Block | None:
    """Positions of the vectors that there are, and these as one array, [n, dim]."""
    at = [position for position, vector in enumerate(vectors) if vector is not None]
    there = [vector for vector in vectors if vector is not None]
    return (np.array(at, np.int64), np.stack(there)) if there else None


def _record(embedded: Embedded) -> Record:
    pair, candidate = embedded.pair, embedded.candidate
    facts = with_sidecar(embedded.facts, pair.sidecar) if embedded.facts is not None else None
    known = {} if facts is None else {name: getattr(facts, name) for name in _FACTS}
    return Record(
        key=pair.key,
        path=candidate.path,
        place=pair.place,
        caption=embedded.text,
        sha256=embedded.sha256,
        size_bytes=embedded.size_bytes,
        mtime_ns=candidate.status.st_mtime_ns if candidate.status else None,
        extra=pair.columns,
        tags=() if facts is None else facts.keywords,
        **known,
    )
