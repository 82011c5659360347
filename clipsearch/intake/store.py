"""The store: what was embedded becomes items of an index, a batch at a time, in order."""

from __future__ import annotations

import itertools
import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..engine import catalog, skipped, thumbprints
from ..engine.away import located
from ..engine.file_state import FileState
from ..errors import InvalidInputError
from ..metadata import ImageFacts, with_sidecar
from ..types import Record, Status
from ..vectors import Block, Floats
from .embedder import Embedded, Embeds
from .inside import Lacks
from .log import IngestLog
from .pairs import Pair
from .triage import content_hash, has_columns, has_left

if TYPE_CHECKING:
    from ..engine.catalog import Known
    from ..engine.writer import Writer

__all__ = ["Store"]

_COMMIT_ITEMS = 8192  # an interruption costs at most so many items ...
_COMMIT_SECONDS = 5.0  # ... or so much time
_MOST_TWINS = 16  # items with the same bytes among which a moved one is looked for
_SAME_COSINE = 0.98  # of one image, encoded here and by another program with the same model
_NO_FACTS = "files whose metadata could not be read again"
# What `Record` has too, besides the caption, which a source may give.
_FACTS = tuple(
    field.name
    for field in fields(ImageFacts)
    if field.name in Record.__dataclass_fields__ and field.name != "caption"
)
_facts_of = operator.attrgetter(*_FACTS)
_UNKNOWN = FileState()


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

    What is stored already is not written twice. An item whose file has the bytes that it had is
    changed in place, whatever else is new; a file that was moved takes its item along; and one with
    the bytes of another gets a copy of its vector.

    Args:
        writer: Of the index.
        log: Takes the end of every pair.
        embedder: Encodes what was left out because it was stored, where it no longer is.
        rescan: Whether captions are given up whose files are gone.
        retry: Whether what was skipped before was asked to be tried again, so that it is news if
            it fails again.
        lacks: Tells which members are no longer in the archive that is read.
    """

    def __init__(
        self,
        writer: Writer,
        log: IngestLog,
        embedder: Embeds,
        *,
        rescan: bool = False,
        retry: bool = False,
        lacks: Lacks | None = None,
    ) -> None:
        self._retry = retry
        self._lacks = lacks
        self._writer = writer
        self._log = log
        self._embedder = embedder
        self._rescan = rescan
        self._committed = monotonic()
        self._ends: list[_End] = []  # of the batch under way, in order
        self._states: dict[int, FileState] = {}  # of files of which nothing else is new, by row
        self._before: dict[str, Known] = {}  # items with the keys of this batch, as it began
        self._stored: set[str] = set()  # its hashes that are stored
        self._changed: set[str] = set()  # keys and hashes that this batch has changed since
        # row -> key that another image has taken; a run that was killed may have left some
        self._displaced: dict[int, str] = writer.read(catalog.displaced)
        self._overdue = set(self._displaced)  # those of them that were put aside before a commit

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._log.timed("write"):  # after an interruption too: what is finished stays
            try:
                self._flush()
            finally:
                self._commit(last=True)

    def __call__(self, batch: Sequence[Embedded]) -> None:
        """Store a batch, and commit if it is time.

        Raises:
            ImageDecodeError: The log raises, and a pair is skipped.
            StorageError: The disk refused; what was not committed is dropped.
        """
        with self._log.timed("write"):
            self._before = self._writer.lookup([one.pair.key for one in batch])
            hashes = [one.sha256 for one in batch if one.sha256 is not None]
            self._stored = set(self._writer.by_sha256(hashes))
            self._changed.clear()
            for embedded in batch:
                self._take(embedded)
            self._flush()
            late = monotonic() - self._committed > _COMMIT_SECONDS
            if self._writer.staged >= _COMMIT_ITEMS or (late and self._writer.staged):
                self._commit()

    def _take(self, embedded: Embedded) -> None:
        key = embedded.pair.key
        if key in self._changed:
            self._flush()
            self._before.pop(key, None)
            self._before.update(self._writer.lookup([key]))
        own = self._before.get(key)
        if own is not None and (
            _has_same_image(embedded, own) or self._is_first_seen(embedded, own)
        ):
            self._update(embedded, own)
            return
        twins = self._twins(embedded)
        moved = self._moved(embedded, twins) if twins else None
        if moved is not None:
            self._displace(own)
            self._update(embedded, moved)
            return
        image = self._writer.vector(twins[0].row) if twins else None
        if image is not None:
            end = _End(embedded, "duplicate", f"same bytes as {self._key(twins[0])}")
            if embedded.size_bytes is None:
                embedded.size_bytes = twins[0].state.size_bytes
        else:
            end = _End(embedded, "indexed", also="updated" if own is not None else None)
            if (
                embedded.image is None
                and embedded.error is None
                and embedded.pair.image is not None
            ):
                self._embedder.again(embedded)  # the item with the same bytes is gone by now
            image = embedded.image
        if embedded.error is None and embedded.text:
            self._find_caption(embedded, *filter(None, (own, *twins[:1])))
        if embedded.error is not None:
            also = "known" if self._is_known(embedded) else None
            self._ends.append(_End(embedded, "skipped", embedded.error, also))
            return
        self._displace(own)
        end.record, end.image = _record(embedded), image
        self._ends.append(end)
        self._changed.add(key)
        if embedded.sha256 is not None:
            self._changed.add(embedded.sha256)

    def _is_first_seen(self, embedded: Embedded, own: Known) -> bool:
        """Whether an item whose file was never read, as of an import, now meets that file."""
        if own.sha256 is not None or not own.has_image or embedded.image is None:
            return False
        vector = self._writer.vector(own.row)
        is_like = vector is not None and float(vector @ embedded.image) > _SAME_COSINE
        embedded.candidate.reads_facts |= is_like
        return is_like

    def _is_known(self, embedded: Embedded) -> bool:
        """Whether an image that failed did so before, and was tried only because that may pass."""
        before = embedded.candidate.skipped
        if before is None or self._retry or before.reason != embedded.error:
            return False
        return before.mtime_ns is None and before.sha256 is None  # else its bytes are others

    def _twins(self, embedded: Embedded) -> list[Known]:
        """Items that have the same bytes, oldest first; of very many, those of the same name."""
        sha256 = embedded.sha256
        if sha256 is None or not (sha256 in self._stored or sha256 in self._changed):
            return []
        name = "/" + os.path.basename(embedded.pair.key)
        twins = self._writer.with_bytes(sha256, name, _MOST_TWINS)
        if sha256 in self._changed or any(twin.key in self._changed for twin in twins):
            self._flush()
            twins = self._writer.with_bytes(sha256, name, _MOST_TWINS)
        twins.sort(key=lambda twin: twin.row)
        return [twin for twin in twins if self._key(twin) != embedded.pair.key]

    def _moved(self, embedded: Embedded, twins: Sequence[Known]) -> Known | None:
        """The item whose file this was before it was moved, one of the same name if there is."""
        path = embedded.candidate.path
        left = [
            twin
            for twin in twins
            if (twin.path is None) == (path is None)
            and (twin.row in self._displaced or has_left(twin, path, self._lacks))
        ]
        name = os.path.basename(embedded.pair.key)
        same = [twin for twin in left if os.path.basename(self._key(twin)) == name] or left
        if len(same) < 2 or path is None:
            return next(iter(same), None)
        # Several folders had it: the one whose other files have come along, if it was renamed.
        return max(same, key=lambda twin: self._moved_along(twin.path or "", path))

    def _moved_along(self, old: str, new: str) -> int:
        """How many of some other items in a file's old folder have a file in its new one."""
        old, new = os.path.dirname(old), os.path.dirname(new)
        some = self._writer.read(
            lambda conn: list(itertools.islice(located(conn, old), _MOST_TWINS))
        )
        return sum(os.path.exists(item.file.replace(old, new, 1)) for item in some)

    def _key(self, item: Known) -> str:
        return self._displaced.get(item.row, item.key)

    def _displace(self, own: Known | None) -> None:
        """Put an item aside whose key another image takes: its own may turn up under another one.

        That it does within one commit and the next, as with files that are numbered anew, or it is
        replaced by the other one.
        """
        if own is not None and own.has_image and own.sha256 is not None:
            self._writer.touch(own.row, key=catalog.displaced_key(own.row, own.key))
            self._displaced[own.row] = own.key
            self._changed.update((own.key, own.sha256))

    def _commit(self, *, last: bool = False) -> None:
        if self._displaced:
            left = dict(self._displaced)
            taken = self._writer.lookup(list(set(left.values())))
            replaced = []
            for row, key in left.items():
                if key not in taken:  # what took its key could not be stored
                    self._writer.touch(row, key=key)
                    del self._displaced[row]
                elif last or row in self._overdue:
                    replaced.append(row)
                    del self._displaced[row]
            # After a failure, in which everything staged was dropped, each has its key again.
            self._writer.inherit({row: taken[left[row]].row for row in replaced})
            self._writer.remove({*replaced} - {item.row for item in taken.values()})
        self._overdue = set(self._displaced)
        self._writer.commit()
        self._committed = monotonic()

    def _update(self, embedded: Embedded, item: Known) -> None:
        """Change an item in place: its file has the bytes that it had."""
        pair, candidate, text = embedded.pair, embedded.candidate, embedded.text or None
        facts = self._new_facts(embedded, item)
        keywords = self._new_keywords(embedded, item)
        columns = None if has_columns(pair, item) else pair.columns
        is_lost = text is None and item.caption is not None and self._takes_back(pair, item)
        is_new = text is not None and not (text == item.caption and item.has_caption)
        if is_new:
            self._find_caption(embedded, item)
        if embedded.error is not None:
            self._ends.append(_End(embedded, "skipped", embedded.error))
            return
        told = {
            "new caption": is_new,
            "the caption is gone": is_lost,
            "new columns": columns is not None,
            "new metadata": keywords is not None or any(name in _FACTS for name in facts),
        }
        reasons = [reason for reason, is_so in told.items() if is_so]
        end = _End(embedded, "unchanged", also="updated" if reasons else None)
        if is_new:
            end.status = "indexed"
        if item.key != pair.key:
            end.status, end.also = "unchanged", "moved"
            is_elsewhere = item.path not in (None, candidate.path)
            reasons.insert(0, f"moved from {item.path if is_elsewhere else self._key(item)}")
            self._changed.update((item.key, pair.key, item.sha256 or ""))
        end.reason = ", ".join(reasons) or None
        state = None if candidate.state == item.state else candidate.state
        try:
            if facts or columns is not None or end.also == "moved":
                self._writer.touch(item.row, key=pair.key, extra=columns, state=state, facts=facts)
            elif state is not None:
                self._states[item.row] = state
            if is_new or is_lost:
                source = embedded.caption_from if is_new else None
                self._writer.recaption(item.row, text, embedded.caption, caption_from=source)
            if keywords is not None:
                self._writer.set_keywords(item.row, keywords)
            self._displaced.pop(item.row, None)
            self._log.counts["recaptioned"] += end.status == "indexed"
        except InvalidInputError as exc:  # a value of this pair cannot be stored
            end = _End(embedded, "skipped", str(exc))
        self._ends.append(end)

    def _takes_back(self, pair: Pair, item: Known) -> bool:
        """Whether a caption goes because what it was read from is gone: only if that was asked for.

        One that was not read from a file, but given, stays in any case.
        """
        from_files = pair.caption_from is not None and item.caption_from is not None
        return self._rescan and from_files and item.has_image

    def _new_facts(self, embedded: Embedded, item: Known) -> dict[str, Any]:
        """The columns of an item that are others now, besides its key, caption, state and extra."""
        pair, candidate = embedded.pair, embedded.candidate
        new: dict[str, Any] = {}
        if candidate.reads_facts and pair.image is not None:
            if embedded.facts is None:
                self._log.notes[_NO_FACTS] += 1
            else:
                stored = self._writer.read(lambda conn: catalog.items(conn, [item.row]))[item.row]
                facts = with_sidecar(embedded.facts, pair.sidecar)
                now = {name: getattr(facts, name) for name in _FACTS}
                new = {name: now[name] for name in _FACTS if now[name] != getattr(stored, name)}
                is_told = pair.beside is not None and (pair.beside or self._rescan)
                if is_told and (pair.beside or None) != item.beside:
                    new["beside"] = pair.beside or None
        if item.sha256 is None and embedded.sha256 is not None:
            new["sha256"] = embedded.sha256
        if pair.image is not None and candidate.path != item.path:
            new["path"] = candidate.path
        if pair.image is not None and pair.place != item.place:
            new["place"] = pair.place
        is_known = embedded.text is not None and embedded.text == item.caption
        if self._rescan and is_known and embedded.caption_from and item.caption_from is None:
            new["caption_from"] = embedded.caption_from
        return new

    def _new_keywords(self, embedded: Embedded, item: Known) -> tuple[str, ...] | None:
        """The keywords of an item's image, if they were read again and are others now."""
        if not embedded.candidate.reads_facts or embedded.facts is None:
            return None
        now = with_sidecar(embedded.facts, embedded.pair.sidecar).keywords
        before = self._writer.read(lambda conn: catalog.keywords_of(conn, item.row))
        return None if set(now) == before else now

    def _find_caption(self, embedded: Embedded, *items: Known) -> None:
        """Give a caption its vector that was not encoded because one of these items has it."""
        for item in items:
            if embedded.caption is None and item.has_caption and item.caption == embedded.text:
                embedded.caption = self._writer.vector(item.row, "caption")
        if embedded.caption is None and embedded.text:
            self._embedder.caption_again(embedded)

    def _flush(self) -> None:
        """Write what has been decided, and close the pairs."""
        if self._states:
            self._writer.note_states(self._states)
            self._states = {}
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
        prints = {
            end.record.sha256: facts.thumbprint
            for end in puts
            if end.record is not None and end.record.sha256 is not None
            if (facts := end.embedded.facts) is not None and facts.thumbprint is not None
        }
        if prints:
            self._writer.change(lambda conn: thumbprints.remember(conn, prints))
        self._remember(ends)
        for end in ends:
            passing = end.embedded.passing
            self._log.broken += end.embedded.error is not None and passing is None
            self._log.close(end.embedded.pair.key, end.status, end.reason, end.also, passing)

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
    if embedded.error is None or embedded.passing:
        return skipped.Skipped(pair.key, None, None, reason)
    if status is not None:
        now = FileState.of(status)
        return skipped.Skipped(
            pair.key, now.size_bytes, now.mtime_ns, reason, now.ctime_ns, now.inode
        )
    # On a cluster the bytes stay with the workers.
    sha256 = content_hash(pair.image) if pair.image else None
    return skipped.Skipped(pair.key, None, None, reason, sha256=sha256)


def _block(vectors: Sequence[Floats | None]) -> Block | None:
    """Positions of the vectors that there are, and these as one array, [n, dim]."""
    at = [position for position, vector in enumerate(vectors) if vector is not None]
    there = [vector for vector in vectors if vector is not None]
    return (np.array(at, np.int64), np.stack(there)) if there else None


def _has_same_image(embedded: Embedded, own: Known) -> bool:
    """Whether an item has the bytes of a pair, or the pair says nothing of an image."""
    if embedded.pair.image is None:
        return True
    return own.has_image and own.sha256 is not None and own.sha256 == embedded.sha256


def _record(embedded: Embedded) -> Record:
    pair, candidate, text = embedded.pair, embedded.candidate, embedded.text
    facts = with_sidecar(embedded.facts, pair.sidecar) if embedded.facts is not None else None
    known = {} if facts is None else dict(zip(_FACTS, _facts_of(facts), strict=True))
    state = candidate.state or _UNKNOWN
    return Record(
        key=pair.key,
        path=candidate.path,
        place=pair.place,
        caption=text,
        sha256=embedded.sha256,
        size_bytes=embedded.size_bytes,
        mtime_ns=state.mtime_ns,
        ctime_ns=state.ctime_ns,
        inode=state.inode,
        device=state.device,
        caption_from=embedded.caption_from if text else None,
        beside=pair.beside or None,
        extra=pair.columns,
        tags=() if facts is None else facts.keywords,
        **known,
    )
