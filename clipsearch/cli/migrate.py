"""`clipsearch migrate`: re-encode an index with another model, and go back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import clipsearch

from ..engine.vectorsets import SWITCHED_BACK
from ..errors import InvalidInputError
from ..files import check_output, output_file
from ..intake.log import is_report
from ..locations import existing_index
from ..models import load_text_encoder
from ..names import json_text, stored
from ..types import MigrationReport
from .index import progress_bar
from .options import BatchSize, Device, ImagePrecision, IndexName, TrustModel, Workers
from .output import EXIT_ERROR, note, short_path
from .trust import may_load

__all__ = ["migrate"]

_MOST_LISTED = 20


def migrate(
    name: IndexName = None,
    model: Annotated[
        str | None, typer.Option("-m", "--model", help="Model to re-encode with.")
    ] = None,
    back: Annotated[
        bool, typer.Option("--back", help="Switch back to the previous model.")
    ] = False,
    forget_old: Annotated[
        bool, typer.Option("--forget-old", help="Delete the vectors of previous models.")
    ] = False,
    drop_missing: Annotated[
        bool,
        typer.Option("--drop-missing", help="Remove items whose source is missing or has changed."),
    ] = False,
    batch_size: BatchSize = None,
    workers: Workers = None,
    device: Device = "auto",
    precision: ImagePrecision = "auto",
    trust_model: TrustModel = False,
    report: Annotated[
        Path | None, typer.Option(help="Write all missing items to this file, as JSON lines.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Let --report replace a file that is no report.")
    ] = False,
) -> None:
    """Re-encode an index with another model.

    Everything is encoded from its source. Searches use the old model until the end; then one commit
    switches to the new one. If interrupted, run it again to resume. The old vectors are kept for a
    quick --back until --forget-old deletes them; a second --back changes nothing. IDs, captions,
    tags and metadata stay.

        clipsearch migrate -i photos -m ViT-B-32-256/datacomp_s34b_b86k

        clipsearch migrate -i photos --back

        clipsearch migrate -i photos --forget-old
    """
    if sum((model is not None, back, forget_old)) != 1:
        raise InvalidInputError("give exactly one of -m MODEL, --back and --forget-old")
    path = existing_index(name)
    if report is not None:
        check_output(report, is_report, overwrite=force)
    with clipsearch.Index.open(path) as index:
        if forget_old:
            _forget(index)
            return
        if back:
            if (left := index.get_meta(SWITCHED_BACK)) is not None:
                index.build_ann()
                note(
                    f"{path.name} uses {index.model_name} already: it was switched back from {left}"
                )
                note(f"use that again: clipsearch migrate -i {path.name} -m {left}")
                return
            former = next((kept for kept in index.kept_models() if kept.left_at is not None), None)
            if former is None:
                raise InvalidInputError(
                    f"index {path.name} keeps no vectors of a previous model to go back to; "
                    f"re-encode it instead: clipsearch migrate -i {path.name} -m MODEL"
                )
            encoder = load_text_encoder(
                former.name,
                former.fingerprint,
                device=device,
                precision=precision,
                trust=may_load(former.name, trust_model),
            )
        else:
            encoder = clipsearch.load_encoder(str(model), device=device, precision=precision)
            if encoder.fingerprint == index.fingerprint:
                index.build_ann()  # to which a run that was interrupted did not come
                note(f"{path.name} uses {encoder.name} already; there is nothing to migrate")
                return
        before = index.model_name
        with progress_bar("migrating") as progress:
            done = index.migrate(
                encoder,
                back=back,
                drop_missing=drop_missing,
                progress=progress,
                batch_size=batch_size,
                workers=workers,
            )
    _list_missing(done, report)
    note(f"encoded {done.encoded:,} of {done.vectors:,} vectors in {done.seconds:.1f} s")
    if not done.switched:
        way = "remove the items with --drop-missing"
        if drop_missing:
            way = "mount their drive: nothing is dropped while files only fail to be read"
        note(
            f"error: {len(done.missing):,} items cannot be encoded, so {path.name} still uses "
            f"{before}; restore their files and run this again, or {way}"
        )
        raise typer.Exit(EXIT_ERROR)
    if done.dropped:
        note(f"removed {done.dropped:,} items from the index")
    note(f"{path.name} now uses {encoder.name}; the vectors of {before} are kept")
    note(f"switch back:        clipsearch migrate -i {path.name} --back")
    note(f"delete old vectors: clipsearch migrate -i {path.name} --forget-old")


def _forget(index: clipsearch.Index) -> None:
    forgotten = index.forget_models()
    if forgotten:
        note(f"deleted the vectors of {', '.join(kept.name for kept in forgotten)}")
    else:
        note(f"{index.path.name} has no vectors of previous models")


def _list_missing(done: MigrationReport, report: Path | None) -> None:
    """List the items that could not be encoded: the first on stderr, all of them in the report."""
    for outcome in done.missing[:_MOST_LISTED]:
        note(f"  missing {short_path(outcome.key)}: {outcome.reason}")
    if len(done.missing) > _MOST_LISTED:
        rest = len(done.missing) - _MOST_LISTED
        where = f"listed in {report}" if report is not None else "use --report FILE to list them"
        note(f"  and {rest:,} more, {where}")
    if report is not None:
        lines = [json_text({"key": stored(o.key), "reason": o.reason}) + "\n" for o in done.missing]
        with output_file(report) as part:
            part.write_text("".join(lines), encoding="utf-8")
