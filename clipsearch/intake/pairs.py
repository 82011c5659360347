"""What a source yields: image-text pairs, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CAPTION_KEYS", "Pair", "Source", "caption_of", "clean_text", "in_chunks"]

CAPTION_KEYS = ("caption", "description", "title", "text")  # of a JSON document, by preference


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One candidate for the index: an image, a caption, or both."""

    key: str  # unique in an index; the absolute path for a file
    image: str | bytes | None = None  # absolute path, or the bytes of an image file
    caption: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    refused: str | None = None  # why this one cannot be read, known without opening it
    ignored: bool = False  # refused because it never claimed to be an image


class Source:
    """A stream of pairs; iterate it once or again, memory stays bounded."""

    root: str | None = None  # folder that `--prune` compares with

    def __iter__(self) -> Iterator[Pair]:
        raise NotImplementedError

    def count(self) -> int | None:
        """How many pairs there are, if that is cheap to know."""
        return None


def in_chunks(pairs: Iterable[Pair], most: int, most_bytes: int) -> Iterator[list[Pair]]:
    """Pairs in lists of at most `most`, or fewer when they carry `most_bytes` of image files."""
    chunk: list[Pair] = []
    size_bytes = 0
    for pair in pairs:
        chunk.append(pair)
        size_bytes += len(pair.image) if isinstance(pair.image, bytes) else 0
        if len(chunk) >= most or size_bytes >= most_bytes:
            yield chunk
            chunk, size_bytes = [], 0
    if chunk:
        yield chunk


def clean_text(text: str) -> str | None:
    """A caption without what cannot be stored (NUL, half surrogates); None for an empty one."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode().strip() or None


def caption_of(document: Any) -> str | None:
    """The caption in a JSON document, if it has one."""
    if not isinstance(document, dict):
        return None
    found = (document.get(key) for key in CAPTION_KEYS)
    return next((clean_text(value) for value in found if isinstance(value, str)), None)
