"""Archives of photos: a tar, compressed or not, or a zip file, read as if it were a folder.

A tar may also be a WebDataset shard, in which files that share a name up to the first dot are one
sample. Which of the two is meant is seen from all its names, and the report says it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace

from ..errors import SourceError
from ..images import image_suffixes
from ..limits import MAX_CAPTIONS_BYTES, MAX_IMAGE_BYTES, MAX_TEXT_BYTES
from ..names import shown
from ..rawfiles import named
from .inside import lies_in
from .left_out import LeftOut, RuledSource, Rules, Tally
from .members import DamagedError, Member, MemberError, members_of
from .pairs import Pair
from .places import Place
from .recognition import NEEDS_EXTRA, looks_like_an_image
from .sidecars import LONE, SIDECAR_SUFFIXES, Sidecars
from .tar_shards import lost_pair, place_of, sample_pairs, set_aside_pair, split_at_first_dot

__all__ = ["ARCHIVE_SUFFIXES", "OTHER_ARCHIVES", "ArchiveSource", "is_archive"]

ARCHIVE_SUFFIXES = (
    ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.lzma",
    ".tar.zst", ".tzst", ".zip", ".cbz", ".cbt",
)  # fmt: skip
OTHER_ARCHIVES = (".rar", ".7z", ".cbr", ".cb7", ".tar.lz", ".tar.lz4", ".tar.z", ".ace", ".arj")
# What belongs to samples of a shard, by WebDataset's names of its decoders.
_PARTS = frozenset(
    {
        ".json", ".txt", ".caption", ".text", ".cls", ".cls2", ".index", ".inx", ".id", ".count",
        ".npy", ".npz", ".pth", ".pt", ".pyd", ".pkl", ".pickle", ".msg", ".mp", ".ten", ".tb",
        ".cbor", ".transcript", ".safetensors",
    }
)  # fmt: skip
_ENDING = re.compile(r"(\.[a-z_][a-z0-9_-]*)+")


def is_archive(name: str) -> bool:
    """Whether a file claims to be an archive that can be read."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


@dataclass(frozen=True, slots=True)
class _Contents:
    """What a first look at an archive finds."""

    is_zip: bool
    names: list[str]
    texts: dict[str, bytes]  # by name


class ArchiveSource(RuledSource):
    """The photos in one archive, in its order; the key of one is `archive.zip!folder/name`.

    The key ends where the suffix begins. A second photo with the same key keeps its suffix there.
    A shard's keys end at the first dot of the name.

    Args:
        place: Where the archive is.
        exclude: Shell patterns of names, or of paths in the archive.
        all_files: Whether hidden files and litter are taken.

    Attributes:
        was_shard: Whether it was read as a shard, for that is meant by its names; None where that
            makes no difference.
    """

    def __init__(
        self,
        place: Place,
        *,
        exclude: Iterable[str] | None = None,
        all_files: bool | None = None,
    ) -> None:
        self._archive = place
        self.was_shard: bool | None = None
        self._names: frozenset[str] | None = None  # of all in it, if it was read to its end
        self.place = place.name
        self.asked = Rules.of(exclude, all_files)
        self.settle(self.asked)
        self.tally = Tally()
        self._suffixes = image_suffixes()
        self._said: list[str] = []

    def settle(self, rules: Rules, base: str | None = None) -> None:
        """Let these rules count."""
        self._left_out = LeftOut("", rules)

    def remarks(self) -> list[str]:
        """How it was read, and what was left out."""
        return [*self._said, *super().remarks()]

    def __iter__(self) -> Iterator[Pair]:
        self.tally = Tally()
        self._said = []
        contents = self._look()
        self.was_shard = self._is_shard(contents)
        found = 0
        for pair in self._read(contents, shard=bool(self.was_shard)):
            found += 1
            yield pair
        if not found:
            raise SourceError(f"{self.place} holds no samples")

    def lacks(self, place: str) -> bool | None:
        """Whether what was at a place (`inside`) is not in it now; None if it cannot tell."""
        file, member = lies_in(place)
        if file != self.place or self._names is None:
            return None
        return member not in self._names

    def read_as(self, *, shard: bool) -> Iterator[Pair]:
        """The pairs as they are by one of the two rules, whatever the names are like."""
        return self._read(self._look(), shard=shard)

    def _read(self, contents: _Contents, *, shard: bool) -> Iterator[Pair]:
        with self._archive.open() as stream:
            members = members_of(stream, self.place)[1]
            if shard:
                yield from sample_pairs(self.place, members, self._left_out, self.tally)
            else:
                yield from self._photos(members, contents)

    def _look(self) -> _Contents:
        """The names in the archive, and the texts that may be captions."""
        names, texts, size_bytes = list[str](), dict[str, bytes](), 0
        is_whole = False
        with self._archive.open() as stream:
            is_zip, members = members_of(stream, self.place)
            with contextlib.suppress(DamagedError):  # which is told when it is read
                for member in members:
                    names.append(member.name)
                    if member.name.lower().endswith(tuple(SIDECAR_SUFFIXES)):
                        text = _text_of(member)
                        size_bytes += len(text)
                        if size_bytes <= MAX_CAPTIONS_BYTES:
                            texts[member.name] = text
                is_whole = True
        self._names = frozenset(names) if is_whole else None
        if size_bytes > MAX_CAPTIONS_BYTES:
            self._said.append(
                f"{shown(self.place)} holds over {MAX_CAPTIONS_BYTES // 1024**2} MB of captions; "
                "the last of them were not read"
            )
        return _Contents(is_zip, names, texts)

    def _is_shard(self, contents: _Contents) -> bool | None:
        """Whether the names are those of samples, which is told; None if it is all the same."""
        samples, last, scattered = dict[str, list[str]](), "", False
        for name in contents.names:
            if self._left_out.of_path(name) is None:
                start, ending = split_at_first_dot(name)
                scattered = scattered or (start in samples and start != last)
                samples.setdefault(start, []).append(ending.lower())
                last = start
        endings = list(samples.values())
        dotted = Counter(end for ends in endings for end in ends if end.count(".") > 1)
        several = any(sum(end in self._suffixes for end in ends) > 1 for ends in endings)
        with_parts = sum(not _PARTS.isdisjoint(ends) for ends in endings)
        half = len(samples) / 2
        # A part of a sample has a plain name, which most of the samples share.
        odd = any(
            not _ENDING.fullmatch(end) or count < 2 or count < half for end, count in dotted.items()
        )
        apart = contents.is_zip or scattered or several or odd
        shard = with_parts > 0 and with_parts >= half and not apart
        if not (dotted or several or shard):
            return None
        texts = {".txt", ".caption"}
        if not dotted and not several and all(_PARTS & set(ends) <= texts for ends in endings):
            return shard  # a caption is one by either rule
        rule = (
            "a WebDataset shard: files that share a name up to the first dot are one sample"
            if shard
            else "an archive of photos: every image is an item, named up to its last dot"
        )
        self._said.append(f"{shown(os.path.basename(self.place))} was read as {rule}")
        return shard

    def _photos(self, members: Iterator[Member], contents: _Contents) -> Iterator[Pair]:
        """Every image of an archive that is read as a folder would be."""
        names = set(contents.names)
        beside = _Beside(contents, self._suffixes)
        used = set[str]()
        last = "its start"
        try:
            for member in members:
                key = f"{self.place}!{member.name}"
                stem, suffix = _split(member.name)
                folder, _, base = member.name.rpartition("/")
                sidecars = beside.of(folder)
                set_aside = set_aside_pair(key, member, self._left_out, self.tally, names)
                if set_aside is not None:
                    yield set_aside
                elif sidecars.belongs(base):
                    continue  # what describes the photo beside it
                elif member.name in used:
                    yield Pair(key=key, refused="the archive holds another file of that name")
                elif (reason := _no_image(member, suffix.lower(), self._suffixes)) is not None:
                    notes = ((LONE, base),) if suffix.lower() in SIDECAR_SUFFIXES else ()
                    missed = reason.endswith("]'")
                    yield Pair(key=key, refused=reason, ignored=not missed, notes=notes)
                else:
                    name = member.name if stem in used else stem
                    used.update((name, member.name))
                    yield _photo(
                        f"{self.place}!{name}", member, sidecars, place_of(self.place, member)
                    )
                last = shown(member.name)
        except DamagedError as exc:
            yield lost_pair(self.place, last, exc)


class _Beside:
    """The files beside photos in an archive that describe them, folder by folder."""

    def __init__(self, contents: _Contents, suffixes: frozenset[str]) -> None:
        self._texts = contents.texts
        self._suffixes = suffixes | NEEDS_EXTRA.keys()
        self._names: dict[str, list[str]] = {}
        for path in contents.names:
            folder, _, name = path.rpartition("/")
            self._names.setdefault(folder, []).append(name)
        self._folders: dict[str, Sidecars] = {}

    def of(self, folder: str) -> Sidecars:
        """The sidecars in a folder of the archive."""
        if folder not in self._folders:
            start = f"{folder}/" if folder else ""
            self._folders[folder] = Sidecars(
                sorted(self._names.pop(folder, ())),
                self._suffixes,
                lambda name, most: self._texts.get(start + name, b""),
            )
        return self._folders[folder]


def _photo(key: str, member: Member, sidecars: Sidecars, place: str | None) -> Pair:
    try:
        image = named(member.read(MAX_IMAGE_BYTES), member.name)
    except MemberError as exc:
        return Pair(key=key, refused=str(exc))
    pair = sidecars.pair(key, member.name.rpartition("/")[2])
    return replace(pair, image=image, place=place)


def _text_of(member: Member) -> bytes:
    try:
        return member.read(MAX_TEXT_BYTES)
    except MemberError:
        return b""


def _no_image(member: Member, suffix: str, suffixes: Container[str]) -> str | None:
    """Why a member is no image that can be read, or None."""
    if member.problem is not None or suffix in suffixes:
        return None
    if suffix in NEEDS_EXTRA:
        return f"{suffix} needs: pip install 'clipsearch[{NEEDS_EXTRA[suffix]}]'"
    if looks_like_an_image(member.begins(12)):
        return None
    return f"not an image file ({suffix or 'no suffix'})"


def _split(name: str) -> tuple[str, str]:
    """Name and suffix, as a folder's files have them."""
    stem, suffix = os.path.splitext(name)
    return (name, "") if suffix == "." else (stem, suffix)
