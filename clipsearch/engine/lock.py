"""The writer lock: one process at a time may change an index.

The lock is `flock` on `writer.lock`, which the kernel releases when its holder dies, however it
dies. The text in the file only names the holder for the message that the next one sees.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import sys
import time
import weakref
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import IndexCorruptError, IndexLockedError, StorageError
from ..files import advice
from .parts import LINK_REMEDY, is_link

__all__ = ["WriterLock"]

_POLL_S = 0.05
_held: weakref.WeakSet[WriterLock] = weakref.WeakSet()


class WriterLock:
    """An exclusive lock on a file, held from `acquire` to `release`.

    Args:
        path: The lock file; created when missing, never deleted (deleting a lock file lets two
            processes lock two different files of the same name).
        purpose: What a message says that the holder is doing.
    """

    def __init__(self, path: Path, *, purpose: str = "writing to") -> None:
        self._path = path
        self._purpose = purpose
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._fd is not None

    def acquire(self, *, wait: bool | float = False) -> Self:
        """Take the lock.

        Args:
            wait: False to fail at once, True to wait without limit, or seconds to wait at most.

        Returns:
            The lock itself, which is a context manager.

        Raises:
            IndexLockedError: Another holder has it; the message names that holder.
            IndexCorruptError: The lock file is a link, which would be written through.
            StorageError: The lock file cannot be opened or written.
        """
        limit = 0.0 if wait is False else float("inf") if wait is True else float(wait)
        deadline = time.monotonic() + limit
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(self._path, flags, 0o644)
        except OSError as exc:
            if is_link(self._path):
                raise IndexCorruptError(f"{self._path} is a symbolic link. {LINK_REMEDY}") from exc
            denied = exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
            raise StorageError(
                f"cannot open {self._path}: {exc.strerror}. "
                + (
                    "The index can be searched; to change it, you need write permission in its "
                    "folder."
                    if denied
                    else advice(exc.errno)
                )
            ) from exc
        try:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as exc:
                    if time.monotonic() >= deadline:
                        raise IndexLockedError(self._message(fd, waited=limit)) from exc
                    time.sleep(_POLL_S)
            with contextlib.suppress(OSError):  # a full disk must not keep a writer out
                _describe_holder(fd)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        _held.add(self)
        return self

    def release(self) -> None:
        """Give the lock back. Releasing twice is harmless."""
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, 0)
                # Closing alone would leave the lock to a child that was forked a moment ago.
                fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def _forget(self) -> None:
        """In a forked child: drop the inherited descriptor, or the child would hold the lock."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _message(self, fd: int, *, waited: float) -> str:
        try:
            holder = json.loads(os.pread(fd, 4096, 0))
            who = (
                f"process {holder['pid']} on {holder['host']} ({holder['command']}), "
                f"since {holder['since']}"
            )
        except (ValueError, KeyError, TypeError, OSError):
            who = "another process"
        after = f" Waited {waited:g} s." if waited else ""
        return (
            f"{who} is {self._purpose} {self._path.parent}.{after} Try again when it is done, "
            "or wait for it with --wait."
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _describe_holder(fd: int) -> None:
    """Write who holds the lock into its file."""
    command = " ".join(Path(part).name if i == 0 else part for i, part in enumerate(sys.argv))
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": command[:200] or "python",
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(holder).encode(), 0)


def _forget_all() -> None:
    for lock in list(_held):
        lock._forget()


os.register_at_fork(after_in_child=_forget_all)
