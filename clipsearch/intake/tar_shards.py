"""WebDataset tar shards, read as a stream."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..errors import SourceError
from ..images import image_suffixes
from ..limits import MAX_IMAGE_BYTES, MAX_TEXT_BYTES, over
from ..names import suffix_of
from ..rawfiles import named
from ..standards.texts import whole_characters
from .inside import member_place
from .left_out import LEFT_OUT, LeftOut, RuledSource, Rules, Tally
from .members import DamagedError, Member, MemberError, members_of
from .pairs import Pair, caption_of
from .places import is_url, open_place
from .recognition import NEEDS_EXTRA
from .sidecars import text_caption

__all__ = [
    "ShardSource",
    "expand_braces",
    "lost_pair",
    "place_of",
    "sample_pairs",
    "set_aside_pair",
    "split_at_first_dot",
]

_MAX_SHARDS = 1_000_000
_CAPTIONS = (".txt", ".caption")
_BRACES = re.compile(r"\{([^{}]*)\}")


class ShardSource(RuledSource):
    """The samples of tar shards, in order; a sample's key is `shard.tar!name`.

    Members that share a name up to the first dot are one sample: an image, `.txt` or `.caption`
    with its caption, `.json` with further fields.

    Args:
        pattern: Path or fsspec URL of one shard, or of many by brace ranges:
            `train-{0000..0041}.tar`.
        exclude: Shell patterns of names, or of paths in a shard.
        all_files: Whether hidden files and litter are taken.
    """

    def __init__(
        self,
        pattern: str | os.PathLike[str],
        *,
        exclude: Iterable[str] | None = None,
        all_files: bool | None = None,
    ) -> None:
        text = os.fspath(pattern)
        self.place = text if is_url(text) else os.path.abspath(os.path.expanduser(text))
        self._shards = expand_braces(text if is_url(text) else os.path.expanduser(text))
        self.asked = Rules.of(exclude, all_files)
        self.settle(self.asked)
        self.tally = Tally()

    @property
    def shards(self) -> list[str]:
        """Paths or URLs of the shards, in order."""
        return list(self._shards)

    def one(self, shard: str) -> ShardSource:
        """One of the shards, by itself."""
        alone = ShardSource(shard)
        alone._left_out = self._left_out
        return alone

    def settle(self, rules: Rules, base: str | None = None) -> None:
        """Let these rules count."""
        self._left_out = LeftOut("", rules)

    def __iter__(self) -> Iterator[Pair]:
        self.tally = Tally()
        for shard in self._shards:
            found = 0
            for pair in self._samples(shard):
                found += 1
                yield pair
            if not found and len(self._shards) == 1:
                raise SourceError(f"{open_place(shard).name} holds no samples")

    def _samples(self, shard: str) -> Iterator[Pair]:
        place = open_place(shard)
        try:
            with place.open() as stream:
                members = members_of(stream, place.name)[1]
                yield from sample_pairs(place.name, members, self._left_out, self.tally)
        except SourceError as exc:
            if len(self._shards) == 1:
                raise
            yield Pair(key=place.name, refused=str(exc))


def sample_pairs(
    place: str, members: Iterable[Member], left_out: LeftOut, tally: Tally
) -> Iterator[Pair]:
    """The samples of one shard; what is left out and what is no file are pairs of their own.

    Args:
        place: Path or URL of the shard.
        members: Its members.
        left_out: What is left out of it.
        tally: Counts that.
    """
    suffixes = image_suffixes()
    name, last = "", "its start"
    parts = dict[str, bytes | str]()  # the bytes of each, or why they cannot be read
    places = dict[str, str | None]()
    try:
        for member in members:
            key = f"{place}!{member.name}"
            set_aside = set_aside_pair(key, member, left_out, tally, None)
            if set_aside is not None:
                yield set_aside
                continue
            here, ending = split_at_first_dot(member.name)
            if here != name and parts:
                yield from _sample(f"{place}!{name}", parts, places, suffixes)
                parts, places, last = {}, {}, name
            name = here
            part = _read(member, ending.lower(), suffixes)
            if sum(map(len, parts.values())) + len(part) > MAX_IMAGE_BYTES:
                part = f"{over(MAX_IMAGE_BYTES)} for a sample"
            if ending.lower() in parts:
                yield Pair(key=key, refused="the shard holds another file of that name")
            else:
                parts[ending.lower()] = part
                places[ending.lower()] = place_of(place, member)
    except DamagedError as exc:
        if parts:
            yield from _sample(f"{place}!{name}", parts, places, suffixes)
            last = name
        yield lost_pair(place, last, exc)
        return
    if parts:
        yield from _sample(f"{place}!{name}", parts, places, suffixes)


def set_aside_pair(
    key: str, member: Member, left_out: LeftOut, tally: Tally, names: Container[str] | None
) -> Pair | None:
    """A member that is left out or is no file, as a pair that says so; None for any other.

    Args:
        key: The key of the pair.
        member: The member.
        left_out: What is left out of the archive.
        tally: Counts that.
        names: All names in the archive, where they are known: an image that links to another file
            is lost.
    """
    reason = left_out.of_path(member.name)
    if reason is not None:
        tally.file_left_out(reason, member.name)
        return Pair(key=key, refused=f"{LEFT_OUT}{reason}", ignored=True)
    if member.link is not None:
        near = os.path.normpath(os.path.join(os.path.dirname(member.name), member.link))
        found = names is None or member.link in names or near in names
        is_image = suffix_of(member.name) in image_suffixes()
        if found or not is_image:
            return Pair(key=key, refused=member.problem, ignored=True)
        return Pair(key=key, refused=f"{member.problem}, which is not in the archive")
    return None


def lost_pair(place: str, last: str, exc: Exception) -> Pair:
    """What is told of an archive whose rest cannot be read."""
    return Pair(
        key=place, refused=f"the archive is damaged after {last} ({exc}); what follows is lost"
    )


def split_at_first_dot(name: str) -> tuple[str, str]:
    """Key and ending of a member of a shard, as WebDataset splits its name."""
    folder, slash, base = name.rpartition("/")
    stem, dot, ending = base.partition(".")
    return f"{folder}{slash}{stem}", f"{dot}{ending}"


def place_of(archive: str, member: Member) -> str | None:
    """Where the bytes of a member lie, if the archive is a file that can be opened again."""
    if is_url(archive):
        return None
    return member_place(archive, member.name, member.at, member.size_bytes)


def _sample(
    key: str,
    parts: dict[str, bytes | str],
    places: Mapping[str, str | None],
    suffixes: Container[str],
) -> Iterator[Pair]:
    """The pair of a sample, and one for each image that it holds besides."""
    images = [end for end in parts if "." + end.rpartition(".")[2] in suffixes]
    images.sort(key=lambda end: end.count("."))  # the one with the shortest ending counts
    pair = _pair(key, parts, images[0] if images else None)
    yield replace(pair, place=places[images[0]]) if pair.image is not None else pair
    for ending in images[1:]:
        is_part = " " not in ending and not ending[1:2].isdecimal() and ending.count(".") > 1
        yield Pair(key=f"{key}{ending}", refused="another image of its sample", ignored=is_part)


def _pair(key: str, parts: dict[str, bytes | str], image: str | None) -> Pair:
    problem = next((part for part in parts.values() if isinstance(part, str)), None)
    if problem is not None:
        return Pair(key=key, refused=problem)
    data = {ending: part for ending, part in parts.items() if isinstance(part, bytes)}
    caption: str | None = None
    extra: dict[str, Any] = {}
    notes: list[tuple[str, str]] = []
    document = data.get(".json")
    if document:
        try:
            fields = whole_characters(json.loads(document), document)
        except (ValueError, RecursionError):
            return Pair(key=key, refused="its .json is not valid JSON")
        caption = caption_of(fields)
        extra = fields if isinstance(fields, dict) else {}
    for suffix in _CAPTIONS:
        text = data.get(suffix)
        if text:
            caption = text_caption(text, key, notes) or caption
    if image is None and caption is None:
        needed = next((end for end in data if end in NEEDS_EXTRA), None)
        if needed is not None:
            extra_name = NEEDS_EXTRA[needed]
            return Pair(key=key, refused=f"{needed} needs: pip install 'clipsearch[{extra_name}]'")
        found = ", ".join(sorted(data))
        return Pair(key=key, refused=f"no image among its members ({found})", ignored=True)
    return Pair(
        key=key,
        image=data[image] if image else None,
        caption=caption,
        extra=extra,
        notes=tuple(notes),
    )


def _read(member: Member, ending: str, suffixes: Container[str]) -> bytes | str:
    """The bytes of a member that an item is made of, or why they cannot be read."""
    is_text = ending.endswith((".json", *_CAPTIONS))
    is_image = "." + ending.rpartition(".")[2] in suffixes
    if not is_text and not is_image and member.problem is None:
        return b""
    try:
        return named(member.read(MAX_TEXT_BYTES if is_text else MAX_IMAGE_BYTES), member.name)
    except MemberError as exc:
        return str(exc)


def expand_braces(pattern: str) -> list[str]:
    """`a-{00..02}.tar` as three names, `{x,y}` as two; several braces multiply.

    Raises:
        SourceError: A range is malformed or makes over a million names.
    """
    match = _BRACES.search(pattern)
    if match is None:
        return [pattern]
    start, dots, end = match[1].partition("..")
    if dots:
        if not (start.isdecimal() and end.isdecimal() and int(start) <= int(end)):
            raise SourceError(f"{match[0]} is no range; write it like {{0000..0041}}")
        if int(end) - int(start) >= _MAX_SHARDS:
            raise SourceError(f"{match[0]} makes over {_MAX_SHARDS:,} shards")
        choices = [str(n).zfill(len(start)) for n in range(int(start), int(end) + 1)]
    else:
        choices = match[1].split(",")
    names = [
        f"{pattern[: match.start()]}{choice}{rest}"
        for choice in choices
        for rest in expand_braces(pattern[match.end() :])
    ]
    if len(names) > _MAX_SHARDS:
        raise SourceError(f"{pattern} makes over {_MAX_SHARDS:,} shards")
    return names
