"""The names in an index folder that are the index's own, none of which may be a link.

A link in place of a part makes what is written or deleted through it somebody else's file: tar,
rsync and git all carry links, so a copied index may hold one that its owner never made.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from ..errors import IndexCorruptError

__all__ = ["CATALOG", "LINK_REMEDY", "OWN_FILES", "SUBFOLDERS", "is_link", "refuse_links"]

CATALOG = "catalog.sqlite"
SUBFOLDERS = ("vectors", "ann")
# What is written into each of them; nothing else there is ever deleted.
OWN_FILES = {
    "vectors": re.compile(r"(?:image|caption)-[0-9a-f]{16}(?:\.rows)?\.npy"),
    "ann": re.compile(r"(?:image|caption)-[0-9a-f]{16}\.(?:faiss|tmp)"),
}
LINK_REMEDY = (
    "The parts of an index must lie in its folder: put a copy of what the link points to in its "
    "place, or move the whole folder and link to that."
)
_PARTS = (
    *SUBFOLDERS,
    *(CATALOG + ending for ending in ("", "-wal", "-shm", "-journal")),
    "writer.lock",
    "migration.lock",
    "ann/build.lock",
)


def is_link(path: Path) -> bool:
    """Whether a path is a symbolic link, wherever it leads."""
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except OSError:
        return False


def refuse_links(folder: Path) -> None:
    """Check that no part of an index is a symbolic link, or a pipe or device, which may never end.

    The folder itself may be a link.

    Raises:
        IndexCorruptError: One is.
    """
    for part in _PARTS:
        try:
            mode = os.lstat(folder / part).st_mode
        except OSError:
            continue
        if stat.S_ISLNK(mode):
            raise IndexCorruptError(f"{folder / part} is a symbolic link. {LINK_REMEDY}")
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise IndexCorruptError(f"{folder / part} is no file. Delete it.")
