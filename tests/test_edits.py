"""Files that are edited, renamed and moved: nothing is lost, and only what changed is encoded."""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import shutil
import sqlite3
import stat
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipsearch import Index
from clipsearch.cli.index import summarise
from clipsearch.cluster.index_job import ClusterEmbedder
from clipsearch.cluster.index_shards import shard_index
from clipsearch.cluster.slices import _read, parts_of, unpack
from clipsearch.cluster.worker import EmbedWorker, KnownItems
from clipsearch.engine import catalog
from clipsearch.engine.file_state import FileState
from clipsearch.engine.generic_texts import GENERIC_TEXTS
from clipsearch.errors import InvalidInputError
from clipsearch.images import read_facts
from clipsearch.ingest import IngestOptions
from clipsearch.intake import decoders, triage
from clipsearch.intake.embedder import Embedder
from clipsearch.intake.pairs import Pair
from clipsearch.intake.sources import FolderSource, PathListSource
from clipsearch.types import IngestReport, Record
from clipsearch.watch import watch

from .fakes import DIM, FakeEncoder, fill, put, record
from .test_ingest import PixelEncoder, contents, picture, total

RESCAN = IngestOptions(rescan=True)
PRUNE = IngestOptions(prune=True)


class TellingEncoder(PixelEncoder):
    """Tells which texts it encoded."""

    def __init__(self, *names):
        super().__init__(*names)
        self.texts = []

    def encode_texts(self, texts):
        self.texts += texts
        return super().encode_texts(texts)


@pytest.fixture
def index(tmp_path):
    with Index.create(tmp_path / "index", TellingEncoder()) as index:
        yield index


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "pictures"


def ids(index) -> dict[str, int]:
    """Id by the name of the file."""
    return {Path(item.key).name: item.id for item in index.items(limit=10_000)}


def tagged(index) -> dict[str, tuple[str, ...]]:
    """Tags by the name of the file."""
    return {Path(item.key).name: item.tags for item in index.items(limit=10_000)}


def tag_all(index) -> None:
    """Give every item the name of its file as a tag."""
    items = index.items(limit=10_000)
    index.set_tags([item.id for item in items], [Path(item.key).name for item in items])


def encoded(index) -> tuple[int, list[str]]:
    """How many images and which captions have been encoded since this was asked last."""
    encoder = index.encoder
    found = encoder.pixels, [text for text in encoder.texts if text not in GENERIC_TEXTS]
    encoder.pixels, encoder.texts = 0, []
    return found


def sound(index, *reports: IngestReport) -> None:
    """The index is whole, and the reports add up, as a person reads them too."""
    found = index.verify(full=True)
    assert found.ok, found.problems
    for report in reports:
        assert total(report) == report.seen
        (line,) = [line for line in summarise(report) if line.startswith("of ")]
        seen, _, ends = line.partition(" files: ")
        counts = [int(end.split()[0]) for end in ends.partition(";")[0].split(", ")]
        assert sum(counts) == int(seen.removeprefix("of ")) == report.seen, line


def with_caption(index, words: str) -> list[str]:
    """Names of the items whose caption is found by its meaning, its words, or as it is written."""
    vector = index.encoder.encode_texts([words])[0]
    hits = index.search(vector, k=50, target="caption")
    found = [Path(hit.item.key).name for hit in hits if hit.score > 0.999]
    with sqlite3.connect(index.path / "catalog.sqlite") as conn:
        query = "SELECT rowid FROM words WHERE words MATCH ?"
        rows = {row for (row,) in conn.execute(query, (f'"{words}"',))}
    assert {hit.item.id for hit in hits if hit.score > 0.999} == rows
    assert sorted(found) == sorted(
        Path(item.key).name for item in index.items() if item.caption == words
    )
    return sorted(found)


# --- files that were edited -----------------------------------------------------------------------


def test_another_file_of_the_same_size_and_time_is_read_again(folder, index):
    """As an editor leaves one that keeps the time: only ctime and inode tell."""
    old, new = picture(folder / "a.bmp", 1, "BMP"), picture(folder / "x" / "a.bmp", 2, "BMP")
    picture(folder / "b.bmp", 3, "BMP")
    first = index.add([old, folder / "b.bmp"])
    before = old.stat()
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(new, old)
    assert old.stat().st_size == before.st_size
    assert old.stat().st_mtime_ns == before.st_mtime_ns
    kept = ids(index)
    encoded(index)
    report = index.add([old, folder / "b.bmp"])
    assert (report.indexed, report.updated, report.unchanged) == (1, 1, 1)
    assert encoded(index) == (1, [])
    assert ids(index)["b.bmp"] == kept["b.bmp"]
    assert ids(index)["a.bmp"] not in kept.values(), "an id is of one version of an image"
    sound(index, first, report)


def test_bytes_written_over_with_the_old_time_are_read_again(folder, index):
    path = picture(folder / "a.bmp", 1, "BMP")
    index.add(folder)
    before, other = path.stat(), picture(folder.parent / "b.bmp", 2, "BMP").read_bytes()
    with path.open("r+b") as file:  # the same inode
        file.write(other)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_ino == before.st_ino
    assert index.add(folder).updated == 1
    assert index.add(folder).unchanged == 1


@pytest.mark.parametrize("how", ["mode", "time", "copy", "link"])
def test_a_file_with_the_same_bytes_costs_one_hash_and_no_encoding(folder, index, monkeypatch, how):
    path = picture(folder / "a.png", 1)
    (folder / "a.txt").write_text("a dog")
    index.add(folder)
    tag_all(index)
    kept = ids(index), tagged(index)
    encoded(index)
    read = count_reads(monkeypatch)
    before = path.stat()
    if how == "mode":
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    elif how == "time":
        os.utime(path)
    elif how == "copy":  # as a restored backup is
        shutil.copy2(path, folder.parent / "copy.png")
        os.replace(folder.parent / "copy.png", path)
    else:  # as a snapshot by hard links does
        os.link(path, folder.parent / "snapshot.png")
    assert FileState.of(path.stat()) != FileState.of(before)
    for reads in (1, 0):
        assert index.add(folder).unchanged == 1
        assert len(read) == reads
        read.clear()
    assert encoded(index) == (0, [])
    assert (ids(index), tagged(index)) == kept
    assert index.items()[0].inode == FileState.of(path.stat()).inode


def count_reads(monkeypatch) -> list:
    """Every image that is hashed from here on."""
    read = []
    hash_of = triage.content_hash
    monkeypatch.setattr(triage, "content_hash", lambda image: read.append(image) or hash_of(image))
    return read


def test_an_index_of_before_learns_what_it_lacks_without_reading(folder, index, monkeypatch):
    for number in range(3):
        picture(folder / f"{number}.png", number)
    (folder / "bad.png").write_bytes(b"\x89PNG broken")
    index.add(folder)
    with sqlite3.connect(index.path / "catalog.sqlite") as conn:
        conn.create_function("basename", 1, os.path.basename, deterministic=True)
        for table in ("items", "skipped_files"):
            conn.execute(f"UPDATE {table} SET ctime_ns = NULL, inode = NULL")
    read = count_reads(monkeypatch)
    report = index.add(folder)
    assert (report.unchanged, report.skipped) == (3, 1)
    assert not read
    states = {item.key: (item.ctime_ns, item.inode) for item in index.items()}
    for key, state in states.items():
        assert state == (os.stat(key).st_ctime_ns, os.stat(key).st_ino)
    picture(folder / "new" / "1.png", 9)
    os.utime(folder / "new" / "1.png", ns=(0, (folder / "1.png").stat().st_mtime_ns))
    os.replace(folder / "new" / "1.png", folder / "1.png")
    assert index.add(folder).updated == 1


def test_a_broken_file_that_another_has_replaced_is_tried_again(folder, index):
    """Of the same size and time."""
    good = picture(folder.parent / "good.bmp", 1, "BMP")
    picture(folder / "other.png", 2)
    bad = folder / "a.bmp"
    bad.write_bytes(b"BM" + bytes(good.stat().st_size - 2))
    assert index.add(folder).skipped == 1
    assert index.add(folder).skipped == 1
    os.utime(good, ns=(0, bad.stat().st_mtime_ns))
    os.replace(good, bad)
    assert index.add(folder).indexed == 1


def test_a_file_system_that_numbers_files_anew_is_not_read_as_a_whole_each_time(
    folder, index, monkeypatch
):
    """As FAT and network shares do; it takes some files to tell, and one edit to doubt it."""
    for number in range(400):
        picture(folder / f"{number:03}.bmp", number, "BMP")
    index.add(folder)
    real = os.stat
    numbers = itertools.count(10**6)

    def renumbered(path, *arguments, **options):
        found = real(path, *arguments, **options)
        if not str(path).endswith(".bmp"):
            return found
        names = [name for name in dir(found) if name.startswith("st_")]
        return SimpleNamespace(**{n: getattr(found, n) for n in names} | {"st_ino": next(numbers)})

    encoded(index)
    read = count_reads(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(triage.os, "stat", renumbered)
        report = index.add(folder)
        assert (report.unchanged, encoded(index)) == (400, (0, []))
        assert len(read) < 300
        assert any("inode" in note for note in report.notes)
    assert index.add(folder).unchanged == 400


def test_inodes_of_64_bits_are_kept(folder, index, monkeypatch):
    path = picture(folder / "a.png", 1)
    status = os.stat(path)
    huge = os.stat_result((*status[:1], 2**64 - 5, *status[2:]), {"st_mtime_ns": 1})
    assert FileState.of(huge).inode == -5
    monkeypatch.setattr("clipsearch.intake.triage.status_of", lambda pair: (huge, None))
    assert index.add([path]).indexed == 1
    assert index.add([path]).unchanged == 1


# --- captions -------------------------------------------------------------------------------------


def test_an_edited_sidecar_keeps_the_item_and_its_tags(folder, index):
    for number in range(4):
        picture(folder / f"{number}.png", number)
        (folder / f"{number}.txt").write_text(f"a thing {number}")
    index.add(folder)
    tag_all(index)
    kept, images = ids(index), contents(index)
    encoded(index)
    (folder / "1.txt").write_text("a red boat")
    (folder / "2.txt").write_text("a thing 3")  # which another one has too
    reading = index.iter_vectors("caption")  # of the state before
    report = index.add(folder)
    assert (report.indexed, report.updated, report.unchanged) == (2, 2, 2)
    assert (report.recaptioned, summarise(report)[0][:11]) == (2, "0 images in")
    assert encoded(index) == (0, ["a red boat", "a thing 3"])
    assert ids(index) == kept
    assert contents(index) == images
    assert tagged(index) == {name: (name,) for name in kept}
    assert with_caption(index, "a red boat") == ["1.png"]
    assert with_caption(index, "a thing 1") == []
    assert with_caption(index, "a thing 3") == ["2.png", "3.png"]
    rows = np.concatenate([rows for rows, _ in reading])
    assert rows.tolist() == sorted(kept.values())
    sound(index, report)
    index.compact()
    assert with_caption(index, "a red boat") == ["1.png"]
    sound(index)
    assert index.add(folder).unchanged == 4


def test_a_caption_appears_and_one_that_is_gone_stays_until_asked(folder, index):
    for number in range(3):
        picture(folder / f"{number}.png", number)
    (folder / "0.txt").write_text("a cat")
    index.add(folder)
    kept = ids(index)
    encoded(index)
    (folder / "1.txt").write_text("a bird")
    report = index.add(folder)
    assert (report.updated, report.indexed, encoded(index)) == (1, 1, (0, ["a bird"]))
    assert with_caption(index, "a bird") == ["1.png"]
    (folder / "0.txt").unlink()
    (folder / "1.txt").unlink()
    assert index.add(folder).unchanged == 3, "what no file says any more is kept"
    assert with_caption(index, "a cat") == ["0.png"]
    report = index.add(folder, options=RESCAN)
    assert (report.updated, report.indexed, report.unchanged) == (2, 0, 3)
    sound(index, report)
    assert with_caption(index, "a cat") == with_caption(index, "a bird") == []
    assert index.info()["captions"] == 0
    (folder / "0.txt").write_text("a cat")
    assert index.add(folder).updated == 1
    assert ids(index) == kept
    sound(index)


def test_a_caption_that_was_given_is_not_taken_back_by_files(folder, index):
    path = str(picture(folder / "a.png", 1))
    index.add([Pair(key=path, image=path, caption="a caption by hand")])
    for source in (folder, [path]):
        assert index.add(source, options=RESCAN).updated == 0
        assert index.items()[0].caption == "a caption by hand"
    (folder / "a.txt").write_text("a sidecar")
    index.add(folder)
    (folder / "a.txt").unlink()
    report = index.add([Pair(key=path, image=path)], options=RESCAN)  # looks for no sidecars
    assert (report.updated, index.items()[0].caption) == (0, "a sidecar")
    index.add(folder, options=RESCAN)
    assert index.items()[0].caption is None


def test_captions_of_tables_and_of_pairs_are_changed_in_place(folder, index):
    for number in range(3):
        picture(folder / f"{number}.png", number)
    table = folder / "t.csv"
    head = "id,image,caption,stars\n"
    table.write_text(head + "x,0.png,a one,1\ny,1.png,a two,2\nz,,a text alone,3\n")
    index.add(table)
    tag_all(index)
    kept = {item.key: item.id for item in index.items()}
    encoded(index)
    table.write_text(head + "x,0.png,a new one,1\ny,1.png,a new two,5\nz,,a new text,3\n")
    report = index.add(table)
    assert (report.updated, report.indexed) == (3, 3)
    assert encoded(index) == (0, ["a new one", "a new two", "a new text"])
    assert {item.key: item.id for item in index.items()} == kept
    assert all(item.tags for item in index.items())
    assert index.items("stars = 5")[0].caption == "a new two"
    data = (folder / "2.png").read_bytes()
    index.add([Pair(key="bytes", image=data, caption="a picture")])
    encoded(index)
    index.add([Pair(key="bytes", image=data, caption="a photo")])
    assert encoded(index) == (0, ["a photo"])
    sound(index, report)


def test_an_edited_image_keeps_the_vector_of_its_caption(folder, index):
    path = picture(folder / "a.png", 1)
    (folder / "a.txt").write_text("a dog")
    index.add(folder)
    before = ids(index)["a.png"]
    encoded(index)
    picture(path, 2)
    assert index.add(folder).updated == 1
    assert encoded(index) == (1, []), "the caption is the same"
    assert ids(index)["a.png"] != before
    assert with_caption(index, "a dog") == ["a.png"]
    sound(index)


def test_a_pair_that_cannot_be_stored_leaves_the_caption_before(index, folder):
    path = str(picture(folder / "a.png", 1))
    index.add([Pair(key=path, image=path, caption="a dog")])
    for value in ("cut \ud83d", "whole"):
        report = index.add([Pair(key=path, image=path, caption="a cat", extra={"n": value})])
        assert report.skipped == (value != "whole")
        assert with_caption(index, "a cat") == ["a.png"] * (value == "whole")
        assert with_caption(index, "a dog") == ["a.png"] * (value != "whole")
    sound(index)


# --- captions in the engine -----------------------------------------------------------------------


@pytest.fixture
def many(tmp_path):
    """An index with ANN files, half of whose captions were changed after these were built."""
    encoder = FakeEncoder()
    with Index.create(tmp_path / "many", encoder) as index:
        fill(index, encoder, 300, captions=True)
        index.build_ann(force=True)
        with index.writer() as writer:
            for row in range(1, 301, 2):
                writer.recaption(row, f"new {row}", encoder.vector(f"text new {row}"))
            for row in range(2, 50, 4):
                writer.recaption(row, None)
        yield index


def text_of(row: int) -> str | None:
    if row % 2:
        return f"new {row}"
    return None if row < 50 and row % 4 == 2 else f"caption {row - 1}"


def check_many(index, encoder) -> None:
    """Every caption is found under its item's id, exactly and with ANN files, and no old one is."""
    wanted = [row for row in range(1, 301) if text_of(row) is not None]
    rows, vectors = zip(*index.iter_vectors("caption", batch=64), strict=True)
    assert np.concatenate(rows).tolist() == wanted
    expected = np.stack([encoder.vector(f"text {text_of(row)}") for row in wanted])
    np.testing.assert_allclose(np.concatenate(vectors), expected, atol=1e-3)
    np.testing.assert_allclose(index.vectors(wanted[::-1], "caption"), expected[::-1], atol=1e-3)
    for row in (*range(1, 301, 23), 2, 6, 300):
        hits = index.search(encoder.vector(f"text {text_of(row)}"), k=3, target="caption")
        assert (hits[0].item.id == row) == (text_of(row) is not None)
        old = index.search(encoder.vector(f"text caption {row - 1}"), k=1, target="caption")
        assert (old[0].score > 0.999) == (text_of(row) == f"caption {row - 1}")
        some = index.search(
            encoder.vector(f"text {text_of(row)}"), k=2, target="caption", where=f"id <= {row}"
        )
        assert all(hit.item.id <= row for hit in some)
        assert (some[0].item.id == row) == (text_of(row) is not None)
    assert set(index.sample(50, "caption")[0].tolist()) <= set(wanted)
    paired = {hit.item.id for hit in index.pairs(300)}
    assert paired == set(wanted)
    with pytest.raises(Exception, match="no caption vector"):
        index.vectors([2], "caption")
    with pytest.raises(Exception, match="no item"):
        index.vectors([301], "caption")  # the row of a caption, not of an item
    assert index.verify(full=True).ok


def test_changed_captions_are_found_in_every_state_of_the_files(many):
    encoder = many.encoder
    for opened in ({}, {"exact_elements": 10 * DIM}):
        with Index.open(many.path, encoder, **opened) as index:
            check_many(index, encoder)
    with Index.open(many.path, encoder, exact_elements=10 * DIM) as index:
        assert index.search(encoder.vector("q"), k=2, target="caption").approximate
        index.build_ann()  # adds the new captions to the file
        check_many(index, encoder)
        index.compact()
        check_many(index, encoder)
        index.build_ann(force=True)
        check_many(index, encoder)
        assert index.info()["tombstones"] == 0


def test_changed_captions_go_out_and_into_shards(many, tmp_path):
    many.export(tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert {row["id"]: row["caption"] for row in table} == {r: text_of(r) for r in range(1, 301)}
    assert not {"ctime_ns", "inode", "caption_from", "beside"} & table[0].keys()
    for row in table:
        text = text_of(row["id"])
        assert (row["caption_vector"] is None) == (text is None)
        if text is not None:
            wanted = many.encoder.vector(f"text {text}")
            np.testing.assert_allclose(row["caption_vector"], wanted, atol=1e-3)
    found = shard_index(many.path, 3)
    seen = []
    for shard in found.shards:
        with Index.open(shard.folder, many.encoder) as part:
            assert part.verify(full=True).ok
            for rows, vectors in part.iter_vectors("caption"):
                seen += rows.tolist()
                wanted = np.stack([many.encoder.vector(f"text {text_of(r)}") for r in rows])
                np.testing.assert_allclose(vectors, wanted, atol=1e-3)
    assert seen == [row for row in range(1, 301) if text_of(row) is not None]


def test_the_vectors_of_another_model_follow_a_changed_caption(folder, index):
    """Also those that are kept: going back embeds the captions that were changed meanwhile."""
    for number in range(6):
        picture(folder / f"{number}.png", number)
        (folder / f"{number}.txt").write_text(f"a thing {number}")
    index.add(folder)
    (folder / "1.txt").write_text("a boat")
    index.add(folder)
    first, second = index.encoder, TellingEncoder("second")
    assert index.migrate(second).switched
    texts = {"a boat", *(f"a thing {n}" for n in (0, 2, 3, 4, 5))}
    assert set(second.texts) - set(GENERIC_TEXTS) == texts
    assert with_caption(index, "a boat") == ["1.png"]
    (folder / "2.txt").write_text("a train")
    (folder / "3.txt").unlink()
    index.add(folder, options=RESCAN)
    encoded(index)
    first.texts = []
    report = index.migrate(first)
    assert (report.switched, report.encoded) == (True, 1)
    assert set(first.texts) - set(GENERIC_TEXTS) == {"a train"}
    assert with_caption(index, "a train") == ["2.png"]
    assert with_caption(index, "a thing 3") == []
    sound(index)


def test_a_refused_caption_leaves_what_was_staged(tmp_path):
    encoder = FakeEncoder()
    with Index.create(tmp_path / "index", encoder) as index:
        with index.writer() as writer:
            one = put(writer, encoder, "one", caption="first")
            alone = put(writer, encoder, "alone", caption="words", image=False)
            writer.recaption(one, "second", encoder.vector("text second"))
            for row, text, vector in (
                (99, "no item", np.ones(DIM)),
                (one, "cut \ud83d", np.ones(DIM)),
                (one, "bad", np.full(DIM, np.nan)),
                (one, "bad", np.ones(DIM + 1)),
                (alone, None, None),
            ):
                with pytest.raises(InvalidInputError):
                    writer.recaption(row, text, vector)
            two = put(writer, encoder, "two", caption="third")
            assert two > one
        assert {i.key[8:-4]: i.caption for i in index.items()} == {
            "one": "second",
            "alone": "words",
            "two": "third",
        }
        found = index.vectors([one, alone, two], "caption")
        wanted = np.stack([encoder.vector(f"text {text}") for text in ("second", "words", "third")])
        np.testing.assert_allclose(found, wanted, atol=1e-3)
        assert index.verify(full=True).ok
        with index.writer() as writer:
            writer.recaption(one, None)
            assert writer.vector(one, "caption") is None
            writer.rollback()
            assert writer.vector(one, "caption") is not None
            writer.recaption(two, "dropped", np.ones(DIM))
            writer.rollback()
            writer.put(record("three"), image=np.ones(DIM))
        assert index.items()[2].caption == "third"
        assert index.verify(full=True).ok


def test_a_reader_keeps_the_captions_of_its_state(tmp_path):
    encoder = FakeEncoder()
    with Index.create(tmp_path / "index", encoder) as index:
        fill(index, encoder, 20, captions=True)
        other = Index.open(index.path, encoder)

        def work(conn, snapshot):
            with index.writer() as writer:
                writer.recaption(5, "new", encoder.vector("text new"))
            items = catalog.items(conn, [5])
            return items[5].caption, snapshot.store("caption").take(np.array([5]))[1][0]

        caption, vector = other._reader.run(work)
        assert caption == "caption 4"
        np.testing.assert_allclose(vector, encoder.vector("text caption 4"), atol=1e-3)
        assert other.item(5).caption == "new"
        other.close()


# --- rescan ---------------------------------------------------------------------------------------


def photo(path: Path, number: int, *, taken: str) -> Path:
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[306] = taken
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "JPEG", exif=exif)
    return path


def test_a_rescan_reads_metadata_of_everything_and_encodes_no_image(folder, index, tmp_path):
    for number in range(5):
        photo(folder / f"{number}.jpg", number, taken=f"2024:05:0{number + 1} 10:00:00")
    (folder / "0.txt").write_text("a dog")
    index.add(folder)
    tag_all(index)
    kept, images = ids(index), contents(index)
    with index.writer() as writer:  # as an older version has read them
        writer.touch(1, facts={"taken_at": None, "camera": "none"})
        writer.touch(2, facts={"latitude": 0.0, "longitude": 0.0})
    (folder / "3.txt").write_text("a cat")
    encoded(index)
    assert index.add(folder).updated == 1, "metadata of unchanged files is as it was read"
    (folder / "3.txt").write_text("a bird")
    report = index.add(folder, options=RESCAN)
    assert (report.seen, report.updated, report.refreshed) == (5, 3, 2)
    assert encoded(index) == (0, ["a cat", "a bird"])
    sound(index, report)
    for item in index.items():
        facts = read_facts(item.path)
        assert (item.taken_at, item.camera) == (facts.taken_at, facts.camera)
        assert (item.latitude, item.longitude, item.width) == (None, None, 8)
    assert (ids(index), contents(index)) == (kept, images)
    assert tagged(index) == {name: (name,) for name in kept}
    again = index.add(folder, options=RESCAN)
    assert (again.unchanged, again.updated, encoded(index)) == (5, 0, (0, []))
    lines = summarise(report)
    assert "of 5 files: 2 unchanged, 3 updated" in lines


def test_a_rescan_trusts_the_bytes_of_a_file_that_nobody_touched(folder, index, monkeypatch):
    for number in range(3):
        picture(folder / f"{number}.png", number)
    index.add(folder)
    read = count_reads(monkeypatch)
    (folder / "1.png").chmod(0o600)
    assert index.add(folder, options=RESCAN).unchanged == 3
    assert read == [str(folder / "1.png")]


def test_a_rescan_of_bytes_in_tables_and_of_files_that_cannot_be_read(folder, index, monkeypatch):
    path = picture(folder / "a.png", 1)
    pairs = [Pair(key="bytes", image=path.read_bytes(), caption="a dog")]
    index.add([*pairs, path])
    with index.writer() as writer:
        for item in index.items():
            writer.touch(item.id, facts={"width": None})
    assert index.add([*pairs, path], options=RESCAN).refreshed == 2
    assert [item.width for item in index.items()] == [8, 8]
    submit = decoders.DecoderPool.submit_many
    monkeypatch.setattr(decoders.DecoderPool, "submit_many", _without_facts(submit))
    report = index.add([path], options=RESCAN)
    assert report.unchanged == 1
    assert any("metadata could not be read" in note for note in report.notes)
    assert index.items()[1].width == 8, "what was known stays"
    sound(index, report)


def _without_facts(submit):
    def failing(*arguments):
        failed = [decoders.ImageDecodeError("no header")] * len(submit(*arguments).result())
        return SimpleNamespace(result=lambda: failed)

    return failing


def test_the_command_rescans(cli, folder, tmp_path):
    for number in range(3):
        photo(folder / f"{number}.jpg", number, taken="2024:05:01 10:00:00")
    cli("index", folder, "-i", "p")
    with Index.open(tmp_path / "indexes" / "p") as index, index.writer() as writer:
        writer.touch(2, facts={"taken_at": None})
    assert "of 3 files: 3 unchanged" in cli("index", folder, "-i", "p").stderr
    said = cli("index", folder, "-i", "p", "--rescan").stderr
    assert "0 images in" in said
    assert "of 3 files: 2 unchanged, 1 updated" in said
    with Index.open(tmp_path / "indexes" / "p") as index:
        assert [item.taken_at for item in index.items()] == ["2024-05-01T10:00:00"] * 3


# --- files that were moved ------------------------------------------------------------------------


def test_a_moved_file_counts_as_moved_alone(folder, index, cli, tmp_path):
    for number in range(6):
        picture(folder / f"{number}.png", number)
    index.add(folder)
    for number in range(2):
        (folder / "album").mkdir(exist_ok=True)
        (folder / f"{number}.png").rename(folder / "album" / f"{number}.png")
    report = index.add(folder)
    assert (report.unchanged, report.moved) == (6, 2)
    assert "of 6 files: 4 unchanged, 2 moved" in summarise(report)
    sound(index, report)


def test_the_closing_line_adds_up_whatever_happened(folder, index):
    for number in range(9):
        picture(folder / f"{number}.png", number)
    index.add(folder)
    (folder / "0.png").rename(folder / "moved.png")
    picture(folder / "1.png", 11)  # edited
    (folder / "2.txt").write_text("a caption")
    shutil.copy(folder / "3.png", folder / "copy.png")
    picture(folder / "new.png", 12)
    (folder / "bad.png").write_bytes(b"bad")
    (folder / "notes.md").write_text("notes")
    (folder / "4.png").unlink()
    report = index.add(folder, options=PRUNE)
    sound(index, report)
    assert (
        "of 12 files: 1 new, 5 unchanged, 1 duplicate, 2 updated, 1 moved, 2 skipped; 1 removed"
        in summarise(report)
    )


def test_a_file_that_was_moved_and_captioned_keeps_its_item(folder, index):
    picture(folder / "a.png", 1)
    (folder / "a.txt").write_text("a dog")
    picture(folder / "b.png", 2)
    index.add(folder)
    tag_all(index)
    kept = ids(index)
    (folder / "trip").mkdir()
    for name in ("a.png", "a.txt", "b.png"):
        (folder / name).rename(folder / "trip" / name)
    (folder / "trip" / "a.txt").write_text("a wet dog")
    (folder / "trip" / "b.txt").write_text("a cat")
    encoded(index)
    report = index.add(folder, options=PRUNE)
    assert (report.moved, report.unchanged, report.updated, report.pruned) == (2, 2, 0, 0)
    assert encoded(index) == (0, ["a wet dog", "a cat"])
    assert (ids(index), tagged(index)["a.png"]) == (kept, ("a.png",))
    assert with_caption(index, "a wet dog") == ["a.png"]
    sound(index, report)


@pytest.mark.parametrize("sidecar", ["moved too", "left behind"])
def test_a_sidecar_moves_with_its_image_or_not(folder, index, sidecar):
    picture(folder / "a.png", 1)
    (folder / "a.txt").write_text("a dog")
    index.add(folder)
    (folder / "b").mkdir()
    (folder / "a.png").rename(folder / "b" / "a.png")
    if sidecar == "moved too":
        (folder / "a.txt").rename(folder / "b" / "a.txt")
    encoded(index)
    assert index.add(folder).moved == 1
    assert encoded(index) == (0, [])
    assert with_caption(index, "a dog") == ["a.png"]


def test_two_files_that_exchange_their_names_keep_their_items(folder, index):
    a, b = picture(folder / "a.png", 1), picture(folder / "b.png", 2)
    (folder / "a.txt").write_text("a dog")
    (folder / "b.txt").write_text("a cat")
    picture(folder / "c.png", 3)
    index.add(folder)
    tag_all(index)
    kept, images = ids(index), contents(index)
    for suffix in (".png", ".txt"):
        a.with_suffix(suffix).rename(folder / "x")
        b.with_suffix(suffix).rename(a.with_suffix(suffix))
        (folder / "x").rename(b.with_suffix(suffix))
    encoded(index)
    report = index.add(folder)
    assert (report.moved, report.unchanged, report.updated) == (2, 3, 0)
    assert encoded(index) == (0, [])
    assert ids(index) == {"a.png": kept["b.png"], "b.png": kept["a.png"], "c.png": kept["c.png"]}
    assert tagged(index) == {"a.png": ("b.png",), "b.png": ("a.png",), "c.png": ("c.png",)}
    assert contents(index)[str(a)] == images[str(b)]
    assert with_caption(index, "a dog") == ["b.png"]
    sound(index, report)


@pytest.mark.parametrize("up", [False, True])
def test_files_that_are_numbered_anew_keep_their_items(folder, index, monkeypatch, up):
    """Every file has the name that another one had; whatever the order, and over commits."""
    monkeypatch.setattr("clipsearch.intake.store._COMMIT_ITEMS", 7)
    for number in range(1, 31):
        picture(folder / f"{number:03}.png", number)
    index.add(folder)
    tag_all(index)
    kept = {item.sha256: (item.id, item.tags) for item in index.items()}
    numbers = range(30, 0, -1) if up else range(2, 31)
    if not up:
        (folder / "001.png").unlink()
    for number in numbers:
        target = folder / f"{number + (1 if up else -1):03}.png"
        (folder / f"{number:03}.png").rename(target)
    encoded(index)
    options = IngestOptions(prune=True, batch_size=3)
    report = index.add(folder, options=options)
    assert encoded(index) == (0, [])
    count = 30 if up else 29
    assert (report.seen, report.moved, len(index)) == (count, count, count)
    assert all((item.id, item.tags) == kept[item.sha256] for item in index.items())
    sound(index, report)


def test_an_original_that_was_set_aside_takes_its_item_along(folder, index):
    """The edited image has its name, and is a new one."""
    path = picture(folder / "b.png", 1)
    index.add(folder)
    tag_all(index)
    (item,) = index.items()
    for name in ("a_original.png", "z_original.png"):
        for old in folder.iterdir():
            shutil.copy2(old, folder / name) if old == path else old.unlink()
        picture(path, 2 if name[0] == "a" else 3)
        report = index.add(folder, options=PRUNE)
        assert (report.seen, report.skipped) == (2, 0)
        sound(index, report)
        if name[0] == "a":
            assert ids(index)[name] == item.id
            assert tagged(index) == {name: item.tags, "b.png": ()}


def test_rows_of_a_table_that_shift_keep_their_items(folder, index):
    """Without an id, a row is known by its number, and a new first row moves all others."""
    for number in range(6):
        picture(folder / f"{number}.png", number)
    table = folder / "t.csv"
    table.write_text("image\n" + "".join(f"{n}.png\n" for n in range(5)))
    index.add(table)
    index.set_tags([item.id for item in index.items()], ["x"] * 5)
    kept = {item.path: item.id for item in index.items()}
    table.write_text("image\n5.png\n" + "".join(f"{n}.png\n" for n in range(5)))
    report = index.add(table)
    assert (report.seen, report.moved, report.skipped) == (6, 5, 0)
    assert {item.path: item.id for item in index.items() if item.tags} == kept
    assert {item.key.rpartition("#")[2]: Path(item.path).name for item in index.items()} == {
        "1": "5.png",
        **{str(n + 2): f"{n}.png" for n in range(5)},
    }
    sound(index, report)


def test_a_copy_is_a_duplicate_and_stays_when_the_original_goes(folder, index):
    picture(folder / "a.png", 1)
    index.add(folder)
    shutil.copy2(folder / "a.png", folder / "copy.png")
    report = index.add(folder)
    assert report.duplicate == 1
    tag_all(index)
    kept = ids(index)
    (folder / "a.png").unlink()
    report = index.add(folder, options=PRUNE)
    assert (report.unchanged, report.moved, report.pruned) == (1, 0, 1)
    assert ids(index) == {"copy.png": kept["copy.png"]}
    sound(index, report)


def test_copies_that_are_moved_together_keep_their_own_items(folder, index):
    for name in ("a.png", "b.png", "stays.png"):
        picture(folder / name, 1)
    index.add(folder)
    tag_all(index)
    kept = ids(index)
    (folder / "sub").mkdir()
    for name in ("b.png", "a.png"):
        (folder / name).rename(folder / "sub" / name)
    report = index.add(folder, options=PRUNE)
    assert (report.moved, report.unchanged, report.pruned) == (2, 3, 0)
    assert ids(index) == kept
    assert tagged(index) == {name: (name,) for name in kept}
    sound(index, report)


def test_a_file_moved_into_another_source_takes_its_item_along(tmp_path, cli):
    one, two = tmp_path / "one", tmp_path / "two"
    for number in range(3):
        picture(one / f"{number}.png", number)
    picture(two / "9.png", 9)
    cli("index", one, two, "-i", "p")
    with Index.open(tmp_path / "indexes" / "p") as index:
        kept = ids(index)
        (one / "1.png").rename(two / "1.png")
        (one / "2.png").unlink()
        said = cli("index", one, two, "-i", "p", "--prune").stderr
        assert "1 unchanged, 1 moved" in said
        assert "removed 1 items whose files are gone" in said
        del kept["2.png"]
        assert ids(index) == kept
    refused = cli("index", one, one / "0.png", "-i", "p", "--prune", expect=1).stderr
    assert "--prune needs folders" in refused


def test_a_name_spelled_anew_is_a_move_where_case_does_not_count(folder, index, monkeypatch):
    """On such a file system the old name leads to the file too, and no listing has it."""
    picture(folder / "IMG_1.PNG", 1)
    picture(folder / "other.png", 2)
    index.add(folder)
    kept = ids(index)
    (folder / "IMG_1.PNG").rename(folder / "img_1.png")
    real = os.stat

    def insensitive(path, *arguments, **options):
        with contextlib.suppress(TypeError):
            path = str(path).replace("IMG_1.PNG", "img_1.png")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", insensitive)
    report = index.add(folder)
    assert (report.moved, report.duplicate) == (1, 0)
    assert ids(index) == {"img_1.png": kept["IMG_1.PNG"], "other.png": kept["other.png"]}
    sound(index, report)


def test_a_hard_link_is_a_copy_and_no_move(folder, index):
    path = picture(folder / "A.png", 1)
    index.add(folder)
    os.link(path, folder / "a.png")
    report = index.add(folder)
    assert (report.moved, report.duplicate, report.unchanged) == (0, 1, 1)


@pytest.mark.parametrize("way", ["over another", "and edited"])
def test_a_file_that_took_the_place_of_another(folder, index, way):
    a, b = picture(folder / "a.png", 1), picture(folder / "b.png", 2)
    index.add(folder)
    tag_all(index)
    kept = ids(index)
    os.replace(b, a)
    if way == "and edited":
        picture(a, 3)
    report = index.add(folder, options=PRUNE)
    if way == "over another":
        assert (report.moved, ids(index)) == (1, {"a.png": kept["b.png"]})
        assert tagged(index) == {"a.png": ("b.png",)}
    else:
        assert (report.updated, report.pruned) == (1, 1)
    assert len(index) == 1
    sound(index, report)


def test_an_interrupted_run_loses_no_item_that_was_set_aside(folder, index, monkeypatch):
    for number in range(4):
        picture(folder / f"{number}.png", number)
    index.add(folder)
    kept = ids(index)
    names = [folder / f"{number}.png" for number in range(4)]
    data = [path.read_bytes() for path in names]
    for path, other in zip(names, data[1:] + data[:1], strict=True):
        path.write_bytes(other)
    monkeypatch.setattr("clipsearch.intake.store._record", _interrupted)
    picture(folder / "0.png", 50)  # which is put, and interrupted
    with pytest.raises(KeyboardInterrupt):
        index.add(folder)
    assert ids(index) == kept
    sound(index)
    monkeypatch.undo()
    report = index.add(folder, options=PRUNE)
    assert (report.moved, report.updated) == (3, 1)
    sound(index, report)


@pytest.mark.parametrize("is_taken", [True, False])
def test_what_a_killed_run_had_set_aside_is_put_in_order_by_the_next(folder, index, is_taken):
    for number in range(3):
        picture(folder / f"{number}.png", number)
    index.add(folder)
    first = index.items()[0]
    with index.writer() as writer:
        writer.touch(first.id, key=catalog.displaced_key(first.id, first.key))
        if is_taken:
            writer.put(Record(key=first.key), image=np.ones(DIM))
    assert index.verify(full=True).ok
    report = index.add([folder / "1.png", folder / "2.png"])
    assert (report.unchanged, len(index)) == (2, 3)
    assert {Path(item.key).name for item in index.items()} == {"0.png", "1.png", "2.png"}
    assert (first.id in ids(index).values()) is not is_taken
    sound(index, report)


def _interrupted(_):
    raise KeyboardInterrupt


# --- other roads ----------------------------------------------------------------------------------


def test_watching_follows_captions_and_moves_between_folders(folder, index):
    for number, name in enumerate(("x/a.png", "y/b.png", "z/c.png")):
        picture(folder / name, number)
    reports: list[IngestReport] = []
    stop, ready = threading.Event(), threading.Event()
    follower = threading.Thread(
        target=watch,
        args=(index, folder),
        kwargs={"stop": stop, "ready": ready.set, "on_report": reports.append},
    )
    follower.start()
    try:
        assert ready.wait(60)
        tag_all(index)
        kept = ids(index)
        (folder / "x" / "a.png").rename(folder / "y" / "a.png")
        (folder / "y" / "b.png").rename(folder / "x" / "b.png")
        (folder / "z" / "c.txt").write_text("a caption")

        def done() -> bool:
            at = {Path(item.key).parent.name + Path(item.key).name for item in index.items()}
            found = {item.caption for item in index.items()} == {None, "a caption"}
            return found and at == {"ya.png", "xb.png", "zc.png"}

        end = time.monotonic() + 60
        while time.monotonic() < end and not done():
            time.sleep(0.2)
        assert done()
        assert ids(index) == kept
        assert tagged(index) == {name: (name,) for name in kept}
    finally:
        stop.set()
        follower.join(30)
    assert sum(report.moved for report in reports) == 2
    assert sum(report.pruned for report in reports) == 0
    sound(index)


def test_a_folder_with_names_of_any_bytes_is_watched(folder, index):
    odd = folder / os.fsdecode(b"caf\xe9")
    odd.mkdir(parents=True)
    picture(odd / os.fsdecode(b"\xe9.png"), 1)
    reports, stop, ready = [], threading.Event(), threading.Event()
    follower = threading.Thread(
        target=watch,
        args=(index, folder),
        kwargs={"on_report": reports.append, "stop": stop, "ready": ready.set},
    )
    follower.start()
    try:
        assert ready.wait(30)
        for place in (folder / "a.png", odd / os.fsdecode(b"e\xe8.png")):
            before = len(index)
            picture(place, before + 1)
            deadline = time.monotonic() + 30
            while len(index) == before and time.monotonic() < deadline:
                time.sleep(0.1)
            assert len(index) == before + 1, place
    finally:
        stop.set()
        follower.join(30)
    sound(index)


class Worker(EmbedWorker):
    """A worker of a cluster in this process."""

    def __init__(self, index, *, rescan: bool) -> None:
        self._index = index
        self._settings = SimpleNamespace(rescan=rescan, hash_first=True)
        self._embedder = Embedder(index.encoder, workers=1)

    def _stored(self, keys):
        return self._index._reader.run(
            lambda conn, _: {known.key: known for known in catalog.known_by(conn, "key", keys)}
        )

    def _stored_bytes(self, hashes):
        return KnownItems(self._index.path).with_bytes(hashes)


def on_cluster(index, source, *, rescan: bool = False) -> IngestReport:
    """As a cluster does it: a worker embeds, and the driver stores."""
    worker, parts = Worker(index, rescan=rescan), parts_of(source)
    # A node reads a copy of the source.
    tables = itertools.chain.from_iterable(_read(pickle.loads(pickle.dumps(s)), 3) for s in parts)
    slices = [worker._slice(one) for table in tables for one in unpack(table)]
    options = IngestOptions(rescan=rescan)
    return index.add(source, embedder=ClusterEmbedder(slices), options=options)


def test_a_cluster_does_the_same(folder, index):
    for number in range(5):
        photo(folder / f"{number}.jpg", number, taken="2024:05:01 10:00:00")
        (folder / f"{number}.txt").write_text(f"a thing {number}")
    index.add(folder)
    tag_all(index)
    kept = ids(index)
    with index.writer() as writer:
        writer.touch(2, facts={"taken_at": None})
    (folder / "0.txt").write_text("a boat")
    (folder / "3.jpg").chmod(0o600)
    (folder / "4.jpg").rename(folder / "5.jpg")
    (folder / "4.txt").rename(folder / "5.txt")
    encoded(index)
    report = on_cluster(index, FolderSource(folder))
    assert (report.updated, report.moved, report.unchanged, report.skipped) == (1, 1, 4, 0)
    sound(index, report)
    images, texts = encoded(index)
    assert images == 0
    assert texts.count("a boat") == 1
    assert set(texts) <= {"a boat", "a thing 4"}
    (folder / "3.txt").unlink()
    report = on_cluster(index, FolderSource(folder), rescan=True)
    assert (report.updated, report.refreshed, report.skipped) == (2, 2, 0)
    assert encoded(index) == (0, [])
    sound(index, report)
    kept["5.jpg"] = kept.pop("4.jpg")
    assert ids(index) == kept
    assert [item.taken_at for item in index.items()] == ["2024-05-01T10:00:00"] * 5
    assert with_caption(index, "a boat") == ["0.jpg"]
    assert with_caption(index, "a thing 3") == []


def test_a_list_of_paths_on_stdin_changes_no_caption(folder, index):
    path = picture(folder / "a.png", 1)
    (folder / "a.txt").write_text("a dog")
    index.add(folder)
    with (folder.parent / "list").open("wb+") as stream:
        stream.write(bytes(path))
        stream.seek(0)
        assert index.add(PathListSource(stream)).unchanged == 1
    assert with_caption(index, "a dog") == ["a.png"]


def test_what_files_beside_an_image_say_is_taken_in_when_it_changes(folder, index):
    """Its digest decides; the facts of the image itself are read again with it."""
    path = str(photo(folder / "a.jpg", 1, taken="2024:05:01 10:00:00"))

    def add(beside, **options):
        pair = Pair(key=path, image=path, caption_from="sidecar", beside=beside)
        encoded(index)
        report = index.add([pair], options=IngestOptions(**options))
        assert encoded(index) == (0, []) or report.seen == report.indexed - report.updated
        sound(index, report)
        return report, index.items()[0]

    add("")
    with index.writer() as writer:
        writer.touch(1, facts={"taken_at": None})
    assert add("")[0].updated == 0
    report, item = add("one")
    assert (report.refreshed, item.beside, item.taken_at) == (1, "one", "2024-05-01T10:00:00")
    assert add("one")[0].updated == 0
    report, item = add("")  # the files are gone: what they said stays until it is asked for
    assert (report.updated, item.beside) == (0, "one")
    assert add("", rescan=True)[1].beside is None
    (folder / "b.jpg").write_bytes((folder / "a.jpg").read_bytes())
    (folder / "a.jpg").unlink()
    path = str(folder / "b.jpg")
    assert add("two")[0].moved == 1
    report, item = add("two")
    assert (item.id, item.beside) == (1, "two"), "taken in at the latest by the next run"


def test_many_copies_that_are_moved_together_keep_their_items(tmp_path, encoder, photos):
    folder = tmp_path / "photos"
    (folder / "copies").mkdir(parents=True)
    for number in range(30):
        shutil.copy(photos[0], folder / f"copies/{number}.jpg")
    with Index.create(tmp_path / "index", encoder) as index:
        index.add(folder)
        before = {Path(item.path).name: item.id for item in index.items()}
        (folder / "copies").rename(folder / "renamed")
        report = index.add(folder)
        assert (report.moved, report.duplicate, report.indexed) == (30, 0, 0)
        assert {Path(item.path).name: item.id for item in index.items()} == before
