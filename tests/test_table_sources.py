"""Tables that are no text: frames, datasets, imagefolders, COCO, images stored as bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from clipsearch.errors import ImageDecodeError, InvalidInputError, SourceError
from clipsearch.explore.thumbnails import thumbnail
from clipsearch.images import load_image
from clipsearch.index import Index
from clipsearch.ingest import IngestOptions
from clipsearch.intake.inside import member_place, read_inside
from clipsearch.intake.originals import indexed_bytes
from clipsearch.intake.sources import FolderSource, open_source
from clipsearch.server import create_app
from clipsearch.types import Item

from .test_edits import on_cluster

COLORS = {"red": (200, 0, 0), "blue": (0, 0, 200), "green": (0, 160, 0)}


def picture(color: str, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), COLORS[color]).save(buffer, form)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for color in COLORS:
        (tmp_path / f"{color}.png").write_bytes(picture(color))


@pytest.fixture
def index(tmp_path, encoder):
    with Index.create(tmp_path / "index", encoder) as index:
        yield index


def seen(source, **options):
    return [
        (pair.image, pair.caption, dict(pair.columns)) for pair in open_source(source, **options)
    ]


# --- in memory ----------------------------------------------------------------------------------


def frame(**columns) -> pd.DataFrame:
    rows = {"path": ["red.png", "blue.png"], "caption": ["a red wall", "the sea"], **columns}
    return pd.DataFrame(rows)


FORMS = {
    "pandas": lambda table: table.to_pandas(),
    "table": lambda table: table,
    "batch": lambda table: table.combine_chunks().to_batches()[0],
    "reader": lambda table: table.to_reader(),
    "stream": lambda table: type("Frame", (), {"__arrow_c_stream__": table.__arrow_c_stream__})(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_frame_is_a_source(form, tmp_path):
    table = pa.table(
        {
            "image": [{"bytes": picture("red"), "path": None}, {"bytes": None, "path": "blue.png"}],
            "text": ["a red wall", None],
            "n": [1, 2**62],
            "day": pa.array([0, None], pa.date32()),
        }
    )
    assert seen(FORMS[form](table)) == [
        (picture("red"), "a red wall", {"n": 1, "day": "1970-01-01"}),
        (str(tmp_path / "blue.png"), None, {"n": 2**62}),
    ]


def test_a_frame_updates_what_it_names_and_two_do_not_mix(index, tmp_path):
    assert index.add(frame(n=[1, 2])).indexed == 2
    assert index.add(frame(n=[1, 2])).unchanged == 2
    assert index.add(pd.DataFrame({"path": ["green.png"], "caption": ["grass"]})).indexed == 1
    assert len(index) == 3
    assert [item.key for item in index.items()] == [
        str(tmp_path / f"{color}.png") for color in ("red", "blue", "green")
    ]
    changed = index.add(frame(n=[1, 3]))
    assert (changed.unchanged, changed.updated) == (2, 1)
    assert [item.extra for item in index.items("n = 3")] == [{"n": 3}]
    assert index.fields()["n"] == "integer"


def test_a_frame_comes_out_as_it_went_in(index, tmp_path):
    table = pa.table(
        {
            "path": [str(tmp_path / "red.png"), str(tmp_path / "blue.png")],
            "text": ["a red wall", "the sea"],
            "n": pa.array([1, None], pa.int16()),
        }
    )
    index.add(table)
    index.export(tmp_path / "out.parquet")
    out = pq.read_table(tmp_path / "out.parquet").select(table.schema.names)
    assert out.schema.remove_metadata() == table.schema
    assert out.to_pylist() == table.to_pylist()


def test_rows_of_one_image_are_items_of_their_own(index):
    table = pd.DataFrame({"path": ["red.png"] * 2, "caption": ["a wall", "una pared"]})
    report = index.add(table)
    assert (report.indexed, report.duplicate, len(index)) == (1, 1, 2)
    assert index.add(table).unchanged == 2


def test_images_of_a_frame_may_be_pillows_or_arrays(index):
    with Image.open("red.png") as opened:
        images = [opened, Image.new("RGBA", (8, 8), "blue"), Image.new("L", (5, 5))]
        report = index.add(pd.DataFrame({"picture": images, "id": ["a", "b", "c"]}))
    assert index.item(1).sha256 == hashlib.sha256(picture("red")).hexdigest()
    assert (report.indexed, report.skipped) == (3, 0)
    assert [item.key for item in index.items()] == ["table#a", "table#b", "table#c"]
    assert [item.extra["id"] for item in index.items()] == ["a", "b", "c"]
    arrays = [np.zeros((4, 4, 3), np.uint8)]
    assert index.add(
        pd.DataFrame({"pixels": arrays}), options=IngestOptions(images="pixels")
    ).indexed


def test_a_frame_keeps_what_pandas_means(tmp_path):
    table = frame(
        when=pd.to_datetime(["2024-05-01 10:00", None], utc=True),
        kind=pd.Categorical(["a", None]),
        n=pd.array([1, None], "Int64"),
        x=[0.5, float("nan")],
        mixed=[1, "two"],
        nested=[{"a": [1]}, None],
    )
    one, two = open_source(table)
    assert one.extra == {
        "when": "2024-05-01T10:00:00+00:00", "kind": "a", "n": 1, "x": 0.5, "mixed": 1,
        "nested": {"a": [1]},
    }  # fmt: skip
    assert two.extra == {"mixed": "two"}
    named = frame().set_index(pd.Index(["k1", "k2"], name="id"))
    assert [pair.key for pair in open_source(named)] == ["table#k1", "table#k2"]


def test_what_is_wrong_with_a_frame_is_said():
    with pytest.raises(SourceError, match=r"the table has no column 'txt'.*: path, caption"):
        open_source(frame(), captions="txt")
    refused = [pair.refused for pair in open_source(frame(id=["x", "x"]))]
    assert refused == [None, "the id 'x' came before"]
    with pytest.raises(InvalidInputError, match="cannot index a int"):
        open_source(5)


def test_a_hugging_face_dataset_is_a_source(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = {"image": ["red.png", "blue.png"], "text": ["a red wall", "the sea"], "label": [0, 1]}
    made = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    expected = [
        (str(tmp_path / "red.png"), "a red wall", {"label": 0}),
        (str(tmp_path / "blue.png"), "the sea", {"label": 1}),
    ]
    assert seen(made) == expected
    assert seen(made.select([1])) == expected[1:]
    assert seen(made.to_iterable_dataset()) == expected
    with pytest.raises(InvalidInputError, match="several splits; add them one by one: train, test"):
        open_source(datasets.DatasetDict({"train": made, "test": made}))


class StandIn:
    """What of a dataset is used, where the package is not installed."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.features = dict.fromkeys(table.schema.names)

    def with_format(self, name: str):
        assert name == "arrow"
        return self

    def iter(self, batch_size: int):
        for start in range(0, len(self._table), batch_size):
            yield self._table.slice(start, batch_size)

    def __len__(self) -> int:
        return len(self._table)


def test_a_dataset_gives_its_images_as_they_are_stored():
    image = [{"bytes": picture("red", "JPEG"), "path": "x.jpg"}] * 300
    source = open_source(StandIn(pa.table({"image": image, "text": ["x"] * 300})))
    assert (source.count(), len(list(source)), len(list(source))) == (300, 300, 300)
    assert next(iter(source)).image == picture("red", "JPEG")


# --- folders with tables --------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "set"
    for name, color in (
        ("train/r.png", "red"),
        ("train/deep/b.png", "blue"),
        ("test/g.png", "green"),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / f"{color}.png", root / name)
    return root


def described(root: Path) -> dict[str, tuple]:
    return {
        str(Path(pair.key).relative_to(root)): (pair.caption, dict(pair.columns))
        for pair in open_source(root)
        if not pair.refused
    }


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_folder_takes_captions_and_columns_from_its_table(folder, form):
    rows = pd.DataFrame(
        {"file_name": ["r.png", "deep/b.png"], "text": ["a wall", "the sea"], "n": [1, 2]}
    )
    target = folder / "train" / f"metadata.{form}"
    writers = {
        "csv": lambda: rows.to_csv(target, index=False),
        "jsonl": lambda: rows.to_json(target, orient="records", lines=True),
        "parquet": lambda: rows.to_parquet(target),
    }
    writers[form]()
    assert described(folder) == {
        "test/g.png": (None, {}),
        "train/r.png": ("a wall", {"n": 1}),
        "train/deep/b.png": ("the sea", {"n": 2}),
    }


def test_names_of_any_bytes_may_lie_below_a_folders_table(folder):
    odd = folder / "train" / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    shutil.copy(folder / "train" / "r.png", odd / "r.png")
    within = odd / "metadata.csv"
    within.write_text("file_name,text\nr.png,inside\ngone.png,x\n")
    (folder / "train" / "metadata.csv").write_text("file_name,text\nr.png,a wall\n")
    shutil.copy(folder / "train" / "r.png", folder / "train" / os.fsdecode(b"\xe9.png"))
    captions = {name: caption for name, (caption, _) in described(folder / "train").items()}
    name = os.fsdecode(b"caf\xe9/r.png")
    assert captions == {
        "r.png": "a wall", name: "inside", os.fsdecode(b"\xe9.png"): None, "deep/b.png": None,
    }  # fmt: skip
    refused = [pair.key for pair in open_source(folder) if pair.refused and not pair.ignored]
    assert refused == [str(odd / "gone.png")]


def test_the_nearest_table_that_names_an_image_counts(folder):
    (folder / "metadata.csv").write_text(
        "image_file_name,caption\ntrain/r.png,from above\ntest\\g.png,grass\n"
    )
    (folder / "train" / "metadata.jsonl").write_text('{"file_name": "r.png", "caption": "near"}\n')
    captions = {name: caption for name, (caption, _) in described(folder).items()}
    assert captions == {"train/r.png": "near", "test/g.png": "grass", "train/deep/b.png": None}


def test_what_a_folders_table_lacks_or_has_too_much_is_accounted_for(folder, index):
    (folder / "test" / "metadata.csv").write_text("file_name,text\ng.png,grass\ngone.png,x\n")
    (folder / "train" / "metadata.csv").write_text("a,b\n1,2\n")
    report = index.add(folder)
    assert (report.indexed, report.skipped, report.ignored) == (3, 3, 2)
    assert [(Path(s.key).name, s.reason) for s in report.skips] == [
        ("gone.png", "a table names it, but the file is gone")
    ]
    assert index.items("caption = 'grass'")[0].path == str(folder / "test" / "g.png")
    assert index.add(folder).unchanged == 3


def test_columns_of_a_folders_table_come_out_typed(folder, index, tmp_path):
    pq.write_table(
        pa.table(
            {
                "file_name": ["r.png"],
                "text": ["a wall"],
                "n": pa.array([7], pa.int8()),
                "price": pa.array(["1.50"], pa.string()).cast(pa.decimal128(5, 2)),
            }
        ),
        folder / "train" / "metadata.parquet",
    )
    index.add(folder)
    assert [item.caption for item in index.items("price = 1.5 and n = 7")] == ["a wall"]
    index.export(tmp_path / "out.parquet")
    out = pq.read_table(tmp_path / "out.parquet")
    row = out.filter(pa.compute.is_valid(out["n"])).select(["file_name", "text", "n", "price"])
    assert row.to_pylist() == [
        {**row.to_pylist()[0], "file_name": "r.png", "text": "a wall", "n": 7}
    ]
    assert (row["n"].type, str(row["price"].type)) == (pa.int8(), "decimal128(5, 2)")


def test_a_cluster_keeps_the_columns_of_a_folders_table(folder, index, encoder, tmp_path):
    (folder / "metadata.csv").write_text("file_name,text,n\ntrain/r.png,a wall,7\n")
    outs = []
    with Index.create(tmp_path / "there", encoder) as there:
        index.add(folder)
        on_cluster(there, FolderSource(folder))
        for made in (index, there):
            made.export(tmp_path / "out.parquet")
            outs.append(pq.read_table(tmp_path / "out.parquet").schema.remove_metadata())
    assert "file_name" in outs[0].names
    assert outs[1] == outs[0]


# --- COCO -----------------------------------------------------------------------------------------


def coco(path: Path, **document) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"info": {}, "licenses": [], **document}))
    return path


@pytest.mark.parametrize("images", ["val2017", "images/val2017", "images", ".", "annotations"])
def test_captions_of_coco_find_their_images(tmp_path, images):
    root = tmp_path / "coco"
    (root / images).mkdir(parents=True, exist_ok=True)
    shutil.copy("red.png", root / images / "000000000139.png")
    table = coco(
        root / "annotations" / "captions_val2017.json",
        images=[{"id": 139, "file_name": "000000000139.png", "width": 40, "height": 30}],
        annotations=[
            {"id": 1, "image_id": 139, "caption": "A red wall. "},
            {"id": 2, "image_id": 139, "caption": "Something red."},
        ],
    )
    (pair,) = open_source(table)
    assert pair.key == f"{table}#139"
    assert Path(pair.image).read_bytes() == picture("red")
    assert pair.caption == "A red wall.\nSomething red."
    assert pair.refused is None


def test_other_documents_like_cocos_are_read(tmp_path):
    table = coco(
        tmp_path / "instances.json",
        images=[{"id": 1, "file_name": "red.png"}, {"id": 2, "file_name": "blue.png"}],
        annotations=[{"image_id": 1, "category_id": 3}, {"image_id": 1, "category_id": 3}],
        categories=[{"id": 3, "name": "wall"}],
    )
    assert [row[2] for row in seen(table)] == [{"id": 1, "categories": ["wall"]}, {"id": 2}]
    karpathy = coco(
        tmp_path / "dataset.json",
        images=[
            {"filename": "red.png", "imgid": 4, "split": "val", "sentences": [{"raw": "a wall"}]}
        ],
    )
    assert seen(karpathy) == [(str(tmp_path / "red.png"), "a wall", {"id": 4, "split": "val"})]
    (tmp_path / "far").mkdir()
    far = coco(tmp_path / "far" / "captions.json", images=[{"id": 1, "file_name": "red.png"}])
    assert seen(far, images_root=tmp_path)[0][0] == str(tmp_path / "red.png")


# --- images stored as bytes -----------------------------------------------------------------------


@pytest.fixture
def stored(index, tmp_path) -> Path:
    """An index of a Parquet file with its images inside, some in a second row group."""
    table = pa.table(
        {
            "image": [{"bytes": picture(color), "path": f"{color}.png"} for color in COLORS],
            "text": list(COLORS),
            "id": [f"id {color}" for color in COLORS],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    assert index.add(tmp_path / "t.parquet").indexed == 3
    return tmp_path / "t.parquet"


def test_an_image_inside_a_table_is_shown_from_there(index, stored):
    for item, color in zip(index.items(), COLORS, strict=True):
        assert (item.path, item.has_original) == (None, True)
        assert indexed_bytes(item) == picture(color)
        with Image.open(io.BytesIO(thumbnail(item))) as small:
            near = [
                abs(a - b) < 12 for a, b in zip(small.getpixel((9, 9)), COLORS[color], strict=True)
            ]
            assert all(near)


def test_an_image_in_a_table_that_has_changed_is_not_shown(index, stored):
    table = pq.read_table(stored)
    pq.write_table(table.slice(1), stored)
    for item in index.items():
        with pytest.raises(ImageDecodeError, match="has changed since it was indexed"):
            indexed_bytes(item)
    assert index.add(stored).unchanged == 2  # the rows that moved are found again
    assert indexed_bytes(index.item(3)) == picture("green")
    stored.unlink()
    with pytest.raises(ImageDecodeError, match="is gone"):
        indexed_bytes(index.item(3))


def test_a_column_of_bytes_is_one_of_images_too(index, tmp_path):
    pq.write_table(pa.table({"jpg": [picture("red", "JPEG")]}), tmp_path / "t.parquet")
    index.add(tmp_path / "t.parquet")
    assert indexed_bytes(index.item(1)) == picture("red", "JPEG")
    assert not index.item(1).extra


def test_further_images_of_a_table_are_left_out_with_a_note(tmp_path):
    cell = {"bytes": picture("red"), "path": None}
    pq.write_table(pa.table({"image": [cell], "mask": [cell]}), tmp_path / "t.parquet")
    source = open_source(tmp_path / "t.parquet")
    assert [pair.extra for pair in source] == [{}]
    assert "are left out: mask" in source.remarks()[0]


def test_the_api_shows_images_inside_a_table(index, stored, encoder):
    with TestClient(create_app(encoder, {"index": index.path}, ui=False)) as client:
        got = client.get("/v1/indexes/index/items/2/image")
        assert (got.status_code, got.content) == (200, picture("blue"))
        assert client.get("/v1/indexes/index/items/3/thumbnail").status_code == 200
        item = client.get("/v1/indexes/index/items/3").json()
        assert "t.parquet" not in json.dumps(item)
        stored.unlink()
        assert client.get("/v1/indexes/index/items/2/image").status_code == 404


def test_the_api_filters_by_columns_and_tells_no_places(index, tmp_path, encoder):
    table = pa.table(
        {
            "image": ["red.png", "blue.png"],
            "words": [["a"], ["b", "c"]],
            "meta": [{"w": 5}, {"w": 6}],
            "price": pa.array(["9.50", "12.30"]).cast(pa.decimal128(5, 2)),
            "format": ["/home/me/x", "/home/me/y"],
            "source": [["/etc/x"], ["/etc/y"]],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    index.add(tmp_path / "t.parquet")
    with TestClient(create_app(encoder, {"index": index.path}, ui=False)) as client:

        def ids(where: str) -> list[int] | int:
            body = {"text": "a wall", "where": where}
            got = client.post("/v1/indexes/index/search", json=body)
            if got.status_code != 200:
                return got.status_code
            return sorted(hit["id"] for hit in got.json()["hits"])

        assert ids("'c' in words") == ids("meta.w > 5") == ids("price > 9.5") == [2]
        assert ids("extra.meta.w = 5") == [1]
        assert ids("format = '/home/me/x'") == []
        for hidden in ("extra.format = '/home/me/x'", "'/etc/x' in source", "source.0 like '/%'"):
            assert ids(hidden) == 422
        fields = client.get("/v1/indexes/index").json()["fields"]
        assert {"words", "meta", "price"} <= set(fields)
        assert not {"extra.format", "source"} & set(fields)
        assert "/home" not in client.get("/v1/indexes/index/items/1").text


def test_an_export_still_finds_images_inside_a_table(index, stored, tmp_path, encoder):
    index.export(tmp_path / "out.parquet")
    with Index.create(tmp_path / "copy", encoder) as copy:
        assert copy.add(tmp_path / "out.parquet").indexed == 3
        assert [(i.key, i.place, i.sha256) for i in copy.items()] == [
            (i.key, i.place, i.sha256) for i in index.items()
        ]
        assert indexed_bytes(copy.item(3)) == picture("green")


def test_members_of_archives_are_read_from_their_place(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write("red.png", "x/red.png")
    for mode in ("w", "w:gz"):
        with tarfile.open(tmp_path / f"{mode[2:]}a.tar", mode) as tar:
            tar.add("red.png", "red.png")
    with tarfile.open(tmp_path / "a.tar") as tar:
        member = tar.getmember("red.png")
    places = [
        member_place(str(tmp_path / "a.zip"), "x/red.png"),
        member_place(str(tmp_path / "gza.tar"), "red.png"),
        member_place(str(tmp_path / "a.tar"), "red.png", member.offset_data, member.size),
    ]
    assert [read_inside(place) for place in places] == [picture("red")] * 3
    gone = member_place(str(tmp_path / "a.zip"), "other.png")
    with pytest.raises(ImageDecodeError, match=r"a.zip has changed"):
        read_inside(gone)
    with pytest.raises(ImageDecodeError, match="item 1 has changed"):
        indexed_bytes(Item(id=1, key="k", place=gone))


def test_images_in_memory_cost_one_skip_where_they_are_broken_and_need_no_file(tmp_path):
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "JPEG")
    data = file.getvalue()
    broken = Image.open(io.BytesIO(data[: len(data) // 2]))
    (tmp_path / "a.jpg").write_bytes(data)
    elsewhere = Image.open(tmp_path / "a.jpg")
    os.mkfifo(tmp_path / "pipe")
    elsewhere.filename = str(tmp_path / "pipe")
    first, second = open_source(pd.DataFrame({"image": [broken, elsewhere]}))
    assert first.image is None
    assert "truncated" in first.refused
    assert second.refused is None
    assert np.array_equal(load_image(second.image), load_image(data))
