"""Readers that turn whatever is named as a source into a stream of `Pair`s."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sized
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, TypedDict

import numpy as np
from PIL import Image

from ..errors import InvalidInputError, SourceError
from ..files import expanded, open_regular
from ..images import image_suffixes
from ..limits import MAX_LINE
from ..names import suffix_of
from ..passing import Passing, passing_of
from .archives import OTHER_ARCHIVES, ArchiveSource, is_archive
from .frames import ImagePairs, frame_source
from .imagefolder import FolderTables
from .left_out import IGNORE_FILE, Ignores, LeftOut, RuledSource, Rules, Tally
from .pairs import Pair, Source, TableColumns
from .places import RemotePlace, is_url, open_place
from .recognition import NEEDS_EXTRA, looks_like_an_image
from .sidecars import (
    LONE,
    SIDECAR_SUFFIXES,
    Sidecars,
    described_paths,
    read_beside,
    remote_sidecars,
)
from .tables import TableSource, is_table
from .tar_shards import ShardSource

__all__ = [
    "FolderSource",
    "IterableSource",
    "Pair",
    "PathListSource",
    "RemoteFolderSource",
    "ShardSource",
    "Source",
    "TableSource",
    "open_source",
    "pairs_within",
]

_GONE = "the file is gone"
_PIECE = 65_536  # bytes of a list of paths read at a time


class FolderSource(RuledSource):
    """Every file below a folder, in sorted order.

    Hidden files, litter and what `.clipsearchignore` names are left out, as are names that match an
    `exclude` pattern; links to folders are followed once. What lies beside an image and describes
    it, such as `photo.txt` or `photo.jpg.json` beside `photo.jpg`, is read with it; see `sidecars`.

    Args:
        folder: The folder.
        exclude: Shell patterns of names, or of paths relative to `within`; None for those that are
            remembered.
        all_files: Whether hidden files and litter are taken; None for what is remembered.
        within: The folder that was asked for, when this one is a part of it.
        may_be_empty: Whether a folder without images is fine.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        exclude: Iterable[str] | None = None,
        all_files: bool | None = None,
        within: str | os.PathLike[str] | None = None,
        may_be_empty: bool = False,
    ) -> None:
        self.root = str(expanded(folder).resolve())
        self.place = os.fspath(within or self.root)
        self.asked = Rules.of(exclude, all_files)
        self.settle(self.asked)
        self.tally = Tally()
        self._may_be_empty = may_be_empty
        self._suffixes = image_suffixes()
        self._tables: FolderTables | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process, which looks for tables itself."""
        return {**self.__dict__, "_tables": None}

    def settle(self, rules: Rules, base: str | None = None) -> None:
        """Let these rules count; `base` is where their patterns start, if that is above."""
        self._left_out = LeftOut(self.place, rules, base)

    def __iter__(self) -> Iterator[Pair]:
        self.tally = Tally()
        ignored = candidates = 0
        self._tables = FolderTables(str(self.root), self.place)
        for walked in self._walk(self.tally):
            pair = self._tables.described(walked)
            ignored += pair.ignored
            candidates += not pair.ignored
            yield pair
        yield from self._tables.unseen()
        if not candidates and not self._may_be_empty:
            found = f"{ignored} files, none of them an image" if ignored else "it is empty"
            left = "".join(f"; {remark}" for remark in self.remarks())
            raise SourceError(
                f"no images in {self.root} ({found}{left}); "
                "images end in .jpg, .png, .webp, .tif ..."
            )

    def remarks(self) -> list[str]:
        """What was left out, and how tables of captions were read, where that was not plain."""
        return [*super().remarks(), *(() if self._tables is None else self._tables.notes)]

    def columns(self) -> TableColumns | None:
        """The columns of the tables of captions that were found so far."""
        return None if self._tables is None else self._tables.columns()

    def count(self) -> int | None:
        """Walk the folder once to count; about a million files in ten seconds."""
        return sum(1 for _ in self._walk(None, reads=False))

    @property
    def takes_all(self) -> bool:
        """Whether hidden files and litter are taken."""
        return self._left_out.takes_all

    def left_out(self, path: str, *, is_folder: bool = False) -> str | None:
        """Why a file or folder below `within` is left out, or None."""
        return self._left_out.on_the_way(path, is_folder=is_folder)

    def _walk(self, tally: Tally | None, *, reads: bool = True) -> Iterator[Pair]:
        """The pairs; with a tally, what is left out is counted; sidecars are read on request."""
        root = str(self.root)
        if root != self.place and self.left_out(root, is_folder=True) is not None:
            return
        seen_folders: set[tuple[int, int]] = set()
        stack = [(root, Ignores.above(root, tally or Tally()))]
        while stack:
            folder, ignores = stack.pop()
            try:
                status = os.stat(folder)
                if (status.st_dev, status.st_ino) in seen_folders:
                    continue  # a link that leads back
                seen_folders.add((status.st_dev, status.st_ino))
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as exc:
                passing = passing_of(exc)
                if passing != "gone" or folder != root or not self._may_be_empty:
                    refused = f"cannot open the folder: {exc.strerror}"
                    yield Pair(key=folder, refused=refused, passing=passing)
                continue
            if any(entry.name == IGNORE_FILE for entry in entries):
                ignores = ignores.within(folder, tally or Tally())
            folders: list[str] = []
            files: list[os.DirEntry[str]] = []
            others: list[Pair] = []
            for entry in entries:
                kind, passing = _kind(entry)
                reason = self._left_out.reason(
                    entry.path, is_folder=kind == "folder", ignores=ignores
                )
                if reason is not None:
                    if tally is not None:
                        tally.left_out(reason, entry.path, is_folder=kind == "folder")
                elif kind == "folder":
                    folders.append(entry.path)
                elif kind == "file":
                    files.append(entry)
                else:
                    others.append(replace(self._no_file(entry, kind), passing=passing))
            stack.extend((path, ignores) for path in reversed(folders))
            yield from self._files(files, reads)
            yield from others

    def _no_file(self, entry: os.DirEntry[str], reason: str) -> Pair:
        """A pipe, device or broken link; it is missed only if an image may have been meant."""
        suffix = suffix_of(entry.name)
        meant = suffix in self._suffixes or suffix in NEEDS_EXTRA
        ignored = not meant and not (entry.is_symlink() and not suffix)
        return Pair(key=entry.path, refused=reason, ignored=ignored)

    def _files(self, entries: list[os.DirEntry[str]], reads: bool) -> Iterator[Pair]:
        folder = os.path.dirname(entries[0].path) if entries else ""
        sidecars = Sidecars(
            (entry.name for entry in entries),
            self._suffixes | NEEDS_EXTRA.keys(),
            read_beside(folder) if reads else lambda name, most: b"",
        )
        for entry in entries:
            if not sidecars.belongs(entry.name):
                yield self._pair(entry.path, entry.name, sidecars)

    def _pair(self, path: str, name: str, sidecars: Sidecars) -> Pair:
        suffix = suffix_of(name)
        if suffix in self._suffixes:
            return sidecars.pair(path)
        if suffix in NEEDS_EXTRA:
            extra = NEEDS_EXTRA[suffix]
            return Pair(key=path, refused=f"{suffix} needs: pip install 'clipsearch[{extra}]'")
        if _looks_like_an_image(path):
            return sidecars.pair(path)
        return _no_image(path, name, suffix)


class IterableSource(Source):
    """Paths of image files, images in memory, or the caller's own pairs, in the order given."""

    def __init__(self, items: Iterable[str | os.PathLike[str] | Pair]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Pair]:
        described = described_paths(image_suffixes())
        in_memory = ImagePairs()
        for item in self._items:
            if isinstance(item, Pair):
                yield item
            elif isinstance(item, Image.Image | np.ndarray | bytes):
                yield in_memory(item)
            elif isinstance(item, (str, os.PathLike)):
                yield described(str(expanded(item).absolute()))
            else:
                raise InvalidInputError(
                    f"a source must yield images, paths or Pairs, got {type(item).__name__}"
                )

    def count(self) -> int | None:
        """The length, where the iterable has one."""
        return len(self._items) if isinstance(self._items, Sized) else None


class PathListSource(Source):
    """Paths of image files in a stream, one a line, or ended by NUL as `find -print0` does."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[Pair]:
        described = described_paths(image_suffixes())
        for name in _names(self._stream):
            yield described(os.path.abspath(name))


class RemoteFolderSource(RuledSource):
    """Every image below a folder behind an fsspec URL, in sorted order; files come as bytes."""

    def __init__(
        self,
        place: RemotePlace,
        *,
        exclude: Iterable[str] | None = None,
        all_files: bool | None = None,
    ) -> None:
        self._folder = place
        self.place = place.name.rstrip("/")
        self.asked = Rules.of(exclude, all_files)
        self.settle(self.asked)
        self.tally = Tally()
        self._suffixes = image_suffixes()

    def settle(self, rules: Rules, base: str | None = None) -> None:
        """Let these rules count."""
        self._left_out = LeftOut("", rules)

    def __iter__(self) -> Iterator[Pair]:
        self.tally = Tally()
        paths = list(self._folder.files())
        beside = remote_sidecars(paths, self._suffixes, self._folder.read)
        for path in paths:
            left_out = self._left_out.of_path(path)
            if left_out is not None:
                self.tally.file_left_out(left_out, path)
                continue
            key = f"{self.place}/{path}"
            folder, _, name = path.rpartition("/")
            sidecars = beside(folder)
            suffix = suffix_of(name)
            if suffix not in self._suffixes:
                if not sidecars.belongs(name):
                    yield _no_image(key, name, suffix)
                continue
            image, refused = self._folder.read(path)
            yield replace(sidecars.pair(key), image=image, refused=refused)


def open_source(
    source: str | os.PathLike[str] | Source | Iterable[Any],
    *,
    exclude: Iterable[str] | None = None,
    all_files: bool | None = None,
    images: str | None = None,
    captions: str | None = None,
    ids: str | None = None,
    outside: bool = False,
    images_root: str | os.PathLike[str] | None = None,
) -> Source:
    """Understand what a caller names as a source.

    Args:
        source: A folder, an image file, a table (.csv, .tsv, .jsonl, .json, .parquet, .arrow), an
            archive (.tar, .tar.gz, .zip), tar shards (`train-{00..41}.tar`), an fsspec URL of any
            of these, "-" for paths on stdin, a `Source`, a DataFrame, an Arrow table or reader, a
            `datasets.Dataset`, or an iterable of paths, images in memory or `Pair`s.
        exclude: Names or relative paths (shell patterns) that a folder or archive leaves out.
        all_files: Whether a folder or archive gives hidden files and litter too.
        images: Column of a table with the image.
        captions: Column of a table with the caption.
        ids: Column of a table that identifies the row.
        outside: Whether a table may name images outside its folder.
        images_root: The folder that relative paths of a table start from.

    Raises:
        SourceError: Nothing is at that path.
        InvalidInputError: Another type.
        MissingExtraError: The URL needs a back end that is not installed.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        if text == "-":
            return PathListSource(sys.stdin.buffer)
        rules = _Rules(exclude=exclude, all_files=all_files)
        if is_archive(text) and (is_url(text) or not expanded(text).is_dir()):
            return _archive(text, rules)
        if is_table(text):
            return TableSource(
                text,
                images=images,
                captions=captions,
                ids=ids,
                outside=outside,
                images_root=images_root,
            )
        if is_url(text):
            return _remote(RemotePlace(text), rules)
        return _local(expanded(text), rules)
    frame = frame_source(source, images=images, captions=captions, ids=ids, images_root=images_root)
    if frame is not None:
        return frame
    if isinstance(source, Iterable):
        return IterableSource(source)
    raise InvalidInputError(f"cannot index a {type(source).__name__}; give a folder or a list")


def pairs_within(
    container: str,
    *,
    images: str | None = None,
    captions: str | None = None,
    ids: str | None = None,
) -> Iterator[Pair]:
    """All pairs that a table, an archive or a URL may have given an index, by whatever rules.

    Args:
        container: Its path or URL.
        images: Column of a table with the image.
        captions: Column of a table with the caption.
        ids: Column of a table that identifies the row.

    Raises:
        SourceError, MissingExtraError: As `open_source`.
    """
    source = open_source(
        container,
        outside=True,
        all_files=True,
        exclude=(),
        images=images,
        captions=captions,
        ids=ids,
    )
    yield from source
    if isinstance(source, ArchiveSource) and source.was_shard is not None:
        yield from source.read_as(shard=not source.was_shard)


class _Rules(TypedDict):
    """What a folder or archive leaves out, as its constructor takes it."""

    exclude: Iterable[str] | None
    all_files: bool | None


def _archive(text: str, rules: _Rules) -> Source:
    is_there = not is_url(text) and expanded(text).is_file()
    if "{" in text and not is_there:
        return ShardSource(text, **rules)
    if not is_url(text) and not is_there:
        raise SourceError(f"nothing is at {text}")
    return ArchiveSource(open_place(text), **rules)


def _local(path: Path, rules: _Rules) -> Source:
    if path.is_dir():
        return FolderSource(path, **rules)
    if path.is_file() and path.name.lower().endswith(OTHER_ARCHIVES):
        raise SourceError(
            f"{path} is an archive of a kind that is not read; unpack it and index the folder "
            "(tar, tar.gz and zip are read)"
        )
    if path.is_file():
        return IterableSource([path])
    raise SourceError(
        f"nothing is at {path}; give a folder of images, an image file, a table or an archive"
    )


def _remote(place: RemotePlace, rules: _Rules) -> Source:
    if place.is_folder():
        return RemoteFolderSource(place, **rules)
    image, refused = place.image(place.name.rpartition("/")[2], outside=False)
    return IterableSource([Pair(key=place.name, image=image, refused=refused)])


def _kind(entry: os.DirEntry[str]) -> tuple[str, Passing | None]:
    """Whether an entry is a "folder", a "file", or why it is neither, and whether that may pass.

    Links are followed.
    """
    try:
        if entry.is_dir():
            return "folder", None
        if entry.is_file():
            return "file", None
        mode = entry.stat().st_mode
    except FileNotFoundError:
        is_link = entry.is_symlink()
        return ("the file is gone (a link that leads nowhere)" if is_link else _GONE), "gone"
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            return "a link that leads back to itself", None
        return f"cannot be read: {exc.strerror}", passing_of(exc)
    kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return f"{kinds.get(stat.S_IFMT(mode), 'a device')}, not a regular file", None


def _names(stream: IO[bytes]) -> Iterator[str]:
    """Names, one a line, or as they are between NULs where there are any."""
    rest, nulls = b"", False
    while piece := stream.read(_PIECE):
        rest += piece
        if len(rest) > MAX_LINE:
            raise SourceError(f"a path in the list has over {MAX_LINE:,} bytes; is it a list?")
        nulls = nulls or b"\0" in piece
        *done, rest = rest.split(b"\0" if nulls else b"\n")
        yield from _decoded(done, nulls)
    yield from _decoded([rest], nulls)


def _decoded(lines: Iterable[bytes], nulls: bool) -> Iterator[str]:
    if nulls:
        yield from (os.fsdecode(line) for line in lines if line)
    else:
        yield from (
            os.path.expanduser(os.fsdecode(line.rstrip(b"\r\n"))) for line in lines if line.strip()
        )


def _looks_like_an_image(path: str) -> bool:
    """Whether a file without an image suffix starts like an image all the same."""
    try:
        with open_regular(path) as file:
            return looks_like_an_image(file.read(12))
    except OSError:
        return False


def _no_image(key: str, name: str, suffix: str) -> Pair:
    """The pair of a file that never claimed to be an image."""
    notes = ((LONE, name),) if suffix in SIDECAR_SUFFIXES else ()
    what = "an archive, to be indexed by its name" if is_archive(name) else "not an image file"
    reason = f"{what} ({suffix or 'no suffix'})"
    return Pair(key=key, refused=reason, ignored=True, notes=notes)
