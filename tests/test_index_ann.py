"""Approximate search is held against exact search of the same index."""

import threading

import numpy as np
import pytest

from clipsearch.engine import ann
from clipsearch.index import Index
from clipsearch.vectors import unit
from tests.fakes import FakeEncoder, record

DIM = 32
COUNT = 3000
EXACT = 500 * DIM  # exact up to 500 vectors
needs_gpu = pytest.mark.skipif(ann.gpu_count() == 0, reason="FAISS finds no CUDA device")


class TextLike(FakeEncoder):
    """Texts lie off the distribution of images, as in a real model."""

    def __init__(self):
        super().__init__("text-like", DIM)
        rng = np.random.default_rng(5)
        self.centres = unit(rng.standard_normal((60, DIM)))
        self.gap = unit(rng.standard_normal(DIM))

    def encode_texts(self, texts):
        vectors = []
        for text in texts:
            seed = sum(map(ord, text))
            vectors.append(0.5 * self.centres[seed % 60] + self.vector(text) * 0.5 + 0.8 * self.gap)
        return unit(np.stack(vectors))


def images(count, seed=0, encoder=None):
    encoder = encoder or TextLike()
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((count, DIM)) / np.sqrt(DIM)
    return unit(encoder.centres[rng.integers(60, size=count)] + 0.8 * noise)


def put_all(index, vectors, first=0):
    with index.writer() as writer:
        for i, vector in enumerate(vectors, start=first):
            writer.put(record(f"{i}", width=i % 100), image=vector)


@pytest.fixture(autouse=True)
def few_queries(monkeypatch):
    """Tuning on a hundred texts is enough where the recall itself is not the matter."""
    monkeypatch.setattr("clipsearch.engine.ann_builder._MOST_QUERIES", 100)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An index with an ANN file that covers all but the last 100 and some removed items."""
    encoder = TextLike()
    folder = tmp_path_factory.mktemp("ann") / "index"
    Index.create(folder, encoder).close()
    index = Index.open(folder, encoder, exact_elements=EXACT)
    put_all(index, images(COUNT))
    index.refresh_baseline()
    assert index.build_ann() == {"image": "train", "caption": None}
    put_all(index, images(100, seed=1), first=COUNT)
    index.remove(range(1, COUNT, 40))
    yield index
    index.close()


def recall(index, texts, **options):
    found = wanted = 0
    for text in texts:
        exact = [h.item.id for h in index.search(text, exact=True, **options)]
        hits = index.search(text, **options)
        assert hits.approximate
        assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
        found += len({h.item.id for h in hits} & set(exact))
        wanted += len(exact)
    return found / wanted


def test_recall_on_texts_keeps_the_promise(built):
    ann = built.info()["ann"]["image"]
    assert ann["recall_at_10"] >= 0.98
    assert ann["covered"] == COUNT
    assert ann["uncovered"] == 100
    texts = [f"something that nobody tuned on, number {i}" for i in range(100)]
    assert recall(built, texts) >= 0.96  # 0.98 but for the chance of a hundred texts
    assert recall(built, texts[:20], k=50) >= 0.96


def test_scores_are_exact(built):
    for i in range(20):
        exact = {h.item.id: h.score for h in built.search(f"text {i}", k=50, exact=True)}
        for hit in built.search(f"text {i}", k=20):
            assert exact.get(hit.item.id, hit.score) == hit.score


def test_items_beyond_the_file_are_found_and_removed_ones_are_not(built):
    for i, vector in enumerate(images(100, seed=1)[:20]):
        assert built.search(vector, k=1)[0].item.key == f"/photos/{COUNT + i}.jpg"
    for row, vector in zip(range(1, 1000, 40), images(COUNT)[0:1000:40], strict=False):
        assert row not in [h.item.id for h in built.search(vector, k=10)]


def test_removed_neighbours_take_no_places(tmp_path):
    """Everything near the query is removed; ten hits must come from further away."""
    encoder = TextLike()
    Index.create(tmp_path / "index", encoder).close()
    with Index.open(tmp_path / "index", encoder, exact_elements=EXACT) as index:
        vectors = images(1200)
        near = unit(vectors[0] + 0.1 * np.random.default_rng(1).standard_normal((900, DIM)) / 6)
        put_all(index, np.concatenate([near, vectors]))
        index.build_ann()
        index.remove(range(1, 901))
        hits = index.search(vectors[0], k=10)
        exact = index.search(vectors[0], k=10, exact=True)
        assert len(hits) == 10
        assert len({h.item.id for h in hits} & {h.item.id for h in exact}) >= 9


@pytest.mark.parametrize("limit", [0, 1, 3, 10, 30, 70, 100])
def test_filters_at_any_selectivity(built, limit):
    where = f"width < {limit}"
    total = len(built.items(where, limit=10_000))
    found = wanted = 0
    for i in range(20):
        hits = built.search(f"text {i}", k=20, where=where)
        exact = built.search(f"text {i}", k=20, where=where, exact=True)
        assert len(hits) == min(20, total)
        assert all(h.item.width < limit for h in hits)
        found += len({h.item.id for h in hits} & {h.item.id for h in exact})
        wanted += len(exact)
    assert found >= 0.96 * wanted
    assert len(built.search("text", k=COUNT + 100, where=where)) == total


def test_as_many_as_there_are(built):
    assert len(built.search("text", k=100_000)) == len(built)


def test_verify_holds_ann_against_exact(built):
    report = built.verify(full=True)
    assert report.ok, report.problems
    assert any("neighbours" in note for note in report.notes)


def test_an_index_that_grows_extends_and_retrains(tmp_path):
    encoder = TextLike()
    Index.create(tmp_path / "index", encoder).close()
    with Index.open(tmp_path / "index", encoder, exact_elements=EXACT) as index:
        put_all(index, images(400))
        assert index.build_ann()["image"] is None
        put_all(index, images(600, seed=1), first=400)
        index.refresh_baseline()
        assert index.build_ann()["image"] == "train"
        put_all(index, images(100, seed=2), first=1000)
        assert index.build_ann()["image"] is None
        put_all(index, images(400, seed=3), first=1100)
        assert index.build_ann()["image"] == "extend"
        assert index.info()["ann"]["image"]["covered"] == 1500
        assert recall(index, [f"text {i}" for i in range(30)]) >= 0.95
        put_all(index, images(600, seed=4), first=1500)
        assert index.build_ann()["image"] == "train"
        index.remove(range(1, 1500))
        index.compact()
        assert index.info()["ann"]["image"]["covered"] == 601
        index.remove(range(1500, 2000))
        index.compact()
        assert index.info()["ann"]["image"] is None
        assert list((index.path / "ann").glob("*.faiss")) == []
        assert index.verify(full=True).ok


def test_searches_go_on_while_a_file_is_built(tmp_path):
    encoder = TextLike()
    Index.create(tmp_path / "index", encoder).close()
    with Index.open(tmp_path / "index", encoder, exact_elements=EXACT) as index:
        put_all(index, images(1000))
        query = encoder.encode_texts(["x"])[0]
        expected = index.search(query, k=3, exact=True)[0].item.id
        stop, seen, errors = threading.Event(), [], []

        def search():
            while not stop.is_set():
                try:
                    seen.append(index.search(query, k=3)[0].item.id)
                except Exception as exc:
                    errors.append(exc)
                    return

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        index.build_ann(force=True)
        index.compact()
        stop.set()
        for thread in threads:
            thread.join()
        assert not errors
        assert set(seen) == {expected}


def test_equal_pictures_do_not_spoil_the_measurement(tmp_path):
    encoder = TextLike()
    Index.create(tmp_path / "index", encoder).close()
    with Index.open(tmp_path / "index", encoder, exact_elements=EXACT) as index:
        put_all(index, np.repeat(images(100), 12, axis=0))
        index.build_ann()
        assert index.info()["ann"]["image"]["recall_at_10"] >= 0.98


def test_duplicates_by_neighbours(tmp_path, monkeypatch):
    monkeypatch.setattr("clipsearch.engine.alike._ALL_PAIRS_ELEMENTS", 0)
    encoder = TextLike()
    Index.create(tmp_path / "index", encoder).close()
    with Index.open(tmp_path / "index", encoder, exact_elements=EXACT) as index:
        vectors = images(1000)
        put_all(index, np.concatenate([vectors, vectors[:300:10]]))
        index.build_ann()
        groups = index.duplicates(0.999)
        assert [[item.id for item, _ in g] for g in groups] == [
            [1 + 10 * i, 1001 + i] for i in range(30)
        ]


def test_an_index_without_texts_says_so_and_is_tuned_on_texts_later(tmp_path):
    encoder = TextLike()
    Index.create(tmp_path / "index", encoder).close()
    with Index.open(tmp_path / "index", exact_elements=EXACT) as index:
        put_all(index, images(1000))
        index.compact()
        assert index.info()["ann"]["image"]["parameters"]["tuned_on"] == "stored vectors"
        index.refresh_baseline(encoder)
        assert index.build_ann()["image"] == "extend"
        assert index.info()["ann"]["image"]["parameters"]["tuned_on"] == "texts"
        assert index.build_ann()["image"] is None


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_finds_the_same(tmp_path):
    encoder = TextLike()
    Index.create(tmp_path / "index", encoder).close()
    with Index.open(tmp_path / "index", encoder, exact_elements=EXACT) as index:
        put_all(index, images(COUNT))
        index.build_ann()
        index.remove(range(1, COUNT, 7))
        put_all(index, images(50, seed=9), first=COUNT)
        assert index.info()["ann"]["image"]["recall_at_10"] >= 0.98
        with Index.open(index.path, encoder, device="cuda") as on_gpu:
            for i in range(50):
                exact = index.search(f"text {i}", k=20, exact=True)
                found = on_gpu.search(f"text {i}", k=20)
                assert np.allclose([h.score for h in found], [h.score for h in exact], atol=1e-5)
                same = {h.item.id for h in found} & {h.item.id for h in exact}
                assert len(same) >= 19


@pytest.mark.gpu
@needs_gpu
def test_training_on_a_gpu_and_on_the_processor_agree():
    vectors = images(3000)
    rows = np.arange(1, 3001, dtype=np.int64)
    found = []
    for use_gpu in (True, False):
        trained = ann.train(vectors, 32, use_gpu=use_gpu)
        trained.add([(rows, vectors)])
        found.append(ann.search(trained.index, vectors[:50], 30, 32))
    for one, other in zip(*found, strict=True):
        assert len(set(one.tolist()) & set(other.tolist())) >= 24


def test_a_gpu_is_asked_for_but_there_is_none(tmp_path):
    from clipsearch.errors import InvalidInputError

    if ann.gpu_count():
        pytest.skip("there is a GPU")
    encoder = TextLike()
    Index.create(tmp_path / "index", encoder).close()
    with Index.open(tmp_path / "index", encoder, device="cuda") as index:
        put_all(index, images(10))
        with pytest.raises(InvalidInputError, match="no CUDA device"):
            index.search("text")
    with pytest.raises(InvalidInputError, match="device must be"):
        Index.open(tmp_path / "index", encoder, device="tpu")


def test_items_that_are_all_newer_than_the_file_are_found(tmp_path):
    encoder = TextLike()
    Index.create(tmp_path / "index", encoder).close()
    with Index.open(tmp_path / "index", encoder, exact_elements=EXACT) as index:
        put_all(index, images(COUNT))
        index.refresh_baseline()
        index.build_ann()
        rows = range(1, COUNT + 1)
        fresh = images(200, seed=5)
        with index.writer() as writer:
            for i, vector in enumerate(fresh):
                writer.put(record(f"new {i}", width=1000), image=vector)
        for where in ("width = 1000", f"id > {COUNT}"):
            for query in (fresh[3], fresh[7]):
                hits = index.search(query, 10, where=where)
                exact = index.search(query, 10, where=where, exact=True)
                assert [h.item.id for h in hits] == [h.item.id for h in exact]
        index.remove(rows)  # every one that the file has
        assert len(index.search(fresh[3], 10)) == 10
        assert index.verify(full=True).ok


def test_a_short_tail_of_a_long_segment_keeps_no_floats_of_it(tmp_path):
    encoder = TextLike()
    Index.create(tmp_path / "index", encoder).close()
    with Index.open(tmp_path / "index", encoder, exact_elements=EXACT) as index:
        put_all(index, images(COUNT))
        index.refresh_baseline()
        index.build_ann()
        put_all(index, images(20, seed=1), first=COUNT)
        index.compact()
        fresh = images(20, seed=1)[3]
        assert index.search(fresh, 5)[0].item.id == COUNT + 4
        (segment,) = index._reader._latest.store("image").segments
        assert segment.entry.count == COUNT + 20
        assert segment._floats is None
