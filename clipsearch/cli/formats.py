"""The output formats of the commands; each command offers what it can print, and nothing else."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

import typer

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
    """Print as CSV, numbers as they are."""
    writer = csv.writer(sys.stdout)
    writer.writerow(columns)
    writer.writerows(rows)
