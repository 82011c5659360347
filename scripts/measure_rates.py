"""Measuring this machine's rates for a plan: encoding, decoding, scanning, storing."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from clipsearch.cluster.index_job import ClusterEmbedder
from clipsearch.cluster.slices import pack, unpack
from clipsearch.cluster.worker import EmbeddedSlice
from clipsearch.images import prepare
from clipsearch.index import Index
from clipsearch.ingest import IngestOptions, add
from clipsearch.intake.embedder import Embedded
from clipsearch.intake.pairs import Pair, Source
from clipsearch.intake.triage import Candidate
from clipsearch.metadata import ImageFacts
from clipsearch.vectors import score, unit

if TYPE_CHECKING:
    from clipsearch.encoder import Encoder

_SECONDS = 1.0  # of each measurement
_IMAGE_SIZE = (640, 480)  # pixels of the JPEG that is decoded
_SCAN_ROWS = 100_000
_SLICE = 64  # results that a worker sends together
_SCATTER = (1 << 255) // 3 | 1  # odd, so that multiples differ, as hashes do all over their range


def measure_rates(encoder: Encoder) -> dict[str, float]:
    """Measure what a plan needs, on this machine and with this model.

    Args:
        encoder: The model.

    Returns:
        The rates of `plan.Rates` by name, without scaling and overhead, which one machine cannot
        show.
    """
    return {
        "encode_per_s": _encode_rate(encoder),
        "decode_per_s": _decode_rate(encoder),
        "commit_per_s": measure_driver(encoder.dim),
        "scan_bytes_per_s": _scan_rate(encoder.dim),
        "text_per_s": _repeat(lambda: encoder.encode_texts(["a dog on the beach"]), 1),
    }


def _repeat(work: Callable[[], object], amount: float) -> float:
    """Amount done a second, after one run that does not count."""
    work()
    started = perf_counter()
    runs = 0
    while perf_counter() - started < _SECONDS:
        work()
        runs += 1
    return runs * amount / (perf_counter() - started)


def _encode_rate(encoder: Encoder) -> float:
    height, width = encoder.preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 256, (16, height, width, 3), np.uint8)
    return _repeat(lambda: encoder.encode_pixels(pixels), len(pixels))


def _decode_rate(encoder: Encoder) -> float:
    from PIL import Image

    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (48, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize(_IMAGE_SIZE).save(buffer, "JPEG", quality=85)
    data = buffer.getvalue()
    return _repeat(lambda: prepare(data, encoder.preprocessing), 1)


def _scan_rate(dim: int) -> float:
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((_SCAN_ROWS, dim), np.float32))
    return _repeat(lambda: score(vectors, vectors[0]), vectors.nbytes)


def measure_driver(dim: int, *, items: int = 4096, captions: bool = False) -> float:
    """Items a second that the driver of a cluster stores: unpacked, looked up, put, committed.

    Args:
        dim: Length of a vector.
        items: How many new images, in tar shards, the workers are taken to have sent.
        captions: Whether every item has a caption with its vector.
    """
    sent = [
        _slice_of(range(first, min(first + _SLICE, items)), dim, captions)
        for first in range(0, items, _SLICE)
    ]
    with tempfile.TemporaryDirectory() as folder:
        index = Index.create(Path(folder) / "rate", _Nameless(dim))
        with index, index.writer() as writer:
            started = perf_counter()
            add(
                writer,
                _Nameless(dim),  # never asked for anything
                Source(),
                options=IngestOptions(on_error="raise"),
                embedder=ClusterEmbedder(found for table in sent for found in unpack(table)),
            )
            return items / (perf_counter() - started)


def _slice_of(numbers: range, dim: int, captions: bool) -> pa.Table:
    """A slice of results as a worker sends it."""
    vectors = unit(np.random.default_rng(0).standard_normal((len(numbers), dim), np.float32))
    facts = ImageFacts(width=640, height=480, format="JPEG")
    embedded = []
    for number, vector in zip(numbers, vectors, strict=True):
        pair = Pair(
            key=f"/mnt/web/{number // 10_000:05}.tar!{number:09}",
            image=b"",
            caption=f"a caption of nine or so words, number {number}" if captions else None,
        )
        sha256 = f"{number * _SCATTER % 2**256:064x}"
        caption = vector if captions else None
        embedded.append(Embedded(Candidate(pair), sha256, 50_000, facts, vector, caption))
    return pack(EmbeddedSlice(embedded, {}, {}))


class _Nameless:
    """As much of an encoder as an index is made with."""

    name = "none"
    fingerprint = "0" * 64
    preprocessing = None
    logit_scale = 1.0
    logit_bias = None

    def __init__(self, dim: int) -> None:
        self.dim = dim
