"""The HTTP service: requests a second, latencies, and what batching gains.

Loopback traffic only, and a few seconds of each kind. The bar: 32 text searches at once are
answered at least 4 times faster than 32 one after another.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

CONCURRENT_BAR = 4.0  # how many times 32 at once are faster than one after another
_WAIT_S = 180


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--items", type=int, default=10_000, help="made-up items in the index")
    parser.add_argument("--model", default="clipsearch-mini")


def run(arguments: argparse.Namespace) -> int:
    from clipsearch import Index, load_encoder
    from clipsearch.types import Record

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "indexes"
        encoder = load_encoder(arguments.model, device="cpu")
        rng = np.random.default_rng(0)
        with Index.create(home / "bench", encoder) as index, index.writer() as writer:
            vectors = rng.normal(size=(arguments.items, encoder.dim)).astype(np.float32)
            for n, vector in enumerate(vectors):
                writer.put(Record(key=f"item {n}"), image=vector)
        del encoder
        with _server(home, arguments.model) as url:
            ratio = _concurrent_gain(url, arguments.connections)
            figures = {name: _measure(url, ask, arguments) for name, ask in _requests().items()}
        with _server(home, arguments.model, "--max-batch", "1", "--batch-wait-ms", "0") as url:
            single = {name: _measure(url, ask, arguments) for name, ask in _requests().items()}
    print(f"{'':24}{'requests/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'unbatched/s':>13}{'gain':>7}")
    for name, (rate, p50, p99, errors) in figures.items():
        alone = single[name][0]
        told = f"   {errors} errors" if errors else ""
        print(f"{name:24}{rate:12.1f}{p50:10.1f}{p99:10.1f}{alone:13.1f}{rate / alone:7.2f}{told}")
    n = arguments.connections
    print(f"\n{n} text searches at once: {ratio:.1f} times faster than one after another", end="")
    print(f" (bar: {CONCURRENT_BAR:g})")
    failed = ratio < CONCURRENT_BAR or any(errors for *_, errors in figures.values())
    print("MISSED" if failed else "met")
    return int(failed)


Ask = Callable[[httpx.Client, int], httpx.Response]


def _requests() -> dict[str, Ask]:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG", quality=85)
    picture = buffer.getvalue()
    labels = ["cat", "dog", "bus", "flower", "rocket"]
    return {
        "text search": lambda client, n: client.post(
            "/v1/indexes/bench/search", json={"text": f"a picture of thing {n}", "k": 10}
        ),
        "image search": lambda client, n: client.post(
            "/v1/indexes/bench/search/image", files={"image": ("a", picture)}
        ),
        "classify, 5 labels": lambda client, n: client.post(
            "/v1/classify", files={"images": ("a", picture)}, data={"labels": labels}
        ),
    }


def _concurrent_gain(url: str, count: int) -> float:
    """Median over repetitions of sequential time through concurrent time."""
    ask = _requests()["text search"]
    numbers = itertools.count(10**6)
    gains = []
    clients = [httpx.Client(base_url=url, timeout=120, verify=False) for _ in range(count)]
    for client in clients:
        ask(client, next(numbers)).raise_for_status()  # connect
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(count):
            ask(clients[0], next(numbers)).raise_for_status()
        middle = time.perf_counter()
        threads = [threading.Thread(target=ask, args=(client, next(numbers))) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gains.append((middle - started) / (time.perf_counter() - middle))
    return float(np.median(gains))


def _measure(url: str, ask: Ask, arguments: argparse.Namespace) -> tuple[float, float, float, int]:
    latencies: list[float] = []
    errors: list[int] = []
    numbers = itertools.count()
    with httpx.Client(base_url=url, timeout=120, verify=False) as client:
        ask(client, next(numbers)).raise_for_status()
    started = time.perf_counter()

    def worker() -> None:
        with httpx.Client(base_url=url, timeout=120, verify=False) as client:
            while time.perf_counter() - started < arguments.seconds:
                begun = time.perf_counter()
                answer = ask(client, next(numbers))
                latencies.append(time.perf_counter() - begun)
                if answer.status_code != 200:
                    errors.append(answer.status_code)

    threads = [threading.Thread(target=worker) for _ in range(arguments.connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    p50, p99 = 1000 * np.percentile(latencies, [50, 99])
    return len(latencies) / seconds, float(p50), float(p99), len(errors)


@contextmanager
def _server(home: Path, model: str, *options: str) -> Iterator[str]:
    environment = {
        **os.environ,
        "CLIPSEARCH_INDEXES": str(home),
        "CLIPSEARCH_CACHE": str(home.parent / "cache"),
    }
    command = [sys.executable, "-m", "clipsearch", "serve", "-i", "bench", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--no-ui", "--device", "cpu", *options],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    if process.stderr is None:
        raise RuntimeError("the server's messages cannot be read")
    url = ""
    for line in process.stderr:
        if " at http" in line:
            url = line.rsplit(" ", 1)[1].strip()
            break
    if not url:
        raise RuntimeError("the server did not start")
    reader = threading.Thread(target=lambda: list(process.stderr or ()), daemon=True)
    reader.start()
    try:
        yield url
    finally:
        process.terminate()
        process.wait(_WAIT_S)
        reader.join()
        process.stderr.close()
