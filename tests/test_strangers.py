"""Indexes and label packs from a stranger: nothing in them runs, and nothing else is read."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import struct
import time
from pathlib import Path

import faiss
import numpy as np
import pytest

from clipsearch import Index
from clipsearch.engine import foreign
from clipsearch.engine.schema import definition
from clipsearch.errors import IndexCorruptError
from tests.fakes import DIM, FakeEncoder, fill

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """An index with captions and an ANN file, to be copied and tampered with."""
    folder = tmp_path_factory.mktemp("made") / "index"
    encoder = FakeEncoder()
    with Index.create(folder, encoder) as index:
        fill(index, encoder, 60, captions=True)
        assert index.build_ann(force=True)["image"] == "train"
    return folder


@pytest.fixture
def copy(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "index"))


def tampered(folder: Path, script: str) -> None:
    with sqlite3.connect(folder / "catalog.sqlite") as connection:
        connection.create_function("nfc", 1, str, deterministic=True)
        connection.executescript(script)
    connection.close()


# --- what runs by itself --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TRIGGER more AFTER INSERT ON meta BEGIN DELETE FROM items; END",
        "CREATE TRIGGER more AFTER UPDATE ON items BEGIN DELETE FROM tags; END",
        "DROP TRIGGER words_delete; CREATE TRIGGER words_delete AFTER INSERT ON documents "
        "BEGIN DELETE FROM items; END",
        "DROP TRIGGER words_insert",
        "DROP VIEW captions; CREATE VIEW captions AS WITH RECURSIVE n(i) AS "
        "(SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS row, 'x' AS caption FROM n",
        "ALTER TABLE meta RENAME TO kept; CREATE VIEW meta AS WITH RECURSIVE n(i) AS (SELECT 1 "
        "UNION ALL SELECT i + 1 FROM n) SELECT key, value FROM kept, n",
        "CREATE VIEW more AS SELECT 1",
        "CREATE TABLE more (a)",
        "CREATE VIRTUAL TABLE more USING fts5 (a)",
        "ALTER TABLE items ADD COLUMN more TEXT",
        "ALTER TABLE items ADD COLUMN more TEXT AS (hex(zeroblob(1000000000)))",
        "ALTER TABLE skipped_files ADD COLUMN more TEXT CHECK (length(zeroblob(1000000000)) > 0)",
        "DROP INDEX tags_by_label; CREATE INDEX tags_by_label ON tags (nfc(label), row)",
        "CREATE INDEX more ON tags (label)",
        "DROP TABLE thumbprints",
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'size_bytes "
        "INTEGER', 'size_bytes INTEGER DEFAULT (randomblob(1000000000))') WHERE name = 'items'",
    ],
)
@pytest.mark.parametrize("version", [5, 4])
def test_a_catalog_with_another_schema_is_not_used(copy, script, version):
    if version < 5 and script in ("DROP TRIGGER words_insert", "DROP TABLE thumbprints"):
        pytest.skip("a migration makes what an older version lacks")
    tampered(copy, f"{script}; PRAGMA user_version = {version}")
    before = (copy / "catalog.sqlite").read_bytes()
    started = time.monotonic()
    with pytest.raises(IndexCorruptError, match=r"catalog\.sqlite (has|lacks) .* not used"):
        Index.open(copy)
    assert time.monotonic() - started < 5
    assert (copy / "catalog.sqlite").read_bytes() == before


def test_the_schema_is_what_sqlite_makes_of_its_definition():
    connection = sqlite3.connect(":memory:")
    connection.executescript(definition())
    assert set(connection.execute(foreign._OBJECTS)) == foreign._written()
    connection.close()


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_an_older_catalog_is_migrated_only_if_it_is_one(tmp_path, version):
    folder = tmp_path / "old"
    fixture = ROOT / f"tests/fixtures/index_v{version}"
    shutil.copytree(fixture / "vectors", folder / "vectors")
    (folder / "ann").mkdir()
    tampered(folder, (fixture / "catalog.sql").read_text())
    odd = Path(shutil.copytree(folder, tmp_path / "odd"))
    tampered(odd, "CREATE TRIGGER more AFTER UPDATE ON meta BEGIN DELETE FROM items; END")
    with pytest.raises(IndexCorruptError, match="has a trigger 'more'"):
        Index.open(odd)
    with Index.open(folder) as index:
        assert len(index) == 3
    with sqlite3.connect(folder / "catalog.sqlite") as connection:
        found = foreign._described(connection.execute(foreign._OBJECTS))
    connection.close()
    assert found == foreign._expected()


@pytest.mark.parametrize("version", [0, -1, 2, 3])
def test_a_catalog_that_lies_about_its_version_is_damaged(copy, version):
    tampered(copy, f"PRAGMA user_version = {version}")
    with pytest.raises(IndexCorruptError):
        Index.open(copy).items()


def test_the_journal_of_a_stranger_deletes_no_file(copy, tmp_path):
    victim = tmp_path / "precious.txt"
    victim.write_text("precious")
    magic, name = bytes.fromhex("d9d505f920a163d7"), str(victim).encode()
    pages = (copy / "catalog.sqlite").stat().st_size // 4096
    head = magic + struct.pack(">IIIII", 0, 7, pages, 512, 4096)
    tail = struct.pack(">I", 2**30 // 4096 + 1) + name + struct.pack(">II", len(name), sum(name))
    journal = copy / "catalog.sqlite-journal"
    journal.write_bytes(head.ljust(512, b"\0") + tail + magic)
    with pytest.raises(IndexCorruptError, match=r"catalog\.sqlite-journal .* Delete that file"):
        Index.open(copy)
    assert victim.read_text() == "precious"
    journal.unlink()
    with Index.open(copy) as index:
        assert len(index) == 60


# --- what is named --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        "UPDATE segments SET name = '../../' || name WHERE modality = 'image'",
        "UPDATE segments SET name = '/tmp/' || name WHERE modality = 'image'",
        "UPDATE segments SET name = 'secret' WHERE modality = 'image'",
        "UPDATE segments SET modality = 'sound'",
        "UPDATE segments SET count = 1 << 40, last_row = 1 << 41 WHERE modality = 'image'",
        "UPDATE segments SET count = 0",
        "UPDATE segments SET first_row = -5",
        "UPDATE ann SET name = '../../' || name",
        "UPDATE ann SET parameters = '[]'",
        """UPDATE ann SET parameters = '{"nprobe": "1", "refine": 1e308}'""",
        "UPDATE models SET dim = 1 << 40",
        "UPDATE models SET dim = 0",
        "UPDATE meta SET value = -1 WHERE key = 'items'",
        "UPDATE meta SET value = 'many' WHERE key = 'generation'",
    ],
)
def test_names_and_numbers_that_no_writer_stores_are_damage(copy, script):
    tampered(copy, script)
    with pytest.raises(IndexCorruptError):
        Index.open(copy).search(np.ones(DIM), k=3)


def _declared(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + struct.pack("<Q", value) + data[at + 8 :]


def _another(kind: str) -> bytes:
    """A file of FAISS with the same vectors in another index."""
    index = faiss.index_factory(DIM, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(np.eye(DIM, dtype=np.float32))
    index.add(np.eye(DIM, dtype=np.float32))
    return faiss.serialize_index(index).tobytes()


@pytest.mark.parametrize(
    "attack",
    ["vectors", "lists", "centers", "stored", "length", "short", "Flat", "PCA4,Flat", "disk"],
)
def test_an_ann_file_reaches_faiss_only_as_what_is_written(copy, attack, monkeypatch):
    (path,) = (copy / "ann").glob("image-*.faiss")
    data = path.read_bytes()
    lists = data.index(b"ilar")
    size = {"vectors": 8, "lists": 37, "centers": 90, "stored": lists + 4, "length": lists + 24}
    if attack in size:
        data = _declared(data, size[attack], 1 << 40)
    elif attack == "disk":  # lists in another file, which is named
        data = data[:lists] + b"ilod" + struct.pack("<QQQ", 2, 24, 2) + b"/etc/passwd"
    else:
        data = data[:-8] if attack == "short" else _another(attack)
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    count = 1 << 40 if attack == "vectors" else 60
    tampered(
        copy,
        f"UPDATE ann SET size_bytes = {len(data)}, sha256 = '{digest}', count = {count} "
        "WHERE modality = 'image'; DELETE FROM ann WHERE modality = 'caption'",
    )

    def read(*_):
        raise AssertionError("FAISS was asked to read it")

    monkeypatch.setattr(faiss, "read_index", read)
    with Index.open(copy, exact_elements=10 * DIM) as index:
        assert len(index.search(np.ones(DIM), k=3)) == 3  # exact
        assert any("is damaged" in note for note in index.info()["notes"])
