"""`clipsearch migrate`: bring an index over to another model, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import clipsearch

from ..errors import InvalidInputError
from ..locations import existing_index
from ..models import load_text_encoder
from ..types import MigrationReport
from .indexing import progress_bar
from .options import BatchSize, Device, IndexName, TowerPrecision, Workers
from .output import EXIT_ERROR, note, short_path

__all__ = ["migrate"]

_MOST_LISTED = 20


def migrate(
    name: IndexName = None,
    model: Annotated[
        str | None, typer.Option("-m", "--model", help="The model to use from now on.")
    ] = None,
    back: Annotated[
        bool, typer.Option("--back", help="Return to the model that the index used before.")
    ] = False,
    forget_old: Annotated[
        bool, typer.Option("--forget-old", help="Delete the vectors of former models.")
    ] = False,
    drop_missing: Annotated[
        bool,
        typer.Option("--drop-missing", help="Remove the items whose source is gone or changed."),
    ] = False,
    batch_size: BatchSize = None,
    workers: Workers = None,
    device: Device = "auto",
    precision: TowerPrecision = "auto",
    report: Annotated[
        Path | None, typer.Option(help="Write every item that is missing here, as JSON lines.")
    ] = None,
) -> None:
    """Bring an index over to another model: embed everything anew from its sources.

    Searches go on with the old model until all is done; then one commit switches. An interrupted
    run goes on where it stopped. The old vectors are kept, so that --back takes a moment, until
    --forget-old deletes them. Ids, captions, tags and metadata stay.

        clipsearch migrate -i photos -m ViT-B-32-256/datacomp_s34b_b86k

        clipsearch migrate -i photos --back

        clipsearch migrate -i photos --forget-old
    """
    if sum((model is not None, back, forget_old)) != 1:
        raise InvalidInputError("give one of -m MODEL, --back and --forget-old")
    path = existing_index(name)
    with clipsearch.Index.open(path) as index:
        if forget_old:
            _forget(index)
            return
        if back:
            former = next((kept for kept in index.kept_models() if kept.left_at is not None), None)
            if former is None:
                raise InvalidInputError(
                    f"index {path.name} keeps no vectors of a former model to go back to; "
                    f"choose a model: clipsearch migrate -i {path.name} -m MODEL"
                )
            encoder = load_text_encoder(
                former.name, former.fingerprint, device=device, precision=precision
            )
        else:
            encoder = clipsearch.load_encoder(str(model), device=device, precision=precision)
        before = index.model_name
        with progress_bar("migrating") as progress:
            done = index.migrate(
                encoder,
                drop_missing=drop_missing,
                progress=progress,
                batch_size=batch_size,
                workers=workers,
            )
    _list_missing(done, report)
    note(f"{done.encoded:,} vectors made in {done.seconds:.1f} s; {done.vectors:,} in all")
    if not done.switched:
        note(
            f"error: {len(done.missing):,} items cannot be embedded, so {path.name} still uses "
            f"{before}; bring their files back and run this again, or remove them from the index "
            "with --drop-missing"
        )
        raise typer.Exit(EXIT_ERROR)
    if done.dropped:
        note(f"{done.dropped:,} items were removed from the index")
    note(f"{path.name} now uses {encoder.name}; the vectors of {before} are kept")
    note(f"return to them:  clipsearch migrate -i {path.name} --back")
    note(f"delete them:     clipsearch migrate -i {path.name} --forget-old")


def _forget(index: clipsearch.Index) -> None:
    forgotten = index.forget_models()
    if forgotten:
        note(f"deleted the vectors of {', '.join(kept.name for kept in forgotten)}")
    else:
        note(f"{index.path.name} holds no vectors but those of {index.model_name}")


def _list_missing(done: MigrationReport, report: Path | None) -> None:
    """Name the items that could not be embedded: some on stderr, all of them in the report."""
    for outcome in done.missing[:_MOST_LISTED]:
        note(f"  missing {short_path(outcome.key)}: {outcome.reason}")
    if len(done.missing) > _MOST_LISTED:
        rest = len(done.missing) - _MOST_LISTED
        where = f"in {report}" if report is not None else "which --report FILE lists"
        note(f"  and {rest:,} more, {where}")
    if report is not None:
        lines = [json.dumps({"key": o.key, "reason": o.reason}) + "\n" for o in done.missing]
        report.write_text("".join(lines), encoding="utf-8")
