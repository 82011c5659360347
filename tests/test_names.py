"""Names of any bytes: indexed and searched as they are, and harmless where they are read."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sqlite3
import sys
import tarfile

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, strategies

from clipsearch import Index
from clipsearch.cli.app import assemble
from clipsearch.documents import hit_document
from clipsearch.engine.database import CATALOG
from clipsearch.explore.thumbnails import thumbnail
from clipsearch.ingest import IngestOptions
from clipsearch.intake.originals import indexed_bytes
from clipsearch.intake.pairs import Pair
from clipsearch.intake.sources import PathListSource
from clipsearch.names import actual, is_storable, json_text, shown, stored

from .test_ingest import PixelEncoder, picture

NAMES = [
    b"caf\xe9.png",  # Latin-1
    b"esc\x1b[31mred.png",
    b"new\nline.png",
    b"end\n",
    b"-odd.png",
    b"x" * 251 + b".png",
    "bidi\u202egnp.exe.png".encode(),
    "c1\u009b31m.png".encode(),
    rb"literal\xe9.png",
    b"back\\slash.png",
    b"\xff\xfe",
    b" lead.png",
    "日本.png".encode(),
    b"tab\tand\x7f.png",
]
HARMFUL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]")
file_names = strategies.binary(min_size=1, max_size=40).filter(
    lambda name: b"\0" not in name and b"/" not in name
)


@pytest.fixture
def index(tmp_path):
    with Index.create(tmp_path / "index", PixelEncoder()) as index:
        yield index


@pytest.fixture
def folder(tmp_path):
    root = os.fsencode(tmp_path / os.fsdecode(b"folder\xe8"))
    os.mkdir(root)
    for number, name in enumerate(NAMES):
        with open(os.path.join(root, name), "wb") as file:
            file.write(picture(tmp_path / "drawn.png", number).read_bytes())
    return os.fsdecode(root)


def raw(text: str) -> bytes:
    """The documented way back from a name in JSON to its bytes, without this package."""
    return re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), text.encode())


@given(file_names)
def test_every_name_has_one_stored_form_that_can_be_undone(name):
    text = os.fsdecode(name)
    assert actual(stored(text)) == text
    assert raw(stored(text)) == name
    stored(text).encode()
    assert is_storable(text)
    assert not HARMFUL.search(shown(text))


@given(strategies.text(max_size=40))
def test_names_that_are_unicode_are_stored_as_they_are(text):
    if not re.search(r"\\x[0-9a-f]{2}", text) and is_storable(text) and text.isprintable():
        assert stored(text) == text


@given(strategies.recursive(file_names.map(os.fsdecode), strategies.lists, max_leaves=5))
def test_json_is_read_by_every_program_and_holds_nothing_for_terminals(document):
    text = json_text(document)
    text.encode()
    assert not HARMFUL.search(text)
    json.loads(text)


def test_names_of_any_bytes_are_indexed_found_moved_and_pruned(tmp_path, folder, index):
    report = index.add(folder)
    assert (report.indexed, report.skipped) == (len(NAMES), 0)
    assert index.add(folder).unchanged == len(NAMES)
    items = {os.path.basename(os.fsencode(item.path)): item for item in index.items()}
    assert set(items) == set(NAMES)
    for name, item in items.items():
        assert thumbnail(item).startswith(b"\xff\xd8"), name
        (hit,) = index.search(index.vectors([item.id])[0], k=1)
        document = json.loads(json_text(hit_document(hit)))
        assert os.path.exists(raw(document["path"]))
        quoted = os.fsdecode(name).replace("'", "''")
        assert [found.id for found in index.items(f"name = '{quoted}'")] == [item.id], name
    found = index.items(r"path like '%folder\xe8/caf\xe9%'")
    assert [item.id for item in found] == [items[b"caf\xe9.png"].id]
    where = os.fsencode(folder)
    os.rename(os.path.join(where, b"caf\xe9.png"), os.path.join(where, b"caf\xe8.png"))
    os.unlink(os.path.join(where, b"new\nline.png"))
    report = index.add(folder, options=IngestOptions(prune=True, report_file=tmp_path / "r"))
    assert (report.moved, report.pruned, report.indexed) == (1, 1, 0)
    keys = [json.loads(line)["key"] for line in (tmp_path / "r").read_text("utf-8").splitlines()]
    assert all(os.path.exists(raw(key)) for key in keys)
    assert index.verify(full=True).ok
    index.export(tmp_path / "x.parquet")
    paths = pd.read_parquet(tmp_path / "x.parquet")["path"]
    assert all(os.path.exists(raw(path)) for path in paths)


def test_what_a_person_reads_does_nothing_to_a_terminal(cli, folder):
    with open(os.path.join(os.fsencode(folder), b"bad\x1b]0;x\x07\xe9.png"), "wb") as file:
        file.write(b"no picture")
    done = cli("index", folder, "-i", "p", expect=3)
    assert r"bad\x1b]0;x\x07\xe9.png: not an image" in done.stderr
    shown_names = [
        r"caf\xe9.png", r"esc\x1b[31mred.png", r"new\nline.png", r"bidi\u202egnp.exe.png",
        r"c1\u009b31m.png",
    ]  # fmt: skip
    for arguments in ((), ("-f", "paths"), ("-f", "json")):
        done = cli("search", "a", "-i", "p", "-k", 20, *arguments)
        assert not HARMFUL.search(done.stdout + done.stderr)
        if "json" in arguments:
            hits = json.loads(done.stdout)["hits"]
            assert all(os.path.exists(raw(hit["path"])) for hit in hits)
        else:
            assert all(name in done.stdout for name in shown_names)
        if "paths" in arguments:
            assert len(done.stdout.splitlines()) == len(NAMES)
    for command in (("info", "--skipped"), ("duplicates", "--threshold", "0.1")):
        done = cli(*command, "-i", "p")
        assert not HARMFUL.search(done.stdout + done.stderr)
    missing = cli("index", folder + "\x1b[31m", "-i", "p", expect=1).stderr
    assert not HARMFUL.search(missing)


def test_null_gives_names_as_they_are_and_lists_take_them_back(cli, folder, monkeypatch):
    files = [os.path.join(os.fsencode(folder), name) for name in NAMES]
    listed = io.TextIOWrapper(io.BytesIO(b"".join(file + b"\0" for file in files)))
    monkeypatch.setattr(sys, "stdin", listed)
    cli("index", "-", "-i", "p")
    for name, arguments in (("p", ["-k", 20]), ("q", ["--image", "-odd.png"])):
        if name == "q":
            monkeypatch.chdir(folder)
            cli("index", "-i", "q", "--", "-odd.png")
        out = io.TextIOWrapper(io.BytesIO(), write_through=True)
        words = ["a"] if name == "p" else []
        with contextlib.redirect_stdout(out), pytest.raises(SystemExit):
            assemble()(["search", *words, "-i", name, "-0", *map(str, arguments)])
        found = out.buffer.getvalue().split(b"\0")
        assert sorted(found[:-1]) == (sorted(files) if name == "p" else [files[4]])


def test_lists_on_stdin_are_lines_or_names_that_end_with_nul():
    def names(data):
        return [os.path.basename(pair.key) for pair in PathListSource(io.BytesIO(data))]

    assert names(b"a.jpg\r\nb.jpg\n\n c.jpg") == ["a.jpg", "b.jpg", " c.jpg"]
    assert names(b"a\n.jpg\0 \0b.jpg\n\0") == ["a\n.jpg", " ", "b.jpg\n"]
    assert names(b"caf\xe9\0") == [os.fsdecode(b"caf\xe9")]


def test_a_name_in_an_archive_is_kept_byte_for_byte(tmp_path, index):
    with tarfile.open(
        tmp_path / "x.tar", "w", format=tarfile.GNU_FORMAT, encoding="latin-1"
    ) as archive:
        info = tarfile.TarInfo("caf\u00e9/\x1b[1m.png")
        data = picture(tmp_path / "drawn.png", 1).read_bytes()
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    index.add(tmp_path / "x.tar")
    (item,) = index.items()
    assert os.fsencode(item.key).endswith(b"!caf\xe9/\x1b[1m")
    assert index.add(tmp_path / "x.tar").unchanged == 1


def test_names_of_an_older_index_stay_what_they_are(tmp_path):
    names = [rb"a\xe9.png", rb"a\x5cxe9.png", rb"a\x5cx5cxe9.png", b"plain.png", rb"a\y.png"]
    folder = tmp_path / "pictures"
    for number, name in enumerate(names):
        picture(folder / os.fsdecode(name), number)
    (folder / r"bad\xe9.png").write_bytes(b"\x89PNG")
    with Index.create(tmp_path / "index", PixelEncoder()) as index:
        assert index.add(folder).skipped == 1
    older = sqlite3.connect(tmp_path / "index" / CATALOG)
    older.create_function("actual", 1, actual)
    older.executescript(
        """
        CREATE TEMP TABLE before AS SELECT row, actual(path) AS path FROM items;
        UPDATE items SET key = row, path = NULL;
        UPDATE items SET (key, path) = (SELECT path, path FROM before WHERE row = items.row);
        UPDATE skipped_files SET key = actual(key);
        DROP TABLE thumbprints; PRAGMA user_version = 4;
        """
    )
    older.close()
    with Index.open(tmp_path / "index", PixelEncoder()) as index:
        assert {os.fsencode(os.path.basename(item.path)) for item in index.items()} == {*names}
        report = index.add(folder, options=IngestOptions(prune=True))
        assert (report.unchanged, report.known, report.pruned) == (len(names), 1, 0)
        assert [skip.key for skip in index.skipped()] == [str(folder / r"bad\xe9.png")]


def test_names_of_any_bytes_around_and_within_other_files_survive_an_export(tmp_path, index):
    folder = tmp_path / os.fsdecode(b"folder\xe8")
    folder.mkdir()
    one, two, three = (picture(folder / f"{number}.png", number) for number in range(3))
    one = one.rename(folder / os.fsdecode(b"one\xe9.png"))
    (folder / "t.jsonl").write_text('{"image": "1.png", "caption": "a \\ud83d b", "\\udc00": 1}')
    with tarfile.open(folder / "x.tar", "w") as archive:
        archive.add(two, os.fsdecode(b"two\xe9.png"))
    table = pa.table({"image": [three.read_bytes()], "caption": ["three"]})
    with open(folder / "y.parquet", "wb") as file:
        pq.write_table(table, file)
    lone = Pair(key=str(one), image=str(one))
    for source in ([lone], folder / "t.jsonl", folder / "x.tar", folder / "y.parquet"):
        assert index.add(source).skipped == 0, source
    items = list(index.items())
    assert [len(indexed_bytes(item)) > 0 for item in items] == [True] * 4
    assert items[1].caption == "a ? b"

    index.export(tmp_path / "out.parquet")
    with Index.create(tmp_path / "again", PixelEncoder()) as again:
        report = again.add(tmp_path / "out.parquet", options=IngestOptions(allow_outside=True))
        assert (report.indexed, report.duplicate, report.skipped) == (3, 1, 0)
        for item, other in zip(items, again.items(), strict=True):
            assert (other.key, other.path) == (item.key, item.path)
            assert indexed_bytes(other) == indexed_bytes(item)


def test_the_page_shows_names_escaped(folder, index):
    from ui.render import item_name

    index.add(folder)
    assert not any(HARMFUL.search(item_name(item)) for item in index.items())
