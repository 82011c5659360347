"""An index as an Arrow table or Parquet file, and back: its items with columns of their types."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..documents import COLUMNS, TYPES
from ..errors import InvalidInputError, SourceError
from ..files import output_file
from ..names import actual, stored
from ..tabular import arrow_type, column_names
from ..types import IngestReport, Item, Modality, Record, own_values
from . import catalog, declared, marks
from .columns import (
    EXPORTED,
    as_text,
    column_kind,
    from_arrow,
    inferred,
    json_text,
    kind_of_type,
    to_arrow,
    type_of_text,
    type_text,
    unified,
)
from .declared import FRAME
from .snapshot import Snapshot, VectorStore
from .writer import Writer

__all__ = ["arrow_table", "import_parquet", "is_export", "vectors_dim", "write_parquet"]

_BATCH = 4096
_COMMIT_ROWS = 50_000
# The plain columns of an item, with `id` first and then those of one type together.
_PLAIN = {
    "id": pa.int64(),
    **{
        name: arrow
        for kind, arrow in ((str, pa.string()), (int, pa.int64()), (float, pa.float64()))
        for name in Record.__dataclass_fields__
        if name in COLUMNS
        if not COLUMNS[name].internal and TYPES[name] in (kind, kind | None)
    },
}
_LISTS = ("tags", "albums")
_VECTORS: dict[str, Modality] = {"image_vector": "image", "caption_vector": "caption"}
_OTHERS = (*_LISTS, "extra", *_VECTORS)


def arrow_table(
    conn: sqlite3.Connection,
    snapshot: Snapshot,
    condition: str,
    values: Sequence[Any],
    *,
    vectors: bool,
) -> pa.Table:
    """Items of a state that satisfy a condition, by ascending id.

    Returns:
        Their own columns, those of their tables with their types, and on request `image_vector` and
        `caption_vector`, null where there is none.
    """
    own = {name: arrow_type(TYPES[name]) for name in own_values([])}
    types = _column_types(conn)
    names = column_names(types, {**own, **_VECTORS})
    vector = pa.list_(pa.float32(), int(snapshot.meta["dim"]))
    schema = pa.schema(
        [
            *own.items(),
            *((names[name], kind) for name, kind in types.items()),
            *((name, vector) for name in _VECTORS if vectors),
        ]
    )
    batches, after = [], 0
    while items := catalog.page(conn, condition, values, after, _BATCH):
        columns: dict[str, Any] = {
            name: pa.array([list(v) if isinstance(v, tuple) else v for v in those], own[name])
            for name, those in own_values(items).items()
        }
        for name, kind in types.items():
            columns[names[name]] = _typed([item.extra.get(name) for item in items], kind)
        for name, modality in _VECTORS.items() if vectors else ():
            columns[name] = _vectors(snapshot.store(modality), items, vector)
        batches.append(pa.table(columns, schema=schema))
        after = items[-1].id
    return pa.concat_tables(batches) if batches else schema.empty_table()


class _Tables:
    """Which table an item came from, and what that table calls its image and caption."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self.roles: dict[str, dict[str, Any]] = catalog.document(conn, declared.TABLES) or {}
        # Of a table that describes the files of a folder, the key of an item is the file's path.
        self._folders = {
            roles["folder"]: name for name, roles in self.roles.items() if "folder" in roles
        }

    def names(self, role: str) -> list[str]:
        """Names of the columns with images, or with captions.

        That of a frame whose images are in `path` is every item's own.
        """
        found = (
            roles[role]
            for table, roles in self.roles.items()
            if (table, roles[role]) != (FRAME, "path")
        )
        return list(dict.fromkeys(name for name in found if name is not None))

    def type(self, role: str, name: str) -> pa.DataType | None:
        """The type of such a column; None for one that held no texts, such as bytes of images."""
        kinds = [
            type_of_text(text)
            for roles in self.roles.values()
            if roles[role] == name and (text := roles.get("types", {}).get(role)) is not None
        ]
        if not kinds:
            return pa.string()
        kind = kinds[0] if all(kind.equals(kinds[0]) for kind in kinds) else pa.string()
        inner = kind.value_type if pa.types.is_dictionary(kind) else kind
        is_text = pa.types.is_string(inner) or pa.types.is_large_string(inner)
        return kind if is_text and _writable(kind) else None

    def of(self, key: str) -> str | None:
        """The table of an item: its key begins with that name, or is a path below the folder."""
        at = key.find("#")
        while at >= 0:
            if key[:at] in self.roles:
                return key[:at]
            at = key.find("#", at + 1)
        folder = os.path.dirname(key) if self._folders else ""
        while folder and folder not in self._folders and folder != os.path.dirname(folder):
            folder = os.path.dirname(folder)
        return self._folders.get(folder) or (FRAME if FRAME in self.roles else None)

    def value(self, item: Item, role: str, name: str) -> str | None:
        """What an item's table has in its column with the image, or the caption."""
        table = self.of(item.key)
        if table is None or self.roles[table][role] != name:
            return None
        if role == "caption":
            return item.caption
        if item.path is None:
            return None
        path = item.path
        if table != FRAME:
            relative = os.path.relpath(path, os.path.dirname(table))
            path = path if relative.startswith(os.pardir + os.sep) else relative
        return stored(path)


def write_parquet(path: Path, conn: sqlite3.Connection, snapshot: Snapshot) -> int:
    """Write all items of a state with their vectors.

    One row an item by ascending id: its own columns, `tags` and `albums` as lists, `extra` as JSON;
    then every column that a table brought, with its type; then `image_vector` and `caption_vector`
    as lists of float32, null where there is none. Where a table's column is named like one of an
    item's own, that one is called `item_NAME`.

    Args:
        path: The file; it appears, or replaces another one, only when it is complete.
        conn: A connection within the transaction of the state.
        snapshot: The state.

    Returns:
        How many items were written.
    """
    dim = int(snapshot.meta["dim"])
    vector = pa.list_(pa.float32(), dim)
    tables = _Tables(conn)
    types = _column_types(conn)
    kinds = catalog.extra_fields(conn)
    roles = {
        name: (role, kind)
        for role in ("caption", "image")
        for name in tables.names(role)
        if name not in types and (kind := tables.type(role, name)) is not None
    }
    if roles.get("caption") == ("caption", pa.string()):
        del roles["caption"]  # which every item has
    taken = {*types, *roles}
    own = {name: _free(name, taken) for name in (*_PLAIN, *_OTHERS)}
    schema = pa.schema(
        [
            *((own[name], kind) for name, kind in _PLAIN.items()),
            *((own[name], pa.list_(pa.string())) for name in _LISTS),
            (own["extra"], pa.string()),
            *((name, kind) for name, (_, kind) in roles.items()),
            *(_field(name, kind, kinds.get(name)) for name, kind in types.items()),
            (own["image_vector"], vector),
            (own["caption_vector"], vector),
        ],
        metadata={
            "model": str(snapshot.meta["model_name"]),
            "fingerprint": str(snapshot.meta["fingerprint"]),
            "generation": str(snapshot.generation),
            # in ASCII, as the name of a table may hold bytes that are no UTF-8
            EXPORTED.decode(): json.dumps(
                {
                    "own": own,
                    "roles": list(roles),
                    "tables": tables.roles,
                    "albums": {album.name: album.created_at for album in marks.albums(conn)},
                    "searches": {one.name: one.request for one in marks.saved_searches(conn)},
                }
            ),
        },
    )
    done = 0
    with output_file(path) as part, pq.ParquetWriter(part, schema) as out:
        after = 0
        while items := catalog.page(conn, "1", (), after, _BATCH):
            columns: dict[str, Any] = {
                own[name]: [getattr(item, name) for item in items] for name in _PLAIN
            }
            for name in ("key", "path"):
                columns[own[name]] = [
                    None if value is None else stored(value) for value in columns[own[name]]
                ]
            for name in _LISTS:
                columns[own[name]] = [list(getattr(item, name)) for item in items]
            columns[own["extra"]] = [
                json_text(dict(item.extra)) if item.extra else None for item in items
            ]
            for name, (role, kind) in roles.items():
                columns[name] = to_arrow([tables.value(item, role, name) for item in items], kind)
            for name, kind in types.items():
                columns[name] = _typed([item.extra.get(name) for item in items], kind)
            for name, modality in _VECTORS.items():
                columns[own[name]] = _vectors(snapshot.store(modality), items, vector)
            out.write_table(pa.table(columns, schema=schema))
            done += len(items)
            after = items[-1].id
    return done


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"item_{name}"
    return name


def _field(name: str, kind: pa.DataType, said: str | None) -> pa.Field:
    """A column, with its type in filters where its Arrow type does not tell."""
    told = {EXPORTED: said} if said == "decimal" and kind_of_type(kind) != said else None
    return pa.field(name, kind, metadata=told)


def _typed(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        return pa.array([as_text(value) for value in values], kind)
    return to_arrow(values, kind)


def _column_types(conn: sqlite3.Connection) -> dict[str, pa.DataType]:
    """Types of the extra columns that hold all values: as declared, else as the values are."""
    types: dict[str, pa.DataType | None] = {
        name: None if text is None else _writable(type_of_text(text))
        for name, text in declared.arrow_types(conn).items()
    }
    wrong: set[str] = set()
    for columns in _pages(conn):
        for name, values in columns.items():
            if types.get(name) is not None and name not in wrong and not _fits(values, types[name]):
                wrong.add(name)
    guessed = wrong | {name for name, kind in types.items() if kind is None}
    if not guessed:
        return {name: kind for name, kind in types.items() if kind is not None}
    types |= dict.fromkeys(guessed)
    for columns in _pages(conn):
        for name in guessed & set(columns):
            new, old = inferred(columns[name]), types[name]
            if new is not None:
                types[name] = new if old is None else unified(old, new) or pa.string()
    for columns in _pages(conn):
        for name in guessed & set(columns):
            if not _fits(columns[name], types[name]):
                types[name] = pa.string()
    return {
        name: pa.string() if kind is None else _writable(kind) or pa.string()
        for name, kind in types.items()
    }


def _pages(conn: sqlite3.Connection) -> Iterator[dict[str, list[Any]]]:
    """Values of the extra columns of all items, a page at a time; absent ones are left out."""
    after = 0
    while True:
        page = conn.execute(
            "SELECT row, extra FROM items WHERE row > ? AND extra IS NOT NULL "
            f"ORDER BY row LIMIT {_BATCH}",
            (after,),
        ).fetchall()
        if not page:
            return
        after = page[-1][0]
        columns: dict[str, list[Any]] = {}
        for _, text in page:
            for name, value in json.loads(text).items():
                if value is not None:
                    columns.setdefault(name, []).append(value)
        yield columns


def _fits(values: Sequence[Any], kind: pa.DataType | None) -> bool:
    if kind is None:
        return False
    try:
        to_arrow(values, kind)
    except (pa.ArrowException, ValueError, TypeError, ArithmeticError, AttributeError, KeyError):
        return False
    return True


def _writable(kind: pa.DataType) -> pa.DataType | None:
    """A type, if Parquet can hold it."""
    try:
        pq.write_table(pa.table({"x": pa.nulls(0, kind)}), io.BytesIO())
    except pa.ArrowException:
        return None
    return kind


def _vectors(store: VectorStore, items: list[Item], kind: pa.DataType) -> pa.Array:
    rows = np.asarray([item.id for item in items], np.int64)
    found, vectors = store.take(rows)
    at = np.searchsorted(found, rows)
    at[at == found.size] = 0
    there = found[at] == rows if found.size else np.zeros(rows.size, bool)
    full = np.zeros((rows.size, store.dim), np.float32)
    full[there] = vectors[at[there]]
    flat = pa.array(full.ravel(), pa.float32())
    return pa.FixedSizeListArray.from_arrays(flat, type=kind, mask=pa.array(~there))


# --- back ---------------------------------------------------------------------------------------


def is_export(path: Path) -> bool:
    """Whether a file is what `write_parquet` writes."""
    try:
        return EXPORTED in (pq.read_schema(path).metadata or {})
    except (OSError, pa.ArrowException):
        return False


def vectors_dim(path: Path) -> int:
    """Length of the vectors in an exported file."""
    schema = pq.read_schema(path)
    own = json.loads(schema.metadata[EXPORTED])["own"]
    return int(schema.field(own["image_vector"]).type.list_size)


def import_parquet(
    open_writer: Callable[[], Writer], path: Path, dim: int, fingerprint: str
) -> IngestReport:
    """Read the items of an exported file, with their vectors: nothing is encoded.

    Args:
        open_writer: Opens the writer of the index.
        path: A file that `write_parquet` wrote.
        dim: Dimension of the index.
        fingerprint: Of the index's model.

    Returns:
        A report; ids are given anew, and a row that cannot be stored is counted as skipped.

    Raises:
        SourceError: It cannot be read, or comes from an index of another model.
    """
    started = time.perf_counter()
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as exc:
        raise SourceError(f"{path} cannot be read: {exc}") from exc
    schema = file.schema_arrow
    metadata = schema.metadata or {}
    if EXPORTED not in metadata:
        raise SourceError(f"{path} is no export of an index; `clipsearch index` reads tables")
    if metadata[b"fingerprint"].decode() != fingerprint:
        raise SourceError(
            f"{path} was exported from an index of {metadata[b'model'].decode()}, whose vectors "
            "cannot be compared with those of this index; `clipsearch index` encodes its images"
        )
    said = json.loads(metadata[EXPORTED])
    counts = dict.fromkeys(("seen", "indexed", "updated", "skipped"), 0)
    tags: list[tuple[int, str]] = []
    in_albums: defaultdict[str, list[int]] = defaultdict(list)
    with open_writer() as writer:
        for name, created_at in said.get("albums", {}).items():
            writer.change(partial(marks.create_album, name=name, created_at=created_at))
        for name, request in said.get("searches", {}).items():
            if not any("item" in term for term in request.get("terms", ())):  # ids are given anew
                writer.change(partial(marks.save_search, name=name, request=request))
        _keep_columns(writer, schema, said)
        for batch in file.iter_batches(_BATCH):
            _import_batch(writer, batch, said, dim, counts, tags, in_albums)
            if writer.staged >= _COMMIT_ROWS:
                writer.commit()
        if tags:
            writer.set_tags(
                [row for row, _ in tags],
                [label for _, label in tags],
                name=f"imported from {path.name}",
            )
        for album, rows in in_albums.items():
            writer.add_to_album(album, rows)
    return IngestReport(
        seen=counts["seen"],
        indexed=counts["indexed"],
        updated=counts["updated"],
        skipped=counts["skipped"],
        seconds=time.perf_counter() - started,
    )


def _keep_columns(writer: Writer, schema: pa.Schema, said: Mapping[str, Any]) -> None:
    left_out = {*said["own"].values(), *said["roles"]}
    types = {
        field.name: (type_text(field.type), column_kind(field))
        for field in schema
        if field.name not in left_out
    }
    if new := writer.read(lambda conn: declared.undeclared(conn, types)):
        writer.change(lambda conn: declared.declare(conn, new))
    known = writer.read(lambda conn: catalog.document(conn, declared.TABLES)) or {}
    if said["tables"] and known != {**known, **said["tables"]}:
        writer.set_meta(declared.TABLES, {**known, **said["tables"]})


def _import_batch(
    writer: Writer,
    batch: pa.RecordBatch,
    said: Mapping[str, Any],
    dim: int,
    counts: dict[str, int],
    tags: list[tuple[int, str]],
    in_albums: defaultdict[str, list[int]],
) -> None:
    own: dict[str, str] = said["own"]
    left_out = {*own.values(), *said["roles"]}
    there = [(name, own[name]) for name in (*_PLAIN, *_LISTS) if own[name] in batch.schema.names]
    plain = {name: batch.column(column).to_pylist() for name, column in there if name != "id"}
    for name in ("key", "path"):
        plain[name] = [None if value is None else actual(value) for value in plain[name]]
    labels, albums = (plain.pop(name, [None] * len(batch)) for name in _LISTS)
    extras = {
        name: from_arrow(batch.column(name)) for name in batch.schema.names if name not in left_out
    }
    records = [
        Record(
            **{name: values[at] for name, values in plain.items()},
            extra={name: v[at] for name, v in extras.items() if v[at] is not None},
        )
        for at in range(len(batch))
    ]
    blocks = {m: _block(batch.column(own[f"{m}_vector"]), dim) for m in ("image", "caption")}
    known = set(writer.lookup([record.key for record in records]))
    ends = writer.put_many(records, images=blocks["image"], captions=blocks["caption"])
    for record, end, of_item, within in zip(records, ends, labels, albums, strict=True):
        counts["seen"] += 1
        if isinstance(end, InvalidInputError):
            counts["skipped"] += 1
            continue
        counts["indexed"] += 1
        counts["updated"] += record.key in known
        tags += [(end, label) for label in of_item or ()]
        for album in within or ():
            in_albums[album].append(end)


def _block(column: pa.Array, dim: int) -> tuple[Any, Any] | None:
    at = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    if not at.size:
        return None
    vectors = column.drop_null().flatten().to_numpy(zero_copy_only=False)
    return at.astype(np.int64), vectors.reshape(-1, dim)
