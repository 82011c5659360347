"""The words of captions and queries, as the keyword index has them.

FTS5 takes whatever stands between spaces and signs for a word. Chinese, Japanese, Thai, Lao, Khmer
and Burmese have no spaces between words, and Korean hangs particles on them. So every character of
these scripts becomes a token by itself (with the marks that belong to it), and a word of a query
becomes a phrase: these characters one after the other. Letters of other scripts stay words, and all
of it is folded, as `like` folds texts.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..folding import fold

__all__ = ["Word", "indexed", "words_of"]

# Scripts without spaces between words, as ranges of characters.
_SPACELESS = {
    "han": "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003fffd",
    "hiragana": "\u3041-\u3096\u3099-\u309a\u309d-\u309f\U0001b001-\U0001b11f\U0001b150-\U0001b152",
    "katakana": "\u30a1-\u30fa\u30fd-\u30ff\u31f0-\u31ff\U0001aff0-\U0001b000\U0001b164-\U0001b167",
    "hangul": "\u1100-\u11ff\u3131-\u318e\ua960-\ua97f\uac00-\ud7ff",
    # Thai, Lao, Burmese, Khmer, Tai, Balinese, Javanese
    "alphabet": "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ecf\u0edc-\u0edf\u1000-\u103f\u104e-\u108f"
    "\u109a-\u109f\u1780-\u17d3\u17d7\u17dc\u17dd\u1950-\u19cf\u1a20-\u1a7f\u1aa7\u1b00-\u1b4f"
    "\ua980-\ua9cf\ua9e0-\ua9ef\ua9fa-\ua9fe\uaa60-\uaadf",
    "other": "\u3105-\u312f\u31a0-\u31bf\ua000-\ua48c\u30fc",  # Bopomofo, Yi, the long vowel
}
_SCRIPT = re.compile("|".join(f"(?P<{name}>[{of}])" for name, of in _SPACELESS.items()))
_LONG_VOWEL = "\u30fc"
# Between characters that only look like neighbors; a private character, which FTS5 takes as a word.
_BREAK = "\ue000"
# How long the parts are by which a longer run of one script is found as well, where it is not one
# word: Chinese and Korean words mostly have two characters.
_PART_LENGTH = {"han": 2, "hangul": 2, "alphabet": 3}
_MOST_PARTS = 64  # of one query; a bound on the work


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a query.

    Attributes:
        phrase: It in FTS5's syntax.
        parts: Parts of it that are words by themselves, perhaps, in FTS5's syntax.
    """

    phrase: str
    parts: tuple[str, ...] = ()


class _Token(NamedTuple):
    text: str
    script: str  # a name of `_SPACELESS`, "letters", "digits" or "break"


def indexed(caption: str) -> str | None:
    """A caption as the keyword index reads it; None where that is the caption itself."""
    if caption.isascii():
        return None
    folded = fold(caption, kana=False)
    if _SCRIPT.search(folded) is None:
        return folded
    found: list[str] = []
    whole: list[str] = []  # letters with digits, where these are split; at the end
    last = ""
    for word in folded.split():
        if _SCRIPT.search(word) is None:
            found.append(word)
            last = "letters"
            continue
        tokens = _tokens(word)
        if last in _SPACELESS and tokens and tokens[0].script in _SPACELESS:
            found.append(_BREAK)
        found += (fold(token.text) for token in tokens)
        last = tokens[-1].script if tokens else last
        whole += ("".join(t.text for t in run) for run in _runs(tokens, _is_spaced) if len(run) > 1)
    return " ".join([*found, *([_BREAK, *whole] if whole else [])])


def words_of(texts: Iterable[str]) -> list[Word]:
    """The words of some texts, each once, in order; nothing that a user types is FTS5 syntax."""
    found: dict[str, Word] = {}
    left = _MOST_PARTS
    for text in texts:
        for word in fold(text.replace("\0", " "), kana=False).replace('"', "").split():
            if _SCRIPT.search(word) is None:
                if any(character.isalnum() for character in word):
                    found.setdefault(word, Word(f'"{word}"'))
                continue
            for phrase in _split(_tokens(word)):
                parts = [part for part in _parts(phrase) if part != phrase][:left]
                left -= len(parts)
                key = _quoted(phrase)
                found.setdefault(key, Word(key, tuple(dict.fromkeys(map(_quoted, parts)))))
    return list(found.values())


def _tokens(word: str) -> list[_Token]:
    """The tokens of a folded text without spaces that has spaceless characters, with breaks."""
    found: list[_Token] = []
    apart = True  # whether a sign stands before the next character
    for character in word:
        category = unicodedata.category(character)
        if category[0] == "M" and found and not apart:
            found[-1] = found[-1]._replace(text=found[-1].text + character)
            continue
        last = found[-1].script if found else ""
        script = _script(character, category, last)
        if not script:
            apart = True
        elif not apart and script == last and script not in _SPACELESS:
            found[-1] = found[-1]._replace(text=found[-1].text + character)
        else:
            if apart and found:
                found.append(_Token(_BREAK, "break"))
            found.append(_Token(character, script))
            apart = False
    return found


def _script(character: str, category: str, last: str) -> str:
    """What a character is of; "" for a sign."""
    spaceless = _SCRIPT.fullmatch(character)
    if spaceless is not None:
        if character == _LONG_VOWEL and last in _SPACELESS:
            return last
        return str(spaceless.lastgroup)
    return {"L": "letters", "N": "digits"}.get(category[0], "")


def _is_spaced(token: _Token) -> bool:
    return token.script in ("letters", "digits")


def _runs(tokens: Sequence[_Token], belongs: Callable[[_Token], bool]) -> Iterator[list[_Token]]:
    """The longest runs of tokens that belong together."""
    for inside, run in itertools.groupby(tokens, belongs):
        if inside:
            yield list(run)


def _split(tokens: Sequence[_Token]) -> Iterator[list[_Token]]:
    """What stands between breaks."""
    return _runs(tokens, lambda token: token.script != "break")


def _parts(phrase: Sequence[_Token]) -> Iterator[list[_Token]]:
    """The runs of one script in a phrase, and of a long one every few neighbors."""
    for script, group in itertools.groupby(phrase, lambda token: token.script):
        run = list(group)
        length = _PART_LENGTH.get(script, len(run))
        if script == "hiragana" and len(run) == 1:
            continue  # a particle
        for start in range(max(1, len(run) - length + 1)):
            yield run[start : start + length]


def _quoted(tokens: Sequence[_Token]) -> str:
    return '"' + " ".join(fold(token.text) for token in tokens) + '"'
