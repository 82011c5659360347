"""Filtered searches find exactly what brute force finds, in every state of an index."""

import threading

import numpy as np
import pytest

from clipsearch.engine import ann, away, selection
from clipsearch.engine.selection import Selection, Selections
from clipsearch.index import Index
from clipsearch.vectors import unit
from tests.fakes import FakeEncoder, record

copies = []  # that were made of parts of the ANN file
DIM = 16
COUNT = 400
FILTERS = {
    "width < 1": lambda item: item.width < 1,
    "width < 5": lambda item: item.width < 5,
    "width < 50": lambda item: item.width < 50,
    "not width < 3": lambda item: item.width >= 3,
    "width > 200": lambda item: False,
    "tag = 'dog'": lambda item: "dog" in item.tags,
    "tag != 'dog' and width < 60": lambda item: "dog" not in item.tags and item.width < 60,
    "id > 410": lambda item: item.id > 410,
}


def row_sets():
    rng = np.random.default_rng(0)
    yield []
    yield from ([0], [1], [7], [8], [15, 16], [2**31], [1, 2**33])
    for most in (9, 64, 1000):
        for share in (0.005, 0.1, 0.5, 0.95, 1.0):
            yield np.flatnonzero(rng.random(most) < share).tolist()


@pytest.mark.parametrize("rows", row_sets(), ids=lambda rows: f"{len(rows)} rows")
def test_a_selection_is_its_rows(rows):
    one = Selection(np.array(rows, np.int64))
    assert one.size == len(rows)
    assert one.rows.dtype == np.int64
    assert one.rows.tolist() == rows
    asked = np.arange(1100)
    assert one.holds(asked).tolist() == [row in set(rows) for row in asked.tolist()]
    odd = np.array([-(2**63), -(2**40), -9, -1, 2**40, 2**63 - 1])
    assert not one.holds(odd).any()
    for row in (0, 1, 6, 7, 8, 15, 16, 63, 500, 998, 2000):
        assert one.count_after(row) == sum(other > row for other in rows)
    if len(rows) and rows[-1] < 2**20:
        bits = np.unpackbits(one.bits, bitorder="little")
        assert np.flatnonzero(bits).tolist() == rows
        assert one.nbytes >= one.bits.nbytes
        assert one.holds(asked).sum() == len(rows)  # by the bitmap, which is there now
        assert not one.holds(odd).any()


def test_what_is_remembered_stays_within_its_bound(monkeypatch):
    monkeypatch.setattr(selection, "_MOST_BYTES", 16_000)
    kept, made = Selections(), []

    def select(where):
        def make():
            made.append(where)
            return Selection(np.arange(1, 30_000, 2, dtype=np.int64))  # 3,750 bytes in bits

        return kept.get("image", where, make)

    assert select("a") is select("a")
    for where in "bca":
        select(where)
    assert made == ["a", "b", "c"]
    for where in "de":
        select(where)
    assert select("a") is select("a")
    select("b")  # the least recently used ones have gone
    assert made == ["a", "b", "c", "d", "e", "b"]
    assert kept.get("caption", "b", lambda: Selection(np.array([1], np.int64))).size == 1


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Several segments, one of them beyond the ANN file, which is searched to its last list."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clipsearch.engine.ann_builder._MOST_QUERIES", 20)
        patch.setattr("clipsearch.engine.snapshot._SELECTED_SHARE", 0.01)
        patch.setattr("clipsearch.engine.snapshot._LONG_ANSWER_SHARE", 1.0)
        patch.setattr(ann.Ann, "candidates", lambda self, k: COUNT * 2)
        scan = ann.search

        def search_all(index, queries, count, nprobe, allowed=None):
            return scan(index, queries, count, index.nlist, allowed)

        patch.setattr(ann, "search", search_all)
        patch.setattr(
            ann, "_copy", lambda *args, make=ann._copy: copies.append(args) or make(*args)
        )
        folder = tmp_path_factory.mktemp("selections") / "index"
        Index.create(folder, FakeEncoder(dim=DIM)).close()
        with Index.open(folder, FakeEncoder(dim=DIM), exact_elements=100 * DIM) as index:
            put(index, 0, COUNT // 2)
            put(index, COUNT // 2, COUNT)
            index.build_ann()
            yield index


def put(index, first, stop):
    rng = np.random.default_rng(first)
    with index.writer() as writer:
        for number in range(first, stop):
            image, caption = unit(rng.standard_normal((2, DIM)))
            one = record(f"{number}", width=number * 37 % 100, caption=f"caption {number}")
            writer.put(one, image=image, caption=caption)


def check(index):
    """Hold every filter against a plain product over the items that it should leave."""
    items = [item for item in index.items(limit=10_000) if item.id not in index.away()]
    queries = unit(np.random.default_rng(9).standard_normal((2, DIM)))
    for target in ("image", "caption"):
        parts = zip(*index.iter_vectors(target), strict=True)
        rows, vectors = (np.concatenate(part) for part in parts)
        for query in queries:
            score = dict(zip(rows.tolist(), (vectors @ query).tolist(), strict=True))
            for where, holds in FILTERS.items():
                there = [item.id for item in items if holds(item)]
                wanted = sorted(there, key=lambda row: -score[row])[:7]
                for _ in range(3):  # made, remembered, and with codes of its own
                    hits = index.search(query, 7, where=where, target=target)
                    assert [hit.item.id for hit in hits] == wanted, (target, where)
                    assert hits.approximate or len(there) <= 1  # by the ANN file
                    assert np.allclose([hit.score for hit in hits], [score[r] for r in wanted])


def test_filtered_searches_are_right_in_every_state(index, tmp_path):
    check(index)
    with index.writer() as writer:
        writer.set_tags([1, 5, 17, 300], ["dog"] * 4)
    check(index)
    put(index, COUNT, COUNT + 30)  # beyond the ANN file
    index.remove(range(3, 200, 7))
    check(index)
    with index.writer() as writer:
        vector = unit(np.random.default_rng(3).standard_normal((2, DIM)))
        writer.recaption(5, "another caption", vector[0])
        writer.recaption(420, "and another", vector[1])
        writer.set_tags([5, 6, 420], ["dog"] * 3)
    check(index)
    back = tmp_path / "back.jpg"
    with index.writer() as writer:
        writer.touch(6, facts={"path": str(back)})
        gone = {1: "/photos", 6: str(back), 7: "/photos", 402: "/photos"}
        writer.change(lambda conn: away.mark(conn, gone))
    assert set(index.away()) == set(gone)
    check(index)
    back.touch()  # in the same commit, an item is there again
    for _ in range(200):
        index.search(np.ones(DIM), 1)
        if 6 not in index.away():
            break
        threading.Event().wait(0.05)
    assert set(index.away()) == {1, 7, 402}
    check(index)
    assert copies


def test_threads_share_selections_while_commits_come(index):
    """Every answer is one state's: all its hits have the tag that this state gives to some."""
    stop, wrong = threading.Event(), []

    def look():
        while not stop.is_set():
            hits = index.search(np.ones(DIM), 50, where="tag = 'round'")
            ids = {hit.item.id for hit in hits}
            if hits and ids not in rounds:
                wrong.append(ids)

    rounds = [set(range(100 + n, 300, 17)) - set(range(3, 200, 7)) for n in range(8)]
    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for rows in rounds:
        index.set_tags(sorted(rows), ["round"] * len(rows))
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
