"""How well "none of these" tells photos that no label fits, tuned on one part, told on another.

    python scripts/evaluate_none.py --data DIR [--model NAME]

The classes of Caltech-101 and the names of the ImageNet sample are split in two by a hash. In
each part some classes, drawn at random, are the labels; photos of all the others must get "none".
The margin of best balanced accuracy (chance is 50 %) is found in one part; what it and the default
reach is told for the other.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clipsearch import ZeroShotClassifier, load_encoder
from clipsearch.classification.labelled import Labelled, read_labelled
from clipsearch.encoder import Encoder
from clipsearch.intake.embedder import embed_files
from clipsearch.vectors import Floats
from clipsearch.zeroshot import DEFAULT_NONE_MARGIN

SETS = {"caltech101": (5, 10, 20), "imagenet_sample/labels.tsv": (10, 50, 100)}
PER_CLASS = 12
DRAWS = 5
MARGINS = np.arange(-6, 6.01, 0.5)


def odd(name: str) -> bool:
    """Which part a class belongs to."""
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 1


def part_of(encoder: Encoder, data: Labelled, which: bool) -> tuple[Floats, list[str]]:
    """Vectors of some images of each class of one part, with their classes."""
    images, labels, count = [], [], dict.fromkeys(data.classes, 0)
    for image, label in zip(data.images, data.labels, strict=True):
        if odd(label) == which and count[label] < PER_CLASS:
            count[label] += 1
            images.append(image)
            labels.append(label)
    encoded = embed_files(images, encoder)
    return encoded.vectors, [labels[at] for at in encoded.kept]


def balanced(
    encoder: Encoder, vectors: Floats, truth: list[str], size: int
) -> npt.NDArray[np.float64]:
    """Balanced accuracy for every margin, the mean over draws of `size` labels."""
    classes = sorted(set(truth))
    found = np.zeros(len(MARGINS))
    for draw in range(DRAWS):
        known = np.random.default_rng(draw).permutation(classes)[:size].tolist()
        classifier = ZeroShotClassifier(encoder, sorted(known), templates="simple")
        none = classifier.probabilities(vectors, none_of_these=True)[:, -1]
        none = np.clip(none, 1e-12, 1 - 1e-12)
        logit = np.log(none / (1 - none)) - DEFAULT_NONE_MARGIN
        out = np.array([label not in known for label in truth])
        for at, margin in enumerate(MARGINS):
            says = logit + margin > 0
            found[at] += (says[out].mean() + (~says[~out]).mean()) / 2 / DRAWS
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with caltech101/, ...")
    parser.add_argument("--model", default="clipsearch-mini", help="model (%(default)s)")
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.model)
    default = int(np.flatnonzero(MARGINS == DEFAULT_NONE_MARGIN)[0])
    print("| data | labels | margin found in part 1 | part 2 with it % | part 2 by default % |")
    print("|---|---|---|---|---|")
    tuned, told = [], []
    for name, sizes in SETS.items():
        data = read_labelled(arguments.data / name)
        first, second = part_of(encoder, data, False), part_of(encoder, data, True)
        for size in sizes:
            tuned.append(balanced(encoder, *first, size))
            told.append(balanced(encoder, *second, size))
            best = int(tuned[-1].argmax())
            print(
                f"| {name.partition('/')[0]} | {size} | {MARGINS[best]:g} | "
                f"{100 * told[-1][best]:.1f} | {100 * told[-1][default]:.1f} |",
                flush=True,
            )
    best = int(np.mean(tuned, axis=0).argmax())
    print(
        f"| all | | {MARGINS[best]:g} | {100 * np.mean(told, axis=0)[best]:.1f} | "
        f"{100 * np.mean(told, axis=0)[default]:.1f} |"
    )


if __name__ == "__main__":
    main()
