"""The output formats of the commands; each command offers what it can print, and nothing else."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

import typer

from ..names import shown, without_bytes

__all__ = [
    "HitsFormat",
    "HitsOutput",
    "ReportFormat",
    "ReportOutput",
    "RowsFormat",
    "RowsOutput",
    "print_csv",
]

_HELP = "Output format."


ReportFormat = Literal["table", "json"]  # of facts and figures
RowsFormat = Literal["table", "json", "csv"]  # of a list of results
HitsFormat = Literal["table", "json", "jsonl", "paths"]

ReportOutput = Annotated[ReportFormat, typer.Option("-f", "--format", help=_HELP)]
RowsOutput = Annotated[RowsFormat, typer.Option("-f", "--format", help=_HELP)]
HitsOutput = Annotated[HitsFormat, typer.Option("-f", "--format", help=_HELP)]


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    r"""Print as CSV, numbers as they are, stray bytes of names as `\xHH`.

    On a terminal, what could move the cursor is escaped too.
    """
    writer = csv.writer(sys.stdout)
    for row in (columns, *rows):
        writer.writerow([_cell(value) if isinstance(value, str) else value for value in row])


def _cell(text: str) -> str:
    return shown(text) if sys.stdout.isatty() else without_bytes(text)
