"""Splitting an index into shards, and merging their answers: against the index that was split."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsearch import Index, InvalidInputError, Query
from clipsearch.cluster.index_shards import open_shards, shard_index, shards_folder
from clipsearch.cluster.shard_answer import (
    KeywordReader,
    ShardIndex,
    described,
    merge,
    without_cosine,
)
from clipsearch.engine import skipped
from clipsearch.errors import IndexCorruptError, IndexNotFoundError, ItemNotFoundError
from clipsearch.request import SearchRequest

from .fakes import FakeEncoder, fill, put, record

FILTERS = (None, "width >= 500", "width < 300 or height = 7", "caption like '%1%'", "tag = 'dog'")


@pytest.fixture(scope="module")
def encoder():
    return FakeEncoder()


@pytest.fixture(scope="module")
def index(encoder, tmp_path_factory):
    """300 items in many segments, with holes, ties, captions, tags and extra fields."""
    path = tmp_path_factory.mktemp("sharding") / "photos"
    with Index.create(path, encoder) as made:
        with made.writer() as writer:
            for i in range(330):
                name = f"{i % 310:05}"  # the last 20 are the vectors of the first again
                put(
                    writer,
                    encoder,
                    f"{i:05}" if i < 310 else name,
                    caption=f"caption {i}" if i % 3 else None,
                    width=i * 3,
                    height=i % 11,
                    extra={"stars": i % 5},
                )
                if i % 37 == 0:
                    writer.commit()
        made.remove(list(range(40, 60)))
        ids = [item.id for item in made.items(limit=1000)]
        made.set_tags(ids[::2], ["dog"] * len(ids[::2]))
        made.refresh_baseline(encoder)
    with Index.open(path, encoder) as opened:
        yield opened


def ask(shards, query, encoder, **parameters):
    """What the router does, without a cluster."""
    request = SearchRequest(query=query, **parameters)
    vector = None if query is None else query.resolve(encoder, None)
    plain = described(request)
    home = shards.shards[0].folder.parent.parent
    keywords = KeywordReader(home.with_suffix(""), shards.generation)
    readers = [ShardIndex.open(shard.folder) for shard in shards.shards]
    words, looked_up = None, []
    try:
        answers = [reader.best(plain, vector) for reader in readers]
        if request.hybrid:
            words = keywords.match(plain)
            unknown = without_cosine(words, answers)
            looked_up = [reader.look_up(unknown, plain, vector) for reader in readers]
    finally:
        for reader in (*readers, keywords):
            reader.close()
    return merge(answers, request, words=words, looked_up=looked_up, shards=len(shards))


def same(found, expected):
    assert [hit.item for hit in found] == [hit.item for hit in expected]
    assert [hit.score for hit in found] == [hit.score for hit in expected]
    assert [hit.percentile for hit in found] == [hit.percentile for hit in expected]
    assert found.generation == expected.generation


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_answer_as_the_whole(index, encoder, count):
    shards = shard_index(index.path, count)
    assert len(shards) == count
    assert shards.items == len(index)
    assert max(s.items for s in shards.shards) - min(s.items for s in shards.shards) <= 1
    for n, where in enumerate(FILTERS):
        for target in ("image", "caption"):
            query = Query.text(f"question {n}") - 0.3 * Query.text("something else")
            for k, offset in ((1, 0), (10, 0), (10, 25), (400, 0)):
                same(
                    ask(shards, query, encoder, k=k, where=where, target=target, offset=offset),
                    index.search(query, k, where=where, target=target, offset=offset, exact=True),
                )


def test_min_score_auto_means_the_same_in_a_shard(index, encoder):
    shards = shard_index(index.path, 4)
    query = Query.text("a question")
    same(
        ask(shards, query, encoder, k=300, min_score="auto"),
        index.search(query, 300, min_score="auto", exact=True),
    )
    for hybrid in (False, True):
        asked = {"k": 20, "offset": 10, "min_score": -0.05, "sort": "name", "hybrid": hybrid}
        same(ask(shards, query, encoder, **asked), index.search(query, exact=True, **asked))


def test_scores_above_one_are_not_tied_by_clipping(tmp_path, encoder):
    """Half-precision vectors are a little longer or shorter than one, and order all the same."""
    with Index.create(tmp_path / "photos", encoder) as index:
        vector = encoder.vector("image")
        rng = np.random.default_rng(1)
        near = [vector + rng.normal(scale=1e-4, size=vector.size) for _ in range(60)]
        with index.writer() as writer:
            for n, one in enumerate(near):
                writer.put(record(f"{n:03}"), image=one)
        shards = shard_index(index.path, 5)
        query = Query.vector(vector * 1.0)
        same(ask(shards, query, encoder, k=60), index.search(query, 60, exact=True))


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 12),
    weights=st.lists(st.floats(-2, 2).filter(lambda w: abs(w) > 0.01), min_size=1, max_size=4),
    k=st.integers(1, 350),
)
def test_any_algebra_in_any_number_of_shards(index, encoder, count, weights, k):
    shards = shard_index(index.path, count)
    query = Query.text("0", weights[0])
    for n, weight in enumerate(weights[1:], 1):
        query = query + Query.text(f"{n}", weight)
    same(ask(shards, query, encoder, k=k), index.search(query, k, exact=True))


def test_a_shard_is_a_sound_index_with_the_same_ids(index, encoder):
    shards = shard_index(index.path, 3)
    ids, fields = [], index.fields()
    for shard in shards.shards:
        with Index.open(shard.folder, encoder) as part:
            items = part.items(limit=1000)
            assert part.verify(full=True).ok
            assert part.fields() == fields
            assert [item.id for item in items] == sorted(item.id for item in items)
            assert items == [index.item(item.id) for item in items]
            assert (items[0].id, items[-1].id) == (shard.first_row, shard.last_row)
            ids += [item.id for item in items]
            info = part.info()
            assert info["items"] == shard.items == len(items)
            assert info["images"] == sum(item.has_image for item in items)
            assert info["captions"] == sum(item.has_caption for item in items)
            np.testing.assert_array_equal(part.vectors(ids[-5:]), index.vectors(ids[-5:]))
    assert ids == [item.id for item in index.items(limit=1000)]


def test_vectors_of_items_come_from_the_shard_that_has_them(index):
    shards = shard_index(index.path, 3)
    readers = [ShardIndex.open(shard.folder) for shard in shards.shards]
    wanted = [shards.shards[0].first_row, shards.shards[2].last_row, 45, 10**9]
    found = {}
    for reader in readers:
        found.update(reader.vectors_of(wanted))
        reader.close()
    assert sorted(found) == sorted(wanted[:2])  # 45 was removed, the last never was
    with pytest.raises(ItemNotFoundError):
        index.item(45)


def test_splitting_again_replaces_the_shards_and_keeps_the_last_ones(index):
    first = shard_index(index.path, 2)
    second = shard_index(index.path, 3)
    third = shard_index(index.path, 4)
    assert open_shards(index.path) == third
    assert all(shard.folder.is_dir() for shard in second.shards)
    assert not any(shard.folder.exists() for shard in first.shards)


def test_a_killed_split_leaves_the_old_shards(index):
    before = shard_index(index.path, 2)
    code = (
        "import os, pathlib; from clipsearch.cluster import index_shards\n"
        "real, done = index_shards._write_shard, []\n"
        "def write(*a):\n"
        "    real(*a); done.append(1)\n"
        "    if len(done) == 3: os.kill(os.getpid(), 9)\n"
        "index_shards._write_shard = write\n"
        f"index_shards.shard_index(pathlib.Path({str(index.path)!r}), 5)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert open_shards(index.path) == before
    after = shard_index(index.path, 5)
    names = {path.name for path in shards_folder(index.path).iterdir() if path.is_dir()}
    assert names == {shard.folder.parent.name for shard in (*before.shards, *after.shards)}


@pytest.mark.parametrize("count", [0, -1, 100_000])
def test_a_number_that_does_not_fit(index, count):
    before = shard_index(index.path, 2)
    with pytest.raises(InvalidInputError, match="choose 1 to"):
        shard_index(index.path, count)
    assert open_shards(index.path) == before


@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize("min_score", [None, 0.1, "auto", 2.0])
def test_keywords_rank_as_in_the_whole(index, encoder, count, min_score):
    shards = shard_index(index.path, count)
    for text in ("caption 100", "caption", "127 or 200", "nothing of these words"):
        for where, target, k, offset in (
            (None, "image", 10, 0),
            ("width >= 500", "image", 300, 0),
            (None, "caption", 10, 25),
        ):
            asked = {"k": k, "where": where, "target": target, "offset": offset}
            asked |= {"hybrid": True, "min_score": min_score}
            same(
                ask(shards, Query.text(text), encoder, **asked),
                index.search(text, exact=True, **asked),
            )


def test_keywords_need_the_index_as_it_was_split(tmp_path, encoder):
    with Index.create(tmp_path / "photos", encoder) as index:
        fill(index, encoder, 50)
        shards = shard_index(index.path, 2)
        index.remove([3])
    assert len(ask(shards, Query.text("caption"), encoder)) == 10
    with pytest.raises(InvalidInputError, match="split it and serve it again"):
        ask(shards, Query.text("caption"), encoder, hybrid=True)


def test_what_is_missing_or_damaged_is_said(index, tmp_path):
    with pytest.raises(IndexNotFoundError):
        shard_index(tmp_path / "nothing", 2)
    with pytest.raises(IndexNotFoundError, match="clipsearch shard"):
        open_shards(tmp_path / "nothing")
    shard_index(index.path, 2)
    manifest = shards_folder(index.path) / "shards.json"
    for text in ("", "{}", "[]", '{"format": 99}', json.dumps({"format": 1, "shards": [{}]})):
        manifest.write_text(text)
        with pytest.raises(IndexCorruptError, match="split the index again"):
            open_shards(index.path)
    assert len(shard_index(index.path, 2)) == 2


def test_pictures_do_not_travel_to_the_shards():
    both = Query.text("a") + Query.image(b"bytes of a picture", 0.5)
    query = described(SearchRequest(query=both)).query
    assert [term.kind for term in query.terms] == ["text", "item"]
    assert query.kind == "text"
    assert described(SearchRequest(query=Query.image(b"bytes"))).query.kind == "image"


def test_an_index_can_be_split_while_it_is_written(tmp_path, encoder):
    with Index.create(tmp_path / "photos", encoder) as index:
        fill(index, encoder, 50)
        with index.writer() as writer:
            put(writer, encoder, "staged")
            shards = shard_index(index.path, 2)
        assert shards.items == 50
        assert len(index) == 51


def test_an_index_that_remembers_skipped_files_can_be_split(tmp_path, encoder):
    with Index.create(tmp_path / "photos", encoder) as index:
        fill(index, encoder, 20)
        with index.writer() as writer:
            broken = skipped.Skipped("/photos/broken.jpg", 10, 1, "no image")
            writer.change(lambda conn: skipped.remember(conn, [broken]))
        shards = shard_index(index.path, 2)
        same(ask(shards, Query.text("a"), encoder), index.search("a", exact=True))
        assert all(Index.open(s.folder).verify(full=True).ok for s in shards.shards)
