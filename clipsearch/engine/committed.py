"""A note of the last commit beside the catalog, by which commits are missed that a log has lost.

SQLite reads its log (`catalog.sqlite-wal`) up to the first checksum that does not fit. What was
committed after that, or all of it where the file was left behind by a copy, never was.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from ..files import read_regular
from .identity import State
from .parts import COMMITTED

__all__ = ["later", "note"]

_MOST_BYTES = 1000


def note(folder: Path, state: State) -> None:
    """Note a state that was just committed; where that is refused, none is missed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    document = {"index_id": state.index_id, "generation": state.generation}
    with contextlib.suppress(OSError):
        fd = os.open(folder / COMMITTED, flags, 0o644)
        try:
            os.write(fd, json.dumps(document).encode())
        finally:
            os.close(fd)


def later(folder: Path, state: State) -> int | None:
    """The number of a later state than the one that the catalog has, if one was committed.

    A note of another index, or one that cannot be read, tells nothing.
    """
    try:
        found = json.loads(read_regular(folder / COMMITTED, _MOST_BYTES))
        is_own, generation = found["index_id"] == state.index_id, found["generation"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    is_later = is_own and isinstance(generation, int) and generation > state.generation
    return generation if is_later else None
