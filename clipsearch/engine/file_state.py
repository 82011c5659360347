"""What a file system says of a file, to notice without reading it that it may be another one."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields

__all__ = ["STATE_COLUMNS", "FileState"]


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as it was when it was looked at.

    Attributes:
        size_bytes: Its size.
        mtime_ns: When its content was last changed, which programs that copy files set as they
            like.
        ctime_ns: When its content, name or owner was last changed, which the system alone sets;
            None where that is not known.
        inode: Its number in its file system; None where that is not known.
    """

    size_bytes: int | None = None
    mtime_ns: int | None = None
    ctime_ns: int | None = None
    inode: int | None = None
    device: int | None = None

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        """The state that `os.stat` gives."""
        inode, device = _signed(status.st_ino), _signed(status.st_dev)
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, inode, device)

    @property
    def is_whole(self) -> bool:
        """Whether all of it is known: earlier versions remembered size and time of change alone."""
        return None not in (self.ctime_ns, self.inode, self.device)

    def fits(self, before: FileState) -> bool:
        """Whether nothing that is known of both differs, so that the content is the same."""
        if (self.size_bytes, self.mtime_ns) != (before.size_bytes, before.mtime_ns):
            return False
        pairs = ((self.ctime_ns, before.ctime_ns), (self.inode, before.inode))
        return all(now == then or None in (now, then) for now, then in pairs)

    def is_renumbered(self, before: FileState) -> bool:
        """Whether nothing but the number differs: some file systems give new ones when mounted."""
        return self.inode != before.inode and FileState(
            self.size_bytes, self.mtime_ns, self.ctime_ns
        ) == FileState(before.size_bytes, before.mtime_ns, before.ctime_ns)


def _signed(number: int) -> int:
    """A number of 64 bits as SQLite has it."""
    number &= (1 << 64) - 1
    return number - (1 << 64) if number >> 63 else number


STATE_COLUMNS = tuple(field.name for field in fields(FileState))
