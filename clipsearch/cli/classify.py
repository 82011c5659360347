"""`clipsearch classify`: which of these labels fits each image?"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InvalidInputError, SourceError
from ..limits import MAX_IMAGE_BYTES, over
from ..models import BUNDLED_MODEL, load_encoder
from .formats import RowsFormat, RowsOutput, print_csv
from .options import Device
from .output import EXIT_SKIPPED, note, print_json, print_table, short_path

if TYPE_CHECKING:
    from ..encoder import Encoder
    from ..intake.pairs import Source
    from ..types import Prediction
    from ..zeroshot import ZeroShotClassifier

__all__ = ["Label", "LabelsFile", "Template", "build_classifier", "classify"]

_STDIN = "-"
_STDIN_NAME = "(standard input)"
_UNSURE = "(not sure)"

Label = Annotated[
    list[str] | None,
    typer.Option("-l", "--label", help="A label, or 'name: synonym, ...'. Repeatable."),
]
LabelsFile = Annotated[
    Path | None,
    typer.Option("--labels", help="File with one label per line, or a label pack NAME.clip."),
]
Template = Annotated[
    list[str] | None,
    typer.Option(
        "-t",
        "--template",
        help="Prompt templates: openai, simple, none, or 'a photo of a {}.'. Repeatable.",
    ),
]


def classify(
    images: Annotated[
        list[str],
        typer.Argument(
            help="Image files or folders; - reads an image or a list of paths from stdin."
        ),
    ],
    label: Label = None,
    labels: LabelsFile = None,
    template: Template = None,
    none_of_these: Annotated[
        bool, typer.Option("--none-of-these", help="Answer 'none of these' when no label fits.")
    ] = False,
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="Judge each label independently; several may fit.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Abstain below this probability."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of labels to show per image.")] = 3,
    model: Annotated[
        str, typer.Option("-m", "--model", help="Model to classify with.")
    ] = BUNDLED_MODEL,
    output: RowsOutput = "table",
    device: Device = "auto",
) -> None:
    """Classify images by labels in plain words, without training.

    clipsearch classify cat.jpg -l cat -l dog -l "a tower: skyscraper, spire" --none-of-these

    clipsearch classify ~/Pictures --labels labels.txt -f csv > labelled.csv

    find . -name '*.jpg' | clipsearch classify - --labels flowers.clip
    """
    from ..intake.embedder import iter_files

    _check_labels(label, labels)
    sources = _Sources(images)
    encoder = load_encoder(model, device=device)
    classifier = build_classifier(encoder, label, labels, template)
    results: list[tuple[str, list[Prediction]]] = []
    for positions, vectors in iter_files(
        sources, encoder, on_skip=lambda at, why: _skip(sources.names[at], why)
    ):
        predictions = classifier.predict_vectors(
            vectors,
            k=k,
            multi_label=multi_label,
            none_of_these=none_of_these,
            threshold=threshold,
        )
        results += zip((sources.names[at] for at in positions), predictions, strict=True)
    _print(results, output)
    if len(results) < len(sources.names):
        raise typer.Exit(EXIT_SKIPPED)


def build_classifier(
    encoder: Encoder,
    label: list[str] | None,
    labels: Path | None,
    template: list[str] | None,
) -> ZeroShotClassifier:
    """The classifier that the options name: labels, a file of them, or a label pack."""
    from ..classification.labelpack import PACK_SUFFIX
    from ..classification.labels import read_labels
    from ..zeroshot import ZeroShotClassifier

    _check_labels(label, labels)
    if labels is not None and labels.suffix == PACK_SUFFIX:
        if label or template:
            raise InvalidInputError(
                "a label pack has its own labels and templates; leave out -l and -t"
            )
        return ZeroShotClassifier.load(labels, encoder)
    chosen = [*(label or []), *(read_labels(labels) if labels else [])]
    templates: str | list[str] = "openai"
    if template:
        templates = template[0] if len(template) == 1 else template
    return ZeroShotClassifier(encoder, chosen, templates=templates)


def _check_labels(label: list[str] | None, labels: Path | None) -> None:
    if not label and labels is None:
        raise InvalidInputError("no labels; give them with -l cat -l dog, or --labels FILE")


def _skip(name: str, reason: str) -> None:
    """A decoder's reason begins with the file's bare name; say which one it was."""
    note(f"skipped {short_path(name)}: {reason}")


class _Sources:
    """Every image that the arguments name, folders and archives opened up, read once.

    Attributes:
        names: Their names, as far as they have been read.
    """

    def __init__(self, images: list[str]) -> None:
        from ..intake.sources import open_source

        self.names: list[str] = []
        self._opened = [None if image == _STDIN else open_source(image) for image in images]

    def __iter__(self) -> Iterator[str | bytes]:
        for source in self._opened:
            for name, image in _from_stdin() if source is None else _images_of(source):
                self.names.append(name)
                yield image


def _images_of(source: Source) -> Iterator[tuple[str, str | bytes]]:
    for pair in source:
        if pair.image is not None:
            yield (pair.image if isinstance(pair.image, str) else pair.key), pair.image
        elif pair.refused and not pair.ignored:
            yield pair.key, pair.key  # the decoder says what is wrong with it


def _from_stdin() -> Iterator[tuple[str, str | bytes]]:
    """One image, or a list of paths separated by newlines or null bytes."""
    data = sys.stdin.buffer.read(MAX_IMAGE_BYTES + 1)
    if len(data) > MAX_IMAGE_BYTES:
        raise InvalidInputError(f"standard input is {over(MAX_IMAGE_BYTES)}")
    separator = b"\0" if b"\0" in data else b"\n"
    lines = [line for line in data.split(separator) if line.strip()]
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:  # an image, unless it is a list of names that are no UTF-8
        if not lines or not os.path.lexists(lines[0]):
            yield _STDIN_NAME, data
            return
    paths = [os.fsdecode(line) for line in lines]
    if not paths:
        raise SourceError("standard input is empty; pipe an image or a list of paths to it")
    yield from ((path, path) for path in paths)


def _print(results: list[tuple[str, list[Prediction]]], output: RowsFormat) -> None:
    if output == "json":
        print_json(
            [
                {
                    "path": path,
                    "predictions": [
                        {
                            "label": p.label,
                            "probability": round(p.probability, 6),
                            "score": round(p.score, 6),
                        }
                        for p in predictions
                    ],
                }
                for path, predictions in results
            ]
        )
    elif output == "csv":
        print_csv(
            ["path", "rank", "label", "probability", "score"],
            (row for result in results for row in _csv_rows(*result)),
        )
    elif results:
        print_table(["image", "label", "others"], [_row(*result) for result in results])


def _csv_rows(path: str, predictions: list[Prediction]) -> list[list[object]]:
    """One row for each prediction, and an empty one of rank 0 for an image without an answer."""
    return [
        [path, rank, p.label, f"{p.probability:.6f}", f"{p.score:.6f}"]
        for rank, p in enumerate(predictions, 1)
    ] or [[path, 0, "", "", ""]]


def _row(path: str, predictions: list[Prediction]) -> list[str]:
    told = [f"{p.label} {p.probability:.0%}" for p in predictions] or [_UNSURE]
    return [short_path(path), told[0], ", ".join(told[1:])]
