"""Tables of image-text pairs in files, read in chunks."""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from typing import IO, Any

from ..engine.columns import as_json
from ..errors import ImageDecodeError, SourceError
from ..names import actual
from .inside import cell_place, file_around, read_inside
from .layouts import Asked, ColumnType, Layout
from .pairs import Pair, Source, TableColumns, clean_text
from .places import LocalPlace, Place, is_url, open_place
from .rows import TABLE_SUFFIXES, Bad, Rows, open_rows, table_suffix

__all__ = ["TABLE_SUFFIXES", "SeenIds", "TableSource", "columns_of", "id_text"]

_TRIED_FOLDERS = 20  # images that are looked for to tell in which folder they are


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
        images_root: The folder that relative paths start from; by default the table's.

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
        images_root: str | os.PathLike[str] | None = None,
    ) -> None:
        self._place = open_place(table, root=images_root)
        self._has_root = images_root is not None
        self._asked = Asked(images, captions, ids)
        self._outside = outside

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process, which looks at the table itself."""
        return {name: value for name, value in self.__dict__.items() if name != "_rows"}

    @functools.cached_property
    def _rows(self) -> Rows:
        return _opened(self._place, self._asked)

    def remarks(self) -> list[str]:
        """How the table was read, where that was not plain."""
        return [*self._rows.notes, *columns_of(self._rows.layout, self._place.name).notes()]

    def columns(self) -> TableColumns:
        """Which columns the table has."""
        return columns_of(self._rows.layout, self._place.name)

    def __iter__(self) -> Iterator[Pair]:
        rows, seen, number = self._rows, SeenIds(), 0
        place, used = self._with_images(rows), rows.layout.used()
        for number, row in enumerate(rows, 1):
            if isinstance(row, Bad):
                yield Pair(key=f"{self._place.name}#row {number}", refused=row.reason)
            else:
                yield self._pair(row, number, rows.layout, used, seen, place)
        if number == 0:
            raise SourceError(f"{self._place.name} has no rows")

    def _pair(
        self,
        row: Mapping[str, Any],
        number: int,
        layout: Layout,
        used: Collection[str | None],
        seen: SeenIds,
        place: Place,
    ) -> Pair:
        own = {name: row[name] for name in layout.ids if row.get(name) is not None}
        name: Any = number
        if layout.ids:
            name = next((text for value in own.values() if (text := id_text(value))), None)
            if name is None:
                key = f"{self._place.name}#row {number}"
                return Pair(key=key, refused=f"no {layout.ids[0]!r} in the row")
            if not seen.add(name):
                key = f"{self._place.name}#row {number}"
                return Pair(key=key, refused=f"the id {name[:80]!r} came before")
        caption = row.get(layout.caption) if layout.caption else None
        image, inside, refused = self._image(row, number, layout, place)
        return Pair(
            key=f"{self._place.name}#{name}" if layout.key is None else actual(row[layout.key]),
            image=image,
            caption=caption_text(caption),
            ids=own,
            extra=extra_of(row, layout, used),
            place=inside,
            refused=refused,
        )

    def _image(
        self, row: Mapping[str, Any], number: int, layout: Layout, place: Place
    ) -> tuple[str | bytes | None, str | None, str | None]:
        """The image of a row, its place where it lies in the table, and why it cannot be had."""
        value = row.get(layout.image) if layout.image else None
        if isinstance(value, Mapping):  # {"bytes": ..., "path": ...}, as datasets store it
            value = value.get("bytes") or value.get("path")
        if value is None or value == "":
            inside = row.get(layout.place) if layout.place else None
            return self._inside(inside) if isinstance(inside, str) else (None, None, None)
        if isinstance(value, bytes):
            return value, self._cell(layout.image, number), None
        if not isinstance(value, str):
            return None, None, f"the image is a {type(value).__name__}, not a path"
        if "\0" in value:
            return None, None, "the path contains a NUL character"
        if layout.key is not None:  # an export, in which names are as they are stored
            value = actual(value)
        image, refused = place.image(value, outside=self._outside)
        return image, None, refused

    def _cell(self, column: str | None, number: int) -> str | None:
        """The place of an image that lies in a Parquet file of this machine."""
        if column is None or not isinstance(self._place, LocalPlace):
            return None
        if table_suffix(self._place.name) not in (".parquet", ".pq"):
            return None
        return cell_place(self._place.name, column, number - 1)

    def _inside(self, inside: str) -> tuple[str | bytes | None, str | None, str | None]:
        """An image in another table or archive, of which an export tells."""
        try:
            around, refused = self._place.image(file_around(inside), outside=self._outside)
            if refused is not None or not isinstance(around, str):
                return None, None, refused or "in a file of another machine"
            return read_inside(inside), inside, None
        except (ImageDecodeError, ValueError, KeyError) as exc:
            return None, None, str(exc)

    def _with_images(self, rows: Rows) -> Place:
        """The table's place, with the folder of those in question that has most of the images."""
        if self._has_root or not rows.folders or not isinstance(self._place, LocalPlace):
            return self._place
        names = []
        for row in rows:
            value = None if isinstance(row, Bad) else row.get(rows.layout.image or "")
            if isinstance(value, str):
                names.append(value)
            if len(names) == _TRIED_FOLDERS:
                break
        here = os.path.dirname(self._place.name)
        best, most = here, 0
        for folder in rows.folders:
            full = os.path.normpath(os.path.join(here, folder))
            found = sum(os.path.isfile(os.path.join(full, name)) for name in names)
            if found > most:
                best, most = full, found
        return LocalPlace(self._place.name, root=best)


class SeenIds:
    """Which ids came before, in a scratch file of SQLite's, so that memory stays bounded."""

    def __init__(self) -> None:
        self._conn = sqlite3.connect("", check_same_thread=False)
        self._conn.execute("CREATE TABLE seen (id TEXT PRIMARY KEY) WITHOUT ROWID")

    def add(self, name: str) -> bool:
        """Whether the id is new."""
        value = name.encode("utf-8", "surrogatepass")
        return self._conn.execute("INSERT OR IGNORE INTO seen VALUES (?)", [value]).rowcount == 1


def columns_of(layout: Layout, name: str) -> TableColumns:
    """What a table's columns are, for the index."""
    types: Mapping[str, ColumnType] = layout.types
    kinds = {
        role: types[name].arrow
        for role, name in (("image", layout.image), ("caption", layout.caption))
        if name is not None and name in types
    }
    roles = {
        "image": layout.image,
        "caption": layout.caption,
        "ids": list(layout.ids),
        "types": kinds,
    }
    used = layout.used() - set(layout.ids)
    return TableColumns(
        tables={name: roles} if layout.key is None else layout.tables,
        types={
            column: (kind.arrow, kind.kind)
            for column, kind in types.items()
            if column not in used or (column == layout.caption and kind.kind == "list")
        },
    )


def extra_of(
    row: Mapping[str, Any], layout: Layout, used: Collection[str | None]
) -> dict[str, Any]:
    """The extra columns of a row; captions that are a list stay a column too."""
    extra = {name: value for name, value in row.items() if name not in used}
    if layout.caption is not None and isinstance(several := row.get(layout.caption), list):
        extra[layout.caption] = as_json(several)
    return extra


def id_text(value: Any) -> str | None:
    """The text that stands for an id in a key; None for a blank one."""
    text = value if isinstance(value, str) else str(value)
    return text if text.strip() else None


def caption_text(value: Any) -> str | None:
    """The caption in a cell: a text, or several, of which each is a line."""
    if isinstance(value, list | tuple):
        lines = (caption_text(one) for one in value)
        return "\n".join(line for line in lines if line) or None
    return None if value is None else clean_text(str(value))


def _opened(place: Place, asked: Asked) -> Rows:
    """The rows of a table, which is looked at once as long as it does not change."""
    if isinstance(place, LocalPlace):
        try:
            status = os.stat(place.name)
        except OSError as exc:
            raise SourceError(f"cannot read {place.name}: {exc.strerror or exc}") from exc
        stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return _looked_at(place.name, asked, stamp)
    return open_rows(place.open, place.name, asked)


@functools.lru_cache(maxsize=1)  # it may hold a whole JSON document
def _looked_at(name: str, asked: Asked, stamp: tuple[int, ...]) -> Rows:
    def opened() -> IO[bytes]:
        return LocalPlace(name).open()

    return open_rows(opened, name, asked)


def is_table(name: str) -> bool:
    """Whether a path or URL ends as a table does, and as no image or folder."""
    return table_suffix(name) is not None and (
        is_url(name) or os.path.isfile(os.path.expanduser(name))
    )
