"""Embeddings that were made elsewhere, read into an index."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import InvalidInputError, SourceError
from ..names import actual
from ..types import IngestReport, Record
from . import declared
from .columns import from_arrow, kind_of_type, type_text
from .file_facts import hash_file
from .file_state import FileState
from .writer import Writer

__all__ = ["embeddings_dim", "import_embeddings"]

_BATCH = 4096
_COMMIT_ROWS = 50_000
_OWN = ("image_path", "path", "caption", "text")  # columns that are no extra columns


def import_embeddings(open_writer: Callable[[], Writer], folder: Path, dim: int) -> IngestReport:
    """Read embeddings in the layout that clip-retrieval writes.

    That is `img_emb/img_emb_N.npy`, `text_emb/text_emb_N.npy` (either may be missing) and
    `metadata/metadata_N.parquet`, whose rows belong to the rows of the vectors. `image_path` (or
    `path`) and `caption` (or `text`) become path and caption; other columns become extra columns.

    Args:
        open_writer: Opens the writer of the index.
        folder: The folder of the embeddings, made with the model of the index.
        dim: Dimension of the index.

    Returns:
        A report; a row whose vectors are unusable is counted as skipped.

    Raises:
        SourceError: There are no embeddings, or vectors and metadata do not fit together.
    """
    started = time.perf_counter()
    shards = _shards(folder)
    with open_writer() as writer:
        counts = {"seen": 0, "indexed": 0, "updated": 0, "skipped": 0}
        for name, parts in shards.items():
            _import_shard(writer, folder, name, parts, dim, counts)
            writer.commit()
    return IngestReport(
        seen=counts["seen"],
        indexed=counts["indexed"],
        updated=counts["updated"],
        skipped=counts["skipped"],
        seconds=time.perf_counter() - started,
        notes=(f"the embeddings must come from the index's model; {dim} dimensions fit",),
    )


def _shards(folder: Path) -> dict[str, dict[str, Path]]:
    layout = {
        "image": ("img_emb", "img_emb_", ".npy"),
        "caption": ("text_emb", "text_emb_", ".npy"),
        "metadata": ("metadata", "metadata_", ".parquet"),
    }
    shards: dict[str, dict[str, Path]] = {}
    for part, (sub, prefix, suffix) in layout.items():
        for path in sorted((folder / sub).glob(f"{prefix}*{suffix}")):
            name = path.name.removeprefix(prefix).removesuffix(suffix)
            shards.setdefault(name, {})[part] = path
    shards = {n: p for n, p in shards.items() if "image" in p or "caption" in p}
    if not shards:
        raise SourceError(
            f"{folder} holds no embeddings: img_emb/img_emb_0.npy or text_emb/text_emb_0.npy, with "
            "metadata/metadata_0.parquet, are expected, as clip-retrieval inference writes them"
        )
    return dict(sorted(shards.items(), key=lambda item: (len(item[0]), item[0])))


def _import_shard(
    writer: Writer,
    folder: Path,
    name: str,
    parts: dict[str, Path],
    dim: int,
    counts: dict[str, int],
) -> None:
    total = _length(name, parts)
    table = _metadata(parts["metadata"]) if "metadata" in parts else None
    if table is not None:
        _declare(writer, table.schema)
    arrays = {m: _load(parts[m], dim) for m in ("image", "caption") if m in parts}
    for start in range(0, total, _BATCH):
        stop = min(start + _BATCH, total)
        rows = [{}] * (stop - start) if table is None else _rows(table.slice(start, stop - start))
        records = [
            _record(row, f"{folder.name}/{name}#{number}") for number, row in enumerate(rows, start)
        ]
        at = np.arange(stop - start)
        vectors = {modality: (at, array[start:stop]) for modality, array in arrays.items()}
        known = set(writer.lookup([record.key for record in records]))
        ends = writer.put_many(
            records, images=vectors.get("image"), captions=vectors.get("caption")
        )
        for record, end in zip(records, ends, strict=True):
            counts["seen"] += 1
            if isinstance(end, InvalidInputError):
                counts["skipped"] += 1
                continue
            counts["indexed"] += 1
            counts["updated"] += record.key in known
            known.add(record.key)
        if writer.staged >= _COMMIT_ROWS:
            writer.commit()


def embeddings_dim(folder: Path) -> int:
    """Length of the vectors in a folder that `import_embeddings` takes, after a look at all of it.

    Raises:
        SourceError: There are no embeddings, they cannot be read, or do not fit together.
    """
    dims: dict[int, Path] = {}
    for name, parts in _shards(folder).items():
        _length(name, parts)
        for part in ("image", "caption"):
            if part in parts:
                dims.setdefault(int(_open(parts[part]).shape[1]), parts[part])
    if len(dims) > 1:
        told = ", ".join(f"{path} has {dim}" for dim, path in dims.items())
        raise SourceError(f"the vectors differ in length: {told}; import one model's at a time")
    return next(iter(dims))


def _length(name: str, parts: dict[str, Path]) -> int:
    """How many rows a shard has, in all its parts alike."""
    lengths = {
        path: _metadata_rows(path) if part == "metadata" else len(_open(path))
        for part, path in parts.items()
    }
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{path} has {n}" for path, n in lengths.items())
        raise SourceError(f"the rows of shard {name} do not fit together: {told}")
    return next(iter(lengths.values()))


def _load(path: Path, dim: int) -> Any:
    array = _open(path)
    if array.shape[1] != dim:
        raise SourceError(
            f"{path} has the shape {list(array.shape)}, but the index holds vectors of {dim}. "
            "Make an index for the model that the embeddings come from."
        )
    return array


def _open(path: Path) -> Any:
    try:
        if not path.is_file():
            raise SourceError(f"{path} is not a file")
        # Mapped, it cannot be larger than its file; no pickle is read.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except SourceError:
        raise
    except Exception as exc:  # numpy hands on whatever Python says of a broken header
        raise SourceError(f"{path} cannot be read: {exc}") from exc
    if array.ndim != 2 or array.dtype.kind != "f":
        raise SourceError(
            f"{path} holds {array.dtype} {list(array.shape)}, not a matrix of vectors"
        )
    return array


def _metadata(path: Path) -> pa.Table:
    with _readable(path):
        return pq.read_table(path)


def _metadata_rows(path: Path) -> int:
    with _readable(path):
        return int(pq.read_metadata(path).num_rows)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as exc:
        raise SourceError(f"{path} cannot be read: {exc}") from exc


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows with their values as an index keeps them."""
    columns = {name: _values(table[name]) for name in table.column_names}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(column: pa.ChunkedArray) -> list[Any]:
    return [value for chunk in column.chunks for value in from_arrow(chunk)]


def _declare(writer: Writer, schema: pa.Schema) -> None:
    """Keep the types of the columns that become extra columns."""
    types = {
        field.name: (type_text(field.type), kind_of_type(field.type))
        for field in schema
        if field.name not in _OWN
    }
    if new := writer.read(lambda conn: declared.undeclared(conn, types)):
        writer.change(lambda conn: declared.declare(conn, new))


def _record(row: dict[str, Any], fallback: str) -> Record:
    rest = dict(row)
    path = _text(rest.pop("image_path", None)) or _text(rest.pop("path", None))
    caption = _text(rest.pop("caption", None)) or _text(rest.pop("text", None))
    absolute = actual(path) if path is not None and os.path.isabs(path) else None
    extra = {name: value for name, value in rest.items() if value is not None}
    if path is not None and absolute is None:
        extra["image_path"] = path
    facts = {} if absolute is None else _facts(absolute)
    return Record(key=absolute or fallback, path=absolute, caption=caption, extra=extra, **facts)


def _facts(path: str) -> dict[str, Any]:
    """Hash and state of a file, if it is there: an image without them is not shown to others."""
    with contextlib.suppress(OSError, ValueError):
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode):
            return {"sha256": hash_file(Path(path)), **asdict(FileState.of(status))}
    return {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
