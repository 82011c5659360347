"""A source as a Ray Data datasource: slices of pairs, in the order of the source.

A row of the dataset is one slice, a pickled list of pairs, so that what a worker takes at a time,
and what is done again when it dies, is a matter of this module and not of block sizes. Tar shards
are read by a task each. Any other source is read by one task, which streams: it lists a folder
or reads a table and stays only a few slices ahead of the workers.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ..errors import SourceError
from ..intake.pairs import Pair, Source, TableColumns, in_chunks
from ..intake.places import open_place
from ..intake.sources import IterableSource
from ..intake.tar_shards import ShardSource

__all__ = ["COLUMN", "Remarks", "pack", "pair_datasource", "parts_of", "unpack"]

COLUMN = "slice"
_SLICE_BYTES = 32 * 1024 * 1024  # of images that pairs carry with them


@dataclass(frozen=True, slots=True)
class Remarks:
    """What is to be said of a part of the source, after its last slice."""

    lines: tuple[str, ...]  # for the report
    columns: TableColumns | None = None  # of the tables in it


def pack(value: Any) -> pa.Table:
    """One slice as a table of one row."""
    data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return pa.table({COLUMN: pa.array([data], pa.large_binary())})


def unpack(table: pa.Table) -> Iterator[Any]:
    """The slices of a table."""
    for cell in table.column(COLUMN):
        yield pickle.loads(cell.as_buffer())  # noqa: S301 - made by `pack`, within the cluster


def parts_of(source: Source) -> list[Source]:
    """Sources that can be read by themselves, and that make up the whole in their order."""
    if isinstance(source, ShardSource):
        names = source.shards
        return [source] if len(names) == 1 else [_OneOfMany(source.one(name)) for name in names]
    try:
        pickle.dumps(source)
    except (pickle.PicklingError, TypeError, AttributeError):
        # A generator or stdin can only be read here, and once.
        return [IterableSource(list(source))]
    return [source]


class _OneOfMany(Source):
    """One tar shard of many: if it cannot be opened, that is one skipped pair and no error."""

    def __init__(self, shard: ShardSource) -> None:
        (self._name,) = shard.shards
        self._shard = shard

    def __iter__(self) -> Iterator[Pair]:
        place = open_place(self._name)
        try:
            place.open().close()
        except SourceError as exc:
            yield Pair(key=place.name, refused=str(exc))
            return
        found = False
        try:
            for pair in self._shard:
                found = True
                yield pair
        except SourceError:
            if found:
                raise

    def remarks(self) -> list[str]:
        """Those of the shard."""
        return self._shard.remarks()


def pair_datasource(parts: list[Source], size: int) -> Any:
    """A `ray.data.Datasource` that yields the slices of sources, one row each.

    Args:
        parts: What `parts_of` returned.
        size: Pairs in a slice, at most.
    """
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    def task(part: Source) -> Any:
        metadata = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return ReadTask(lambda: _read(part, size), metadata)

    class PairDatasource(Datasource):  # type: ignore[misc] # Ray is untyped here
        """Pairs of a clipsearch source."""

        def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[Any]:
            return [task(part) for part in parts]

        def estimate_inmemory_data_size(self) -> int | None:
            return None

    return PairDatasource()


def _read(part: Source, size: int) -> Iterator[pa.Table]:
    """Runs on a node: the slices of one part. A source's own error travels as a slice."""
    try:
        for chunk in in_chunks(part, size, _SLICE_BYTES):
            yield pack(chunk)
        remarks = Remarks(tuple(part.remarks()), part.columns())
        if remarks.lines or remarks.columns is not None:
            yield pack(remarks)
    except SourceError as exc:
        yield pack(exc)
