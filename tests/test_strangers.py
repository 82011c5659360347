"""Indexes and label packs from a stranger: nothing in them runs, and nothing else is read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import sqlite3
import struct
import sys
import time
from pathlib import Path

import faiss
import httpx
import numpy as np
import pytest
from clipsearch.ui.library import Library
from clipsearch.ui.media import media_router
from clipsearch.ui.settings import Settings
from fastapi import FastAPI
from PIL import Image
from safetensors.numpy import save

from clipsearch import Index, known
from clipsearch.classification.labelpack import load_pack
from clipsearch.cli.page import note_hidden
from clipsearch.cluster.index_shards import open_shards, shard_index, shards_folder
from clipsearch.engine import digests, foreign
from clipsearch.engine.schema import definition
from clipsearch.errors import IndexCorruptError, InvalidInputError, SourceError
from clipsearch.ingest import IngestOptions
from clipsearch.server import ServerSettings, create_app
from tests.fakes import DIM, FakeEncoder, fill
from tests.test_ingest import PixelEncoder
from tests.ui_support import served

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
        digested(connection)
    connection.close()


def digested(connection: sqlite3.Connection) -> None:
    """Do what a stranger does as well: nothing looks damaged."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    with contextlib.suppress(sqlite3.Error):  # of a table that is no longer there
        connection.execute("DELETE FROM digests")
        digests.fill(connection, version)


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
    if script in ("DROP TRIGGER words_insert", "DROP TABLE thumbprints"):
        version = 5  # what an older version lacks, a migration makes
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


@pytest.mark.parametrize("name", ["catalog.sqlite-journal", "catalog.sqlite-wal", "writer.lock"])
def test_a_pipe_in_place_of_a_part_is_refused(copy, name):
    (copy / name).unlink(missing_ok=True)
    os.mkfifo(copy / name)
    with pytest.raises(IndexCorruptError, match=f"{name} is no file"):
        Index.open(copy)


def test_a_pipe_in_place_of_vectors_is_damage(copy):
    path = next(path for path in copy.glob("vectors/image-*.npy") if ".rows" not in path.name)
    path.unlink()
    os.mkfifo(path)
    tampered(copy, "UPDATE segments SET vectors_size_bytes = 0 WHERE modality = 'image'")
    with pytest.raises(IndexCorruptError, match="it is no file"):
        Index.open(copy)


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
        f"UPDATE ann SET size_bytes = {len(data)}, sha256 = '{digest}', count = {count}, "
        "head_bytes = NULL, head_sha256 = NULL "
        "WHERE modality = 'image'; DELETE FROM ann WHERE modality = 'caption'",
    )

    def read(*_):
        raise AssertionError("FAISS was asked to read it")

    monkeypatch.setattr(faiss, "read_index", read)
    with Index.open(copy, exact_elements=10 * DIM) as index:
        assert len(index.search(np.ones(DIM), k=3)) == 3  # exact
        assert any("is damaged" in note for note in index.info()["notes"])


# --- which files are shown ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def indexed(tmp_path_factory, encoder) -> Path:
    """A folder with nine images, their index, and an image beside them."""
    base = tmp_path_factory.mktemp("indexed")
    folder = base / "photos"
    folder.mkdir()
    for number in range(9):
        Image.new("RGB", (40, 30), (20 * number, 90, 10)).save(folder / f"{number}.png")
    Image.new("RGB", (40, 30), "white").save(base / "secret.png")
    with Index.create(base / "home" / "photos", encoder) as index:
        index.add(folder)
    return base


@pytest.fixture
def shown(indexed, tmp_path):
    """The images, their index and the image beside them, as they are before every test."""
    kept = shutil.copytree(indexed / "home", tmp_path / "kept")
    yield indexed / "photos", indexed / "home" / "photos", indexed / "secret.png"
    shutil.rmtree(indexed / "home")
    shutil.copytree(kept, indexed / "home")


def _digest(path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_only_images_of_indexed_folders_are_shown_whatever_the_catalog_says(shown, encoder):
    folder, path, secret = shown
    notes, page, pipe = folder / "notes.txt", folder / "page.png", folder / "pipe.png"
    notes.write_text("a secret")
    page.write_text("<html><script>alert(1)</script></html>")
    (folder / "link.png").symlink_to(secret)
    os.mkfifo(pipe)
    passwd = json.dumps({"file": "/etc/passwd", "member": "a.png", "at": 0, "size": 9})
    said = {  # path, place, hash
        1: ("/etc/passwd", None, None),
        2: (str(secret), None, _digest(secret)),
        3: (str(notes), None, _digest(notes)),
        4: (None, passwd, _digest("/etc/passwd")),
        5: (str(folder / "4.png"), None, None),
        6: (str(folder / "link.png"), None, _digest(secret)),
        7: (str(pipe), None, ""),
        8: (str(page), None, _digest(page)),
    }
    with sqlite3.connect(path / "catalog.sqlite") as connection:
        connection.executemany(
            "UPDATE items SET path = ?, place = ?, sha256 = ?, size_bytes = NULL, format = 'PNG' "
            "WHERE row = ?",
            [(*facts, row) for row, facts in said.items()],
        )
        connection.execute("UPDATE documents SET json = '[\"/\"]' WHERE key = 'roots'")
        digested(connection)
    connection.close()
    assert _statuses(path, encoder) == {**dict.fromkeys(said, 404), 9: 200}


def test_no_command_opens_what_only_an_index_names(tmp_path):
    folder, secret = tmp_path / "photos", tmp_path / "secret.png"
    folder.mkdir()
    for number in range(5):
        Image.new("RGB", (40, 30), (20 * number, 90, 10)).save(folder / f"{number}.png")
    Image.new("RGB", (40, 30), "white").save(secret)
    pipe = folder / "pipe.png"
    os.mkfifo(pipe)
    path = tmp_path / "index"
    with Index.create(path, PixelEncoder()) as index:
        assert index.add(folder, options=IngestOptions(workers=1)).indexed == 5
    inside = json.dumps({"file": str(secret), "member": "a.png", "at": 0, "size": 9})
    said = {1: ("/etc/passwd", None), 2: (str(secret), None), 3: (str(pipe), None)}
    said[4] = (None, inside)
    with sqlite3.connect(path / "catalog.sqlite") as connection:
        connection.executemany(
            "UPDATE items SET path = ?, place = ?, sha256 = NULL, size_bytes = NULL WHERE row = ?",
            [(*facts, row) for row, facts in said.items()],
        )
        digested(connection)
    connection.close()
    opened = set[str]()
    sys.addaudithook(lambda event, args: opened.add(str(args[0])) if event == "open" else None)
    with Index.open(path, PixelEncoder()) as index:
        index.duplicates(0.01)
        another = PixelEncoder()
        another.fingerprint = "another"
        report = index.migrate(another, workers=1)
    assert not opened & {"/etc/passwd", str(secret)}
    reasons = {one.key.rpartition("/")[2]: one.reason for one in report.missing}
    assert len(reasons) == 4
    for number in (0, 1):
        assert "was not indexed on this machine" in reasons[f"{number}.png"]


def _statuses(path: Path, encoder, *roots: Path) -> dict[int, int]:
    """How the image, the thumbnail and the page's copy of every item are answered, all alike."""
    settings = ServerSettings(roots=roots)
    app = create_app(encoder, {"photos": path}, settings=settings, ui=False)
    beside = FastAPI()
    library = Library([str(path)], load=lambda name: encoder)
    beside.include_router(media_router(library, Settings(roots=roots)))
    found = {}
    with served(app) as api, served(beside) as page, httpx.Client(timeout=20) as client:
        for row in range(1, 10):
            item = f"{api}/v1/indexes/photos/items/{row}"
            answers = [client.get(f"{item}/image"), client.get(f"{item}/thumbnail")]
            copies = [
                client.get(f"{page}/media/photos/{row}/{n}") for n in ("thumbnail", "preview")
            ]
            statuses = {answer.status_code for answer in answers}
            statuses |= {404 if copy.status_code == 410 else copy.status_code for copy in copies}
            assert len(statuses) == 1, (row, answers, copies)
            found[row] = statuses.pop()
            for answer in (*answers, *copies):
                assert (found[row] == 200) == answer.headers["content-type"].startswith("image/")
                assert b"root:" not in answer.content
    library.close()
    return found


def test_a_copied_index_shows_images_once_its_folders_are_named_or_indexed(
    shown, encoder, tmp_path, capsys, cli
):
    folder, path, _ = shown
    copied = Path(shutil.copytree(path, tmp_path / "copied" / "photos"))
    nothing, all_of_them = (dict.fromkeys(range(1, 10), status) for status in (404, 200))
    app = create_app(encoder, {"photos": copied}, ui=False)
    with served(app) as api:
        answer = httpx.get(f"{api}/v1/indexes/photos/items/1/image").json()
    assert "clipsearch index" in answer["detail"]
    assert "--root" in answer["detail"]
    for one in (copied, path):
        with Index.open(one) as index:
            note_hidden(index)
    told = capsys.readouterr().err
    assert told.count("was not indexed on this machine") == 1
    assert "--root FOLDER" in cli("info", "-i", copied).stderr
    assert not cli("info", "-i", path).stderr
    assert _statuses(copied, encoder) == nothing
    assert _statuses(copied, encoder, folder) == all_of_them
    with Index.open(copied, encoder) as index:
        assert index.indexed_folders() == ()
        index.add(folder)
        assert index.indexed_folders() == (str(folder),)
    assert _statuses(copied, encoder) == all_of_them
    (entry, *_) = (known.state_folder() / "indexed").iterdir()
    assert entry.stat().st_mode & 0o077 == 0


def test_a_list_of_files_lets_their_folders_be_shown(shown, encoder, tmp_path):
    folder, _, secret = shown
    with Index.create(tmp_path / "home" / "list", encoder) as index:
        index.add([str(folder / "1.png"), str(secret)])
        assert index.indexed_folders() == (str(folder.parent), str(folder))


# --- which models are loaded ----------------------------------------------------------------------


def test_a_model_that_only_an_index_names_is_loaded_when_it_is_allowed(
    cli, shown, other, tmp_path, monkeypatch
):
    folder, path, _ = shown
    monkeypatch.setenv("CLIPSEARCH_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(known, "_loaded", set())
    taken = socket.create_server(("127.0.0.1", 0))  # so that `ui` ends after what it has to say
    with sqlite3.connect(path / "catalog.sqlite") as connection:
        connection.execute("UPDATE models SET name = ?", (other,))
        connection.execute("UPDATE models SET fingerprint = 'abc'")
        connection.execute("UPDATE meta SET value = 'abc' WHERE key = 'fingerprint'")
        connection.execute("UPDATE segments SET fingerprint = 'abc'")
        digested(connection)
    connection.close()
    for command in (
        ["search", "a cat"],
        ["index", folder],
        ["tag", "-l", "cat"],
        ["serve", "--no-ui", "--port", 0],
        ["serve", "--ray", "local"],
        ["ui", "--no-browser", "--port", taken.getsockname()[1]],
    ):
        done = cli(*command, "-i", path, expect=1)
        (told,) = [one for one in done.stderr.splitlines() if "never used on this machine" in one]
        assert "--trust-model" in told
    taken.close()
    # Allowed, it is loaded, and found to be another one than the index says.
    done = cli("search", "a cat", "-i", path, "--trust-model", expect=1)
    assert "cannot be compared" in done.stderr
    done = cli("search", "a cat", "-i", path, expect=1)
    assert "cannot be compared" in done.stderr
    assert cli("info", "-i", path).returncode == 0


# --- packs, shards, embeddings --------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<Q", 1 << 40) + b"{}",
        struct.pack("<Q", 16 << 20) + b"[" * (16 << 20),
        struct.pack("<Q", 90_000) + b"[" * 90_000,
        b"PK\x03\x04" + bytes(60),
        b"\x80\x04\x95" + bytes(60),
        save({"weights": np.zeros((1, 4), np.float32)}, {"format": "clipsearch-labels"}),
        save(
            {"weights": np.zeros((1, 4), np.float32)},
            {"format": "clipsearch-labels", "version": "1", "pack": '{"groups": [[1]]}'},
        ),
    ],
)
def test_what_is_no_label_pack_is_refused(data, tmp_path):
    with pytest.raises(InvalidInputError, match="is not a label pack"):
        load_pack(data)
    pipe = tmp_path / "labels.clip"
    os.mkfifo(pipe)
    for odd in (pipe, "/dev/zero"):
        with pytest.raises(InvalidInputError, match="not a regular file"):
            load_pack(odd)


@pytest.mark.parametrize("name", ["../photos", "/etc", "12345678/../../photos", "12345678"])
def test_a_list_of_shards_names_no_other_folder(copy, name):
    shard_index(copy, 2)
    manifest = shards_folder(copy) / "shards.json"
    said = json.loads(manifest.read_text())
    said["shards"][0]["folder"] = name
    manifest.write_text(json.dumps(said))
    with pytest.raises(IndexCorruptError, match="is no name of a shard"):
        open_shards(copy)


def test_embeddings_that_claim_more_than_they_have_are_refused(copy, tmp_path):
    folder = tmp_path / "embeddings" / "img_emb"
    folder.mkdir(parents=True)
    path = folder / "img_emb_0.npy"
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
    pickled = path.read_bytes()
    np.save(path, np.eye(DIM, dtype=np.float32))
    huge = path.read_bytes().replace(b"(16, 16), ", b"(9" + b"9" * 12 + b", 16), ")
    with Index.open(copy) as index:
        for data in (pickled, huge, b"\x93NUMPY\x01\x00\xff\xff", path.read_bytes()[:90]):
            path.write_bytes(data)
            with pytest.raises(SourceError, match="cannot be read"):
                index.import_embeddings(folder.parent)
