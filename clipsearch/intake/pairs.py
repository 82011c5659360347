"""What a source yields: image-text pairs, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..documents import FIELDS
from ..passing import Passing
from ..standards.description import Description
from ..standards.json_document import CAPTION_KEYS, caption_of
from ..standards.texts import clean_text

__all__ = [
    "CAPTION_KEYS",
    "Pair",
    "Source",
    "TableColumns",
    "caption_of",
    "clean_text",
    "in_chunks",
]

_PIECE_BYTES = 32  # of a small object in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One candidate for the index: an image, a caption, or both."""

    key: str  # unique in an index; the absolute path for a file
    image: str | bytes | None = None  # absolute path, or the bytes of an image file
    caption: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    # what the caption was read from, or looked for in; None where the source gives it or has none
    caption_from: Literal["sidecar", "image"] | None = None
    # what the files beside the image say; empty where none are, None where none are looked for
    sidecar: Description | None = None
    # digest of what they say; "" where there are none, None: not looked for
    beside: str | None = None
    notes: tuple[tuple[str, str], ...] = ()  # what was ignored, and the name of a file where it was
    ids: Mapping[str, Any] = field(default_factory=dict)  # columns that identify the row of a table
    place: str | None = None  # where the bytes lie, as `inside` writes it, to be shown
    refused: str | None = None  # why this one cannot be read, known without opening it
    passing: Passing | None = None  # why it, or a file beside it, may be read another time
    ignored: bool = False  # refused because it never claimed to be an image

    @property
    def columns(self) -> Mapping[str, Any]:
        """All columns that are stored as extra columns."""
        return {**self.ids, **self.extra} if self.ids else self.extra

    @property
    def image_bytes(self) -> int:
        """How many bytes of an image it carries."""
        return len(self.image) if isinstance(self.image, bytes) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TableColumns:
    """The columns of a table: what each is for, and the types of the further ones."""

    # by path or URL of a table: its columns with the `image` and `caption`, and those with `ids`
    tables: Mapping[str, Mapping[str, Any]]
    # Arrow type, as `engine.columns.type_text` writes it, and type in filters; None if not known
    types: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """A line on columns whose name is that of a field of every item."""
        hidden = [name for name in self.types if name.lower() in FIELDS]
        if not hidden:
            return []
        told = ", ".join(f"extra.{name}" for name in hidden)
        return [
            f"columns named like a field of every item ({', '.join(hidden)}) answer a filter where "
            f"that field is empty; {told} always means the column"
        ]


class Source:
    """A stream of pairs; iterate it once or again, memory stays bounded."""

    root: str | None = None  # folder that `--prune` compares with

    def columns(self) -> TableColumns | None:
        """The columns of a table; None for what is none.

        Raises:
            SourceError: It cannot be read, or lacks a column.
        """
        return None

    def __iter__(self) -> Iterator[Pair]:
        raise NotImplementedError

    def count(self) -> int | None:
        """How many pairs there are, if that is cheap to know."""
        return None

    def remarks(self) -> list[str]:
        """What the report should say of the source as a whole, once it has been read."""
        return []


def in_chunks(pairs: Iterable[Pair], most: int, most_bytes: int) -> Iterator[list[Pair]]:
    """Pairs in lists of at most `most`, or fewer when they carry `most_bytes`."""
    chunk: list[Pair] = []
    size_bytes = 0
    for pair in pairs:
        chunk.append(pair)
        size_bytes += pair.image_bytes + len(pair.caption or "")
        size_bytes += _size_of(pair.extra) if pair.extra else _PIECE_BYTES
        if len(chunk) >= most or size_bytes >= most_bytes:
            yield chunk
            chunk, size_bytes = [], 0
    if chunk:
        yield chunk


def _size_of(value: Any) -> int:
    """About how many bytes a JSON value takes, which matters where it is large."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return _PIECE_BYTES + sum(len(name) + _size_of(one) for name, one in value.items())
    if isinstance(value, list | tuple):
        return _PIECE_BYTES + sum(map(_size_of, value))
    return _PIECE_BYTES
