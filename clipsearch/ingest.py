"""Bringing an index up to date with a source, from top to bottom: triage, embed, store, report.

Every pair of the source ends in exactly one of: indexed, unchanged, duplicate, skipped with a
reason; the report's numbers add up to the pairs seen. Pairs are stored in the order of the source
whatever is decoded and encoded beside each other, so row ids follow it and every run of the same
source gives the same index.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .engine import catalog, declared
from .errors import InvalidInputError
from .intake.embedder import Embedder, Embeds
from .intake.log import IngestLog
from .intake.options import IngestOptions
from .intake.pairs import Source, TableColumns
from .intake.store import Store
from .intake.triage import Triage, is_gone
from .types import IngestReport, Progress

if TYPE_CHECKING:
    from .encoder import Encoder
    from .engine.writer import Writer

__all__ = ["LAST_REPORT", "ROOTS", "IngestOptions", "add"]

LAST_REPORT = "last_report"  # name of the document that keeps the last run's report
ROOTS = "roots"  # name of the document with the folders that were indexed, links resolved


def add(
    writer: Writer,
    encoder: Encoder,
    source: str | os.PathLike[str] | Source | Iterable[Any],
    *,
    options: IngestOptions,
    progress: Callable[[Progress], None] | None = None,
    embedder: Embeds | None = None,
) -> IngestReport:
    """Bring an index up to date with `source`.

    What is stored is committed now and then, and after an interruption too.

    Args:
        writer: Of the index.
        encoder: The model of the index.
        source: As for `open_source`.
        options: How to work.
        progress: Called now and then; what it raises ends the run.
        embedder: Embeds in place of this machine; its creator closes it.

    Raises:
        SourceError: The source is not there, is empty, or lacks a column.
        ImageDecodeError: With `on_error="raise"`: the first pair that cannot be indexed.
        StorageError: The disk refused, or the report cannot be written.
    """
    opened = options.opened(source)
    total = _counted(opened) if progress is not None else None
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(
            IngestLog(options.report_file, append=options.report_append, on_error=options.on_error)
        )
        if embedder is None:
            embedder = stack.enter_context(
                Embedder(
                    encoder,
                    batch_size=options.batch_size,
                    workers=options.workers,
                    max_pixels=options.max_pixels,
                    timeout_s=options.timeout_s,
                )
            )
        triage = Triage(
            writer,
            log,
            retry_skipped=options.retry_skipped,
            hash_first=embedder.hash_first and writer.read(catalog.meta)["items"] > 0,
        )
        store = stack.enter_context(Store(writer, log, embedder.again))
        keep_root(writer, opened.root)
        keep_columns(writer, opened.columns())
        candidates = map(triage, embedder.chunks(opened))
        for batch in embedder.embed(candidates, log=log, stored=writer.by_sha256):
            store(batch)
            if progress is not None and total is not None:
                progress(log.progress(total()))
    keep_columns(writer, opened.columns())  # of tables that were found on the way
    pruned = prune(writer, opened.root) if options.prune else 0
    notes = (*opened.notes, *getattr(encoder, "notes", ()))
    report = log.report(workers=embedder.workers, pruned=pruned, notes=notes)
    writer.set_meta(LAST_REPORT, dataclasses.asdict(report))
    return report


def keep_root(writer: Writer, root: str | None) -> None:
    """Remember a folder that is indexed: below it, an image may be reached through links."""
    known: list[str] = writer.read(lambda conn: catalog.document(conn, ROOTS)) or []
    if root is not None and not any(Path(root).is_relative_to(other) for other in known):
        writer.set_meta(ROOTS, sorted([*known, root]))


def keep_columns(writer: Writer, columns: TableColumns | None) -> None:
    """Remember which columns a table has, and their types, for filters and exports."""
    if columns is None:
        return
    known: dict[str, Any] = writer.read(lambda conn: catalog.document(conn, declared.TABLES)) or {}
    if known != {**known, **columns.tables}:
        writer.set_meta(declared.TABLES, {**known, **columns.tables})
    new = writer.read(lambda conn: declared.undeclared(conn, columns.types))
    if new:
        writer.change(lambda conn: declared.declare(conn, new))


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


def _counted(source: Source) -> Callable[[], int | None]:
    """The number of pairs, which a thread counts meanwhile so that work starts at once."""
    answer: list[int | None] = [None]

    def count() -> None:
        with contextlib.suppress(Exception):  # the total is a nicety; the run itself reports
            answer[0] = source.count()

    threading.Thread(target=count, daemon=True, name="count").start()
    return lambda: answer[0]
