"""Which photos and captions are trained on, and which are kept out to measure with."""

from __future__ import annotations

import csv
import hashlib
import json
import random
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FLICKR_HELD_OUT = 1000
COCO_HELD_OUT = 52
PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png"}
# Folder names of Caltech-101 and of the clothing set that are no plain English.
CALTECH_NAMES = {
    "Faces": "centered face",
    "Motorbikes": "motorbike",
    "airplanes": "airplane",
    "car_side": "side of a car",
    "cougar_face": "face of a cougar cat",
    "crocodile_head": "head of a  crocodile",
    "snoopy": "snoopy (cartoon beagle)",
}
CALTECH_LEFT_OUT = ("background", "off-center face")
CLOTHING_NAMES = {"longsleeve": "long sleeve shirt", "outwear": "outerwear jacket"}


@dataclass(frozen=True)
class Split:
    """Paths relative to the data folder; captions and labels by path."""

    captions: dict[str, list[str]]
    train: dict[str, list[str]]  # flickr, coco, clothing
    test: dict[str, list[str]]  # flickr, coco, imagenet, caltech, clothing
    label: dict[str, str]  # class name as a person would say it
    imagenet_names: list[str]
    caltech_names: list[str]
    clothing_names: list[str]
    spanish: dict[int, str]
    imagenet_index: dict[str, int]


def digest(name: str) -> int:
    """Stable number of a name: the split must not depend on order, machine or seed."""
    return int(hashlib.sha1(name.encode()).hexdigest(), 16)


def smallest(names: Iterable[str], count: int) -> set[str]:
    """The `count` names whose last path component has the smallest SHA-1."""
    return set(sorted(names, key=lambda name: digest(Path(name).name))[:count])


def plain(text: str) -> str:
    """Lower case, letters and digits only, without accents: to find the same text again."""
    text = unicodedata.normalize("NFKD", text.lower())
    kept = "".join(c if c.isalnum() else " " for c in text if not unicodedata.combining(c))
    return " ".join(kept.split())


def read_captions(data: Path, name: str) -> dict[str, list[str]]:
    """Captions by photo path of `flickr` or `coco`."""
    found: dict[str, list[str]] = {}
    with open(data / name / "captions.tsv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            found.setdefault(f"{name}/{row['image']}", []).append(row["caption"].strip())
    return found


def load_split(data: Path) -> Split:
    """Reads the data folder and applies the split rule.

    Raises:
        SystemExit: a part of the data folder is missing.
    """
    parts = ("flickr", "coco", "imagenet_sample", "caltech101", "clothing", "text")
    missing = [part for part in parts if not (data / part).is_dir()]
    if missing:
        raise SystemExit(
            f"--data {data}: no folder {', '.join(missing)} there; expected {', '.join(parts)}"
        )
    flickr, coco = read_captions(data, "flickr"), read_captions(data, "coco")
    names = json.loads((data / "text/en_classnames.json").read_text(encoding="utf-8"))
    indices, spanish = json.loads((data / "text/es_classnames.json").read_text(encoding="utf-8"))
    with open(data / "imagenet_sample/labels.tsv", encoding="utf-8", newline="") as file:
        index = {
            f"imagenet_sample/{row['image']}": int(row["index"])
            for row in csv.DictReader(file, delimiter="\t")
        }

    def photos(part: str) -> list[str]:
        files = (data / part).rglob("*")
        return sorted(str(f.relative_to(data)) for f in files if f.suffix.lower() in PHOTO_SUFFIXES)

    caltech, clothing = photos("caltech101"), photos("clothing")
    folder = {path: path.split("/")[1] for path in (*caltech, *clothing)}
    test = {
        "flickr": sorted(smallest(flickr, FLICKR_HELD_OUT)),
        "coco": sorted(smallest(coco, COCO_HELD_OUT)),
        "imagenet": sorted(index),
        "caltech": caltech,
        "clothing": [path for path in clothing if digest(Path(path).name) % 2],
    }
    everything = {"flickr": flickr, "coco": coco, "clothing": clothing}
    train = {key: sorted(set(value) - set(test[key])) for key, value in everything.items()}
    label = {p: CALTECH_NAMES.get(folder[p], folder[p].replace("_", " ")) for p in caltech}
    label |= {p: CLOTHING_NAMES.get(folder[p], folder[p]) for p in clothing}
    return Split(
        captions=flickr | coco,
        train=train,
        test=test,
        label=label | {path: names["imagenet1k"][i] for path, i in index.items()},
        imagenet_names=names["imagenet1k"],
        caltech_names=[n for n in names["caltech101"] if n not in CALTECH_LEFT_OUT],
        clothing_names=sorted({label[path] for path in clothing}),
        spanish=dict(zip(indices, spanish, strict=True)),
        imagenet_index=index,
    )


def nonsense_word(rng: random.Random) -> str:
    """Letters at random, or syllables that are no word."""
    if rng.random() < 0.5:
        return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(5, 10)))
    syllables = (
        rng.choice("bcdfghjklmnpqrstvwxz") + rng.choice("aeiouy") for _ in range(rng.randint(3, 5))
    )
    return "".join(syllables) + rng.choice("bcdfgklmnprstxz")


def misspelt(text: str, rng: random.Random) -> str:
    """One letter within a word of four or more doubled, left out or exchanged with the next.

    Stays as it is where no word is so long, and where the two exchanged are the same.
    """
    words = re.finditer(r"[^\W\d_]{4,}", text)
    inner = [i for word in words for i in range(word.start() + 1, word.end() - 1)]
    if not inner:
        return text
    i = rng.choice(inner)
    a, b = text[i : i + 2]
    return text[:i] + rng.choice((a + a + b, b, b + a)) + text[i + 2 :]


def unaccented(text: str) -> str:
    """The text without its accents."""
    parts = unicodedata.normalize("NFD", text)
    return "".join(c for c in parts if not unicodedata.combining(c))
