"""Commands for more than one machine: `shard`, `plan`, and what `--ray` does in others."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InvalidInputError
from ..locations import existing_index
from ..models import BUNDLED_MODEL, load_encoder
from .options import IndexName
from .output import TableFormat, human_bytes, note, print_json, print_table

if TYPE_CHECKING:
    from ..cluster import Plan, Rates
    from ..index import Index
    from ..ingest import IngestOptions
    from ..types import IngestReport, Precision, Progress

__all__ = ["Cluster", "plan", "serve_on_cluster", "shard"]


def shard(
    name: IndexName = None,
    shards: Annotated[int, typer.Option("-n", "--shards", min=1, help="How many.")] = 2,
) -> None:
    """Split an index by rows into shards, for `clipsearch serve --ray`.

    The index stays as it is; its shards lie beside it, in NAME.shards, and keep its ids.

        clipsearch shard -i photos --shards 8
    """
    from ..cluster import shard_index

    made = shard_index(existing_index(name), shards)
    for part in made.shards:
        note(f"{part.items:,} items in {part.folder}")
    note(f"serve them:  clipsearch serve --ray auto -i {name or made.name}")


def plan(
    items: Annotated[float, typer.Option(help="How many images, e.g. 5e9.")],
    model: Annotated[str, typer.Option("-m", "--model", help="To measure.")] = BUNDLED_MODEL,
    dim: Annotated[int | None, typer.Option(help="Of a vector; the model's, or 512.")] = None,
    captions: Annotated[bool, typer.Option("--captions", help="Embed captions as well.")] = False,
    image_kb: Annotated[float, typer.Option(help="Size of an image file.")] = 50.0,
    hours: Annotated[float | None, typer.Option(help="To embed in; 24 by default.")] = None,
    workers: Annotated[int | None, typer.Option(help="To embed with, instead of --hours.")] = None,
    qps: Annotated[float, typer.Option(help="Searches a second.")] = 10.0,
    recall: Annotated[float, typer.Option(help="At 10; 1 is exact search.")] = 0.95,
    latency_ms: Annotated[float, typer.Option(help="That one shard's scan may take.")] = 200.0,
    code_bytes: Annotated[int, typer.Option(help="Of a vector in the ANN file.")] = 64,
    scan_share: Annotated[
        float | None,
        typer.Option(help="Of the codes that one search reads; by recall if left out."),
    ] = None,
    images_per_s: Annotated[
        float | None, typer.Option(help="That a worker's model encodes; measured if left out.")
    ] = None,
    decodes_per_s: Annotated[
        float | None, typer.Option(help="That a core decodes; measured if left out.")
    ] = None,
    commits_per_s: Annotated[
        float | None, typer.Option(help="Items that the driver stores; measured or 5,000.")
    ] = None,
    texts_per_s: Annotated[
        float | None, typer.Option(help="Queries that a router encodes; measured or 100.")
    ] = None,
    cores: Annotated[int, typer.Option(help="Of a worker and of a serving node.")] = 8,
    memory_gib: Annotated[float, typer.Option(help="Of a serving node.")] = 64.0,
    worker_cost: Annotated[float, typer.Option(help="Of a worker's hour.")] = 1.0,
    node_cost: Annotated[float, typer.Option(help="Of a serving node's hour.")] = 0.5,
    device: Annotated[str, typer.Option(help="To measure on: auto, cpu or cuda.")] = "auto",
    output: Annotated[
        TableFormat, typer.Option("-f", "--format", help="table or json.")
    ] = TableFormat.table,
) -> None:
    """Compute what it takes to embed and to serve so many images.

    Rates that are not given are measured on this machine. docs/scaling.md has the formulas.

        clipsearch plan --items 5e9 -m ViT-B-32/laion2b_s34b_b79k --hours 720 --qps 50

        clipsearch plan --items 1e8 --images-per-s 1400 --decodes-per-s 250 --workers 1
    """
    from ..cluster import Machine, Workload
    from ..cluster import plan as compute

    def workload(width: int) -> Workload:
        return Workload(
            items=items,
            dim=width,
            captions=captions,
            image_bytes=image_kb * 1000,
            hours=hours if hours is not None or workers is not None else 24.0,
            workers=workers,
            qps=qps,
            recall=recall,
            latency_ms=latency_ms,
            code_bytes=code_bytes,
        )

    machine = Machine(
        cores=cores,
        memory_gib=memory_gib,
        worker_hour_cost=worker_cost,
        node_hour_cost=node_cost,
    )
    workload(dim or 512)  # nonsense is refused before anything is measured
    rates, width = _rates(
        model, device, dim, images_per_s, decodes_per_s, commits_per_s, texts_per_s
    )
    found = compute(workload(width), rates, machine, scan_share=scan_share)
    if output is TableFormat.json:
        print_json({"rates": asdict(rates), **asdict(found)})
    else:
        print_table(["", "", ""], _rows(found, rates))


def _rates(
    model: str,
    device: str,
    dim: int | None,
    images_per_s: float | None,
    decodes_per_s: float | None,
    commits_per_s: float | None,
    texts_per_s: float | None,
) -> tuple[Rates, int]:
    """The rates given, the others measured; and the length of a vector."""
    from dataclasses import replace

    from ..cluster import Rates

    width = dim or 512
    if images_per_s is not None and decodes_per_s is not None:
        rates = Rates(encode_per_s=images_per_s, decode_per_s=decodes_per_s)
    else:
        from ..cluster.measuring import measure_rates

        encoder = load_encoder(model, device=device)
        note(f"measuring {model} on this machine ...")
        rates = measure_rates(encoder)
        width = dim or encoder.dim
    given = {
        "encode_per_s": images_per_s,
        "decode_per_s": decodes_per_s,
        "commit_per_s": commits_per_s,
        "text_per_s": texts_per_s,
    }
    return replace(rates, **{k: v for k, v in given.items() if v is not None}), width


def _rows(found: Plan, rates: Rates) -> list[list[str]]:
    embedding, serving = found.embedding, found.serving
    search = "exact" if serving.exact else f"{serving.scan_share:.2%} of the codes"
    return [
        ["rates", "encoding", f"{rates.encode_per_s:,.0f} images/s a worker"],
        ["", "decoding", f"{rates.decode_per_s:,.0f} images/s a core"],
        ["embedding", "workers", f"{embedding.workers:,}, {embedding.worker_per_s:,.0f} images/s"],
        ["", "time", f"{embedding.hours:,.1f} hours; {embedding.bottleneck} decides"],
        ["", "reading", f"{human_bytes(embedding.read_bytes_per_s)}/s"],
        ["", "cost", f"{embedding.cost:,.0f}"],
        ["storage", "images", human_bytes(found.source_bytes)],
        ["", "vectors", human_bytes(found.vector_bytes)],
        ["", "catalog", human_bytes(found.catalog_bytes)],
        ["", "ANN file", human_bytes(found.ann_bytes)],
        ["serving", "search", f"{search}, {serving.scan_ms:,.0f} ms a shard"],
        ["", "memory", human_bytes(serving.index_bytes)],
        ["", "shards", f"{serving.shards:,} of {serving.items_per_shard:,.0f} items"],
        ["", "replicas", f"{serving.replicas:,} of each"],
        ["", "nodes", f"{serving.nodes:,}, {serving.routers:,} of them routers"],
        ["", "cost", f"{serving.month_cost:,.0f} a month"],
    ]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where `clipsearch index` works: on a Ray cluster if there is an address, else here."""

    address: str | None
    workers: int | None
    gpus_per_worker: float
    device: str
    precision: Precision

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """Be connected, so that a wrong address shows before an index is made."""
        if self.address is None:
            if self.workers is not None or self.gpus_per_worker:
                raise InvalidInputError("--num-workers and --gpus-per-worker go with --ray")
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
    names: list[str] | None, *, address: str, host: str, port: int, **options: Any
) -> None:
    """What `clipsearch serve --ray` does: serve one index until Ctrl-C or SIGTERM."""
    from ..cluster import ServeOptions, serve_shards

    if names is not None and len(names) > 1:
        raise InvalidInputError("serve --ray takes one index; start it again for another")
    if port == 0:
        raise InvalidInputError("serve --ray needs a port; 0 does not work with Ray Serve")
    folder = existing_index(names[0] if names else None)
    stop = threading.Event()
    settings = ServeOptions(address=address, host=host, port=port, **options)
    try:
        with serve_shards(folder, settings) as index:
            # Not before: Ray takes the signal for itself when it connects.
            signal.signal(signal.SIGTERM, lambda *_: stop.set())
            shards = index.info()["shards"]
            note(f"serving {folder.name} in {shards} shards at http://{host}:{port}")
            stop.wait()
    except KeyboardInterrupt:
        pass
    note("stopped")
