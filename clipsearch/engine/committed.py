"""A note of the last commit beside the catalog, by which commits are missed that a log has lost.

SQLite reads its log (`catalog.sqlite-wal`) up to the first checksum that does not fit. What was
committed after that, or all of it where the file was left behind by a copy, never was.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from .identity import State
from .parts import COMMITTED

__all__ = ["later", "note"]


def note(folder: Path, generation: int) -> None:
    """Note the number of a state that was just committed; where that is refused, none is missed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with contextlib.suppress(OSError):
        fd = os.open(folder / COMMITTED, flags, 0o644)
        try:
            os.write(fd, json.dumps({"generation": generation}).encode())
        finally:
            os.close(fd)


def later(folder: Path, state: State) -> int | None:
    """The number of a later state than the one that the catalog has, if one was committed."""
    try:
        found = int(json.loads((folder / COMMITTED).read_bytes())["generation"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return found if found > state.generation else None
