"""Files that the catalog does not name: left by a killed process, or superseded."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from . import catalog
from .ann import ann_file
from .lock import WriterLock
from .segments import segment_files

__all__ = ["BUILD_LOCK_FILE", "sweep"]

BUILD_LOCK_FILE = "build.lock"  # in `ann/`; held while an ANN file is built


def sweep(folder: Path, conn: sqlite3.Connection) -> None:
    """Delete files that the catalog does not name.

    Args:
        folder: The folder of the index.
        conn: The writer's connection, with nothing staged.
    """
    segments, anns = catalog.file_names(conn)
    named = {path.name for name in segments for path in segment_files(folder, name)}
    named |= {ann_file(folder, name).name for name in anns}
    named.add(BUILD_LOCK_FILE)
    for path in [*(folder / "vectors").glob("*"), *(folder / "ann").glob("*")]:
        if path.name not in named and not (path.suffix == ".tmp" and _being_built(folder)):
            with contextlib.suppress(OSError):
                path.unlink()


def _being_built(folder: Path) -> bool:
    """Whether a living process is building an ANN file."""
    try:
        WriterLock(folder / "ann" / BUILD_LOCK_FILE).acquire().release()
    except OSError:
        return True
    return False
