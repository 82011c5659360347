"""The hub: what a process has open, each of it once, and as it is now."""

import shutil
import threading
import time

import numpy as np
import pytest

from clipsearch import Index
from clipsearch.errors import IndexNotFoundError, InvalidInputError, ModelLoadError
from clipsearch.hub import Hub
from tests.fakes import FakeEncoder, put

ENCODERS = {name: FakeEncoder(name) for name in ("fake", "another")}
THREADS = 8


def make(path, encoder, *names):
    with Index.create(path, encoder) as index, index.writer() as writer:
        for name in names:
            put(writer, encoder, name)
    return path


@pytest.fixture
def photos(tmp_path):
    return make(tmp_path / "photos", ENCODERS["fake"], "a", "b", "c")


@pytest.fixture
def hub():
    made = Hub(ENCODERS.__getitem__, open_index=Index.open)
    yield made
    made.close()


def together(ask):
    """The answers of several threads that ask at the same moment."""
    barrier = threading.Barrier(THREADS)
    found = []

    def run():
        barrier.wait()
        found.append(ask())

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == THREADS
    return found


def test_threads_that_ask_together_get_one_index_and_one_model(photos):
    opened, loaded = [], []

    def open_index(path, *, load):
        time.sleep(0.05)
        opened.append(path)
        return Index.open(path, load=load)

    def load(name):
        time.sleep(0.05)
        loaded.append(name)
        return ENCODERS[name]

    hub = Hub(load, open_index=open_index)
    assert len(set(map(id, together(lambda: hub.index(photos))))) == 1
    assert len(set(map(id, together(lambda: hub.index(photos).encoder)))) == 1
    assert (opened, loaded) == ([photos], ["fake"])
    assert hub.held(photos) is hub.index(photos)
    assert hub.encoder("fake") is ENCODERS["fake"]
    hub.close()


def test_one_folder_is_one_index_by_whatever_path(hub, photos, tmp_path):
    (tmp_path / "link").symlink_to(photos)
    assert hub.index(tmp_path / "link") is hub.index(photos)
    assert hub.index(tmp_path / "." / "photos") is hub.index(photos)


def test_an_index_that_only_grew_stays_open(hub, photos):
    index = hub.index(photos)
    with Index.open(photos) as other, other.writer() as writer:
        put(writer, ENCODERS["fake"], "d")
    assert hub.index(photos) is index
    assert len(index) == 4


def test_a_migrated_index_is_opened_again_with_its_new_model(hub, photos):
    before = hub.index(photos)
    assert before.encoder is ENCODERS["fake"]
    with Index.open(photos) as other:
        assert other.migrate(ENCODERS["another"], drop_missing=True).switched
    assert hub.held(photos) is before  # which looks at no disk
    after = hub.index(photos)
    assert after is not before
    assert after.encoder is ENCODERS["another"]
    assert hub.held(photos) is after
    assert list(hub._indexes.values()) == [after]


def test_a_deleted_index_is_said_to_be_gone_and_a_new_one_is_opened(hub, photos):
    before = hub.index(photos)
    query = np.ones(before.dim, np.float32)
    assert len(before.search(query)) == 3
    shutil.rmtree(photos)
    with pytest.raises(IndexNotFoundError, match=r"there is no index at .*photos"):
        hub.index(photos)
    make(photos, ENCODERS["fake"], "x")
    assert len(hub.index(photos).search(query)) == 1


def test_an_index_that_was_replaced_holds_neither_vectors_nor_files(hub, photos):
    before = hub.index(photos)
    before.search(np.ones(before.dim, np.float32))
    shutil.rmtree(photos)
    make(photos, ENCODERS["fake"], "x")
    assert hub.index(photos) is not before
    assert before._reader._latest is None
    assert before._reader._idle == []


def test_a_model_that_cannot_be_loaded_is_tried_again_later(photos):
    tries = []

    def load(name):
        tries.append(name)
        if len(tries) < 3:
            raise ModelLoadError(f"no {name}, try {len(tries)}")
        return ENCODERS[name]

    hub = Hub(load, open_index=Index.open, retry_s=1000)
    index = hub.index(photos)
    for _ in range(2):  # the second one is not worth a try
        with pytest.raises(ModelLoadError, match="no fake, try 1"):
            _ = index.encoder
    assert hub.model_state("fake") == "failed"
    assert hub.failure_of("fake") == "no fake, try 1"
    with pytest.raises(ModelLoadError, match="try 2"):  # who was told why may try again
        _ = index.encoder
    hub._retry_s = 0
    assert index.encoder is ENCODERS["fake"]
    assert hub.model_state("fake") == "ready"
    assert hub.failure_of("fake") == ""
    hub.close()


def test_a_model_that_is_brought_takes_the_place_of_one_that_could_not_be_loaded(photos):
    def load(name):
        raise ModelLoadError("no")

    hub = Hub(load, open_index=Index.open, retry_s=0)
    with pytest.raises(ModelLoadError):
        hub.encoder("fake")
    hub.add_model(ENCODERS["fake"])
    assert hub.failure_of("fake") == ""
    assert hub.encoder("fake") is ENCODERS["fake"]
    hub.close()
    with pytest.raises(InvalidInputError, match="closed"):
        hub.encoder("fake")
    assert hub.failure_of("fake") == ""


def test_a_model_is_loaded_in_the_background(photos):
    may_load = threading.Event()

    def load(name):
        assert may_load.wait(30)
        return ENCODERS[name]

    hub = Hub(load, open_index=Index.open)
    assert not hub.is_loaded("fake")
    assert hub.model_state("fake") == "loading"
    assert not hub.is_loaded("fake")
    may_load.set()
    assert hub.encoder("fake") is ENCODERS["fake"]
    assert hub.is_loaded("fake")
    hub.close()


def test_closing_closes_all(photos, tmp_path):
    class Closable(FakeEncoder):
        closed = 0

        def close(self):
            self.closed += 1

    encoder = Closable()
    hub = Hub(lambda name: encoder, open_index=Index.open)
    indexes = [
        hub.index(photos),
        hub.index(make(tmp_path / "scans", ENCODERS["fake"], "a")),
    ]
    assert indexes[0].encoder is encoder
    shutil.rmtree(photos)
    indexes.append(hub.index(make(photos, ENCODERS["fake"], "a")))
    for _ in range(2):
        hub.close()
    assert encoder.closed == 1
    for index in indexes:
        assert not index.is_current()
        with pytest.raises(InvalidInputError, match="closed"):
            len(index)
    with pytest.raises(InvalidInputError, match="closed"):
        hub.index(photos)
