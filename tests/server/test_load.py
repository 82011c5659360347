"""Many connections at once, while the index changes under them."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from clipsearch import Index
from clipsearch.cli.output import note
from clipsearch.types import Record

from .conftest import serving


def hammer(url, seconds, connections, body):
    """Ask from many threads; latencies in seconds, and what was not answered with 200."""
    latencies: list[float] = []
    errors: list[str] = []
    until = time.monotonic() + seconds

    def ask():
        with httpx.Client(base_url=url, timeout=60, verify=False) as client:
            while time.monotonic() < until:
                started = time.perf_counter()
                try:
                    answer = client.post("/v1/indexes/live/search", json=body())
                except httpx.HTTPError as exc:
                    errors.append(repr(exc))
                    continue
                latencies.append(time.perf_counter() - started)
                if answer.status_code != 200:
                    errors.append(answer.text)

    threads = [threading.Thread(target=ask) for _ in range(connections)]
    for thread in threads:
        thread.start()
    return threads, latencies, errors


@pytest.mark.slow
def test_64_connections_during_adds_and_compactions(tmp_path, encoder, photos):
    seconds = 15
    words = iter(range(10**9))
    with Index.create(tmp_path / "indexes" / "live", encoder) as index:
        index.add(photos[:5])
        with serving(tmp_path / "indexes", "-i", "live", "--no-ui") as running:
            threads, latencies, errors = hammer(
                running.url, seconds, 64, lambda: {"text": f"a thing {next(words)}", "k": 5}
            )
            rng = np.random.default_rng(0)
            until = time.monotonic() + seconds * 0.8
            commits = 0
            while time.monotonic() < until:
                rows = rng.normal(size=(20, encoder.dim)).astype(np.float32)
                with index.writer() as writer:
                    for n, row in enumerate(rows):
                        writer.put(Record(key=f"made up {commits} {n}"), image=row)
                commits += 1
                if commits % 3 == 0:
                    index.compact()
                time.sleep(0.1)
            for thread in threads:
                thread.join()
            assert not errors, errors[:3]
            assert commits >= 3
            assert len(latencies) >= 32
            p50, p99 = np.percentile(latencies, [50, 99])
            note(f"{len(latencies) / seconds:.0f}/s p50 {p50:.3f} s p99 {p99:.3f} s")
            last = running.post("/v1/indexes/live/search", json={"text": "x", "k": 1000}).json()
            assert last["generation"] == index.generation
            assert len(last["hits"]) == min(1000, len(index))


@pytest.mark.slow
def test_memory_does_not_grow_with_requests(home, photos):
    picture = photos[0].read_bytes()

    def resident_kib(pid):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1])
        raise AssertionError

    with serving(home, "-i", "photos", "--no-ui") as running:
        count = iter(range(10**9))
        lock = threading.Lock()

        def ask(until):
            with httpx.Client(base_url=running.url, timeout=120, verify=False) as client:
                while True:
                    with lock:
                        n = next(count)
                    if n >= until:
                        return
                    if n % 50 == 0:
                        client.post("/v1/indexes/photos/search/image", files={"image": picture})
                    elif n % 50 == 1:
                        client.get("/v1/indexes/photos/items/1/thumbnail")
                    else:
                        client.post("/v1/indexes/photos/search", json={"text": f"thing {n}"})

        def reach(total):
            threads = [threading.Thread(target=ask, args=(total,)) for _ in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return resident_kib(running.process.pid)

        early = reach(1000)
        late = reach(5_000)
        note(f"{early} KiB after 1,000 requests, {late} KiB after 5,000")
        assert late <= early * 1.05
