"""Readers that turn whatever is named as a source into a stream of `Pair`s."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, Any

from ..errors import InvalidInputError, SourceError
from ..images import image_suffixes
from ..rawfiles import RAW_SUFFIXES
from .frames import frame_source
from .imagefolder import FolderTables
from .pairs import Pair, Source, TableColumns
from .places import RemotePlace, is_url
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
]

_NEEDS_EXTRA = dict.fromkeys((".heic", ".heif", ".avif"), "heif") | dict.fromkeys(
    RAW_SUFFIXES, "raw"
)
# First bytes of JPEG, PNG, GIF, TIFF (both orders), BMP and WebP/RIFF files.
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*", b"BM", b"RIFF")
_PIECE = 65_536  # bytes of a list of paths read at a time


class FolderSource(Source):
    """Every file below a folder, in sorted order.

    Hidden files and folders are left out, as are those that match an `exclude` pattern; links to
    folders are followed once. What lies beside an image and describes it, such as `photo.txt` or
    `photo.jpg.json` beside `photo.jpg`, is read with it; see `sidecars`.

    Args:
        folder: The folder.
        exclude: Shell patterns of names, or of paths relative to `within`.
        within: The folder that was asked for, when this one is a part of it.
        may_be_empty: Whether a folder without images is fine.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        exclude: Iterable[str] = (),
        within: str | os.PathLike[str] | None = None,
        may_be_empty: bool = False,
    ) -> None:
        self.root = str(Path(folder).expanduser().resolve())
        self._exclude = tuple(exclude)
        self._within = os.fspath(within or self.root)
        self._may_be_empty = may_be_empty
        self._suffixes = image_suffixes()
        self._tables: FolderTables | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process, which looks for tables itself."""
        return {**self.__dict__, "_tables": None}

    def __iter__(self) -> Iterator[Pair]:
        ignored = candidates = 0
        self._tables = FolderTables(str(self.root), self._within)
        for walked in self._walk():
            pair = self._tables.described(walked)
            ignored += pair.ignored
            candidates += not pair.ignored
            yield pair
        yield from self._tables.unseen()
        if not candidates and not self._may_be_empty:
            found = f"{ignored} files, none of them an image" if ignored else "it is empty"
            raise SourceError(
                f"no images in {self.root} ({found}); images end in .jpg, .png, .webp, .tif ..."
            )

    @property
    def notes(self) -> Sequence[str]:
        """How tables of captions were read, where that was not plain."""
        return () if self._tables is None else self._tables.notes

    def columns(self) -> TableColumns | None:
        """The columns of the tables of captions that were found so far."""
        return None if self._tables is None else self._tables.columns()

    def count(self) -> int | None:
        """Walk the folder once to count; about a million files in ten seconds."""
        return sum(1 for _ in self._walk(reads=False))

    def _walk(self, *, reads: bool = True) -> Iterator[Pair]:
        """The pairs; what sidecars say is read only where it is asked for."""
        seen_folders: set[tuple[int, int]] = set()
        stack = [str(self.root)]
        while stack:
            folder = stack.pop()
            try:
                status = os.stat(folder)
                if (status.st_dev, status.st_ino) in seen_folders:
                    continue  # a link that leads back
                seen_folders.add((status.st_dev, status.st_ino))
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as exc:
                yield Pair(key=folder, refused=f"cannot open the folder: {exc.strerror}")
                continue
            visible = [entry for entry in entries if not self._excluded(entry)]
            folders = [entry.path for entry in visible if entry.is_dir()]
            stack.extend(reversed(folders))
            yield from self._files([entry for entry in visible if not entry.is_dir()], reads)

    def _excluded(self, entry: os.DirEntry[str]) -> bool:
        if entry.name.startswith("."):
            return True
        if not self._exclude:
            return False
        relative = os.path.relpath(entry.path, self._within)
        return any(fnmatch(entry.name, p) or fnmatch(relative, p) for p in self._exclude)

    def _files(self, entries: list[os.DirEntry[str]], reads: bool) -> Iterator[Pair]:
        folder = os.path.dirname(entries[0].path) if entries else ""
        sidecars = Sidecars(
            (entry.name for entry in entries),
            self._suffixes | _NEEDS_EXTRA.keys(),
            read_beside(folder) if reads else lambda name, most: b"",
        )
        for entry in entries:
            if not sidecars.belongs(entry.name):
                yield self._pair(entry.path, entry.name, sidecars)

    def _pair(self, path: str, name: str, sidecars: Sidecars) -> Pair:
        suffix = _suffix(name)
        if suffix in self._suffixes:
            return sidecars.pair(path)
        if suffix in _NEEDS_EXTRA:
            extra = _NEEDS_EXTRA[suffix]
            return Pair(key=path, refused=f"{suffix} needs: pip install 'clipsearch[{extra}]'")
        if _looks_like_an_image(path):
            return sidecars.pair(path)
        return _no_image(path, name, suffix)


class IterableSource(Source):
    """Paths of image files, or pairs that the caller makes, in the order given."""

    def __init__(self, items: Iterable[str | os.PathLike[str] | Pair]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Pair]:
        described = described_paths(image_suffixes())
        for item in self._items:
            if isinstance(item, Pair):
                yield item
            elif isinstance(item, (str, os.PathLike)):
                yield described(str(Path(item).expanduser().absolute()))
            else:
                raise InvalidInputError(
                    f"a source must yield paths or Pairs, got {type(item).__name__}"
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
        for line in _lines(self._stream):
            yield described(os.path.abspath(os.path.expanduser(os.fsdecode(line))))


class RemoteFolderSource(Source):
    """Every image below a folder behind an fsspec URL, in sorted order; files come as bytes."""

    def __init__(self, place: RemotePlace, *, exclude: Iterable[str] = ()) -> None:
        self._place = place
        self._exclude = tuple(exclude)
        self._suffixes = image_suffixes()

    def __iter__(self) -> Iterator[Pair]:
        paths = list(self._place.files())
        beside = remote_sidecars(paths, self._suffixes, self._place.read)
        for path in paths:
            if any(part.startswith(".") for part in path.split("/")):
                continue
            if any(fnmatch(path, p) or fnmatch(path.rpartition("/")[2], p) for p in self._exclude):
                continue
            key = f"{self._place.name.rstrip('/')}/{path}"
            folder, _, name = path.rpartition("/")
            sidecars = beside(folder)
            suffix = _suffix(name)
            if suffix not in self._suffixes:
                if not sidecars.belongs(name):
                    yield _no_image(key, name, suffix)
                continue
            image, refused = self._place.read(path)
            yield replace(sidecars.pair(key), image=image, refused=refused)


def open_source(
    source: str | os.PathLike[str] | Source | Iterable[Any],
    *,
    exclude: Iterable[str] = (),
    images: str | None = None,
    captions: str | None = None,
    ids: str | None = None,
    outside: bool = False,
    images_root: str | os.PathLike[str] | None = None,
) -> Source:
    """Understand what a caller names as a source.

    Args:
        source: A folder, an image file, a table (.csv, .tsv, .jsonl, .json, .parquet, .arrow), tar
            shards (`train-{00..41}.tar`), an fsspec URL of any of these, "-" for paths on stdin, a
            `Source`, a DataFrame, an Arrow table or reader, a `datasets.Dataset`, or an iterable
            of paths or of `Pair`s.
        exclude: Names or relative paths (shell patterns) that a folder leaves out.
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
        suffix = Path(text).suffix.lower()
        if suffix == ".tar":
            return _shards(text)
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
            return _remote(RemotePlace(text), exclude)
        return _local(Path(text).expanduser(), exclude)
    frame = frame_source(source, images=images, captions=captions, ids=ids, images_root=images_root)
    if frame is not None:
        return frame
    if isinstance(source, Iterable):
        return IterableSource(source)
    raise InvalidInputError(f"cannot index a {type(source).__name__}; give a folder or a list")


def _shards(text: str) -> Source:
    if "{" not in text and not is_url(text) and not Path(text).expanduser().is_file():
        raise SourceError(f"nothing is at {text}")
    return ShardSource(text)


def _local(path: Path, exclude: Iterable[str]) -> Source:
    if path.is_dir():
        return FolderSource(path, exclude=exclude)
    if path.is_file():
        return IterableSource([path])
    raise SourceError(
        f"nothing is at {path}; give a folder of images, an image file, a table or tar shards"
    )


def _remote(place: RemotePlace, exclude: Iterable[str]) -> Source:
    if place.is_folder():
        return RemoteFolderSource(place, exclude=exclude)
    image, refused = place.image(place.name.rpartition("/")[2], outside=False)
    return IterableSource([Pair(key=place.name, image=image, refused=refused)])


def _suffix(name: str) -> str:
    """The suffix of a name in lower case, as `Path` has it, in a tenth of its time."""
    suffix = os.path.splitext(name)[1].lower()
    return "" if suffix == "." else suffix


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines without their end, or pieces between NULs where there are any."""
    rest = b""
    while piece := stream.read(_PIECE):
        rest += piece
        *done, rest = rest.split(b"\0") if b"\0" in rest else rest.split(b"\n")
        yield from (line.rstrip(b"\r\n") for line in done if line.strip())
    if rest.strip():
        yield rest.rstrip(b"\r\n")


def _looks_like_an_image(path: str) -> bool:
    """Whether a file without an image suffix starts like an image all the same."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(12)
    except OSError:
        return False
    if start.startswith(b"RIFF"):
        return start[8:] == b"WEBP"
    return start.startswith(_MAGIC)


def _no_image(key: str, name: str, suffix: str) -> Pair:
    """The pair of a file that never claimed to be an image."""
    notes = ((LONE, name),) if suffix in SIDECAR_SUFFIXES else ()
    reason = f"not an image file ({suffix or 'no suffix'})"
    return Pair(key=key, refused=reason, ignored=True, notes=notes)
