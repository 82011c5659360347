"""The members of tar and zip archives, one after the other; nothing is ever unpacked to disk."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import importlib
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, Self

from ..errors import SourceError
from ..limits import MAX_IMAGE_BYTES, over
from ..names import shown

__all__ = [
    "DamagedError",
    "Member",
    "MemberError",
    "members_of",
]

_BLOCK = 65_536
_LOCAL = struct.Struct("<4sHHHHHIIIHH")  # header of a zip member
_LOCAL_MARK = b"PK\x03\x04"
_ENCRYPTED, _SIZES_FOLLOW, _UTF8 = 0x1, 0x8, 0x800  # flags of a zip member
# What `tarfile` says of the header after the last file: two blocks of zeros, or no more bytes.
_END_MARK, _NO_MORE = "end of file header", "empty header"
_MOST_ZEROS = 32_768  # blocks of 512 bytes; programs add a few to fill a tape's record
_NO_END_MARK = "it ends without an end mark"
_LOST = "the archive is damaged here, and a file at least is lost: "
_HeaderError = tarfile.HeaderError
_DAMAGE = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)
_WINDOWS = 0  # which made the archive; its paths may have backslashes


class MemberError(Exception):
    """One member cannot be read; the others may."""


class DamagedError(Exception):
    """What follows in the archive cannot be read."""


class Member:
    """One file in an archive; its bytes are there until the next member is asked for.

    Args:
        name: Its name, with the folders in the archive.
        size_bytes: What its header says.
        start: Opens its bytes; None if it has none of its own.
        problem: Why it has none, or why they cannot be read.
        link: What it is a link to.
        at: Where its bytes begin in the archive, if they lie there as they are.
        is_apart: Whether others can be read where this one is damaged.
    """

    def __init__(
        self,
        name: str,
        size_bytes: int,
        start: Callable[[], IO[bytes] | None] | None,
        problem: str | None = None,
        link: str | None = None,
        *,
        at: int | None = None,
        is_apart: bool = False,
    ) -> None:
        self.at = at
        self._is_apart = is_apart
        self.name = name
        self.size_bytes = size_bytes
        self.problem = problem
        self.link = link
        self._start = start
        self._file: IO[bytes] | None = None
        self._head = b""

    def begins(self, size: int) -> bytes:
        """Its first bytes, as far as they can be read."""
        with contextlib.suppress(MemberError, DamagedError):
            self._head = self._read(size)
        return self._head

    def read(self, most: int) -> bytes:
        """All of its bytes.

        Raises:
            MemberError: They are more than `most`, encrypted or damaged.
            DamagedError: The archive ends before they do.
        """
        if self.size_bytes > most:
            raise MemberError(f"{over(most)} for a file in an archive")
        data = self._head + self._read(most + 1 - len(self._head))
        if len(data) > most:
            raise MemberError(f"{over(most)} for a file in an archive")
        if len(data) < self.size_bytes:
            raise DamagedError(f"{shown(self.name)} is cut short")
        return data

    def _read(self, size: int) -> bytes:
        if self._file is None and self.problem is None and self._start is not None:
            with _translated(self._is_apart):
                self._file = self._start()
        if self._file is None:
            raise MemberError(self.problem or "it has no content")
        with _translated(self._is_apart):
            return self._file.read(size)


@contextlib.contextmanager
def _translated(is_apart: bool) -> Iterator[None]:
    """Errors of a decoder as ours: of the member where others may be sound, else of the archive."""
    damage = MemberError if is_apart else DamagedError
    try:
        yield
    except tarfile.TarError as exc:
        raise DamagedError(_said(exc)) from exc
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as exc:
        raise damage(f"damaged in the archive ({_said(exc)})" if is_apart else _said(exc)) from exc
    except (NotImplementedError, RuntimeError) as exc:  # a method or an encryption of others
        raise MemberError(f"cannot be read from the archive ({_said(exc)})") from exc
    except OSError as exc:
        raise DamagedError(_said(exc)) from exc


def members_of(stream: IO[bytes], name: str) -> tuple[bool, Iterator[Member]]:
    """Whether a stream is a zip archive, and the files in it, folders left out.

    What it is, its first bytes say, not its name.

    Args:
        stream: The archive.
        name: Its name, for messages.

    Raises:
        SourceError: It is neither a tar nor a zip archive, or a back end is missing.
        DamagedError: While the members are read: what follows cannot be read.
    """
    start = stream.read(8)
    file = io.BufferedReader(_Rewound(start, stream)) if not stream.seekable() else stream
    if stream.seekable():
        stream.seek(0)
    if start.startswith((_LOCAL_MARK, b"PK\x05\x06", b"PK\x07\x08")) or (
        start[:2] == b"MZ" and stream.seekable() and zipfile.is_zipfile(stream)
    ):
        if not stream.seekable():
            raise SourceError(f"{name} is a zip archive, which cannot be read as a stream")
        return True, _zip(stream, name)
    plain = _decompressed(file, start, name)
    return False, _tar(plain, name, is_plain=plain is file)


def _decompressed(file: IO[bytes], start: bytes, name: str) -> IO[bytes]:
    opened: Any = file
    if start.startswith(b"\x1f\x8b"):
        opened = gzip.GzipFile(fileobj=file)
    elif start.startswith(b"BZh"):
        opened = bz2.BZ2File(file)
    elif start.startswith((b"\xfd7zXZ\0", b"\x5d\0\0")):
        opened = lzma.LZMAFile(file)  # noqa: SIM115 - closed with the stream
    elif start.startswith(b"\x28\xb5\x2f\xfd"):
        try:
            zstd: Any = importlib.import_module("compression.zstd")
        except ImportError as exc:
            raise SourceError(
                f"{name} is compressed with Zstandard, which needs Python 3.14 or newer; "
                "unpack it with zstd -d first"
            ) from exc
        opened = zstd.ZstdFile(file)
    return _Piecewise(opened) if opened is not file else file  # type: ignore[return-value]


class _Piecewise(io.RawIOBase):
    """What a decompressor gives until it fails; a larger read would lose what comes before."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read1(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Rewound(io.RawIOBase):
    """A stream that cannot be rewound, with the first bytes that were read of it."""

    def __init__(self, start: bytes, rest: IO[bytes]) -> None:
        self._start = start
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._start[: len(buffer)] or self._rest.read(len(buffer))
        self._start = self._start[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


# --- tar ----------------------------------------------------------------------------------------


class _Header(tarfile.TarInfo):
    """Takes note of what comes between files: `tarfile` skips it without a word."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        gap: _Gap = tarfile.gap  # type: ignore[attr-defined]
        try:
            found = super().fromtarfile(tarfile)
        except _HeaderError as exc:
            gap.take(str(exc))
            raise
        gap.has_ended, gap.zeros = False, 0
        return found


@dataclass(slots=True)
class _Gap:
    """What was found where the next file was looked for."""

    has_ended: bool = False  # an end mark was met; what follows is another archive, or garbage
    damage: str | None = None
    zeros: int = 0  # blocks of them since the last file

    def take(self, what: str) -> None:
        if what == _END_MARK:
            self.has_ended = True
            self.zeros += 1
            if self.zeros > _MOST_ZEROS:
                raise tarfile.ReadError("it goes on with zeros")
        elif not self.has_ended:
            self.damage = self.damage or (_NO_END_MARK if what == _NO_MORE else what)


class _TarFile(tarfile.TarFile):
    """A tar that goes on after an end mark, for several may be joined, and after damage."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.gap = _Gap()
        super().__init__(*args, **options)


def _tar(file: IO[bytes], name: str, *, is_plain: bool) -> Iterator[Member]:
    mode: Any = "r:" if is_plain and file.seekable() else "r|"
    count = 0
    try:
        with _TarFile.open(
            fileobj=file,
            mode=mode,
            tarinfo=_Header,
            errors="surrogateescape",
            ignore_zeros=True,
        ) as tar:
            for member in tar:
                count += 1
                if tar.gap.damage is not None:
                    yield Member(f"(lost part before {count})", 0, None, _LOST + tar.gap.damage)
                    tar.gap.damage = None
                if not member.isdir():
                    yield _tar_member(tar, member, is_plain=is_plain)
                tar.members.clear()  # type: ignore[attr-defined] # or it keeps every member
            damage = tar.gap.damage
    except tarfile.TarError as exc:
        if not count:
            raise SourceError(f"{name} is neither a tar nor a zip archive ({exc})") from exc
        raise DamagedError(_said(exc)) from exc
    except _DAMAGE as exc:
        raise DamagedError(_said(exc)) from exc
    if damage is not None and not count:
        raise SourceError(f"{name} is neither a tar nor a zip archive ({damage})")
    if damage is not None:
        raise DamagedError(damage)


def _tar_member(tar: tarfile.TarFile, member: tarfile.TarInfo, *, is_plain: bool) -> Member:
    if member.issym() or member.islnk():
        problem = f"a link to {member.linkname}"
        return Member(member.name, 0, None, problem, link=member.linkname)
    if not member.isreg():
        return Member(member.name, 0, None, "a pipe or device, not a regular file")
    at = member.offset_data if is_plain and not member.issparse() else None
    return Member(member.name, member.size, lambda: tar.extractfile(member), at=at)


# --- zip ----------------------------------------------------------------------------------------


def _zip(file: IO[bytes], name: str) -> Iterator[Member]:
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, struct.error) as exc:
        file.seek(0)
        yield from _rescued(file)
        raise DamagedError(f"its list of files is missing or broken: {_said(exc)}") from exc
    except NotImplementedError as exc:
        raise SourceError(f"{name} cannot be read: {_said(exc)}") from exc
    with archive:
        for info in archive.infolist():
            if not _name_of(info).endswith("/"):
                yield _zip_member(archive, info)


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    problem, mode = None, info.external_attr >> 16
    if info.flag_bits & _ENCRYPTED:
        problem = "encrypted; unpack the archive with its password, and index the folder"
    elif stat.S_ISLNK(mode):
        with contextlib.suppress(MemberError, DamagedError):
            target = Member("", 0, lambda: archive.open(info), is_apart=True).read(4096)
            return Member(
                _name_of(info), 0, None, f"a link to {os.fsdecode(target)}", os.fsdecode(target)
            )
        problem = "a link"
    elif stat.S_IFMT(mode) and not stat.S_ISREG(mode):
        problem = "a pipe or device, not a regular file"
    return Member(
        _name_of(info), info.file_size, lambda: archive.open(info), problem, is_apart=True
    )


def _name_of(info: zipfile.ZipInfo) -> str:
    """The name of a zip member as it was meant; many programs do not say that it is UTF-8."""
    name = info.filename
    if not info.flag_bits & _UTF8 and not name.isascii():
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    if info.create_system == _WINDOWS and "/" not in name:
        name = name.replace("\\", "/")
    return name


def _rescued(file: IO[bytes]) -> Iterator[Member]:
    """The members of a zip archive that lacks its list of them, as far as they are whole."""
    while True:
        header = file.read(_LOCAL.size)
        if len(header) < _LOCAL.size or not header.startswith(_LOCAL_MARK):
            return
        (_, _, flags, method, _, _, crc, packed, size, name_length, extra_length) = _LOCAL.unpack(
            header
        )
        info = zipfile.ZipInfo(os.fsdecode(file.read(name_length)) or "?")
        file.seek(extra_length, os.SEEK_CUR)
        start = file.tell()
        unknown = bool(flags & _SIZES_FOLLOW) and not packed
        if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or flags & _ENCRYPTED:
            return
        if unknown and method == zipfile.ZIP_STORED:
            return
        if packed == 0xFFFFFFFF or size == 0xFFFFFFFF:  # ZIP64 keeps the sizes elsewhere
            return
        data = _inflated(file, packed if not unknown else None, raw=method == zipfile.ZIP_STORED)
        if data is None:
            return
        if unknown:
            _skip_to_mark(file)
        else:
            file.seek(start + packed)
            if zlib.crc32(data) != crc and not flags & _SIZES_FOLLOW:
                return
        if not info.is_dir():
            yield Member(info.filename, len(data), partial(io.BytesIO, data))


def _inflated(file: IO[bytes], packed: int | None, *, raw: bool) -> bytes | None:
    """The bytes of a member that begins here; None if they are cut short, broken or too many."""
    if raw:
        data = file.read(min(packed or 0, MAX_IMAGE_BYTES))
        return data if len(data) == packed else None
    inflate, parts, total = zlib.decompressobj(-zlib.MAX_WBITS), [], 0
    try:
        while not inflate.eof:
            block = file.read(_BLOCK)
            if not block:
                return None
            parts.append(inflate.decompress(block))
            total += len(parts[-1])
            if total > MAX_IMAGE_BYTES:
                return None
    except zlib.error:
        return None
    file.seek(-len(inflate.unused_data), os.SEEK_CUR)
    return b"".join(parts)


def _skip_to_mark(file: IO[bytes]) -> None:
    """Go to the next member: after the sizes that follow the last one."""
    start = file.tell()
    following = file.read(32)
    at = following.find(_LOCAL_MARK)
    file.seek(start + at if at >= 0 else start + len(following))


def _said(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:200] or type(exc).__name__
