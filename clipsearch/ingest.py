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
from collections import Counter
from collections.abc import Callable, Container, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .engine import catalog, declared, skipped
from .engine.identity import state_of
from .errors import InvalidInputError
from .intake.embedder import Embedder, Embeds
from .intake.inside import file_around
from .intake.left_out import RuledSource, settled
from .intake.log import IngestLog
from .intake.options import IngestOptions
from .intake.pairs import Pair, Source, TableColumns
from .intake.sources import FolderSource
from .intake.store import Store
from .intake.triage import Triage, is_gone
from .known import is_below, remember_folders
from .names import shown
from .types import IngestReport, Progress

if TYPE_CHECKING:
    from .encoder import Encoder
    from .engine.writer import Writer

__all__ = ["LAST_REPORT", "ROOTS", "RULES", "IngestOptions", "add", "prune"]

LAST_REPORT = "last_report"  # name of the document that keeps the last run's report
RULES = "left_out"  # name of the document with what each folder or archive leaves out
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
            rescan=options.rescan,
        )
        store = stack.enter_context(
            Store(writer, log, embedder, rescan=options.rescan, retry=options.retry_skipped)
        )
        keep_root(writer, opened.root)
        if isinstance(opened, RuledSource):
            log.remarks += settle(writer, opened)
        keep_columns(writer, opened.columns())
        named = stack.enter_context(_Folders(writer, opened.root))
        candidates = map(triage, map(named, embedder.chunks(opened)))
        for batch in embedder.embed(candidates, log=log, stored=writer.by_sha256):
            store(batch)
            if progress is not None and total is not None:
                progress(log.progress(total()))
    for columns in (opened.columns(), *embedder.columns):  # of tables that were found on the way
        keep_columns(writer, columns)
    log.remarks += opened.remarks()
    pruned = 0
    if options.prune:
        pruned, remarks = prune(writer, opened)
        log.remarks += remarks
    forget_skipped(writer, opened, log.skipped_keys)
    notes = getattr(encoder, "notes", ())
    report = log.report(workers=embedder.workers, pruned=pruned, notes=notes)
    writer.set_meta(LAST_REPORT, dataclasses.asdict(report))
    return report


class _Folders:
    """Remembers on this machine which folders a run reads images from.

    What a run reads, its user named: by a folder around it, a list, or a table or archive.

    Args:
        writer: Of the index.
        root: A folder that is indexed as a whole.
    """

    def __init__(self, writer: Writer, root: str | None) -> None:
        self._index_id = writer.read(state_of).index_id
        self._index = writer.folder
        self._seen = set[str]()
        self._new = [] if root is None else [root]

    def __call__(self, pairs: list[Pair]) -> list[Pair]:
        """The pairs, whose folders are noted."""
        for pair in pairs:
            path = pair.image if isinstance(pair.image, str) else None
            if path is None and pair.place is not None:
                path = file_around(pair.place)
            folder = os.path.dirname(path) if path is not None and pair.refused is None else None
            if folder is not None and folder not in self._seen:
                self._seen.add(folder)
                real = os.path.realpath(folder)
                if not is_below(real, self._new):
                    self._new.append(real)
        return pairs

    def __enter__(self) -> Self:
        remember_folders(self._index_id, self._index, self._new)  # for those who serve it now
        return self

    def __exit__(self, *_: object) -> None:
        remember_folders(self._index_id, self._index, self._new)


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


def settle(writer: Writer, source: RuledSource) -> list[str]:
    """Let the rules of earlier runs count for a source, and remember those of this one.

    Returns:
        What is to be said of that.
    """
    remembered: dict[str, Any] = writer.read(lambda conn: catalog.document(conn, RULES)) or {}
    rules, base, change, notes = settled(source.asked, source.place, remembered)
    source.settle(rules, base)
    if change is not None and remembered.get(source.place, {}) != change:
        others = {place: one for place, one in remembered.items() if place != source.place}
        writer.set_meta(RULES, {**others, source.place: change} if change else others)
    return notes if source.root in (None, source.place) else []


def prune(writer: Writer, source: Source) -> tuple[int, list[str]]:
    """Remove the items below a folder whose files are gone, or are left out of it now.

    Of several folders, all are indexed before the first is pruned: a file that was moved from one
    to another takes its item along only as long as that is there.

    Returns:
        How many were removed, and what is to be said of those that are left out.
    """
    if isinstance(source, RuledSource):
        settle(writer, source)
    if source.root is None:
        raise InvalidInputError("prune needs a folder as its source, to know what is gone")
    gone: list[int] = []
    left_out: Counter[str] = Counter()
    for known in writer.paths_under(source.root):
        if known.path is None:
            continue
        if is_gone(known.path):
            gone.append(known.row)
        elif isinstance(source, FolderSource) and (reason := source.left_out(known.path)):
            left_out[reason] += 1
            gone.append(known.row)
    names = ", ".join(shown(reason) for reason in left_out)
    remarks = [f"removed items of files that are left out ({names}): {left_out.total():,}"]
    return writer.remove(gone), remarks if left_out else []


def forget_skipped(writer: Writer, source: Source, met: Container[str]) -> None:
    """Forget what was skipped in this source before, and is not there any more."""
    place = source.root or (source.place if isinstance(source, RuledSource) else None)
    if place is None:
        return
    start = place.rstrip("/") + ("/" if source.root else "!")
    stale = [
        key
        for key in writer.read(lambda conn: skipped.under(conn, start))
        if key not in met and not (source.root and _lies_within_a_file(key))
    ]
    if stale:
        writer.change(lambda conn: skipped.forget(conn, stale))


def _lies_within_a_file(key: str) -> bool:
    """Whether a key names a part of a table or archive that is there, and is no path itself."""
    return any(os.path.isfile(key[:at]) for at, mark in enumerate(key) if mark in "!#" and at)


def _counted(source: Source) -> Callable[[], int | None]:
    """The number of pairs, which a thread counts meanwhile so that work starts at once."""
    answer: list[int | None] = [None]

    def count() -> None:
        with contextlib.suppress(Exception):  # the total is a nicety; the run itself reports
            answer[0] = source.count()

    threading.Thread(target=count, daemon=True, name="count").start()
    return lambda: answer[0]
