"""Embedding: the one loop that decodes ahead, gathers batches and encodes them.

Decoder processes work ahead by a few images a core, and two threads encode a batch each while the
next one gathers. Batches come out in the order of the source, whatever happens beside them.
"""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, Self

import numpy as np
import numpy.typing as npt

from ..encoder import Encoder, batch_for, decoders_for
from ..errors import ImageDecodeError
from ..images import DEFAULT_MAX_PIXELS
from ..limits import WAITING_BYTES
from ..metadata import ImageFacts
from ..passing import Passing
from ..vectors import Floats
from .decoders import DEFAULT_TIMEOUT_S, Decoded, DecoderPool, FactsOnly
from .log import IngestLog
from .pairs import Pair, Source, TableColumns, in_chunks
from .slots import Slot
from .triage import Candidate

__all__ = [
    "Chunks",
    "Embedded",
    "EmbeddedFiles",
    "Embedder",
    "Embeds",
    "Stored",
    "embed_files",
    "iter_files",
]

# Two batches are encoded at a time: where the blocks of one run out, those of the next keep the
# cores busy, which else wait for the slowest block of every batch (a tenth of the time).
ENCODED_AT_ONCE = 2
_CHUNK = 256  # pairs looked up in the catalog together; fewer where they carry many bytes
_GROUP = 32  # images that a decoder gets together, which spares this process messages ...
_GROUP_BYTES = WAITING_BYTES // 8  # ... or fewer, as they are copied for that

Pixels = npt.NDArray[np.uint8]  # [H, W, 3]
Chunks = Iterable[Sequence[Candidate]]
Stored = Callable[[Sequence[str]], Container[str]]  # of content hashes, those that are stored
_Decoding = Future[list[Decoded | ImageFacts | ImageDecodeError]]


@dataclass(slots=True)
class _Batch:
    """What is encoded together: all whose pixels are in one slot, and those between them."""

    slot: Slot
    images: int = 0  # that are decoded into it
    candidates: int = 0
    image_bytes: int = 0  # that its pairs carry


@dataclass(frozen=True, slots=True)
class _Group:
    """Candidates of a batch that one decoder gets together."""

    batch: _Batch
    candidates: list[Candidate]
    first: int  # place of its first image in the slot
    image_bytes: int
    decoding: _Decoding | None  # None where there is nothing to decode
    is_last: bool  # of its batch


@dataclass(slots=True)
class Embedded:
    """A candidate with what was made of it."""

    candidate: Candidate
    sha256: str | None = None  # of the image's bytes, hex
    size_bytes: int | None = None
    # None for a caption alone, and for bytes that are stored unless their facts are read again
    facts: ImageFacts | None = None
    image: Floats | None = None  # float32 [dim]; None where the same bytes are stored, or will be
    caption: Floats | None = None  # float32 [dim]; None also where the stored one will do
    error: str | None = None  # why its image cannot be decoded
    passing: Passing | None = None  # why it may be another time
    pixels: Pixels | None = None  # as long as they may have to be encoded
    place: int | None = None  # of the pixels in the slot of its batch

    @property
    def pair(self) -> Pair:
        """The pair that it is made of."""
        return self.candidate.pair

    @property
    def text(self) -> str | None:
        """The caption: that of the source or of a sidecar, else that within the image."""
        return self.pair.caption or (self.facts.caption if self.facts is not None else None)

    @property
    def caption_from(self) -> Literal["sidecar", "image"] | None:
        """What the caption was read from; None where it was given."""
        return self.pair.caption_from if self.pair.caption or not self.text else "image"

    @property
    def lacks_caption(self) -> bool:
        """Whether the caption is to be encoded, and is not yet."""
        return bool(self.text) and self.text != self.candidate.caption and self.caption is None


class Embeds(Protocol):
    """What embeds the pairs of a source: this machine, or a cluster."""

    workers: int  # decoders
    hash_first: bool  # whether it spares work to hash files before they are embedded
    columns: Sequence[TableColumns]  # of tables in the source that only it has read

    def chunks(self, source: Source) -> Iterator[list[Pair]]:
        """The pairs of a source, as many as are looked up together."""
        ...

    def embed(
        self, chunks: Chunks, *, log: IngestLog | None = None, stored: Stored | None = None
    ) -> Iterator[list[Embedded]]:
        """Batches of candidates with their vectors; see `Embedder.embed`."""
        ...

    def again(self, embedded: Embedded) -> None:
        """Encode an image that was left out because its bytes were stored."""
        ...

    def caption_again(self, embedded: Embedded) -> None:
        """Encode a caption that was left out because it was stored."""
        ...


class Embedder:
    """The embedding of this machine: an encoder, with the processes and threads that feed it.

    A context manager. Several threads may call it at once.

    Args:
        encoder: The model.
        batch_size: Images encoded together; None for what its device is fast with.
        workers: Decoder processes; None for one a core, for a GPU two fewer.
        max_pixels: Larger images are refused before they are decoded.
        timeout_s: A file that takes longer to decode is given up.
    """

    hash_first = True
    columns: Sequence[TableColumns] = ()

    def __init__(
        self,
        encoder: Encoder,
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self.workers = decoders_for(encoder, workers)
        self._encoder = encoder
        self._batch_size = batch_for(encoder, batch_size)
        self._ahead = 4 * self.workers + self._batch_size
        self._decoders = DecoderPool(
            encoder.preprocessing,
            workers=self.workers,
            max_pixels=max_pixels,
            timeout_s=timeout_s,
            slot_images=self._batch_size,
        )
        self._threads = ThreadPoolExecutor(ENCODED_AT_ONCE, thread_name_prefix="encode")
        self._captioning = threading.Lock()  # warnings are caught for the whole process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._decoders.close()

    def chunks(self, source: Iterable[Pair]) -> Iterator[list[Pair]]:
        """The pairs of a source, as many as are looked up together."""
        return in_chunks(source, _CHUNK, WAITING_BYTES)

    def embed_pairs(self, pairs: Iterable[Pair]) -> Iterator[list[Embedded]]:
        """`embed` for pairs that need no triage, with no other captions than theirs."""
        candidates = ([Candidate(pair) for pair in chunk] for chunk in self.chunks(pairs))
        return self.embed(candidates, own_captions=False)

    def embed(
        self,
        chunks: Chunks,
        *,
        log: IngestLog | None = None,
        stored: Stored | None = None,
        own_captions: bool = True,
    ) -> Iterator[list[Embedded]]:
        """Decode ahead, gather batches and encode them; memory stays bounded.

        Args:
            chunks: Candidates. An image whose `sha256` is given is neither decoded nor encoded.
            log: Takes the busy times, and a note of captions that are cut.
            stored: Returns which content hashes are stored. With it, equal bytes are encoded
                once, and stored ones not at all. Without it, every image is encoded.
            own_captions: Whether an image without a caption has that within its file.

        Yields:
            Every candidate, in order, in batches. Some are empty, so that the consumer gets its
            turn while chunks are empty. An image that cannot be decoded has an `error`.
        """
        log = log or IngestLog()
        decoding: deque[_Group] = deque()
        waiting = waiting_bytes = 0  # candidates in them, and bytes that these carry
        batch: list[Embedded] = []  # of the groups before them
        encoding: deque[tuple[list[Embedded], Future[None]]] = deque()
        ahead: set[str] = set()  # hashes of images on their way to the store

        def gather(keep: int) -> None:
            """Move decoded groups into batches until `keep` candidates wait for their decoder.

            Fewer may wait where they carry many bytes.
            """
            nonlocal waiting, waiting_bytes, batch
            while waiting > keep or waiting_bytes > WAITING_BYTES:
                group = decoding.popleft()
                waiting -= len(group.candidates)
                waiting_bytes -= group.image_bytes
                for embedded in _decoded(group, log):
                    if not own_captions and embedded.facts is not None and embedded.facts.caption:
                        embedded.facts = replace(embedded.facts, caption=None)
                    batch.append(embedded)
                if group.is_last:
                    send(group)

        def send(last: _Group) -> None:
            nonlocal batch
            some, batch = batch, []
            fresh = _fresh(some, ahead, stored)
            slot = last.batch.slot
            encoding.append((some, self._threads.submit(self._encode, some, fresh, slot, log)))

        def finished(most: int) -> Iterator[list[Embedded]]:
            """Encoded batches, oldest first, until at most `most` are being encoded."""
            while encoding and (len(encoding) > most or encoding[0][1].done()):
                some, future = encoding.popleft()
                future.result()
                yield some
                ahead.difference_update(one.sha256 for one in some if one.sha256)

        last: _Group | None = None
        for group in self._groups(chunks):
            if group is None:
                yield []
                continue
            last = group
            decoding.append(group)
            waiting += len(group.candidates)
            waiting_bytes += group.image_bytes
            gather(self._ahead)
            yield from finished(ENCODED_AT_ONCE)
        gather(0)
        if last is not None and not last.is_last:
            send(last)
        yield from finished(0)

    def again(self, embedded: Embedded) -> None:
        """Encode an image that was left out because its bytes were stored, and no longer are.

        Its `image` is there afterwards, or its `error`.
        """
        if embedded.pixels is None and embedded.pair.image:
            embedded.candidate.sha256 = None
            batch = _Batch(self._decoders.slots.take())
            group = self._group(batch, deque([embedded.candidate]), 1)
            (decoded,) = _decoded(group, IngestLog())
            for name in ("sha256", "size_bytes", "facts", "error", "passing"):
                setattr(embedded, name, getattr(decoded, name))
            embedded.pixels = None if decoded.pixels is None else decoded.pixels.copy()
            self._decoders.slots.give(batch.slot)
        elif embedded.pixels is None:
            embedded.error, embedded.passing = "its bytes changed while they were read", "limit"
        if embedded.pixels is not None:
            embedded.image = self._encoder.encode_pixels(embedded.pixels[None])[0]

    def caption_again(self, embedded: Embedded) -> None:
        """Encode a caption that was left out because it was stored, and no longer is."""
        embedded.caption = self._encode_captions([embedded.text or ""], IngestLog())[0]

    def _groups(self, chunks: Chunks) -> Iterator[_Group | None]:
        """Candidates that one decoder gets together, and None after each chunk."""
        batch: _Batch | None = None
        for chunk in chunks:
            # Fewer where there are too few for all decoders.
            most = max(1, min(_GROUP, min(self._ahead, len(chunk)) // (2 * self.workers)))
            left = deque(chunk)
            while left:
                batch = batch or _Batch(self._decoders.slots.take())
                group = self._group(batch, left, most)
                yield group
                if group.is_last:
                    batch = None
            yield None

    def _group(self, batch: _Batch, left: deque[Candidate], most: int) -> _Group:
        """Take candidates, at most so many, and have them decoded."""
        candidates: list[Candidate] = []
        images: list[str | bytes | FactsOnly] = []
        size_bytes, first = 0, batch.images
        room = self._batch_size - first
        while left and len(candidates) < most and len(images) < room and size_bytes < _GROUP_BYTES:
            one = left.popleft()
            candidates.append(one)
            size_bytes += one.pair.image_bytes
            if (image := _to_decode(one)) is not None:
                images.append(image)
        batch.images += len(images)
        batch.candidates += len(candidates)
        batch.image_bytes += size_bytes
        is_last = (
            batch.images >= self._batch_size
            or batch.candidates >= 4 * self._batch_size
            or batch.image_bytes >= WAITING_BYTES
        )
        decoding = self._decoders.submit_many(images, batch.slot, first) if images else None
        return _Group(batch, candidates, first, size_bytes, decoding, is_last)

    def _encode(
        self, batch: list[Embedded], fresh: list[Embedded], slot: Slot, log: IngestLog
    ) -> None:
        with log.timed("encode"):
            if fresh:
                places = [one.place for one in fresh if one.place is not None]
                is_first = places == list(range(len(places)))
                pixels = slot.pixels[: len(places)] if is_first else slot.pixels[places]
                vectors = self._encoder.encode_pixels(pixels)  # [n, H, W, 3] -> [n, dim]
                for one, vector in zip(fresh, vectors, strict=True):
                    one.image, one.pixels = vector, None
            for one in batch:
                if one.pixels is not None:  # of equal bytes, whose vector may be gone by then
                    one.pixels = one.pixels.copy()
            self._decoders.slots.give(slot)
            captioned = [one for one in batch if one.lacks_caption and one.error is None]
            if captioned:
                vectors = self._encode_captions([one.text or "" for one in captioned], log)
                for one, vector in zip(captioned, vectors, strict=True):
                    one.caption = vector

    def _encode_captions(self, captions: Sequence[str], log: IngestLog) -> Floats:
        with self._captioning, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            vectors = self._encoder.encode_texts(captions)
            if caught:
                log.notes["captions cut to the model's context"] += len(caught)
        return vectors


def _to_decode(candidate: Candidate) -> str | bytes | FactsOnly | None:
    """What a decoder gets of a candidate, if anything."""
    image = candidate.pair.image
    if image is None or candidate.sha256 is None:
        return image
    return FactsOnly(image) if candidate.reads_facts else None


def _decoded(group: _Group, log: IngestLog) -> Iterator[Embedded]:
    """The candidates of a group with their pixels, once they are decoded."""
    ends = group.decoding.result() if group.decoding is not None else ()
    results = enumerate(ends, group.first)
    for candidate in group.candidates:
        pair = candidate.pair
        place, result = (None, None) if _to_decode(candidate) is None else next(results)
        if isinstance(result, ImageDecodeError) and (result.passing or candidate.sha256 is None):
            reason = str(result).removeprefix(f"{Path(pair.key).name}: ")
            reason = reason.removeprefix("the image: ")
            yield Embedded(candidate, error=reason, passing=result.passing)
            continue
        if not isinstance(result, Decoded):
            facts = result if isinstance(result, ImageFacts) else None
            yield Embedded(candidate, candidate.sha256, facts=facts)
            continue
        if isinstance(pair.image, bytes):
            candidate.pair = replace(pair, image=b"")  # only the pixels matter now
        log.busy["decode"] += result.busy_s
        if result.prepared.notes:
            log.notes.update(result.prepared.notes)
        yield Embedded(
            candidate,
            result.sha256,
            result.size_bytes,
            result.prepared.facts,
            pixels=result.prepared.pixels,
            place=place,
        )


def _fresh(batch: Sequence[Embedded], ahead: set[str], stored: Stored | None) -> list[Embedded]:
    """Those of a batch whose image is to be encoded; their hashes join those ahead."""
    decoded = [one for one in batch if one.pixels is not None]
    if stored is None:
        return decoded
    known = stored([one.sha256 for one in decoded if one.sha256])
    fresh = []
    for one in decoded:
        if one.sha256 and one.sha256 not in known and one.sha256 not in ahead:
            fresh.append(one)
            ahead.add(one.sha256)
    return fresh


# --- images alone -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EmbeddedFiles:
    """Vectors of the files that could be decoded, and the reasons for the others."""

    kept: npt.NDArray[np.int64]  # positions of the files that have a vector, [n]
    vectors: Floats  # [n, dim]
    skipped: tuple[tuple[int, str], ...]  # position and reason


def iter_files(
    images: Iterable[str | bytes], encoder: Encoder, *, on_skip: Callable[[int, str], None]
) -> Iterator[tuple[list[int], Floats]]:
    """Encode image files as they come.

    Args:
        images: Paths, or the bytes of files.
        encoder: The model.
        on_skip: Called with position and reason of an image that cannot be decoded.

    Yields:
        Positions in `images`, ascending, with float32 [n, dim] unit vectors.
    """
    pairs = (Pair(key=i if isinstance(i, str) else "the image", image=i) for i in images)
    with Embedder(encoder) as embedder:
        done = 0
        for batch in embedder.embed_pairs(pairs):
            positions, vectors = [], []
            for position, one in enumerate(batch, done):
                if one.image is None:
                    on_skip(position, one.error or "")
                else:
                    positions.append(position)
                    vectors.append(one.image)
            done += len(batch)
            if vectors:
                yield positions, np.stack(vectors)


def embed_files(images: Iterable[str | bytes], encoder: Encoder) -> EmbeddedFiles:
    """All of `images` at once; what cannot be decoded is in `skipped`."""
    skipped: list[tuple[int, str]] = []
    kept: list[int] = []
    parts = [np.empty((0, encoder.dim), np.float32)]
    for positions, vectors in iter_files(
        images, encoder, on_skip=lambda at, why: skipped.append((at, why))
    ):
        kept += positions
        parts.append(vectors)
    return EmbeddedFiles(np.array(kept, np.int64), np.concatenate(parts), tuple(skipped))
