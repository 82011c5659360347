"""A folder of a process's own for what it needs while it runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["private_folder"]


@contextlib.contextmanager
def private_folder(prefix: str, *, root: Path | None = None, only: bool = False) -> Iterator[Path]:
    """A folder that only this user can open, gone afterwards; those of killed runs are swept.

    Args:
        prefix: Of its name, ending in a hyphen; the same for all runs.
        root: Where it is made; by default where the system has temporary files.
        only: Whether this process has no other one. Then one of its number is left by a process
            before it, as in a container, where a server has the same number every time.
    """
    root = root or Path(tempfile.gettempdir())
    for old in root.glob(f"{prefix}*"):
        pid = old.name.removeprefix(prefix).partition("-")[0]
        ours = only and pid == str(os.getpid())
        if pid.isdecimal() and (ours or not _is_alive(int(pid))):
            shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
