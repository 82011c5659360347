"""The life of an index: what is put in is found, and nothing else."""

import json
import subprocess
import sys

import numpy as np
import pytest

from clipsearch.engine.away import located
from clipsearch.engine.generic_texts import GENERIC_TEXTS
from clipsearch.errors import (
    EncoderMismatchError,
    IndexExistsError,
    IndexNotFoundError,
    InvalidInputError,
    ItemNotFoundError,
    ModelLoadError,
)
from clipsearch.index import Index
from clipsearch.intake.inside import member_place
from clipsearch.query import Query
from clipsearch.types import Record
from tests.fakes import DIM, FakeEncoder, fill, put, record


@pytest.fixture
def encoder():
    return FakeEncoder()


@pytest.fixture
def index(tmp_path, encoder):
    with Index.create(tmp_path / "index", encoder) as index:
        yield index


def keys(hits) -> list[str]:
    return [hit.item.key.removeprefix("/photos/").removesuffix(".jpg") for hit in hits]


# --- creating and opening -------------------------------------------------------------------------


def test_an_empty_index(index):
    assert len(index) == 0
    assert index.generation == 0
    assert list(index.search("anything")) == []
    assert list(index.search("anything", target="caption", hybrid=True)) == []
    assert index.items() == index.duplicates() == index.pairs() == []
    assert index.verify(full=True).ok
    assert list(index.iter_vectors()) == []
    index.compact()
    assert index.remove([1, 2]) == 0


def test_create_refuses_what_is_taken(tmp_path, encoder):
    Index.create(tmp_path / "a", encoder).close()
    with pytest.raises(IndexExistsError, match="already is an index"):
        Index.create(tmp_path / "a", encoder)
    with Index.create(tmp_path / "a", encoder, exist_ok=True) as index:
        assert len(index) == 0
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "holiday.jpg").touch()
    with pytest.raises(IndexExistsError, match=r"not empty \(it holds holiday.jpg\)"):
        Index.create(tmp_path / "b", encoder)
    with pytest.raises(IndexExistsError, match="is a file"):
        Index.create(tmp_path / "b" / "holiday.jpg", encoder)


@pytest.mark.parametrize("end", ["", "-journal", "-wal", "-shm"])
@pytest.mark.parametrize("name", [".clipsearch-0123456789abcdef.part", "catalog.sqlite.new"])
def test_what_a_killed_process_left_of_a_new_index_is_no_obstacle(tmp_path, encoder, name, end):
    folder = tmp_path / "index"
    folder.mkdir()
    (folder / f"{name}{end}").write_bytes(b"half of a catalog")
    with Index.create(folder, encoder) as index:
        assert len(index) == 0
        assert index.verify(full=True).ok


def test_open_names_the_indexes_beside_it(tmp_path, encoder):
    with pytest.raises(IndexNotFoundError, match="There is none beside it"):
        Index.open(tmp_path / "photos")
    Index.create(tmp_path / "pictures", encoder).close()
    Index.create(tmp_path / "scans", encoder).close()
    with pytest.raises(IndexNotFoundError, match="Beside it: pictures, scans") as caught:
        Index.open(tmp_path / "photos")
    assert isinstance(caught.value, FileNotFoundError)


def test_another_model_is_refused(tmp_path, encoder):
    Index.create(tmp_path / "a", encoder).close()
    other = FakeEncoder("other-model")
    with pytest.raises(EncoderMismatchError, match=r"made with fake .* not with other-model .*-m"):
        Index.open(tmp_path / "a", other)
    with pytest.raises(EncoderMismatchError):
        Index.create(tmp_path / "a", other, exist_ok=True)
    with Index.open(tmp_path / "a", lambda: other) as lazy, pytest.raises(EncoderMismatchError):
        lazy.search("text")
    updated = FakeEncoder("fake")
    updated.fingerprint = "0" * 64
    told = r"with fake \(.*\), not with the version of it at hand .*\. Re-encode .* -i a -m fake"
    with pytest.raises(EncoderMismatchError, match=told):
        Index.open(tmp_path / "a", updated)


def test_the_encoder_is_loaded_on_first_need(tmp_path, encoder):
    Index.create(tmp_path / "a", encoder).close()
    calls = []
    with Index.open(tmp_path / "a", lambda: calls.append(1) or encoder) as index:
        assert index.info()["model"]["name"] == "fake"
        index.search(np.ones(DIM))
        assert not calls
        index.search("text")
        index.search("text")
        assert calls == [1]
    with Index.open(tmp_path / "a") as index, pytest.raises(ModelLoadError, match="never used"):
        index.search("text")


def test_importing_the_index_loads_no_heavy_library():
    code = (
        "import sys, clipsearch.index\n"
        "heavy = {'torch', 'open_clip', 'gradio', 'fastapi', 'pandas', 'sqlglot', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- staging and committing -----------------------------------------------------------------------


def test_what_is_put_is_found(index, encoder):
    fill(index, encoder, 30)
    assert len(index) == 30
    hits = index.search(encoder.vector("image 00007"), k=3)
    assert keys(hits)[0] == "00007"
    assert hits[0].score == pytest.approx(1.0, abs=1e-3)
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    assert hits.generation == index.generation
    assert not hits.approximate
    assert index.item(hits[0].item.id) == hits[0].item


def test_search_is_exact_and_pages_fit_together(index, encoder):
    fill(index, encoder, 120, commits=30)
    query = encoder.vector("text anything")
    stored = index.vectors(list(range(1, 121)))
    order = sorted(range(120), key=lambda i: (-float(np.einsum("i,i", stored[i], query)), i))
    assert [h.item.id for h in index.search(query, k=200)] == [i + 1 for i in order]
    paged = [h.item.id for at in range(0, 120, 50) for h in index.search(query, 50, offset=at)]
    assert paged == [i + 1 for i in order]


def test_searches_together_answer_as_each_alone(index, encoder):
    fill(index, encoder, 60, commits=3, captions=True)
    index.remove([3, 17, 40])
    queries = [f"text {n}" for n in range(9)] + [Query.item(5), encoder.vector("image 00007")]
    index.refresh_baseline(encoder)
    for options in (
        {},
        {"where": "id > 20", "offset": 2},
        {"hybrid": True, "target": "caption"},
        {"min_score": -0.1, "k": 50},
    ):
        before = encoder.encoded
        together = index.search_many(queries, **options)
        assert encoder.encoded == before + 9
        for query, hits in zip(queries, together, strict=True):
            assert hits.hits == index.search(query, **options).hits
    assert index.search_many([]) == []


def test_equal_vectors_tie_by_id(index, encoder):
    vector = encoder.vector("same")
    with index.writer() as writer:
        for i in range(40):
            writer.put(record(f"{i}"), image=vector)
            if i % 3 == 0:
                writer.commit()
    assert [h.item.id for h in index.search(vector, k=15)] == list(range(1, 16))
    assert len({h.score for h in index.search(vector, k=40)}) == 1


def test_an_update_replaces_and_gets_a_new_id(index, encoder):
    with index.writer() as writer:
        old = put(writer, encoder, "a", caption="a cat")
        put(writer, encoder, "b")
    with index.writer() as writer:
        new = writer.put(record("a", caption="a dog"), image=encoder.vector("new content"))
    assert new > old
    assert len(index) == 2
    with pytest.raises(ItemNotFoundError, match=f"no item {old}"):
        index.item(old)
    assert keys(index.search(encoder.vector("new content"), k=1)) == ["a"]
    assert index.item(new).caption == "a dog"
    info = index.info()
    assert (info["items"], info["images"], info["captions"]) == (2, 2, 0)
    assert keys(index.search("cat", hybrid=True, target="caption")) == []
    assert index.verify(full=True).ok


def test_an_item_can_be_replaced_before_it_is_committed(index, encoder):
    with index.writer() as writer:
        first = put(writer, encoder, "a")
        assert writer.lookup(["/photos/a.jpg", "/nowhere"])["/photos/a.jpg"].row == first
        second = put(writer, encoder, "a")
        assert writer.vector(first) is None
        assert writer.vector(second) is not None
        assert writer.staged == 2
    assert [item.id for item in index.items()] == [second]
    assert index.verify(full=True).ok


def test_rows_are_never_reused(index, encoder):
    fill(index, encoder, 3)
    index.remove([1, 2, 3])
    index.compact()
    with index.writer() as writer:
        assert put(writer, encoder, "later") == 4
    assert index.verify(full=True).ok


def test_an_exception_drops_what_is_staged(index, encoder):
    fill(index, encoder, 2)
    before = index.generation

    def fail():
        with index.writer() as writer:
            put(writer, encoder, "x")
            writer.remove([1])
            raise RuntimeError("oops")

    with pytest.raises(RuntimeError, match="oops"):
        fail()
    assert (len(index), index.generation) == (2, before)
    assert index.item(1)
    fill(index, encoder, 1, first=2)
    assert [item.id for item in index.items()] == [1, 2, 3]


def test_nothing_staged_commits_nothing(index, encoder):
    fill(index, encoder, 1)
    before = index.generation
    with index.writer() as writer:
        assert writer.commit() == before
        writer.remove([99])
    assert index.generation == before


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ({}, "needs an image or a caption vector"),
        ({"image": np.zeros(DIM)}, "zero vector"),
        ({"image": np.full(DIM, np.nan)}, "NaN"),
        ({"image": np.ones(3)}, r"shape \[16\], got \[3\]"),
        ({"image": np.ones(DIM), "caption": np.ones(2)}, "caption vector"),
    ],
)
def test_bad_vectors_are_refused_and_leave_nothing(index, encoder, vectors, message):
    with index.writer() as writer:
        put(writer, encoder, "good")
        with pytest.raises(InvalidInputError, match=message):
            writer.put(record("bad"), **vectors)
    assert keys(index.search(np.ones(DIM))) == ["good"]


@pytest.mark.parametrize(
    "facts", [{"width": "wide"}, {"path": "/photos/\ud800.jpg"}, {"size_bytes": 2**70}]
)
def test_values_that_cannot_be_stored_are_refused_and_leave_nothing(index, encoder, facts):
    fill(index, encoder, 1)
    with index.writer() as writer:
        with pytest.raises(InvalidInputError, match="cannot be stored"):
            put(writer, encoder, "00000", **facts)
        put(writer, encoder, "other")
    assert len(index) == 2
    assert index.item(1).width is None
    assert index.verify(full=True).ok


def test_touch_keeps_row_and_vector(index, encoder):
    fill(index, encoder, 2)
    with index.writer() as writer:
        writer.touch(1, key="/new/a.jpg", facts={"path": "/new/a.jpg", "mtime_ns": 5})
    item = index.item(1)
    assert (item.key, item.path, item.mtime_ns, item.sha256) == (
        "/new/a.jpg",
        "/new/a.jpg",
        5,
        "sha-00000",
    )
    assert index.search(encoder.vector("image 00000"), k=1)[0].item.id == 1
    with index.writer() as writer:  # moved over another item
        writer.touch(1, key="/photos/00001.jpg", facts={"path": "/photos/00001.jpg"})
    assert [item.id for item in index.items()] == [1]
    assert index.verify(full=True).ok


def test_lookups(index, encoder):
    fill(index, encoder, 5)
    with index.writer() as writer:
        staged = put(writer, encoder, "fresh", caption="x", image=False)
        assert writer.by_sha256(["sha-00003", "sha-fresh", "none"]).keys() == {"sha-00003"}
        known = writer.by_sha256(["sha-00003"])["sha-00003"]
        assert (known.row, known.key) == (4, "/photos/00003.jpg")
        assert np.allclose(writer.vector(4), encoder.vector("image 00003"), atol=1e-3)
        assert writer.vector(staged, "caption") is not None
        assert writer.vector(staged, "image") is None
        assert writer.vector(999) is None
        writer.remove([4])
        assert not writer.by_sha256(["sha-00003"])


def test_files_under_a_folder_are_found_by_their_paths_and_places(index, encoder, monkeypatch):
    names = ["a/1", "a/2", "ab/3", "a", "b/4", "a/b/5", "a0"]
    with index.writer() as writer:
        for name in names:
            path = f"/root/{name}"
            writer.put(Record(key=path, path=path), image=encoder.vector(name))
        writer.put(Record(key="again", path="/root/a/1"), image=encoder.vector("x"))
        tar = Record(key="/root/a/x.tar!m", place=member_place("/root/a/x.tar", "m"))
        inside = writer.put(tar, image=encoder.vector("m"))
        writer.put(Record(key="/root/a/t.csv#1", caption="w"), caption=encoder.vector("w"))
        keys = {item: key for key, item in _keys(writer).items()}

        def found(place):
            return [(i.file, keys[i.row]) for i in writer.read(lambda c: list(located(c, place)))]

        assert found("/root/a") == [
            ("/root/a", "/root/a"),
            ("/root/a/1", "/root/a/1"),
            ("/root/a/1", "again"),
            ("/root/a/2", "/root/a/2"),
            ("/root/a/b/5", "/root/a/b/5"),
            ("/root/a/x.tar", "/root/a/x.tar!m"),
        ]
        assert found("/root/a/x.tar") == [("/root/a/x.tar", keys[inside])]
        assert len(found("/")) == 9
        monkeypatch.setattr("clipsearch.engine.away._PAGE", 2)
        assert len(found("/root")) == len(set(found("/root"))) == 9


def _keys(writer) -> dict[str, int]:
    return dict(writer.read(lambda conn: conn.execute("SELECT key, row FROM items").fetchall()))


def test_small_documents(index):
    assert index.get_meta("report") is None
    with index.writer() as writer:
        writer.set_meta("report", {"seen": 3, "names": ["ä"]})
    assert index.get_meta("report") == {"seen": 3, "names": ["ä"]}


# --- removing and compacting ----------------------------------------------------------------------


def test_removed_items_are_gone_before_and_after_compact(index, encoder):
    fill(index, encoder, 60, commits=4)
    gone = list(range(1, 61, 3))
    assert index.remove([*gone, 999, gone[0]]) == 20
    for _ in range(2):
        assert len(index) == 40
        found = {hit.item.id for hit in index.search(np.ones(DIM), k=100)}
        assert found == set(range(1, 61)) - set(gone)
        assert index.verify(full=True).ok
        index.compact()
    info = index.info()
    assert info["segments"] == 1
    assert info["tombstones"] == 0
    assert sorted(p.name for p in (index.path / "vectors").iterdir()) == sorted(
        f"{name}{end}"
        for name in {p.name.split(".")[0] for p in (index.path / "vectors").iterdir()}
        for end in (".npy", ".rows.npy")
    )


def test_many_small_commits_leave_few_segments(index, encoder):
    vectors = np.random.default_rng(0).standard_normal((600, DIM))
    with index.writer() as writer:
        for i, vector in enumerate(vectors):
            writer.put(record(str(i)), image=vector)
            if i % 3 == 0:
                writer.commit()
    assert index.info()["segments"] < 8 * 4
    assert index.verify(full=True).ok
    query = vectors[500]
    assert index.search(query, k=1)[0].item.id == 501


def test_everything_removed_leaves_no_file(index, encoder):
    fill(index, encoder, 20, captions=True)
    index.remove(range(1, 21))
    index.compact()
    assert list((index.path / "vectors").iterdir()) == []
    assert index.verify(full=True).ok


# --- searching ------------------------------------------------------------------------------------


def test_targets(index, encoder):
    with index.writer() as writer:
        both = put(writer, encoder, "a", caption="a red bus")
        image = put(writer, encoder, "b")
        caption = put(writer, encoder, "c", caption="a green tree", image=False)
    assert {h.item.id for h in index.search("x")} == {both, image}
    hits = index.search("a green tree", target="caption")
    assert [h.item.id for h in hits] == [caption, both]
    assert hits[0].score == pytest.approx(1, abs=1e-3)
    assert (hits[0].item.has_image, hits[0].item.has_caption) == (False, True)
    found = index.search(Query.item(both), target="image")  # image to image
    assert found[0].item.id == both
    index.search(Query.item(caption), target="image")  # caption to image


def test_vectors_come_in_the_order_asked(index, encoder):
    fill(index, encoder, 20, commits=3, captions=True)
    ids = [7, 3, 7, 19]
    expected = [encoder.vector(f"image {i - 1:05}") for i in ids]
    assert np.allclose(index.vectors(ids, "image"), expected, atol=1e-3)
    assert np.allclose(index.vectors(ids), expected, atol=1e-3)
    assert np.allclose(
        index.vectors([2], "caption")[0], encoder.vector("text caption 1"), atol=1e-3
    )
    assert index.vectors([]).shape == (0, DIM)
    with pytest.raises(ItemNotFoundError, match="no item 99"):
        index.vectors([1, 99])
    index.remove([3])
    with pytest.raises(ItemNotFoundError, match="no item 3"):
        index.vectors([3])


def test_vectors_of_an_item_without_that_modality(index, encoder):
    with index.writer() as writer:
        put(writer, encoder, "c", caption="words", image=False)
    assert np.allclose(index.vectors([1])[0], encoder.vector("text words"), atol=1e-3)
    with pytest.raises(ItemNotFoundError, match="item 1 has no image vector"):
        index.vectors([1], "image")


def test_iter_vectors_is_one_snapshot(index, encoder):
    fill(index, encoder, 50, commits=5)
    index.remove([10, 20])
    batches = index.iter_vectors(batch=7)
    rows, vectors = next(batches)
    index.remove([30])
    index.compact()
    rest = list(batches)
    everything = np.concatenate([rows, *(r for r, _ in rest)])
    assert everything.tolist() == [i for i in range(1, 51) if i not in (10, 20)]
    assert max(len(r) for r, _ in [(rows, vectors), *rest]) <= 7


def test_items_pages(index, encoder):
    fill(index, encoder, 25)
    first = index.items(limit=10)
    assert [item.id for item in first] == list(range(1, 11))
    assert [item.id for item in index.items(after=first[-1].id)] == list(range(11, 26))


def test_min_score_and_bad_arguments(index, encoder):
    fill(index, encoder, 30)
    query = encoder.vector("image 00003")
    assert len(index.search(query, min_score=0.99)) == 1
    assert len(index.search(query, min_score=1.5)) == 0
    for options in (
        {"k": 0},
        {"k": 2.5},
        {"k": True},
        {"offset": -1},
        {"k": 10**9},
        {"target": "both"},
        {"min_score": "high"},
        {"min_score": float("nan")},
    ):
        with pytest.raises(InvalidInputError):
            index.search(query, **options)
    for wrong in (5, None, ["a"], np.ones(3), np.ones((2, DIM)), np.zeros(DIM), ""):
        with pytest.raises(InvalidInputError):
            index.search(wrong)


def test_filters_and_search_agree(index, encoder):
    with index.writer() as writer:
        for i in range(100):
            put(writer, encoder, f"{i}", width=i)
    query = np.ones(DIM)
    everything = [h.item for h in index.search(query, k=100)]
    hits = index.search(query, k=7, where="width < 30")
    assert [h.item for h in hits] == [item for item in everything if item.width < 30][:7]
    assert len(index.search(query, k=50, where="width < 30")) == 30
    assert len(index.search(query, k=50, where="width < 0")) == 0
    index.remove([hits[0].item.id])
    assert hits[0].item not in [h.item for h in index.search(query, k=7, where="width < 30")]


def test_tags(index, encoder):
    fill(index, encoder, 5)
    index.set_tags([1, 1, 2, 99], ["dog", "animal", "cat", "ghost"], [0.4, 0.9, None, 1.0])
    assert index.item(1).tags == ("animal", "dog")
    assert {h.item.id for h in index.search(np.ones(DIM), where="tag = 'dog'")} == {1}
    index.set_tags([3], ["manual"], name="mine")
    index.set_tags([2], ["dog"])
    assert {item.id for item in index.items("tag in ('dog', 'manual')")} == {2, 3}
    with pytest.raises(InvalidInputError, match="do not fit"):
        index.set_tags([1, 2], ["a"])
    index.remove([2])
    assert index.items("tag = 'dog'") == []
    assert index.verify().ok


def test_a_tag_of_an_item_that_is_not_there_is_left_out(index, encoder):
    fill(index, encoder, 2)
    index.set_tags([1, 3], ["dog", "ghost"])
    assert index.facets().tags == ("dog",)
    assert index.verify().ok
    fill(index, encoder, 1, first=2)
    assert index.item(3).tags == ()


def test_hybrid_finds_words_that_the_vectors_miss(index, encoder):
    with index.writer() as writer:
        for i in range(50):
            put(writer, encoder, f"{i}", caption=f"picture number {i}")
        rare = put(writer, encoder, "rare", caption='The "Zeppelin" over Friedrichshafen, 1929')
        silent = put(writer, encoder, "silent")
    hits = index.search("zeppelin", k=5, hybrid=True)
    assert hits[0].item.id == rare
    assert hits[0].score == pytest.approx(
        float(index.vectors([rare])[0] @ encoder.vector("text zeppelin")), abs=1e-3
    )
    assert index.search("zeppelin", k=60)[0].item.id != rare
    assert silent in {h.item.id for h in index.search("zeppelin", k=60, hybrid=True)}
    assert len(index.search("zeppelin", k=60, hybrid=True)) == 52
    index.refresh_baseline(encoder)
    assert rare not in {h.item.id for h in index.search("zeppelin", min_score="auto")}
    assert [h.item.id for h in index.search("zeppelin", hybrid=True, min_score="auto")] == [rare]
    assert not index.search("zeppelin", hybrid=True, where="id < 5", min_score="auto")
    assert not index.search("zeppelin", hybrid=True, min_score=0.9)  # a number is for every hit
    for odd in ('"', "AND OR NOT", 'a" OR "b', "caption:x", "x*", "NEAR(a b)", "(", "-", "a\0b"):
        index.search(odd, hybrid=True)


def test_words_of_most_captions_are_no_evidence(index, encoder):
    with index.writer() as writer:
        for i in range(400):
            rest = " at night" if i % 10 == 0 else ""
            put(writer, encoder, f"{i}", caption=f"a picture of number {i}{rest}")
    index.refresh_baseline(encoder)
    for text in ("a picture of", "a unicorn"):
        plain = index.search(text, k=50)
        assert [h.item.id for h in index.search(text, k=50, hybrid=True)] == [
            h.item.id for h in plain
        ]
    at_night = {h.item.id for h in index.search("unicorn at night", k=30, hybrid=True)}
    assert len(at_night & {1 + i for i in range(0, 400, 10)}) > 10  # they count in the ranking
    strict = {"min_score": "auto", "k": 400}
    found = [h.item.id for h in index.search("a unicorn at night", hybrid=True, **strict)]
    assert found == [h.item.id for h in index.search("a unicorn at night", **strict)]


def test_item_words_follow_updates(index, encoder):
    with index.writer() as writer:
        put(writer, encoder, "a", caption="walrus")
    with index.writer() as writer:
        put(writer, encoder, "a", caption="penguin")
    index.refresh_baseline(encoder)
    assert not index.search("walrus", hybrid=True, min_score="auto")
    assert index.search("penguin", hybrid=True, min_score="auto")


# --- score distributions --------------------------------------------------------------------------


def test_scores_are_compared_with_unrelated_pairs(index, encoder):
    fill(index, encoder, 300, captions=True)
    with pytest.raises(InvalidInputError, match="'auto' needs the score distribution"):
        index.search("x", min_score="auto")
    assert index.search("x")[0].percentile is None
    assert index.refresh_baseline(encoder)
    assert not index.refresh_baseline(encoder)
    hits = index.search("x", k=300)
    percentiles = [hit.percentile for hit in hits]
    assert percentiles == sorted(percentiles, reverse=True)
    assert 97 < percentiles[0] <= 100
    assert 30 < percentiles[150] < 70
    assert 0 <= percentiles[-1] < 3
    # the vectors of an image and its caption are random here, so all pairs are unrelated
    dropped = sum(not index.search(f"nonsense {i}", min_score="auto") for i in range(50))
    assert dropped >= 45
    found = index.search(Query.item(5), min_score="auto")
    assert [hit.item.id for hit in found][:1] == [5]
    assert index.search("caption 7", target="caption", min_score="auto")[0].item.id == 8
    with pytest.raises(InvalidInputError, match="vector queries"):
        index.search(np.ones(DIM), min_score="auto")


def test_distributions_are_measured_again_when_the_index_doubled(
    index, encoder, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "file"))  # nothing is cached
    fill(index, encoder, 20)
    assert index.refresh_baseline(encoder)
    encoded = encoder.encoded
    fill(index, encoder, 15, first=20)
    assert not index.refresh_baseline(encoder)
    fill(index, encoder, 10, first=35)
    assert index.refresh_baseline(encoder)
    assert encoder.encoded == encoded  # the generic texts are encoded once


def test_the_next_index_of_a_model_takes_the_generic_texts_from_the_cache(
    tmp_path, encoder, monkeypatch
):
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "cache"))

    def texts_encoded(name: str, encoder: FakeEncoder) -> int:
        before = encoder.encoded
        with Index.create(tmp_path / name, encoder) as index:
            fill(index, encoder, 20)
            assert index.refresh_baseline(encoder)
            encoded = encoder.encoded - before
            percentiles[name] = index.search("x")[0].percentile
        return encoded

    percentiles: dict[str, float | None] = {}
    assert texts_encoded("first", encoder) == len(GENERIC_TEXTS)
    assert texts_encoded("second", encoder) == 0
    assert percentiles["first"] == percentiles["second"] is not None
    assert texts_encoded("other model", FakeEncoder("other")) == len(GENERIC_TEXTS)
    for file in (tmp_path / "cache/probes").iterdir():
        file.write_bytes(file.read_bytes()[:-9])
    assert texts_encoded("damaged", encoder) == len(GENERIC_TEXTS)


def test_related_pairs_do_not_spoil_the_distribution(tmp_path):
    """Half of a small index shows one subject, and every tenth text is about it."""

    class Partial(FakeEncoder):
        def encode_texts(self, texts):
            vectors = super().encode_texts(texts)
            vectors[::10] = vectors[::10] * 0.5 + subject
            return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    encoder = Partial("partial", 64)
    subject = encoder.vector("subject")
    with Index.create(tmp_path / "index", encoder) as index:
        with index.writer() as writer:
            for i in range(40):
                vector = encoder.vector(f"picture {i}")
                writer.put(record(f"{i}"), image=vector + (subject if i % 2 else 0))
        index.refresh_baseline(encoder)
        query = Query.text("a") * 0.01 + Query.vector(subject)
        assert len(index.search(query, k=40, min_score="auto")) == 20
        nonsense = Query.text("a") * 0.01 + Query.vector(encoder.vector("nonsense"))
        assert len(index.search(nonsense, k=40, min_score="auto")) == 0


# --- curation and transfer ------------------------------------------------------------------------


def test_duplicates(index, encoder):
    rng = np.random.default_rng(0)
    a, b = encoder.vector("a"), encoder.vector("b")
    near = a + 0.1 * rng.standard_normal(DIM) / 4
    with index.writer() as writer:
        rows = [writer.put(record(str(i)), image=v) for i, v in enumerate([a, b, near, a, b, -a])]
    groups = index.duplicates(0.95)
    assert [[item.id for item, _ in group] for group in groups] == [[1, 4, 3], [2, 5]]
    assert groups[0][0][1] == 1.0
    assert groups[0][1][1] == pytest.approx(1.0, abs=2e-3)
    assert 0.95 < groups[0][2][1] < 1
    index.remove([rows[3], rows[4]])
    assert [[item.id for item, _ in group] for group in index.duplicates(0.95)] == [[1, 3]]
    for wrong in (0, 1.5, -1):
        with pytest.raises(InvalidInputError):
            index.duplicates(wrong)


def test_duplicates_across_many_blocks(index, encoder, monkeypatch):
    monkeypatch.setattr("clipsearch.engine.alike._BLOCK", 16)
    fill(index, encoder, 100, commits=7)
    with index.writer() as writer:
        for i in range(0, 100, 10):
            writer.put(record(f"copy {i}"), image=encoder.vector(f"image {i:05}"))
    groups = index.duplicates(0.999)
    assert [[item.id for item, _ in g] for g in groups] == [
        [i + 1, 101 + i // 10] for i in range(0, 100, 10)
    ]


@pytest.mark.parametrize("together", [1, 3, 1_000_000])
def test_members_are_like_their_leader_and_not_merely_like_each_other(
    index, encoder, monkeypatch, together
):
    """Chains of images of which only neighbors are alike; taking them one by one is the oracle."""
    monkeypatch.setattr("clipsearch.engine.alike._MOST_PAIRS", together)
    monkeypatch.setattr("clipsearch.engine.alike._BLOCK", 4)
    angles = np.random.default_rng(0).permutation(
        np.concatenate([0.2 * np.arange(7), 3 + 0.2 * np.arange(5), [2.0, 4.5]])
    )
    vectors = np.zeros((len(angles), DIM), np.float32)
    vectors[:, 0], vectors[:, 1] = np.cos(angles), np.sin(angles)
    with index.writer() as writer:
        for number, vector in enumerate(vectors):
            writer.put(record(str(number)), image=vector)
    alike = vectors @ vectors.T >= np.cos(0.25)
    left, expected = list(range(len(angles))), []
    while left:
        group = [other for other in left if alike[left[0], other]]
        left = [other for other in left if other not in group]
        if len(group) > 1:
            expected.append([number + 1 for number in group])
    groups = [[item.id for item, _ in group] for group in index.duplicates(float(np.cos(0.25)))]
    assert [sorted(group) for group in groups] == sorted(expected, key=lambda g: (-len(g), g[0]))
    assert all(group[0] == min(group) for group in groups)


def test_pairs_lists_the_worst_captions(index, encoder):
    with index.writer() as writer:
        for i, share in enumerate([0.9, -0.5, 0.2, 0.5]):
            image = encoder.vector(f"{i}")
            other = encoder.vector(f"other {i}")
            other -= image * (image @ other)
            caption = share * image + np.sqrt(1 - share**2) * other / np.linalg.norm(other)
            writer.put(record(f"{i}", caption="x"), image=image, caption=caption)
        put(writer, encoder, "alone")
    found = index.pairs(3)
    assert [hit.item.id for hit in found] == [2, 3, 4]
    assert [hit.score for hit in found] == pytest.approx([-0.5, 0.2, 0.5], abs=2e-3)
    index.remove([2])
    assert [hit.item.id for hit in index.pairs(1)] == [3]


def test_export_to_parquet(index, encoder, tmp_path):
    import pandas as pd

    fill(index, encoder, 10, captions=True)
    with index.writer() as writer:
        put(writer, encoder, "late", image=False, caption="only words", extra={"price": 3})
        writer.remove([4])
        writer.set_tags([2], ["dog"])
    assert index.export(tmp_path / "out.parquet") == 10
    frame = pd.read_parquet(tmp_path / "out.parquet").set_index("id")
    assert list(frame.index) == [i for i in range(1, 12) if i != 4]
    assert frame.loc[2, "caption"] == "caption 1"
    assert list(frame.loc[2, "tags"]) == ["dog"]
    assert json.loads(frame.loc[11, "extra"]) == {"price": 3}
    assert frame.loc[11, "image_vector"] is None
    assert np.allclose(np.stack(frame.loc[[3], "image_vector"]), index.vectors([3]), atol=1e-6)
    with pytest.raises(InvalidInputError, match="format must be"):
        index.export(tmp_path / "x", format="csv")


def test_export_to_faiss(index, encoder, tmp_path):
    import faiss

    fill(index, encoder, 10)
    index.remove([4])
    assert index.export(tmp_path / "out.faiss", format="faiss") == 9
    flat = faiss.read_index(str(tmp_path / "out.faiss"))
    query = encoder.vector("image 00006")
    scores, ids = flat.search(query[None], 3)
    hits = index.search(query, k=3)
    assert ids[0].tolist() == [hit.item.id for hit in hits]
    assert np.allclose(scores[0], [hit.score for hit in hits], atol=1e-4)


def test_import_of_clip_retrieval_embeddings(index, encoder, tmp_path):
    import pandas as pd

    folder = tmp_path / "embeddings"
    for part in ("img_emb", "text_emb", "metadata"):
        (folder / part).mkdir(parents=True)
    names = [f"picture {i}" for i in range(6)]
    for shard in range(2):
        part = names[shard * 3 : shard * 3 + 3]
        images = np.stack([encoder.vector(name) for name in part]).astype(np.float16)
        if shard:
            images[1] = 0
        np.save(folder / "img_emb" / f"img_emb_{shard}.npy", images)
        texts = np.stack([encoder.vector(f"text {name}") for name in part]).astype(np.float16)
        np.save(folder / "text_emb" / f"text_emb_{shard}.npy", texts)
        pd.DataFrame(
            {"image_path": [f"/data/{n}.jpg" for n in part], "caption": part, "similarity": 0.3}
        ).to_parquet(folder / "metadata" / f"metadata_{shard}.parquet")
    report = index.import_embeddings(folder)
    assert (report.seen, report.indexed, report.skipped) == (6, 5, 1)
    assert index.search(encoder.vector("picture 2"), k=1)[0].item.path == "/data/picture 2.jpg"
    assert index.search("picture 5", target="caption", k=1)[0].item.caption == "picture 5"
    assert index.fields()["similarity"] == "number"
    again = index.import_embeddings(folder)
    assert (again.indexed, again.updated, len(index)) == (5, 5, 5)
    assert index.verify(full=True).ok


def test_import_refuses_what_does_not_fit(index, tmp_path):
    from clipsearch.errors import SourceError

    with pytest.raises(SourceError, match="holds no embeddings"):
        index.import_embeddings(tmp_path)
    (tmp_path / "img_emb").mkdir()
    np.save(tmp_path / "img_emb" / "img_emb_0.npy", np.ones((3, DIM + 1)))
    with pytest.raises(SourceError, match=r"shape \[3, 17\]"):
        index.import_embeddings(tmp_path)
    np.save(tmp_path / "img_emb" / "img_emb_0.npy", np.ones((3, DIM)))
    (tmp_path / "text_emb").mkdir()
    np.save(tmp_path / "text_emb" / "text_emb_0.npy", np.ones((2, DIM)))
    with pytest.raises(SourceError, match="do not fit together"):
        index.import_embeddings(tmp_path)
    assert len(index) == 0


def test_info_is_json(index, encoder):
    fill(index, encoder, 3, captions=True)
    info = index.info()
    assert json.loads(json.dumps(info)) == info
    assert info["items"] == info["images"] == info["captions"] == 3
    assert info["model"]["fingerprint"] == encoder.fingerprint
    assert info["size_bytes"] > 1000
    assert info["ann"] == {"image": None, "caption": None}


@pytest.mark.parametrize("ids", ["45", b"4", [4.9], [True], ["4"], None, 4.0, [2**70]])
def test_an_id_is_a_whole_number(index, encoder, ids):
    with index.writer() as writer:
        for i in range(60):
            put(writer, encoder, f"{i}")
    for ask in (index.remove, index.vectors, index.item, lambda ids: index.items(after=ids)):
        with pytest.raises(InvalidInputError, match="whole numbers"):
            ask(ids)
    assert len(index) == 60


def test_one_id_or_several_are_removed(index, encoder):
    with index.writer() as writer:
        for i in range(9):
            put(writer, encoder, f"{i}")
    assert index.remove(5) == index.remove(np.int64(6)) == index.remove({7}) == 1
    assert index.remove(np.array([1, 1, 2, 5])) == 2
    assert [item.id for item in index.items()] == [3, 4, 8, 9]
