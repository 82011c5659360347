"""Keeping an index in step with a folder while its files come, change and go."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from .errors import SourceError
from .files import expanded
from .ingest import RULES, IngestOptions, settle_away
from .intake.left_out import IGNORE_FILE, settled
from .intake.sources import FolderSource
from .types import IngestReport

if TYPE_CHECKING:
    from .index import Index

__all__ = ["watch"]

_SETTLE_MS = 1000  # how long a folder must be quiet before its changes are taken in


def watch(
    index: Index,
    folder: str | os.PathLike[str],
    *,
    options: IngestOptions | None = None,
    on_report: Callable[[IngestReport], None] | None = None,
    ready: Callable[[], None] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Follow a folder until `stop` is set or Ctrl-C: add, update and remove as its files do.

    The folder is brought up to date once at the start, after the watching has begun, so nothing
    falls between. Later only the folders in which something changed are read again.

    Args:
        index: An index that was opened with its encoder.
        folder: The folder, with everything below it.
        options: How to work; `prune` and `yes` make no difference. Items of single files that are
            gone are removed. Where a folder or many files are gone at once, they are away.
        on_report: Called after every change that was taken in.
        ready: Called once the folder is up to date and watched.
        stop: Ends the watching.

    Raises:
        SourceError: The folder is not there.
        KeyboardInterrupt: Ctrl-C.
    """
    root = expanded(folder).resolve()
    if not root.is_dir():
        raise SourceError(f"nothing to watch at {root}; give a folder")
    wanted = dataclasses.replace(options or IngestOptions(), prune=False, wait=True)
    takes_all = _judge(index, root, wanted).takes_all
    for changes in _changes(root, takes_all=takes_all, stop=stop):
        if changes is None:
            _take_in(index, root, [root], wanted, on_report)
            if ready is not None:
                ready()
                ready = None
        elif changes:
            left_out = _judge(index, root, wanted).left_out
            paths = [
                Path(path)
                for path in changes
                if left_out(path, is_folder=os.path.isdir(path)) is None
                or Path(path).name == IGNORE_FILE
            ]
            folders = _changed_folders(root, paths)
            if folders:
                _take_in(index, root, folders, wanted, on_report)


def _changes(
    root: Path, *, takes_all: bool, stop: threading.Event | None
) -> Iterator[list[str] | None]:
    """Paths that have changed, often none; None where the whole folder is to be read.

    It is at the start, when the watcher is at work, and whenever the folder goes or comes, or a
    drive below it does, which the watcher does not notice. The watcher gives up at a name that is
    no UTF-8, even if that is only opened. Then the folder is compared with itself now and then,
    which notices changes alone, and it is read as a whole when it gives up at one of these.
    """
    from watchfiles import DefaultFilter
    from watchfiles import watch as changes_of

    polls, stop = False, stop or threading.Event()
    while not stop.is_set():
        mounted = _mounted(root)
        if not mounted:
            yield None
            while not _mounted(root) and not stop.wait(_SETTLE_MS / 1000):
                pass
            continue
        is_new, looked = True, monotonic()
        try:
            for changes in changes_of(
                root,
                watch_filter=None if takes_all else DefaultFilter(),
                debounce=2 * _SETTLE_MS,
                step=_SETTLE_MS,
                rust_timeout=50,
                yield_on_timeout=True,
                stop_event=stop,
                raise_interrupt=True,
                force_polling=True if polls else None,
                poll_delay_ms=_SETTLE_MS,
            ):
                if is_new:
                    yield None
                    is_new = False
                yield [path for _, path in changes]
                if monotonic() - looked > _SETTLE_MS / 1000:
                    looked = monotonic()
                    if _mounted(root) != mounted:
                        break
        except FileNotFoundError:  # the folder has gone just now
            continue
        except RuntimeError as exc:  # the one that watchfiles' native part raises
            if "decode path" not in str(exc):
                raise
            polls = True


def _mounted(root: Path) -> tuple[object, ...]:
    """Which folder it is, and what is mounted below it; empty where it is not there."""
    try:
        status = root.stat()
    except OSError:
        return ()
    below: list[str] = []
    with contextlib.suppress(OSError):  # only Linux has it
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
        start = str(root).rstrip("/").replace(" ", "\\040") + "/"
        below = [line for line in mounts if line.split(" ")[4].startswith(start)]
    return (status.st_dev, status.st_ino, *below)


def _take_in(
    index: Index,
    root: Path,
    folders: Iterable[Path],
    options: IngestOptions,
    on_report: Callable[[IngestReport], None] | None,
) -> None:
    before = index.away()  # what was away stays so, until somebody prunes
    reports: list[tuple[FolderSource, IngestReport]] = []
    for folder in folders:
        source = FolderSource(
            folder,
            exclude=options.exclude,
            all_files=options.all_files,
            within=root,
            may_be_empty=True,
        )
        try:
            reports.append((source, index.add(source, options=options)))
        except SourceError as exc:  # a drive or share that fails now may work later
            reports.append((source, IngestReport(notes=(str(exc),))))
    with index.writer(wait=True) as writer:
        for source, report in reports:
            ended = settle_away(writer, source, prune=True, single=True, spared=before)
            if on_report is not None:
                on_report(
                    dataclasses.replace(
                        report,
                        pruned=ended.removed,
                        away=ended.away,
                        notes=tuple(dict.fromkeys((*report.notes, *ended.remarks))),
                    )
                )


def _judge(index: Index, root: Path, options: IngestOptions) -> FolderSource:
    """The whole folder, with the rules that count for it now."""
    source = FolderSource(root, exclude=options.exclude, all_files=options.all_files)
    rules, base, _, _ = settled(source.asked, source.place, index.get_meta(RULES) or {})
    source.settle(rules, base)
    return source


def _changed_folders(root: Path, paths: Iterable[Path]) -> list[Path]:
    """The folders to read again: those that hold a change, without those below another one."""
    changed: set[Path] = set()
    for path in paths:
        folder = path.parent
        while folder != root and not folder.is_dir():  # a whole folder has gone
            folder = folder.parent
        if folder == root or root in folder.parents:
            changed.add(folder)
    return sorted(f for f in changed if not any(parent in changed for parent in f.parents))
