"""WebDataset tar shards, read as a stream."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Iterator
from typing import IO, Any

from ..errors import SourceError
from ..images import image_suffixes
from .pairs import Pair, Source, caption_of
from .places import Place, is_url, open_place
from .sidecars import text_caption

__all__ = ["ShardSource", "expand_braces"]

_MAX_IMAGE_BYTES = 512 * 1024 * 1024
_MAX_TEXT_BYTES = 4 * 1024 * 1024
_MAX_SHARDS = 1_000_000
_CAPTIONS = (".txt", ".caption")
_BRACES = re.compile(r"\{([^{}]*)\}")


class ShardSource(Source):
    """The samples of tar shards, in order; a sample's key is `shard.tar!name`.

    Members that share a name up to the first dot are one sample: an image, `.txt` or `.caption`
    with its caption, `.json` with further fields.

    Args:
        pattern: Path or fsspec URL of one shard, or of many by brace ranges:
            `train-{0000..0041}.tar`.
    """

    def __init__(self, pattern: str | os.PathLike[str]) -> None:
        text = os.fspath(pattern)
        self._shards = expand_braces(text if is_url(text) else os.path.expanduser(text))
        self._suffixes = image_suffixes()

    @property
    def shards(self) -> list[str]:
        """Paths or URLs of the shards, in order."""
        return list(self._shards)

    def __iter__(self) -> Iterator[Pair]:
        for shard in self._shards:
            place = open_place(shard)
            found = 0
            for pair in self._samples(place):
                found += 1
                yield pair
            if not found and len(self._shards) == 1:
                raise SourceError(f"{place.name} holds no samples")

    def _samples(self, place: Place) -> Iterator[Pair]:
        try:
            stream = place.open()
        except SourceError as exc:
            if len(self._shards) == 1:
                raise
            yield Pair(key=place.name, refused=str(exc))
            return
        last = "its start"
        with stream:
            try:
                for name, members in _grouped(stream):
                    last = name
                    yield self._pair(f"{place.name}!{name}", members)
            except (tarfile.TarError, OSError, EOFError) as exc:
                yield Pair(
                    key=place.name,
                    refused=f"the shard is damaged after {last} ({exc}); what follows is lost",
                )

    def _pair(self, key: str, members: dict[str, bytes | None]) -> Pair:
        images = [suffix for suffix in members if suffix in self._suffixes]
        caption: str | None = None
        extra: dict[str, Any] = {}
        notes: list[tuple[str, str]] = []
        document = members.get(".json")
        if document:
            try:
                fields = json.loads(document)
            except (ValueError, RecursionError):
                return Pair(key=key, refused="its .json is not valid JSON")
            caption = caption_of(fields)
            extra = fields if isinstance(fields, dict) else {}
        for suffix in _CAPTIONS:
            text = members.get(suffix)
            if text:
                caption = text_caption(text, key, notes) or caption
        if any(data is None for data in members.values()):
            return Pair(key=key, refused="a member is too large to be read")
        if not images and caption is None:
            found = ", ".join(sorted(members))
            return Pair(key=key, refused=f"no image among its members ({found})", ignored=True)
        return Pair(
            key=key,
            image=members[images[0]] if images else None,
            caption=caption,
            extra=extra,
            notes=tuple(notes),
        )


def _grouped(stream: IO[bytes]) -> Iterator[tuple[str, dict[str, bytes | None]]]:
    """Samples as (name, suffix -> bytes); None for a member that is too large."""
    name, members = "", dict[str, bytes | None]()
    with tarfile.open(fileobj=stream, mode="r|*") as archive:
        for member in archive:
            if not member.isreg():
                continue
            folder, _, base = member.name.rpartition("/")
            stem, dot, rest = base.partition(".")
            if not stem:  # hidden
                continue
            here = f"{folder}/{stem}" if folder else stem
            if here != name and members:
                yield name, members
                members = {}
            name = here
            members[f"{dot}{rest}".lower()] = _read(archive, member)
            archive.members.clear()  # type: ignore[attr-defined] # or it keeps every member
    if members:
        yield name, members


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | None:
    text = member.name.lower().endswith((".json", *_CAPTIONS))
    if member.size > (_MAX_TEXT_BYTES if text else _MAX_IMAGE_BYTES):
        return None
    file = archive.extractfile(member)
    data = file.read() if file else b""
    if len(data) < member.size:
        raise EOFError(f"{member.name} is cut short")
    return data


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
