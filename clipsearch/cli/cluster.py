"""The command `shard`, and what `--ray` does in other commands."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InvalidInputError
from ..locations import existing_index
from .options import IndexName
from .output import note
from .page import note_hidden
from .trust import may_load

if TYPE_CHECKING:
    from ..index import Index
    from ..ingest import IngestOptions
    from ..server.settings import ServerSettings
    from ..types import IngestReport, Precision, Progress

__all__ = ["Cluster", "serve_on_cluster", "shard"]


def shard(
    name: IndexName = None,
    shards: Annotated[int, typer.Option("-n", "--shards", min=1, help="Number of shards.")] = 2,
) -> None:
    """Split an index into shards for `clipsearch serve --ray`.

    The index itself is not changed. The shards are written beside it, to NAME.shards, and keep its
    IDs.

        clipsearch shard -i photos --shards 8
    """
    from ..cluster import shard_index

    made = shard_index(existing_index(name), shards)
    for part in made.shards:
        note(f"{part.items:,} items in {part.folder}")
    note(f"serve them: clipsearch serve --ray auto -i {name or made.name}")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where `clipsearch index` encodes: on a Ray cluster if there is an address, else locally."""

    address: str | None
    workers: int | None
    gpus_per_worker: float
    device: str
    precision: Precision

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """Connect, so that a wrong address is reported before an index is created."""
        if self.address is None:
            if self.workers is not None or self.gpus_per_worker:
                raise InvalidInputError("--num-workers and --gpus-per-worker need --ray")
            yield
            return
        from ..cluster.connection import connected

        with connected(self.address):
            yield

    def add(
        self,
        index: Index,
        source: str,
        *,
        progress: Callable[[Progress], None] | None,
        options: IngestOptions,
    ) -> IngestReport:
        """Bring an index up to date with one source."""
        if self.address is None:
            return index.add(source, on_error=options.on_error, progress=progress, options=options)
        from ..cluster import ClusterOptions, add_on_cluster

        cluster = ClusterOptions(
            address=self.address,
            workers=self.workers,
            gpus_per_worker=self.gpus_per_worker,
            device=self.device,
            precision=self.precision,
        )
        return add_on_cluster(index, source, cluster=cluster, progress=progress, options=options)


def serve_on_cluster(
    names: list[str] | None,
    *,
    address: str,
    host: str,
    port: int,
    trust_model: bool,
    settings: ServerSettings,
    **options: Any,
) -> None:
    """What `clipsearch serve --ray` does: serve one index until Ctrl-C or SIGTERM."""
    from ..cluster import ServeOptions, serve_shards
    from ..index import Index

    if names is not None and len(names) > 1:
        raise InvalidInputError("serve --ray serves one index; run it once for each index")
    if port == 0:
        raise InvalidInputError(
            "serve --ray needs a port number; Ray Serve cannot choose one for port 0"
        )
    folder = existing_index(names[0] if names else None)
    with Index.open(folder) as whole:
        if not settings.roots:
            note_hidden(whole)
        trust = may_load(whole.model_name, trust_model)
    stop = threading.Event()
    how = ServeOptions(
        address=address, host=host, port=port, trust_model=trust, settings=settings, **options
    )
    try:
        with serve_shards(folder, how) as index:
            # Not before: Ray takes the signal for itself when it connects.
            signal.signal(signal.SIGTERM, lambda *_: stop.set())
            shards = index.info()["shards"]
            note(f"serving {folder.name} in {shards} shards at http://{host}:{port}")
            stop.wait()
    except KeyboardInterrupt:
        pass
    note("stopped")
