"""Files that the catalog does not name: left by a killed process, superseded, or a stranger's."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from . import catalog
from .ann import ann_file
from .lock import WriterLock
from .parts import OWN_FILES
from .segments import segment_files

__all__ = ["BUILD_LOCK_FILE", "strangers", "sweep"]

BUILD_LOCK_FILE = "build.lock"  # in `ann/`; held while an ANN file is built


def sweep(folder: Path, conn: sqlite3.Connection, before: Callable[[], None]) -> None:
    """Delete files of ours that the catalog does not name.

    Only names that a writer gives are deleted, and only in the folder itself: a folder that is a
    link is left alone, whatever it is exchanged for meanwhile.

    Args:
        folder: The folder of the index.
        conn: The writer's connection, with nothing staged.
        before: Called if there is something to delete; nothing is, if it raises.
    """
    segments, anns = catalog.file_names(conn)
    named = {path.name for name in segments for path in segment_files(folder, name)}
    named |= {ann_file(folder, name).name for name in anns}
    for subfolder, own in OWN_FILES.items():
        try:
            fd = os.open(folder / subfolder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            for name in os.listdir(fd):
                if name in named or not own.fullmatch(name):
                    continue
                if not (name.endswith(".tmp") and _being_built(folder)):
                    before()
                    with contextlib.suppress(OSError):
                        os.unlink(name, dir_fd=fd)
        finally:
            os.close(fd)


def strangers(folder: Path) -> list[Path]:
    """What lies beside the files of an index and is none of them; sorted."""
    return sorted(
        entry
        for subfolder, own in OWN_FILES.items()
        for entry in (folder / subfolder).glob("*")
        if not own.fullmatch(entry.name) and entry.name != BUILD_LOCK_FILE
    )


def _being_built(folder: Path) -> bool:
    """Whether a living process is building an ANN file."""
    try:
        WriterLock(folder / "ann" / BUILD_LOCK_FILE).acquire().release()
    except OSError:
        return True
    return False
