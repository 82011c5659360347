"""Images in memory in, tables and vectors out: pandas, Arrow and numpy are the oracles."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import shutil
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from PIL import Image

from clipsearch import IngestOptions, Query
from clipsearch.cli.curate import export
from clipsearch.errors import ImageDecodeError, InvalidInputError, ModelLoadError
from clipsearch.images import load_image
from clipsearch.index import Index
from clipsearch.intake.pixel_files import file_bytes
from clipsearch.request import SearchRequest

from .fakes import DIM, FakeEncoder, put


@pytest.fixture
def index(tmp_path, encoder):
    with Index.create(tmp_path / "index", encoder) as index:
        yield index


def pixels(seed: int, size=(30, 40, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


# --- images in memory ---------------------------------------------------------------------------


def test_images_in_memory_become_items_with_ids_captions_and_columns(index, encoder, photos):
    opened = Image.open(photos[0])
    images = [opened, pixels(1), png(pixels(2)), photos[3]]
    metadata = [{"split": "train", "n": 1}, {"n": np.int64(2)}, None, {"day": dt.date(2024, 5, 1)}]
    report = index.add_images(
        images, ids=["a", 7, "c", "d"], captions=["a wall", None, ["x", "y"], ""], metadata=metadata
    )
    assert (report.seen, report.indexed, report.skipped) == (4, 4, 0)
    items = index.items()
    assert [item.key for item in items] == ["table#a", "table#7", "table#c", "table#d"]
    assert [item.extra for item in items] == [
        {"id": "a", "split": "train", "n": 1},
        {"id": 7, "n": 2},
        {"id": "c", "caption": ["x", "y"]},  # as of a table, several stay a column too
        {"id": "d", "day": "2024-05-01"},
    ]
    assert [item.caption for item in items] == ["a wall", None, "x\ny", None]
    assert [item.path for item in items] == [None, None, None, str(photos[3])]
    assert [(item.width, item.height) for item in items[1:3]] == [(40, 30), (40, 30)]
    assert index.ids("n >= 2") == [items[1].id]
    assert items[0].size_bytes == photos[0].stat().st_size  # of its file, which is not written anew
    expected = encoder.encode_images(images)
    opened.close()
    found = index.vectors([item.id for item in items], "image")
    assert (found * expected).sum(axis=1).min() > 0.99


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "I;16", "CMYK", "F", "HSV"])
def test_pixels_of_every_mode_look_as_they_do_in_encode_images(index, encoder, photos, mode):
    image = Image.fromarray(np.asarray(load_image(photos[0])))
    if mode == "PA":
        image = image.convert("P").convert("PA")
    elif mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 200)
    else:
        image = image.convert(mode)
    if mode == "P":
        image.info["transparency"] = 0
    assert index.add_images([image]).indexed == 1
    assert float(index.vectors([1])[0] @ encoder.encode_images([image])[0]) > 0.99


def test_exif_of_an_image_in_memory_is_kept_but_not_how_its_file_was_laid_out(index, tmp_path):
    exif = Image.Exif()
    exif[274], exif[272] = 6, "Camera"  # a quarter turn
    Image.fromarray(pixels(1, (64, 64, 3))).resize((64, 32)).save(
        tmp_path / "tiled.tif", compression="tiff_lzw", exif=exif
    )
    image = Image.open(tmp_path / "tiled.tif")
    image.load()
    image.fp = None
    before = dict(image.getexif())
    index.add_images([image])
    assert dict(image.getexif()) == before
    (item,) = index.items()
    assert (item.width, item.height, item.camera) == (32, 64, "Camera")
    again = Image.open(io.BytesIO(file_bytes(image)))
    np.testing.assert_array_equal(np.asarray(again), np.asarray(Image.open(tmp_path / "tiled.tif")))


def test_the_same_id_again_is_unchanged_updated_or_replaced(index):
    index.add_images([pixels(1), pixels(2)], ids=["a", "b"])
    with index.writer() as writer:
        writer.add_to_album("Trip", [1])
    again = index.add_images([pixels(1), pixels(3)], ids=["a", "b"], captions=["new", None])
    assert (again.indexed, again.recaptioned, again.updated, len(index)) == (2, 1, 2, 2)
    kept, replaced = index.items()
    assert (kept.id, kept.caption, kept.extra["id"], replaced.extra["id"]) == (1, "new", "a", "b")
    assert replaced.id > 2  # an id names one version of an image
    assert index.add_images([pixels(4)], ids=["a"]).updated == 1
    (item,) = index.items("album = 'Trip'")
    assert item.id > replaced.id
    assert item.extra["id"] == "a"
    assert index.add(pd.DataFrame({"id": ["a"], "image": [png(pixels(5))]})).updated == 1
    assert len(index) == 2


def test_without_ids_the_content_names_an_image_and_equal_ones_are_encoded_once(index):
    report = index.add_images(pixels(n % 2) for n in range(4))
    assert (report.indexed, report.duplicate) == (2, 2)
    assert index.add_images([pixels(0), pixels(1)]).unchanged == 2
    again = index.add([Image.fromarray(pixels(0)), pixels(1), pixels(1), png(pixels(2))])
    assert (again.unchanged, again.indexed) == (3, 1)


def test_generators_and_tables_of_metadata_are_taken(index):
    frame = pd.DataFrame({"n": [1, 2], "x": [0.5, float("nan")]})
    index.add_images((pixels(n) for n in (1, 2)), ids=(f"i{n}" for n in (1, 2)), metadata=frame)
    assert [item.extra for item in index.items()] == [
        {"id": "i1", "n": 1, "x": 0.5},
        {"id": "i2", "n": 2},
    ]
    table = pa.table({"n": [3]})
    index.add_images(np.stack([pixels(3)]), metadata=table)
    assert index.items("n = 3")[0].width == 40


def test_a_bad_image_is_skipped_with_its_reason_or_raises(index, tmp_path):
    (tmp_path / "cut.png").write_bytes(png(pixels(9))[:300])
    cut = Image.open(io.BytesIO((tmp_path / "cut.png").read_bytes()))
    bad = [pixels(1), b"no image", cut, pixels(2, (4, 4, 7)), pixels(3).astype(np.float32), 5, None]
    report = index.add_images([*bad, pixels(1)], ids=["a", "b", "c", "d", "e", "f", "g", "a"])
    reasons = {skip.key.removeprefix("table#"): skip.reason for skip in report.skips}
    assert (report.indexed, report.skipped) == (1, 7)
    assert "3 or 4 channels, got 7" in reasons["d"]
    assert "uint8 [H, W, 3]" in reasons["e"]
    assert reasons["f"] == "the image is a int, not a path"
    assert reasons["g"] == "neither an image nor a caption"
    assert reasons["row 8"] == "the id 'a' came before"
    with pytest.raises(ImageDecodeError):
        index.add_images([b"no image"], on_error="raise")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"images": pixels(1)}, "wrap a single one"),
        ({"images": "photo.jpg"}, "wrap a single one"),
        ({"images": [pixels(1)], "ids": ["a", "b"]}, "got 1 images, 2 ids"),
        ({"images": iter([pixels(1)]), "ids": iter("ab")}, "images end before number 2"),
        ({"images": [pixels(1)], "captions": "a"}, "captions must be a list"),
        ({"images": [pixels(1)], "metadata": {"n": [1]}}, "metadata must be a list"),
        ({"images": [pixels(1)], "metadata": [3]}, "a list of mappings"),
        ({"images": [pixels(1)], "metadata": [{"caption": "x"}]}, "give captions= instead"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_one_line(index, given, told):
    with pytest.raises(InvalidInputError, match=told):
        index.add_images(**given)
    assert len(index) == 0
    with pytest.raises(InvalidInputError, match="images, paths or Pairs, got int"):
        index.add([5])


# --- out ----------------------------------------------------------------------------------------


@pytest.fixture
def filled(tmp_path):
    """Items with odd names, columns named like an item's own, and missing values."""
    encoder = FakeEncoder()
    with Index.create(tmp_path / "fake", encoder) as index:
        with index.writer() as writer:
            facts = {"width": 2**53 + 1, "taken_at": "2024-05-01T10:00:00"}
            put(writer, encoder, "a", caption="a cat", extra={"id": 5, "n": 1, "x": 1.5}, **facts)
            odd = os.fsdecode(b"/photos/caf\xe9.jpg")
            put(writer, encoder, "b", key=odd, path=odd, extra={"n": 2**60 + 1, "mixed": "two"})
            put(writer, encoder, "c", caption="c", image=False, extra={"mixed": 3, "id": 6})
            writer.commit()
            writer.set_tags([1, 1], ["dog", "cat"], [0.9, 0.8])
        yield index


def test_hits_become_a_data_frame_whose_ids_are_those_of_the_vectors(filled):
    hits = filled.search(filled.vectors([2])[0], k=2)
    frame = hits.to_pandas()
    assert frame["id"].tolist() == [hit.item.id for hit in hits] == [2, 1]
    assert frame["score"].tolist() == [hit.score for hit in hits]
    assert frame["key"].tolist()[0] == "/photos/caf\\xe9.jpg"
    assert frame["n"].tolist() == [2**60 + 1, 1]
    assert frame["width"].tolist() == [pd.NA, 2**53 + 1]
    assert frame["extra.id"].tolist() == [pd.NA, 5]
    assert [list(tags) for tags in frame["tags"]] == [[], ["dog", "cat"]]
    np.testing.assert_array_equal(filled.vectors(frame["id"]), filled.vectors([2, 1]))
    listed = filled.search(where="width > 0").to_pandas()
    assert listed["score"].isna().all()
    empty = filled.search(where="width < 0").to_pandas()
    assert list(empty.columns)[:3] == ["id", "score", "percentile"]
    assert len(empty) == 0
    mixed = filled.search(where="id >= 2", k=5).to_pandas().set_index("id")["mixed"]
    assert mixed.dropna().to_dict() == {2: "two", 3: 3}


def test_an_index_becomes_an_arrow_table_with_aligned_vectors(filled, tmp_path):
    table = filled.to_arrow(vectors=True)
    assert table["id"].to_pylist() == filled.ids() == [1, 2, 3]
    filled.export(tmp_path / "out.parquet")
    exported = pq.read_table(tmp_path / "out.parquet")
    same = ["key", "path", "caption", "width", "taken_at", "tags", "image_vector", "n", "mixed"]
    assert table.select(same).to_pylist() == exported.select(same).to_pylist()
    assert table["extra.id"].to_pylist() == exported["id"].to_pylist() == [5, None, 6]
    np.testing.assert_array_equal(
        np.stack(table["caption_vector"].to_numpy()[[0, 2]]), filled.vectors([1, 3], "caption")
    )
    some = filled.to_arrow("n >= 1")
    assert some["id"].to_pylist() == filled.ids("n >= 1") == [1, 2]
    assert "image_vector" not in some.schema.names
    np.testing.assert_array_equal(filled.vectors(some["id"]), filled.vectors([1, 2]))
    assert filled.to_arrow("n < 0").schema == some.schema
    frame = filled.to_pandas("n >= 1")
    assert frame["n"].tolist() == [1, 2**60 + 1]
    assert frame["width"].tolist() == [2**53 + 1, pd.NA]
    with pytest.raises(InvalidInputError):
        filled.to_arrow("nonsense = 1")


def test_the_types_of_a_table_come_out_again(index):
    frame = pd.DataFrame(
        {
            "image": [png(pixels(1)), png(pixels(2))],
            "sent": pd.to_datetime(["2024-05-01 10:00", None], utc=True),
            "n": pd.array([1, None], "Int16"),
        }
    )
    index.add(frame)
    out = index.to_pandas()
    pd.testing.assert_series_equal(out["n"], frame["n"])
    assert out["sent"].tolist() == frame["sent"].tolist()
    assert index.to_arrow().schema.field("n").type == pa.int16()


def test_items_that_are_away_are_in_no_table(index, photos, tmp_path):
    shutil.copy(photos[0], tmp_path / "one.png")
    index.add(tmp_path / "one.png")
    index.add_images([pixels(1)], ids=["a"])
    (tmp_path / "one.png").unlink()
    with pytest.raises(Exception, match="nothing is at"):
        index.add(tmp_path / "one.png")
    assert index.to_arrow()["id"].to_pylist() == index.ids()


# --- vectors in ---------------------------------------------------------------------------------


def test_a_matrix_of_vectors_is_as_many_queries(filled):
    matrix = np.random.default_rng(0).normal(size=(5, DIM)) * 7
    expected = [[hit.item.id for hit in filled.search(row, k=2)] for row in matrix]
    for form in (matrix, matrix.astype(np.float32), list(matrix), pd.DataFrame(matrix)):
        found = filled.search_many(form, k=2)
        assert [[hit.item.id for hit in hits] for hits in found] == expected
    assert filled.search_many(matrix[:0]) == []
    for wrong, told in (
        (matrix[0], r"shape \[n, dim\], not \[16\]"),
        ("a cat", "wrap a single one"),
        (matrix[:, :3], "different lengths"),
        (np.where(np.arange(5)[:, None] == 3, np.nan, matrix), "NaN or infinity, first in row 3"),
        (matrix * (np.arange(5)[:, None] != 2), "zero vector.*first in row 2"),
    ):
        with pytest.raises(InvalidInputError, match=told):
            filled.search_many(wrong)


# --- the model of an index ----------------------------------------------------------------------


def test_an_index_finds_its_model_by_itself_if_it_may(tmp_path, encoder, photos, monkeypatch):
    with Index.create(tmp_path / "photos", encoder) as index:
        index.add([str(photo) for photo in photos[:4]])
        expected = [hit.item.id for hit in index.search("a cat", k=2)]
    with Index.open(tmp_path / "photos") as index:
        assert index._encoder is None  # nothing is loaded before it is needed
        index.search(index.vectors([1])[0], k=1)
        assert index._encoder is None
        assert [hit.item.id for hit in index.search("a cat", k=2)] == expected
        assert index.add(photos[4], options=IngestOptions(workers=1)).indexed == 1
        assert index.encoder.fingerprint == encoder.fingerprint
    Index.create(tmp_path / "strange", FakeEncoder("local-dir:/of/a/stranger")).close()
    with Index.open(tmp_path / "strange") as index:
        assert index.search(np.ones(DIM), k=1).hits == ()
        with pytest.raises(ModelLoadError, match="never used on this machine"):
            index.search("a cat")
        assert index.refresh_baseline(force=True)  # asks for no model by itself


# --- encoding -----------------------------------------------------------------------------------


def test_batches_tell_how_far_they_are_and_change_no_vector(encoder, photos):
    told: list[tuple[int, int]] = []
    images = [str(photo) for photo in photos[:5]]
    found = encoder.encode_images(
        images, batch_size=2, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(2, 5), (4, 5), (5, 5)]
    assert (found * encoder.encode_images(images)).sum(axis=1).min() > 0.9999
    texts = [f"{n} dogs" for n in range(5)]
    told.clear()
    found = encoder.encode_texts(texts, batch_size=3, progress=lambda *done: told.append(done))
    assert told == [(3, 5), (5, 5)]
    np.testing.assert_allclose(found, encoder.encode_texts(texts), atol=1e-6)
    assert encoder.encode_texts([], batch_size=3, progress=print).shape == (0, encoder.dim)
    for wrong in (0, -1, 2.5, True):
        for encode, values in ((encoder.encode_images, images), (encoder.encode_texts, texts)):
            with pytest.raises(InvalidInputError, match="batch_size must be a whole number"):
                encode(values, batch_size=wrong)


# --- shards to train on -------------------------------------------------------------------------


def samples(folder) -> dict[str, dict[str, bytes]]:
    """What lies in shards, by key and ending, as the standard library reads it."""
    found: dict[str, dict[str, bytes]] = {}
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                key, _, ending = member.name.partition(".")
                found.setdefault(key, {})[ending] = tar.extractfile(member).read()
    return found


@pytest.fixture
def shot(tmp_path, encoder, photos):
    """An index of photos with captions and columns, an album, and one image in memory."""
    folder = tmp_path / "shot"
    folder.mkdir()
    for photo in photos[:4]:
        shutil.copy(photo, folder / photo.name)
    rows = {
        "path": [str(folder / photo.name) for photo in photos[:4]],
        "caption": ["one", "dos más\nlíneas", None, "four"],
        "split": ["train", "train", "test", None],
        "width": [1, 2, 3, 4],
    }
    with Index.create(tmp_path / "photos", encoder) as index:
        index.add(pd.DataFrame(rows))
        index.add_images([pixels(1)], ids=["a"])
        with index.writer() as writer:
            writer.add_to_album("Trip's", [1, 3])
        yield index


def test_shards_hold_the_bytes_captions_and_scores_and_are_read_again(shot, tmp_path, encoder):
    (tmp_path / "out").mkdir()
    hits = shot.search("a cat", k=10, where="id <= 4")
    report = shot.export_shards(tmp_path / "out" / "train.tar", hits, shard_items=3)
    names = ["train-000000.tar", "train-000001.tar"]
    assert [os.path.basename(shard) for shard in report.shards] == names
    assert (report.samples, report.skipped) == (4, ())
    found = samples(tmp_path / "out")
    assert list(found) == [f"{hit.item.id:09}" for hit in hits]
    for hit in hits:
        sample = found[f"{hit.item.id:09}"]
        path = Path(hit.item.path)
        assert sample[path.suffix[1:]] == path.read_bytes()
        assert sample.get("txt", b"").decode() == (hit.item.caption or "")
        known = json.loads(sample["json"])
        assert known["score"] == pytest.approx(hit.score)
        assert known["width"] == hit.item.width
        assert known["extra.width"] == hit.item.extra["width"]
        assert known.get("split") == hit.item.extra.get("split")
        assert str(tmp_path) not in sample["json"].decode()
    with Index.create(tmp_path / "again", encoder) as again:
        assert again.add(str(tmp_path / "out" / "train-{000000..000001}.tar")).indexed == 4
        for hit, item in zip(hits, again.items(), strict=True):
            assert (item.sha256, item.caption) == (hit.item.sha256, hit.item.caption)
            assert item.extra["id"] == hit.item.id


def test_a_filter_or_a_size_makes_shards_and_what_cannot_be_read_is_reported(shot, tmp_path):
    (tmp_path / "out").mkdir()
    whole = shot.export_shards(tmp_path / "out" / "x", shard_bytes=1)
    assert len(whole.shards) == whole.samples == 4  # a sample is never cut
    assert [(one.key, one.reason) for one in whole.skipped] == [
        ("table#a", "item 5 has no image file")
    ]
    with pytest.raises(InvalidInputError, match=r"x-000000\.tar exists, and 3 more"):
        shot.export_shards(tmp_path / "out" / "x.tar")
    os.rename(shot.item(1).path, tmp_path / "elsewhere")
    Path(shot.item(2).path).write_bytes(b"another image")
    fewer = shot.export_shards(tmp_path / "out" / "x.tar", where="id < 4", overwrite=True)
    assert [one.reason.partition(";")[0] for one in fewer.skipped] == [
        "the file of item 1 is gone or cannot be read",
        "the file of item 2 has changed since it was indexed",
    ]
    assert list(samples(tmp_path / "out")) == ["000000003"]  # no shard of before is left
    none = shot.export_shards(tmp_path / "out" / "x.tar", where="id > 99", overwrite=True)
    assert (none.samples, none.shards) == (0, ())
    assert list(samples(tmp_path / "out")) == ["000000003"]
    shot.add(tmp_path / "shot")
    for wrong, told in (
        ({"path": tmp_path / "shot" / "x.tar"}, "in the source"),
        ({"path": tmp_path / "photos" / "x.tar"}, "in the index"),
        ({"path": tmp_path / "none" / "x.tar"}, "there is no folder"),
        ({"path": tmp_path / "y.tar", "shard_items": 0}, "shard_items must be"),
        ({"path": tmp_path / "y.tar", "where": "nonsense = 1"}, "nonsense"),
        ({"path": tmp_path / "y.tar", "where": "id = 3", "hits": []}, "not both"),
    ):
        with pytest.raises(InvalidInputError, match=told):
            shot.export_shards(**wrong)
    assert not list(tmp_path.glob("y*"))


def test_files_of_folders_that_were_not_indexed_here_are_not_exported(shot, tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPSEARCH_STATE", str(tmp_path / "another machine"))
    report = shot.export_shards(tmp_path / "x.tar")
    assert (report.samples, report.shards, len(report.skipped)) == (0, (), 5)
    assert "in no folder that was indexed on this machine" in report.skipped[0].reason


def test_the_command_exports_an_album_or_a_search(shot, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    told = partial(export, tmp_path / "out" / "trip.tar", name=str(shot.path))
    told(album="Trip's", where="split = 'train'")
    assert list(samples(tmp_path / "out")) == ["000000001"]
    assert "1 samples written to 1 shards" in capsys.readouterr().err
    with pytest.raises(typer.Exit, match="3"):
        told(query="a cat", k=5, force=True)
    best = [hit.item for hit in shot.search("a cat", k=5)]
    assert list(samples(tmp_path / "out")) == [f"{item.id:09}" for item in best if item.path]
    assert "not exported: table#a: item 5 has no image file" in capsys.readouterr().err
    with shot.writer() as writer:
        writer.save_search("wide", SearchRequest(query=Query.text("a cat"), where="id > 1"))
    told(saved="wide", where="id < 4", force=True)
    assert sorted(samples(tmp_path / "out")) == ["000000002", "000000003"]
    for options, why in (
        ({"album": "None"}, "there is no album 'None'"),
        ({"saved": "none"}, "none"),
        ({"query": "a", "saved": "b"}, "not both"),
        ({"output": "parquet", "where": "id = 1"}, "--where works with -f webdataset only"),
        ({"shard_mb": 0}, "shard_bytes must be"),
    ):
        with pytest.raises(InvalidInputError, match=why):
            told(**options)
