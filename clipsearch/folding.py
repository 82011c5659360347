"""Text without what people do not distinguish when they look for it: case, accents, width.

`fold` is the one place that says which letters count as the same. `like` and keyword search both
use it, so what one of them finds, the other finds too.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Callable

__all__ = ["ascii_pattern", "caseless", "fold", "like", "nfc"]

# Marks that are accents, by Unicode block: of Latin, Greek and Cyrillic; of Hebrew (points) and
# Arabic and Syriac (vowels, hamza). The marks of Indic scripts, Thai or kana are letters, and stay.
_ACCENTS = (
    "\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
    "\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"
    "\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed"
    "\u0730-\u074a"
)
# What has no shape of its own: soft hyphens, joiners, zero-width spaces, directions, variation
# selectors, and the stroke that only makes an Arabic word longer.
_INVISIBLE = "\u00ad\u034f\u061c\u0640\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef"  # noqa: E501 - one list
_DROPPED = re.compile(f"[{_ACCENTS}{_INVISIBLE}]+")
# Letters with a stroke or of two letters, which Unicode does not take apart.
_SAME = str.maketrans(
    {
        "\u0131": "i", "\u0237": "j", "ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t",
        "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ƶ": "z", "ƀ": "b", "ɨ": "i", "ʉ": "u",
    }
)  # fmt: skip
_KANA = str.maketrans(
    {chr(code): chr(code - 0x60) for code in (*range(0x30A1, 0x30F7), 0x30FD, 0x30FE)}
)
_DIGITS = re.compile(r"[^\W\D0-9]|[^\D0-9]")


def nfc(text: str) -> str:
    """Text in which an accent and its letter are one character, where Unicode has that one."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def caseless(name: str) -> str:
    """A name without differences of case and of composed letters, as some file systems see it."""
    return name.lower() if name.isascii() else nfc(nfc(name).casefold())


def fold(text: str, *, kana: bool = True) -> str:
    """Text in which letters are equal that differ only in case, accents, width or kana.

    `É`, `é` and `E` become `e`, `ß` becomes `ss`, full-width letters become ordinary ones,
    katakana become hiragana, and the digits of every script become 0 to 9.

    Args:
        text: Any text.
        kana: Whether katakana and hiragana are the same.
    """
    if text.isascii():
        return text.lower()
    text = _DROPPED.sub("", unicodedata.normalize("NFKD", text)).casefold()
    text = _DROPPED.sub("", unicodedata.normalize("NFKD", text))
    text = unicodedata.normalize("NFC", text).translate(_SAME)
    if kana:
        text = text.translate(_KANA)
    return _DIGITS.sub(lambda digit: str(unicodedata.decimal(digit[0])), text)


def like(text: str, pattern: str, escape: str | None = None) -> bool:
    """Whether a text is like a pattern of SQL, folded.

    Args:
        text: Any text.
        pattern: In it `%` stands for any characters, and `_` for one character, which may fold to
            several (`ß`) or be written as several (a letter with its accent).
        escape: The character that makes a following `%`, `_` or itself stand for itself.
    """
    return _matcher(pattern, escape)(text)


def ascii_pattern(pattern: str, escape: str | None = None) -> str:
    """A pattern for SQLite's own `LIKE ... ESCAPE '!'`, which finds the same among ASCII texts."""
    return "%".join(
        "".join("_" if one is None else re.sub("([!%_])", r"!\1", fold(one)) for one in part)
        for part in _parts(pattern, escape)
    )


_Parts = list[list[str | None]]  # what stands between the %; None stands for one character


@functools.lru_cache(maxsize=64)
def _matcher(pattern: str, escape: str | None) -> Callable[[str], bool]:
    """A function that says whether a text is like a pattern; it takes linear time."""
    parts = _parts(pattern, escape)
    whole = _Pieces(parts, fold)
    if not any(None in part for part in parts):
        return lambda text: whole.match(fold(text))
    single = _Pieces(parts, _fold_singly)
    return lambda text: whole.match(fold(text)) or single.match(_fold_singly(text))


def _parts(pattern: str, escape: str | None) -> _Parts:
    parts: _Parts = [[]]
    characters = iter(nfc(pattern))
    for character in characters:
        if character == escape:
            parts[-1].append(next(characters, ""))
        elif character == "%":
            parts.append([])
        else:
            parts[-1].append(None if character == "_" else character)
    return parts


class _Pieces:
    """The parts of a pattern, each of a fixed length, to be found in their order.

    Args:
        parts: What stands between the `%`.
        folded: How the text, and so the pattern, is folded.
    """

    def __init__(self, parts: _Parts, folded: Callable[[str], str]) -> None:
        found = [
            [
                "." * len(list(run)) if single else re.escape(folded("".join(map(str, run))))
                for single, run in itertools.groupby(part, lambda one: one is None)
            ]
            for part in parts
        ]
        self._pieces = [re.compile("".join(runs), re.DOTALL) for runs in found]
        self._last = re.compile("".join(found[-1]) + r"\Z", re.DOTALL)

    def match(self, text: str) -> bool:
        """Whether a folded text is like the pattern."""
        if len(self._pieces) == 1:
            return self._last.match(text) is not None
        at = 0
        for place, piece in enumerate(self._pieces[:-1]):
            found = piece.search(text, at) if place else piece.match(text)
            if found is None:
                return False
            at = found.end()
        return self._last.search(text, at) is not None


def _fold_singly(text: str) -> str:
    """Text in which every letter is folded to one character, or only to lower case."""
    if text.isascii():
        return text.lower()
    folded = ((fold(letter), letter) for letter in nfc(text))
    return "".join(short if len(short) <= 1 else letter.lower() for short, letter in folded)
