"""Measure what Ray costs against the local path, and what more workers bring."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clipsearch import Index, load_encoder
from clipsearch.cluster import ClusterOptions, add_on_cluster
from clipsearch.cluster.connection import connected
from clipsearch.types import IngestReport, Progress

MAX_OVERHEAD = 0.15  # of Ray with one worker against the local path, once workers are up
MIN_SCALING = 0.7  # of the ideal, with as many workers as there are pairs of cores


@dataclass(frozen=True)
class Timing:
    """One run."""

    name: str
    total_s: float
    start_s: float  # until the first images were stored
    images_per_s: float  # from then on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--data", required=True, type=Path, help="folder with photos")
    parser.add_argument("--count", type=int, default=2000, help="photos to embed")
    parser.add_argument("--model", default="clipsearch-mini")
    parser.add_argument("--workers", type=int, nargs="*", help="numbers of workers to try")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each; the fastest counts")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print a table, and say whether every bar was met."""
    photos = sorted(p for p in arguments.data.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    photos = photos[: arguments.count]
    if len(photos) < arguments.count:
        print(f"only {len(photos)} photos in {arguments.data}, wanted {arguments.count}")
        return 1
    encoder = load_encoder(arguments.model)
    cores = os.cpu_count() or 1
    counts = arguments.workers or sorted({1, max(1, cores // 2), cores})
    timings: list[Timing] = []
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "photos"
        source.mkdir()
        for photo in photos:
            (source / photo.name).symlink_to(photo.resolve())

        def best(
            name: str, add: Callable[[Index, Callable[[Progress], None]], IngestReport]
        ) -> None:
            runs = []
            for repeat in range(arguments.repeats):
                path = Path(scratch) / f"{name}-{repeat}".replace(" ", "-")
                with Index.create(path, encoder) as index:
                    runs.append(timed(name, lambda tell, index=index: add(index, tell)))
            timings.append(max(runs, key=lambda timing: timing.images_per_s))

        best("local", lambda index, tell: index.add(source, progress=tell))
        started = time.perf_counter()
        with connected("local"):
            up_s = time.perf_counter() - started
            for count in counts:
                cluster = ClusterOptions(workers=count)
                best(
                    f"ray, {count} workers",
                    lambda index, tell, cluster=cluster: add_on_cluster(
                        index, source, cluster=cluster, progress=tell
                    ),
                )
    return tell_all(timings, len(photos), up_s, cores)


def timed(name: str, add: Callable[[Callable[[Progress], None]], IngestReport]) -> Timing:
    """Run once; the rate is taken between the first stored images and the end."""
    marks: list[tuple[float, int]] = []

    def tell(progress: Progress) -> None:
        if progress.indexed and (not marks or progress.indexed != marks[-1][1]):
            marks.append((time.perf_counter(), progress.indexed))

    started = time.perf_counter()
    report = add(tell)
    total = time.perf_counter() - started
    (first_s, first), (last_s, last) = marks[0], marks[-1]
    rate = (last - first) / max(last_s - first_s, 1e-9)
    assert report.indexed + report.duplicate + report.skipped == report.seen
    return Timing(name, total, first_s - started, rate)


def tell_all(timings: list[Timing], photos: int, up_s: float, cores: int) -> int:
    """Print the table and the bars."""
    print(f"{photos:,} photos; the cluster was up after {up_s:.1f} s\n")
    print(f"{'':<18}{'total':>9}{'first stored':>14}{'then images/s':>15}")
    for timing in timings:
        print(
            f"{timing.name:<18}{timing.total_s:>7.1f} s{timing.start_s:>12.1f} s"
            f"{timing.images_per_s:>15.1f}"
        )
    local, one = timings[0], timings[1]
    overhead = local.images_per_s / one.images_per_s - 1
    met = overhead <= MAX_OVERHEAD
    print(f"\noverhead of Ray with one worker: {overhead:+.1%} (bar: at most {MAX_OVERHEAD:.0%})")
    # One worker uses all cores already: more of them may not lose what it reaches.
    for timing in timings[2:]:
        share = timing.images_per_s / one.images_per_s
        fine = share >= MIN_SCALING
        met = met and fine
        print(
            f"{timing.name} on {cores} cores: {share:.2f} of one worker, which uses all cores "
            f"(bar: at least {MIN_SCALING})"
        )
    print("\nall bars met" if met else "\nA BAR WAS MISSED")
    return 0 if met else 1
