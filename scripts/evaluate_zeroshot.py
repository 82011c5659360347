"""Zero-shot figures of a model on public photo sets, as `clipsearch evaluate zeroshot` counts.

    python scripts/evaluate_zeroshot.py --data DIR [--model NAME]

All photos of each set, with the names that the set gives its classes. Half of the clothing photos
took part in the training of the bundled model; `evaluate_mini.py` measures on the other half.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clipsearch import ZeroShotClassifier, load_encoder
from clipsearch.classification.labelled import read_labelled
from clipsearch.evaluation import evaluate_zeroshot

SETS = ("imagenet_sample/labels.tsv", "caltech101", "clothing")
TEMPLATES = "simple"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with caltech101/, ...")
    parser.add_argument("--model", default="clipsearch-mini", help="model (%(default)s)")
    arguments = parser.parse_args()
    absent = [name for name in SETS if not (arguments.data / name).exists()]
    if absent:
        raise SystemExit(f"--data {arguments.data}: there is no {', '.join(absent)}")
    encoder = load_encoder(arguments.model)
    print(f"zero-shot, {arguments.model}, templates {TEMPLATES!r}, all photos of each set\n")
    print("| data | photos | names | top-1 % | top-5 % | mean per class % | calibration error |")
    print("|---|---|---|---|---|---|---|")
    for name in SETS:
        data = read_labelled(arguments.data / name)
        classifier = ZeroShotClassifier(encoder, data.classes, templates=TEMPLATES)
        report = evaluate_zeroshot(classifier, data)
        shares = (report.top1, report.top5, report.mean_per_class)
        told = " | ".join(f"{100 * share:.1f}" for share in shares)
        print(
            f"| {name.partition('/')[0]} | {report.images:,} | {report.classes:,} | {told} | "
            f"{report.ece:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
