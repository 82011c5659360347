"""The names in an index folder that are the index's own, none of which may be a link.

A link in place of a part makes what is written or deleted through it somebody else's file: tar,
rsync and git all carry links, so a copied index may hold one that its owner never made.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path

from ..errors import IndexCorruptError, InvalidInputError
from ..files import CATALOG

__all__ = [
    "CATALOG",
    "COMMITTED",
    "LINK_REMEDY",
    "NEW_CATALOG",
    "OWN_FILES",
    "SUBFOLDERS",
    "check_path",
    "is_link",
    "refuse_links",
]

NEW_CATALOG = ".clipsearch-0123456789abcdef.part"  # as `files.replacing` names one that is made
COMMITTED = "committed.json"
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
# SQLite opens files whose paths have 512 bytes, with the 8 of the names that it adds.
_MOST_BYTES = 504
_PARTS = (
    *SUBFOLDERS,
    *(CATALOG + ending for ending in ("", "-wal", "-shm", "-journal")),
    COMMITTED,
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


def check_path(folder: Path, *, name: str = CATALOG) -> None:
    """Check that SQLite and the system can open an index in a folder.

    Args:
        folder: The folder, which need not exist.
        name: The longest name of a database in it.

    Raises:
        InvalidInputError: They cannot.
    """
    try:
        size = len(os.fsencode(os.path.realpath(folder / name)))
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            os.lstat(folder)
    except (OSError, ValueError) as exc:  # a name that is too long, holds NUL or half a character
        why = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise InvalidInputError(f"{folder} cannot be the folder of an index: {why}") from exc
    if size > _MOST_BYTES:
        raise InvalidInputError(
            f"the path {folder} has {size - len(name) - 1} bytes, and SQLite opens an index there "
            f"only up to {_MOST_BYTES - len(NEW_CATALOG) - 1}; choose a shorter one, or move it up"
        )


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
