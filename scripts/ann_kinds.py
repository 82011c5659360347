"""Compare the kinds of approximate index that FAISS has, on the corpus of the index benchmark.

    python scripts/benchmark.py index --kinds --sizes 200000

Every kind gets the same lists and looks into as many of them as brings recall@10 of texts to 0.98,
after its best candidates were scored again from the stored float16 vectors, as clipsearch does. One
thread searches, one query at a time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

__all__ = ["Kind", "compare"]

K = 10
TARGET = 0.98
_QUERIES = 200
_TIMED = 60
_REFINE = (10, 20, 30, 50, 100, 200, 400)
_PROBES = (2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Kind:
    """What one kind of index takes to reach the target."""

    name: str
    recall: float
    search_ms: float
    setting: str
    bytes_per_vector: float
    build_s: float


def compare(
    images: Callable[[int], Floats], texts: Floats, size: int, block: int, lists: int
) -> list[Kind]:
    """Measure all kinds.

    Args:
        images: Gives the vectors of a block, float32 [block, dim].
        texts: Queries, float32 [n, dim].
        size: How many vectors, a multiple of `block`.
        block: Vectors a block.
        lists: How many lists an inverted file has.
    """
    halves = np.concatenate([images(i).astype(np.float16) for i in range(size // block)])
    dim = halves.shape[1]
    queries = texts[:_QUERIES]
    flat = faiss.IndexFlatIP(dim)
    for start in range(0, size, block):
        flat.add(halves[start : start + block].astype(np.float32))
    wanted = flat.search(queries, K)[1]
    del flat
    sample = halves[:: max(1, size // (lists * 32))].astype(np.float32)
    coarse = _centres(sample, lists)
    found = []
    for name, make in _kinds(dim, lists).items():
        started = time.perf_counter()
        index = make(coarse)
        if not index.is_trained:
            index.train(sample)
        for start in range(0, size, block):
            index.add(halves[start : start + block].astype(np.float32))
        built = time.perf_counter() - started
        stored = len(faiss.serialize_index(index)) / size
        found.append(_best(name, index, halves, queries, wanted, stored, built))
        del index
    return found


def _centres(sample: Floats, lists: int) -> Any:
    clustering = faiss.Clustering(sample.shape[1], lists)
    clustering.niter, clustering.spherical, clustering.seed = 8, True, 1
    clustering.min_points_per_centroid = 1
    clustering.train(sample, faiss.IndexFlatIP(sample.shape[1]))
    quantizer = faiss.IndexFlatIP(sample.shape[1])
    quantizer.add(faiss.vector_to_array(clustering.centroids).reshape(lists, -1))
    return quantizer


def _kinds(dim: int, lists: int) -> dict[str, Callable[[Any], Any]]:
    metric = faiss.METRIC_INNER_PRODUCT
    scalar = faiss.ScalarQuantizer

    def hnsw(_: Any) -> Any:
        index = faiss.IndexHNSWSQ(dim, scalar.QT_8bit, 32, metric)
        index.hnsw.efConstruction = 80
        return index

    return {
        "IVF,RaBitQ, 2 bits": lambda q: faiss.IndexIVFRaBitQ(q, dim, lists, metric, True, 2),
        "IVF,RaBitQ, 1 bit": lambda q: faiss.IndexIVFRaBitQ(q, dim, lists, metric, True, 1),
        "IVF,SQfp16": lambda q: faiss.IndexIVFScalarQuantizer(
            q, dim, lists, scalar.QT_fp16, metric, False
        ),
        "IVF,SQ8": lambda q: faiss.IndexIVFScalarQuantizer(
            q, dim, lists, scalar.QT_8bit, metric, False
        ),
        "IVF,PQ128x4fs": lambda q: faiss.IndexIVFPQFastScan(q, dim, lists, dim // 4, 4, metric),
        "HNSW32,SQ8": hnsw,
    }


def _parameters(index: Any, width: int) -> Any:
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=8 * width)
    if isinstance(index, faiss.IndexIVFRaBitQ):
        chosen = faiss.IVFRaBitQSearchParameters()
        chosen.nprobe, chosen.qb = width, 8
        return chosen
    return faiss.SearchParametersIVF(nprobe=width)


def _best(
    name: str,
    index: Any,
    halves: npt.NDArray[np.float16],
    queries: Floats,
    wanted: npt.NDArray[np.int64],
    stored: float,
    built: float,
) -> Kind:
    """The fastest setting that reaches the target, or the one that comes nearest."""

    def answer(query: Floats, depth: int, width: int) -> npt.NDArray[np.int64]:
        rows = index.search(query[None], depth, params=_parameters(index, width))[1][0]
        rows = np.sort(rows[rows >= 0])
        scores = halves[rows].astype(np.float32) @ query
        return rows[np.argsort(-scores)[:K]]

    choices = []
    nearest: tuple[float, int, int] = (0.0, 0, 0)
    for width in _PROBES:
        ranked = index.search(queries, _REFINE[-1], params=_parameters(index, width))[1]
        for depth in _REFINE:
            recall = _recall(ranked[:, :depth], wanted)
            nearest = max(nearest, (recall, width, depth))
            if recall >= TARGET:
                choices.append((recall, width, depth))
                break  # more candidates cost more
        if len(choices) == 3:
            break
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    timed = []
    for recall, width, depth in choices or [nearest]:
        took = []
        for query in queries[:_TIMED]:
            start = time.perf_counter()
            answer(query, depth, width)
            took.append((time.perf_counter() - start) * 1e3)
        timed.append((statistics.median(took), recall, width, depth))
    faiss.omp_set_num_threads(threads)
    ms, recall, width, depth = min(timed)
    what = f"efSearch {8 * width}" if isinstance(index, faiss.IndexHNSW) else f"nprobe {width}"
    return Kind(name, recall, ms, f"{what}, {depth} scored again", stored, built)


def _recall(found: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]) -> float:
    hits = sum(len(set(f) & set(w)) for f, w in zip(found.tolist(), wanted.tolist(), strict=True))
    return hits / wanted.size
