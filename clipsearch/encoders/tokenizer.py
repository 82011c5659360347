"""CLIP's byte-pair tokenizer without torch: the same tokens as open_clip's `SimpleTokenizer`.

The vocabulary is the part of OpenAI's file that CLIP uses. ASCII text takes a path that needs the
standard library only; anything else is cleaned and split with `ftfy` and `regex`, as open_clip
does, so that every odd character ends in the same tokens.
"""

from __future__ import annotations

import functools
import gzip
import html
import itertools
import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["BytePairTokenizer", "Cleaning"]

Cleaning = Literal["lower", "canonicalize", "whitespace"]

_MERGES = Path(__file__).parents[1] / "openai_clip/merges.txt.gz"
_START, _END = "<start_of_text>", "<end_of_text>"
_WORD_END = "</w>"
# Of ASCII, what ftfy and html.unescape leave alone: no control characters and no ampersand.
_PLAIN = re.compile(r"[ \t\n !-%'-~]*\Z")
_ASCII_WORDS = re.compile(
    rf"{_START}|{_END}|'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+", re.IGNORECASE
)
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_MAX_WORDS_KEPT = 65_536  # words whose tokens are remembered


class BytePairTokenizer:
    """CLIP's tokenizer.

    Args:
        context_length: Tokens of a text, start and end marks included; longer texts are cut.
        clean: How texts are cleaned, as open_clip names it.
    """

    def __init__(self, context_length: int, clean: Cleaning = "lower") -> None:
        self._clean: Cleaning = clean
        self.context_length = context_length
        self._ranks = _read_merges()
        self._letters = _byte_letters()
        # Ids: 256 bytes, the same 256 at a word's end, one for every merge, then the marks.
        ordered = sorted(range(256), key=lambda byte: (ord(self._letters[byte]) > 255, byte))
        self._bytes = {self._letters[byte]: number for number, byte in enumerate(ordered)}
        self.start = 512 + len(self._ranks)
        self.end = self.start + 1
        self._known: dict[str, tuple[int, ...]] = {_START: (self.start,), _END: (self.end,)}

    def encode(self, text: str) -> list[int]:
        """All tokens of a text, without the marks and uncut."""
        tokens: list[int] = []
        for word in _words(text, self._clean):
            tokens += self._word(word)
        return tokens

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Tokens with marks, int64 [n, context_length], padded with zeros."""
        rows = np.zeros((len(texts), self.context_length), np.int64)
        for row, text in zip(rows, texts, strict=True):
            tokens = [self.start, *self.encode(text), self.end]
            if len(tokens) > self.context_length:
                tokens = [*tokens[: self.context_length - 1], self.end]
            row[: len(tokens)] = tokens
        return rows

    def _word(self, word: str) -> tuple[int, ...]:
        found = self._known.get(word)
        if found is None:
            letters = [self._letters[byte] for byte in word.encode()]
            ids = [self._bytes[letter] for letter in letters]
            letters[-1] += _WORD_END
            ids[-1] += 256
            found = tuple(self._merge(letters, ids))
            if len(self._known) < _MAX_WORDS_KEPT:
                self._known[word] = found
        return found

    def _merge(self, parts: list[str], ids: list[int]) -> list[int]:
        """Join neighbours, the earliest merge of the vocabulary first, all its places at once."""
        none = len(self._ranks)
        while len(parts) > 1:
            ranks = [
                self._ranks.get(f"{left} {right}", none)
                for left, right in itertools.pairwise(parts)
            ]
            best = min(ranks)
            if best == none:
                break
            joined: list[str] = []
            joined_ids: list[int] = []
            at = 0
            while at < len(parts):
                here = at < len(ranks) and ranks[at] == best
                joined.append(parts[at] + parts[at + 1] if here else parts[at])
                joined_ids.append(512 + best if here else ids[at])
                at += 2 if here else 1
            parts, ids = joined, joined_ids
        return ids


def _words(text: str, clean: Cleaning) -> list[str]:
    """The words of a text after cleaning."""
    if _PLAIN.match(text):
        return _ASCII_WORDS.findall(_cleaned(text, clean))
    import ftfy

    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return [str(word) for word in _unicode_words().findall(_cleaned(text, clean))]


def _cleaned(text: str, clean: Cleaning) -> str:
    if clean == "canonicalize":
        text = text.replace("_", " ").translate(_NO_PUNCTUATION)
    text = " ".join(text.split())
    return text if clean == "whitespace" else text.lower()


@functools.cache
def _unicode_words() -> re.Pattern[str]:
    import regex  # type: ignore[import-untyped, unused-ignore]

    pattern: re.Pattern[str] = regex.compile(
        rf"{_START}|{_END}|'s|'t|'re|'ve|'m|'ll|'d|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+",
        regex.IGNORECASE,
    )
    return pattern


def _byte_letters() -> list[str]:
    """One visible character for every byte; those that have none of their own get 256 and up."""
    own = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(256, 512))
    return [chr(byte) if byte in own else chr(next(spare)) for byte in range(256)]


def _read_merges() -> dict[str, int]:
    """Merges "left right" and their ranks; the file's first line is a heading."""
    lines = gzip.decompress(_MERGES.read_bytes()).decode().splitlines()[1:]
    return {line: rank for rank, line in enumerate(lines)}
