"""Parts of the server that need no process: batching, tables, rate."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import shutil
import threading
import time

import numpy as np
import pytest
from clipsearch.ui import Library
from fastapi.testclient import TestClient

import clipsearch
from clipsearch import Index, errors
from clipsearch.hub import Hub
from clipsearch.server import create_app
from clipsearch.server.batcher import Batcher
from clipsearch.server.problems import of_error
from clipsearch.server.settings import is_loopback
from tests.fakes import FakeEncoder, put
from tests.test_index_restored import WAYS


def every_error():
    return [
        cls
        for name in errors.__all__
        if isinstance(cls := getattr(errors, name), type)
        and issubclass(cls, errors.ClipSearchError)
    ]


@pytest.mark.parametrize("cls", every_error())
def test_every_error_has_a_status_and_an_exit_code(cls):
    assert "http_status" in vars(cls), "say what it becomes over HTTP"
    assert 400 <= cls.http_status < 600
    assert 1 <= cls.exit_code < 126
    assert cls.exit_code not in (2, 3)
    assert of_error(cls("what happened")).status == cls.http_status


def test_every_error_of_the_package_is_in_the_tree_of_errors():
    for module in pkgutil.walk_packages(clipsearch.__path__, "clipsearch."):
        if not module.name.startswith(("clipsearch.cluster", "clipsearch.ui", "clipsearch.__main")):
            importlib.import_module(module.name)
    queue, found = [errors.ClipSearchError], set()
    while queue:
        cls = queue.pop()
        queue += cls.__subclasses__()
        if cls.__module__.startswith("clipsearch.") and ".ui." not in cls.__module__:
            found.add(cls)  # the page words a few of them for people and has no codes of its own
    assert found == set(every_error())


@pytest.mark.parametrize("cls", every_error())
def test_what_is_wrong_with_the_server_names_no_path(cls):
    problem = of_error(cls("secret: /srv/pictures/catalog.sqlite is damaged"))
    assert problem.code == cls.code
    if problem.status >= 500 or cls is errors.IndexNotFoundError:
        assert "/srv" not in problem.detail


def encode(values):
    if "bad" in values:
        raise ValueError("bad")
    time.sleep(0.01)
    return np.array([[len(value)] for value in values], np.float32)


def test_requests_that_come_together_are_encoded_together():
    sizes = []
    batcher = Batcher(encode, max_batch=8, wait_ms=20, observe=sizes.append)
    results = {}

    def ask(n):
        results[n] = np.ravel(batcher(["x" * n])).tolist()

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(1, 31)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batcher.close()
    assert results == {n: [n] for n in range(1, 31)}
    assert max(sizes) <= 8
    assert sum(sizes) == 30
    assert len(sizes) < 15


def test_only_the_one_that_is_to_blame_fails():
    batcher = Batcher(encode, max_batch=8, wait_ms=50)
    outcome = {}

    def ask(value):
        try:
            outcome[value] = np.stack(batcher([value])).tolist()
        except ValueError as exc:
            outcome[value] = str(exc)

    threads = [threading.Thread(target=ask, args=(v,)) for v in ("good", "bad", "fine")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batcher.close()
    assert outcome == {"good": [[4]], "bad": "bad", "fine": [[4]]}


def test_long_lists_are_cut_and_put_together_again():
    sizes = []
    batcher = Batcher(encode, max_batch=4, wait_ms=0, observe=sizes.append)
    assert np.ravel(batcher(["x" * n for n in range(11)])).tolist() == list(range(11))
    batcher.close()
    assert max(sizes) <= 4
    with pytest.raises(RuntimeError):
        batcher(["x"])


def test_a_client_that_leaves_costs_the_others_nothing():
    async def visit():
        leaving = asyncio.create_task(batcher.soon(["gone"]))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        return await batcher.soon(["fine"])  # after a batch of nobody, there is another one

    seen = []
    batcher = Batcher(lambda values: seen.extend(values) or values, max_batch=1, wait_ms=50)
    assert asyncio.run(visit()) == ["fine"]
    batcher.close()
    assert "fine" in seen


def test_which_hosts_are_this_machine():
    assert all(is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "example.org", "10.0.0.1", ""))


def test_a_model_that_cannot_be_loaded_after_a_migration(tmp_path, caplog):
    """The index of that model is refused, with the reason in the log; the others are served."""
    old, new = FakeEncoder("old"), FakeEncoder("new")
    folders = {name: tmp_path / name for name in ("moved", "kept")}
    for folder in folders.values():
        with Index.create(folder, old) as index, index.writer() as writer:
            for n in range(3):
                put(writer, old, f"{n}", caption=f"caption {n}", image=False)

    def load(name):
        raise errors.ModelLoadError(f"{name}: the file is gone")

    with TestClient(create_app(old, folders, ui=False, load=load)) as http:
        with Index.open(folders["moved"], old) as index:
            assert index.migrate(new).switched
        query = {"text": "x", "target": "caption"}
        refused = http.post("/v1/indexes/moved/search", json=query)
        assert (refused.status_code, refused.json()["code"]) == (503, "index_migrated")
        assert "moved was migrated and cannot be served: new: the file is gone" in caplog.text
        assert http.get("/readyz").status_code == 503
        answer = http.post("/v1/indexes/kept/search", json=query)
        assert len(answer.json()["hits"]) == 3
        assert http.get("/healthz").status_code == 200


@pytest.mark.parametrize("change", WAYS)
def test_a_restored_and_then_replaced_index_is_served_as_it_is(tmp_path, change):
    """Over HTTP and on the page: each answer is of one state, whatever was there before."""
    fake, path, other = FakeEncoder(), tmp_path / "photos", tmp_path / "other"

    def add(folder, *names):
        with Index.open(folder, fake) as index:
            for name in names:
                with index.writer() as writer:
                    put(writer, fake, name, caption=name)

    for folder in (path, other):
        Index.create(folder, fake).close()
    add(path, "a", "b")
    add(other, "x")
    shutil.copytree(path, tmp_path / "backup")
    add(path, "c", "d")
    hub = Hub(lambda name: fake, open_index=Index.open)
    library = Library([str(path)], hub=hub)
    with TestClient(create_app(fake, {"photos": path}, ui=False)) as http:

        def captions():
            answer = http.post("/v1/indexes/photos/search", json={"text": "any", "k": 9}).json()
            listed = [item.caption for item in library.index("photos").items()]
            assert sorted(hit["caption"] for hit in answer["hits"]) == listed
            assert len(library.sample("photos")[0]) == len(listed)
            return "".join(listed)

        assert captions() == "abcd"
        change(tmp_path / "backup", path)
        assert captions() == "ab"
        add(path, "y", "z")
        assert captions() == "abyz"
        change(other, path)
        assert captions() == "x"
    library.close()
    hub.close()
