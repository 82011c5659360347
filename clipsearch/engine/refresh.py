"""Keeping the score distributions of an index up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..cache import cached_key, cached_vectors
from ..types import Modality
from ..vectors import Floats, Rows
from . import catalog
from .baseline import ScoreBaseline, measure
from .generic_texts import GENERIC_TEXTS
from .snapshot import MODALITIES, Snapshot, VectorStore

if TYPE_CHECKING:
    from ..encoder import Encoder

__all__ = ["due", "encode_probes", "probe_vectors", "remeasure"]

SAMPLE = 1000  # vectors a modality; with 200 texts these are 200,000 pairs
_SEED = 20_240_501


def due(snapshot: Snapshot) -> bool:
    """Whether a distribution is missing or outdated."""
    return any(
        len(snapshot.store(modality)) > 0 and _stale(snapshot, modality) for modality in MODALITIES
    )


def _stale(snapshot: Snapshot, modality: Modality) -> bool:
    items = len(snapshot.store(modality))
    for kind in ("text", "image"):
        found = ScoreBaseline.of(snapshot.baselines, kind, modality)
        if found is not None and found.outdated(items):
            return True
        if found is None and kind == "text":
            return True
    return False


def encode_probes(encoder: Encoder) -> list[tuple[str, bytes]]:
    """The generic texts with their vectors, for `catalog.set_probes`.

    They are kept in the cache by model: encoding them takes longer than a hundred photos do on a
    fast CPU.
    """
    texts = list(GENERIC_TEXTS)
    vectors = cached_vectors(
        "probes",
        cached_key(encoder.fingerprint, texts),
        lambda: encoder.encode_texts(texts),
        shape=(len(texts), encoder.dim),
    )
    halves = vectors.astype(np.float16)
    return [(text, half.tobytes()) for text, half in zip(texts, halves, strict=True)]


def probe_vectors(probes: Mapping[str, bytes], dim: int) -> Floats:
    """The kept vectors of the generic texts, float32 [n, dim], by text."""
    vectors = [np.frombuffer(data, np.float16) for data in probes.values()]
    if not vectors:
        return np.empty((0, dim), np.float32)
    return np.stack(vectors).astype(np.float32)


def remeasure(
    conn: sqlite3.Connection, snapshot: Snapshot, probes: Mapping[str, bytes]
) -> dict[tuple[str, Modality], ScoreBaseline]:
    """Measure all score distributions of a committed state.

    Args:
        conn: A connection within the transaction of that state.
        snapshot: The state.
        probes: Vectors of generic texts; may be empty, then only captions stand for texts.

    Returns:
        Distributions by kind of query and modality; those without any pair are left out.
    """
    texts = probe_vectors(probes, int(snapshot.meta["dim"]))
    no_rows = np.full(len(texts), -1, np.int64)
    samples = {m: _sample(snapshot.store(m)) for m in MODALITIES}
    image_rows, images = samples["image"]
    caption_rows, captions = samples["caption"]
    hashes = _content(conn, image_rows)
    found: dict[tuple[str, Modality], ScoreBaseline] = {}
    for modality in MODALITIES:
        rows, vectors = samples[modality]
        items = len(snapshot.store(modality))
        text_rows = np.concatenate([no_rows, caption_rows])
        related = text_rows[:, None] == rows[None, :]
        text = measure(np.concatenate([texts, captions]), vectors, items, related=related)
        same = image_rows[:, None] == rows[None, :]
        if modality == "image":  # copies of one image are related
            same |= hashes[:, None] == hashes[None, :]
        image = measure(images, vectors, items, related=same)
        for kind, baseline in (("text", text), ("image", image)):
            if baseline is not None:
                found[kind, modality] = baseline
    return found


def _sample(store: VectorStore) -> tuple[Rows, Floats]:
    """Some live rows with their vectors, the same ones for the same state."""
    return store.sample(SAMPLE, np.random.default_rng(_SEED))


def _content(conn: sqlite3.Connection, rows: Rows) -> npt.NDArray[np.int64]:
    """A number for the content of each row: equal for equal files."""
    numbers: dict[str, int] = {}
    known = {k.row: k.sha256 for k in catalog.known_by(conn, "row", rows.tolist())}
    return np.asarray(
        [numbers.setdefault(known.get(row) or f"row {row}", len(numbers)) for row in rows.tolist()],
        np.int64,
    )
