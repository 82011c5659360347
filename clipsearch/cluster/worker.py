"""A worker of the embedding job: it holds the model once and turns slices of pairs into vectors."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ..encoders.devices import has_torch
from ..engine.catalog import Known, known_by
from ..engine.reader import Reader
from ..errors import ClipSearchError, ClusterError, EncoderMismatchError
from ..intake.embedder import Embedded, Embedder
from ..intake.log import IngestLog
from ..intake.pairs import Pair
from ..intake.triage import (
    Candidate,
    candidate_of,
    content_hash,
    is_unchanged,
    problem,
    status_of,
)
from .slices import Remarks, pack, unpack

if TYPE_CHECKING:
    from ..encoder import Encoder
    from ..types import Precision

__all__ = ["EmbedWorker", "EmbeddedSlice", "KnownItems", "WorkerSettings"]


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
    rescan: bool = False  # whether the facts of unchanged images are read again
    hash_first: bool = False  # whether files may have been moved, which hashing them tells


@dataclass(frozen=True, slots=True)
class EmbeddedSlice:
    """What a worker made of a slice of pairs; the bytes of images stay behind.

    A pair for which there was nothing to do, because it was refused or is unchanged, comes as it
    was. An image whose bytes are stored under the pair's own key comes without a vector.
    """

    embedded: list[Embedded]  # of every pair, in order; bytes of images are b""
    busy: dict[str, float]  # stage -> seconds
    notes: dict[str, int]
    remarks: Remarks | None = None  # of a part of the source, after its last pair


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

    def with_bytes(self, hashes: Sequence[str]) -> set[str]:
        """Those of some content hashes that a committed item with an image has."""
        return self._reader.run(
            lambda conn, _: {
                known.sha256
                for known in known_by(conn, "sha256", hashes)
                if known.has_image and known.sha256 is not None
            }
        )


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
        from ..models import load_encoder

        if settings.gpus and not _has_cuda():
            raise ClusterError(
                f"node {os.uname().nodename} offers a GPU to Ray, and torch finds none there; "
                "install its driver and a torch for it, or start the node without --num-gpus"
            )
        os.environ["OMP_NUM_THREADS"] = str(settings.threads)  # before torch is imported
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
        self._embedder = Embedder(
            self._encoder,
            batch_size=settings.batch_size,
            workers=settings.threads,
            max_pixels=settings.max_pixels,
            timeout_s=settings.timeout_s,
        )

    def __call__(self, table: pa.Table) -> pa.Table:
        """Embed the slices of a block, one result each; several threads call at once."""
        tables = [pack(self._slice(slice_)) for slice_ in unpack(table)]
        return pa.concat_tables(tables)

    def _slice(
        self, pairs: list[Pair] | Remarks | ClipSearchError
    ) -> EmbeddedSlice | ClipSearchError:
        if isinstance(pairs, ClipSearchError):
            return pairs
        if isinstance(pairs, Remarks):
            return EmbeddedSlice([], {}, {}, pairs)
        found = [Embedded(Candidate(_light(pair))) for pair in pairs]
        usable = [n for n, pair in enumerate(pairs) if not (pair.refused or problem(pair))]
        known = self._stored([pairs[n].key for n in usable])
        todo = {}
        for n in usable:
            status, error = status_of(pairs[n])
            before = known.get(pairs[n].key)
            rescan = self._settings.rescan
            if error is None and (
                before is None or rescan or not is_unchanged(pairs[n], status, before)
            ):
                todo[n] = candidate_of(pairs[n], status, before, rescan=rescan)
                if todo[n].sha256 is None:
                    todo[n].sha256 = _hash_if_same(pairs[n], before)
        if self._settings.hash_first:
            self._spare(list(todo.values()))
        log = IngestLog()
        # Equal bytes are encoded once in a slice; the driver sees to the rest.
        batches = self._embedder.embed([list(todo.values())], log=log, stored=lambda _: ())
        for n, one in zip(todo, itertools.chain.from_iterable(batches), strict=True):
            one.candidate, one.pixels = found[n].candidate, None
            found[n] = one
        return EmbeddedSlice(found, dict(log.busy), dict(log.notes))

    def _stored(self, keys: list[str]) -> dict[str, Known]:
        import ray

        try:
            found: dict[str, Known] = ray.get(self._known.lookup.remote(keys))
        except ray.exceptions.RayError:
            return {}  # work is done again, nothing is wrong
        return found

    def _spare(self, candidates: list[Candidate]) -> None:
        """Mark those whose bytes are stored under another key: they were moved or copied."""
        new = [one for one in candidates if one.sha256 is None and one.path is not None]
        hashes = [content_hash(one.path) for one in new]
        stored = self._stored_bytes([sha256 for sha256 in hashes if sha256 is not None])
        for one, sha256 in zip(new, hashes, strict=True):
            if sha256 in stored:
                one.sha256, one.reads_facts = sha256, True

    def _stored_bytes(self, hashes: list[str]) -> set[str]:
        import ray

        try:
            found: set[str] = ray.get(self._known.with_bytes.remote(hashes))
        except ray.exceptions.RayError:
            return set()  # as above
        return found

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # the process is ending
            self._embedder.__exit__(None, None, None)


def _hash_if_same(pair: Pair, before: Known | None) -> str | None:
    """The hash of an image whose very bytes are stored under its key."""
    if before is None or before.sha256 is None or pair.image is None or not before.has_image:
        return None
    return before.sha256 if before.sha256 == content_hash(pair.image) else None


def _light(pair: Pair) -> Pair:
    """The pair without the bytes of its image."""
    return replace(pair, image=b"") if isinstance(pair.image, bytes) else pair


def _has_cuda() -> bool:
    """Whether torch finds a GPU on this node."""
    if not has_torch():
        return False
    import torch

    return torch.cuda.is_available()
