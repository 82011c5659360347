"""Which index a catalog is, and which of its committed states it holds."""

from __future__ import annotations

import secrets
import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import IndexMigratedError

__all__ = ["State", "advance", "check_same", "new_id", "state_of"]


@dataclass(frozen=True, slots=True)
class State:
    """One committed state of one index.

    Attributes:
        index_id: Random, given to the index when it was created; copies of it have the same.
        commit_id: Random, given by the commit. States with the same one are equal, which those
            with the same number need not be: an older copy may have been restored.
        generation: Number of the commit.
        fingerprint: Of the index's model.
    """

    index_id: str
    commit_id: str
    generation: int
    fingerprint: str


def new_id() -> str:
    """A random id for an index or a commit: 16 bytes as hex digits."""
    return secrets.token_hex(16)


def state_of(conn: sqlite3.Connection) -> State:
    """The state that a connection sees.

    Ids are empty where the catalog has an older format: that of a copy that was put in place of
    an open index.
    """
    found = dict(
        conn.execute(
            "SELECT key, value FROM meta "
            "WHERE key IN ('index_id', 'commit_id', 'generation', 'fingerprint')"
        )
    )
    if not isinstance(found.get("generation"), int) or "fingerprint" not in found:
        raise sqlite3.DatabaseError("the generation is missing")
    return State(
        str(found.get("index_id", "")),
        str(found.get("commit_id", "")),
        found["generation"],
        str(found["fingerprint"]),
    )


def advance(conn: sqlite3.Connection) -> State:
    """Make what a transaction commits the next state, with an id of its own.

    Every transaction that changes an index does this once.

    Returns:
        That state.
    """
    before = state_of(conn)
    now = replace(before, generation=before.generation + 1, commit_id=new_id())
    conn.executemany(
        "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)",
        [("generation", now.generation), ("commit_id", now.commit_id)],
    )
    return now


def check_same(folder: Path, conn: sqlite3.Connection, found: State, opened: State | None) -> None:
    """Check that an index and its model still are those that its user opened.

    Args:
        folder: Its folder.
        conn: A connection to its catalog.
        found: The state that the connection sees.
        opened: A state that the user has seen; None for any.

    Raises:
        IndexMigratedError: The index was migrated to another model, or is another one.
    """
    if opened is None:
        return
    if found.index_id != opened.index_id:
        what = "replaced"
    elif found.fingerprint != opened.fingerprint:
        model = conn.execute(
            "SELECT name FROM models WHERE fingerprint = ?", (found.fingerprint,)
        ).fetchone()
        what = f"migrated to {model[0] if model else 'another model'}"
    else:
        return
    raise IndexMigratedError(
        f"index {folder.name} was {what} after it was opened; reopen it, or run the command again"
    )
