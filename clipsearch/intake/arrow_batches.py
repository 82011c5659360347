"""Arrow's record batches in pieces of bounded size, whatever a batch holds or says of itself.

Arrow reads a batch whole. Here a file is read message by message; a large batch is passed on as
several small ones, of which only the needed parts of its buffers are read. One that is compressed
is refused above a limit, before it is unpacked.

Source: https://arrow.apache.org/docs/format/Columnar.html and https://flatbuffers.dev/internals/.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ..limits import MAX_IMAGE_BYTES, MAX_LINE, WAITING_BYTES, over

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SmallBatches", "in_pieces"]

_MAGIC = b"ARROW1"
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3  # kinds of messages
_PIECE = 1024 * 1024
_OBJECT = 40  # bytes of a value in Python, about


def in_pieces(batch: pa.RecordBatch, rows: int) -> Iterator[tuple[pa.RecordBatch, int]]:
    """A batch as slices of at most `rows` rows, fewer where their values are large.

    A few bytes of Arrow may stand for many: values that a dictionary or a view repeats, or lists
    of missing values.

    Yields:
        A slice, and how many bytes its values take in Python, about. It is over `WAITING_BYTES` in
        a single row only.
    """
    for start in range(0, len(batch), rows):
        waiting = [batch.slice(start, rows)]
        while waiting:
            some = waiting.pop()
            size = sum(map(_weight, some.columns))
            if size <= WAITING_BYTES or len(some) == 1:
                yield some, size
            else:
                half = len(some) // 2
                waiting += [some.slice(half), some.slice(0, half)]


def _weight(array: pa.Array) -> int:
    """How many bytes the values of an array take in Python, about, repeated ones each time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, is_a, count = array.type, pa.types, len(array)
    if isinstance(kind, pa.BaseExtensionType):
        return _weight(array.storage)
    if is_a.is_dictionary(kind):
        values = array.dictionary
        if is_a.is_string(values.type) or is_a.is_binary(values.type):
            lengths = pc.binary_length(values).cast(pa.int64()).take(array.indices)
            return (pc.sum(lengths).as_py() or 0) + _OBJECT * count
        is_fixed = is_a.is_primitive(values.type) or is_a.is_decimal(values.type)
        return _OBJECT * count if is_fixed else _weight(values) * count
    if is_a.is_string_view(kind) or is_a.is_binary_view(kind):
        views = np.frombuffer(array.buffers()[1] or b"", np.int32)
        lengths = views[4 * array.offset : 4 * (array.offset + count) : 4]
        return int(lengths.clip(0).sum(dtype=np.int64)) + _OBJECT * count
    if is_a.is_struct(kind):
        return sum(map(_weight, array.flatten())) + _OBJECT * count
    if is_a.is_list(kind) or is_a.is_large_list(kind) or is_a.is_fixed_size_list(kind):
        return _weight(array.flatten()) + _OBJECT * count
    if is_a.is_map(kind):
        return _weight(array.keys) + _weight(array.items) + _OBJECT * count
    if is_a.is_union(kind):
        return sum(_weight(array.field(at)) for at in range(kind.num_fields))
    if kind.num_fields or is_a.is_run_end_encoded(kind):  # one value may be there many times
        return max(1, _weight(array.values)) * count
    return int(array.nbytes) + _OBJECT * count


@dataclass
class SmallBatches:
    """An Arrow file or stream as a stream of small record batches.

    Attributes:
        file: The file, which can be read from any position.
        left_out: Rows of the whole, from 0, that are over `MAX_IMAGE_BYTES`, with their bytes. Such
            a row is in no batch; it is known before the rows after it are read.
    """

    file: IO[bytes]
    left_out: dict[int, int] = field(default_factory=dict)

    def stream(self) -> IO[bytes]:
        """The stream, which is read once.

        Reading it raises ValueError where the file is damaged or a batch is over a limit.
        """
        return io.BufferedReader(_Pieces(self._pieces()), _PIECE)

    def _pieces(self) -> Iterator[bytes]:
        import pyarrow as pa

        start = self.file.read(8)
        end = self.file.seek(0, io.SEEK_END)
        at = 0
        if start.startswith(_MAGIC):
            at = 8
            self.file.seek(max(0, end - 10))
            end -= 10 + int.from_bytes(self.file.read(4), "little")  # the footer repeats it all
        fields: list[pa.Field] = []
        held: dict[int, int] = {}  # bytes of each dictionary
        rows = 0
        while at < end and (message := _message(self.file, at)) is not None:
            at = message.body + message.size
            size, is_packed = message.unpacked(self.file)
            if message.kind == _SCHEMA:
                fields = list(pa.ipc.read_schema(pa.py_buffer(message.framed)))
            elif message.kind == _DICTIONARY:
                is_more = message.header.number(2, "<?")
                name = message.header.number(0, "<q")
                held[name] = size + (held.get(name, 0) if is_more else 0)
                if sum(held.values()) > MAX_IMAGE_BYTES:
                    raise ValueError(f"its dictionaries are {over(MAX_IMAGE_BYTES)}")
            elif message.kind == _BATCH:
                count = message.batch.number(0, "<q")
                if size > WAITING_BYTES and not is_packed and all(map(_is_cut, fields)):
                    yield from self._cut(message, fields, rows, count)
                    rows += count
                    continue
                if size > MAX_IMAGE_BYTES:
                    raise ValueError(
                        f"a record batch of it has {size:,} bytes, {over(MAX_IMAGE_BYTES)} for one "
                        "that is compressed or has types that cannot be read in parts; write it "
                        "with fewer rows in a batch, or as Parquet"
                    )
                rows += count
            yield message.framed
            yield from _parts(self.file, message.body, message.size)

    def _cut(
        self, message: _Message, fields: list[pa.Field], first: int, count: int
    ) -> Iterator[bytes]:
        """The messages of small batches that together have the rows of a large one."""
        rows = 8 * max(1, count * WAITING_BYTES // (8 * message.size))
        waiting = [(start, min(start + rows, count)) for start in range(0, count, rows)][::-1]
        while waiting:
            start, stop = waiting.pop()
            cut = _Cut(self.file, message)
            for one in fields:
                cut.take(one.type, start, stop)
            if cut.size > WAITING_BYTES and stop - start > 1:
                middle = start + (stop - start) // 2
                waiting += [(middle, stop), (start, middle)]
            elif cut.size > MAX_IMAGE_BYTES:
                self.left_out[first + start] = cut.size
            else:
                yield from cut.message(stop - start)


class _Pieces(io.RawIOBase):
    """Bytes that come in pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


# --- messages -----------------------------------------------------------------------------------


class _Table:
    """A table of FlatBuffers: fields by number, each of which may be absent."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self._at = data, at
        self._names = at - _number(data, at, "<i")
        self._width = _number(data, self._names, "<H")

    def place(self, name: int) -> int | None:
        """Where a field is in the data."""
        slot = 4 + 2 * name
        offset = _number(self.data, self._names + slot, "<H") if slot < self._width else 0
        return self._at + offset if offset else None

    def number(self, name: int, kind: str) -> int:
        place = self.place(name)
        return 0 if place is None else _number(self.data, place, kind)

    def table(self, name: int) -> _Table | None:
        place = self.place(name)
        return None if place is None else _Table(self.data, _pointed(self.data, place))

    def pairs(self, name: int) -> tuple[int, list[tuple[int, int]]]:
        """A vector of structures of two numbers of 64 bits, and where it is in the data."""
        place = self.place(name)
        if place is None:
            return 0, []
        start = _pointed(self.data, place)
        count = _number(self.data, start, "<I")
        if start + 4 + 16 * count > len(self.data):
            raise ValueError("a message is damaged")
        numbers = struct.unpack_from(f"<{2 * count}q", self.data, start + 4)
        return start + 4, list(zip(numbers[::2], numbers[1::2], strict=True))


def _number(data: bytes, at: int, kind: str) -> int:
    if not 0 <= at <= len(data) - struct.calcsize(kind):
        raise ValueError("a message is damaged")
    return int(struct.unpack_from(kind, data, at)[0])


def _pointed(data: bytes, at: int) -> int:
    return at + _number(data, at, "<I")


class _Message:
    """A message: a description, and a body in the file.

    Args:
        prefix: The bytes before the description.
        data: The description.
        body: Where the body begins.
    """

    def __init__(self, prefix: bytes, data: bytes, body: int) -> None:
        self.prefix, self.data, self.body = prefix, data, body
        top = _Table(data, _pointed(data, 0))
        self.size_place = top.place(3)
        self.kind, self.size = top.number(1, "<B"), top.number(3, "<q")
        header = top.table(2)
        if header is None or self.size < 0:
            raise ValueError("a message is damaged")
        self.header = header
        inner = header.table(1) if self.kind == _DICTIONARY else header
        self.batch = inner if inner is not None and self.kind in (_DICTIONARY, _BATCH) else header

    @property
    def framed(self) -> bytes:
        return self.prefix + self.data

    def unpacked(self, file: IO[bytes]) -> tuple[int, bool]:
        """How many bytes the body unpacks to, and whether it is compressed."""
        if self.kind not in (_DICTIONARY, _BATCH) or self.batch.place(3) is None:
            return self.size, False
        size = self.size
        for start, length in self.batch.pairs(2)[1]:
            if length > 0:
                declared = int.from_bytes(_read(file, self.body + start, 8), "little", signed=True)
                size += max(0, declared)
        return size, True


def _message(file: IO[bytes], at: int) -> _Message | None:
    """The message at a position; None at the end."""
    file.seek(at)
    prefix = file.read(4)
    if prefix == b"\xff\xff\xff\xff":
        prefix += file.read(4)
    size = int.from_bytes(prefix[-4:], "little", signed=True)
    if size == 0:
        return None
    if not 0 < size <= MAX_LINE:
        raise ValueError("a message is damaged")
    data = file.read(size)
    if len(data) < size:
        raise ValueError("it is cut short")
    return _Message(prefix, data, at + len(prefix) + size)


def _read(file: IO[bytes], at: int, size: int) -> bytes:
    file.seek(at)
    data = file.read(size)
    if len(data) < size:
        raise ValueError("it is cut short")
    return data


def _parts(file: IO[bytes], at: int, size: int) -> Iterator[bytes]:
    while size > 0:
        part = _read(file, at, min(size, _PIECE))
        yield part
        at, size = at + len(part), size - len(part)


# --- parts of a batch ---------------------------------------------------------------------------


def _is_cut(one: pa.Field) -> bool:
    """Whether `_Cut` takes parts of a column."""
    import pyarrow as pa

    kind, is_a = one.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _is_cut(pa.field("", kind.storage_type))
    if is_a.is_struct(kind) or _offsets(kind) or is_a.is_fixed_size_list(kind):
        return all(_is_cut(kind.field(at)) for at in range(kind.num_fields))
    return bool(is_a.is_null(kind) or is_a.is_dictionary(kind) or _width(kind))


def _offsets(kind: pa.DataType) -> Any:
    """The type of the offsets of texts, bytes and lists; None for other types."""
    import pyarrow as pa

    is_a = pa.types
    if is_a.is_string(kind) or is_a.is_binary(kind) or is_a.is_list(kind) or is_a.is_map(kind):
        return np.int32
    is_large = is_a.is_large_string(kind) or is_a.is_large_binary(kind) or is_a.is_large_list(kind)
    return np.int64 if is_large else None


def _width(kind: pa.DataType) -> int:
    """Bits of a value of fixed size; 0 for other types."""
    import pyarrow as pa

    is_a = pa.types
    is_fixed = is_a.is_primitive(kind) or is_a.is_decimal(kind) or is_a.is_fixed_size_binary(kind)
    return int(kind.bit_width) if is_fixed and not kind.num_fields else 0


class _Cut:
    """Some rows of a batch, as the nodes and buffers of a smaller one."""

    def __init__(self, file: IO[bytes], message: _Message) -> None:
        self._file, self._message = file, message
        self._nodes_at, nodes = message.batch.pairs(1)
        self._buffers_at, buffers = message.batch.pairs(2)
        self._old_nodes, self._old_buffers = iter(nodes), iter(buffers)
        self._nodes: list[tuple[int, int]] = []
        self._buffers: list[tuple[int, Callable[[], bytes]]] = []  # bytes, and what reads them
        self.size = 0  # bytes of them all

    def take(self, kind: pa.DataType, start: int, stop: int) -> None:
        """Take the values from `start` to `stop` of the next column.

        Raises:
            ValueError: The batch is damaged.
        """
        import pyarrow as pa

        if isinstance(kind, pa.BaseExtensionType):
            return self.take(kind.storage_type, start, stop)
        length, nulls = self._next(self._old_nodes)
        if not 0 <= start <= stop <= length:
            raise ValueError("a record batch is damaged")
        if pa.types.is_null(kind):
            self._nodes.append((stop - start, stop - start))
            return None
        valid = self._next(self._old_buffers)
        there = self._bits(valid, start, stop) if nulls else b""
        ones = int(np.unpackbits(np.frombuffer(there, np.uint8)).sum()) if nulls else stop - start
        self._nodes.append((stop - start, stop - start - ones))
        self._add(len(there), lambda: there)
        offsets = _offsets(kind)
        if offsets is not None:
            start, stop = self._list(offsets, start, stop)
        elif pa.types.is_fixed_size_list(kind):
            start, stop = start * kind.list_size, stop * kind.list_size
        if offsets is not None and not kind.num_fields:
            self._range(self._next(self._old_buffers), start, stop)
        elif kind.num_fields:
            for at in range(kind.num_fields):
                self.take(kind.field(at).type, start, stop)
        else:
            self._fixed(kind, start, stop)
        return None

    def _list(self, offsets: Any, start: int, stop: int) -> tuple[int, int]:
        """Take the offsets of values, and say which part of their content these are."""
        place = self._next(self._old_buffers)
        width = np.dtype(offsets).itemsize
        if start == stop:
            self._add(0, bytes)
            return 0, 0
        data = self._part(place, start * width, (stop + 1) * width)
        found = np.frombuffer(data, offsets)
        first, last = int(found[0]), int(found[-1])
        if first < 0 or bool((np.diff(found) < 0).any()):
            raise ValueError("a record batch is damaged")
        moved = (found - found[0]).tobytes()
        self._add(len(moved), lambda: moved)
        return first, last

    def _fixed(self, kind: pa.DataType, start: int, stop: int) -> None:
        import pyarrow as pa

        place = self._next(self._old_buffers)
        width = _width(kind.index_type if pa.types.is_dictionary(kind) else kind)
        if width == 1:
            bits = self._bits(place, start, stop)
            self._add(len(bits), lambda: bits)
        else:
            self._range(place, start * width // 8, stop * width // 8)

    def _range(self, place: tuple[int, int], start: int, stop: int) -> None:
        self._add(stop - start, lambda: self._part(place, start, stop))

    def _add(self, size: int, read: Callable[[], bytes]) -> None:
        self._buffers.append((size, read))
        self.size += size

    def _bits(self, place: tuple[int, int], start: int, stop: int) -> bytes:
        data = self._part(place, start // 8, (stop + 7) // 8)
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        shift = start % 8
        return np.packbits(bits[shift : shift + stop - start], bitorder="little").tobytes()

    def _part(self, place: tuple[int, int], start: int, stop: int) -> bytes:
        at, length = place
        if at < 0 or not 0 <= start <= stop <= length or at + length > self._message.size:
            raise ValueError("a record batch is damaged")
        return _read(self._file, self._message.body + at + start, stop - start)

    def _next(self, places: Iterator[tuple[int, int]]) -> tuple[int, int]:
        place = next(places, None)
        if place is None:
            raise ValueError("a record batch is damaged")
        return place

    def message(self, rows: int) -> Iterator[bytes]:
        """The smaller batch: the description of the large one with other numbers, and a body."""
        data = bytearray(self._message.data)
        at = 0
        for number, (size, _) in enumerate(self._buffers):
            struct.pack_into("<2q", data, self._buffers_at + 16 * number, at, size)
            at += size + -size % 8
        for number, node in enumerate(self._nodes):
            struct.pack_into("<2q", data, self._nodes_at + 16 * number, *node)
        for place, value in (
            (self._message.batch.place(0), rows),
            (self._message.size_place, at),
        ):
            if place is None:
                raise ValueError("a record batch is damaged")
            struct.pack_into("<q", data, place, value)
        yield self._message.prefix + bytes(data)
        for size, read in self._buffers:
            yield read()
            yield bytes(-size % 8)
