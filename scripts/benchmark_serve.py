"""The HTTP service: requests a second, latencies, and what batching gains.

Loopback traffic only, and a few seconds of each kind. The client has connections of its own
making, which cost a tenth of what an HTTP library costs, because it shares the processor with the
server. The bar: 32 text searches at once are answered at least 4 times faster than the same
number one after another on one connection, by the same server. Beside it stands the same server
with batches of one.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

CONCURRENT_BAR = 4.0  # how many times 32 at once are faster than one after another
_WAIT_S = 180
_POLL_S = 0.1
_ROUNDS = 7  # of the comparison, the median of which counts

_LIKE = (
    *("a red", "a blue", "a green", "a yellow", "a white", "a black", "a brown", "an old", "a new"),
    *("a small", "a large", "a tall", "a wooden", "a shiny", "a broken", "a quiet", "a busy"),
    *("a bright", "a dark", "a wet", "a dusty", "a round", "a striped", "a spotted", "a funny"),
    *("a sleeping", "a moving", "a lonely", "a painted", "a famous"),
)
_WHAT = (
    *("car", "bus", "train", "boat", "bicycle", "dog", "cat", "horse", "bird", "fish", "tree"),
    *("flower", "house", "tower", "bridge", "chair", "table", "cup", "bottle", "hat", "shirt"),
    *("guitar", "clock", "statue", "tent", "kite", "ball", "phone", "lamp", "door"),
)
_WHERE = (
    *("on the beach", "in the snow", "at night", "in a street", "in the rain", "on a hill"),
    *("by the river", "in the kitchen", "under a tree", "on the grass", "in a garden"),
    *("near the sea", "in the desert", "on a roof", "in a museum", "at sunset", "in the city"),
    *("behind a fence", "on a table", "in front of a wall", "at the station", "in a field"),
    *("beside a road", "in the forest", "over the water", "in a shop", "on the stairs"),
    *("at school", "in the mountains", "on an island"),
)

Make = Callable[[int], bytes]


@dataclass(frozen=True)
class Figures:
    """What a measurement gave."""

    rate: float  # answers a second
    p50_ms: float
    p99_ms: float
    errors: int
    server_ms: float  # processor time of the server for one answer


@dataclass(frozen=True)
class Server:
    """A running server."""

    host: str
    port: int
    pid: int

    def cpu_s(self) -> float:
        """Processor time of the server so far, its decoding processes included."""
        total = 0
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if self.pid in (int(entry.name), int(fields[1])):
                total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--items", type=int, default=10_000, help="made-up items in the index")
    parser.add_argument("--model", default="clipsearch-mini")


def run(arguments: argparse.Namespace) -> int:
    from clipsearch import Index, load_encoder
    from clipsearch.types import Record

    kinds = _requests()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "indexes"
        encoder = load_encoder(arguments.model, device="cpu")
        rng = np.random.default_rng(0)
        with Index.create(home / "bench", encoder) as index, index.writer() as writer:
            vectors = rng.normal(size=(arguments.items, encoder.dim)).astype(np.float32)
            for n, vector in enumerate(vectors):
                writer.put(Record(key=f"item {n}"), image=vector)
        del encoder
        with _server(home, arguments.model) as server:
            gain = asyncio.run(_concurrent_gain(server, kinds["text search"], arguments))
            batched = _measured(server, kinds, arguments)
        with _server(home, arguments.model, "--max-batch", "1", "--batch-wait-ms", "0") as server:
            alone = asyncio.run(_concurrent_gain(server, kinds["text search"], arguments))
            single = _measured(server, kinds, arguments)
    print(
        f"{'':20}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'server CPU ms':>15}"
        f"{'unbatched/s':>13}{'times':>7}"
    )
    for name, f in batched.items():
        told = f"   {f.errors} errors" if f.errors else ""
        print(
            f"{name:20}{f.rate:12.1f}{f.p50_ms:9.1f}{f.p99_ms:9.1f}{f.server_ms:15.2f}"
            f"{single[name].rate:13.1f}{f.rate / single[name].rate:7.2f}{told}"
        )
    n = arguments.connections
    print(f"\n{n} text searches at once against one after another: {gain:.1f} times faster", end="")
    print(f" (bar: {CONCURRENT_BAR:g}); without batches {alone:.1f} times")
    failed = gain < CONCURRENT_BAR or any(f.errors for f in batched.values())
    print("MISSED" if failed else "met")
    return int(failed)


def _requests() -> dict[str, Make]:
    """For every kind of request its bytes, the n-th of which are unlike all others."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG", quality=85)
    picture = buffer.getvalue()
    labels = {"labels": ["cat", "dog", "bus", "flower", "rocket"]}
    form = "multipart/form-data; boundary=cut"
    search, classify = _form({}, image=picture), _form(labels, images=picture)
    path = "/v1/indexes/bench/search"
    return {
        "text search": lambda n: _post(
            path,
            "application/json",
            json.dumps({"text": _words(n), "k": 10}).encode(),
        ),
        "image search": lambda n: _post(f"{path}/image", form, search),
        "classify, 5 labels": lambda n: _post("/v1/classify", form, classify),
    }


def _words(n: int) -> str:
    """What people search for; the first 27,000 differ."""
    n, what = divmod(n, 30)
    n, like = divmod(n, 30)
    _, where = divmod(n, 30)
    return f"{_LIKE[like]} {_WHAT[what]} {_WHERE[where]}"


def _form(fields: dict[str, list[str]], **files: bytes) -> bytes:
    parts = [
        b'--cut\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
        % (name.encode(), value.encode())
        for name, values in fields.items()
        for value in values
    ]
    parts += [
        b'--cut\r\nContent-Disposition: form-data; name="%s"; filename="a"\r\n\r\n%s\r\n'
        % (name.encode(), data)
        for name, data in files.items()
    ]
    return b"".join(parts) + b"--cut--\r\n"


def _post(path: str, kind: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class _Connection:
    """An open connection that asks and waits for the whole answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, server: Server) -> _Connection:
        return cls(*await asyncio.open_connection(server.host, server.port))

    async def ask(self, request: bytes) -> int:
        """Status of the answer."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        await self._reader.readexactly(length)
        return int(head[9:12])

    def close(self) -> None:
        self._writer.close()


async def _concurrent_gain(server: Server, make: Make, arguments: argparse.Namespace) -> float:
    """Median over repetitions of sequential time through concurrent time."""
    count = arguments.connections
    numbers = itertools.count(20_000)
    connections = [await _Connection.to(server) for _ in range(count)]
    for connection in connections:
        await connection.ask(make(next(numbers)))
    gains = []
    for _ in range(_ROUNDS):
        requests = [make(next(numbers)) for _ in range(2 * count)]
        started = time.perf_counter()
        for request in requests[:count]:
            await connections[0].ask(request)
        middle = time.perf_counter()
        asked = zip(connections, requests[count:], strict=True)
        await asyncio.gather(*(connection.ask(request) for connection, request in asked))
        gains.append((middle - started) / (time.perf_counter() - middle))
    for connection in connections:
        connection.close()
    return float(np.median(gains))


def _measured(
    server: Server, kinds: dict[str, Make], arguments: argparse.Namespace
) -> dict[str, Figures]:
    return {name: asyncio.run(_measure(server, make, arguments)) for name, make in kinds.items()}


async def _measure(server: Server, make: Make, arguments: argparse.Namespace) -> Figures:
    latencies: list[float] = []
    errors = 0
    numbers = itertools.count()
    connections = [await _Connection.to(server) for _ in range(arguments.connections)]
    await connections[0].ask(make(next(numbers)))
    cpu, started = server.cpu_s(), time.perf_counter()

    async def worker(connection: _Connection) -> None:
        nonlocal errors
        while time.perf_counter() - started < arguments.seconds:
            request = make(next(numbers))
            begun = time.perf_counter()
            status = await connection.ask(request)
            latencies.append(time.perf_counter() - begun)
            errors += status != 200

    await asyncio.gather(*map(worker, connections))
    seconds = time.perf_counter() - started
    p50, p99 = 1000 * np.percentile(latencies, [50, 99])
    for connection in connections:
        connection.close()
    answers = len(latencies)
    return Figures(
        answers / seconds, p50, p99, errors, 1000 * (server.cpu_s() - cpu) / max(1, answers)
    )


@contextmanager
def _server(home: Path, model: str, *options: str) -> Iterator[Server]:
    environment = {
        **os.environ,
        "CLIPSEARCH_INDEXES": str(home),
        "CLIPSEARCH_CACHE": str(home.parent / "cache"),
    }
    command = [sys.executable, "-m", "clipsearch", "serve", "-i", "bench", "--port", "0"]
    log = home.parent / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*command, "--no-ui", "--device", "cpu", *options], stderr=stderr, env=environment
        )
        try:
            until = time.monotonic() + _WAIT_S
            while " at http://" not in (said := log.read_text()):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"the server did not start: {said}")
                time.sleep(_POLL_S)
            host, _, port = said.partition(" at http://")[2].split()[0].partition(":")
            yield Server(host, int(port), process.pid)
        finally:
            process.terminate()
            process.wait(_WAIT_S)
