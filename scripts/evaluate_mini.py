"""Measures a CLIP model folder on the held-out part of the training data of `clipsearch-mini`.

    python scripts/evaluate_mini.py --data DIR [--model FOLDER] [--json FILE]

The model is used through the plain open_clip interface only, so any folder that open_clip loads as
`local-dir:FOLDER` can be measured. The split rule is `mini/split.py`, for training and measuring
alike: what is measured and what is trained on can not drift apart.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import open_clip
import torch
from mini.split import load_split, misspelt, nonsense_word, unaccented
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.progress import track
from torch.nn.functional import cross_entropy, normalize

import clipsearch.encoders.minitower  # noqa: F401  # makes its image encoder known to open_clip

TEMPLATES = ("{}", "a photo of a {}.", "a picture of the {}.")
SPANISH_TEMPLATES = ("{}", "una foto de un {}.")
# (key, what is measured, bar in percent)
ROWS = (
    ("flickr_r1", "Flickr text-to-image among 1,000 photos, R@1", 23),
    ("flickr_r10", "Flickr text-to-image among 1,000 photos, R@10", 63),
    ("coco_r1", "COCO text-to-image among 52 photos, R@1", 60),
    ("coco_r5", "COCO text-to-image among 52 photos, R@5", 95),
    ("imagenet", "ImageNet sample, 1,000 English names, top-1 (naming, not transfer)", 84),
    ("imagenet_es", "ImageNet sample, 845 Spanish names, top-1", 60),
    ("caltech", "Caltech-101, 99 names, none of its photos in training, top-1", 58),
    ("clothing", "Clothing, 10 names, photos not in training, top-1", 60),
    ("captions_r10", "Caption finds another caption of its photo among 1,000, R@10", 60),
    ("flickr_r1_full_stop", "Flickr R@1 with a full stop and spaces added", None),
    ("flickr_r1_upper", "Flickr R@1 with the captions in capitals", None),
    ("accents", "Cosine of a Spanish name and the same without accents, mean", None),
    ("misspelt", "ImageNet sample, 1,000 English names, most with a typing error, top-1", None),
    ("swap_colour", "Caption over itself with another colour (chance 50)", None),
    ("swap_count", "Caption over itself with another number (chance 50)", None),
    ("swap_gender", "Caption over itself with man and woman exchanged (chance 50)", None),
    ("swap_side", "Caption over itself with left and right exchanged (chance 50)", None),
    ("swap_roles", "Caption over itself with who does it to whom exchanged (chance 50)", None),
    ("not_in_imagenet", "Caltech's animals and plants that ImageNet lacks, among 99 names", None),
    ("written_word", "Word written in a picture, among 20 (chance 5)", None),
    ("nonsense", "Nonsense words: mean of the best score among 1,000 photos", None),
    ("proper", "Names of people and places: mean of the best score among 1,000 photos", None),
    ("sense", "Captions: mean of the best score among 1,000 photos", None),
    ("logit_scale", "Logit scale fitted on Caltech and clothing (no percentage)", None),
)
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "pink", "orange", "brown")
NUMBERS = ("two", "three", "four", "five")
BEINGS = ("man", "woman", "boy", "girl", "child", "baby", "dog", "horse", "cat")
NOT_IN_IMAGENET = (
    *("bass", "dolphin", "emu", "hawksbill", "ibis", "joshua tree", "octopus", "pigeon"),
    *("water lilly", "wild cat"),
)
PROPER_NAMES = (
    *("Albert Einstein", "Marie Curie", "Nelson Mandela", "Frida Kahlo", "Pablo Picasso"),
    *("Barack Obama", "Shakira", "Lionel Messi", "Madrid", "Buenos Aires", "Mexico City"),
    *("Tokyo", "Paris", "Cuba", "Patagonia", "the Alhambra"),
)
WORDS = (
    *("open", "closed", "taxi", "sale", "police", "exit", "coffee", "hotel", "stop", "school"),
    *("bank", "pizza", "love", "danger", "music", "winter", "garden", "power", "london", "happy"),
)


class Model:
    """A model folder, through the plain open_clip interface."""

    def __init__(self, folder: Path) -> None:
        name = f"local-dir:{folder}"
        self.model, _, self.preprocess = open_clip.create_model_and_transforms(name)
        self.tokenizer = open_clip.get_tokenizer(name)
        self.model.eval()
        self.read: dict[tuple[int, ...], torch.Tensor] = {}

    @torch.inference_mode()
    def texts(self, texts: list[str], batch: int = 256) -> torch.Tensor:
        """Unit vectors [n, dim] of texts; what the tokenizer reads alike is embedded once."""
        tokens = torch.cat(
            [self.tokenizer(texts[i : i + 4096]) for i in range(0, len(texts), 4096)]
        )
        rows = [tuple(row) for row in tokens.tolist()]
        fresh = [row for row in dict.fromkeys(rows) if row not in self.read]
        for start in range(0, len(fresh), batch):
            part = torch.tensor(fresh[start : start + batch])
            vectors = self.model.encode_text(part, normalize=True)
            self.read.update(zip(fresh[start : start + batch], vectors, strict=True))
        return torch.stack([self.read[row] for row in rows])

    @torch.inference_mode()
    def images(self, images: Iterable[Image.Image], batch: int = 4) -> torch.Tensor:
        """Unit vectors [n, dim] of photos."""
        pending: list[torch.Tensor] = []
        done: list[torch.Tensor] = []
        for image in images:
            pending.append(self.preprocess(image.convert("RGB")))
            if len(pending) == batch:
                done.append(self.model.encode_image(torch.stack(pending), normalize=True))
                pending = []
        if pending:
            done.append(self.model.encode_image(torch.stack(pending), normalize=True))
        return torch.cat(done)

    def classes(self, names: list[str], templates: Iterable[str]) -> torch.Tensor:
        """Unit vectors [n, dim] of class names, the mean over templates."""
        total = sum(self.texts([t.format(name) for name in names]) for t in templates)
        return normalize(total, dim=-1)


def recall(scores: torch.Tensor, own: torch.Tensor, k: int) -> float:
    """Percentage of rows whose own column is among the k best."""
    rank = (scores > scores.gather(1, own[:, None])).sum(1)
    return 100 * (rank < k).float().mean().item()


def swapped(caption: str, words: Iterable[str], rng: random.Random) -> str | None:
    """The caption with its one word of the group exchanged, or None if it has not exactly one."""
    group = list(words)
    found = [w for w in re.findall(r"[a-z]+", caption.lower()) if w in group]
    if len(found) != 1:
        return None
    other = rng.choice([w for w in group if w != found[0]])
    return re.sub(rf"\b{found[0]}\b", other, caption.lower())


def turned(caption: str, words: Iterable[str]) -> str | None:
    """The caption with its two words of the group exchanged, or None where that says nothing.

    It must have two different ones, and no "and" between them.
    """
    group, parts = list(words), re.split(r"\b", caption.lower())
    at = [i for i, part in enumerate(parts) if part in group]
    if len(at) != 2 or parts[at[0]] == parts[at[1]] or "and" in parts[at[0] : at[1]]:
        return None
    parts[at[0]], parts[at[1]] = parts[at[1]], parts[at[0]]
    return "".join(parts)


def written(word: str) -> Image.Image:
    """The word in large letters on a plain sign."""
    image = Image.new("RGB", (320, 320), (240, 240, 235))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(64)
    draw.text((160, 160), word.upper(), fill=(20, 20, 60), font=font, anchor="mm")
    return image


def fit_scale(problems: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """The logit scale (inverse temperature) with the least cross-entropy over class problems.

    Temperature scaling as in Guo et al., 2017; each problem is (cosines [n, classes], truth [n]).
    """
    scales = np.geomspace(5, 100, 61).tolist()
    losses = [sum(cross_entropy(k * s, t).item() for s, t in problems) for k in scales]
    return scales[int(np.argmin(losses))]


def evaluate(folder: Path, data: Path) -> dict[str, float]:
    """All figures of `ROWS` and the fitted temperature, on the held-out part."""
    split, model, rng = load_split(data), Model(folder), random.Random(0)
    console = Console(stderr=True)
    vectors = {
        part: model.images(
            Image.open(data / path) for path in track(paths, description=part, console=console)
        )
        for part, paths in split.test.items()
    }
    out: dict[str, float] = {}

    def retrieval(part: str) -> tuple[list[str], torch.Tensor, torch.Tensor]:
        pairs = [(c, i) for i, p in enumerate(split.test[part]) for c in split.captions[p]]
        texts = [caption for caption, _ in pairs]
        return texts, torch.tensor([i for _, i in pairs]), model.texts(texts)

    texts, own, flickr = retrieval("flickr")
    scores = flickr @ vectors["flickr"].T
    out |= {f"flickr_r{k}": recall(scores, own, k) for k in (1, 5, 10)}
    out["sense"] = 100 * scores.max(1).values.mean().item()
    for key, change in (
        ("flickr_r1_full_stop", lambda text: f" {text.rstrip(' .')} .  "),
        ("flickr_r1_upper", str.upper),
    ):
        out[key] = recall(model.texts([change(t) for t in texts]) @ vectors["flickr"].T, own, 1)
    _, coco_own, coco = retrieval("coco")
    out |= {f"coco_r{k}": recall(coco @ vectors["coco"].T, coco_own, k) for k in (1, 5, 10)}

    # Two captions of each photo: the first asks, the second of 1,000 answers.
    first = torch.tensor([own.tolist().index(i) for i in range(len(split.test["flickr"]))])
    out["captions_r10"] = recall(flickr[first] @ flickr[first + 1].T, torch.arange(len(first)), 10)

    problems: list[tuple[torch.Tensor, torch.Tensor]] = []

    def right(
        part: str, names: list[str], templates: Iterable[str], truth: list[str]
    ) -> np.ndarray:
        scores = vectors[part] @ model.classes(names, templates).T
        if part in ("caltech", "clothing"):
            problems.append((scores, torch.tensor([names.index(name) for name in truth])))
        guess = [names[i] for i in scores.argmax(1).tolist()]
        return np.array([g == t for g, t in zip(guess, truth, strict=True)])

    hits = {
        part: right(part, names, TEMPLATES, [split.label[p] for p in split.test[part]])
        for part, names in (
            ("imagenet", split.imagenet_names),
            ("caltech", split.caltech_names),
            ("clothing", split.clothing_names),
        )
    }
    out |= {part: 100 * hit.mean() for part, hit in hits.items()}
    typing = random.Random(0)
    wrong = {name: misspelt(name, typing) for name in split.imagenet_names}
    truth = [wrong[split.label[path]] for path in split.test["imagenet"]]
    out["misspelt"] = 100 * right("imagenet", [*wrong.values()], TEMPLATES, truth).mean()
    lacking = [split.label[path] in NOT_IN_IMAGENET for path in split.test["caltech"]]
    out["not_in_imagenet"] = 100 * hits["caltech"][lacking].mean()
    indices = [split.imagenet_index[p] for p in split.test["imagenet"]]
    known = torch.tensor([i in split.spanish for i in indices])
    vectors["imagenet_es"] = vectors["imagenet"][known]
    truth = [split.spanish[i].lower() for i in indices if i in split.spanish]
    spanish = sorted({name.lower() for name in split.spanish.values()})
    out["imagenet_es"] = 100 * right("imagenet_es", spanish, SPANISH_TEMPLATES, truth).mean()
    accented = [name for name in spanish if unaccented(name) != name]
    same = model.texts(accented) * model.texts([unaccented(name) for name in accented])
    out["accents"] = 100 * same.sum(1).mean().item()

    for key, changed in (
        ("swap_colour", [swapped(text, COLOURS, rng) for text in texts]),
        ("swap_count", [swapped(text, NUMBERS, rng) for text in texts]),
        ("swap_gender", [swapped(text, ("man", "woman"), rng) for text in texts]),
        ("swap_side", [swapped(text, ("left", "right"), rng) for text in texts]),
        ("swap_roles", [turned(text, BEINGS) for text in texts]),
    ):
        kept = [i for i, text in enumerate(changed) if text]
        photo = vectors["flickr"][own[kept]]
        other = model.texts([changed[i] or "" for i in kept])
        out[key] = 100 * ((flickr[kept] - other) * photo).sum(1).gt(0).float().mean().item()
    signs = model.images(written(word) for word in WORDS)
    asked = model.texts([f'a sign that says "{word}"' for word in WORDS])
    out["written_word"] = recall(signs @ asked.T, torch.arange(len(WORDS)), 1)
    made_up = [f"{nonsense_word(rng)} {nonsense_word(rng)}" for _ in range(100)]
    made_up += [nonsense_word(rng) for _ in range(100)]
    for key, asked_for in (("nonsense", made_up), ("proper", list(PROPER_NAMES))):
        best = (model.texts(asked_for) @ vectors["flickr"].T).max(1).values
        out[key] = 100 * best.mean().item()
    out["logit_scale"] = fit_scale(problems)
    return {key: round(value, 1) for key, value in out.items()}


def table(figures: dict[str, float]) -> str:
    """The figures beside their bars, as a Markdown table."""
    lines = ["| measure (held out) | % | bar |", "|---|---|---|"]
    for key, title, bar in ROWS:
        lines.append(f"| {title} | {figures[key]:.1f} | {'' if bar is None else bar} |")
    return "\n".join(lines)


def main() -> None:
    """Reads the arguments, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parents[1] / "clipsearch/models/clipsearch-mini"
    parser.add_argument("--data", type=Path, required=True, help="folder with flickr/, coco/, ...")
    parser.add_argument("--model", type=Path, default=default, help="model folder (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    args = parser.parse_args()
    figures = evaluate(args.model, args.data)
    print(table(figures))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
