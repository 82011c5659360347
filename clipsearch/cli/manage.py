"""Commands that maintain an index, and the list of models."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import clipsearch

from ..locations import existing_index
from ..models import runtime_of_images
from ..names import stored
from ..types import Outcome
from .formats import ReportFormat, ReportOutput
from .options import IndexName, Wait
from .output import (
    EXIT_ERROR,
    human_bytes,
    note,
    print_json,
    print_table,
    short_path,
)
from .page import note_hidden

__all__ = ["compact", "info", "models_app", "remove", "verify"]


def info(
    name: IndexName = None,
    skipped: Annotated[
        bool, typer.Option("--skipped", help="List the files that could not be read, and why.")
    ] = False,
    output: ReportOutput = "table",
) -> None:
    """Show the contents of an index and the model that made it.

    clipsearch info -i photos -f json

    clipsearch info -i photos --skipped
    """
    with clipsearch.Index.open(existing_index(name)) as index:
        if skipped:
            _print_skipped(index.skipped(), output)
            return
        facts = index.info()
        note_hidden(index)
    model = facts["model"]
    model["runtime"] = runtime_of_images(model["name"], model["fingerprint"])
    if output == "json":
        print_json(facts)
        return
    print_table(["", ""], _lines(facts))


def _print_skipped(skipped: list[Outcome], output: ReportFormat) -> None:
    if output == "json":
        print_json({"skipped": [{"key": stored(one.key), "reason": one.reason} for one in skipped]})
    elif skipped:
        print_table(
            ["file", "reason"], [[short_path(one.key), one.reason or ""] for one in skipped]
        )
    else:
        note("no file was skipped")


def _lines(facts: dict[str, Any], prefix: str = "") -> list[list[str]]:
    rows = []
    for key, value in facts.items():
        if isinstance(value, dict):
            rows += _lines(value, f"{prefix}{key} ")
        elif key == "size_bytes":
            rows.append([f"{prefix}size", human_bytes(value)])
        elif key == "path":
            rows.append([f"{prefix}{key}", short_path(value)])
        elif key == "notes":
            rows += [["note", text] for text in value]
        elif key == "kept_models":
            rows += [["kept model", model["name"]] for model in value]
        else:
            shown = f"{value:.6g}" if isinstance(value, float) else value
            rows.append([f"{prefix}{key}".replace("_", " "), "-" if value is None else str(shown)])
    return rows


def remove(
    ids: Annotated[list[int], typer.Argument(help="Item IDs, as search prints them.")],
    name: IndexName = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Make it possible to --undo this within a day.")
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Put items back that were removed here or on the page.")
    ] = False,
    wait: Wait = False,
) -> None:
    """Remove items from an index. Their files are not touched.

    Indexing their folder again adds them again, unless the files are moved elsewhere.

    clipsearch remove 17 42 -i photos

    clipsearch remove 17 42 --undo -i photos
    """
    with clipsearch.Index.open(existing_index(name)) as index:
        if undo:
            note(f"put back {index.restore(ids, wait=wait):,} of {len(ids):,} items")
        else:
            removed = index.remove(ids, keep=keep, wait=wait)
            note(f"removed {removed:,} of {len(ids):,} items")


def compact(name: IndexName = None, wait: Wait = False) -> None:
    """Reclaim the space of removed items, and rebuild its approximate (ANN) index.

    clipsearch compact -i photos
    """
    with clipsearch.Index.open(existing_index(name)) as index:
        before = index.info()["size_bytes"]
        index.compact(wait=wait)
        after = index.info()["size_bytes"]
    note(f"{human_bytes(before)} before, {human_bytes(after)} after")


def verify(
    name: IndexName = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Also read every row and vector, and check hashes, words and searches."
        ),
    ] = False,
) -> None:
    """Check the integrity of an index. The exit code is 0 if it is sound.

    clipsearch verify -i photos --full
    """
    from ..engine.verify import verify as verify_folder

    report = verify_folder(existing_index(name), full=full)  # a damaged index cannot be opened
    for text in report.notes:
        note(f"note: {text}")
    for problem in report.problems:
        note(f"problem: {problem}")
    if report.problems:
        raise typer.Exit(EXIT_ERROR)
    note(
        f"the index is sound: {report.items:,} items, {report.segments:,} segments, "
        f"{human_bytes(report.checked_bytes)} checked"
    )


models_app = typer.Typer(no_args_is_help=True, help="List the available models.")


@models_app.callback()
def _models() -> None:
    """List the available models."""


@models_app.command("list")
def list_command(output: ReportOutput = "table") -> None:
    """List the recommended models. Any other OpenCLIP model works as well.

    clipsearch models list
    """
    from dataclasses import asdict

    models = clipsearch.list_models()
    if output == "json":
        print_json([asdict(model) for model in models])
        return
    print_table(
        ["model", "size", "license", "ImageNet", "COCO", "choose it for"],
        [
            [
                model.name,
                "bundled" if model.bundled else f"{model.size_mb / 1000:.1f} GB",
                model.licence,
                "-" if model.imagenet is None else f"{model.imagenet:.1f} %",
                "-" if model.coco_t2i is None else f"{model.coco_t2i:.1f} %",
                model.advice,
            ]
            for model in models
        ],
        right=["size", "ImageNet", "COCO"],
    )
    note("ImageNet: zero-shot top-1 accuracy over 1,000 classes, without training on them.")
    note("COCO: text-to-image R@1 among 5,000 photos. All figures are as published.")
    note(f"{models[0].name} was trained on ImageNet's class names, so its figures are not")
    note("comparable (see its model card).")
    note("SigLIP and XLM-R models need: pip install 'clipsearch[multilingual]'")
    note("To use another model, which is downloaded once (-f json shows more):")
    note("  clipsearch index FOLDER -i NAME -m MODEL      a new index")
    note("  clipsearch migrate -i NAME -m MODEL           an existing index")
    note("  clipsearch evaluate models --help             compare models on your own images")
