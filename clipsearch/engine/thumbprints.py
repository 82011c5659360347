"""The thumbprints of indexed images, kept by the hash of their bytes."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..thumbprint import THUMBPRINT_BYTES
from ..vectors import Rows
from . import digests

__all__ = ["drop_unused", "has_unused", "of_rows", "remember"]


def remember(conn: sqlite3.Connection, prints: Mapping[str, bytes]) -> None:
    """Keep thumbprints by sha256, in the transaction of a writer."""
    conn.executemany("INSERT OR REPLACE INTO thumbprints VALUES (?, ?)", prints.items())
    digests.add(conn, "thumbprints", prints.items())


def of_rows(
    conn: sqlite3.Connection, rows: Rows
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """The thumbprints of rows.

    Args:
        conn: A connection within a transaction.
        rows: int64 [n], ascending.

    Returns:
        uint8 [n, 144], and which of them there are, bool [n].
    """
    prints = np.zeros((rows.size, THUMBPRINT_BYTES), np.uint8)
    there = np.zeros(rows.size, bool)
    if not rows.size:
        return prints, there
    cursor = conn.execute(
        "SELECT row, luma FROM items JOIN thumbprints USING (sha256) WHERE row BETWEEN ? AND ?",
        (int(rows[0]), int(rows[-1])),
    )
    while found := cursor.fetchmany(4096):
        found = [pair for pair in found if len(pair[1]) == THUMBPRINT_BYTES]
        if not found:
            continue
        ids = np.fromiter((row for row, _ in found), np.int64, len(found))
        at = np.searchsorted(rows, ids)
        at[at == rows.size] = 0
        mine = rows[at] == ids
        lumas = np.frombuffer(b"".join(luma for _, luma in found), np.uint8)
        prints[at[mine]] = lumas.reshape(-1, THUMBPRINT_BYTES)[mine]
        there[at[mine]] = True
    return prints, there


_UNUSED = "FROM thumbprints WHERE sha256 NOT IN (SELECT sha256 FROM items WHERE sha256 IS NOT NULL)"


def has_unused(conn: sqlite3.Connection) -> bool:
    """Whether there are thumbprints of images that no item has."""
    return conn.execute(f"SELECT 1 {_UNUSED} LIMIT 1").fetchone() is not None


def drop_unused(conn: sqlite3.Connection) -> None:
    """Drop the thumbprints of images that no item has, in the transaction of a writer."""
    conn.execute(f"DELETE {_UNUSED}")
