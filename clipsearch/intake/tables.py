"""Tables of image-text pairs: CSV, TSV, JSON lines and Parquet, read in chunks."""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import itertools
import json
import math
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO, Any

from ..errors import SourceError
from .pairs import Pair, Source, clean_text
from .places import open_place

__all__ = ["TABLE_SUFFIXES", "TableSource"]

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".pq"})
_CHUNK = 1000  # rows
_MAX_FIELD = 16 * 1024 * 1024  # characters of one field
_IMAGE_NAMES = (
    "image", "image_path", "path", "file", "filename", "file_name", "filepath", "file_path",
    "img", "img_path", "image_file", "image_name", "photo", "picture",
)  # fmt: skip
_CAPTION_NAMES = ("caption", "text", "description", "title", "sentence", "alt", "alt_text")
_ID_NAMES = ("id", "uid", "image_id", "key", "uuid")


@dataclass(frozen=True, slots=True)
class _Bad:
    """A row that could not be read."""

    reason: str


_Row = Mapping[str, Any] | _Bad


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which column is what."""

    image: str | None
    caption: str | None
    id: str | None


class TableSource(Source):
    """The rows of a table, in order; a row's key is `table.csv#ID`.

    Args:
        table: Path or fsspec URL; the suffix says the format.
        images: Column with the image: a path relative to the table, or bytes. By default the
            first of the usual names (`image`, `path`, `filename`, ...).
        captions: Column with the caption. By default the first of the usual names, if any.
        ids: Column that identifies a row. By default `id`, `uid`, ... if any; else the number of
            the row, from 1.
        outside: Whether images may lie outside the table's folder.

    Raises:
        SourceError: A column is missing, or the table cannot be read.
    """

    def __init__(
        self,
        table: str | os.PathLike[str],
        *,
        images: str | None = None,
        captions: str | None = None,
        ids: str | None = None,
        outside: bool = False,
    ) -> None:
        self._place = open_place(table)
        self._asked = _Columns(images, captions, ids)
        self._outside = outside

    def __iter__(self) -> Iterator[Pair]:
        columns: _Columns | None = None
        seen = _SeenIds()
        number = 0
        with self._place.open() as stream:
            for number, row in enumerate(_rows(stream, self._place.name, self._as_text), 1):
                if isinstance(row, _Bad):
                    yield Pair(key=f"{self._place.name}#row {number}", refused=row.reason)
                    continue
                if columns is None:
                    columns = _find_columns(self._asked, list(row), self._place.name)
                yield self._pair(row, number, columns, seen)
        if number == 0:
            raise SourceError(f"{self._place.name} has no rows")

    def _as_text(self, names: list[str]) -> set[str]:
        """The columns whose values stay as they are written."""
        columns = _find_columns(self._asked, names, self._place.name)
        return {name for name in (columns.image, columns.caption, columns.id) if name}

    def _pair(self, row: Mapping[str, Any], number: int, columns: _Columns, seen: _SeenIds) -> Pair:
        name: Any = number
        if columns.id is not None:
            name = row.get(columns.id)
            if name is None or not str(name).strip():
                key = f"{self._place.name}#row {number}"
                return Pair(key=key, refused=f"no {columns.id!r} in the row")
            if not seen.add(str(name)):
                key = f"{self._place.name}#row {number}"
                return Pair(key=key, refused=f"the id {str(name)[:80]!r} came before")
        key = f"{self._place.name}#{name}"
        caption = row.get(columns.caption) if columns.caption else None
        image, refused = self._image(row.get(columns.image) if columns.image else None)
        known = {columns.image, columns.caption, columns.id}
        return Pair(
            key=key,
            image=image,
            caption=clean_text(str(caption)) if caption is not None else None,
            extra={name: value for name, value in row.items() if name not in known},
            refused=refused,
        )

    def _image(self, value: Any) -> tuple[str | bytes | None, str | None]:
        if isinstance(value, Mapping):  # {"bytes": ..., "path": ...}, as datasets store it
            value = value.get("bytes") or value.get("path")
        if value is None or value == "":
            return None, None
        if isinstance(value, bytes):
            return value, None
        if not isinstance(value, str):
            return None, f"the image is a {type(value).__name__}, not a path"
        if "\0" in value:
            return None, "the path contains a NUL character"
        return self._place.image(value, outside=self._outside)


class _SeenIds:
    """Which ids came before, in a scratch file of SQLite's, so that memory stays bounded."""

    def __init__(self) -> None:
        self._conn = sqlite3.connect("", check_same_thread=False)
        self._conn.execute("CREATE TABLE seen (id TEXT PRIMARY KEY) WITHOUT ROWID")

    def add(self, name: str) -> bool:
        """Whether the id is new."""
        value = name.encode("utf-8", "surrogatepass")
        return self._conn.execute("INSERT OR IGNORE INTO seen VALUES (?)", [value]).rowcount == 1


def _find_columns(asked: _Columns, names: list[str], table: str) -> _Columns:
    def find(wanted: str | None, usual: Iterable[str], what: str) -> str | None:
        if wanted is not None:
            if wanted not in names:
                there = ", ".join(map(str, names[:20]))
                raise SourceError(
                    f"{table} has no column {wanted!r} for {what}; there are: {there}"
                )
            return wanted
        by_lower = {str(name).strip().lower(): name for name in reversed(names)}
        return next((by_lower[name] for name in usual if name in by_lower), None)

    image = find(asked.image, _IMAGE_NAMES, "images")
    caption = find(asked.caption, _CAPTION_NAMES, "captions")
    if image is None and asked.caption is None:
        there = ", ".join(map(str, names[:20]))
        raise SourceError(
            f"{table} has no column that is known to name images; choose one with --images: {there}"
        )
    return _Columns(image, caption, find(asked.id, _ID_NAMES, "ids"))


def _rows(stream: IO[bytes], name: str, as_text: Callable[[list[str]], set[str]]) -> Iterator[_Row]:
    """Rows as dicts of column names and plain values; absent values are left out."""
    suffix = PurePath(name).suffix.lower()
    if suffix in (".parquet", ".pq"):
        rows = _parquet_rows(stream, name)
    elif suffix in (".jsonl", ".ndjson"):
        rows = _json_rows(stream)
    else:
        rows = _text_rows(stream, "\t" if suffix == ".tsv" else ",", name, as_text)
    first = True
    for row in rows:
        if isinstance(row, _Bad):
            yield row
            continue
        # The first row keeps its empty columns, since it tells which columns there are.
        yield {
            str(key): value
            for key, raw in row.items()
            if (value := _plain(raw)) is not None or first
        }
        first = False


def _text_rows(
    stream: IO[bytes], separator: str, name: str, as_text: Callable[[list[str]], set[str]]
) -> Iterator[_Row]:
    """CSV and TSV: split by `csv`, which tells bad rows, and typed by pandas a chunk at a time."""
    csv.field_size_limit(_MAX_FIELD)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="")
    if separator == ",":
        reader = csv.reader(text)
    else:
        reader = csv.reader(text, delimiter=separator, quoting=csv.QUOTE_NONE)
    try:
        header = next(reader, None)
        if not header:
            raise SourceError(f"{name} is empty")
        texts = as_text(header)
        while chunk := list(itertools.islice(reader, _CHUNK)):
            yield from _typed([row for row in chunk if row], header, texts)
    except csv.Error as exc:
        raise SourceError(f"cannot read the table {name}: {exc}") from exc
    finally:
        text.detach()  # whoever opened the stream closes it


def _typed(chunk: list[list[str]], header: list[str], texts: set[str]) -> Iterator[_Row]:
    """Rows of strings as dicts; columns not in `texts` may be numbers or truth values."""
    import pandas as pd

    width = len(header)
    good = [row + [""] * (width - len(row)) for row in chunk if len(row) <= width]
    columns: dict[str, Any] = {}
    for position, column in enumerate(header):
        values = pd.Series([row[position] for row in good], dtype=object)
        values[values == ""] = None
        if column not in texts:
            with contextlib.suppress(ValueError, TypeError, OverflowError):
                values = pd.to_numeric(values).astype(object)
            given = {str(value).lower() for value in values if value is not None}
            if given and given <= {"true", "false"}:
                values = values.map(lambda v: None if v is None else v.lower() == "true")
        columns[column] = values.tolist()
    typed = iter(zip(*columns.values(), strict=True))
    for row in chunk:
        if len(row) > width:
            yield _Bad(f"{len(row)} fields in a table of {width}: {' '.join(row)[:80]!r}")
        else:
            yield dict(zip(columns, next(typed), strict=True))


def _json_rows(stream: IO[bytes]) -> Iterator[_Row]:
    for line in stream:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as exc:
            yield _Bad(f"not valid JSON ({exc})")
            continue
        yield row if isinstance(row, dict) else _Bad("not a JSON object")


def _parquet_rows(stream: IO[bytes], name: str) -> Iterator[_Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(stream).iter_batches(_CHUNK):
            yield from batch.to_pylist()
    except pa.ArrowException as exc:
        raise SourceError(f"cannot read the table {name}: {exc}") from exc


def _plain(value: Any) -> Any:
    """A value as JSON knows it; None for what is absent."""
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()  # of numpy
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    return value
