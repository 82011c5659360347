"""Commands that train and apply labels: `tag`, `fit`, `calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InvalidInputError
from ..locations import existing_index
from ..models import BUNDLED_MODEL, load_encoder, load_index_encoder
from .classify import Label, LabelsFile, Template, build_classifier
from .formats import ReportOutput
from .options import Device, IndexName, TrustModel
from .output import EXIT_SKIPPED, note, print_json, print_table
from .trust import may_load

if TYPE_CHECKING:
    from ..classification.calibration import CalibrationFigures
    from ..encoder import Encoder
    from ..vectors import Floats
    from ..zeroshot import ZeroShotClassifier

__all__ = ["calibrate", "fit", "tag"]

Data = Annotated[
    Path,
    typer.Argument(
        help="Folder with one subfolder per class, or a table with the columns image and label."
    ),
]
Out = Annotated[Path, typer.Option("-o", "--out", help="Label pack to write, NAME.clip.")]
Model = Annotated[str, typer.Option("-m", "--model", help="Model to encode with.")]


def tag(
    name: IndexName = None,
    label: Label = None,
    labels: LabelsFile = None,
    template: Template = None,
    tags: Annotated[
        str, typer.Option("--name", help="Name of this set of tags; an existing set is replaced.")
    ] = "default",
    none_of_these: Annotated[
        bool,
        typer.Option(
            "--none-of-these/--always",
            help="Leave items untagged when no label fits, or always tag them.",
        ),
    ] = True,
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="Tag an item with every label that fits.")
    ] = False,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Minimum probability of a tag.")
    ] = None,
    item: Annotated[
        list[int] | None,
        typer.Option("--item", help="Tag only this item, whatever it shows. Repeatable."),
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="With --item: take the tags away.")
    ] = False,
    output: ReportOutput = "table",
    device: Device = "auto",
    trust_model: TrustModel = False,
) -> None:
    """Classify all items of an index from their stored vectors, and store the labels as tags.

    clipsearch tag -i photos --labels labels.txt

    clipsearch tag -i photos --label favorite --item 17 --item 42

    clipsearch search "at night" -i photos --where "tag = 'dog'"
    """
    if item or remove:
        _tag_by_hand(name, label, item, remove=remove)
        return
    from ..index import Index
    from ..tags import tag_index

    def load(model: str, fingerprint: str) -> Encoder:
        return load_index_encoder(model, device=device, trust=may_load(model, trust_model))

    with Index.open(existing_index(name), load=load) as index:
        classifier = build_classifier(index.encoder, label, labels, template)
        report = tag_index(
            index,
            classifier,
            name=tags,
            multi_label=multi_label,
            none_of_these=none_of_these,
            threshold=threshold,
        )
    if output == "json":
        print_json({"items": report.items, "tagged": report.tagged, "counts": report.counts})
        return
    print_table(
        ["label", "items"],
        [[name, f"{count:,}"] for name, count in report.counts.items()],
        right=["items"],
    )
    note(f"tagged {report.tagged:,} of {report.items:,} items")


def _tag_by_hand(
    name: str | None, labels: list[str] | None, items: list[int] | None, *, remove: bool
) -> None:
    from ..index import Index

    if not items or not labels:
        raise InvalidInputError("name the items by --item ID and their tags by --label")
    with Index.open(existing_index(name)) as index, index.writer() as writer:
        change = writer.untag if remove else writer.tag
        counts = {label: change(items, label) for label in labels}
    for label, count in counts.items():
        note(
            f"{'removed' if remove else 'gave'} the tag {label}: {count:,} of {len(items):,} items"
        )


def fit(
    data: Data,
    out: Out,
    label: Label = None,
    labels: LabelsFile = None,
    template: Template = None,
    model: Model = BUNDLED_MODEL,
    output: ReportOutput = "table",
    device: Device = "auto",
) -> None:
    """Learn labels from a few example images of each, and write a label pack.

    clipsearch fit flowers/ -o flowers.clip

    clipsearch classify garden.jpg --labels flowers.clip
    """
    _check_pack_name(out)
    encoder = load_encoder(model, device=device)
    classifier, vectors, truth, skipped = _examples(data, encoder, label, labels, template)
    report = classifier.fit(vectors, truth).fit_report_
    classifier.save(out)
    if output == "json":
        from dataclasses import asdict

        print_json({**asdict(report), "skipped": skipped, "pack": str(out)})
    else:
        print_table(
            ["examples", "zero-shot", "with examples", "weight of the examples"],
            [
                [
                    f"{report.examples:,}",
                    _percent(report.zero_shot_accuracy),
                    _percent(report.fitted_accuracy),
                    f"{report.blend:g}",
                ]
            ],
        )
        note(f"wrote {out}; accuracies are cross-validated")
    if skipped:
        raise typer.Exit(EXIT_SKIPPED)


def calibrate(
    data: Data,
    out: Out,
    label: Label = None,
    labels: LabelsFile = None,
    template: Template = None,
    target: Annotated[
        float, typer.Option("--target", help="Accuracy to reach on images that get an answer.")
    ] = 0.95,
    plot: Annotated[
        Path | None, typer.Option(help="Plot accuracy against probability to this PNG file.")
    ] = None,
    model: Model = BUNDLED_MODEL,
    output: ReportOutput = "table",
    device: Device = "auto",
) -> None:
    """Calibrate probabilities on labelled images and find the abstention threshold.

    clipsearch calibrate flowers/ -o flowers.clip --plot reliability.png
    """
    _check_pack_name(out)
    encoder = load_encoder(model, device=device)
    classifier, vectors, truth, skipped = _examples(data, encoder, label, labels, template)
    report = classifier.calibrate(vectors, truth, target_accuracy=target)
    classifier.save(out)
    if plot is not None:
        from ..plots import plot_reliability

        plot_reliability(plot, {"before": report.before.bins, "after": report.after.bins})
    if output == "json":
        from dataclasses import asdict

        print_json({**asdict(report), "skipped": skipped, "pack": str(out)})
    else:
        print_table(
            ["", "accuracy", "calibration error", "answered", "accuracy of answers"],
            [_figures("before", report.before), _figures("after", report.after)],
        )
        least = "none" if report.threshold is None else f"{report.threshold:.2f}"
        note(
            f"temperature {report.temperature:.2f}, threshold {least}; 'after' is "
            f"cross-validated; wrote {out}"
        )
    if skipped:
        raise typer.Exit(EXIT_SKIPPED)


def _examples(
    data: Path,
    encoder: Encoder,
    label: list[str] | None,
    labels: Path | None,
    template: list[str] | None,
) -> tuple[ZeroShotClassifier, Floats, list[str], int]:
    """A classifier, with the vectors and labels of the readable examples."""
    from ..classification.labelled import read_labelled
    from ..intake.embedder import embed_files

    examples = read_labelled(data)
    if not label and labels is None:
        label = list(examples.classes)
    classifier = build_classifier(encoder, label, labels, template)
    encoded = embed_files(examples.images, encoder)
    for at, why in encoded.skipped:
        note(f"skipped {examples.images[at]}: {why}")
    truth = [examples.labels[at] for at in encoded.kept]
    return classifier, encoded.vectors, truth, len(encoded.skipped)


def _check_pack_name(out: Path) -> None:
    """Before the work: a pack that cannot be read back would be work lost."""
    from ..classification.labelpack import PACK_SUFFIX

    if out.suffix != PACK_SUFFIX:
        raise InvalidInputError(
            f"the name of a label pack ends in {PACK_SUFFIX}, got {out.name}; "
            f"use -o {out.stem}{PACK_SUFFIX}"
        )


def _percent(share: float | None) -> str:
    return "too few to tell" if share is None else f"{share:.1%}"


def _figures(name: str, figures: CalibrationFigures) -> list[str]:
    return [
        name,
        f"{figures.accuracy:.1%}",
        f"{figures.ece:.3f}",
        f"{figures.coverage:.1%}",
        f"{figures.answered_accuracy:.1%}",
    ]
