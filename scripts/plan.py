"""Compute what it takes to embed and to serve a number of images: machines, hours, storage, cost.

    python scripts/plan.py --items 5e9 -m ViT-B-32/laion2b_s34b_b79k --hours 720 --qps 50
    python scripts/plan.py --items 1e8 --images-per-s 1400 --decodes-per-s 250 --workers 1

Rates that are not given are measured on this machine. Every formula here is written out in
`docs/scaling.md`, where it is checked against published figures. Nothing is hidden in a constant:
what was not measured is a field with a stated default.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from clipsearch import InvalidInputError
from clipsearch.cli.output import human_bytes, note, print_json, print_table
from clipsearch.errors import ClipSearchError
from clipsearch.models import BUNDLED_MODEL, load_encoder

_HOUR_S = 3600.0
_DAYS_PER_MONTH = 30.4
_ID_BYTES = 8  # of a row id, in a segment's row file and beside each code of an ANN file
_FLOAT_BYTES = 4
_HALF_BYTES = 2
# Share of an inverted file that has to be scanned for a recall at 10, with exact scoring of the
# candidates afterwards. An assumption, not a measurement: it depends on the data; give
# `scan_share` from `clipsearch compact` and `scripts/benchmark.py index` on a sample of yours.
SCAN_SHARES = {0.80: 0.002, 0.90: 0.005, 0.95: 0.015, 0.99: 0.05}
_CENTROIDS_PER_ROOT = 4.0  # lists of an inverted file: 4 times the root of the vectors
_MAX_LISTS = 1 << 20  # training more takes days
MEMORY_SHARE = 0.75  # of a machine's memory that vectors or codes may take


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is to be embedded and served."""

    items: float
    dim: int = 512
    captions: bool = False  # whether captions are embedded as well
    image_bytes: float = 50_000  # of one encoded image; LAION at 384 px is 41 kB
    hours: float | None = 24.0  # in which the embedding should be done
    workers: int | None = None  # instead of hours
    qps: float = 10.0  # searches a second, all users together
    recall: float = 0.95  # at 10; 1.0 is exact search
    latency_ms: float = 200.0  # that one shard's scan may take
    code_bytes: int = 64  # a vector in the ANN file

    def __post_init__(self) -> None:
        for name in ("items", "dim", "image_bytes", "qps", "latency_ms", "code_bytes"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InvalidInputError(f"{name} must be a positive number, got {value}")
        if not 0.5 <= self.recall <= 1.0:
            raise InvalidInputError(f"recall must be from 0.5 to 1, got {self.recall}")
        if (self.hours is None) == (self.workers is None):
            raise InvalidInputError("give either the hours or the workers of the embedding")
        if (self.hours or 0) < 0 or (self.workers or 0) < 0 or self.hours == 0:
            raise InvalidInputError("hours and workers must be positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How fast things are, measured or given."""

    encode_per_s: float  # images a second of the model alone, one worker
    decode_per_s: float  # images a second read and decoded by one core
    commit_per_s: float = 5_000.0  # items a second that the driver writes to the catalog
    scan_bytes_per_s: float = 8e9  # of float32 vectors, one core, exact search
    code_bytes_per_s: float = 1e9  # of PQ codes, one core, approximate search
    text_per_s: float = 100.0  # queries encoded a second, one router
    scaling: float = 0.9  # share of the ideal that many workers together reach
    overhead_ms: float = 2.0  # of one shard's answer besides the scan

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InvalidInputError(f"{name} must be a positive number, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine of the cluster, and what it costs."""

    cores: int = 8  # that a worker has for decoding, and a shard for searching
    memory_gib: float = 64.0
    worker_hour_cost: float = 1.0  # of an embedding worker: a GPU with its cores
    node_hour_cost: float = 0.5  # of a serving node

    def __post_init__(self) -> None:
        if self.cores < 1 or self.memory_gib <= 0:
            raise InvalidInputError("a machine needs at least one core and some memory")
        if self.worker_hour_cost < 0 or self.node_hour_cost < 0:
            raise InvalidInputError("a cost cannot be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingPlan:
    """Turning the items into vectors."""

    worker_per_s: float  # images a second of one worker, within the cluster
    bottleneck: str  # "encode", "decode" or "commit"
    workers: int
    hours: float
    read_bytes_per_s: float  # from the shared storage, all workers together
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPlan:
    """Answering searches."""

    exact: bool
    scan_share: float  # of the vectors or codes that one search reads
    index_bytes: float  # in memory, all shards of one copy together
    shards: int
    items_per_shard: float
    scan_ms: float  # of one search in one shard, one core
    core_s_per_query: float  # in one shard
    replicas: int  # of every shard
    routers: int
    nodes: int
    month_cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The answer of `plan`."""

    vector_bytes: float
    catalog_bytes: float
    ann_bytes: float
    source_bytes: float
    embedding: EmbeddingPlan
    serving: ServingPlan


def plan(
    work: Workload,
    rates: Rates,
    machine: Machine,
    *,
    catalog_bytes_per_item: float = 500.0,
    scan_share: float | None = None,
) -> Plan:
    """Compute a plan.

    Args:
        work: What is to be done.
        rates: How fast things are.
        machine: What there is to do it with.
        catalog_bytes_per_item: Key, path, caption, hash and facts of an item with its indexes.
        scan_share: Share of the ANN codes that one search reads; None takes `SCAN_SHARES`.

    Raises:
        InvalidInputError: A number is out of range.
    """
    vectors = work.items * (2 if work.captions else 1)
    exact = work.recall >= 1.0
    return Plan(
        vector_bytes=vectors * (work.dim * _HALF_BYTES + _ID_BYTES),
        catalog_bytes=work.items * catalog_bytes_per_item,
        ann_bytes=0.0 if exact else _ann_bytes(vectors, work),
        source_bytes=work.items * work.image_bytes,
        embedding=_embedding(work, rates, machine),
        serving=_serving(work, rates, machine, vectors, scan_share),
    )


def _embedding(work: Workload, rates: Rates, machine: Machine) -> EmbeddingPlan:
    decode_per_s = rates.decode_per_s * machine.cores
    # A worker decodes while its model encodes, so the slower of the two decides.
    alone = min(rates.encode_per_s, decode_per_s)
    per_s = alone * rates.scaling
    bottleneck = "encode" if rates.encode_per_s <= decode_per_s else "decode"
    if work.workers is not None:
        workers = work.workers
    else:
        workers = math.ceil(work.items / (per_s * (work.hours or 1.0) * _HOUR_S))
    if workers == 1:
        per_s = alone  # nothing is lost to scaling
    together = workers * per_s
    if together > rates.commit_per_s:
        together, bottleneck = rates.commit_per_s, "commit"
    hours = work.items / together / _HOUR_S
    return EmbeddingPlan(
        worker_per_s=per_s,
        bottleneck=bottleneck,
        workers=workers,
        hours=hours,
        read_bytes_per_s=together * work.image_bytes,
        cost=workers * hours * machine.worker_hour_cost,
    )


def _ann_bytes(vectors: float, work: Workload) -> float:
    lists = min(_MAX_LISTS, _CENTROIDS_PER_ROOT * math.sqrt(vectors))
    return vectors * (work.code_bytes + _ID_BYTES) + lists * work.dim * _FLOAT_BYTES


def _serving(
    work: Workload, rates: Rates, machine: Machine, vectors: float, scan_share: float | None
) -> ServingPlan:
    exact = work.recall >= 1.0
    if exact:
        share = 1.0
        per_vector = float(work.dim * _FLOAT_BYTES)
        in_memory = vectors * per_vector
        bytes_per_s = rates.scan_bytes_per_s
    else:
        share = scan_share if scan_share is not None else _share(work.recall)
        if not 0 < share <= 1:
            raise InvalidInputError(f"scan_share must be over 0 and at most 1, got {share}")
        per_vector = float(work.code_bytes + _ID_BYTES)
        in_memory = _ann_bytes(vectors, work)
        bytes_per_s = rates.code_bytes_per_s
    # One search goes through one modality, so captions cost memory but no time.
    scanned = work.items * share * per_vector
    by_memory = in_memory / (machine.memory_gib * 1024**3 * MEMORY_SHARE)
    by_latency = scanned / bytes_per_s / (work.latency_ms / 1e3)
    shards = max(1, math.ceil(by_memory), math.ceil(by_latency))
    scan_s = scanned / shards / bytes_per_s
    core_s = scan_s + rates.overhead_ms / 1e3
    # Every search asks every shard. Cores are kept below 70 % busy, or queues grow.
    replicas = max(1, math.ceil(work.qps * core_s / (machine.cores * 0.7)))
    routers = max(1, math.ceil(work.qps / rates.text_per_s))
    nodes = shards * replicas + routers
    return ServingPlan(
        exact=exact,
        scan_share=share,
        index_bytes=in_memory,
        shards=shards,
        items_per_shard=work.items / shards,
        scan_ms=scan_s * 1e3,
        core_s_per_query=core_s,
        replicas=replicas,
        routers=routers,
        nodes=nodes,
        month_cost=nodes * machine.node_hour_cost * 24 * _DAYS_PER_MONTH,
    )


def _share(recall: float) -> float:
    """The scan share for a recall, between the table's points by the logarithm."""
    if recall in SCAN_SHARES:
        return SCAN_SHARES[recall]
    points = sorted(SCAN_SHARES.items())
    if recall <= points[0][0]:
        return points[0][1]
    for (low, a), (high, b) in itertools.pairwise(points):
        if recall <= high:
            t = (recall - low) / (high - low)
            return math.exp(math.log(a) + t * (math.log(b) - math.log(a)))
    return points[-1][1]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--items", type=float, required=True, help="number of images, e.g. 5e9")
    add("-m", "--model", default=BUNDLED_MODEL, help="model whose rates are measured")
    add("--dim", type=int, help="dimensions of a vector (default: the model's, or 512)")
    add("--captions", action="store_true", help="embed captions as well")
    add("--image-kb", type=float, default=50.0, help="size of an image file")
    add("--hours", type=float, help="hours in which to embed (default: 24)")
    add("--workers", type=int, help="number of workers that embed, instead of --hours")
    add("--qps", type=float, default=10.0, help="searches per second")
    add("--recall", type=float, default=0.95, help="recall at 10; 1 is exact search")
    add("--latency-ms", type=float, default=200.0, help="time that the scan of a shard may take")
    add("--code-bytes", type=int, default=64, help="size of a vector's code in the ANN file")
    add(
        "--scan-share",
        type=float,
        help="share of the codes that a search reads (default: by recall)",
    )
    add("--images-per-s", type=float, help="images that a worker encodes (default: measured)")
    add("--decodes-per-s", type=float, help="images that a core decodes (default: measured)")
    add(
        "--commits-per-s",
        type=float,
        help="items that the driver stores (default: measured or 5,000)",
    )
    add(
        "--texts-per-s", type=float, help="queries that a router encodes (default: measured or 100)"
    )
    add("--cores", type=int, default=8, help="cores of a worker, and of a serving node")
    add("--memory-gib", type=float, default=64.0, help="memory of a serving node")
    add("--worker-cost", type=float, default=1.0, help="cost of a worker's hour")
    add("--node-cost", type=float, default=0.5, help="cost of a serving node's hour")
    add("--device", default="auto", help="device that is measured: auto, cpu, cuda or mps")
    add("-f", "--format", choices=("table", "json"), default="table", help="output format")
    return parser.parse_args(arguments)


def workload(options: argparse.Namespace, dim: int) -> Workload:
    """The work that the options describe."""
    no_limit = options.hours is None and options.workers is None
    return Workload(
        items=options.items,
        dim=dim,
        captions=options.captions,
        image_bytes=options.image_kb * 1000,
        hours=24.0 if no_limit else options.hours,
        workers=options.workers,
        qps=options.qps,
        recall=options.recall,
        latency_ms=options.latency_ms,
        code_bytes=options.code_bytes,
    )


def rates_and_dim(options: argparse.Namespace) -> tuple[Rates, int]:
    """The rates given, the others measured; and the dimensions of a vector."""
    rates = {
        "encode_per_s": options.images_per_s,
        "decode_per_s": options.decodes_per_s,
        "commit_per_s": options.commits_per_s,
        "text_per_s": options.texts_per_s,
    }
    given = {name: rate for name, rate in rates.items() if rate is not None}
    if {"encode_per_s", "decode_per_s"} <= given.keys():
        return Rates(**given), options.dim or 512
    from measure_rates import measure_rates

    encoder = load_encoder(options.model, device=options.device)
    note(f"measuring {options.model} on this machine ...")
    return Rates(**{**measure_rates(encoder), **given}), options.dim or encoder.dim


def rows(found: Plan, rates: Rates) -> list[list[str]]:
    """A plan as lines of a table."""
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a plan; returns the exit code."""
    options = parse(arguments)
    try:
        workload(options, options.dim or 512)  # nonsense is refused before anything is measured
        machine = Machine(
            cores=options.cores,
            memory_gib=options.memory_gib,
            worker_hour_cost=options.worker_cost,
            node_hour_cost=options.node_cost,
        )
        rates, dim = rates_and_dim(options)
        found = plan(workload(options, dim), rates, machine, scan_share=options.scan_share)
    except ClipSearchError as exc:
        note(f"error: {exc}")
        return 1
    if options.format == "json":
        print_json({"rates": asdict(rates), **asdict(found)})
    else:
        print_table(["", "", ""], rows(found, rates))
    return 0


if __name__ == "__main__":
    sys.exit(main())
