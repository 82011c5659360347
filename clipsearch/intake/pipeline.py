"""One pass over a source: triage, decoding, encoding and writing, overlapping and bounded.

Decoder processes work ahead by a few images a core, two threads encode a batch each while the next
one gathers, and the calling thread sorts, stores and commits. Jobs are stored in the order of the
source whatever happens beside them, so row ids follow it and every run of the same source gives
the same index.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import threading
import warnings
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import monotonic, perf_counter
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..engine import skipped
from ..errors import ImageDecodeError, InvalidInputError
from ..images import PASSING_REASONS, ImageFacts, read_facts
from ..types import Progress, Record, Status
from .decoding import Decoded, DecoderPool
from .ledger import Ledger
from .pairs import Pair, Source, in_chunks
from .triage import content_hash, has_columns, is_gone, is_same, is_unchanged, problem, status_of

if TYPE_CHECKING:
    from ..encoder import Encoder
    from ..engine.catalog import Known
    from ..engine.writer import Writer

__all__ = ["Run"]

_Vector = npt.NDArray[np.float32]

# Two batches are encoded at a time: where the blocks of one run out, those of the next keep the
# cores busy, which else wait for the slowest block of every batch (a tenth of the time).
ENCODED_AT_ONCE = 2
_CHUNK = 256  # pairs looked up in the catalog together ...
_CHUNK_BYTES = 64 * 1024 * 1024  # ... or fewer, when they carry the bytes of their images
_COMMIT_ITEMS = 2048  # an interruption costs at most so many items ...
_COMMIT_SECONDS = 5.0  # ... or so much time
_HASHERS = 4


@dataclasses.dataclass(slots=True)
class _Job:
    """A pair on its way through the pipeline."""

    pair: Pair
    status: os.stat_result | None
    replaces: Known | None
    sha256: str | None = None
    decoding: Future[Decoded] | None = None  # None for a caption alone, and for known bytes
    decoded: Decoded | None = None
    fresh: bool = True  # whether its image is to be encoded; else an item has the same bytes

    @property
    def path(self) -> str | None:
        return self.pair.image if isinstance(self.pair.image, str) else None


_Encoded = tuple[dict[int, _Vector], dict[int, _Vector]]  # position in the batch -> vector


class Run:
    """One pass over a source.

    Args:
        writer: Of the index.
        folder: Of the index.
        encoder: Its model.
        pool: Decoder processes.
        ledger: Takes the end of every pair.
        batch_size: Images encoded together.
        ahead: Images that may be decoded or waiting to be.
        retry_skipped: Whether files that could not be read before are tried again.
        hash_first: Whether files are hashed before they are decoded, which spares known ones.
        chunk: Pairs taken from the source before any is worked on.
    """

    def __init__(
        self,
        writer: Writer,
        folder: Path,
        encoder: Encoder,
        pool: DecoderPool,
        ledger: Ledger,
        *,
        batch_size: int,
        ahead: int,
        retry_skipped: bool,
        hash_first: bool,
        chunk: int = _CHUNK,
    ) -> None:
        self._writer = writer
        self._folder = folder
        self._encoder = encoder
        self._pool = pool
        self._ledger = ledger
        self._batch_size = batch_size
        self._ahead = ahead
        self._retry_skipped = retry_skipped
        self._hash_first = hash_first
        self._chunk = chunk
        self._decoding: deque[_Job] = deque()
        self._batch: list[_Job] = []
        self._batch_images = 0
        self._encoding: deque[tuple[list[_Job], Future[_Encoded]]] = deque()
        self._hashes_ahead: set[str] = set()  # of images that are encoded but not yet stored
        self._threads = ThreadPoolExecutor(ENCODED_AT_ONCE, thread_name_prefix="encode")
        self._captions = threading.Lock()
        self._clock = threading.Lock()
        self._at_work: Counter[str] = Counter()  # stage -> threads
        self._since: dict[str, float] = {}  # stage -> when the first of them began
        self._hashers = ThreadPoolExecutor(_HASHERS, thread_name_prefix="hash")
        self._started = self._committed = monotonic()
        self._tell: Callable[[Progress], None] = lambda _progress: None
        self.busy: defaultdict[str, float] = defaultdict(float)  # stage -> seconds
        self.notes: Counter[str] = Counter()
        self.seen = 0

    def through(self, source: Source, tell: Callable[[Progress], None]) -> None:
        """Take every pair of the source to its end; what is stored is committed at the end.

        Args:
            source: Where the pairs come from.
            tell: Called after every chunk and every batch with the progress; its `total` is
                None. What it raises ends the run, and what is finished is committed.
        """
        self._tell = tell
        try:
            for chunk in in_chunks(source, self._chunk, _CHUNK_BYTES):
                self._triage(chunk)
                self._store_finished()
                self._commit_if_due()
                tell(self._progress())
            self._drain(0)
            self._send_batch()
            while self._encoding:
                self._store_oldest()
        finally:
            self._threads.shutdown(wait=True, cancel_futures=True)
            self._hashers.shutdown(wait=True, cancel_futures=True)
            with self._timed("write"):
                self._writer.commit()  # after an interruption too: what is finished stays
        tell(self._progress())

    # --- triage: what need not be decoded -------------------------------------------------------

    def _triage(self, pairs: list[Pair]) -> None:
        """Sort out what is refused, unchanged or known as broken; queue the rest."""
        self.seen += len(pairs)
        usable = [pair for pair in pairs if self._is_usable(pair)]
        keys = [pair.key for pair in usable]
        known = self._writer.lookup(keys)
        broken = skipped.recall(self._folder, keys)
        jobs: list[_Job] = []
        queued: set[str] = set()
        for pair in usable:
            status, reason = status_of(pair)
            before = known.get(pair.key)
            if reason is not None:
                self._skip(pair, reason)
            elif pair.key in queued:
                self._skip(pair, "the source names it twice")
            elif before and is_unchanged(pair, status, before):
                self._ledger.close_pair(pair.key, "unchanged")
            elif not self._retry_skipped and is_same(status, broken.get(pair.key)):
                self._skip(pair, broken[pair.key].reason)
                self.notes["skipped before and not tried again (--retry-skipped does)"] += 1
            else:
                queued.add(pair.key)
                jobs.append(_Job(pair, status, before))
        if gone := [key for key in queued if key in broken]:
            self._writer.change(lambda conn: skipped.forget(conn, gone))
        self._queue(jobs)

    def _is_usable(self, pair: Pair) -> bool:
        reason = pair.refused or problem(pair)
        if reason is not None:
            self._skip(pair, reason, also="ignored" if pair.ignored else None)
        return reason is None

    def _queue(self, jobs: list[_Job]) -> None:
        hashes: Iterable[str | None] = itertools.repeat(None)
        if self._hash_first:
            hashes = self._hashers.map(content_hash, [job.pair.image for job in jobs])
        for job, sha256 in zip(jobs, hashes, strict=False):
            job.sha256 = sha256
            if sha256 is not None and self._is_stored(sha256):
                job.fresh = False
            elif job.pair.image is not None:
                job.decoding = self._pool.submit(job.pair.image)
            self._decoding.append(job)
            self._drain(self._ahead)

    def _is_stored(self, sha256: str) -> bool:
        return bool(self._writer.by_sha256([sha256]))

    # --- decoding -------------------------------------------------------------------------------

    def _drain(self, keep: int) -> None:
        """Move jobs on into the batch, in order, until `keep` are left."""
        while len(self._decoding) > keep:
            job = self._decoding.popleft()
            if job.decoding is not None and not self._finish_decoding(job):
                continue
            self._batch.append(job)
            self._batch_images += job.decoded is not None
            full = self._batch_images >= self._batch_size
            if full or len(self._batch) >= 4 * self._batch_size:
                self._send_batch()

    def _finish_decoding(self, job: _Job) -> bool:
        """Wait for a job's pixels; whether there are any."""
        future, job.decoding = job.decoding, None
        try:
            decoded = future.result() if future else None
        except ImageDecodeError as exc:
            reason = str(exc).removeprefix(f"{Path(job.pair.key).name}: ")
            self._skip(job.pair, reason.removeprefix("the image: "), status=job.status)
            return False
        if decoded is not None:
            self.busy["decode"] += decoded.busy_s
            job.decoded, job.sha256 = decoded, decoded.sha256
            if isinstance(job.pair.image, bytes):
                job.pair = dataclasses.replace(job.pair, image=b"")  # only the pixels matter now
        return True

    # --- encoding -------------------------------------------------------------------------------

    def _send_batch(self) -> None:
        """Hand the batch to the encoding thread, and store what comes back meanwhile."""
        if not self._batch:
            return
        batch, self._batch, self._batch_images = self._batch, [], 0
        stored = self._writer.by_sha256([job.decoded.sha256 for job in batch if job.decoded])
        for job in batch:
            if job.decoded:
                sha256 = job.decoded.sha256
                job.fresh = sha256 not in stored and sha256 not in self._hashes_ahead
                self._hashes_ahead.add(sha256)
        self._encoding.append((batch, self._threads.submit(self._encode, batch)))
        self._store_finished()

    def _encode(self, batch: list[_Job]) -> _Encoded:
        images = [n for n, job in enumerate(batch) if job.decoded is not None and job.fresh]
        captions = [n for n, job in enumerate(batch) if job.pair.caption]
        vectors = captioned = np.empty((0, self._encoder.dim), np.float32)
        with self._timed("encode"):
            if images:
                # [n, H, W, 3]
                pixels = np.stack([d.prepared.pixels for n in images if (d := batch[n].decoded)])
                vectors = self._encoder.encode_pixels(pixels)
            if captions:
                captioned = self._encode_captions([batch[n].pair.caption or "" for n in captions])
        return dict(zip(images, vectors, strict=True)), dict(zip(captions, captioned, strict=True))

    def _encode_captions(self, captions: Sequence[str]) -> _Vector:
        with self._captions:  # warnings are caught, and notes counted, for all threads
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                vectors = self._encoder.encode_texts(captions)
            if caught:
                self.notes["captions cut to the model's context"] += len(caught)
        return vectors

    # --- storing --------------------------------------------------------------------------------

    def _store_finished(self) -> None:
        """Store the batches that are encoded, and wait for one if there are too many."""
        while self._encoding and (
            len(self._encoding) > ENCODED_AT_ONCE or self._encoding[0][1].done()
        ):
            self._store_oldest()

    def _store_oldest(self) -> None:
        batch, future = self._encoding.popleft()
        images, captions = future.result()
        for position, job in enumerate(batch):
            with self._timed("write"):
                self._store(job, images.get(position), captions.get(position))
        self._hashes_ahead.difference_update(job.sha256 for job in batch if job.sha256)
        self._commit_if_due()
        self._tell(self._progress())

    def _commit_if_due(self) -> None:
        late = monotonic() - self._committed > _COMMIT_SECONDS
        if self._writer.staged >= _COMMIT_ITEMS or (late and self._writer.staged):
            with self._timed("write"):
                self._writer.commit()
            self._committed = monotonic()

    def _store(self, job: _Job, image: _Vector | None, caption: _Vector | None) -> None:
        if not job.fresh and job.sha256 is not None:
            if self._reuse(job, job.sha256, caption):
                return
            image = self._encode_alone(job)  # the item with the same bytes is gone by now
            if image is None:
                return
        also = "updated" if job.replaces else None
        self._put(job, image, caption, lambda: self._close(job, "indexed", also=also))

    def _reuse(self, job: _Job, sha256: str, caption: _Vector | None) -> bool:
        """Store a file whose bytes are already in the index without encoding it again."""
        own = job.replaces
        if own is not None and own.has_image and own.sha256 == sha256:
            twin: Known | None = own  # whoever else has these bytes, it has them still
        else:
            twin = self._writer.by_sha256([sha256]).get(sha256)
        if twin is None:
            return False
        pair, mtime_ns = job.pair, job.status.st_mtime_ns if job.status else None
        same_caption = pair.caption is None or pair.caption == twin.caption
        columns = None if has_columns(pair, twin) else pair.extra
        if twin.key == pair.key and same_caption:
            try:
                self._writer.touch(twin.row, mtime_ns=mtime_ns, extra=columns)
            except InvalidInputError as exc:  # a value of this pair cannot be stored
                self._skip(pair, str(exc))
            else:
                updated = {} if columns is None else {"reason": "new columns", "also": "updated"}
                self._close(job, "unchanged", **updated)
            return True
        gone = twin.path is not None and is_gone(twin.path)
        if job.replaces is None and job.path is not None and same_caption and gone:
            self._writer.touch(twin.row, key=pair.key, path=job.path, mtime_ns=mtime_ns)
            self._close(job, "unchanged", f"moved from {twin.path}", also="moved")
            return True
        vector = self._writer.vector(twin.row)
        if vector is None:
            return False
        if twin.key == pair.key:
            end = lambda: self._close(job, "indexed", "new caption", also="updated")  # noqa: E731
        else:
            end = lambda: self._close(job, "duplicate", f"same bytes as {twin.key}")  # noqa: E731
        self._put(job, vector, caption, end, size_bytes=twin.size_bytes)
        return True

    def _encode_alone(self, job: _Job) -> _Vector | None:
        if job.decoded is None and job.pair.image:
            job.decoding = self._pool.submit(job.pair.image)
            if not self._finish_decoding(job):
                return None
        if job.decoded is None:
            self._skip(job.pair, "its bytes changed while they were read")
            return None
        vector: _Vector = self._encoder.encode_pixels(job.decoded.prepared.pixels[None])[0]
        return vector

    def _put(
        self,
        job: _Job,
        image: _Vector | None,
        caption: _Vector | None,
        end: Callable[[], None],
        *,
        size_bytes: int | None = None,
    ) -> None:
        record = _record(job, size_bytes)
        try:
            self._writer.put(record, image=image, caption=caption)
        except InvalidInputError as exc:  # a value of this pair cannot be stored
            self._skip(job.pair, str(exc))
        else:
            end()

    def _close(
        self, job: _Job, status: Status, reason: str | None = None, *, also: str | None = None
    ) -> None:
        self._ledger.close_pair(job.pair.key, status, reason, also=also)

    def _skip(
        self,
        pair: Pair,
        reason: str,
        *,
        also: str | None = None,
        status: os.stat_result | None = None,
    ) -> None:
        """Close a pair as skipped; with the status of its file, remember it."""
        if status is not None and not any(passing in reason for passing in PASSING_REASONS):
            entry = skipped.Skipped(pair.key, status.st_size, status.st_mtime_ns, reason)
            self._writer.change(lambda conn: skipped.remember(conn, [entry]))
        self._ledger.close_pair(pair.key, "skipped", reason, also=also)

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """Count the time during which at least one thread is at work on a stage."""
        with self._clock:
            if not self._at_work[stage]:
                self._since[stage] = perf_counter()
            self._at_work[stage] += 1
        try:
            yield
        finally:
            with self._clock:
                self._at_work[stage] -= 1
                if not self._at_work[stage]:
                    self.busy[stage] += perf_counter() - self._since[stage]

    def _progress(self) -> Progress:
        counts = self._ledger.counts
        seconds = max(monotonic() - self._started, 1e-6)
        return Progress(
            seen=self._ledger.done,
            total=None,
            indexed=counts["indexed"],
            skipped=counts["skipped"],
            images_per_s=counts["indexed"] / seconds,
        )


def _record(job: _Job, size_bytes: int | None) -> Record:
    decoded = job.decoded
    facts: ImageFacts | None = decoded.prepared.facts if decoded else None
    if facts is None and job.path is not None:
        with contextlib.suppress(OSError):  # gone meanwhile; its vector is known all the same
            facts = read_facts(job.path)
    return Record(
        key=job.pair.key,
        path=job.path,
        caption=job.pair.caption,
        sha256=job.sha256,
        size_bytes=decoded.size_bytes if decoded else size_bytes,
        mtime_ns=job.status.st_mtime_ns if job.status else None,
        extra=job.pair.extra,
        **(dataclasses.asdict(facts) if facts else {}),
    )
