"""Measure what the documentation claims, as ratios from one run.

python scripts/benchmark.py start|index|facets|road|embed|serve|page|ray|duplicates [options]

Each prints a table with its bars and exits with 1 when one is missed. `docs/benchmarks.md` keeps
runs with the machine named. A benchmark is not a test: nothing in `make test` depends on time.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
from pathlib import Path

SUBJECTS = {
    "start": "commands that do a little: seconds and memory against those of a text query",
    "index": "the index engine: exact against approximate search, growth, memory",
    "facets": "facets with counts: over the whole index, and under a filter",
    "road": "the road in with an encoder that costs nothing: decoding, batching, storing",
    "embed": "the embedding pipeline: files on disk to a committed index",
    "serve": "the HTTP service: requests a second, batching",
    "page": "the page for people in real Chromium: first load, from Enter to the gallery",
    "ray": "the Ray path against the local one",
    "duplicates": "duplicates: planted copies among photos, and drawings that are all different",
}


def machine() -> str:
    """The processor, cores and memory of this machine in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return f"{model}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, Python {sys.version.split()[0]}"


def main() -> int:
    """Parse the arguments and run one benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    subparsers = parser.add_subparsers(dest="subject", required=True)
    sys.path.insert(0, str(Path(__file__).parent))
    runs = {}
    for subject, about in SUBJECTS.items():
        if (Path(__file__).parent / f"benchmark_{subject}.py").exists():
            module = importlib.import_module(f"benchmark_{subject}")
            module.add_arguments(subparsers.add_parser(subject, help=about, description=about))
            runs[subject] = module.run
    arguments = parser.parse_args()
    print(machine())
    return int(runs[arguments.subject](arguments))


if __name__ == "__main__":
    sys.exit(main())
