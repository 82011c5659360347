"""The output formats of the commands; each command offers what it can print, and nothing else."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated

import typer

__all__ = ["ExportFormat", "ReportFormat", "ReportOutput", "RowsFormat", "RowsOutput", "print_csv"]

_HELP = "Output format."


class ReportFormat(StrEnum):
    """How facts and figures are printed."""

    table = "table"
    json = "json"


class RowsFormat(StrEnum):
    """How a list of results is printed."""

    table = "table"
    json = "json"
    csv = "csv"


class ExportFormat(StrEnum):
    """What an index can be written as."""

    parquet = "parquet"
    faiss = "faiss"


ReportOutput = Annotated[ReportFormat, typer.Option("-f", "--format", help=_HELP)]
RowsOutput = Annotated[RowsFormat, typer.Option("-f", "--format", help=_HELP)]


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print as CSV, numbers as they are."""
    writer = csv.writer(sys.stdout)
    writer.writerow(columns)
    writer.writerows(rows)
