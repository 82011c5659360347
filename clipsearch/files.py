"""Files and folders written whole or not at all, whatever interrupts the write.

A write goes to a temporary name beside the target, which takes the target's place at the end. What
a killed process leaves has a name that nothing else has, and later writes to that folder delete it.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TextIO

from .errors import InvalidInputError, StorageError
from .folding import nfc
from .limits import over

__all__ = [
    "CATALOG",
    "advice",
    "as_on_disk",
    "check_output",
    "expanded",
    "fresh_file",
    "is_temporary",
    "open_regular",
    "output_file",
    "read_given",
    "read_regular",
    "replacing",
    "replacing_folder",
    "sweep",
    "sync",
    "users_folder",
    "writing",
]

CATALOG = "catalog.sqlite"  # a folder with such a file is an index
# SQLite puts files of its own beside a database.
_TEMPORARY = re.compile(r"\.clipsearch-[0-9a-f]{16}\.part(?:-journal|-wal|-shm)?")
_PIECE = 1024 * 1024
_LEFT_S = 24 * 3600.0  # unchanged for so long, a temporary file is nobody's any more


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with the user's folder for `~`; that of a user who does not exist stays, as in shells.

    `Path.expanduser` raises RuntimeError there, so it is used nowhere.
    """
    return Path(os.path.expanduser(path))


def users_folder(variable: str, default: str) -> Path | None:
    """One of the user's own folders; None for a user without a home, as in some containers.

    Args:
        variable: Of the environment, which may name it.
        default: What it is else, such as `~/.cache`.
    """
    found = expanded(os.environ.get(variable) or default)
    return None if found.parts[:1] == ("~",) else found


def as_on_disk(path: Path) -> Path:
    """A path as it is on disk, where it was typed with its accents in Unicode's other form.

    Where nothing is there in either form, it is the path as it came.
    """
    if str(path).isascii() or path.exists():
        return path
    found = Path(path.anchor)
    for part in path.parts[1:] if path.anchor else path.parts:
        here = found / part
        if not here.exists():
            try:
                same = [name for name in os.listdir(found) if nfc(name) == nfc(part)]
            except OSError:
                return path
            if len(same) != 1:
                return path
            here = found / same[0]
        found = here
    return found


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A name to write a file to, which takes the place of `path` when the block ends well.

    Args:
        path: The file, in a folder that exists. It may exist; it is then replaced at once.
        durable: Whether the file survives a power cut from the end of the block on. What is
            checked when it is read, and can be made again, need not wait for the disk.

    Yields:
        The temporary name; the block creates a file there.

    Raises:
        OSError: The disk refused; `path` is as it was.
    """
    sweep(path.parent)
    part = _beside(path)
    try:
        yield part
        if durable:
            sync(part)
        part.replace(path)
        if durable:
            sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `path` when the block ends well.

    Where another process puts its own folder there at the same moment, one of the two stays.

    Args:
        path: The folder, in a folder that exists. If it exists it is moved aside first, so that a
            kill between the two steps leaves none.

    Yields:
        The new folder under its temporary name.

    Raises:
        OSError: The disk refused.
    """
    sweep(path.parent)
    part, old = _beside(path), _beside(path)
    part.mkdir()
    try:
        yield part
        for entry in (*part.rglob("*"), part):
            sync(entry)
        with contextlib.suppress(FileNotFoundError):
            path.rename(old)
        try:
            part.rename(path)
        except OSError:
            if not path.is_dir():  # else another process was as quick
                raise
        sync(path.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def check_output(
    path: str | os.PathLike[str],
    is_ours: Callable[[Path], bool],
    *,
    overwrite: bool = False,
    sources: Iterable[str | os.PathLike[str]] = (),
) -> None:
    """Refuse to write a file that the user named where something would be lost.

    Links and `..` are followed first. Nothing is written into an index or a source. What is there
    is replaced if it is empty, or ours.

    Args:
        path: The file; `~` is expanded.
        is_ours: Whether a file that is there was written by this command before.
        overwrite: Whether any other file is replaced as well.
        sources: What is being indexed, or was: folders and files.

    Raises:
        InvalidInputError: It is refused.
    """
    target = Path(os.path.realpath(expanded(path)))
    above = (target, *target.parents)
    for folder in above[1:]:
        if (folder / CATALOG).exists():
            raise InvalidInputError(f"{path} is in the index {folder}; choose a place outside it")
    for source in map(Path, sources):
        with contextlib.suppress(OSError):  # of what is not there
            if any(source.samefile(one) for one in above if one.exists()):
                raise InvalidInputError(f"{path} is in the source {source}; choose another place")
    try:
        status = target.stat()
    except OSError:
        return  # it is not there, or writing it says why
    if stat.S_ISBLK(status.st_mode):
        raise InvalidInputError(f"{path} is a disk; name a file")
    if not stat.S_ISREG(status.st_mode) or not status.st_size or overwrite:
        return
    with contextlib.suppress(OSError):
        if is_ours(target):
            return
    raise InvalidInputError(
        f"{path} exists, and this command did not write it; choose another name, delete it first, "
        "or replace it with --force where the command has it (overwrite=True in Python)"
    )


def fresh_file(path: Path) -> TextIO:
    """An empty text file in the place of one that may be there, whose other names stay.

    Raises:
        OSError: The disk refused.
    """
    if path.exists() and not path.is_file():
        return path.open("w", encoding="utf-8")
    target = Path(os.path.realpath(path))
    with replacing(target, durable=False) as part:
        file = part.open("x", encoding="utf-8")
        if target.exists():
            shutil.copymode(target, part)
    return file


@contextlib.contextmanager
def output_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A name to write to for a file that the user named, which appears only when it is complete.

    `check_output` tells first whether it may be written.

    A link is followed, a file that is replaced keeps its permissions, and what is no ordinary file
    (`/dev/stdout`, a named pipe) is written to directly.

    Args:
        path: The file; `~` is expanded.

    Raises:
        InvalidInputError: The folder does not exist, or `path` is a folder.
        StorageError: The file cannot be written.
    """
    target = expanded(path).absolute()
    if not target.parent.is_dir():
        raise InvalidInputError(f"there is no folder {target.parent} to write {target.name} to")
    if target.is_dir():
        raise InvalidInputError(f"{target} is a folder; name a file in it")
    with writing(target):
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            yield target
        else:
            with replacing(Path(os.path.realpath(target))) as part:
                yield part
                if target.exists():
                    shutil.copymode(target, part)


def open_regular(path: str | os.PathLike[str], *, follow: bool = True) -> io.BufferedReader:
    """Open a file to read it; a pipe or device, which may never answer or never end, is refused.

    Args:
        path: The file.
        follow: Whether its last part may be a link.

    Raises:
        OSError: It cannot be opened, or is no regular file.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, "not a regular file")
    return open(descriptor, "rb")


def read_regular(path: str | os.PathLike[str], most: int) -> bytes:
    """The bytes of a regular file of at most `most` bytes.

    Raises:
        OSError: As `open_regular`, or with `EFBIG` for a larger one.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size  # which may grow, and is 0 in /proc
        return _bounded(file, most, size)


def read_given(path: str | os.PathLike[str], most: int) -> bytes:
    """The bytes of a small file that the user named, which may be a pipe that is written to.

    Raises:
        OSError: It cannot be read, or has over `most` bytes (`EFBIG`).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # no wait for a writer
    os.set_blocking(descriptor, True)
    with open(descriptor, "rb") as file:
        return _bounded(file, most, 0)


def _bounded(file: io.BufferedReader, most: int, size: int) -> bytes:
    data = file.read(size + 1) if size <= most else b""
    parts = [data]
    left = most - len(data)
    while len(data) > size and left >= 0 and (part := file.read(min(left + 1, _PIECE))):
        parts.append(part)
        left -= len(part)
    if size > most or left < 0:
        raise OSError(errno.EFBIG, over(most))
    return b"".join(parts)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name the file that the user named when the system refuses to write it.

    Raises:
        StorageError: In place of an `OSError`.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno else exc  # Arrow's text names its own file
        raise StorageError(
            f"cannot write {path}: {reason}. Free some space, fix the permissions, "
            "or choose another place."
        ) from exc


def advice(number: int | None) -> str:
    """What to do about an error of the system with this number."""
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "Free some space, then try again."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Fix the permissions, then try again."
    return "Check the disk, its free space and the permissions, then try again."


def sync(path: Path) -> None:
    """Make the content of a file, or the names in a folder, survive a power cut.

    Raises:
        OSError: The disk refused.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as exc:  # some network file systems cannot sync a folder
        if exc.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(fd)


def is_temporary(name: str) -> bool:
    """Whether a file name is one that a write to this folder gives before it is complete."""
    return _TEMPORARY.fullmatch(name) is not None


def sweep(folder: Path) -> None:
    """Delete what killed writes left in a folder more than a day ago."""
    oldest = time.time() - _LEFT_S
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if is_temporary(entry.name) and entry.stat(follow_symlinks=False).st_mtime < oldest:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    with contextlib.suppress(OSError):
                        os.unlink(entry.path)


def _beside(path: Path) -> Path:
    return path.with_name(f".clipsearch-{secrets.token_hex(8)}.part")
