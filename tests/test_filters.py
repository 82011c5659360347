"""Filters are held against plain Python on the same items."""

import datetime as dt
import inspect
import math
import unicodedata

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipsearch.engine import filters
from clipsearch.errors import ClipSearchError, InvalidInputError
from clipsearch.index import Index
from clipsearch.intake.sources import open_source
from tests.fakes import FakeEncoder, put

CAMERAS = ["Nikon D1", "Canon R5", None]


def facts(i: int) -> dict:
    return {
        "caption": None if i % 4 == 0 else f"A {'Beach' if i % 3 else 'forest'} number {i}",
        "width": None if i % 7 == 0 else 100 * i,
        "height": 50,
        "size_bytes": i * i,
        "format": "JPEG" if i % 2 else "PNG",
        "taken_at": None if i % 5 == 0 else f"2024-{i % 12 + 1:02}-{i % 28 + 1:02}T12:30:{i:02}",
        "mtime_ns": int(dt.datetime(2023, 1, 1 + i % 28, 6).timestamp()) * 10**9 + 5,
        "camera": CAMERAS[i % 3],
        "latitude": i - 20.5,
        "extra": {
            "price": i * 1.5,
            "my col": f"x{i}",
            "rank": i,
            "mixed": i if i % 2 else "odd",
            # as pandas writes a timestamp, as a spreadsheet does, and with an offset
            "sold": (f"2024-02-{i % 28 + 1:02}T00:00:00", f"2024-02-{i % 28 + 1:02}")[i % 2],
            "sent": f"2024-02-{i % 28 + 1:02} 23:30:00.5-01:00",
        },
    }


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    encoder = FakeEncoder()
    index = Index.create(tmp_path_factory.mktemp("filters") / "index", encoder)
    with index.writer() as writer:
        rows = [put(writer, encoder, f"p{i}", **facts(i)) for i in range(40)]
        writer.set_tags(rows[:10] + rows[:2], ["dog"] * 10 + ["cat"] * 2)
    yield index
    index.close()


def having(test) -> list[int]:
    return [i + 1 for i in range(40) if test(facts(i), i)]


@pytest.mark.parametrize(
    ("where", "test"),
    [
        ("width >= 800", lambda f, i: f["width"] is not None and f["width"] >= 800),
        ("800 <= width", lambda f, i: f["width"] is not None and f["width"] >= 800),
        ("not width >= 800", lambda f, i: f["width"] is not None and f["width"] < 800),
        ("width is null", lambda f, i: f["width"] is None),
        ("width is not null", lambda f, i: f["width"] is not None),
        ("width = 300 or width = 500.0", lambda f, i: f["width"] in (300, 500)),
        ("width in (300, 500) and format = 'jpeg'", lambda f, i: f["width"] in (300, 500)),
        ("width not in (300)", lambda f, i: f["width"] not in (None, 300)),
        ("id between 3 and 5", lambda f, i: i + 1 in (3, 4, 5)),
        ("latitude < -18.4", lambda f, i: f["latitude"] < -18.4),
        ("camera = 'Nikon D1'", lambda f, i: f["camera"] == "Nikon D1"),
        ("camera != 'Nikon D1'", lambda f, i: f["camera"] not in (None, "Nikon D1")),
        ("caption like '%beach%'", lambda f, i: "beach" in (f["caption"] or "").lower()),
        ("caption not like '%BEACH%'", lambda f, i: "forest" in (f["caption"] or "")),
        ("name = 'p7.jpg'", lambda f, i: i == 7),
        ("path like '/photos/p1_.jpg'", lambda f, i: 10 <= i < 20),
        ("name like 'p1!%' escape '!'", lambda f, i: False),
        ("tag = 'dog'", lambda f, i: i < 10),
        ("tag = 'cat' and tag = 'dog'", lambda f, i: i < 2),
        ("tag != 'dog'", lambda f, i: i >= 10),
        ("tag in ('cat', 'cow')", lambda f, i: i < 2),
        ("tag like 'c%'", lambda f, i: i < 2),
        ("tag is null", lambda f, i: i >= 10),
        ("price > 3 and price <= 6", lambda f, i: 3 < i * 1.5 <= 6),
        ("\"my col\" = 'x5'", lambda f, i: i == 5),
        ("extra.rank = 5", lambda f, i: i == 5),
        ("mixed = '7'", lambda f, i: i == 7),
        ("mixed = 'odd'", lambda f, i: i % 2 == 0),
        ("taken_at = '2024-03'", lambda f, i: (f["taken_at"] or "").startswith("2024-03")),
        ("taken_at < '2024-03'", lambda f, i: "" < (f["taken_at"] or "") < "2024-03"),
        ("taken_at <= '2024-02-04'", lambda f, i: "" < (f["taken_at"] or "") < "2024-02-05"),
        ("taken_at > '2024-11'", lambda f, i: (f["taken_at"] or "") >= "2024-12"),
        ("taken_at >= '2024'", lambda f, i: f["taken_at"] is not None),
        ("taken_at != '2024'", lambda f, i: False),
        ("taken_at = '2024-02-02 12:30:01'", lambda f, i: i == 1),
        ("mtime = '2023-01-05'", lambda f, i: i % 28 == 4),
        ("mtime between '2023-01-02' and '2023-01-03'", lambda f, i: i % 28 in (1, 2)),
        ("mtime < '2023-01-02T05:59'", lambda f, i: i % 28 == 0),
        ("sold = '2024-02-03'", lambda f, i: i % 28 == 2),
        ("sold != '2024-02-03'", lambda f, i: i % 28 != 2),
        ("sold > '2024-02-03'", lambda f, i: i % 28 > 2),
        ("sold <= '2024-02-03'", lambda f, i: i % 28 <= 2),
        ("sold between '2024-02-03' and '2024-02-04'", lambda f, i: i % 28 in (2, 3)),
        ("sold = '2024-02'", lambda f, i: True),
        ("sent = '2024-02-03 00:30'", lambda f, i: i % 28 == 1),
        ("sent is null", lambda f, i: False),
        ("WIDTH = 300 AND (Format = 'JPEG')", lambda f, i: i == 3),
        ("  ", lambda f, i: True),
    ],
)
def test_filters_select_what_python_selects(index, where, test):
    expected = having(test)
    assert [item.id for item in index.items(where)] == expected
    hits = index.search(index.vectors([1])[0], k=100, where=where)
    assert sorted(hit.item.id for hit in hits) == expected


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("widht > 3", r"no field 'widht'. Did you mean width\? The fields are: id, .*price"),
        ("items.width > 3", "no field 'items.width'"),
        ("rowid > 3", "no field 'rowid'"),
        ("width > 'a'", "width is a number; write it without quotes"),
        ("caption > 3", "caption is text; write the value in single quotes"),
        ("price = 'a'", "price is a number"),
        ("taken_at > 2024", "is a date; write it in quotes"),
        ("taken_at > '2024-13'", "not a date"),
        ("taken_at > 'yesterday'", "not a date"),
        ('caption = "x"', "single quotes: 'x'"),
        ("width like '8%'", "like compares a text field"),
        ("sold like '2024%'", "a date may be cut short instead: sold = '2024-05'"),
        ("sold > 'yesterday'", "not a date"),
        ("rank = 'True'", "rank is a number; write it without quotes: rank = true"),
        ("tag > 'a'", "tag knows"),
        ("width in ()", "names no value"),
        ("width; drop table items", "must be one expression"),
        ("lower(caption) = 'x'", "not supported"),
        ("width + 1 > 2", "not supported"),
        ("width in (select row from items)", "not supported"),
        ("width = (select 1)", "not supported"),
        ("exists (select 1)", "not supported"),
        ("width = ?", "not supported"),
        ("width = :x", "not supported"),
        ("width", "not supported"),
        ("1 = 1", "not supported"),
        ("width >", "cannot be read"),
        ("(" * 5000 + "width = 1", "cannot be read|must be one|nested"),
        ("not " * 200 + "width = 1", "nested|cannot be read"),
        ("width = 1" + " " * 20_000, "longer than"),
        ("caption = 'a\0b'", "NUL"),
    ],
)
def test_what_is_refused_says_why(index, where, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        index.items(where)
    assert len(str(caught.value)) < 1000


def test_how_deep_a_filter_may_be_does_not_depend_on_who_asks(index):
    def asked(where: str, calls: int) -> list | str:
        if calls:
            return asked(where, calls - 1)
        try:
            return index.items(where)
        except InvalidInputError as exc:
            return str(exc)

    for depth in (31, 33):
        where = f"{'(' * depth}width = 300{')' * depth}"
        filters._compiled.cache_clear()
        shallow = asked(where, 0)
        filters._compiled.cache_clear()
        assert asked(where, 850 - len(inspect.stack(0))) == shallow
        assert (len(shallow) == 1) if depth == 31 else "nested over 32 levels deep" in shallow
    assert len(index.items(f"width = 300 or caption = '{'(' * 99}'")) == 1  # words nest nothing


def test_long_lists_are_fine(index):
    numbers = ", ".join(str(n) for n in range(1, 1500))
    assert len(index.items(f"id in ({numbers})")) == 40
    assert len(index.items(" or ".join(["width = 300"] * 600))) == 1


def test_values_are_bound_never_pasted(index):
    nasty = "x'; delete from items; --"
    escaped = nasty.replace("'", "''")
    assert index.items(f"caption = '{escaped}'") == []
    assert index.items(f"tag = '{escaped}'") == []
    assert len(index.items()) == 40


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.text(alphabet="width=<>()'\"%_;-*/, andornotlikeiscaptiontag0123456789.\\é\n", max_size=60)
)
def test_nothing_but_our_errors_comes_out(index, where):
    try:
        index.items(where)
    except ClipSearchError as exc:
        assert isinstance(exc, InvalidInputError)


comparisons = st.builds(
    lambda field, op, value: (field, op, value),
    st.sampled_from(["width", "size_bytes", "rank"]),
    st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
    st.integers(-5, 4100),
)
trees = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), inner, inner),
    ),
    max_leaves=8,
)


def as_text(tree) -> str:
    if tree[0] == "not":
        return f"not ({as_text(tree[1])})"
    if tree[0] in ("and", "or"):
        return f"({as_text(tree[1])}) {tree[0]} ({as_text(tree[2])})"
    return f"{tree[0]} {tree[1]} {tree[2]}"


def truth(tree, i) -> bool | None:
    """SQL's three-valued logic."""
    if tree[0] == "not":
        inner = truth(tree[1], i)
        return None if inner is None else not inner
    if tree[0] in ("and", "or"):
        sides = {truth(tree[1], i), truth(tree[2], i)}
        decisive = tree[0] == "or"
        if decisive in sides:
            return decisive
        return None if None in sides else not decisive
    value = {**facts(i), **facts(i)["extra"]}[tree[0]]
    if value is None:
        return None
    left, right = value, tree[2]
    return {
        "=": left == right,
        "!=": left != right,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }[tree[1]]


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(trees)
def test_random_expressions_select_what_python_selects(index, tree):
    expected = [i + 1 for i in range(40) if truth(tree, i)]
    assert [item.id for item in index.items(as_text(tree))] == expected


def test_fields_lists_columns_of_tables(index):
    fields = index.fields()
    assert fields["price"] == "number"
    assert fields["rank"] == "integer"
    assert fields["mixed"] == fields["my col"] == "text"
    assert fields["taken_at"] == fields["sold"] == fields["sent"] == "date"
    assert fields["tag"] == "tag"


def test_numbers_that_are_none_are_missing(tmp_path):
    encoder = FakeEncoder()
    with Index.create(tmp_path / "index", encoder) as index:
        with index.writer() as writer:
            put(writer, encoder, "a", extra={"x": math.nan, "y": None, "z": True})
        assert index.items("z = true")[0].extra == {"x": None, "y": None, "z": True}


@pytest.mark.parametrize("where", [5, {"width": 3}, ["width > 3"]])
def test_a_filter_is_a_text(index, where):
    for ask in (index.items, lambda where: index.search(index.vectors([1])[0], where=where)):
        with pytest.raises(InvalidInputError, match="where must be a text"):
            ask(where)


def test_an_accent_is_the_same_in_one_character_or_two(tmp_path):
    encoder = FakeEncoder()
    names = {form: unicodedata.normalize(form, "España niño") for form in ("NFC", "NFD")}
    assert len(set(names.values())) == 2
    with Index.create(tmp_path / "index", encoder) as index:
        with index.writer() as writer:
            ids = [put(writer, encoder, n, caption=n, extra={"city": n}) for n in names.values()]
            plain = put(writer, encoder, "Espana nino")
            writer.set_tags(ids, list(names.values()))
        for name in names.values():
            for where in (
                f"name = '{name}.jpg'",
                f"caption in ('{name}')",
                f"city = '{name}'",
                f"tag = '{name}'",
                f"tag like '{name[:6]}%'",
            ):
                assert [item.id for item in index.items(where)] == ids, where
            # `like` does not distinguish accents at all
            assert [i.id for i in index.items(f"path like '%{name[:6]}%'")] == [*ids, plain]
            assert not index.items(f"city != '{name}'")


def test_truth_values_of_tables_are_the_same_in_every_format(tmp_path):
    rows = [
        {"image": f"{i}.jpg", "sold": i % 2 == 0, "day": f"2024-02-{i + 1:02}"} for i in range(9)
    ]
    frame = pd.DataFrame(rows).assign(day=lambda f: pd.to_datetime(f.day))
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_csv(tmp_path / "t.csv", index=False)
    kinds = {
        path: {type(p.extra["sold"]) for p in open_source(path)} for path in tmp_path.iterdir()
    }
    assert set(map(frozenset, kinds.values())) == {frozenset({bool})}


def test_a_selection_of_any_size_is_a_filter_for_its_own_index_alone(index, tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "cache"))
    encoder = FakeEncoder()
    with Index.create(tmp_path / "large", encoder) as large:
        with large.writer() as writer:
            for i in range(3000):
                put(writer, encoder, f"p{i}", width=i % 7)
        wanted = list(range(2, 3000, 2))
        token = large.keep_selection([*wanted, 9999])
        where = f"selection = '{token}'"
        assert large.keep_selection(wanted[::-1]) == token
        assert large.ids(where) == wanted
        assert large.ids(f"{where} and width = 3") == [i for i in wanted if (i - 1) % 7 == 3]
        assert large.ids(f"not {where}") == [i for i in range(1, 3001) if i not in set(wanted)]
        hits = large.search(encoder.vector("q"), 5000, where=where)
        assert sorted(hit.item.id for hit in hits) == wanted
        assert index.ids(where) == []  # which has items of the same ids
        with large.writer() as writer:
            writer.remove([2, 4])
        assert large.ids(where) == wanted[2:]
        next((tmp_path / "cache" / "items").iterdir()).unlink()
        with pytest.raises(InvalidInputError, match="no longer kept"):
            large.ids(f"{where} and width = 3")
    with pytest.raises(InvalidInputError, match="no field 'selection'"):
        index.ids("selection = 'abc'")
