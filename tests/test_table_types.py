"""Columns of tables: their types, filters on them, and their way out of an index and back."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipsearch.documents import hit_document, public_item
from clipsearch.engine.columns import from_arrow, json_text, to_arrow, type_of_text, type_text
from clipsearch.errors import InvalidInputError, SourceError
from clipsearch.index import Index
from clipsearch.ingest import IngestOptions
from clipsearch.intake.sources import open_source
from clipsearch.intake.text_types import typed_columns
from clipsearch.types import Hit
from tests.fakes import FakeEncoder

CAPTIONS = IngestOptions(captions="text", ids="id")


def kind_of(*texts: str) -> str:
    return typed_columns([[text] for text in texts], ["x"], {})["x"].name


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (("1234567890123456789", "", "5"), "integer"),
        (("18446744073709551615", "1"), "unsigned"),
        (("-5", "0"), "integer"),
        (("2.5", "1e-05", "3"), "number"),
        (("1.50", "2.00"), "decimal"),
        (("0.1234567890123456789",), "decimal"),
        (("18446744073709551615", "-1"), "decimal"),
        (("true", "false"), "boolean"),
        (("True", "False"), "boolean"),
        (("True", "false"), "text"),
        (("01234", "90210"), "text"),
        (("12E4", "7E2"), "text"),
        (("1_000", "2"), "text"),
        (("NaN", "1"), "text"),
        (("inf", "1"), "text"),
        (("+5", "4"), "text"),
        ((" 5", "4"), "text"),
        (("1,5", "2,5"), "text"),
        (("0x1F", "1"), "text"),
        (("-0", "1"), "text"),
        (("٣", "٤"), "text"),
        (("1e999", "2.5"), "text"),
        (("5", "odd"), "text"),
        (("", ""), "text"),
    ],
)
def test_a_column_is_numeric_where_every_text_can_be_written_again(texts, kind):
    assert kind_of(*texts) == kind


@given(st.lists(st.text("0123456789.-+eE_ ", max_size=6) | st.floats().map(repr), max_size=8))
def test_no_text_of_a_typed_column_is_lost(texts):
    (kind,) = typed_columns([[text] for text in texts], ["x"], {}).values()
    values = [kind.reader()(text) for text in texts if text]
    written = [value if isinstance(value, str) else json.dumps(value) for value in values]
    assert written == [text for text in texts if text]


@pytest.fixture
def empty(tmp_path):
    with Index.create(tmp_path / "index", FakeEncoder()) as index:
        yield index


UTC = dt.UTC


def a_table(**columns) -> pa.Table:
    count = len(next(iter(columns.values())))
    names = [f"row {n}" for n in range(count)]
    return pa.table({"id": names, "text": [f"caption {n}" for n in range(count)], **columns})


@pytest.fixture
def typed(empty, tmp_path):
    """An index of a table with a column of every type that JSON lacks."""
    table = a_table(
        big=pa.array([2**64 - 1, 5, None], pa.uint64()),
        price=pa.array([Decimal("12.30"), Decimal("-0.01"), Decimal("9.5")], pa.decimal128(12, 2)),
        words=pa.array([["a", "b"], [], None], pa.list_(pa.string())),
        sizes=pa.array([[1, 2], [3], []], pa.list_(pa.int64())),
        meta=pa.array([{"w": 5, "in": {"k": "v"}, "p": Decimal("1.5")}, {"w": None}, None],
                      pa.struct([("w", pa.int16()), ("in", pa.struct([("k", pa.string())])),
                                 ("p", pa.decimal128(5, 2))])),
        sent=pa.array([dt.datetime(2024, 5, 1, 12, tzinfo=UTC), None, None],
                      pa.timestamp("ns", "Europe/Madrid")),
        day=pa.array([dt.date(2024, 5, 1), dt.date(2023, 1, 1), None]),
        at=pa.array([dt.time(9, 5, 0, 500_000), dt.time(18), None], pa.time64("us")),
        took=pa.array([dt.timedelta(seconds=90, microseconds=5), None, None], pa.duration("us")),
        raw=pa.array([b"\xff\x00", b"", None]),
        few=pa.array([0.1, math.inf, math.nan], pa.float32()),
        sure=[True, False, None],
        pairs=pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int32())),
        width=[7, 8, 9],
        select=["x", "y", "z"],
    ).append_column("two words", pa.array(["q", "", None]))  # fmt: skip
    pq.write_table(table, tmp_path / "t.parquet")
    report = empty.add(tmp_path / "t.parquet", options=CAPTIONS)
    assert report.indexed == 3
    assert any("width" in note and "extra.width" in note for note in report.notes)
    return empty


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("big = 18446744073709551615", [1]),
        ("big = 18446744073709551614", []),
        ("big > 18446744073709551614", [1]),
        ("big < 6", [2]),
        ("price = 12.3", [1]),
        ("price > 9.49 and price < 12.30", [3]),
        ("price < 0", [2]),
        ("price = '9.50'", [3]),
        ("price in (12.3, 9.5)", [1, 3]),
        ("'a' in words", [1]),
        ("'a' not in words", [2]),
        ("words like '%B%'", [1]),
        ("words is null", [3]),
        ("3 in sizes", [2]),
        ("3 in (sizes)", [2]),
        ("meta.w = 5", [1]),
        ("meta.w >= 4.5", [1]),
        ("meta.in.k = 'v'", [1]),
        ('meta."in"."k" like \'V\'', [1]),
        ("meta.p = 1.5", [1]),
        ("meta.p < 1.49", []),
        ("meta.w is null", [2, 3]),
        ("words.0 = 'a'", [1]),
        ("pairs.k = 1", [1]),
        ("sent = '2024-05-01'", [1]),
        ("sent = '2024-05-01T14:00+02:00'", [1]),
        ("sent > '2024-05-01T12:00:00Z'", []),
        ("day = '2023'", [2]),
        ("at = '09:05:00.5'", [1]),
        ("at > '9:05'", [1, 2]),
        ("at = '18:00'", [2]),
        ("took > 90", [1]),
        ("took = 90.000005", [1]),
        ("few = 0.1", [1]),
        ("few > 1", [2]),
        ("few is null", [3]),
        ("sure = true", [1]),
        ("width = 8", [2]),
        ("extra.width > 7", [2, 3]),
        ("id = 'row 1'", [2]),
        ("extra.id = 'row 1'", [2]),
        ("id = 2", [2]),
        ("select = 'y'", [2]),
        ("\"two words\" = 'q'", [1]),
        ("\"two words\" = ''", [2]),
    ],
)
def test_filters_compare_by_value_and_reach_inside(typed, where, rows):
    assert [item.id for item in typed.items(where)] == rows


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("words = 'a'", "words is a list; ask whether 'a' in words"),
        ("meta = 5", "meta is an object; name a part of it"),
        ("'x' in caption", "caption is no list"),
        ("at > '25:00'", "not a time of day"),
        ("price > 'much'", "price is a number"),
        ("prise > 5", "Did you mean price"),
        ("price.x = 5", "no field 'price.x'"),
        ("taken_at > '2024-05-01T10:00:00+02:00'", "local time"),
        ("'a' in nothing", "no field 'nothing'"),
    ],
)
def test_what_a_column_does_not_know_is_said(typed, where, message):
    with pytest.raises(InvalidInputError, match=message):
        typed.items(where)


def test_values_are_json_that_loses_nothing(typed):
    first, second, third = (item.extra for item in typed.items())
    assert first["big"] == 2**64 - 1
    assert first["price"] == "12.30"
    assert first["meta"] == {"w": 5, "in": {"k": "v"}, "p": "1.50"}
    assert first["sent"] == "2024-05-01T14:00:00+02:00"
    assert (first["at"], first["took"], first["raw"]) == ("09:05:00.5", "90.000005", "/wA=")
    assert first["few"] == 0.1
    assert (second["few"], second["two words"]) == (math.inf, "")
    assert "few" not in third
    shown = json.dumps([public_item(item) for item in typed.items()], allow_nan=False)
    assert json.loads(shown)[1]["extra"]["few"] is None
    hit = hit_document(Hit(item=typed.item(2), score=0.5))
    json.dumps(hit, allow_nan=False)


def test_a_tag_is_the_items_own_unless_a_column_is_named_so(typed, empty):
    typed.set_tags([2], ["dog"])
    assert [item.id for item in typed.items("'dog' in tags")] == [2]
    assert [item.id for item in typed.items("tag = 'dog'")] == [2]


def test_a_column_of_lists_named_tags_is_the_column(empty, tmp_path):
    pq.write_table(a_table(tags=[["all", "x"], ["y"]], tag=["cow", "dog"]), tmp_path / "t.parquet")
    empty.add(tmp_path / "t.parquet", options=CAPTIONS)
    empty.set_tags([1], ["own"])
    assert [item.id for item in empty.items("'all' in tags")] == [1]
    assert [item.id for item in empty.items("'own' in tags")] == []
    assert [item.id for item in empty.items("tag = 'own'")] == [1]
    assert [item.id for item in empty.items("tag = 'dog'")] == [2]  # which has no tag
    assert [item.id for item in empty.items("tag = 'cow'")] == []


def test_a_place_of_a_file_is_hidden_inside_of_lists_and_objects_too(empty, tmp_path):
    table = a_table(where=[["/home/me/a.jpg"]], m=[{"p": "/etc/passwd"}], note=["plain"])
    pq.write_table(table, tmp_path / "t.parquet")
    empty.add(tmp_path / "t.parquet", options=CAPTIONS)
    assert public_item(empty.item(1))["extra"] == {"id": "row 0", "note": "plain"}
    assert empty.fields()["where"] == empty.fields()["m"] == "path"
    assert len(empty.items("'/home/me/a.jpg' in where")) == 1
    assert len(empty.items("m.p like '/etc/%'")) == 1


# --- out and in again ---------------------------------------------------------------------------


def exported(index, path) -> pa.Table:
    index.export(path)
    return pq.read_table(path)


def differing(table: pa.Table, out: pa.Table) -> list[str]:
    return [
        name
        for name in table.schema.names
        if name not in out.schema.names
        or out[name].type != table[name].type
        or out[name].to_pylist() != table[name].to_pylist()
    ]


def contents(index):
    return [(item.key, item.caption, dict(item.extra), item.tags) for item in index.items()]


def test_an_export_gives_back_every_column_with_its_type(typed, tmp_path):
    table = pq.read_table(tmp_path / "t.parquet")
    out = exported(typed, tmp_path / "out.parquet")
    few = out["few"].to_pylist()
    assert (few[1], few[2]) == (math.inf, None)  # NaN is missing
    assert differing(table.drop_columns("few"), out) == []
    assert out["few"].type == pa.float32()
    assert out["item_id"].to_pylist() == [1, 2, 3]  # the user's column has the name `id`
    assert json.loads(out["extra"][1].as_py())["width"] == 8


def test_columns_of_images_and_captions_come_back_as_they_were(empty, tmp_path):
    table = pa.table(
        {
            "id": pa.array([5, 6], pa.int32()),
            "file": pa.array(["sub/a.jpg", None]).dictionary_encode(),
            "text": pa.array(["one", None], pa.large_string()),
        }
    )
    lists = pa.table({"id": ["a", "b"], "captions": [["one", "two"], ["three"]]})
    for name, one in (("t", table), ("l", lists)):
        pq.write_table(one, tmp_path / f"{name}.parquet")
    source = open_source(tmp_path / "t.parquet")
    assert [pair.caption for pair in source] == ["one", None]
    empty.add(tmp_path / "l.parquet", options=IngestOptions(captions="captions"))
    assert [item.caption for item in empty.items("'two' in captions")] == ["one\ntwo"]
    assert differing(lists, exported(empty, tmp_path / "out.parquet")) == []


def test_an_exported_file_is_imported_without_encoding(typed, tmp_path):
    typed.set_tags([2], ["dog"])
    out = exported(typed, tmp_path / "out.parquet")
    encoder = FakeEncoder()
    with Index.create(tmp_path / "copy", encoder) as copy:
        report = copy.import_embeddings(tmp_path / "out.parquet")
        assert (report.seen, report.indexed, encoder.encoded) == (3, 3, 0)
        assert contents(copy) == contents(typed)
        assert copy.fields() == typed.fields()
        assert np.array_equal(copy.vectors([1, 2, 3]), typed.vectors([1, 2, 3]))
        assert exported(copy, tmp_path / "again.parquet").equals(out)
        assert copy.import_embeddings(tmp_path / "out.parquet").updated == 3
        assert copy.verify(full=True).ok
    with (
        Index.create(tmp_path / "other", FakeEncoder("other")) as other,
        pytest.raises(SourceError, match="exported from an index of fake"),
    ):
        other.import_embeddings(tmp_path / "out.parquet")


def test_an_exported_file_is_a_source_with_the_same_keys(typed, tmp_path):
    out = exported(typed, tmp_path / "out.parquet")
    with Index.create(tmp_path / "copy", FakeEncoder()) as copy:
        assert copy.add(tmp_path / "out.parquet").indexed == 3
        assert contents(copy) == contents(typed)
        again = exported(copy, tmp_path / "again.parquet")
        assert [name for name in out.schema.names if not again[name].equals(out[name])] == []
        assert copy.add(tmp_path / "t.parquet", options=CAPTIONS).unchanged == 3


def test_columns_of_two_tables_are_widened_and_mixed_ones_are_text(empty, tmp_path):
    one = a_table(n=pa.array([1], pa.int8()), m=[1], x=[True])
    two = a_table(n=pa.array([300], pa.int16()), m=["odd"], y=[2.5])
    for name, table in (("one", one), ("two", two)):
        pq.write_table(table, tmp_path / f"{name}.parquet")
        empty.add(tmp_path / f"{name}.parquet", options=CAPTIONS)
    out = exported(empty, tmp_path / "out.parquet")
    assert (out["n"].type, out["n"].to_pylist()) == (pa.int16(), [1, 300])
    assert (out["m"].type, out["m"].to_pylist()) == (pa.string(), ["1", "odd"])
    assert (out["x"].to_pylist(), out["y"].to_pylist()) == ([True, None], [None, 2.5])
    assert out["id"].to_pylist() == ["row 0", "row 0"]


def test_a_column_of_numbers_gets_wider_with_each_table(empty, tmp_path):
    for name, value in (("a", "6"), ("b", "1.50"), ("c", "18446744073709551615")):
        (tmp_path / f"{name}.csv").write_text(f"text,order\n{name},{value}\n")
        empty.add(tmp_path / f"{name}.csv", options=IngestOptions(captions="text"))
    assert empty.fields()["order"] == "decimal"
    assert [item.id for item in empty.items("order > 1.49 and order < 6.5")] == [1, 2]
    assert [item.id for item in empty.items("order = 18446744073709551615")] == [3]
    out = exported(empty, tmp_path / "out.parquet")["order"]
    assert [Decimal(value) for value in out.to_pylist()] == [6, Decimal("1.50"), 2**64 - 1]


def test_values_without_a_declared_type_get_the_one_that_holds_them(empty, tmp_path):
    rows = [
        {"text": "a", "n": 1, "big": 2**64, "l": ["x"], "o": {"a": 1}, "mix": [1]},
        {"text": "b", "n": 2.5, "big": 1, "l": [], "o": {"a": 2, "b": "c"}, "mix": "s"},
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    empty.add(tmp_path / "t.jsonl", options=IngestOptions(captions="text"))
    out = exported(empty, tmp_path / "out.parquet")
    assert (out["n"].type, out["n"].to_pylist()) == (pa.float64(), [1.0, 2.5])
    assert [int(value) for value in out["big"].to_pylist()] == [2**64, 1]
    assert out["l"].to_pylist() == [["x"], []]
    assert out["o"].to_pylist() == [{"a": 1, "b": None}, {"a": 2, "b": "c"}]
    assert out["mix"].to_pylist() == ["[1]", "s"]
    assert [item.id for item in empty.items("big > 18446744073709551615")] == [1]


def test_numbers_of_a_text_table_come_out_typed(empty, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text(
        "text,id,n,x,ok,zip,price\na,7,5,2.5,true,01234,1.50\nb,8,,3.25,false,9,2.00\n"
    )
    empty.add(table, options=IngestOptions(captions="text"))
    out = exported(empty, tmp_path / "out.parquet")
    types = {name: str(out[name].type) for name in ("id", "n", "x", "ok", "zip", "price")}
    assert types == {"id": "int64", "n": "int64", "x": "double", "ok": "bool", "zip": "string",
                     "price": "decimal128(3, 2)"}  # fmt: skip
    assert out["id"].to_pylist() == [7, 8]
    assert [item.id for item in empty.items("price > 1.5")] == [2]
    assert empty.item(1).extra["price"] == "1.50"


def test_columns_of_imported_embeddings_are_typed_too(empty, tmp_path):
    (tmp_path / "img_emb").mkdir()
    (tmp_path / "metadata").mkdir()
    vectors = np.stack([empty_vector(n) for n in range(2)])
    np.save(tmp_path / "img_emb" / "img_emb_0.npy", vectors)
    table = pa.table(
        {
            "image_path": ["/a.jpg", "/b.jpg"],
            "width": [640, 800],
            "price": pa.array([Decimal("9.50"), Decimal("12.00")], pa.decimal128(6, 2)),
            "boxes": [[1, 2], None],
        }
    )
    pq.write_table(table, tmp_path / "metadata" / "metadata_0.parquet")
    empty.import_embeddings(tmp_path)
    assert [item.path for item in empty.items("width > 700")] == ["/b.jpg"]
    assert [item.path for item in empty.items("price < 10")] == ["/a.jpg"]
    assert [item.path for item in empty.items("2 in boxes")] == ["/a.jpg"]
    out = exported(empty, tmp_path / "out.parquet")
    assert differing(table.drop_columns("image_path"), out) == []


def empty_vector(number: int) -> np.ndarray:
    return FakeEncoder().vector(f"{number}")


# --- every type ---------------------------------------------------------------------------------

moments = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))
integers = {
    pa.int8(): st.integers(-(2**7), 2**7 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint8(): st.integers(0, 2**8 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
}
texts = st.text(st.characters(codec="utf-8"), max_size=8)
LEAVES = [
    *(st.tuples(st.just(kind), st.just(values)) for kind, values in integers.items()),
    *(
        st.just((kind, values))
        for kind, values in [
            (pa.bool_(), st.booleans()),
            (pa.float64(), st.floats(allow_nan=False)),
            (pa.float32(), st.floats(allow_nan=False, width=32)),
            (pa.string(), texts),
            (pa.large_string(), texts),
            (pa.binary(), st.binary(max_size=8)),
            (pa.binary(3), st.binary(min_size=3, max_size=3)),
            (pa.decimal128(9, 3), st.decimals("-99999", "99999", places=3)),
            (pa.decimal256(50, 2), st.decimals("-1e40", "1e40", places=2)),
            (pa.date32(), st.dates()),
            (pa.timestamp("us"), moments),
            (pa.timestamp("ms", "UTC"), moments.map(lambda m: m.replace(microsecond=0))),
            (pa.timestamp("ns", "America/New_York"), moments),
            (pa.time64("us"), st.times()),
            (pa.time32("ms"), st.times().map(lambda t: t.replace(microsecond=0))),
            (pa.duration("us"), st.timedeltas(dt.timedelta(-999), dt.timedelta(999))),
            (pa.null(), st.none()),
        ]
    ),
]


def nested(inner):
    def of(pair):
        kind, values = pair
        maybe = st.none() | values
        return st.sampled_from(
            [
                (pa.list_(kind), st.lists(maybe, max_size=3)),
                (pa.list_(kind, 2), st.lists(maybe, min_size=2, max_size=2)),
                (pa.struct([("a", kind), ("b c", pa.int8())]),
                 st.fixed_dictionaries({"a": maybe, "b c": st.none() | integers[pa.int8()]})),
                (pa.map_(pa.string(), kind),
                 st.dictionaries(texts, maybe, max_size=3).map(lambda d: list(d.items()))),
                (pa.map_(pa.int64(), kind),
                 st.dictionaries(integers[pa.int64()], maybe, max_size=3)
                 .map(lambda d: list(d.items()))),
            ]
        )  # fmt: skip

    return inner.flatmap(of)


kinds = st.recursive(st.one_of(LEAVES), nested, max_leaves=3)
arrays = kinds.flatmap(
    lambda pair: st.lists(st.none() | pair[1], min_size=1, max_size=4).map(
        lambda values: pa.array(values, pair[0])
    )
)


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(arrays)
def test_every_type_goes_through_json_and_back(array):
    text = json_text(from_arrow(array))
    back = to_arrow(json.loads(text), type_of_text(type_text(array.type)))
    assert back.type == array.type
    assert back.equals(array)
    part = array[1:]  # whose buffers begin further on
    assert to_arrow(from_arrow(part), part.type).equals(part)


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(st.lists(arrays, min_size=1, max_size=6))
def test_a_table_through_an_index_is_the_same_table(tmp_path_factory, columns):
    folder = tmp_path_factory.mktemp("through")
    rows = max(map(len, columns))
    filled = {
        f"c{n}": pa.concat_arrays([column, pa.nulls(rows - len(column), column.type)])
        for n, column in enumerate(columns)
    }
    pq.write_table(a_table(**filled), folder / "t.parquet")
    table = pq.read_table(folder / "t.parquet")
    with Index.create(folder / "index", FakeEncoder()) as index:
        index.add(folder / "t.parquet", options=CAPTIONS)
        out = exported(index, folder / "out.parquet")
        assert differing(table, out) == []
        with Index.create(folder / "copy", FakeEncoder()) as copy:
            copy.add(folder / "out.parquet")
            assert contents(copy) == contents(index)
            assert differing(table, exported(copy, folder / "again.parquet")) == []
