"""Bringing an index up to date with a source: options in, report out.

Every pair of the source ends in exactly one of: indexed, unchanged, duplicate, skipped with a
reason; the report's numbers add up to the pairs seen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

from .encoder import batch_for, decoders_for
from .encoders.textencoder import keep_text_tower
from .errors import IndexLockedError, InvalidInputError
from .images import DEFAULT_MAX_PIXELS
from .intake.decoding import DEFAULT_TIMEOUT_S, DecoderPool
from .intake.ledger import Ledger
from .intake.pairs import Source
from .intake.pipeline import Run
from .intake.sources import open_source
from .intake.triage import is_gone
from .types import IngestReport, Progress

if TYPE_CHECKING:
    from .engine.writer import Writer
    from .index import Index

__all__ = [
    "LAST_REPORT",
    "ROOTS",
    "IngestOptions",
    "add",
    "keep_root",
    "make_report",
    "prune",
    "with_total",
]

LAST_REPORT = "last_report"  # name of the document that keeps the last run's report
ROOTS = "roots"  # name of the document with the folders that were indexed, links resolved


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions:
    """How `Index.add` works; the defaults suit most sources."""

    on_error: Literal["skip", "raise"] = "skip"
    batch_size: int | None = None  # images encoded together; None: 32, on a GPU 256
    workers: int | None = None  # decoder processes; None: one a core, for a GPU two fewer
    max_pixels: int = DEFAULT_MAX_PIXELS
    timeout_s: float = DEFAULT_TIMEOUT_S  # of one file's decoding
    exclude: tuple[str, ...] = ()  # shell patterns that a folder source leaves out
    images: str | None = None  # column of a table with the image
    captions: str | None = None  # column of a table with the caption
    ids: str | None = None  # column of a table that identifies the row
    allow_outside: bool = False  # whether a table may name images outside its folder
    prune: bool = False  # remove items of this folder whose files are gone
    retry_skipped: bool = False  # try files again that could not be read before
    wait: bool | float = False  # for another writer: not at all, for ever, or so many seconds
    report_append: bool = False  # to a report file that is already there
    report_file: str | os.PathLike[str] | None = None  # one JSON line for every pair

    def __post_init__(self) -> None:
        if self.on_error not in ("skip", "raise"):
            raise InvalidInputError(f"on_error must be 'skip' or 'raise', not {self.on_error!r}")
        if any(count is not None and count < 1 for count in (self.batch_size, self.workers)):
            raise InvalidInputError("batch_size and workers must be at least 1")
        if not 0 < self.timeout_s < math.inf:
            raise InvalidInputError("timeout_s must be a positive number of seconds")


def add(
    index: Index,
    source: str | os.PathLike[str] | Source | Iterable[Any],
    *,
    progress: Callable[[Progress], None] | None = None,
    options: IngestOptions | None = None,
) -> IngestReport:
    """Bring `index` up to date with `source`.

    Args:
        index: An index that was opened with its encoder.
        source: As for `open_source`.
        progress: Called now and then.
        options: How to work.

    Raises:
        SourceError: The source is not there, is empty, or lacks a column.
        IndexLockedError: Another process is writing.
        ImageDecodeError: With `on_error="raise"`: the first pair that cannot be indexed.
    """
    options = options or IngestOptions()
    opened = open_source(
        source,
        exclude=options.exclude,
        images=options.images,
        captions=options.captions,
        ids=options.ids,
        outside=options.allow_outside,
    )
    started = monotonic()
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(index.writer(wait=options.wait))
        encoder = index.encoder
        batch_size = batch_for(encoder, options.batch_size)
        workers = decoders_for(encoder, options.workers)
        pool = stack.enter_context(
            DecoderPool(
                encoder.preprocessing,
                workers=workers,
                max_pixels=options.max_pixels,
                timeout_s=options.timeout_s,
            )
        )
        ledger_file = None
        if options.report_file is not None:
            ledger_file = stack.enter_context(
                Path(options.report_file).open(
                    "a" if options.report_append else "w", encoding="utf-8"
                )
            )
        ledger = Ledger(ledger_file, options.on_error)
        run = Run(
            writer,
            index.path,
            encoder,
            pool,
            ledger,
            batch_size=batch_size,
            ahead=4 * workers + batch_size,
            retry_skipped=options.retry_skipped,
            hash_first=len(index) > 0,
        )
        keep_root(writer, index, opened.root)
        run.through(opened, with_total(opened, progress))
        pruned = prune(writer, opened.root) if options.prune else 0
        seconds = monotonic() - started
        report = make_report(run, ledger, seconds, workers, pruned, getattr(encoder, "notes", ()))
        writer.set_meta(LAST_REPORT, dataclasses.asdict(report))
    keep_text_tower(encoder)
    with contextlib.suppress(IndexLockedError):  # of a run that waited; it measures at its end
        index.refresh_background(encoder)
    return report


def keep_root(writer: Writer, index: Index, root: str | None) -> None:
    """Remember a folder that is indexed: below it, a picture may be reached through links."""
    known: list[str] = index.get_meta(ROOTS) or []
    if root is not None and not any(Path(root).is_relative_to(other) for other in known):
        writer.set_meta(ROOTS, sorted([*known, root]))


def prune(writer: Writer, root: str | None) -> int:
    """Remove the items below a folder whose files are gone; returns how many."""
    if root is None:
        raise InvalidInputError("prune needs a folder as its source, to know what is gone")
    gone = [
        known.row
        for known in writer.paths_under(root)
        if known.path is not None and is_gone(known.path)
    ]
    return writer.remove(gone)


def make_report(
    run: Run,
    ledger: Ledger,
    seconds: float,
    workers: int,
    pruned: int,
    encoder_notes: Iterable[str] = (),
) -> IngestReport:
    """The report of a finished run."""
    counts = ledger.counts
    notes = [f"{note}: {count:,}" for note, count in run.notes.items() if count]
    notes += encoder_notes
    busy = {**run.busy, "decode": run.busy["decode"] / workers}
    return IngestReport(
        seen=run.seen,
        indexed=counts["indexed"],
        unchanged=counts["unchanged"],
        duplicate=counts["duplicate"],
        skipped=counts["skipped"],
        updated=counts["updated"],
        moved=counts["moved"],
        ignored=counts["ignored"],
        pruned=pruned,
        skips=tuple(ledger.skips),
        seconds=seconds,
        busy={
            stage: min(1.0, busy.get(stage, 0.0) / max(seconds, 1e-6))
            for stage in ("encode", "decode", "write")
        },
        notes=tuple(notes),
    )


def with_total(
    source: Source, progress: Callable[[Progress], None] | None
) -> Callable[[Progress], None]:
    """`progress` with the total, which a thread counts meanwhile so that work starts at once."""
    if progress is None:
        return lambda _: None
    answer: list[int | None] = [None]

    def count() -> None:
        with contextlib.suppress(Exception):  # the total is a nicety; the run itself reports
            answer[0] = source.count()

    threading.Thread(target=count, daemon=True, name="count").start()
    return lambda now: progress(dataclasses.replace(now, total=answer[0]))
