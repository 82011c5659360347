"""Indexing on a cluster: Ray Data reads and embeds, the driver stores and commits meanwhile.

Results come back from the workers in the order of the source, and the driver triages and stores
them by the same lines of code as one machine; only the embedding is another. So an interrupted job
also resumes the same way.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ClipSearchError, InvalidInputError
from ..files import expanded
from ..ingest import IngestOptions, open_for
from ..intake.embedder import Chunks, Embedded, Stored
from ..intake.log import IngestLog
from ..intake.pairs import Pair, Source, TableColumns
from ..intake.places import is_url
from ..models import check_trusted
from ..types import IngestReport, Precision, Progress
from .connection import connected, of_ray, require_ray
from .preflight import Worker, check_nodes, size_workers, watched_nodes
from .slices import pair_datasource, parts_of, unpack
from .worker import EmbeddedSlice, EmbedWorker, KnownItems, WorkerSettings

if TYPE_CHECKING:
    from ..index import Index

__all__ = ["ClusterEmbedder", "ClusterOptions", "add_on_cluster"]

# Pairs that a worker takes at a time, which is also what is done again when it dies: a second or
# so of work, long against the milliseconds that Ray needs for a task.
_SLICE_ON_CPU = 64
_SLICE_ON_GPU = 256
_SIDE_BY_SIDE = 3  # slices a worker has in hand: one is decoded while two are encoded
_IN_FLIGHT = 4  # slices sent to a worker, so that it never waits for the next one


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """Where the work is done."""

    address: str = "local"  # of the cluster: local, auto or HOST:PORT
    workers: int | None = None  # None: one for every GPU, or for every four CPUs
    gpus_per_worker: float = 0.0
    device: str = "auto"
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise InvalidInputError(f"there must be at least one worker, not {self.workers}")
        if self.gpus_per_worker < 0:
            raise InvalidInputError("a worker cannot have less than no GPU")


def add_on_cluster(
    index: Index,
    source: str | os.PathLike[str] | Source | Iterable[Any],
    *,
    cluster: ClusterOptions,
    progress: Callable[[Progress], None] | None = None,
    options: IngestOptions | None = None,
) -> IngestReport:
    """Bring an index up to date with a source, embedding on a Ray cluster; as `Index.add`.

    Args:
        index: An index that was opened with its encoder. Its folder need not be shared.
        source: As for `Index.add`; the nodes must see its files under the same names.
        cluster: Where the work is done.
        progress: Called now and then.
        options: How to work.

    Returns:
        The report, the same as on one machine.

    Raises:
        MissingExtraError: The extra `ray` is not installed.
        ClusterError: There is no cluster, it does not fit, or it failed. What was committed stays.
        SourceError: The source is not there, is empty, or lacks a column.
        IndexLockedError: Another process is writing.
        ImageDecodeError: With `on_error="raise"`: the first pair that cannot be indexed.
        ModelLoadError: As `models.check_trusted`.
    """
    check_trusted(index.model_name)  # which workers load
    options = options or IngestOptions()
    opened = open_for(lambda: index.writer(wait=options.wait), source, options)
    with contextlib.ExitStack() as stack:
        stack.enter_context(connected(cluster.address))
        capacities = check_nodes(
            model=index.model_name,
            sources=_shared_paths(source),
            gpus=cluster.gpus_per_worker,
        )
        count, worker = size_workers(
            capacities, workers=cluster.workers, gpus=cluster.gpus_per_worker
        )
        settings = WorkerSettings(
            model=index.model_name,
            fingerprint=index.fingerprint,
            device=cluster.device,
            precision=cluster.precision,
            gpus=worker.gpus,
            threads=worker.threads,
            batch_size=options.batch_size,
            max_pixels=options.max_pixels,
            timeout_s=options.timeout_s,
            rescan=options.rescan,
            hash_first=len(index) > 0,
        )
        stream = stack.enter_context(
            contextlib.closing(_results(opened, index.path, settings, count, worker))
        )
        stack.enter_context(_translated())
        stack.enter_context(watched_nodes(cluster.gpus_per_worker))
        return index.add(
            opened,
            progress=progress,
            options=options,
            embedder=ClusterEmbedder(stream, workers=count, decoders=count * worker.threads),
        )


class ClusterEmbedder:
    """What workers have embedded, in place of the embedding of this machine.

    Args:
        results: What they made of the slices of the source, in its order.
        workers: How many there are.
        decoders: How many decoders they have together.
    """

    hash_first = False  # workers hash

    def __init__(
        self, results: Iterable[EmbeddedSlice], *, workers: int = 1, decoders: int = 1
    ) -> None:
        self.workers = decoders
        self.columns: Sequence[TableColumns] = ()
        self._models = workers
        self._results = results
        self._slice = EmbeddedSlice([], {}, {})

    def chunks(self, source: Source) -> Iterator[list[Pair]]:
        """The pairs of a source, which the workers have read, slice by slice."""
        for found in self._results:
            self._slice = found
            if found.remarks is not None and found.remarks.columns is not None:
                self.columns = (*self.columns, found.remarks.columns)
            yield [one.pair for one in found.embedded]

    def embed(
        self, chunks: Chunks, *, log: IngestLog | None = None, stored: Stored | None = None
    ) -> Iterator[list[Embedded]]:
        """The candidates among the pairs of `chunks`, with what the workers made of them."""
        for candidates in chunks:
            made = {id(one.pair): one for one in self._slice.embedded}
            batch = []
            for candidate in candidates:
                one = made[id(candidate.pair)]
                one.candidate = candidate
                if one.error is None and one.lacks_caption:
                    self.again(one)
                batch.append(one)
            if log is not None:
                log.notes.update(self._slice.notes)
                if self._slice.remarks is not None:
                    log.remarks += self._slice.remarks.lines
                for stage, seconds in self._slice.busy.items():
                    log.busy[stage] += seconds / (self._models if stage == "encode" else 1)
            yield batch

    def again(self, embedded: Embedded) -> None:
        """Mark it as failed: no worker is left to ask."""
        embedded.error = "the file changed while the job ran; index it again"
        embedded.passing = "limit"

    caption_again = again


def _shared_paths(source: Any) -> list[str]:
    """The local path that a source names, which every node must see."""
    if not isinstance(source, str | os.PathLike):
        return []
    text = os.fspath(source).removeprefix("file://")
    if text == "-" or is_url(text):
        return []
    path = expanded(text).absolute()
    return [str(path.parent if "{" in text else path)]


def _results(
    source: Source, folder: Path, settings: WorkerSettings, count: int, worker: Worker
) -> Generator[EmbeddedSlice]:
    """Run the job; yields slices of results in the order of the source as they are ready."""
    ray = require_ray()
    from ray.data import ActorPoolStrategy, read_datasource
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    known = ray.remote(num_cpus=0, max_concurrency=1, scheduling_strategy=here)(KnownItems).remote(
        str(folder)
    )
    parts = parts_of(source)
    try:
        with _data_context():
            dataset = read_datasource(
                pair_datasource(parts, _SLICE_ON_GPU if worker.gpus else _SLICE_ON_CPU),
                num_cpus=0,  # it waits for storage, and must never wait for a worker's CPU
                override_num_blocks=len(parts),
                concurrency=min(len(parts), max(2, count)),
            ).map_batches(
                EmbedWorker,
                batch_size=1,  # a row, which is a slice; with GPUs Ray wants a number
                batch_format="pyarrow",
                fn_constructor_args=(settings, known),
                compute=ActorPoolStrategy(
                    size=count,
                    max_tasks_in_flight_per_actor=_IN_FLIGHT,
                    max_concurrent_calls_per_actor=_SIDE_BY_SIDE,
                    enable_true_multi_threading=True,
                ),
                num_cpus=worker.cpus,
                num_gpus=worker.gpus or None,
            )
            for table in dataset.iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=0
            ):
                for found in unpack(table):
                    if isinstance(found, ClipSearchError):
                        raise found
                    yield found
    finally:
        ray.kill(known)


@contextlib.contextmanager
def _data_context() -> Iterator[None]:
    """Ray Data set up for this job: in order, a block a slice, without bars; then as before."""
    from ray.data import DataContext

    context = DataContext.get_current()
    logger = logging.getLogger("ray.data")
    before = (
        context.execution_options.preserve_order,
        context.target_max_block_size,
        context.enable_progress_bars,
        logger.level,
    )
    context.execution_options.preserve_order = True
    context.target_max_block_size = 1  # bytes: Ray ends a block after every row
    context.enable_progress_bars = False
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        (
            context.execution_options.preserve_order,
            context.target_max_block_size,
            context.enable_progress_bars,
            level,
        ) = before
        logger.setLevel(level)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn Ray's errors into ours."""
    ray = require_ray()
    try:
        yield
    except ray.exceptions.RayError as exc:
        raise of_ray(exc) from exc
