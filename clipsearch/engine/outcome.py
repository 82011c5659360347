"""What became of an index after the disk has refused: found out by looking at it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from ..errors import ClipSearchError, StorageError
from .database import connect
from .identity import State, state_of

__all__ = ["UNSURE", "tell", "telling"]

_SAME = "The index is as it was before."
_MORE = "Everything that was committed before the error is kept."
UNSURE = (
    "The disk failed during the commit: whether this change was stored shows when the index is "
    "opened next. Nothing else is lost."
)


def tell(exc: StorageError, folder: Path, before: State | None) -> None:
    """Add to an error of the disk whether an index still is as it was.

    Of several who add it the last one counts, who knows the oldest state.

    Args:
        exc: The error.
        folder: The folder of the index.
        before: The state at the beginning of what has failed; None where it could not be read.
    """
    if exc.outcome != UNSURE:
        now = _state(folder)
        exc.outcome = "" if None in (now, before) else _SAME if now == before else _MORE


@contextlib.contextmanager
def telling(folder: Path, before: State | None = None) -> Iterator[None]:
    """Do so where the disk refuses what is done within; `before` is None for the state now."""
    before = before or _state(folder)
    try:
        yield
    except StorageError as exc:
        tell(exc, folder, before)
        raise


def _state(folder: Path) -> State | None:
    with (
        contextlib.suppress(ClipSearchError, sqlite3.Error),
        contextlib.closing(connect(folder)) as conn,
    ):
        return state_of(conn)
    return None
