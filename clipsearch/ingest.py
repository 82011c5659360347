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
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .engine import catalog, declared, skipped
from .engine.identity import state_of
from .errors import InvalidInputError, SourceError
from .intake.absence import Absence, Lookup, keep, survey, told
from .intake.archives import ArchiveSource
from .intake.embedder import Embedder, Embeds
from .intake.inside import Lacks, file_around
from .intake.left_out import RuledSource, settled
from .intake.log import IngestLog
from .intake.options import IngestOptions
from .intake.pairs import Pair, Source, TableColumns
from .intake.places import is_url
from .intake.sources import FolderSource
from .intake.store import Store
from .intake.triage import Triage
from .known import is_below, remember_folders
from .names import shown
from .types import IngestReport, Progress

if TYPE_CHECKING:
    from .encoder import Encoder
    from .engine.writer import Writer

__all__ = [
    "LAST_REPORT",
    "ROOTS",
    "RULES",
    "IngestOptions",
    "add",
    "open_for",
    "settle_away",
]

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
    named = source if isinstance(source, str | os.PathLike) else None
    options.check_report(opened.root, named)
    root, place = opened.root, _place(opened)
    name = place or "the source"
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
            Store(
                writer,
                log,
                embedder,
                rescan=options.rescan,
                retry=options.retry_skipped,
                lacks=_lacks(opened),
            )
        )
        keep_root(writer, root)
        if isinstance(opened, RuledSource):
            log.remarks += settle(writer, opened)
        keep_columns(writer, opened.columns())
        folders = stack.enter_context(_Folders(writer, opened.root))
        candidates = map(triage, map(folders, embedder.chunks(opened)))
        try:
            for batch in embedder.embed(candidates, log=log, stored=writer.by_sha256):
                store(batch)
                log.check_source(name, root)
                if progress is not None and total is not None:
                    progress(log.progress(total()))
            log.check_source(name, root, ended=True)
        except SourceError as exc:
            if log.failed or place is None:  # else there is nothing in it
                raise
            raise _absent(writer, [place], options, exc, _lacks(opened)) from exc
    for columns in (opened.columns(), *embedder.columns):  # of tables that were found on the way
        keep_columns(writer, columns)
    log.remarks += opened.remarks()
    ended = settle_away(
        writer, opened, prune=options.prune, yes=options.yes, met=(triage.gone, triage.back)
    )
    log.remarks += ended.remarks
    forget_skipped(writer, opened, log.skipped_keys)
    report = log.report(
        workers=embedder.workers,
        pruned=ended.removed,
        away=ended.away,
        unpruned=ended.kept,
        notes=getattr(encoder, "notes", ()),
    )
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


def open_for(writes: Callable[[], Writer], source: Any, options: IngestOptions) -> Source:
    """What a caller names as a source, opened; where nothing is, its items are away from now on.

    Args:
        writes: Gives a writer of the index.
        source: As for `open_source`.
        options: How to work.

    Raises:
        SourceError, InvalidInputError, MissingExtraError: As `IngestOptions.opened`.
    """
    try:
        return options.opened(source)
    except SourceError as exc:
        if not isinstance(source, str | os.PathLike) or is_url(os.fspath(source)):
            raise
        place = os.path.abspath(os.path.expanduser(source))
        with writes() as writer:
            raise _absent(writer, {place, os.path.realpath(place)}, options, exc) from exc


def _absent(
    writer: Writer,
    places: Iterable[str],
    options: IngestOptions,
    error: SourceError,
    lacks: Lacks | None = None,
) -> SourceError:
    """Let the items of a source without any images be away, or remove them; returns the error."""
    told_too: list[str] = []
    for place in places:
        found = survey(writer, place, lacks=lacks)
        ended = _ended(writer, place, found, prune=options.prune, yes=options.yes)
        told_too += ended.remarks
        told_too += [f"{ended.removed:,} items of it were removed"] if ended.removed else []
        told_too += [told(ended.away)] if ended.away else []
    writer.commit()
    return SourceError(". ".join([str(error), *told_too])) if told_too else error


@dataclasses.dataclass(frozen=True, slots=True)
class Pruned:
    """What was done about the items of a source whose files cannot be found.

    Attributes:
        removed: Items that were removed.
        away: Items that are away: kept, and left out of answers.
        kept: Of these, items that were to be removed, but are too many without a person's word.
        remarks: What is to be said of that.
    """

    removed: int = 0
    away: int = 0
    kept: int = 0
    remarks: tuple[str, ...] = ()


def settle_away(
    writer: Writer,
    source: Source,
    *,
    prune: bool,
    yes: bool | Callable[[str], bool] = False,
    single: bool = False,
    spared: Container[int] = (),
    met: tuple[Mapping[int, str], Collection[int]] = ({}, ()),
) -> Pruned:
    """Let the items of a source whose files cannot be found be away, or remove them.

    Of several folders, all are indexed before the first is pruned: a file that was moved from one
    to another takes its item along only as long as that is there.

    Args:
        writer: Of the index.
        source: The source, which a run has read.
        prune: Whether such items are removed, and those of files that are left out of it now.
        yes: Whether they are removed even if they are many (`Absence.loss`), or who is asked.
        single: Whether no more than single files are taken for deleted: not whole folders, and not
            many at once.
        spared: Rows of items that are not removed.
        met: Items that the run has met, by row: with the file that cannot be found, and with it.

    Raises:
        InvalidInputError: The source is nothing that can be pruned.
    """
    if prune and source.root is None and not isinstance(source, ArchiveSource):
        raise InvalidInputError("prune needs a folder as its source, to know what is gone")
    if isinstance(source, RuledSource):
        settle(writer, source)
    place, found = _place(source), Absence()
    if place is not None:
        judge = source.left_out if prune and isinstance(source, FolderSource) else None
        found = survey(writer, place, judge, _lacks(source))
    lookup = Lookup()
    lost = {row: missing for row, path in met[0].items() if (missing := lookup.missing(path))}
    return _ended(
        writer,
        place,
        found,
        prune=prune,
        yes=yes,
        single=single,
        spared=spared,
        also=(lost, met[1]),
    )


def _ended(
    writer: Writer,
    place: str | None,
    found: Absence,
    *,
    prune: bool,
    yes: bool | Callable[[str], bool],
    single: bool = False,
    spared: Container[int] = (),
    also: tuple[Mapping[int, str], Collection[int]] = ({}, ()),
) -> Pruned:
    """Do what `settle_away` does about what was found."""
    gone, kept, rows, remarks = {**also[0], **found.missing}, 0, list[int](), list[str]()
    if prune:
        rows = found.removable(single=single, spared=spared)
        if loss := found.loss(rows):
            many = f"{len(rows):,} of {found.total:,} items of {shown(place or '')} ({loss})"
            if single or not (yes(f"Remove {many}?") if callable(yes) else yes):
                kept = 0 if single else len(rows)
                remarks += [] if single else [_not_removed(many)]
                rows = []
        if found.left_out:
            names = ", ".join(shown(reason) for reason in dict.fromkeys(found.left_out.values()))
            count = len(found.left_out)
            remarks.append(f"removed items of files that are left out ({names}): {count:,}")
    removed = writer.remove([*rows, *found.left_out]) if prune else 0
    for row in rows:
        del gone[row]
    keep(writer, gone, {*found.back, *also[1]})
    return Pruned(removed, len(gone), kept, tuple(remarks))


def _not_removed(many: str) -> str:
    return (
        f"--prune did not remove {many}, whose files cannot be found. If a drive or share is not "
        "mounted, mount it and run the command again; to remove the items, add --yes"
    )


def _lacks(source: Source) -> Lacks | None:
    """What tells which members are no longer in the archive that a source is."""
    return source.lacks if isinstance(source, ArchiveSource) else None


def _place(source: Source) -> str | None:
    """Path of the folder or archive that a source is, on this machine."""
    place = _name(source)
    return None if place is None or is_url(place) else place


def _name(source: Source) -> str | None:
    """Path or address of the folder or archive that a source is."""
    return source.root or (source.place if isinstance(source, RuledSource) else None)


def forget_skipped(writer: Writer, source: Source, met: Container[str]) -> None:
    """Forget what was skipped in this source before, and is not there any more."""
    place = _name(source)
    if place is None:
        return
    start = place.rstrip("/") + ("/" if source.root else "!")
    stale = [
        key
        for key in writer.read(
            lambda conn: [*skipped.recall(conn, [place]), *skipped.under(conn, start)]
        )
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
