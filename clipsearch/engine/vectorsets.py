"""The vectors of several models in one index: adding those of another one, switching, forgetting.

The segments of a model carry its fingerprint, and `meta.fingerprint` says which are the index's.
The others are invisible to everything but this module. They are written piece by piece while the
index is used as it is, in any order of rows, and may have rows of items that were removed since.
`switch` puts them in order and makes them the index's, all in the transaction of its caller.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import IndexCorruptError, InvalidInputError
from ..types import Modality
from ..vectors import Floats, Halves, Rows, is_in
from . import catalog, refresh
from .compaction import MAX_SEGMENT_ROWS
from .row_names import RowNames
from .segments import BLOCK_ROWS, Segment, write_segment
from .snapshot import MODALITIES, load_snapshot

if TYPE_CHECKING:
    from ..encoder import Encoder

__all__ = [
    "SWITCHED_BACK",
    "KeptModel",
    "details",
    "forget",
    "kept",
    "lacking",
    "register",
    "store",
    "switch",
]

# The document with the name of the model that the last switch has left, if it was one back: to go
# back again would only undo that.
SWITCHED_BACK = "switched_back_from"

# Pieces below this many rows are gathered into one when there are so many of them.
_SMALL_ROWS = 4096
_MOST_SMALL = 32


@dataclass(frozen=True, slots=True)
class KeptModel:
    """A model whose vectors are in an index, but are not the ones that it uses."""

    name: str
    fingerprint: str
    dim: int
    left_at: str | None  # when the index last used it; None: it never did


def details(encoder: Encoder) -> str:
    """What else identifies a model, for people, as JSON; the fingerprint decides."""
    preprocessing = getattr(encoder, "preprocessing", None)
    return json.dumps(
        {
            "logit_scale": float(encoder.logit_scale),
            "logit_bias": None if encoder.logit_bias is None else float(encoder.logit_bias),
            "preprocessing": None if preprocessing is None else repr(preprocessing),
            "normalisation": "unit length",
        }
    )


def kept(conn: sqlite3.Connection) -> list[KeptModel]:
    """The models beside the index's own, the one that it used last first."""
    cursor = conn.execute(
        "SELECT name, fingerprint, dim, left_at FROM models "
        f"WHERE fingerprint <> {catalog.CURRENT} "
        "ORDER BY left_at DESC NULLS LAST, name"
    )
    return [KeptModel(*fields) for fields in cursor]


def register(conn: sqlite3.Connection, encoder: Encoder) -> None:
    """Make a model known, so that its vectors can be stored; nothing if it is."""
    conn.execute(
        "INSERT OR IGNORE INTO models VALUES (?, ?, ?, ?, NULL)",
        (encoder.fingerprint, encoder.name, int(encoder.dim), details(encoder)),
    )


def lacking(conn: sqlite3.Connection, folder: Path, model: str) -> dict[Modality, Rows]:
    """Rows of items that have a vector of the index's model, but none of another one.

    Args:
        conn: A connection within a transaction.
        folder: The folder of the index.
        model: Fingerprint of the other model.

    Returns:
        int64, ascending, by modality.
    """
    found: dict[Modality, Rows] = {}
    for modality in MODALITIES:
        wanted = catalog.vector_rows(conn, modality)
        stored = _rows(_open(conn, folder, model, modality))
        names = RowNames(*catalog.renamed_rows(conn, modality))
        found[modality] = np.sort(names.of_items(wanted[~is_in(wanted, np.sort(stored))]))
    return found


def store(
    conn: sqlite3.Connection,
    folder: Path,
    model: str,
    modality: Modality,
    rows: Rows,
    vectors: Floats,
) -> None:
    """Add vectors of another model than the index's, in the transaction of a writer.

    Args:
        conn: The writer's connection.
        folder: The folder of the index.
        model: Fingerprint of the other model, which is registered.
        modality: Which vectors these are.
        rows: Of the vectors, int64 [n], in any order, none of which the model has already.
        vectors: float32 [n, dim], unit length.
    """
    order = np.argsort(rows)
    block = (rows[order], vectors[order].astype(np.float16))
    entry = write_segment(folder, modality, vectors.shape[1], rows.size, [block])
    catalog.insert_segment(conn, entry, model)
    segments = _open(conn, folder, model, modality)
    small = [segment for segment in segments if segment.entry.count < _SMALL_ROWS]
    if len(small) >= _MOST_SMALL:
        _gather(conn, folder, model, modality, small, np.sort(_rows(small)))


def switch(
    conn: sqlite3.Connection,
    folder: Path,
    model: str,
    probes: Sequence[tuple[str, bytes]],
    *,
    back: bool = False,
) -> None:
    """Make the vectors of another model the index's; those of the one before are kept.

    Args:
        conn: The writer's connection, within the transaction that commits all of this at once.
        folder: The folder of the index.
        model: Fingerprint of the other model, which lacks no row.
        probes: Its vectors of the generic texts; empty when it has them already.
        back: Whether this undoes the switch before.

    Raises:
        InvalidInputError: The model lacks a row.
        IndexCorruptError: A file is missing or damaged.
    """
    conn.execute("DELETE FROM tombstones")
    for modality in MODALITIES:
        wanted = catalog.vector_rows(conn, modality)
        segments = _open(conn, folder, model, modality)
        stored = _rows(segments)
        if not is_in(wanted, np.sort(stored)).all():
            raise InvalidInputError(f"the new model lacks {modality} vectors of some items")
        pairs = itertools.pairwise(segment.entry for segment in segments)
        if any(one.last_row >= other.first_row for one, other in pairs):
            _gather(conn, folder, model, modality, segments, wanted)
            continue
        catalog.insert_tombstones(conn, modality, stored[~is_in(stored, wanted)].tolist())
    # Later than all before, for `kept`, even if the clock was set back.
    now = datetime.now(UTC)
    (last,) = conn.execute("SELECT max(left_at) FROM models").fetchone()
    if last is not None:
        now = max(now, datetime.fromisoformat(last) + timedelta(microseconds=1))
    conn.execute(
        "UPDATE models SET left_at = CASE fingerprint WHEN ? THEN NULL ELSE ? END "
        f"WHERE fingerprint IN (?, {catalog.CURRENT})",
        (model, now.isoformat(timespec="microseconds"), model),
    )
    catalog.set_document(conn, SWITCHED_BACK, catalog.meta(conn)["model_name"] if back else None)
    catalog.set_meta(conn, {"fingerprint": model})
    catalog.set_probes(conn, probes)
    snapshot = load_snapshot(folder, conn)
    catalog.set_baselines(conn, refresh.remeasure(conn, snapshot, catalog.probes(conn)))


def forget(conn: sqlite3.Connection) -> None:
    """Drop the vectors of all models but the index's own; their files become garbage."""
    for table in ("segments", "ann", "probes", "backgrounds", "models"):
        conn.execute(f"DELETE FROM {table} WHERE fingerprint <> {catalog.CURRENT}")


def _open(conn: sqlite3.Connection, folder: Path, model: str, modality: Modality) -> list[Segment]:
    found = conn.execute("SELECT dim FROM models WHERE fingerprint = ?", (model,)).fetchone()
    entries = [e for e in catalog.segments(conn, model) if e.modality == modality]
    return [Segment(folder, entry, int(found[0])) for entry in entries]


def _rows(segments: Sequence[Segment]) -> Rows:
    """Rows of segments, in the order of the segments."""
    return np.concatenate([np.empty(0, np.int64), *(segment.rows for segment in segments)])


def _gather(
    conn: sqlite3.Connection,
    folder: Path,
    model: str,
    modality: Modality,
    segments: Sequence[Segment],
    rows: Rows,
) -> None:
    """Replace segments by new ones that have these of their rows, in ascending order."""
    if rows.size:
        dim = segments[0].take(np.empty(0, np.int64)).shape[1]
        for start in range(0, rows.size, MAX_SEGMENT_ROWS):
            part = rows[start : start + MAX_SEGMENT_ROWS]
            blocks = _sorted_blocks(segments, part, dim)
            try:
                entry = write_segment(folder, modality, dim, part.size, blocks)
            except ValueError as exc:
                raise IndexCorruptError(f"{folder}: rows of {modality} vectors are lost") from exc
            catalog.insert_segment(conn, entry, model)
    catalog.delete_segments(conn, [segment.entry.name for segment in segments])


def _sorted_blocks(
    segments: Sequence[Segment], rows: Rows, dim: int
) -> Iterator[tuple[Rows, Halves]]:
    """Vectors of ascending rows, out of segments whose ranges may overlap."""
    for start in range(0, rows.size, BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        vectors = np.empty((block.size, dim), np.float16)
        found = np.zeros(block.size, bool)
        for segment in segments:
            positions, which = segment.find(block)
            if which.size:
                vectors[which] = segment.take(positions).astype(np.float16)
                found[which] = True
        yield block[found], vectors[found]
