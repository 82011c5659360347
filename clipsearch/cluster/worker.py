"""A worker of the embedding job: it holds the model once and turns slices of pairs into vectors."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ..encoder import batch_for
from ..engine.catalog import Known, known_by
from ..engine.reader import Reader
from ..errors import ClipSearchError, ClusterError, EncoderMismatchError, ImageDecodeError
from ..images import ImageFacts, read_facts
from ..intake.decoding import Decoded, DecoderPool
from ..intake.pairs import Pair
from ..intake.pipeline import ENCODED_AT_ONCE
from ..intake.triage import content_hash, is_unchanged, problem, status_of
from ..vectors import Floats
from .reading import pack, unpack

if TYPE_CHECKING:
    from ..encoder import Encoder
    from ..types import Precision

__all__ = ["EmbedWorker", "Embedded", "KnownItems", "WorkerSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How workers work."""

    model: str
    fingerprint: str
    device: str
    precision: Precision
    gpus: float  # that it reserves
    threads: int  # of the model, and decoder processes
    batch_size: int | None
    max_pixels: int
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """A pair with what a worker made of it; the image's bytes stay behind.

    Without facts and without an error there was nothing to do: the pair was refused, is a caption
    alone, or its file is unchanged. With facts and without a vector, its bytes are stored already.
    """

    pair: Pair  # its `image` is a path, b"" for bytes that stayed behind, or None
    sha256: str | None = None
    size_bytes: int = 0
    facts: ImageFacts | None = None
    vector: Floats | None = None  # float32 [dim]; None where the same bytes are stored already
    caption: Floats | None = None  # float32 [dim]
    cut: bool = False  # whether captions of its slice were longer than the model reads
    error: str | None = None  # why the image cannot be decoded
    busy_s: float = 0.0  # of its decoder
    encode_s: float = 0.0  # its share of the model's time


class KnownItems:
    """Answers, on the driver's node, what the index already holds under some keys.

    Args:
        folder: The folder of the index.
    """

    def __init__(self, folder: str) -> None:
        self._reader = Reader(Path(folder))

    def lookup(self, keys: Sequence[str]) -> dict[str, Known]:
        """Committed items by key; keys that are not there are left out."""
        return self._reader.run(lambda conn, _: {k.key: k for k in known_by(conn, "key", keys)})


class EmbedWorker:
    """The callable that Ray Data keeps in each actor of its pool.

    Args:
        settings: How to work.
        known: Handle of a `KnownItems` actor.

    Raises:
        ClusterError: It reserves a GPU, and there is none.
        EncoderMismatchError: This node's files of the model are others than the driver's.
    """

    def __init__(self, settings: WorkerSettings, known: Any) -> None:
        import torch

        from ..models import load_encoder

        if settings.gpus and not torch.cuda.is_available():
            raise ClusterError(
                f"node {os.uname().nodename} offers a GPU to Ray, and torch finds none there; "
                "install its driver and a torch for it, or start the node without --num-gpus"
            )
        torch.set_num_threads(settings.threads)
        self._settings = settings
        self._known = known
        self._encoder: Encoder = load_encoder(
            settings.model, device=settings.device, precision=settings.precision
        )
        if self._encoder.fingerprint != settings.fingerprint:
            raise EncoderMismatchError(
                f"the files of {settings.model} on node {os.uname().nodename} are others than the "
                f"driver's (fingerprints {self._encoder.fingerprint[:12]} and "
                f"{settings.fingerprint[:12]}); copy the same files to all nodes"
            )
        self._batch_size = batch_for(self._encoder, settings.batch_size)
        self._pool = DecoderPool(
            self._encoder.preprocessing,
            workers=settings.threads,
            max_pixels=settings.max_pixels,
            timeout_s=settings.timeout_s,
        )
        # Slices are worked on side by side; so many batches are encoded at once, as on one machine.
        self._model = threading.BoundedSemaphore(ENCODED_AT_ONCE)
        self._captioning = threading.Lock()  # warnings are caught for the whole process

    def __call__(self, table: pa.Table) -> pa.Table:
        """Embed the slices of a block, one result each."""
        tables = [pack(self._slice(slice_)) for slice_ in unpack(table)]
        return pa.concat_tables(tables)

    def _slice(self, pairs: list[Pair] | ClipSearchError) -> list[Embedded] | ClipSearchError:
        if isinstance(pairs, ClipSearchError):
            return pairs
        usable = [n for n, pair in enumerate(pairs) if not (pair.refused or problem(pair))]
        done = {n: Embedded(pair=_light(pair)) for n, pair in enumerate(pairs)}
        known = self._stored([pairs[n].key for n in usable])
        todo = []
        for n in usable:
            status, reason = status_of(pairs[n])
            before = known.get(pairs[n].key)
            if reason is None and not (before and is_unchanged(pairs[n], status, before)):
                todo.append(n)
        decoding: dict[int, Future[Decoded]] = {}
        for n in todo:
            image, before = pairs[n].image, known.get(pairs[n].key)
            if image is None:
                continue
            facts = _facts_if_same(pairs[n], before)
            if before is None or facts is None:
                decoding[n] = self._pool.submit(image)
            else:
                done[n] = replace(
                    done[n], sha256=before.sha256, size_bytes=before.size_bytes or 0, facts=facts
                )
        self._captions(pairs, todo, done)
        for batch in self._decoded(decoding, done):
            self._images(batch, done)
        return [done[n] for n in range(len(pairs))]

    def _stored(self, keys: list[str]) -> dict[str, Known]:
        import ray

        try:
            found: dict[str, Known] = ray.get(self._known.lookup.remote(keys))
        except ray.exceptions.RayError:
            return {}  # work is done again, nothing is wrong
        return found

    def _decoded(
        self, decoding: dict[int, Future[Decoded]], done: dict[int, Embedded]
    ) -> Iterator[list[tuple[int, Decoded]]]:
        """Batches of decoded images; the reasons of the others are noted."""
        batch: list[tuple[int, Decoded]] = []
        for n, future in decoding.items():
            try:
                batch.append((n, future.result()))
            except ImageDecodeError as exc:
                done[n] = replace(done[n], error=str(exc))
            if len(batch) >= self._batch_size:
                yield batch
                batch = []
        if batch:
            yield batch

    def _images(self, batch: list[tuple[int, Decoded]], done: dict[int, Embedded]) -> None:
        # Equal bytes are encoded once in a batch; the driver sees to the rest.
        first = {decoded.sha256: at for at, (_, decoded) in reversed(list(enumerate(batch)))}
        chosen = sorted(first.values())
        pixels = np.stack([batch[at][1].prepared.pixels for at in chosen])  # [n, H, W, 3]
        with self._model:
            started = perf_counter()
            vectors = self._encoder.encode_pixels(pixels)
            share = (perf_counter() - started) / len(batch)
        by_hash = {batch[at][1].sha256: v for at, v in zip(chosen, vectors, strict=True)}
        for n, decoded in batch:
            done[n] = replace(
                done[n],
                sha256=decoded.sha256,
                size_bytes=decoded.size_bytes,
                facts=decoded.prepared.facts,
                vector=by_hash[decoded.sha256],
                busy_s=decoded.busy_s,
                encode_s=share,
            )

    def _captions(self, pairs: list[Pair], todo: list[int], done: dict[int, Embedded]) -> None:
        chosen = [n for n in todo if pairs[n].caption]
        if not chosen:
            return
        with self._captioning, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            vectors = self._encoder.encode_texts([pairs[n].caption or "" for n in chosen])
        for n, vector in zip(chosen, vectors, strict=True):
            done[n] = replace(done[n], caption=vector, cut=bool(caught))

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # the process is ending
            self._pool.__exit__(None, None, None)


def _facts_if_same(pair: Pair, before: Known | None) -> ImageFacts | None:
    """The facts of an image whose very bytes are stored under its key, so that it decodes."""
    image = pair.image
    if before is None or before.sha256 is None or image is None or not before.has_image:
        return None
    if before.sha256 != content_hash(image):
        return None
    try:
        return read_facts(io.BytesIO(image) if isinstance(image, bytes) else image)  # type: ignore[arg-type]
    except (OSError, ValueError):
        return None  # the decoder will say more


def _light(pair: Pair) -> Pair:
    """The pair without the bytes of its image."""
    return replace(pair, image=b"") if isinstance(pair.image, bytes) else pair
