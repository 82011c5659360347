"""The values of a table's columns as JSON, and as Arrow's types again.

An index keeps the columns of tables as JSON: numbers, truth values, texts, lists and objects. What
JSON lacks is written as text that loses nothing: exact decimals (`"12.30"`), dates and times in ISO
8601, durations as seconds (`"5400.25"`), bytes in base64. A map with text or integer keys is an
object, any other one a list of pairs. NaN counts as missing. The Arrow type that a column had is
kept beside its name, so that an export gives it back.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence, Set
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "EXPORTED",
    "INTEGERS",
    "as_json",
    "as_text",
    "as_type",
    "column_kind",
    "from_arrow",
    "inferred",
    "is_exact",
    "json_text",
    "kind_of_type",
    "to_arrow",
    "type_of_text",
    "type_text",
    "unified",
]

EXPORTED = b"clipsearch"  # the key of what an export says of itself and of its columns
INTEGERS = range(-(2**63), 2**63)  # that SQLite keeps and compares as they are
_INFINITE = "b4f1a3c2-infinity"  # stands for it while a JSON text is written
_EXACT = re.compile(r"-?(?:[1-9][0-9]*|0)(?:\.[0-9]+)?", re.ASCII)
_MOST_ZEROS = 1_000  # of a decimal; a few characters may ask for billions
_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def as_json(value: Any) -> Any:
    """A value of Python, numpy or pandas as JSON keeps it; None for what is missing."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, np.generic | np.ndarray):
        return as_json(_of_numpy(value))
    if isinstance(value, Mapping):
        return {str(as_json(key)): as_json(one) for key, one in value.items()}
    if isinstance(value, Sequence | Set) and not isinstance(value, bytes | bytearray | memoryview):
        return [as_json(one) for one in value]
    return _scalar(value)


def is_exact(text: str) -> bool:
    """Whether a text is a decimal number as one is kept: without needless zeros before it."""
    return _EXACT.fullmatch(text) is not None


def json_text(value: Any) -> str:
    """What `as_json` gave as a JSON text that Python and SQLite read alike."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:  # infinity, for which JSON has no word but a number that is too large
        text = json.dumps(_without_infinity(value), ensure_ascii=False)
        return text.replace(f'"{_INFINITE}+"', "1e999").replace(f'"{_INFINITE}-"', "-1e999")


def _without_infinity(value: Any) -> Any:
    if isinstance(value, float) and math.isinf(value):
        return f"{_INFINITE}{'+' if value > 0 else '-'}"
    if isinstance(value, Mapping):
        return {name: _without_infinity(one) for name, one in value.items()}
    return [_without_infinity(one) for one in value] if isinstance(value, list) else value


def _scalar(value: Any) -> Any:
    if type(value).__name__ in ("NaTType", "NAType"):  # of pandas
        return None
    if isinstance(value, Decimal):
        if not value.is_finite():
            return None
        is_long = max(abs(value.adjusted()), abs(int(value.as_tuple().exponent))) > _MOST_ZEROS
        return str(value) if is_long else format(value, "f")
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, dt.timedelta):
        nanoseconds = getattr(value, "value", None)  # pandas
        if nanoseconds is None:
            nanoseconds = (value // dt.timedelta(microseconds=1)) * 1000
        return _seconds(int(nanoseconds), "ns")
    if isinstance(value, dt.datetime):
        offset = value.utcoffset()
        if offset is not None and offset % dt.timedelta(minutes=1):  # of a time before zones
            value = value.astimezone(dt.UTC)
        return value.isoformat()
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, dt.time):
        return _trimmed(value.isoformat())
    return str(value)


def _of_numpy(value: Any) -> Any:
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else str(value)
    if isinstance(value, np.timedelta64):
        if np.isnat(value):
            return None
        return _seconds(int(value.astype("timedelta64[ns]").astype(np.int64)), "ns")
    if isinstance(value, np.ndarray):
        return list(value) if value.dtype.kind in "Mm" else value.tolist()
    return value.item()


def _seconds(count: int, unit: str) -> str:
    """A count of a unit as exact seconds."""
    return format((Decimal(count) / _UNITS[unit]).normalize(), "f")


def _trimmed(time: str) -> str:
    """A time without zeros at the end of its fraction, so that equal times are equal texts."""
    return time.rstrip("0").rstrip(".") if "." in time else time


# --- from Arrow ---------------------------------------------------------------------------------


def from_arrow(array: pa.Array) -> list[Any]:
    """The values of an Arrow array as JSON keeps them, None for nulls."""
    import pyarrow as pa

    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return from_arrow(array.storage)
    if pa.types.is_dictionary(kind):
        return from_arrow(array.dictionary_decode())
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return _moments(array)
    if pa.types.is_time(kind):
        return _each(array, lambda count: _time(count, kind.unit))
    if pa.types.is_duration(kind):
        return _each(array, lambda count: _seconds(count, kind.unit))
    if pa.types.is_struct(kind):
        parts = [from_arrow(part) for part in array.flatten()]
        names = [field.name for field in kind]
        there = array.is_valid().to_pylist()
        return [
            {name: part[at] for name, part in zip(names, parts, strict=True)} if valid else None
            for at, valid in enumerate(there)
        ]
    if pa.types.is_map(kind):
        return [None if pairs is None else _of_map(pairs) for pairs in _lists(array)]
    if _is_list(kind):
        return _lists(array)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_string(kind):
        return list(array.to_pylist())
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        return [None if value is None else _shortest(value, kind) for value in array.to_pylist()]
    return [as_json(value) for value in array.to_pylist()]


def _shortest(value: float, kind: pa.DataType) -> float | None:
    """The number with the fewest digits that is this one in few bits: 0.1, not 0.10000000149."""
    few = np.float32(value) if kind.bit_width == 32 else np.float16(value)
    return None if np.isnan(few) else float(str(few))


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _lists(array: pa.Array) -> list[Any]:
    """Lists, or maps as lists of `{key, value}`."""
    import pyarrow as pa

    if pa.types.is_map(array.type):
        found: list[Any] = []
        for one in array:
            if one.as_py() is None:
                found.append(None)
                continue
            inner = one.values
            found.append(from_arrow(inner) if inner is not None else None)
        return found
    lengths = array.value_lengths().to_pylist()
    values = from_arrow(array.flatten())
    lists, at = [], 0
    for length in lengths:
        lists.append(None if length is None else values[at : at + length])
        at += length or 0
    return lists


def _of_map(pairs: Sequence[Mapping[str, Any]]) -> Any:
    """A map as an object where its keys allow for that, else as a list of pairs."""
    entries = [tuple(pair.values()) for pair in pairs]
    keys = [key for key, _ in entries]
    plain = all(isinstance(key, str | int) and not isinstance(key, bool) for key in keys)
    if plain and len(set(keys)) == len(keys):
        return {str(key): value for key, value in entries}
    return [list(entry) for entry in entries]


def _each(array: pa.Array, write: Callable[[int], str]) -> list[Any]:
    import pyarrow as pa

    width = pa.int32() if array.type.bit_width == 32 else pa.int64()
    return [None if count is None else write(count) for count in array.view(width).to_pylist()]


def _time(count: int, unit: str) -> str:
    """A time of day, counted from midnight."""
    seconds, fraction = divmod(count, _UNITS[unit])
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    digits = len(str(_UNITS[unit])) - 1
    return _trimmed(f"{text}.{fraction:0{digits}}") if fraction else text


def _moments(array: pa.Array) -> list[Any]:
    """Days and moments in ISO 8601, those with a zone in its time with the offset."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_date(kind):
        days = array.cast(pa.date32()).view(pa.int32())
        return _written(days, "D", [""] * len(array))
    counts = array.view(pa.int64())
    if kind.tz is None:
        return _written(counts, kind.unit, [""] * len(array))
    utc = array.cast(pa.timestamp(kind.unit, "UTC"))
    try:
        local = pc.local_timestamp(array).view(pa.int64())
    except pa.ArrowException:  # a zone that this machine does not know
        local = utc.view(pa.int64())
    ends: list[str] = []
    shown: list[int | None] = []
    for here, there in zip(local.to_pylist(), utc.view(pa.int64()).to_pylist(), strict=True):
        minutes, rest = divmod((here or 0) - (there or 0), 60 * _UNITS[kind.unit])
        if rest or here == there:
            shown.append(there)
            ends.append("+00:00")
        else:
            shown.append(here)
            sign = "-" if minutes < 0 else "+"
            ends.append(f"{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}")
    return _written(pa.array(shown, pa.int64()), kind.unit, ends)


def _written(counts: pa.Array, unit: str, ends: Sequence[str]) -> list[Any]:
    moments = counts.fill_null(0).to_numpy().astype(f"datetime64[{unit}]")
    texts = np.datetime_as_string(moments).tolist()
    there = counts.is_valid().to_pylist()
    return [
        f"{_trimmed(text) if unit != 'D' else text}{end}" if valid else None
        for text, end, valid in zip(texts, ends, there, strict=True)
    ]


# --- to Arrow -----------------------------------------------------------------------------------


def to_arrow(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Values that an index keeps as an Arrow array of a type.

    Raises:
        ValueError, TypeError, pa.ArrowException: A value is none of that type.
    """
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, to_arrow(values, kind.storage_type))
    if pa.types.is_dictionary(kind):
        return to_arrow(values, kind.value_type).cast(kind)
    read = as_type(kind)
    return pa.array([None if value is None else read(value) for value in values], type=kind)


def as_type(kind: pa.DataType) -> Callable[[Any], Any]:
    """A function that gives Arrow a value of a type, of what an index keeps of it."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        return as_type(kind.value_type)
    if types.is_boolean(kind):
        return _checked(bool)
    if types.is_integer(kind):
        return _checked(int)
    if types.is_floating(kind):
        return _checked(float, int)
    if types.is_decimal(kind):
        return lambda value: Decimal(str(value))
    if types.is_date(kind) or types.is_timestamp(kind):
        return _moment_of(kind)
    if types.is_time(kind):
        return lambda text: _time_of(text, _UNITS[kind.unit])
    if types.is_duration(kind):
        return lambda text: int(Decimal(text) * _UNITS[kind.unit])
    if _is_binary(kind):
        return lambda text: base64.b64decode(text, validate=True)
    if types.is_map(kind) or types.is_struct(kind) or _is_list(kind):
        return _nested(kind)
    if types.is_null(kind):
        return _checked(type(None))
    return _checked(str)


def _nested(kind: pa.DataType) -> Callable[[Any], Any]:
    import pyarrow as pa

    def maybe(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda value: None if value is None else read(value)

    if pa.types.is_map(kind):
        key, item = as_type(kind.key_type), maybe(as_type(kind.item_type))
        integers = pa.types.is_integer(kind.key_type)

        def pairs(value: Any) -> list[tuple[Any, Any]]:
            entries = value.items() if isinstance(value, Mapping) else value
            return [
                (key(int(name) if integers and isinstance(name, str) else name), item(one))
                for name, one in entries
            ]

        return pairs
    if pa.types.is_struct(kind):
        parts = {field.name: maybe(as_type(field.type)) for field in kind}

        def fields(value: Any) -> dict[str, Any]:
            if not isinstance(value, Mapping) or not set(value) <= set(parts):
                raise TypeError(f"{value!r} has other parts than {kind}")
            return {name: read(value.get(name)) for name, read in parts.items()}

        return fields
    inner = maybe(as_type(kind.value_type))

    def elements(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise TypeError(f"{value!r} is no list")
        return [inner(one) for one in value]

    return elements


def _is_binary(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return any(
        test(kind)
        for test in (
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_fixed_size_binary,
            pa.types.is_binary_view,
        )
    )


def _checked(*types: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) not in types:
            raise TypeError(f"{value!r} is no {types[0].__name__}")
        return types[0](value) if types[0] is float else value

    return read


def _moment_of(kind: pa.DataType) -> Callable[[Any], int]:
    import pyarrow as pa

    if pa.types.is_date(kind):
        scale = 1 if pa.types.is_date32(kind) else 86_400_000
        return lambda text: int(np.datetime64(text, "D").astype(np.int64)) * scale
    unit, zoned = kind.unit, kind.tz is not None

    def moment(text: str) -> int:
        offset = 0
        if text.endswith("Z"):
            text = text[:-1]
        elif zoned and text[-6:-5] in ("+", "-"):
            hours, minutes = int(text[-5:-3]), int(text[-2:])
            offset = (hours * 60 + minutes) * (-1 if text[-6] == "-" else 1)
            text = text[:-6]
        count = int(np.datetime64(text, unit).astype(np.int64))
        return count - offset * 60 * _UNITS[unit]

    return moment


def _time_of(text: str, scale: int) -> int:
    clock, _, fraction = text.partition(".")
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    whole = (hours * 60 + minutes) * 60 + seconds
    return whole * scale + int(Decimal(f"0.{fraction or 0}") * scale)


# --- types --------------------------------------------------------------------------------------


def type_text(kind: pa.DataType) -> str:
    """A type as a text that `type_of_text` reads: Arrow's IPC message of a schema, in base64."""
    import pyarrow as pa

    schema = pa.schema([pa.field("x", kind)])
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def type_of_text(text: str) -> pa.DataType:
    """The type that `type_text` wrote."""
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text))).field(0).type


def unified(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """A type that holds the values of two, or None."""
    import pyarrow as pa

    if one.equals(other):
        return one
    try:
        schemas = [pa.schema([("x", kind)]) for kind in (one, other)]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None


def kind_of_type(kind: pa.DataType) -> str | None:
    """The type in filters of a column of an Arrow type; None where its values tell."""
    import pyarrow as pa

    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return kind_of_type(kind.storage_type)
    if types.is_dictionary(kind):
        return kind_of_type(kind.value_type)
    known: list[tuple[Callable[[pa.DataType], bool], str]] = [
        (types.is_boolean, "integer"),
        (types.is_uint64, "decimal"),
        (types.is_integer, "integer"),
        (types.is_floating, "number"),
        (types.is_decimal, "decimal"),
        (types.is_duration, "decimal"),
        (types.is_date, "date"),
        (types.is_timestamp, "date"),
        (types.is_time, "time"),
        (_is_list, "list"),
        (types.is_struct, "object"),
        (types.is_map, "object"),
        (_is_binary, "text"),
    ]
    return next((name for test, name in known if test(kind)), None)


def column_kind(field: pa.Field) -> str | None:
    """The type in filters of a column of an Arrow schema, which an export may say."""
    said = (field.metadata or {}).get(EXPORTED)
    return said.decode() if said else kind_of_type(field.type)


def inferred(values: Sequence[Any]) -> pa.DataType | None:
    """The type of values that no table has declared; None where there are only nulls.

    What no one type holds is text, as `as_text` writes it.
    """
    import pyarrow as pa

    given = [value for value in values if value is not None]
    if not given:
        return None
    try:
        return pa.array(given).type
    except OverflowError:
        return pa.decimal128(38) if all(isinstance(v, int) for v in given) else pa.string()
    except (pa.ArrowException, ValueError, TypeError):
        return pa.string()


def as_text(value: Any) -> str | None:
    """A value as the text that stands for it in a column of several types."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
