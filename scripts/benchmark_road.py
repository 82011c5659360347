"""Measure the road in with an encoder that costs nothing: what everything but the model costs.

    python scripts/benchmark.py road

indexes JPEG files that it draws, once few and once many, and takes the difference, so that what a
run costs once does not count. Times are CPU time, which other work on the machine disturbs little,
and are also given as ratios to a yardstick of the same run: the CPU time of a bare `executemany`
that inserts a row of an item's values with its two indexes.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import sqlite3
import statistics
import tempfile
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import numpy.typing as npt
from PIL import Image

from clipsearch.images import Preprocessing
from clipsearch.index import Index
from clipsearch.ingest import IngestOptions
from clipsearch.intake.embedder import Embedded, Embedder
from clipsearch.intake.log import IngestLog
from clipsearch.intake.pairs import Pair
from clipsearch.intake.store import Store
from clipsearch.intake.triage import Candidate
from clipsearch.metadata import ImageFacts
from clipsearch.vectors import unit

SIZE = (640, 480)  # pixels of a file
DRAWN = 40  # files that differ as images; the others differ by a few bytes behind the image
FEW = 1024  # files of the run whose costs are taken away; the score baseline samples so many
SCATTER = (1 << 255) // 3 | 1  # odd, so that multiples differ, as hashes do all over their range
MOST_MS = 0.12  # of the main process for an image
LEAST_STORED = 25_000  # items that one core stores in a second


class FreeEncoder:
    """Answers with unit vectors that are there already."""

    name = "free"
    fingerprint = "0" * 64
    logit_scale = 100.0
    logit_bias = None
    preprocessing = Preprocessing(size=(224, 224), mean=(0.5,) * 3, std=(0.5,) * 3)

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._vectors = unit(np.random.default_rng(0).standard_normal((4096, dim), np.float32))

    def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """A vector for each image, float32 [n, dim]."""
        return self._vectors[: len(pixels)]

    encode_texts = encode_images = encode_pixels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=int, default=2000, help="JPEG files of the larger run")
    parser.add_argument("--items", type=int, default=20_000, help="items that are stored")
    parser.add_argument("--dim", type=int, default=512, help="length of a vector")
    parser.add_argument("--batch-size", type=int, default=256, help="images together")
    parser.add_argument("--rounds", type=int, default=3, help="of each; the median counts")
    parser.add_argument("--workdir", help="where to put files and indexes; deleted afterwards")


def run(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="clipsearch-road-", dir=args.workdir) as folder:
        place = Path(folder)
        encoder = FreeEncoder(args.dim)
        yardstick_us = statistics.median(bare_insert_us(args.items) for _ in range(args.rounds))
        draw(place / "few", FEW)
        draw(place / "many", FEW + args.images)
        mains, decoders = [], []
        for number in range(args.rounds):
            few, many = (
                indexing(place / f"{what}-{number}", place / what, encoder, args.batch_size)
                for what in ("few", "many")
            )
            mains.append(1000 * (many[0] - few[0]) / args.images)
            decoders.append(1000 * (many[1] - few[1]) / args.images)
        stored = [
            storing(place / f"stored-{number}", encoder, args.items, args.batch_size)
            for number in range(args.rounds)
        ]
    main_ms, decoder_ms = statistics.median(mains), statistics.median(decoders)
    per_s, wall_per_s = (statistics.median(column) for column in zip(*stored, strict=True))
    met = main_ms <= MOST_MS, per_s >= LEAST_STORED
    print(f"a bare insert of a row: {yardstick_us:.1f} us of CPU time (the yardstick)")
    print(
        f"main process, an image of {SIZE[0]} x {SIZE[1]}: {main_ms:.2f} ms of CPU time, "
        f"{1000 * main_ms / yardstick_us:.0f} yardsticks (bar: {MOST_MS} ms, "
        f"{'met' if met[0] else 'missed'})"
    )
    print(f"decoders, an image: {decoder_ms:.2f} ms of CPU time")
    print(
        f"store, {args.dim} dimensions: {per_s:,.0f} items for a second of CPU time "
        f"({wall_per_s:,.0f} by the clock), {1e6 / per_s / yardstick_us:.1f} yardsticks an item "
        f"(bar: {LEAST_STORED:,}, {'met' if met[1] else 'missed'})"
    )
    return 0 if all(met) else 1


def draw(folder: Path, count: int) -> None:
    """JPEG files of which no two have the same bytes."""
    folder.mkdir()
    rng = np.random.default_rng(count)
    data = []
    for _ in range(DRAWN):
        buffer = io.BytesIO()
        small = Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8))
        small.resize(SIZE).save(buffer, "JPEG", quality=85)
        data.append(buffer.getvalue())
    for number in range(count):
        content = data[number % DRAWN] + number.to_bytes(8, "big")
        (folder / f"{number:06}.jpg").write_bytes(content)


def indexing(
    path: Path, source: Path, encoder: FreeEncoder, batch_size: int
) -> tuple[float, float]:
    """Seconds of CPU time of this process and of the decoders, which have ended."""
    with Index.create(path, encoder) as index:
        main, children = process_time(), _children_s()
        report = index.add(source, options=IngestOptions(batch_size=batch_size))
        used = process_time() - main, _children_s() - children
    if report.indexed != len(os.listdir(source)):
        raise SystemExit(f"only {report.indexed} of the files were indexed: {report.skips[:3]}")
    return used


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def storing(path: Path, encoder: FreeEncoder, items: int, batch_size: int) -> tuple[float, float]:
    """Items a second, of CPU time and by the clock, that are looked up, stored and committed."""
    rng = np.random.default_rng(1)
    facts = ImageFacts(width=SIZE[0], height=SIZE[1], format="JPEG")
    batches = []
    for first in range(0, items, batch_size):
        vectors = unit(
            rng.standard_normal((min(batch_size, items - first), encoder.dim), np.float32)
        )
        batches.append([_ready(first + n, vector, facts) for n, vector in enumerate(vectors)])
    with Index.create(path, encoder) as index, index.writer() as writer:
        started, clock = process_time(), perf_counter()
        with Store(writer, IngestLog(on_error="raise"), Embedder(encoder)) as store:
            for batch in batches:
                store(batch)
        return items / (process_time() - started), items / (perf_counter() - clock)


def _ready(number: int, vector: npt.NDArray[np.float32], facts: ImageFacts) -> Embedded:
    key = f"/mnt/photos/{number // 1000:05}/{number:09}.jpg"
    sha256 = f"{number * SCATTER % 2**256:064x}"
    return Embedded(Candidate(Pair(key=key, image=key)), sha256, 50_000, facts, vector)


def bare_insert_us(rows: int) -> float:
    """Microseconds of CPU time that SQLite itself needs for a row like an item's."""
    values = [
        (n, f"/photos/{n:09}.jpg", f"/photos/{n:09}.jpg", f"{n * SCATTER % 2**256:064x}", 50_000)
        for n in range(rows)
    ]
    with tempfile.TemporaryDirectory() as folder:
        conn = sqlite3.connect(Path(folder) / "bare.sqlite", isolation_level=None)
        conn.execute(
            "CREATE TABLE items (row INTEGER PRIMARY KEY, key TEXT UNIQUE, path TEXT, sha256 TEXT, "
            "size_bytes INTEGER)"
        )
        conn.execute("CREATE INDEX items_by_sha256 ON items (sha256)")
        started = process_time()
        conn.execute("BEGIN")
        conn.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?)", values)
        conn.execute("COMMIT")
        used = process_time() - started
        conn.close()
    return 1e6 * used / rows
