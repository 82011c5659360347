"""How long facets with counts take: over the whole index, and under a filter.

Synthetic items with folders, dates, cameras, tags, albums and captions are written through the
Writer; each has a vector of 16 numbers, which facets do not read. "first" is the first answer
after a commit, which reads the catalog. "filter" is a filter that was not asked before, whose items
SQLite has to find. The bar is for CPU time, which is what the clock says where nothing else runs.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from clipsearch import Index

BAR_MS = 50.0
_FILTERS = (
    "width >= 4000",
    "taken_at >= '2015'",
    "camera = 'Camera 3'",
    "tag = 'tag 7'",
    "path >= '/photos/2012/' and path < '/photos/20120'",
    "caption like '%beach%'",
    "tag = 'tag 7' and taken_at >= '2015' and not caption like '%dog%'",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--repeat", type=int, default=9)


def run(arguments: argparse.Namespace) -> int:
    missed = False
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as temporary:
            missed |= _measured(Path(temporary), size, arguments.repeat)
    return int(missed)


def _measured(folder: Path, size: int, repeat: int) -> bool:
    from clipsearch import Index

    index = written(folder / "index", size)
    index.ids("id < 0")  # loads the parser of filters
    found = {"first, after a commit": [_took(index.facets)]}
    found["whole index"] = [_took(index.facets) for _ in range(repeat)]
    for where in _FILTERS:
        with Index.open(index.path) as fresh:
            fresh.facets()
            ask = partial(fresh.facets, where)
            found[f"filter {where}"] = [_took(ask)]
            found[f"  again ({ask().items:,} items)"] = [_took(ask) for _ in range(repeat)]
    index.close()
    print(f"\n{f'{size:,} items':<84} {'ms':>8} {'CPU ms':>8}  bar {BAR_MS:g}")
    missed = False
    for name, times in found.items():
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        is_missed = cpu >= BAR_MS and not name.startswith("first")
        missed |= is_missed
        print(f"{name:<84} {wall:8.1f} {cpu:8.1f}  {'MISSED' if is_missed else ''}")
    return missed


def written(folder: Path, size: int) -> Index:
    """An index of synthetic items."""
    from clipsearch import Index
    from clipsearch.types import Record

    class Encoder:
        name, fingerprint, dim = "facets", "0" * 64, 16
        logit_scale, logit_bias, preprocessing = 100.0, None, None

        def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
            return np.eye(16, dtype=np.float32)[[len(text) % 16 for text in texts]]

    rng = np.random.default_rng(0)
    words = ["beach", "dog", "snow", "house", "river", "train", "cat", "mountain"]
    index = Index.create(folder, Encoder())
    with index.writer() as writer:
        for first in range(0, size, 5000):
            count = min(5000, size - first)
            vectors = rng.standard_normal((count, 16)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            records = []
            for number in range(first, first + count):
                year, month, day = 2005 + number % 19, 1 + number // 19 % 12, 1 + number // 228 % 28
                path = f"/photos/{year}/{month:02}-event {number % 40}/IMG_{number:06}.jpg"
                wide = int(rng.integers(1000, 8000))
                records.append(
                    Record(
                        key=path,
                        path=path,
                        sha256=f"{number:064x}",
                        size_bytes=int(rng.integers(20_000, 20_000_000)),
                        width=wide,
                        height=int(rng.integers(1000, 8000)) if number % 10 else wide,
                        format=("JPEG", "PNG", "HEIF")[number % 3],
                        taken_at=f"{year}-{month:02}-{day:02}T10:00:00" if number % 9 else None,
                        camera=f"Camera {number % 13}" if number % 7 else None,
                        caption=f"a {words[number % 8]} and a {words[number // 8 % 8]}, {number}",
                        tags=tuple(f"tag {n}" for n in set(rng.integers(0, 400, 4).tolist())),
                    )
                )
            writer.put_many(records, images=(np.arange(count), vectors))
        writer.commit()
        for album in range(20):
            writer.add_to_album(f"Album {album}", list(range(1 + album, size, 97)))
    return index


def _took(work: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds by the clock, and of CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3
