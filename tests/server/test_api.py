"""The real server over HTTP: endpoints, client, fresh answers, graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import shutil
import signal
import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image

from clipsearch import Index, Query, ZeroShotClassifier
from clipsearch.asyncclient import AsyncClient, AsyncRemoteClassifier, AsyncRemoteIndex
from clipsearch.client import Client, RemoteClassifier, RemoteIndex
from clipsearch.errors import (
    ImageDecodeError,
    IndexNotFoundError,
    InvalidInputError,
    ItemNotFoundError,
    ServiceError,
)
from clipsearch.request import SearchRequest

from .conftest import serving


@pytest.fixture
def client(service):
    with Client(service.url) as opened:
        yield opened


def test_a_real_search_finds_the_cat(service, home):
    answer = service.post("/v1/indexes/photos/search", json={"text": "a cat", "k": 3})
    assert answer.status_code == 200
    with Index.open(home / "photos") as index:
        best = index.item(answer.json()["hits"][0]["id"])
    assert best.path.endswith("chelsea.png")
    assert "path" not in answer.json()["hits"][0]
    assert "key" not in answer.json()["hits"][0]


def test_lists_sorted_hits_and_weak_ones_come_over_http(client, home, encoder):
    with Index.open(home / "photos", encoder) as local:
        remote = client.index("photos")
        for options in (
            {"where": "width > 10", "sort": "size", "k": 4, "offset": 2},
            {"where": "width > 10"},
            {"sort": "name", "reverse": True},
            {"query": "a cat", "sort": "size", "k": 5},
        ):
            ours, theirs = local.search(**options), remote.search(**options)
            assert [hit.item.id for hit in theirs] == [hit.item.id for hit in ours], options
        assert np.isnan(theirs[0].score) == np.isnan(ours[0].score)
        assert remote.search("asdkjh qwe").weak
        assert not remote.search("a cat").weak


def test_the_client_answers_as_the_local_objects(client, home, encoder, photos):
    query = Query.text("an animal") + 0.5 * Query.image(photos[0]) - Query.text("a street")
    with Index.open(home / "photos", encoder) as local:
        remote = client.index("photos")
        ours, theirs = local.search(query, 5), remote.search(query, 5)
        assert [h.item.id for h in theirs] == [h.item.id for h in ours]
        np.testing.assert_allclose([h.score for h in theirs], [h.score for h in ours], atol=2e-3)
        assert len(remote) == len(local)
        assert remote.generation == local.generation
        found = remote.search("a cat", 3, where="width > 10")
        assert [h.percentile for h in found] == pytest.approx(
            [h.percentile for h in local.search("a cat", 3, where="width > 10")], abs=0.5
        )
        item = local.item(ours[0].item.id)
        assert remote.item(item.id).sha256 is None
        assert remote.image(item.id) == Path(item.path).read_bytes()
        small = Image.open(io.BytesIO(remote.thumbnail(item.id)))
        assert small.format == "JPEG"
        assert max(small.size) <= 320
        assert [h.percentile for h in theirs] == pytest.approx(
            [h.percentile for h in ours], abs=0.5
        )
        strict = {"k": 50, "min_score": "auto"}
        by_picture = Query.image(photos[0])
        assert [h.item.id for h in remote.search(by_picture, **strict)] == [
            h.item.id for h in local.search(by_picture, **strict)
        ]
    for labels in (
        ["cat", "bus", "rocket: spaceship"],
        {"cat": ["kitten"], "time: noon, or so": ["a clock", "the sun"], "bus": ["bus", "coach"]},
    ):
        ours = ZeroShotClassifier(encoder, labels).predict(photos[:3], k=3)
        theirs = client.classifier(labels).predict(photos[:3], k=3)
        for mine, other in zip(ours, theirs, strict=True):
            assert [p.label for p in other] == [p.label for p in mine]
            assert [p.probability for p in other] == pytest.approx(
                [p.probability for p in mine], abs=5e-3
            )
    with pytest.raises(InvalidInputError, match="empty list of names"):
        client.classifier({"cat": []}).predict(photos[:1])
    np.testing.assert_allclose(
        client.encode_texts(["a", "b"]), encoder.encode_texts(["a", "b"]), atol=1e-4
    )
    vectors = client.encode_images(photos[:2])
    assert (vectors * encoder.encode_images(photos[:2])).sum(axis=1).min() > 0.99
    assert client.ready()
    assert client.indexes() == ["photos"]
    assert client.list_models()[0]["loaded"]


def test_the_client_raises_what_local_objects_raise(client, service):
    for error, call in [
        (IndexNotFoundError, lambda: client.index("none").search("x")),
        (ItemNotFoundError, lambda: client.index("photos").item(10**9)),
        (InvalidInputError, lambda: client.index("photos").search("x", where="nonsense = 3")),
        (ImageDecodeError, lambda: client.encode_images([b"no image"])),
    ]:
        with pytest.raises(error):
            call()
    with Client("http://127.0.0.1:9") as nobody, pytest.raises(ServiceError):
        nobody.indexes()


def public(kind) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_the_asynchronous_client_answers_as_the_other_one(client, service, photos, tmp_path):
    assert public(AsyncClient) == public(Client)
    assert public(AsyncRemoteIndex) == public(RemoteIndex) - {"generation"}
    assert public(AsyncRemoteClassifier) == public(RemoteClassifier)
    here, labels = client.index("photos"), ["cat", "bus"]
    matrix = client.encode_texts(["a cat", "a bus", "a rocket"])
    first = here.search("a cat", k=1)[0].item.id

    async def compare() -> None:
        async with AsyncClient(service.url) as theirs:
            there = theirs.index("photos")
            assert await theirs.ready()
            assert await theirs.indexes() == client.indexes()
            assert await theirs.list_models() == client.list_models()
            np.testing.assert_allclose(await theirs.encode_texts(["a cat"]), matrix[:1], atol=1e-5)
            vectors = await theirs.encode_images(photos[:2])
            np.testing.assert_allclose(vectors, client.encode_images(photos[:2]), atol=1e-5)
            for query in (photos[0], "a cat", Query.item(first) - Query.text("indoors"), None):
                options = {"k": 4, "where": "width > 10", "offset": 1}
                found, ours = await there.search(query, **options), here.search(query, **options)
                assert [hit.item for hit in found] == [hit.item for hit in ours]
            several = await there.search_many(np.tile(matrix, (7, 1)), k=2)
            assert [hits[0].item.id for hits in several] == [
                hits[0].item.id for hits in here.search_many(matrix, k=2)
            ] * 7
            for name in ("info", "fields", "facets", "albums", "saved_searches", "duplicates"):
                assert await getattr(there, name)() == getattr(here, name)(), name
            for name in ("item", "image", "thumbnail"):
                assert await getattr(there, name)(first) == getattr(here, name)(first), name
            classifier = theirs.classifier(labels)
            found = await classifier.predict(photos[:3])
            assert found.tolist() == client.classifier(labels).predict(photos[:3]).tolist()
            assert [row[0].label for row in await classifier.classify(photos[:3])] == found.tolist()
            for error, call in [
                (IndexNotFoundError, lambda: theirs.index("none").search("x")),
                (ItemNotFoundError, lambda: there.item(10**9)),
                (InvalidInputError, lambda: there.search_many(["x", "y"], where="nonsense = 3")),
                (InvalidInputError, lambda: there.search_many("a cat")),
                (InvalidInputError, lambda: there.search(tmp_path / "gone.jpg")),
                (ImageDecodeError, lambda: theirs.encode_images([b"no image"])),
                (InvalidInputError, lambda: theirs.encode_images(str(photos[0]))),
            ]:
                with pytest.raises(error):
                    await call()
        async with AsyncClient("http://127.0.0.1:9") as nobody:
            assert not await nobody.ready()
            with pytest.raises(ServiceError, match=r"no answer from http://127\.0\.0\.1:9"):
                await nobody.indexes()

    asyncio.run(compare())


def test_albums_and_saved_searches_are_listed_and_asked(client, service, home, encoder):
    with Index.open(home / "photos", encoder) as local:
        first = local.ids()[:2]
        with local.writer() as writer:
            writer.add_to_album("Trip", first)
            writer.save_search("cats", SearchRequest(query=Query.of("a cat"), where="width > 10"))
        remote = client.index("photos")
        assert remote.albums() == local.albums()
        found = remote.search(where="album = 'Trip'")
        assert sorted(hit.item.id for hit in found) == first
        assert found[0].item.albums == ("Trip",)
        (kept,) = remote.saved_searches()
        assert kept == local.saved_searches()[0]
        hits = service.post("/v1/indexes/photos/search", json={**kept.request, "k": 2}).json()[
            "hits"
        ]
        assert [hit["id"] for hit in hits] == [
            hit.item.id for hit in local.search("a cat", 2, where="width > 10")
        ]
        with local.writer() as writer:
            writer.delete_album("Trip")
            writer.delete_search("cats")
    assert remote.albums() == []


def test_facets_are_counted_and_never_tell_where_files_are(client, service, home, encoder):
    with Index.open(home / "photos", encoder) as local:
        remote = client.index("photos")
        for where in (None, "width > 300"):
            mine = local.facets(where)
            theirs = remote.facets(where)
            assert theirs == mine
            assert theirs.items == mine.items
            assert theirs.by == {name: of for name, of in mine.by.items() if name != "folder"}
        for value in remote.facets(by=["orientation", "size"], limit=3).by["orientation"].values:
            found = remote.search(where=value.where, k=100)
            assert len(found) == value.count
    answer = service.get("/v1/indexes/photos/facets")
    assert str(home) not in answer.text
    for refused in ({"by": "folder"}, {"by": "color"}, {"where": "path like '/%'"}, {"limit": 0}):
        answer = service.get("/v1/indexes/photos/facets", params=refused)
        assert answer.status_code == 422, refused
        assert str(home) not in answer.text


def test_duplicates_are_listed_with_kind_hash_and_size(client, service):
    answer = service.get("/v1/indexes/photos/duplicates", params={"limit": 5})
    assert answer.status_code == 200
    for group in answer.json()["groups"]:
        assert group[0]["kind"] == "leader"
        for member in group:
            assert {"id", "kind", "checked", "sha256", "size_bytes", "score"} <= set(member)
            assert "path" not in member
    assert service.get("/v1/indexes/photos/duplicates?kind=hash").status_code == 422
    assert service.get("/v1/indexes/photos/duplicates?colour=red").status_code == 422
    groups = client.index("photos").duplicates(kinds=["bytes"])
    assert all(member.kind in ("leader", "bytes") for group in groups for member in group)


def test_label_packs_are_accepted(client, service, tmp_path, encoder, photos):
    classifier = ZeroShotClassifier(encoder, ["cat", "bus"], templates="none")
    classifier.save(tmp_path / "own.clip")
    theirs = client.classifier(tmp_path / "own.clip").classify(photos[:2], none_of_these=True)
    ours = classifier.classify(photos[:2], none_of_these=True)
    assert [row[0].label for row in theirs] == [row[0].label for row in ours]
    with pytest.warns(DeprecationWarning, match="is classify"):
        asked = client.classifier(tmp_path / "own.clip").predict(photos[:2], none_of_these=True)
    assert asked == theirs


def test_batches_form_when_requests_come_together(service):
    def ask(n):
        assert service.post(
            "/v1/indexes/photos/search", json={"text": f"thing number {n}"}
        ).is_success

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = service.get("/metrics").text
    lines = {
        line.split(" ")[0]: float(line.split(" ")[1])
        for line in text.splitlines()
        if line and not line.startswith("#")
    }
    count = lines['clipsearch_batch_size_count{kind="text"}']
    total = lines['clipsearch_batch_size_sum{kind="text"}']
    assert total > count  # some batch held more than one text
    for name in (
        "clipsearch_queue",
        "clipsearch_index_generation",
        "clipsearch_request_seconds",
        "clipsearch_requests_total",
        "clipsearch_skipped_files_total",
    ):
        assert name in text


def test_a_commit_and_a_migration_elsewhere_are_followed(tmp_path, encoder, other_encoder, photos):
    with Index.create(tmp_path / "indexes" / "live", encoder) as index:
        index.add(photos[:3])
        with serving(tmp_path / "indexes", "-i", "live", "--no-ui") as running:
            ask = lambda: running.post("/v1/indexes/live/search", json={"text": "a cat", "k": 5})  # noqa: E731
            before = ask().json()
            index.add(photos[3:5])
            after = ask().json()
            assert after["generation"] > before["generation"]
            assert len(after["hits"]) == len(before["hits"]) + 2

            index.migrate(other_encoder)
            expected = [hit.item.id for hit in index.search("a cat", k=5)]
            while (answer := ask()).status_code != 200:
                assert answer.status_code == 503, answer.text
                assert answer.headers["Retry-After"] == "1"
                assert "another model now" in answer.json()["detail"]
                assert running.get("/healthz").status_code == 200
                time.sleep(0.1)
            assert [hit["id"] for hit in answer.json()["hits"]] == expected
            assert running.get("/readyz").status_code == 200
            assert running.get("/v1/indexes/live").json()["dim"] == other_encoder.dim
            vectors = running.post("/v1/embed", json={"texts": ["a cat"]}).json()["texts"]
            assert np.allclose(vectors, other_encoder.encode_texts(["a cat"]), atol=1e-4)

            shutil.rmtree(tmp_path / "indexes" / "live")
            assert ask().status_code == 404
            assert running.get("/readyz").status_code == 503
            with Index.create(tmp_path / "indexes" / "live", encoder) as again:
                again.add(photos[:1])
            while (answer := ask()).status_code != 200:
                assert answer.status_code in (404, 503), answer.text
                time.sleep(0.1)
            assert len(answer.json()["hits"]) == 1
            document = running.get("/v1/indexes/live").json()
            assert (document["items"], document["fingerprint"]) == (1, encoder.fingerprint)


def test_items_that_are_away_are_no_answers_until_their_files_are_back(service, home, encoder):
    def found() -> set[int]:
        hits = service.post("/v1/indexes/photos/search", json={"text": "a cat", "k": 500})
        return {hit["id"] for hit in hits.json()["hits"]}

    everything, told = found(), "/v1/indexes/photos"
    with Index.open(home / "photos", encoder) as index:
        lost = index.items()[0]
        aside = shutil.move(lost.path, home.parent / "aside")
        folder = Path(lost.path).parent
        try:
            assert index.add(folder).away == 1
            assert found() == everything - {lost.id}
            assert service.get(told).json()["away"] == 1
            assert service.get(f"{told}/items/{lost.id}").json()["id"] == lost.id
        finally:
            shutil.move(aside, lost.path)
        end = time.monotonic() + 10
        while time.monotonic() < end and found() != everything:
            time.sleep(0.2)
        assert (found(), service.get(told).json()["away"]) == (everything, 0)
        assert index.add(folder).unchanged == len(everything)


def test_a_graceful_stop_finishes_what_is_under_way(home):
    """The end of a request is sent when the server takes no other one any more."""
    body = b'{"texts": ["a cat"]}'
    with serving(home, "-i", "photos", "--no-ui") as running:
        address = urlsplit(running.url)
        place = (address.hostname, address.port)
        with socket.create_connection(place, timeout=60) as sock:
            head = f"POST /v1/embed HTTP/1.1\r\nHost: {address.netloc}\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            sock.sendall(head.encode() + body[:-1])
            while "clipsearch_requests_in_flight 2.0" not in running.get("/metrics").text:
                time.sleep(0.05)
            running.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):
                while True:
                    socket.create_connection(place).close()
                    time.sleep(0.05)
            sock.sendall(body[-1:])
            assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert running.process.wait(40) == 0


def test_logs_hold_no_words_of_users(service):
    service.post(
        "/v1/indexes/photos/search?secretquery=1",
        json={"text": "secretword"},
        headers={"X-Request-ID": "my-request-1"},
    )
    for _ in range(50):
        if any("my-request-1" in line for line in service.log):
            break
        time.sleep(0.05)
    line = next(line for line in service.log if "my-request-1" in line)
    assert line.startswith("{"), line
    entry = json.loads(line)
    assert entry["route"] == "/v1/indexes/{name}/search"
    assert entry["status"] == 200
    assert "secret" not in "".join(service.log)


def test_documentation_has_every_endpoint_with_curl_and_no_foreign_script(service):
    page = service.get("/docs").text
    document = service.get("/openapi.json").json()
    assert "<script" not in page
    for path, operations in document["paths"].items():
        assert path in page
        for operation in operations.values():
            assert "curl " in operation["description"], path
    assert "a dog on the beach" in page


def test_headers(service):
    answer = service.get("/v1/indexes", headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    answer = service.get("/v1/indexes")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["x-request-id"]
    assert "server" not in answer.headers
    assert httpx.get(service.url + "/v1/indexes", headers={"Host": "evil.example"}).is_error
