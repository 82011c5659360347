"""What was removed is put back as it was: ids, vectors, captions, tags, albums."""

from __future__ import annotations

import sqlite3
from dataclasses import astuple
from datetime import UTC, datetime, timedelta

import pytest

from clipsearch import Index
from clipsearch.engine import away
from clipsearch.engine.verify import verify
from tests.fakes import FakeEncoder, put

COUNT = 40
TABLES = ("items", "tags", "album_items", "away", "tombstones", "removed_items")


@pytest.fixture
def index(tmp_path):
    """Items with images, captions, tags of all kinds, and two albums."""
    encoder = FakeEncoder()
    with Index.create(tmp_path / "index", encoder) as made:
        with made.writer() as writer:
            for n in range(COUNT):
                put(writer, encoder, f"{n}", caption=f"number {n} 日本", extra={"price": n / 3})
            put(writer, encoder, "alone", tags=("own", "zwei"), latitude=12.0)
        ids = made.ids()
        with made.writer() as writer:
            writer.set_tags(ids[:9], ["cat"] * 9, [0.25] * 9)
            writer.tag(ids[3:20], "by me")
            writer.add_to_album("Trip", ids[::2])
            writer.add_to_album("Best", ids[:5])
            writer.recaption(ids[4], "said anew", encoder.vector("said anew"))
        yield made


def told(index):
    """All that is in the catalog and can be asked of it."""
    with sqlite3.connect(index.path / "catalog.sqlite") as conn:
        tables = {t: conn.execute(f"SELECT * FROM {t} ORDER BY 1, 2").fetchall() for t in TABLES}
    ids = index.ids()
    captions = [item.id for item in index.items(limit=99) if item.has_caption]
    return (
        tables,
        [astuple(index.item(row)) for row in ids],
        index.vectors(ids).tobytes(),
        index.vectors(captions, "caption").tobytes(),
        [(a.name, a.items) for a in index.albums()],
        [hit.item.id for hit in index.search("number 7 日本", 50, hybrid=True)],
        {key: index.info()[key] for key in ("items", "images", "captions")},
    )


@pytest.mark.parametrize("count", [3, 30, COUNT + 1])
def test_items_come_back_as_they_were(index, count):
    before, ids = told(index), index.ids()
    gone = ids[:count]
    assert index.remove(gone, keep=True) == count
    assert index.ids() == ids[count:]
    assert verify(index.path, full=True).ok
    with index.writer() as writer:  # a segment that is mostly removed would be rewritten here
        put(writer, FakeEncoder(), "new")
    new = max(index.ids())
    assert index.restore(gone) == count
    assert verify(index.path, full=True).ok
    assert index.ids() == [*ids, new]
    index.remove([new])
    found = told(index)
    found[0]["tombstones"] = [(m, row) for m, row in found[0]["tombstones"] if row < new]
    assert found == before
    assert index.restore(gone) == 0


def test_an_ann_file_that_was_made_meanwhile_hides_nothing(index):
    ids = index.ids()
    index.remove(ids[:5], keep=True)
    index.build_ann(force=True)
    assert index.restore(ids[:5]) == 5
    vector = index.vectors([ids[2]], "image")[0]
    assert index.search(vector, 1)[0].item.id == ids[2]


def test_what_was_indexed_again_keeps_its_new_id_and_gets_albums_and_tags(index):
    ids = index.ids()
    index.remove(ids[3:5], keep=True)
    with index.writer() as writer:
        put(writer, FakeEncoder(), "4", caption="number 4")
    new = max(index.ids())
    assert index.restore(ids[3:5]) == 1
    assert ids[3] in index.ids()
    assert ids[4] not in index.ids()
    assert index.item(new).albums == ("Best", "Trip")
    assert index.item(new).tags == ("by me",)
    assert verify(index.path, full=True).ok


def test_a_day_later_or_after_compact_nothing_is_kept(index, monkeypatch):
    ids = index.ids()
    index.remove(ids[:2], keep=True)
    late = datetime.now(UTC) + timedelta(days=2)

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return late

    monkeypatch.setattr("clipsearch.engine.removed.datetime", Later)
    index.remove(ids[2:4], keep=True)
    assert index.restore(ids[:4]) == 2
    assert index.ids() == ids[2:]
    index.remove(ids[2:4], keep=True)
    index.compact()
    assert index.info()["tombstones"] == 0
    assert index.restore(ids[2:4]) == 0
    assert verify(index.path, full=True).ok


def test_items_that_are_away_come_back_away(index):
    ids = index.ids()
    with index.writer() as writer:
        writer.change(lambda conn: away.mark(conn, {ids[1]: "/not/there"}))
    index.remove(ids[:2], keep=True)
    assert not index.away()
    assert index.restore(ids[:2]) == 2
    assert index.away() == {ids[1]: "/not/there"}
    assert verify(index.path).ok


def test_the_command_puts_back_what_it_removed_to_keep(index, cli):
    ids = [str(row) for row in index.ids()[:2]]
    cli("remove", *ids, "--keep", "-i", index.path)
    assert len(index) == COUNT - 1
    done = cli("remove", *ids, "--undo", "-i", index.path)
    assert "put back 2 of 2 items" in done.stderr
    assert len(index) == COUNT + 1
