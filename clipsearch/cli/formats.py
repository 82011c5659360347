"""The output formats of the commands; each command offers what it can print, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

import typer

from ..spreadsheet import write_csv

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
    """Print as CSV that is harmless in a terminal and in a spreadsheet."""
    write_csv(sys.stdout, [columns, *rows])
