"""Facets: counts of values, each with the filter that finds its items."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from clipsearch import Index
from clipsearch.engine import away
from clipsearch.engine.facets import FACETS, chosen_where
from clipsearch.errors import InvalidInputError
from clipsearch.types import Record

from .fakes import FakeEncoder

ODD = [
    "O'Neil",
    'say "hi"',
    "a\\nb",
    "a\nb",
    "50%_[x]",
    "été",
    "e\u0301te\u0301",
    "ete",
    "鳥居",
    ";--",
    " ",
]
FOLDERS = [
    "/photos",
    "/photos/2024",
    "/photos/2024/O'Neil's",
    "/photos/2024/été",
    "/photos/2024/e\u0301te\u0301",  # as a Mac writes it
    "/photos/2024-old/deep/deeper",
    "/photos/2024.d",
    "/photos/Été",
    "/photos/x\udcff",  # a byte that is no UTF-8
    r"/photos/\x41",
    "/photos/100%_",
]
FILTERS = [None, "width > 500", "tag is null or camera = 'O''Neil'", "caption is null", "id < 0"]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """300 items that differ in everything that there are facets of."""
    encoder = FakeEncoder()
    rng = np.random.default_rng(7)
    dates = [None, "2024", "2024-05", "2024-05-01T10:00:00", "2023-12-31T23:59:59", "1999-01-01"]
    with Index.create(tmp_path_factory.mktemp("facets") / "index", encoder) as index:
        with index.writer() as writer:
            for number in range(300):
                pick = [int(at) for at in rng.integers(0, 1000, 8)]
                path = f"{FOLDERS[pick[0] % len(FOLDERS)]}/{number}.jpg"
                key = path if number % 5 else f"/photos/2024/a.tar!in/{number}.jpg"
                caption = f"caption {number}" if pick[1] % 3 else None
                writer.put(
                    Record(
                        key=key if number % 7 else f"table.csv#{number}",
                        path=path if number % 5 else None,
                        camera=[None, "", *ODD][pick[2] % 13],
                        format=[None, "JPEG", "jpeg", "PNG"][pick[3] % 4],
                        taken_at=dates[pick[4] % len(dates)],
                        width=[None, 400, 600][pick[5] % 3],
                        height=[None, 400, 600][pick[6] % 3],
                        size_bytes=[None, 0, 65_535, 65_536, 5_000_000, 10**9][pick[7] % 6],
                        caption=caption,
                        tags=tuple(ODD[at % 11] for at in pick[: pick[1] % 4]),
                    ),
                    image=encoder.vector(str(number)),
                    caption=None if number % 2 or caption is None else encoder.vector("caption"),
                )
            writer.commit()
            writer.set_tags([1, 1, 2], ["été", "cat", "cat"], name="other")
            for name, rows in {"Trip": [1, 2, 3], "O'Neil's": [3, 4], "empty": []}.items():
                writer.add_to_album(name, rows)
        yield index


def joined(where, other):
    return other if where is None else f"({where}) and {other}"


def assert_filters_find_what_is_counted(index, where=None, **asked):
    found = index.facets(where, **asked)
    assert found.items == len(index.ids(where))
    for name, facet in found.by.items():
        for value in facet.values:
            ids = index.ids(joined(where, value.where))
            assert value.count == len(ids), (name, value)
            assert value.count > 0
        assert len({value.value for value in facet.values}) == len(facet.values)
    return found


@pytest.mark.parametrize("where", FILTERS)
def test_the_filter_of_each_value_finds_as_many_items_as_are_counted(index, where):
    found = assert_filters_find_what_is_counted(index, where)
    assert tuple(found.by) == FACETS


def test_all_items_are_counted_once_in_what_each_has_one_of(index):
    found = index.facets().by
    for name in ("year", "month", "orientation", "size", "caption"):
        assert sum(value.count for value in found[name].values) == 300, name
    assert {value.value for value in found["caption"].values} == {True, False}
    assert [value.value for value in found["year"].values] == ["2024", "2023", "1999", None]
    assert [value.value for value in found["month"].values][:3] == ["2024-05", "2024-01", "2023-12"]
    assert {value.value for value in found["album"].values} == {"Trip", "O'Neil's", None}
    counts = [value.count for value in found["camera"].values if value.value]
    assert counts == sorted(counts, reverse=True)
    spelled = [value.value for value in found["tag"].values]
    assert "été" in spelled
    assert "e\u0301te\u0301" not in spelled


def test_folders_are_a_tree_that_is_opened_one_at_a_time(index):
    seen, left = [], [None]
    while left:
        folder = left.pop()
        found = assert_filters_find_what_is_counted(index, by=["folder"], folder=folder)
        for value in found.by["folder"].values:
            if value.value != folder:
                seen.append(value.value)
                left += [value.value] * value.below
    assert len(seen) == len(set(seen))
    assert "/photos/2024-old/deep/deeper" in seen  # folders with nothing but a folder are passed
    assert "/photos/2024/a.tar!in" in seen
    assert r"/photos/x\xff" in seen
    assert r"/photos/\x5cx41" in seen
    assert sum(name == "/photos/2024/été" for name in seen) == 1
    top = [value.value for value in index.facets(by="folder").by["folder"].values]
    assert "/photos/2024" in top
    assert "/photos/2024/été" not in top
    assert index.facets(by="folder", folder="/photos/2024/").by["folder"].distinct == 3
    with pytest.raises(InvalidInputError, match="no item of the index lies in the folder /nowhere"):
        index.facets(folder="/nowhere")


def test_a_folder_without_others_is_its_own_only_value(index):
    (value,) = index.facets(by="folder", folder="/photos/Été").by["folder"].values
    assert value.value == "/photos/Été"
    assert not value.below


def test_what_is_over_the_limit_is_counted_as_distinct(index):
    found = index.facets(by=["tag", "month"], limit=2).by
    values = [value.value for value in found["tag"].values]
    assert len(values) == 3
    assert values[-1] is None
    assert found["tag"].distinct > 3
    assert len(found["month"].values) > 2


CHOSEN = [
    {"camera": [None], "format": ["JPEG"]},
    {"tag": ["été", "cat"], "orientation": ["portrait", "square"]},
    {"year": ["1999"], "month": ["2024-05", "2024-01"], "album": ["Trip", None]},
    {"year": ["2024", None], "size": ["64 KB - 256 KB", "< 64 KB"], "caption": [True]},
    {"folder": ["/photos/2024", r"/photos/x\xff"], "orientation": [None]},
    {"camera": ["no such camera"], "format": ["jpeg"]},
]


@pytest.mark.parametrize("where", [None, "width > 500"])
@pytest.mark.parametrize("chosen", CHOSEN)
def test_any_of_the_chosen_values_of_each_facet_and_a_facet_counts_its_alternatives(
    index, chosen, where
):
    found = index.facets(where, chosen=chosen)
    assert found.items == len(index.ids(joined(where, chosen_where(chosen))))
    for name, facet in found.by.items():
        dates = ("year", "month")
        others = {
            other: values
            for other, values in chosen.items()
            if other != name and not {other, name} <= {*dates}
        }
        wheres = [part for part in (where, chosen_where(others)) if part]
        for value in facet.values:
            parts = " and ".join(f"({part})" for part in (*wheres, value.where))
            assert value.count == len(index.ids(parts)), (name, value)


def test_bad_questions_get_one_line(index):
    with pytest.raises(
        InvalidInputError, match="there is no facet 'color'; the facets are: folder"
    ):
        index.facets(by=["color"])
    with pytest.raises(InvalidInputError, match="limit"):
        index.facets(limit=0)
    with pytest.raises(InvalidInputError, match="no field 'colour'"):
        index.facets("colour = 'red'")
    with pytest.raises(InvalidInputError, match="there is no size 'huge'; there are: < 64 KB, 64"):
        index.facets(chosen={"size": ["huge"]})
    with pytest.raises(InvalidInputError, match="soon"):
        index.facets(chosen={"year": ["soon"]})


def test_an_empty_index_has_no_values(tmp_path):
    with Index.create(tmp_path / "index", FakeEncoder()) as index:
        found = index.facets()
    assert found.items == 0
    assert not any(facet.values or facet.distinct for facet in found.by.values())


def test_counts_follow_commits_and_leave_out_what_was_removed(tmp_path):
    encoder = FakeEncoder()
    with Index.create(tmp_path / "index", encoder) as index:
        for number, camera in enumerate(["A", "B", "A"]):
            with index.writer() as writer:
                record = Record(key=f"/p/{number}", path=f"/p/{number}", camera=camera)
                writer.put(record, image=encoder.vector(str(number)))
            index.facets()
        assert [(v.value, v.count) for v in index.facets().by["camera"].values] == [
            ("A", 2),
            ("B", 1),
        ]
        index.remove([1])
        assert_filters_find_what_is_counted(index)
        assert index.facets().items == 2


def test_items_that_are_away_do_not_count(tmp_path):
    encoder = FakeEncoder()
    with Index.create(tmp_path / "index", encoder) as index:
        with index.writer() as writer:
            for number in range(6):
                path = f"{tmp_path}/{number % 2}/{number}.jpg"
                facts = {"camera": f"camera {number}", "taken_at": f"202{number}-01-01"}
                record = Record(key=path, path=path, tags=(f"tag {number}",), **facts)
                writer.put(record, image=encoder.vector(str(number)))
            writer.commit()
            missing = dict.fromkeys([2, 4], f"{tmp_path}/1")
            writer.change(lambda conn: away.mark(conn, missing))
        for where in (None, "id > 1"):
            found = assert_filters_find_what_is_counted(index, where)
            assert found.items == (4 if where is None else 3)
            assert {"camera 1", "camera 3"}.isdisjoint(found.cameras)


def test_a_column_of_a_table_answers_where_the_field_is_empty(tmp_path):
    """As it does in a filter, whose count this has to be."""
    encoder = FakeEncoder()
    with Index.create(tmp_path / "index", encoder) as index:
        with index.writer() as writer:
            pairs = itertools.product(["A", "B", None], ["A", "square", None], range(2))
            for number, (camera, other, _) in enumerate(pairs):
                names = () if other is None else ("camera", "tag", "path", "orientation")
                extra = dict.fromkeys(names, other)
                place = {"path": f"/p/{number}"} if number % 2 else {}
                side = {} if camera is None else {"width": 5, "height": 5}
                record = Record(key=f"/p/{number}", camera=camera, extra=extra, **place, **side)
                writer.put(record, image=encoder.vector(str(number)))
        found = assert_filters_find_what_is_counted(index)
        assert [(v.value, v.count) for v in found.by["camera"].values] == [
            ("A", 8),
            ("B", 6),
            (None, 2),
        ]


def test_orientation_is_a_field_of_filters(index):
    items = index.items("orientation = 'Landscape'", limit=300)
    assert items
    assert all(item.width > item.height for item in items)
    tall = index.ids("orientation in ('portrait', 'square')")
    assert tall == [
        i.id for i in index.items(limit=300) if i.width and i.height and i.width <= i.height
    ]
    assert len(index.ids("orientation is null")) == 300 - len(items) - len(tall)
