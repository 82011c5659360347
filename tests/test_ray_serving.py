"""Serving shards with a real Ray Serve: the answers of exact search, whatever is lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from clipsearch import Index, InvalidInputError, Query
from clipsearch.cluster import shard_index
from clipsearch.errors import ClusterError, ItemNotFoundError, PartialAnswerError
from clipsearch.types import Record

ray = pytest.importorskip("ray")

from .raycluster import cluster, descendants, free_port, started, wait_for  # noqa: E402 - needs ray

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]
ITEMS, QUERIES, SHARDS = 10_000, 200, 4
WORDS = ("dog", "cat", "beach", "city", "night", "car", "tree", "snow", "child", "train")
FILTERS = (
    None,
    None,
    "width >= 500",
    "width < 40",
    "width between 100 and 700 and height <> 3",
    "caption like '%1%'",
    "stars in (1, 4)",
    "width > 100000",
)


@pytest.fixture(scope="module")
def index(encoder, tmp_path_factory):
    """10,000 items around the vectors of real words, with captions, ties and holes."""
    rng = np.random.default_rng(7)
    path = tmp_path_factory.mktemp("serving") / "photos"
    words = WORDS
    anchors = encoder.encode_texts([f"a photo of a {word}" for word in words])
    noise = rng.standard_normal((ITEMS, encoder.dim)).astype(np.float32) * 0.04
    images = anchors[np.arange(ITEMS) % len(words)] + noise
    images[5000:5050] = images[:50]  # equal vectors, which tie
    with Index.create(path, encoder) as made, made.writer() as writer:
        for i, image in enumerate(images):
            writer.put(
                Record(
                    key=f"/p/{i}.jpg", path=f"/p/{i}.jpg", caption=f"{words[i % 10]} {i}",
                    sha256=f"{i:064d}", width=i % 1000, height=i % 7, extra={"stars": i % 5},
                ),
                image=image,
                caption=images[(i * 7) % ITEMS] if i % 3 == 0 else None,
            )  # fmt: skip
        writer.commit()
        writer.remove(range(100, 200))
    with Index.open(path, encoder, exact_elements=10**9) as opened:
        opened.refresh_baseline(encoder)
        shard_index(path, SHARDS)
        yield opened


@pytest.fixture(scope="module")
def nodes():
    with cluster(2, cpus=4) as made:
        yield made


@contextlib.contextmanager
def served(index, **options):
    from clipsearch.cluster import ServeOptions, serve_shards

    with serve_shards(index.path, ServeOptions(device="cpu", **options)) as sharded:
        yield sharded


@pytest.fixture(scope="class")
def sharded(nodes, index):
    with served(index, timeout_s=30.0) as made:
        yield made


def queries(index):
    """200 queries: texts, algebra, vectors, items, on both targets, with filters."""
    rng = np.random.default_rng(3)
    words = [*WORDS, "bus", "lake"]
    for n in range(QUERIES):
        query = Query.text(f"a photo of a {words[n % 12]}")
        if n % 4 == 1:
            query = query + Query.text(words[(n * 5) % 12], 0.7) - 0.4 * Query.text("people")
        elif n % 4 == 2:
            query = Query.vector(rng.standard_normal(index.dim)) + query * 0.5
        elif n % 4 == 3:
            query = Query.item(int(rng.integers(201, ITEMS))) - Query.item(1 + n % 90, 0.3)
        yield (
            query,
            {
                "k": (1, 10, 57)[n % 3],
                "where": FILTERS[n % len(FILTERS)],
                "target": "caption" if n % 5 == 4 else "image",
                "offset": 13 if n % 11 == 10 else 0,
                "hybrid": n % 7 == 6,
                "min_score": 0.2 if n % 13 == 12 else "auto" if n % 17 == 16 else None,
            },
        )


def same(found, expected):
    assert [hit.item for hit in found] == [hit.item for hit in expected]
    # The model's last bits depend on how many threads it has in a process.
    for what, atol in (("score", 1e-6), ("percentile", 1e-3)):
        one, other = ([getattr(hit, what) for hit in hits] for hits in (found, expected))
        np.testing.assert_allclose(np.array(one, float), np.array(other, float), atol=atol)


class TestAnswers:
    """Of four shards on two nodes."""

    def test_200_queries_with_filters_are_answered_as_by_exact_search(self, sharded, index):
        before = sharded.info()
        assert before["shards"] == SHARDS
        for query, parameters in queries(index):
            k = parameters.pop("k")
            try:
                expected = index.search(query, k, exact=True, **parameters)
            except InvalidInputError:  # min_score="auto" where there is no distribution
                with pytest.raises(InvalidInputError):
                    sharded.search(query, k, **parameters)
                continue
            found = sharded.search(query, k, **parameters)
            same(found, expected)
            assert not found.partial
            assert not found.approximate
            assert found.generation == index.generation
        after = sharded.info()
        assert after["encoded"] - before["encoded"] == QUERIES * 3 // 4  # once a query, not a shard

    def test_a_picture(self, sharded, index, photos):
        same(sharded.search(Query.image(photos[0]), 5), index.search(Query.image(photos[0]), 5))

    def test_what_is_wrong_with_a_question_is_said(self, sharded):
        with pytest.raises(InvalidInputError, match="nonsense"):
            sharded.search("dog", where="nonsense = 3")
        with pytest.raises(InvalidInputError, match="k must be at least 1"):
            sharded.search("dog", 0)
        with pytest.raises(ItemNotFoundError, match="150"):
            sharded.search(Query.item(150))
        with pytest.raises(InvalidInputError, match="different lengths"):
            sharded.search(np.ones(3))

    def test_many_at_once(self, sharded, index):
        asked = [(f"a photo of {n} dogs", FILTERS[n % len(FILTERS)]) for n in range(24)]
        expected = [index.search(text, 10, where=where, exact=True) for text, where in asked]
        found = [None] * len(asked)

        def ask(n):
            found[n] = sharded.search(asked[n][0], 10, where=asked[n][1])

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(asked))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for one, other in zip(found, expected, strict=True):
            same(one, other)


# --- what is lost --------------------------------------------------------------------------------


def replicas(app: str, shard: int) -> list[int]:
    """Processes of the replicas of a shard."""
    return [
        pid
        for pid, line in descendants(os.getpid()).items()
        if f"ServeReplica:{app}:shard-{shard}" in line
    ]


def test_a_lost_replica_and_a_lost_shard(nodes, index):
    """With two replicas a kill is not noticed; without its files a shard is missing, and said."""
    folder = shard_index(index.path, 3).shards[1].folder
    hidden = folder.with_name("hidden")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    search = f"{url}/v1/indexes/{index.path.name}/search"
    with served(index, replicas=2, timeout_s=15.0, app="lost", port=port) as sharded:
        assert send(f"{url}/readyz") == (200, {"ready": True, "missing_shards": []})
        expected = index.search("a dog", 20, exact=True)
        same(sharded.search("a dog", 20), expected)
        for _ in range(2):
            before = wait_for(
                lambda: len(replicas("lost", 2)) == 2 and replicas("lost", 2), what="two replicas"
            )
            os.kill(before[0], signal.SIGKILL)
            for _ in range(10):
                found = sharded.search("a dog", 20)
                same(found, expected)
                assert not found.partial
            wait_for(
                lambda b=before: len(set(replicas("lost", 2)) - {b[0]}) == 2, what="a new replica"
            )
        folder.rename(hidden)
        try:
            for pid in replicas("lost", 2):
                os.kill(pid, signal.SIGKILL)
            found = wait_for(
                lambda: (hits := sharded.search("a dog", 20)).partial and hits, what="a loss"
            )
            assert found.missing == (2,)
            assert found.shards == 3
            with Index.open(hidden) as lost:
                gone = {item.id for item in lost.items(limit=ITEMS)}
            rest = [
                hit for hit in index.search("a dog", ITEMS, exact=True) if hit.item.id not in gone
            ]
            assert [hit.item.id for hit in found] == [hit.item.id for hit in rest[:20]]
            started = time.monotonic()
            assert sharded.search("a dog", 5).partial
            assert time.monotonic() - started < 15  # one known to be lost is not waited for
            with pytest.raises(PartialAnswerError, match=f"item {min(gone)} may be in shard 2"):
                sharded.search(Query.item(min(gone)))
            status, document = send(search, {"text": "a dog", "k": 3})
            assert (status, document["partial"], document["missing_shards"]) == (200, True, [2])
            assert send(f"{url}/readyz") == (503, {"ready": False, "missing_shards": [2]})
            status, document = send(search.removesuffix("/search"))
            assert (status, document["shards"], document["missing_shards"]) == (200, 3, [2])
            for row, expected_status in ((min(gone), 503), (rest[0].item.id, 200)):
                status, document = send(search.replace("/search", f"/items/{row}"))
                assert status == expected_status, document
                assert status == 200 or document["code"] == "partial_answer"
        finally:
            hidden.rename(folder)
        found = wait_for(
            lambda: not (hits := sharded.search("a dog", 20)).partial and hits,
            what="the shard's return",
        )
        assert send(f"{url}/readyz") == (200, {"ready": True, "missing_shards": []})
        same(found, expected)


def test_a_partial_answer_can_be_refused(nodes, index):
    folder = shard_index(index.path, 2).shards[0].folder
    hidden = folder.with_name("hidden")
    with served(index, refuse_partial=True, timeout_s=10.0, app="refusing") as sharded:
        assert len(sharded.search("a dog", 3)) == 3
        folder.rename(hidden)
        try:
            for pid in replicas("refusing", 1):
                os.kill(pid, signal.SIGKILL)

            def refused():
                try:
                    hits = sharded.search("a dog")
                except PartialAnswerError as exc:
                    return str(exc)
                assert not hits.partial
                return None

            assert "shard 1" in wait_for(refused, what="a refusal")
        finally:
            hidden.rename(folder)


def running(app: str, shard: int) -> int:
    """How many replicas of a shard Ray Serve says are at work."""
    from ray import serve

    status = serve.status().applications[app].deployments[f"shard-{shard}"]
    return sum(count for state, count in status.replica_states.items() if state == "RUNNING")


def test_queues_make_replicas(nodes, index):
    shard_index(index.path, 1)
    options = {"replicas": 1, "max_replicas": 3, "target_ongoing": 1.0, "app": "growing"}
    with served(index, timeout_s=60.0, **options) as sharded:
        assert running("growing", 1) == 1
        stop = threading.Event()

        def ask():
            vector = np.random.default_rng(0).standard_normal(index.dim)
            while not stop.is_set():
                sharded.search(vector, 1000)

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: running("growing", 1) > 1, what="a second replica")
            assert len(replicas("growing", 1)) > 1
        finally:
            stop.set()
            for thread in threads:
                thread.join()


# --- what is stale or missing --------------------------------------------------------------------


def test_an_index_that_was_not_split_is_one_shard(nodes, encoder, tmp_path):
    with Index.create(tmp_path / "small", encoder) as index:
        with index.writer() as writer:
            for n in range(20):
                writer.put(Record(key=f"{n}"), image=np.random.default_rng(n).random(index.dim))
        with served(index, app="small") as sharded:
            same(sharded.search("a dog", 5), index.search("a dog", 5, exact=True))
        shard_index(index.path, 2)
        index.remove([1])
        with pytest.raises(InvalidInputError, match="changed since it was split"), served(index):
            pass


def test_a_node_without_the_shards(nodes, index, tmp_path):
    shards = shard_index(index.path, 2)
    hidden = tmp_path / "hidden"
    shards.shards[0].folder.rename(hidden)
    try:
        with pytest.raises(ClusterError, match="cannot read the path"), served(index):
            pass
    finally:
        hidden.rename(shards.shards[0].folder)


# --- over HTTP -----------------------------------------------------------------------------------


def send(url: str, body: object = None, token: str | None = None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as exc:
        return exc.code, json.load(exc)


def test_the_command_and_http(index, nodes, tmp_path):
    shard_index(index.path, 2)
    port, token = free_port(), "0123456789abcdef"
    command = [
        sys.executable, "-m", "clipsearch", "serve", "--ray", nodes.address, "-i", str(index.path),
        "--port", str(port), "--device", "cpu",
    ]  # fmt: skip
    env = {**os.environ, "CLIPSEARCH_TOKEN": token}
    with started(command, env=env) as process:
        try:
            line = process.stderr.readline()
            while line and "serving" not in line:
                line = process.stderr.readline()
            assert "2 shards" in line
            url = f"http://127.0.0.1:{port}"
            wait_for(lambda: send(f"{url}/healthz")[0] == 200, what="health")
            name = index.path.name
            body = {"text": "a dog", "subtract": ["people"], "k": 7, "where": "width > 100"}
            assert send(f"{url}/v1/indexes/{name}/search", body)[0] == 401
            status, found = send(f"{url}/v1/indexes/{name}/search", body, token)
            assert status == 200
            query = Query.text("a dog") - Query.text("people")
            expected = index.search(query, 7, where="width > 100", exact=True)
            assert [hit["id"] for hit in found["hits"]] == [hit.item.id for hit in expected]
            assert found["partial"] is False
            assert "path" not in json.dumps(found)
            worded = {"text": "dog 4711", "hybrid": True}
            status, found = send(f"{url}/v1/indexes/{name}/search", worded, token)
            assert status == 200
            expected = index.search("dog 4711", hybrid=True, exact=True)
            assert [hit["id"] for hit in found["hits"]] == [hit.item.id for hit in expected]
            status, listed = send(f"{url}/v1/indexes", None, token)
            assert listed["indexes"][0]["items"] == len(index)
            assert "path" not in listed["indexes"][0]["fields"]
            for bad, code in (
                ({"text": "a", "where": "path like '/p/%'"}, 422),
                ({"text": ""}, 422),
                ({"k": 5}, 422),
                ({"text": "a", "k": 10**9}, 422),
                ("text", 422),
                ({"terms": [{"item": 150}]}, 404),
            ):
                status, problem = send(f"{url}/v1/indexes/{name}/search", bad, token)
                assert status == code, (bad, problem)
                assert problem["code"]
            assert send(f"{url}/v1/indexes/other/search", body, token)[0] == 404
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(300) == 0
    wait_for(lambda: not replicas("clipsearch", 1), what="the end of the replicas")
    assert Path(index.path).is_dir()
