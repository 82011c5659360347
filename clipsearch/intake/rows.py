"""The rows of tables of every format, read in chunks: text, JSON lines, JSON, Parquet and Arrow."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import PurePath
from typing import IO, TYPE_CHECKING, Any

from ..engine.columns import EXPORTED, as_json, column_kind, from_arrow, kind_of_type, type_text
from ..errors import SourceError
from ..limits import MAX_DOCUMENT_BYTES, MAX_IMAGE_BYTES, MAX_LINE, WAITING_BYTES, over
from ..standards.texts import whole_characters
from . import coco
from .arrow_batches import SmallBatches, in_pieces
from .dialects import Dialect, encoding_of, lines_of, opened_text, sniffed
from .layouts import KNOWN_NAMES, Asked, ColumnType, Layout, find_layout, listed, unique_names
from .parquet_cells import TooLarge, large_columns, nested_texts
from .text_types import TextType, typed_columns

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = [
    "TABLE_SUFFIXES",
    "Bad",
    "BatchRows",
    "Row",
    "Rows",
    "arrow_column",
    "arrow_layout",
    "batch_rows",
    "open_rows",
    "table_suffix",
]

_TEXT_SUFFIXES = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".psv": "|"}
_JSON_LINES = (".jsonl", ".ndjson")
_PARQUET = (".parquet", ".pq")
_ARROW = (".arrow", ".feather")
TABLE_SUFFIXES = frozenset((*_TEXT_SUFFIXES, *_JSON_LINES, *_PARQUET, *_ARROW, ".json"))
_PACKED = (*_TEXT_SUFFIXES, *_JSON_LINES, ".json")  # that may be packed as .gz
_CHUNK = 1000  # rows
_IMAGES_AT_ONCE = 64  # rows of a table that holds the bytes of images
_BUFFER = 1024 * 1024  # bytes of a column of Parquet read at a time; by default all of it
_LOOKED_AT = 100  # rows in which the columns of JSON lines are looked for


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that could not be read."""

    reason: str


Row = Mapping[str, Any] | Bad  # names of columns and values; absent ones may be left out


class _Unpacked(io.BufferedReader):
    """A packed file as it is unpacked; closing it closes the file."""

    def __init__(self, packed: IO[bytes]) -> None:
        super().__init__(gzip.GzipFile(fileobj=packed))
        self._packed = packed

    def close(self) -> None:
        super().close()
        self._packed.close()


class Rows:
    """The rows of a table, which can be read again and again.

    `image` and `caption` come as the table has them, other values as an index keeps them.
    """

    layout: Layout
    notes: Sequence[str] = ()
    folders: Sequence[str] = ()  # where the images are looked for, relative to the table

    def __iter__(self) -> Iterator[Row]:
        raise NotImplementedError


def table_suffix(name: str) -> str | None:
    """The suffix that says a table's format, in lower case; None for what is no table."""
    path = PurePath(name)
    suffix = path.suffix.lower()
    if suffix == ".gz" and PurePath(path.stem).suffix.lower() in _PACKED:
        return PurePath(path.stem).suffix.lower()
    return suffix if suffix in TABLE_SUFFIXES else None


def open_rows(open_file: Callable[[], IO[bytes]], name: str, asked: Asked) -> Rows:
    """Look at a table: its format, its columns, and for a text table their types.

    Args:
        open_file: Opens the file.
        name: Its path or URL, whose suffix says the format.
        asked: The columns that the user named.

    Raises:
        SourceError: It cannot be read, is empty, or lacks a column.
    """
    suffix = table_suffix(name) or PurePath(name).suffix.lower()

    def opened() -> IO[bytes]:
        stream = open_file()
        start = stream.read(2)
        stream.seek(0)
        return _Unpacked(stream) if start == b"\x1f\x8b" else stream

    try:
        if suffix in _PARQUET:
            return _ParquetRows(open_file, name, asked)
        if suffix in _ARROW:
            return _ArrowRows(open_file, name, asked)
        if suffix == ".json":
            return _json_rows(opened, name, asked)
        if suffix in _JSON_LINES:
            return _LineRows(opened, name, asked)
        return _TextRows(opened, name, asked, _TEXT_SUFFIXES.get(suffix, ","))
    except (EOFError, gzip.BadGzipFile, csv.Error) as exc:
        raise SourceError(f"cannot read the table {name}: {exc}") from exc


# --- text ---------------------------------------------------------------------------------------


class _TextRows(Rows):
    """CSV, TSV and their kin."""

    def __init__(
        self, open_file: Callable[[], IO[bytes]], name: str, asked: Asked, usual: str
    ) -> None:
        csv.field_size_limit(MAX_LINE)
        self._open, self._name = open_file, name
        named = [one.strip().lower() for one in (asked.image, asked.caption, asked.id) if one]
        with open_file() as stream:
            dialect = sniffed(stream, usual, KNOWN_NAMES | set(named))
        if dialect is None:
            raise SourceError(f"{name} is empty")
        self._dialect = dialect
        rows = self._rows()
        header = next(rows)
        self._names, notes = unique_names(header)
        sample = list(itertools.islice(rows, _LOOKED_AT))
        rows.close()
        if (
            self._names
            and not header[-1].strip()
            and not any(len(row) >= len(header) and row[-1].strip() for row in sample)
        ):
            self._names.pop()  # every line ends with a separator
        try:
            layout = find_layout(asked, self._names, name)
        except SourceError as exc:
            raise SourceError(f"{exc} (read with {self._dialect.told()})") from exc
        self._width = len(self._names)
        kept = dict.fromkeys(one for one in (layout.image, layout.caption) if one)
        unclosed = list[str]()
        types = typed_columns(self._rows(1, unclosed), self._names, kept)
        self._readers = {
            at: types[column].reader()
            for at, column in enumerate(self._names)
            if types[column].name not in ("text", "decimal")
        }
        self.layout = replace(
            layout,
            types={
                column: _text_column(kind) for column, kind in types.items() if column not in kept
            },
        )
        self.notes = [*([self._told()] if self._is_odd(usual) else ()), *notes]
        if unclosed:
            self.notes.append(
                f"{PurePath(name).name} has a quotation mark that is never closed, in "
                f"{unclosed[0].strip()[:80]!r}; it and what follows were read line by line"
            )

    def _is_odd(self, usual: str) -> bool:
        dialect = self._dialect
        plain = dialect.encoding in ("utf-8", "utf-8-sig") and dialect.errors == "strict"
        return dialect.separator != usual or not (plain or dialect.encoding == "utf-8-sig")

    def _told(self) -> str:
        damaged = ", with damaged bytes replaced" if self._is_damaged() else ""
        return (
            f"{PurePath(self._name).name} was read with {self._dialect.told()}{damaged}; "
            f"columns: {listed(self._names)}"
        )

    def _is_damaged(self) -> bool:
        return self._dialect.encoding == "utf-8" and self._dialect.errors == "replace"

    def _rows(self, start: int = 0, unclosed: list[str] | None = None) -> Any:
        """Fields of the rows that are not blank, from the header or the one after it."""
        dialect = self._dialect
        with self._open() as stream:
            text = opened_text(stream, dialect.encoding, dialect.errors)
            try:
                yield from itertools.islice(dialect.rows(lines_of(text), unclosed), start, None)
            except (csv.Error, UnicodeError) as exc:  # of a file that changes meanwhile, too
                raise SourceError(
                    f"cannot read the table {self._name}: {exc} (with {dialect.told()})"
                ) from exc
            finally:
                text.detach()  # whoever opened the stream closes it

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows(start=1):
            if len(row) > self._width and any(field.strip() for field in row[self._width :]):
                yield Bad(f"{len(row)} fields in a table of {self._width}: {' '.join(row)[:80]!r}")
                continue
            values: dict[str, Any] = {}
            for at, (column, text) in enumerate(zip(self._names, row, strict=False)):
                if text:
                    reader = self._readers.get(at)
                    values[column] = text if reader is None else reader(text)
            yield values


def _text_column(kind: TextType) -> ColumnType:
    import pyarrow as pa

    types: dict[str, Any] = {
        "integer": pa.int64(), "unsigned": pa.uint64(), "number": pa.float64(),
        "boolean": pa.bool_(),
    }  # fmt: skip
    if kind.name != "decimal":
        arrow = types.get(kind.name, pa.string())
        return ColumnType(type_text(arrow), kind_of_type(arrow))
    fixed = kind.places is not None and kind.digits <= 38
    arrow = pa.decimal128(max(kind.digits, 1), kind.places) if fixed else pa.string()
    return ColumnType(type_text(arrow), "decimal")


# --- JSON ---------------------------------------------------------------------------------------


class _LineRows(Rows):
    """JSON lines."""

    def __init__(self, open_file: Callable[[], IO[bytes]], name: str, asked: Asked) -> None:
        self._open, self._name = open_file, name
        with open_file() as stream:
            self._encoding, self._errors = encoding_of(stream)
        sample = list(itertools.islice(self._lines(), _LOOKED_AT))
        if not sample:
            raise SourceError(f"{name} has no rows")
        objects = [row for row in sample if not isinstance(row, Bad)]
        self.layout = _layout_of(asked, objects, name) if objects else Layout(None, None)
        if self._encoding not in ("utf-8", "utf-8-sig"):
            encoding = Dialect(self._encoding).told().partition(" and ")[2]
            self.notes = [f"{PurePath(name).name} was read with {encoding}"]

    def _lines(self) -> Iterator[Row]:
        with self._open() as stream:
            text = opened_text(stream, self._encoding, self._errors, newline="\n")
            try:
                for line in lines_of(text):
                    if not line.strip():
                        continue
                    if len(line) > MAX_LINE:
                        yield Bad(f"a line of over {MAX_LINE:,} characters")
                        continue
                    try:
                        row = loads(line.lstrip("\ufeff"))
                    except (ValueError, RecursionError) as exc:
                        yield Bad(f"not valid JSON ({exc})")
                        continue
                    yield row if isinstance(row, dict) else Bad("not a JSON object")
            finally:
                text.detach()

    def __iter__(self) -> Iterator[Row]:
        return (_kept(row, self.layout) for row in self._lines())


class _ListedRows(Rows):
    """Objects that are in memory."""

    def __init__(
        self, rows: Sequence[Any], name: str, asked: Asked, folders: Sequence[str] = ()
    ) -> None:
        self._listed = rows
        self.folders = folders
        objects = [row for row in rows[:_LOOKED_AT] if isinstance(row, Mapping)]
        self.layout = _layout_of(asked, objects, name)

    def __iter__(self) -> Iterator[Row]:
        for row in self._listed:
            yield _kept(row, self.layout) if isinstance(row, Mapping) else Bad("not a JSON object")


def _layout_of(asked: Asked, rows: Sequence[Mapping[str, Any]], name: str) -> Layout:
    """The layout of objects, which need not have the same names."""
    names = dict.fromkeys(str(key) for row in rows for key in row)
    layout = find_layout(asked, list(names), name)
    if asked.id is None and not all(set(layout.ids) <= set(row) for row in rows):
        return replace(layout, ids=())
    return layout


def _json_rows(open_file: Callable[[], IO[bytes]], name: str, asked: Asked) -> Rows:
    """A JSON document: a list of objects, columns, or COCO's images and annotations."""
    with open_file() as stream:
        encoding, errors = encoding_of(stream)
        stream.seek(0)
        data = stream.read(MAX_DOCUMENT_BYTES + 1)
    if len(data) > MAX_DOCUMENT_BYTES:
        raise SourceError(
            f"{name} is {over(MAX_DOCUMENT_BYTES)} for a JSON document; write it as JSON lines"
        )
    text = data.decode(encoding, errors)
    del data
    try:
        document = loads(text)
    except (ValueError, RecursionError) as exc:
        if "Extra data" in str(exc):
            return _LineRows(open_file, name, asked)
        raise SourceError(f"{name} is not valid JSON: {exc}") from exc
    if coco.is_coco(document):
        return _ListedRows(coco.rows(document), name, asked, coco.folders(name))
    rows = _objects(document)
    if not rows:
        raise SourceError(
            f"{name} holds no table: a list of objects, an object of columns, or COCO's images "
            "and annotations are read"
        )
    return _ListedRows(rows, name, asked)


def _objects(document: Any) -> list[Any]:
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        return []
    lists = [v for v in document.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
    if len(lists) == 1:
        return lists[0]
    columns = list(document.values())
    lengths = {len(column) if isinstance(column, list) else -1 for column in columns}
    if len(lengths) == 1 and -1 not in lengths:
        return [dict(zip(document, row, strict=True)) for row in zip(*columns, strict=True)]
    if columns and all(isinstance(column, dict) for column in columns):  # as pandas writes it
        keys = list(dict.fromkeys(key for column in columns for key in column))
        return [{name: column.get(key) for name, column in document.items()} for key in keys]
    return []


def loads(text: str) -> Any:
    """A JSON document whose numbers lose no digit, without what cannot be stored."""
    return whole_characters(json.loads(text, parse_float=_exact), text)


def _exact(text: str) -> float | Decimal:
    value = float(text)
    if len(text) < 16 or not math.isfinite(value) or value == 0:
        return value
    return value if Decimal(repr(value)) == Decimal(text) else Decimal(text)


def _kept(row: Row, layout: Layout) -> Row:
    """A row with its extra values as an index keeps them."""
    if isinstance(row, Bad):
        return row
    raw = (layout.image, layout.caption)
    return {
        str(name): value if name in raw else as_json(value)
        for name, value in row.items()
        if value is not None
    }


# --- Arrow --------------------------------------------------------------------------------------


class BatchRows(Rows):
    """The rows of Arrow's record batches.

    Args:
        schema: Of the batches.
        name: The table's name, for messages.
        asked: The columns that the user named.
    """

    def __init__(self, schema: pa.Schema, name: str, asked: Asked) -> None:
        self.layout, self.notes = arrow_layout(schema, name, asked)
        self._names = unique_names(schema.names)[0]
        image = self.layout.image
        kind = None if image is None else schema.field(self._names.index(image)).type
        self.holds_images = kind is not None and _may_hold_images(kind)

    def rows_at_once(self) -> int:
        """How many rows a batch should have."""
        return _IMAGES_AT_ONCE if self.holds_images else _CHUNK


def batch_rows(
    batch: pa.RecordBatch, names: Sequence[str], layout: Layout, at_once: int = _CHUNK
) -> Iterator[Row]:
    """The rows of one batch, of which at most `at_once` are in memory as values of Python."""
    used = layout.used()
    for some, size in in_pieces(batch, at_once):
        if size > MAX_IMAGE_BYTES:
            yield _too_large(size)
            continue
        columns: dict[str, list[Any]] = {}
        for at, name in enumerate(names):
            column = some.column(at)
            if name in (layout.image, layout.caption, layout.place, layout.key):
                columns[name] = column.to_pylist()
            elif name not in used or name in layout.ids:
                columns[name] = from_arrow(column)
        for at in range(len(some)):
            yield {
                name: value for name, column in columns.items() if (value := column[at]) is not None
            }


def _too_large(size: int) -> Bad:
    return Bad(f"a row of {size:,} bytes, {over(MAX_IMAGE_BYTES)}")


def arrow_layout(schema: pa.Schema, name: str, asked: Asked) -> tuple[Layout, list[str]]:
    """The layout of an Arrow table, and notes on it; an export of an index says its own.

    Raises:
        SourceError: A column is missing, or none can be the image.
    """
    names, notes = unique_names(schema.names)
    types = {column: arrow_column(field) for column, field in zip(names, schema, strict=True)}
    said = (schema.metadata or {}).get(EXPORTED)
    if said is not None and asked == Asked():
        layout = _exported(json.loads(said))
    else:
        holders = [
            column
            for column, field in zip(names, schema, strict=True)
            if _is_image_struct(field.type)
        ]
        layout = find_layout(asked, names, name, likely_image=next(iter(holders), None))
        others = [column for column in holders if column != layout.image]
        if others:
            notes.append(f"further images of {name} are left out: {', '.join(others)}")
        layout = replace(layout, left_out=frozenset(others))
    return replace(layout, types=types), notes


def _exported(said: Mapping[str, Any]) -> Layout:
    """The layout of a table that an export of an index wrote."""
    own = said["own"]
    return Layout(
        own["path"],
        own["caption"],
        place=own["place"],
        key=own["key"],
        left_out=frozenset((*own.values(), *said["roles"])),
        tables=said["tables"],
    )


def arrow_column(field: pa.Field) -> ColumnType:
    """What is known of a column of an Arrow schema."""
    return ColumnType(type_text(field.type), column_kind(field))


def _is_image_struct(kind: pa.DataType) -> bool:
    """Whether it is `struct{bytes, path}`, as datasets store images."""
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return bool(pa.types.is_struct(kind)) and {field.name for field in kind} == {"bytes", "path"}


def _may_hold_images(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if _is_image_struct(kind):
        return True
    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    )


class _ParquetRows(BatchRows):
    """Parquet."""

    def __init__(self, open_file: Callable[[], IO[bytes]], name: str, asked: Asked) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._open, self._name = open_file, name
        try:
            with open_file() as stream:
                schema = pq.ParquetFile(stream).schema_arrow
        except (pa.ArrowException, OSError, ValueError) as exc:
            raise SourceError(f"cannot read the table {name}: {exc}") from exc
        super().__init__(schema, name, asked)

    def __iter__(self) -> Iterator[Row]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with self._open() as stream:
                nested = nested_texts(pq.ParquetFile(stream, pre_buffer=False))
                table = pq.ParquetFile(
                    stream, pre_buffer=False, buffer_size=_BUFFER, read_dictionary=nested
                )
                for group in range(table.num_row_groups):
                    yield from self._group(table, group, stream)
        except (pa.ArrowException, OSError, ValueError, IndexError, RuntimeError) as exc:
            raise SourceError(f"cannot read the table {self._name}: {exc}") from exc

    def _group(self, table: pq.ParquetFile, group: int, file: IO[bytes]) -> Iterator[Row]:
        """The rows of a row group; columns with large values are read value by value."""
        image = self._names.index(self.layout.image) if self.layout.image else None
        found = large_columns(
            table, group, file, lambda at: MAX_IMAGE_BYTES if at == image else MAX_LINE
        )
        large = {self._names[at]: values for at, values in found.columns.items()}
        names = [name for name in self._names if name not in large]
        columns = [
            own for at, own in enumerate(table.schema_arrow.names) if at not in found.columns
        ]
        rows_at_once = min(self.rows_at_once(), max(1, WAITING_BYTES // found.largest))
        rows: Iterator[Row] = (
            row
            for batch in table.iter_batches(
                rows_at_once, row_groups=[group], columns=columns if large else None
            )
            for row in batch_rows(batch, names, self.layout, rows_at_once)
        )
        if not columns:
            rows = ({} for _ in range(table.metadata.row_group(group).num_rows))
        for row in rows:
            yield self._with(row, {name: next(values) for name, values in large.items()})

    def _with(self, row: Row, large: Mapping[str, Any]) -> Row:
        """A row with the large values that belong to it."""
        if isinstance(row, Bad):
            return row
        unused = self.layout.used() - {self.layout.image, self.layout.caption, *self.layout.ids}
        values = dict(row)
        for name, value in large.items():
            if isinstance(value, TooLarge):
                return Bad(f"{name!r} has {value.size:,} bytes, {over(value.most)}")
            if value is not None and name not in unused:
                is_raw = name in (self.layout.image, self.layout.caption)
                values[name] = value if is_raw else as_json(value)
        return values


class _ArrowRows(BatchRows):
    """Arrow's own files and streams, as datasets and Feather write them."""

    def __init__(self, open_file: Callable[[], IO[bytes]], name: str, asked: Asked) -> None:
        self._open, self._name = open_file, name
        with self._read() as (batches, _):
            super().__init__(batches.schema, name, asked)

    @contextlib.contextmanager
    def _read(self) -> Iterator[tuple[pa.RecordBatchReader, Mapping[int, int]]]:
        """The batches, and which rows are left out of them because they are too large."""
        import pyarrow as pa

        try:
            with self._open() as file:
                small = SmallBatches(file)
                yield pa.ipc.open_stream(small.stream()), small.left_out
        except SourceError:
            raise
        except (pa.ArrowException, OSError, ValueError, RuntimeError, ArithmeticError) as exc:
            raise SourceError(f"cannot read the table {self._name}: {exc}") from exc

    def __iter__(self) -> Iterator[Row]:
        number = 0
        with self._read() as (batches, left_out):
            for batch in batches:
                batch.validate(full=True)  # or what it says of itself is believed
                for row in batch_rows(batch, self._names, self.layout, self.rows_at_once()):
                    while number in left_out:
                        yield _too_large(left_out[number])
                        number += 1
                    yield row
                    number += 1
            while number in left_out:
                yield _too_large(left_out[number])
                number += 1
