"""Measure the index engine on made-up vectors: speed, recall, memory, cost of growth.

    python scripts/benchmark_index.py --sizes 10000,100000,1000000

prints a table for each size, with the bars that hold from a million items on, and exits with 1 when
one of them is missed. Ratios compare things measured in the same run, so they travel from machine
to machine better than times do.
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from clipsearch.engine.ann import list_count
from clipsearch.index import Index
from clipsearch.types import Record
from clipsearch.vectors import exact_top_k_many

BLOCK = 10_000
COMMIT = 50_000
BARS_FROM = 1_000_000  # items; smaller indexes are searched exactly, and show how cost grows
MOST_FLAT_BYTES = 6 << 30  # a larger flat index would not fit beside the rest
K = 10
_NEIGHBOURS_QUERIES = 300
_TIMED_QUERIES = 40
_SERVED_QUERIES = 300
_ADD_ROUNDS = 9


@dataclass(frozen=True)
class Corpus:
    """Unit vectors that look like the embeddings of a joint image-text model.

    Images sit in a cone around a direction of their own, texts around another one (the modality
    gap). Within it, they gather around concepts, which belong to themes; few concepts are common
    and many are rare. The spectrum falls off, as that of real embeddings does. A text shares its
    concept with images, and varies otherwise mostly in directions of its own: it is nobody's
    neighbour. The cosine of a text with its best image is about 0.38, where images of one concept
    have 0.7 with each other.

    The numbers were chosen to resemble the bundled model on 4,000 public photos and the generic
    texts that clipsearch keeps: an effective dimension of the images of 60 (here 57), a best and
    tenth-best image that stand 4.5 and 3.5 standard deviations above the mean of their text (here
    4.4 and 3.1, so finding them is harder here), and cosines of images with a standard
    deviation of 0.12 (here 0.10) and a nearest neighbour at 0.66 (here 0.67).
    """

    dim: int = 512
    concepts: int = 50_000
    themes: int = 300
    seed: int = 0

    @functools.cached_property
    def _basis(self) -> tuple[npt.NDArray[np.float32], ...]:
        rng = np.random.default_rng([self.seed, 1])
        spectrum = (np.arange(1, self.dim + 1) ** -0.45).astype(np.float32)
        images, texts = (
            np.linalg.qr(rng.standard_normal((self.dim, self.dim)))[0].astype(np.float32)
            for _ in range(2)
        )
        themes = _unit(rng.standard_normal((self.themes, self.dim), np.float32) * spectrum)
        parent = rng.integers(self.themes, size=self.concepts)
        own = _unit(rng.standard_normal((self.concepts, self.dim), np.float32) * spectrum)
        concepts = _unit(0.8 * themes[parent] + 0.6 * own) @ images
        gaps = _unit(rng.standard_normal((2, self.dim), np.float32))
        gaps[1] = _unit(0.35 * gaps[0] + 0.94 * gaps[1])
        shares = 1.0 / np.arange(1, self.concepts + 1) ** 0.7
        shares = np.cumsum(shares / shares.sum()).astype(np.float32)
        return concepts, gaps, spectrum, images, texts, shares

    def images(self, block: int, count: int) -> npt.NDArray[np.float32]:
        """A block of images, float32 [count, dim]; the same for the same number."""
        rng = np.random.default_rng([self.seed, 2, block])
        concepts, gaps, _, basis, _, _ = self._basis
        noise = self._noise(rng, count, basis)
        return _unit(0.5 * gaps[0] + 0.68 * concepts[self._which(rng, count)] + 0.53 * noise)

    def texts(self, count: int, *, seed: int) -> npt.NDArray[np.float32]:
        """Queries, float32 [count, dim]."""
        rng = np.random.default_rng([self.seed, 3, seed])
        concepts, gaps, _, shared, own, _ = self._basis
        noise = _unit(0.7 * self._noise(rng, count, own) + 0.3 * self._noise(rng, count, shared))
        return _unit(0.85 * gaps[1] + 0.4 * concepts[self._which(rng, count)] + 0.35 * noise)

    def _which(self, rng: np.random.Generator, count: int) -> npt.NDArray[np.intp]:
        shares = self._basis[-1]
        return np.searchsorted(shares, rng.random(count, np.float32)).clip(0, self.concepts - 1)

    def _noise(
        self, rng: np.random.Generator, count: int, basis: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        return _unit(rng.standard_normal((count, self.dim), np.float32) * self._basis[2]) @ basis


def _unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


class MadeUpEncoder:
    """Encodes texts as texts of the corpus; which one a text becomes does not matter."""

    name = "made-up"
    logit_scale = 100.0
    logit_bias = None

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self.dim = corpus.dim
        self.fingerprint = f"made-up-{corpus.dim}-{corpus.seed}"

    def encode_texts(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """As many texts of the corpus as there are texts."""
        return self._corpus.texts(len(texts), seed=10)

    def encode_images(self, images: list[Any]) -> npt.NDArray[np.float32]:
        """Not needed: vectors are put in directly."""
        raise NotImplementedError


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    what: str
    value: str
    bar: str = ""
    met: bool | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", default="10000,100000,1000000", help="numbers of items")
    parser.add_argument("--dim", type=int, default=512, help="length of a vector")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--kinds", action="store_true", help="compare FAISS's kinds of ANN index at the first size"
    )
    parser.add_argument("--workdir", help="where to put the indexes; deleted afterwards")


def run(args: argparse.Namespace) -> int:
    if args.kinds:
        return print_kinds(Corpus(dim=args.dim, seed=args.seed), int(args.sizes.split(",")[0]))
    missed = 0
    for size in (int(part) for part in str(args.sizes).split(",")):
        place = Path(tempfile.mkdtemp(prefix="clipsearch-benchmark-", dir=args.workdir))
        try:
            lines = measure(place, Corpus(dim=args.dim, seed=args.seed), size)
        finally:
            shutil.rmtree(place)
        print(f"\n### {size:,} x {args.dim}\n")
        print("| what | measured | bar | |\n|---|---|---|---|")
        for line in lines:
            mark = "" if line.met is None else "met" if line.met else "MISSED"
            print(f"| {line.what} | {line.value} | {line.bar} | {mark} |", flush=True)
            missed += line.met is False
    return 1 if missed else 0


def print_kinds(corpus: Corpus, size: int) -> int:
    """Compare the kinds of approximate index that FAISS has; has no bar."""
    from ann_kinds import compare

    found = compare(
        lambda block: corpus.images(block, BLOCK),
        corpus.texts(_NEIGHBOURS_QUERIES, seed=20),
        size,
        BLOCK,
        list_count(size),
    )
    print(f"\n### {size:,} x {corpus.dim}, {list_count(size)} lists\n")
    print("| kind | recall@10 | one search | setting | bytes a vector | building |")
    print("|---|---|---|---|---|---|")
    for kind in found:
        print(
            f"| {kind.name} | {kind.recall:.4f} | {kind.search_ms:.2f} ms | {kind.setting} | "
            f"{kind.bytes_per_vector:.0f} | {kind.build_s:.0f} s |"
        )
    return 0


def measure(place: Path, corpus: Corpus, size: int) -> list[Line]:
    """All figures of one size."""
    encoder = MadeUpEncoder(corpus)
    seconds: dict[str, float] = {}
    index = Index.create(place / "index", encoder)  # type: ignore[arg-type]
    flat = faiss.IndexFlatIP(corpus.dim) if size * corpus.dim * 4 <= MOST_FLAT_BYTES else None
    with timed(seconds, "adding all items"):
        fill(index, corpus, size, flat)
    index.refresh_baseline()
    with timed(seconds, "building the ANN file"):
        index.build_ann()
    with timed(seconds, "serving"):
        opening = serve(index.path, corpus)
    with timed(seconds, "adding a hundred"):
        adding = adding_costs(place, index, corpus, size)
    queries = corpus.texts(_NEIGHBOURS_QUERIES, seed=20)
    with timed(seconds, "recall"):
        recall = recall_at_10(index, queries, flat)
    with timed(seconds, "latencies"):
        times = latencies(index, flat, queries)
        filtered = {
            share: median_ms(
                lambda q, where=f"width < {limit}": index.search(q, K, where=where), queries[:30]
            )
            for share, limit in (("1 %", 10), ("50 %", 500))
        }
    info = index.info()
    index.close()
    ann = info["ann"]["image"]
    judged = size >= BARS_FROM
    raw_mib = size * corpus.dim * 4 / 2**20

    def bar(text: str, met: bool) -> dict[str, Any]:
        return {"bar": text, "met": met} if judged else {}

    found = "exact" if ann is None else f"{ann['kind']}, {ann['parameters']}"
    lines = [
        Line("index", found),
        Line("adding all items", f"{seconds['adding all items']:.1f} s"),
        Line("building the ANN file", f"{seconds['building the ANN file']:.1f} s"),
        Line("size on disk", f"{info['size_bytes'] / 2**20:.0f} MiB"),
        Line("recall@10 of texts", f"{recall:.4f}", **bar(">= 0.98", recall >= 0.98)),
        Line("search, p50 / p95", f"{times['index']:.2f} / {times['index p95']:.2f} ms"),
    ]
    if flat is not None:
        ratio = times["flat"] / times["index"]
        lines += [
            Line("exact FAISS flat search, p50", f"{times['flat']:.2f} ms"),
            Line("times faster than flat", f"{ratio:.1f}", **bar(">= 20", ratio >= 20)),
        ]
    lines += [
        Line(f"search where {share} match, p50", f"{ms:.2f} ms") for share, ms in filtered.items()
    ]
    growth = adding["full"] / adding["empty"]
    share = opening["rss_mib"] / raw_mib
    lines += [
        Line("adding 100 items to an empty index", f"{adding['empty']:.1f} ms"),
        Line("adding 100 items to this index", f"{adding['full']:.1f} ms"),
        Line("ratio of the two", f"{growth:.2f}", **bar("<= 2", growth <= 2)),
        Line("resident memory of a server", f"{opening['rss_mib']:.0f} MiB"),
        Line(
            "share of the raw float32 vectors",
            f"{share:.2f} of {raw_mib:.0f} MiB",
            **bar("<= 1/3", share <= 1 / 3),
        ),
        Line(
            "opening",
            f"{opening['open_s'] * 1e3:.0f} ms",
            **bar("< 500 ms", opening["open_s"] < 0.5),
        ),
        Line("opening and first search", f"{opening['first_s'] * 1e3:.0f} ms"),
    ]
    return lines


class timed:  # noqa: N801 - reads as a verb
    """Take down how long a block took, and tell so on stderr."""

    def __init__(self, into: dict[str, float], name: str) -> None:
        self._into, self._name = into, name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._into[self._name] = time.perf_counter() - self._start
        print(f"{self._name}: {self._into[self._name]:.1f} s", file=sys.stderr, flush=True)


def item(number: int) -> Record:
    path = f"/data/photos/{number % 997:03}/{number:09}.jpg"
    return Record(
        key=path,
        path=path,
        sha256=f"{number * 2654435761 % 2**64:064x}",
        size_bytes=100_000 + number,
        mtime_ns=1_700_000_000_000_000_000 + number,
        width=number * 7919 % 1000,
        height=800,
        format="JPEG",
    )


def blocks(corpus: Corpus, size: int) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    for start in range(0, size, BLOCK):
        yield start, corpus.images(start // BLOCK, min(BLOCK, size - start))


def fill(index: Index, corpus: Corpus, size: int, flat: Any) -> None:
    with index.writer() as writer:
        for start, vectors in blocks(corpus, size):
            for i, vector in enumerate(vectors):
                writer.put(item(start + i), image=vector)
            if writer.staged >= COMMIT:
                writer.commit()
            if flat is not None:
                flat.add(vectors)


def recall_at_10(index: Index, queries: npt.NDArray[np.float32], flat: Any) -> float:
    """Share of the ten best that are found; item ids are positions plus one."""
    if flat is not None:
        wanted = flat.search(queries, K)[1] + 1
    else:
        store = ((rows, vectors) for rows, vectors in index.iter_vectors())
        wanted = np.stack([rows for rows, _ in exact_top_k_many(store, queries, K)])
    hits = 0
    for query, rows in zip(queries, wanted, strict=True):
        found = {hit.item.id for hit in index.search(query, K)}
        hits += len(found & set(rows.tolist()))
    return hits / wanted.size


def latencies(index: Index, flat: Any, queries: npt.NDArray[np.float32]) -> dict[str, float]:
    """Milliseconds of single searches, the two kinds by turns."""
    ours, theirs = [], []
    for query in queries[:_TIMED_QUERIES]:
        for _ in range(3):
            ours.append(ms_of(lambda q=query: index.search(q, K)))
        if flat is not None:
            theirs.append(ms_of(lambda q=query: flat.search(q[None], K)))
    return {
        "index": statistics.median(ours),
        "index p95": float(np.quantile(ours, 0.95)),
        "flat": statistics.median(theirs) if theirs else 0.0,
    }


def ms_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def median_ms(work: Callable[[Any], object], queries: npt.NDArray[np.float32]) -> float:
    return statistics.median(ms_of(lambda q=query: work(q)) for query in queries)


def adding_costs(place: Path, index: Index, corpus: Corpus, size: int) -> dict[str, float]:
    """Milliseconds for adding 100 items with the commit, to empty indexes and to this one."""
    vectors = corpus.images(10**6, 100)
    empty, full = [], []
    for i in range(_ADD_ROUNDS):
        first = size + 100 * i
        fresh = Index.create(place / f"empty-{i}", MadeUpEncoder(corpus))  # type: ignore[arg-type]
        for target, times in ((fresh, empty), (index, full)):
            times.append(ms_of(lambda t=target, f=first: add_hundred(t, vectors, f)))
        fresh.close()
    index.remove(range(size + 1, size + 100 * _ADD_ROUNDS + 1))
    return {"empty": statistics.median(empty), "full": statistics.median(full)}


def add_hundred(index: Index, vectors: npt.NDArray[np.float32], first: int) -> None:
    with index.writer() as writer:
        for i, vector in enumerate(vectors):
            writer.put(item(first + i), image=vector)


SERVE = """
import json, sys, time
import numpy as np
from clipsearch.index import Index
queries = np.load(sys.argv[2])
start = time.perf_counter()
index = Index.open(sys.argv[1])
opened = time.perf_counter() - start
index.search(queries[0], 10)
first = time.perf_counter() - start
for query in queries:
    index.search(query, 10)
rss = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
print(json.dumps({"open_s": opened, "first_s": first, "rss_mib": int(rss.split()[1]) / 1024}))
"""


def serve(path: Path, corpus: Corpus) -> dict[str, float]:
    """What a process that only serves searches needs, measured in one."""
    queries = path.parent / "queries.npy"
    np.save(queries, corpus.texts(_SERVED_QUERIES, seed=30))
    done = subprocess.run(
        [sys.executable, "-c", SERVE, path, queries], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
