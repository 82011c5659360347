"""Tables as CSV of which a spreadsheet runs nothing."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from typing import TextIO

from .names import shown

__all__ = ["write_csv"]

# What begins a formula, a number excepted: at the start of a cell, and after what another program,
# or the same one in another country, takes for the start of a cell.
_FORMULA = re.compile(
    r"(?:^|(?<=[;\t\n]))(?=\s*[-=+@\uff0d\uff1d\uff0b\uff20]|\t)"
    r"(?!\s*[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\s*(?:[;\t\n]|$))"
)


def write_csv(file: TextIO, rows: Iterable[Sequence[object]]) -> None:
    """Write rows; a text that would be a formula gets an apostrophe before it.

    Numbers, line feeds and tabs stay as they are; the rest that acts on a terminal is escaped.
    """
    csv.writer(file).writerows([_cell(value) for value in row] for row in rows)


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    return _FORMULA.sub("'", shown(value, lines=True))
