"""Types of the columns of a text table, which are decided once for a whole column.

A column is numeric, or of truth values, only where every text of it can be written again, character
by character, from the value: `01234`, `12E4`, `+5`, `1_000`, `NaN` and ` 5` make their column text.
Texts such as `1.50` stay as they are written and are compared as the exact decimals that they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["TextType", "typed_columns"]

_INTEGER = re.compile(r"-?[1-9][0-9]{0,19}|0", re.ASCII)
_DECIMAL = re.compile(r"(?!-0(?:\.0*)?$)-?(?:[1-9][0-9]*|0)(?:\.[0-9]+)?", re.ASCII)
_NUMBER_START = re.compile(r"-?[0-9]", re.ASCII)
_BOOLEANS: tuple[dict[str, Any], ...] = (
    {"true": True, "false": False},
    {"True": True, "False": False},
    {"TRUE": True, "FALSE": False},
)
_EXACT_FLOAT = 2**53


@dataclass(frozen=True, slots=True)
class TextType:
    """What the texts of a column are.

    Attributes:
        name: `integer`, `unsigned`, `number`, `decimal`, `boolean` or `text`.
        places: Of a decimal: digits after the point, where all have as many.
        digits: Of a decimal: digits at most.
    """

    name: str
    places: int | None = None
    digits: int = 0

    def reader(self) -> Callable[[str], Any]:
        """A function that gives the value of a text."""
        if self.name in ("integer", "unsigned"):
            return int
        if self.name == "number":
            return lambda text: int(text) if _INTEGER.fullmatch(text) else float(text)
        if self.name == "boolean":
            return lambda text: text[0] in "tT"
        return lambda text: text


class _Column:
    """What the texts of one column may be, as far as they have been seen."""

    __slots__ = (
        "booleans", "decimal", "digits", "floats", "integer", "largest", "number", "places", "seen",
        "smallest",
    )  # fmt: skip

    def __init__(self) -> None:
        self.seen = self.floats = False
        self.integer = self.number = self.decimal = True
        self.booleans = [*_BOOLEANS]
        self.smallest = self.largest = self.digits = 0
        self.places: set[int] = set()

    def is_text(self) -> bool:
        return not (self.number or self.decimal or self.booleans)

    def see(self, text: str) -> None:
        self.seen = True
        if self.booleans:
            self.booleans = [words for words in self.booleans if text in words]
        if not (self.number or self.decimal):
            return
        if not _NUMBER_START.match(text):
            self.integer = self.number = self.decimal = False
            return
        whole = _INTEGER.fullmatch(text) is not None
        if whole:
            value = int(text)
            self.smallest, self.largest = min(self.smallest, value), max(self.largest, value)
        else:
            self.integer = False
            self.floats = True
            self.number = self.number and _is_float(text)
        if self.decimal:
            self.decimal = whole or _DECIMAL.fullmatch(text) is not None
            point = text.find(".")
            self.places.add(0 if point < 0 else len(text) - point - 1)
            self.digits = max(self.digits, len(text.lstrip("-").replace(".", "")))

    def type(self) -> TextType:
        if not self.seen:
            return TextType("text")
        if self.booleans:
            return TextType("boolean")
        if self.integer and self.smallest >= -(2**63) and self.largest < 2**63:
            return TextType("integer")
        if self.integer and self.smallest >= 0 and self.largest < 2**64:
            return TextType("unsigned")
        exact = max(-self.smallest, self.largest) <= _EXACT_FLOAT
        if self.number and self.floats and exact:
            return TextType("number")
        if self.decimal and self.digits <= 76:
            places = next(iter(self.places)) if len(self.places) == 1 else None
            return TextType("decimal", places, self.digits)
        return TextType("text")


def _is_float(text: str) -> bool:
    value = float(text) if text.isascii() and "_" not in text and _plain(text) else math.nan
    return math.isfinite(value) and repr(value) == text


def _plain(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def typed_columns(
    rows: Iterable[Sequence[str]], names: Sequence[str], as_text: Mapping[str, Any]
) -> dict[str, TextType]:
    """The types of all columns of a table, after a look at every row.

    Args:
        rows: Fields in the order of `names`; rows may be shorter. Empty texts are absent.
        names: The columns.
        as_text: Columns that stay text.
    """
    columns = [_Column() for _ in names]
    open_ones = [(at, columns[at]) for at, name in enumerate(names) if name not in as_text]
    for row in rows:
        width = len(row)
        ended = False
        for at, column in open_ones:
            if at < width and row[at]:
                column.see(row[at])
                ended = ended or column.is_text()
        if ended:
            open_ones = [(at, column) for at, column in open_ones if not column.is_text()]
    return {
        name: TextType("text") if name in as_text else column.type()
        for name, column in zip(names, columns, strict=True)
    }
