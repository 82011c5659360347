"""Keeping an index in step with a folder while its files come, change and go."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import SourceError
from .ingest import IngestOptions, prune
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
        options: How to work; items whose files are gone are always removed.
        on_report: Called after every change that was taken in.
        ready: Called once the folder is up to date and watched.
        stop: Ends the watching.

    Raises:
        SourceError: The folder is not there.
        KeyboardInterrupt: Ctrl-C.
    """
    from watchfiles import DefaultFilter, watch as changes_of  # noqa: I001 - one import, two names

    root = Path(folder).expanduser().resolve()
    if not root.is_dir():
        raise SourceError(f"nothing to watch at {root}; give a folder")
    wanted = dataclasses.replace(options or IngestOptions(), prune=False, wait=True)
    first = True
    for changes in changes_of(
        root,
        watch_filter=DefaultFilter(),
        debounce=2 * _SETTLE_MS,
        step=_SETTLE_MS,
        rust_timeout=100 if stop is None else 50,
        yield_on_timeout=True,
        stop_event=stop,
        raise_interrupt=True,
    ):
        if first:  # the watcher is at work by now
            _take_in(index, root, [root], wanted, on_report)
            first = False
            if ready is not None:
                ready()
        if changes:
            folders = _changed_folders(root, (Path(path) for _, path in changes))
            if folders:
                _take_in(index, root, folders, wanted, on_report)


def _take_in(
    index: Index,
    root: Path,
    folders: Iterable[Path],
    options: IngestOptions,
    on_report: Callable[[IngestReport], None] | None,
) -> None:
    taken: dict[str | None, IngestReport] = {}
    for folder in folders:
        source = FolderSource(folder, exclude=options.exclude, within=root, may_be_empty=True)
        taken[source.root] = index.add(source, options=options)
    with index.writer(wait=True) as writer:
        reports = [
            dataclasses.replace(report, pruned=prune(writer, folder))
            for folder, report in taken.items()
        ]
    for report in reports:
        if on_report is not None:
            on_report(report)


def _changed_folders(root: Path, paths: Iterable[Path]) -> list[Path]:
    """The folders to read again: those that hold a change, without those below another one."""
    changed: set[Path] = set()
    for path in paths:
        folder = path.parent
        while folder != root and not folder.is_dir():  # a whole folder has gone
            folder = folder.parent
        inside = folder == root or root in folder.parents
        if inside and not any(part.startswith(".") for part in path.relative_to(root).parts):
            changed.add(folder)
    return sorted(f for f in changed if not any(parent in changed for parent in f.parents))
