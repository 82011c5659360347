"""Measuring this machine's rates for a plan: encoding, decoding, scanning, committing."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from ..images import prepare
from ..types import Record
from ..vectors import score, unit
from .planning import Rates

if TYPE_CHECKING:
    from ..encoder import Encoder

__all__ = ["measure_rates"]

_SECONDS = 1.0  # of each measurement
_IMAGE_SIZE = (640, 480)  # pixels of the JPEG that is decoded
_SCAN_ROWS = 100_000


def measure_rates(encoder: Encoder, *, seconds: float = _SECONDS) -> Rates:
    """Measure what a plan needs, on this machine and with this model.

    Args:
        encoder: The model.
        seconds: How long each of the five measurements takes, about.

    Returns:
        Rates; scaling and overhead are the defaults, because one machine cannot show them.
    """
    return Rates(
        encode_per_s=_encode_rate(encoder, seconds),
        decode_per_s=_decode_rate(encoder, seconds),
        commit_per_s=_commit_rate(encoder, seconds),
        scan_bytes_per_s=_scan_rate(encoder.dim, seconds),
        text_per_s=_repeat(lambda: encoder.encode_texts(["a dog on the beach"]), 1, seconds),
    )


def _repeat(work: Callable[[], object], amount: float, seconds: float) -> float:
    """Amount done a second, after one run that does not count."""
    work()
    started = perf_counter()
    runs = 0
    while perf_counter() - started < seconds:
        work()
        runs += 1
    return runs * amount / (perf_counter() - started)


def _encode_rate(encoder: Encoder, seconds: float) -> float:
    height, width = encoder.preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 256, (16, height, width, 3), np.uint8)
    return _repeat(lambda: encoder.encode_pixels(pixels), len(pixels), seconds)


def _decode_rate(encoder: Encoder, seconds: float) -> float:
    from PIL import Image

    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (48, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize(_IMAGE_SIZE).save(buffer, "JPEG", quality=85)
    data = buffer.getvalue()
    return _repeat(lambda: prepare(data, encoder.preprocessing), 1, seconds)


def _scan_rate(dim: int, seconds: float) -> float:
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((_SCAN_ROWS, dim), np.float32))
    return _repeat(lambda: score(vectors, vectors[0]), vectors.nbytes, seconds)


def _commit_rate(encoder: Encoder, seconds: float) -> float:
    from ..index import Index

    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((1000, encoder.dim), np.float32))
    at = 0
    with tempfile.TemporaryDirectory() as folder:
        index = Index.create(Path(folder) / "rate", encoder)
        with index, index.writer() as writer:

            def commit() -> None:
                nonlocal at
                keys = [f"/data/{at + i:09d}.jpg" for i in range(len(vectors))]
                writer.lookup(keys)
                for key, vector in zip(keys, vectors, strict=True):
                    writer.put(Record(key=key, path=key, sha256=f"{at:064d}"), image=vector)
                    at += 1
                writer.commit()

            return _repeat(commit, len(vectors), seconds)
