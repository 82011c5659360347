"""What is in memory or behind a library: DataFrames, Arrow tables, datasets, lists of images."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..engine.columns import as_json, from_arrow
from ..engine.declared import FRAME
from ..errors import InvalidInputError
from ..images import check_images, decode_error, image_of_array
from ..metadata import DECODER_ERRORS
from .layouts import Asked, ColumnType, Layout, find_layout, unique_names
from .pairs import Pair, Source, TableColumns
from .pixel_files import file_bytes
from .places import file_named
from .rows import arrow_column, arrow_layout, batch_rows
from .tables import SeenIds, caption_text, columns_of, extra_of, id_text

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FrameSource", "ImagePairs", "ImageSource", "frame_source"]

_ROWS_AT_ONCE = 256
_SAMPLE = 20
_ROLES = {"image": "images", "id": "ids", "caption": "captions"}  # columns, and what gives them


class FrameSource(Source):
    """The rows of a table that is no file.

    A row's key is `table#ID` where a column identifies it. Otherwise it is its image's path, as in
    a list of paths, with a number where several rows have one image; without a file it is a hash
    of what the row holds. So a table that is added twice changes nothing, and two do not mix.

    Args:
        layout: Which column is what.
        rows: Gives the rows anew each time.
        length: How many there are, if that is known.
        images_root: The folder that relative paths start from; by default the current one.
        notes: On how the columns were read.
    """

    def __init__(
        self,
        layout: Layout,
        rows: Any,
        *,
        length: int | None = None,
        images_root: str | os.PathLike[str] | None = None,
        notes: Iterable[str] = (),
    ) -> None:
        self._layout = layout
        self._rows = rows
        self._length = length
        self._folder = os.path.abspath(os.path.expanduser(os.fspath(images_root or ".")))
        self._columns = columns_of(layout, FRAME)
        self._used = layout.used()
        self._notes = (*notes, *self._columns.notes())

    def remarks(self) -> list[str]:
        """On how the columns were read."""
        return list(self._notes)

    def columns(self) -> TableColumns | None:
        """Which columns the table has."""
        return self._columns

    def count(self) -> int | None:
        """How many rows there are, if that is known."""
        return self._length

    def __iter__(self) -> Iterator[Pair]:
        seen = SeenIds()
        for number, row in enumerate(self._rows(), 1):
            yield self._pair(row, number, seen)

    def _pair(self, row: Mapping[str, Any], number: int, seen: SeenIds) -> Pair:
        """A row as a pair."""
        layout = self._layout
        image, refused = self._image(row.get(layout.image) if layout.image else None)
        caption = caption_text(row.get(layout.caption)) if layout.caption else None
        own = {name: row[name] for name in layout.ids if row.get(name) is not None}
        key: str | None
        if layout.ids:
            name = next((text for value in own.values() if (text := id_text(value))), None)
            key = f"{FRAME}#{name}"
            if name is None:
                key, refused = f"{FRAME}#row {number}", f"no {layout.ids[0]!r} in the row"
            elif not seen.add(name):
                key, refused = f"{FRAME}#row {number}", f"the id {name[:80]!r} came before"
        else:
            key = _key(image, caption)
            again, base = 1, key
            while not seen.add(key):
                again += 1
                key = f"{base}#{again}"
        extra = extra_of(row, layout, self._used)
        return Pair(key=key, image=image, caption=caption, ids=own, extra=extra, refused=refused)

    def _image(self, value: Any) -> tuple[str | bytes | None, str | None]:
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        if _is_missing(value):
            return None, None
        if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value), None
        try:
            if isinstance(value, np.ndarray):
                value = image_of_array(value)
            if isinstance(value, Image.Image):
                return file_bytes(value), None
        except InvalidInputError as exc:
            return None, str(exc)
        except DECODER_ERRORS as exc:  # it is decoded only now
            return None, str(decode_error("the image", exc))
        if not isinstance(value, str | os.PathLike):
            return None, f"the image is a {type(value).__name__}, not a path"
        path, refused = file_named(os.path.expanduser(os.fspath(value)), self._folder)
        if path is None:
            return None, refused
        return os.path.normpath(os.path.join(self._folder, path)), None


class ImageSource(FrameSource):
    """Images in memory, or paths, with what is known of each; keys as in a table with these.

    Args:
        images: Pillow images, uint8 arrays [H, W, 3] or [H, W], bytes of image files, or paths.
        ids: What identifies each.
        captions: Of each; None for none, a list for several.
        metadata: A mapping of further columns for each, or a table of them.

    Raises:
        InvalidInputError: A single image, or another number of ids, captions or metadata.
    """

    def __init__(
        self,
        images: Iterable[Any],
        *,
        ids: Iterable[Any] | None = None,
        captions: Iterable[Any] | None = None,
        metadata: Any = None,
    ) -> None:
        check_images(images)
        if hasattr(metadata, "to_pylist"):  # an Arrow table
            metadata = metadata.to_pylist()
        elif hasattr(metadata, "to_dict"):  # a DataFrame
            metadata = metadata.to_dict("records")
        every = {"images": images, "ids": ids, "captions": captions, "metadata": metadata}
        given = {name: values for name, values in every.items() if values is not None}
        for name, values in given.items():
            if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
                raise InvalidInputError(f"{name} must be a list with one for each image")
        sizes = {name: len(values) for name, values in given.items() if isinstance(values, Sized)}
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{size:,} {name}" for name, size in sizes.items())
            raise InvalidInputError(f"there must be one of each for every image, got {told}")
        roles = {column: column if name in given else None for column, name in _ROLES.items()}
        layout = Layout(roles["image"], roles["caption"], ("id",) if roles["id"] else ())
        super().__init__(layout, lambda: _image_rows(given), length=sizes.get("images"))

    def columns(self) -> TableColumns | None:
        """None: the values of each image tell."""
        return None


class ImagePairs:
    """Makes pairs of images in memory of which nothing else is known, each named by its content."""

    def __init__(self) -> None:
        self._source = ImageSource(())
        self._seen = SeenIds()

    def __call__(self, image: Any) -> Pair:
        """The pair of an image."""
        return self._source._pair({"image": image}, 0, self._seen)


def _image_rows(given: Mapping[str, Iterable[Any]]) -> Iterator[Mapping[str, Any]]:
    end = object()
    for number, values in enumerate(itertools.zip_longest(*given.values(), fillvalue=end), 1):
        one = dict(zip(given, values, strict=True))
        if any(value is end for value in values):
            short = ", ".join(name for name, value in one.items() if value is end)
            raise InvalidInputError(
                f"{short} end before number {number:,}; there must be one of each for every image"
            )
        extra = one.get("metadata") or {}
        if not isinstance(extra, Mapping):
            raise InvalidInputError(
                f"metadata must be a list of mappings, one for each image, got a "
                f"{type(extra).__name__}"
            )
        if taken := extra.keys() & _ROLES.keys():
            name = min(taken)
            raise InvalidInputError(f"metadata has a column {name!r}; give {_ROLES[name]}= instead")
        row = {column: one[name] for column, name in _ROLES.items() if name in one}
        row |= {str(name): as_json(value) for name, value in extra.items()}
        if "id" in row:
            row["id"] = as_json(row["id"])
        yield {name: value for name, value in row.items() if not as_missing(value)}


def _is_missing(value: Any) -> bool:
    return value is None or value == "" if isinstance(value, str) else as_missing(value)


def as_missing(value: Any) -> bool:
    """Whether a value stands for none: None, NaN and what pandas has for them."""
    if value is None:
        return True
    if isinstance(value, float):
        return value != value
    return type(value).__name__ in ("NaTType", "NAType")


def _key(image: str | bytes | None, caption: str | None) -> str:
    if isinstance(image, str):
        return image
    digest = hashlib.sha256(image or b"")
    if image is None:
        digest.update((caption or "").encode())
    return f"{FRAME}#{digest.hexdigest()[:32]}"


def frame_source(
    source: Any,
    *,
    images: str | None = None,
    captions: str | None = None,
    ids: str | None = None,
    images_root: str | os.PathLike[str] | None = None,
) -> Source | None:
    """A source of the rows of a DataFrame, an Arrow table or reader, or a dataset; None for others.

    What a library gives to others as a stream of Arrow data (`__arrow_c_stream__`) is such a table.

    Args:
        source: What a caller named.
        images: Column with the image: a path, bytes, `{"bytes", "path"}` or a PIL image.
        captions: Column with the caption.
        ids: Column that identifies the row.
        images_root: The folder that relative paths start from; by default the current one.

    Raises:
        SourceError: A column is missing.
        InvalidInputError: It is a dictionary of datasets.
    """
    asked = Asked(images, captions, ids)
    kind = f"{type(source).__module__.partition('.')[0]}.{type(source).__name__}"
    if kind == "datasets.DatasetDict" or kind == "datasets.IterableDatasetDict":
        splits = ", ".join(map(str, source))
        raise InvalidInputError(f"this dataset has several splits; add them one by one: {splits}")
    if kind == "pandas.DataFrame":
        return _of_pandas(source, asked, images_root)
    if hasattr(source, "features") and hasattr(source, "with_format"):
        return _of_dataset(source, asked, images_root)
    if kind.startswith("pyarrow.") or hasattr(source, "__arrow_c_stream__"):
        return _of_arrow(source, asked, images_root)
    return None


def _of_arrow(
    source: Any, asked: Asked, images_root: str | os.PathLike[str] | None
) -> Source | None:
    import pyarrow as pa

    if isinstance(source, pa.RecordBatch):
        source = pa.Table.from_batches([source])
    if hasattr(source, "to_batches"):  # a table, or a `pyarrow.dataset`
        schema, batches = source.schema, source.to_batches
    elif hasattr(source, "__arrow_c_stream__"):
        stream = _Stream(source)
        schema, batches = stream.schema, stream.batches
    else:
        return None
    layout, notes = arrow_layout(schema, "the table", asked)
    names = unique_names(schema.names)[0]

    def rows() -> Iterator[Mapping[str, Any]]:
        for batch in batches():
            for start in range(0, len(batch), _ROWS_AT_ONCE):
                yield from _good(batch_rows(batch.slice(start, _ROWS_AT_ONCE), names, layout))

    length = source.num_rows if isinstance(source, pa.Table) else None
    return FrameSource(layout, rows, length=length, images_root=images_root, notes=notes)


class _Stream:
    """Arrow data that can be read once, or that its owner gives again."""

    def __init__(self, source: Any) -> None:
        import pyarrow as pa

        self._once = isinstance(source, pa.RecordBatchReader)
        self._source = source
        self._reader = source if self._once else pa.RecordBatchReader.from_stream(source)
        self.schema = self._reader.schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The batches that are left, or all of them again."""
        import pyarrow as pa

        yield from self._reader
        if not self._once:
            self._reader = pa.RecordBatchReader.from_stream(self._source)


def _good(rows: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    return (row for row in rows if isinstance(row, Mapping))


def _of_dataset(source: Any, asked: Asked, images_root: str | os.PathLike[str] | None) -> Source:
    """A `datasets.Dataset` or `IterableDataset`, whose images come as they are stored."""
    names = list(source.features or ())
    arrow = source.with_format("arrow")

    def tables() -> Iterator[pa.Table]:
        yield from arrow.iter(batch_size=_ROWS_AT_ONCE)

    first = next(tables(), None)
    if first is None:
        return FrameSource(find_layout(asked, names, "the dataset"), lambda: iter(()), length=0)
    layout, notes = arrow_layout(first.schema, "the dataset", asked)
    columns = unique_names(first.schema.names)[0]

    def rows() -> Iterator[Mapping[str, Any]]:
        for table in tables():
            for batch in table.to_batches():
                yield from _good(batch_rows(batch, columns, layout))

    length = len(source) if hasattr(source, "__len__") else None
    return FrameSource(layout, rows, length=length, images_root=images_root, notes=notes)


def _of_pandas(frame: Any, asked: Asked, images_root: str | os.PathLike[str] | None) -> Source:
    import pyarrow as pa

    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    names, notes = unique_names(frame.columns)
    columns: dict[str, Any] = {}  # Arrow where it has one type, else a list
    likely = None
    for at, name in enumerate(names):
        series = frame.iloc[:, at]
        try:
            columns[name] = pa.array(series, from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            columns[name] = series.tolist()
        given = [value for value in series.head(_SAMPLE).tolist() if not as_missing(value)]
        if likely is None and given and all(_holds_image(value) for value in given):
            likely = name
    typed = {name: column for name, column in columns.items() if isinstance(column, pa.Array)}
    layout = find_layout(asked, names, "the table", likely_image=likely)
    schema = pa.schema([(name, column.type) for name, column in typed.items()])
    types = _types(schema)
    layout = Layout(
        layout.image,
        layout.caption,
        layout.ids,
        types={name: types.get(name, ColumnType()) for name in names},
    )

    def rows() -> Iterator[Mapping[str, Any]]:
        for start in range(0, len(frame), _ROWS_AT_ONCE):
            some = {
                name: _values(column[start : start + _ROWS_AT_ONCE], layout, name)
                for name, column in columns.items()
            }
            for row in zip(*some.values(), strict=True):
                yield {
                    name: value
                    for name, value in zip(some, row, strict=True)
                    if not as_missing(value)
                }

    return FrameSource(layout, rows, length=len(frame), images_root=images_root, notes=notes)


def _types(schema: pa.Schema) -> dict[str, ColumnType]:
    return {field.name: arrow_column(field) for field in schema}


def _values(column: Any, layout: Layout, name: str) -> list[Any]:
    """Values of a column: as they are where they are the image or caption, else as JSON."""
    raw = name in (layout.image, layout.caption)
    if isinstance(column, list):
        return column if raw else [as_json(value) for value in column]
    return column.to_pylist() if raw else from_arrow(column)


def _holds_image(value: Any) -> bool:
    if isinstance(value, Mapping):
        return set(value) == {"bytes", "path"}
    return isinstance(value, Image.Image)
