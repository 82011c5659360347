"""What all commands print with: notes on stderr, tables and JSON on stdout, and exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..names import json_text, shown
from ..types import Hit, Item

__all__ = [
    "EXIT_ERROR",
    "EXIT_INTERRUPTED",
    "EXIT_SKIPPED",
    "human_bytes",
    "note",
    "print_hit_table",
    "print_item_table",
    "print_json",
    "print_paths",
    "print_table",
    "short_path",
]

EXIT_ERROR = 1
EXIT_SKIPPED = 3
EXIT_INTERRUPTED = 130
_PIPE_WIDTH = 500  # a table that is not on a terminal is not cut


def note(text: str) -> None:
    """One line for the person, on stderr; what a name in it could do to a terminal is escaped."""
    print(shown(text), file=sys.stderr, flush=True)


def print_json(document: Any, *, indent: int | None = 2) -> None:
    """One JSON document on stdout."""
    print(json_text(document, indent=indent))


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str | None = None,
    right: Sequence[str] = (),
) -> None:
    """A table on stdout; the columns named in `right` are set flush right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)
    named = None if title is None else Text(shown(title))
    table = Table(title=named, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(cell, lines=True)) for cell in row))
    console.print(table)


def print_hit_table(hits: Iterable[Hit]) -> None:
    """Hits as a table for a person."""
    rows = [
        [
            f"{hit.score:.3f}",
            "" if hit.percentile is None else f"{hit.percentile:.1f} %",
            str(hit.item.id),
            short_path(hit.item.path or hit.item.key),
            (hit.item.caption or "")[:80],
        ]
        for hit in hits
    ]
    print_table(["score", "better than", "id", "image", "caption"], rows, right=["id"])


def print_item_table(items: Iterable[Item]) -> None:
    """Items as a table for a person."""
    rows = [
        [
            (item.taken_at or "").replace("T", " "),
            "" if item.size_bytes is None else human_bytes(item.size_bytes),
            str(item.id),
            short_path(item.path or item.key),
            (item.caption or "")[:80],
        ]
        for item in items
    ]
    print_table(["date", "size", "id", "image", "caption"], rows, right=["size", "id"])


def print_paths(paths: Iterable[str], *, null: bool) -> None:
    """Paths on stdout: one a line and escaped, or as they are and each ended by NUL."""
    if not null:
        print("".join(f"{shown(path)}\n" for path in paths), end="")
        return
    text = "".join(f"{path}\0" for path in paths)
    if not hasattr(sys.stdout, "buffer"):  # what a program put in its place
        sys.stdout.write(text)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(text))
    sys.stdout.buffer.flush()


def short_path(path: str | None) -> str:
    """The shortest form of a path, for a person: relative to the working folder, home, or whole."""
    if path is None:
        return ""
    for base, prefix in ((Path.cwd, ""), (Path.home, f"~{os.sep}")):
        with contextlib.suppress(OSError, RuntimeError, ValueError):  # no such folder; not below it
            return shown(prefix + str(Path(path).relative_to(base())))
    return shown(path)


def human_bytes(size: float) -> str:
    """1536 as "1.5 KB"."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"
