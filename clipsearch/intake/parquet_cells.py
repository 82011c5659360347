"""The texts and bytes in a Parquet column, one after the other, whatever the size of its pages.

Arrow reads and unpacks whole pages, and a page may hold a gigabyte of photos, or say so in a few
bytes. Here the values of such a page are read one by one; one that is compressed is unpacked to a
scratch file.

Source: https://parquet.apache.org/docs/file-format/ and the Thrift compact protocol.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from ..limits import MAX_DOCUMENT_BYTES, MAX_IMAGE_BYTES, WAITING_BYTES, over

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["LargeColumns", "TooLarge", "large_columns", "nested_texts", "value_at"]

_PIECE = 1024 * 1024
_DATA, _DICTIONARY, _DATA_2 = 0, 2, 3  # kinds of pages
_PLAIN, _INDICES = 0, (2, 8)  # encodings of values
_READ = {"PLAIN", "PLAIN_DICTIONARY", "RLE_DICTIONARY", "RLE", "BIT_PACKED"}
_STREAMED = {"ZSTD": "zstd", "GZIP": "gzip", "BROTLI": "brotli"}
_WHOLE = {"LZ4": "lz4_raw"}  # codecs that Arrow unpacks in one piece
_WINDOW = 65_536  # of Snappy, whose writers compress blocks of this size
_MOST_DEEP = 8
_SKIPPED = {3: 1, 7: 8}  # bytes of a byte and a double in Thrift
_BYTES, _LIST, _SET, _STRUCT = 8, 9, 10, 12  # types of Thrift


_LARGE_DICTIONARY = 1024 * 1024  # bytes, about where writers end a dictionary
_MOST_VALUES = 1 << 26  # of lists in a page; a run of them takes a few bytes in the file


@dataclass(frozen=True, slots=True)
class TooLarge:
    """A value that is over a limit."""

    size: int  # bytes
    most: int


@dataclass(frozen=True, slots=True)
class LargeColumns:
    """The columns of a row group that Arrow should not read.

    Attributes:
        columns: Their values by position in the schema: None, text, bytes, a dictionary of these,
            or `TooLarge`.
        largest: At least as many bytes as a value that others may repeat from a dictionary.
    """

    columns: dict[int, Iterator[Any]]
    largest: int


def large_columns(
    table: pq.ParquetFile, group: int, file: IO[bytes], most: Callable[[int], int]
) -> LargeColumns:
    """The columns of a row group with large pages, and their values.

    Args:
        table: The Parquet file.
        group: The row group.
        file: The same file.
        most: Bytes of a value of the column at a position.

    Raises:
        ValueError: A large column holds other things than texts or bytes.
    """
    columns: dict[int, Iterator[Any]] = {}
    largest, end = 1, 0
    for at, field in enumerate(table.schema_arrow):
        leaves = range(end, end + len(_kinds(field.type)))
        end = leaves.stop
        found = [page for leaf in leaves for page in _pages(file, _chunk(table, group, leaf))]
        dictionary = max((page.size for page in found if page.kind == _DICTIONARY), default=0)
        if sum(page.size for page in found) <= WAITING_BYTES and dictionary <= _LARGE_DICTIONARY:
            largest = max(largest, dictionary)
        elif all(_is_readable(table, group, leaf) for leaf in leaves):
            columns[at] = _values(table, group, leaves, file, most(at), field)
            continue
        elif any(page.size > MAX_IMAGE_BYTES for page in found):
            raise ValueError(
                f"a page of its column {field.name!r} is {over(MAX_IMAGE_BYTES)}; write it with "
                "smaller pages"
            )
        else:
            largest = max(largest, dictionary)
        is_nested = any(table.schema.column(leaf).max_repetition_level for leaf in leaves)
        if is_nested and any(page.count > _MOST_VALUES for page in found):
            raise ValueError(f"a page of its column {field.name!r} has too many values")
        wide = max(table.schema.column(leaf).length or 0 for leaf in leaves)
        count = max(_chunk(table, group, leaf).num_values for leaf in leaves)
        if is_nested and dictionary and wide > _PIECE and wide * count > MAX_DOCUMENT_BYTES:
            raise ValueError(f"the values of its column {field.name!r} are too large for lists")
    return LargeColumns(columns, largest)


def nested_texts(table: pq.ParquetFile) -> list[str]:
    """The texts and bytes in lists, as Arrow names them.

    A page may repeat one of them a million times, so they are read as a dictionary.
    """
    columns = [table.schema.column(leaf) for leaf in range(len(table.schema))]
    return [
        column.path
        for column in columns
        if column.physical_type == "BYTE_ARRAY" and column.max_repetition_level
    ]


def value_at(table: pq.ParquetFile, group: int, column: str, row: int, file: IO[bytes]) -> Any:
    """One value of a column of texts or bytes, or of `struct{bytes, path}`.

    Raises:
        ValueError, KeyError: It cannot be read, or there is no such column.
    """
    at = table.schema_arrow.names.index(column)
    kinds = [_kinds(field.type) for field in table.schema_arrow]
    start = sum(map(len, kinds[:at]))
    leaves = range(start, start + len(kinds[at]))
    if not all(_is_readable(table, group, leaf) for leaf in leaves):
        raise ValueError(f"{column!r} holds no bytes")
    field = table.schema_arrow.field(at)
    return next(_values(table, group, leaves, file, MAX_IMAGE_BYTES, field, skip=row))


def _values(
    table: pq.ParquetFile,
    group: int,
    leaves: Sequence[int],
    file: IO[bytes],
    most: int,
    field: pa.Field,
    skip: int = 0,
) -> Iterator[Any]:
    """The values of a column, put together from its leaves."""
    kinds = _kinds(field.type)
    parts = [
        _cells(file, _chunk(table, group, leaf), table.schema.column(leaf), most, skip)
        if is_text is not None
        else itertools.repeat(None)
        for leaf, (_, is_text) in zip(leaves, kinds, strict=True)
    ]
    for values in zip(*parts, strict=False):
        over_it = next((value for value in values if isinstance(value, int)), None)
        if over_it is not None:
            yield TooLarge(over_it, most)
            continue
        told = [
            value.decode("utf-8", "replace") if is_text and value is not None else value
            for value, (_, is_text) in zip(values, kinds, strict=True)
        ]
        if kinds[0][0] is None:
            yield told[0]
        else:
            yield {name: value for value, (name, _) in zip(told, kinds, strict=True)}


def _kinds(kind: pa.DataType) -> list[tuple[str | None, bool | None]]:
    """The leaves of a type: the name in its struct, if it is in one, and whether it is text.

    That is None where all of them are missing.
    """
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        return _kinds(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _kinds(kind.value_type)
    inner = [kind.field(at) for at in range(kind.num_fields)]
    if not inner:
        is_text = None if pa.types.is_null(kind) else (
            pa.types.is_string(kind) or pa.types.is_large_string(kind)
            or pa.types.is_string_view(kind)
        )  # fmt: skip
        return [(None, is_text)]
    return [(field.name, is_text) for field in inner for _, is_text in _kinds(field.type)]


def _chunk(table: pq.ParquetFile, group: int, leaf: int) -> pq.ColumnChunkMetaData:
    return table.metadata.row_group(group).column(leaf)


@dataclass(frozen=True, slots=True)
class _Page:
    """A page as its header describes it."""

    kind: int
    at: int  # where its bytes begin in the file
    packed: int  # how many they are
    size: int  # bytes, unpacked
    count: int  # of its values, missing ones included
    encoding: int
    levels: int | None  # bytes of levels before what is packed; None where they are packed too
    is_packed: bool


def _pages(file: IO[bytes], chunk: pq.ColumnChunkMetaData) -> Iterator[_Page]:
    """The pages of one column of a row group.

    Raises:
        ValueError: They are damaged.
    """
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        start = min(start, chunk.dictionary_page_offset)
    left, end = chunk.num_values, start + chunk.total_compressed_size
    while left > 0 and start < end:
        file.seek(start)
        page = _page(file)
        if page.packed < 0 or page.size < 0 or page.count < 0:
            raise ValueError("a page of a negative size")
        left -= page.count if page.kind in (_DATA, _DATA_2) else 0
        start = page.at + page.packed
        yield page


def _is_readable(table: pq.ParquetFile, group: int, leaf: int) -> bool:
    """Whether `_cells` reads a column: one of texts or bytes, at most one a row."""
    chunk, column = _chunk(table, group, leaf), table.schema.column(leaf)
    if column.logical_type.type == "UNKNOWN":  # nothing but missing values
        return True
    return (
        chunk.physical_type == "BYTE_ARRAY"
        and column.max_repetition_level == 0
        and column.path.count(".") <= 1
        and set(chunk.encodings) <= _READ
        and chunk.compression in {"UNCOMPRESSED", "SNAPPY", *_STREAMED, *_WHOLE}
    )


def _cells(
    file: IO[bytes],
    chunk: pq.ColumnChunkMetaData,
    column: pq.ColumnSchema,
    most: int,
    skip: int = 0,
) -> Iterator[bytes | int | None]:
    """The values of a column of one row group, for which `_is_readable` holds.

    Args:
        file: The Parquet file.
        chunk: The column's part of the row group.
        column: Its schema.
        most: Bytes of a value.
        skip: How many values are left out at the start.

    Yields:
        The bytes, None where a value is missing, or the size of one that is over `most`.

    Raises:
        ValueError: The pages are damaged.
    """
    dictionary: _Values | None = None
    with contextlib.ExitStack() as opened:
        for page in _pages(file, chunk):
            if page.kind == _DICTIONARY:
                body = opened.enter_context(_body(file, page, chunk.compression))
                dictionary = _Values(body, page.count)
            elif page.kind in (_DATA, _DATA_2) and skip >= page.count:
                skip -= page.count
            elif page.kind in (_DATA, _DATA_2):
                with _body(file, page, chunk.compression) as body:
                    top = column.max_definition_level
                    yield from _of_page(body, page, dictionary, top, most, skip)
                skip = 0


def _of_page(
    body: IO[bytes], page: _Page, dictionary: _Values | None, top: int, most: int, skip: int
) -> Iterator[bytes | int | None]:
    """The values of one page after the first `skip`; `top` is the level of those that are there."""
    levels = _levels(body, page, top)
    indices = _indices(body, page)
    for number, level in enumerate(levels):
        is_wanted = number >= skip
        if level != top:
            value: bytes | int | None = None
        elif indices is None:
            value = _value(body, most if is_wanted else 0)
        else:
            index = next(indices)
            if dictionary is None:
                raise ValueError("an index without a dictionary")
            value = dictionary.at(index, most) if is_wanted else None
        if is_wanted:
            yield value


def _levels(body: IO[bytes], page: _Page, top: int) -> Iterator[int]:
    """The level of each value of a page; those with the highest are there."""
    if not top:
        return itertools.repeat(top, page.count)
    size = _number(body) if page.levels is None else page.levels
    if size > page.size:
        raise ValueError("a page is cut short")
    return itertools.islice(_runs(io.BytesIO(body.read(size)), top.bit_length()), page.count)


def _indices(body: IO[bytes], page: _Page) -> Iterator[int] | None:
    """Which value of the dictionary each one is; None where a page has values of its own."""
    if page.encoding in _INDICES:
        return _runs(body, _byte(body)) if page.count else iter(())
    if page.encoding != _PLAIN:
        raise ValueError(f"values in encoding {page.encoding}")
    return None


class _Values:
    """The values of a dictionary, of which only their places are in memory."""

    def __init__(self, body: IO[bytes], count: int) -> None:
        self._body = body
        self._places = array("Q")
        place = 0
        for _ in range(count):
            self._places.append(place)
            place += 4 + _number(body)
            body.seek(place)

    def at(self, index: int, most: int) -> bytes | int:
        self._body.seek(self._places[index])
        return _value(self._body, most)


def _value(body: IO[bytes], most: int) -> bytes | int:
    """The next value, or the size of one that is over `most`."""
    size = _number(body)
    if size > most:
        body.seek(size, io.SEEK_CUR)
        return size
    data = body.read(size)
    if len(data) < size:
        raise ValueError("a value is cut short")
    return data


def _number(body: IO[bytes]) -> int:
    data = body.read(4)
    if len(data) < 4:
        raise ValueError("a page is cut short")
    return int.from_bytes(data, "little")


def _runs(body: IO[bytes], width: int) -> Iterator[int]:
    """Numbers of `width` bits in the hybrid of runs and packed bits."""
    mask = (1 << width) - 1
    while True:
        header = _varint(body)
        if header & 1:
            for _ in range(header >> 1):  # groups of eight
                group = int.from_bytes(body.read(width), "little")
                for at in range(0, 8 * width, width) if width else (0,) * 8:
                    yield group >> at & mask
        else:
            value = int.from_bytes(body.read((width + 7) // 8), "little")
            yield from itertools.repeat(value, header >> 1)


# --- pages --------------------------------------------------------------------------------------


class _Part(io.RawIOBase):
    """A part of a file that others read, too."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._at)
        data = self._file.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _body(file: IO[bytes], page: _Page, codec: str) -> IO[bytes]:
    """What is in a page, unpacked: levels, then values."""
    import pyarrow as pa

    raw = io.BufferedReader(_Part(file, page.at, page.packed), _PIECE)
    if codec == "UNCOMPRESSED" or not page.is_packed:
        return raw
    plain = raw.read(page.levels or 0)
    size = page.size - len(plain)
    if size <= WAITING_BYTES or codec in _WHOLE:
        if size > MAX_DOCUMENT_BYTES:
            raise ValueError(f"a page is {over(MAX_DOCUMENT_BYTES)}")
        unpacked = pa.Codec(_WHOLE.get(codec, codec.lower())).decompress(
            raw.read(), size, asbytes=True
        )
        return io.BytesIO(plain + unpacked)
    scratch = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the caller
    scratch.write(plain)
    if codec == "SNAPPY":
        pieces = _unsnapped(raw)
    else:
        stream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), _STREAMED[codec])
        pieces = iter(lambda: bytes(stream.read(_PIECE)), b"")
    with contextlib.ExitStack() as failed:
        failed.enter_context(scratch)
        for piece in pieces:
            size -= len(piece)
            if size < 0:
                raise ValueError("a page is larger than it says")
            scratch.write(piece)
        scratch.seek(0)
        failed.pop_all()
    return scratch


def _unsnapped(packed: IO[bytes]) -> Iterator[bytes]:
    """Unpack Snappy piece by piece; Arrow does so in one piece only."""
    _varint(packed)  # the size of all
    done = bytearray()
    while tag := packed.read(1):
        kind, number = tag[0] & 3, tag[0] >> 2
        if kind == 0:  # bytes as they are
            extra = max(0, number - 59)
            length = (int.from_bytes(packed.read(extra), "little") if extra else number) + 1
            while length > 0:
                piece = packed.read(min(length, _PIECE))
                if not piece:
                    raise ValueError("a page is cut short")
                length -= len(piece)
                done += piece
                if len(done) > _PIECE:
                    yield bytes(done[:-_WINDOW])
                    del done[:-_WINDOW]
            continue
        if kind == 1:
            length, offset = (number & 7) + 4, (tag[0] >> 5) << 8 | packed.read(1)[0]
        else:
            length, offset = number + 1, int.from_bytes(packed.read(2 * kind - 2), "little")
        if not 0 < offset <= len(done):
            raise ValueError("Snappy with a window of over 64 KB")
        source = bytes(done[-offset:][:length])
        done += (source * (length // len(source) + 1))[:length]
        if len(done) > _PIECE:
            yield bytes(done[:-_WINDOW])
            del done[:-_WINDOW]
    yield bytes(done)


def _page(file: IO[bytes]) -> _Page:
    fields = _struct(file)
    kind = fields.get(1, -1)
    said = fields.get({_DATA: 5, _DICTIONARY: 7, _DATA_2: 8}.get(kind, -1)) or {}
    is_second = kind == _DATA_2
    return _Page(
        kind=kind,
        at=file.tell(),
        packed=fields.get(3, -1),
        size=fields.get(2, -1),
        count=said.get(1, 0),
        encoding=said.get(4 if is_second else 2, _PLAIN),
        levels=said.get(5, 0) + said.get(6, 0) if is_second else None,
        is_packed=bool(said.get(7, True)) if is_second else True,
    )


def _struct(file: IO[bytes], depth: int = 0) -> dict[int, Any]:
    """The numbers and structures of a Thrift structure, by field; texts and lists are skipped."""
    fields: dict[int, Any] = {}
    number = 0
    while True:
        header = _byte(file)
        if header == 0:
            return fields
        number = number + (header >> 4) if header >> 4 else _signed(file)
        fields[number] = _field(file, header & 15, depth)


def _field(file: IO[bytes], kind: int, depth: int) -> Any:
    if depth > _MOST_DEEP:
        raise ValueError("a page header is nested too deep")
    if kind in (1, 2):
        return kind == 1
    if kind in (4, 5, 6):
        return _signed(file)
    if kind == _STRUCT:
        return _struct(file, depth + 1)
    if kind == _BYTES:
        file.seek(_varint(file), io.SEEK_CUR)
    elif kind in (_LIST, _SET):
        header = _byte(file)
        count = header >> 4 if header >> 4 < 15 else _varint(file)
        for _ in range(count):
            _field(file, header & 15, depth + 1)
    elif kind in _SKIPPED:
        file.seek(_SKIPPED[kind], io.SEEK_CUR)
    else:
        raise ValueError("a page header is damaged")
    return None


def _byte(file: IO[bytes]) -> int:
    data = file.read(1)
    if not data:
        raise ValueError("a page is cut short")
    return data[0]


def _varint(file: IO[bytes]) -> int:
    found = shift = 0
    while True:
        byte = _byte(file)
        found |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return found
        if shift > 63:
            raise ValueError("a number is too large")


def _signed(file: IO[bytes]) -> int:
    found = _varint(file)
    return found >> 1 ^ -(found & 1)
