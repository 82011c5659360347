"""An open index under which a backup is restored, or another index put: never a mixed answer."""

import hashlib
import os
import shutil
import sqlite3

import httpx
import numpy as np
import pytest
from clipsearch.ui import Library

from clipsearch.client import Client
from clipsearch.engine.verify import verify
from clipsearch.errors import IndexMigratedError, IndexNotFoundError
from clipsearch.explore.thumbnails import thumbnail
from clipsearch.hub import Hub
from clipsearch.index import Index
from clipsearch.server import create_app
from tests.fakes import FakeEncoder, put
from tests.test_ingest import PixelEncoder, picture
from tests.ui_support import served

REPLACED = "index photos was replaced after it was opened; reopen it"


def overwrite(source, target):
    """Copy the bytes into the files that are there, as `cp` does."""
    for path in [path for path in target.rglob("*") if path.is_file()]:
        if not (source / path.relative_to(target)).is_file():
            path.unlink()
    for path in [path for path in source.rglob("*") if path.is_file()]:
        (target / path.relative_to(source)).write_bytes(path.read_bytes())


def rename(source, target):
    """Put new files in the place of those that are there, as rsync does."""
    for path in [path for path in source.rglob("*") if path.is_file()]:
        beside = target / "beside"
        shutil.copy2(path, beside)
        os.replace(beside, target / path.relative_to(source))


def replace_folder(source, target):
    shutil.rmtree(target)
    shutil.copytree(source, target)


WAYS = [overwrite, rename, replace_folder]


@pytest.fixture
def encoder():
    return FakeEncoder()


def add(path, encoder, *names):
    """Commit items one by one."""
    with Index.open(path, encoder) as index:
        for name in names:
            with index.writer() as writer:
                put(writer, encoder, name, caption=f"caption {name}")


def agrees(index, encoder, names):
    """Whether an index answers as one that holds these items and nothing else."""
    assert sorted(item.caption for item in index.items()) == [f"caption {n}" for n in names]
    hits = index.search(np.ones(encoder.dim, np.float32), k=100)
    assert sorted(hit.item.caption for hit in hits) == [f"caption {n}" for n in names]
    for hit in hits:
        name = hit.item.caption.removeprefix("caption ")
        own = encoder.vector(f"image {name}")
        np.testing.assert_allclose(index.vectors([hit.item.id])[0], own, atol=2e-3)
        (best, *_) = index.search(own, k=1)
        assert best.item.id == hit.item.id
    assert len(index.search(encoder.vector("x"), k=100, where="width >= 0")) == 0
    assert len(index) == len(names)
    return True


@pytest.mark.parametrize("restore", WAYS)
def test_a_restored_copy_is_answered_for_as_it_is(tmp_path, encoder, restore):
    """Numbers and times tell nothing: the open index sees each state as a new one would."""
    path, backup = tmp_path / "photos", tmp_path / "backup"
    Index.create(path, encoder).close()
    add(path, encoder, "a", "b")
    shutil.copytree(path, backup)
    add(path, encoder, "c", "d", "e")
    with Index.open(path, encoder) as opened:
        assert agrees(opened, encoder, "abcde")
        before, was = opened.generation, os.stat(path / "catalog.sqlite")
        restore(backup, path)
        os.utime(path / "catalog.sqlite", ns=(was.st_atime_ns, was.st_mtime_ns))
        assert agrees(opened, encoder, "ab")
        add(path, encoder, "x", "y", "z")
        assert opened.generation == before
        assert opened.is_current()
        assert agrees(opened, encoder, "abxyz")
        opened.remove([opened.items()[0].id])
        assert agrees(opened, encoder, "bxyz")
        report = opened.verify(full=True)
        assert report.ok, report.problems


@pytest.mark.parametrize("restore", WAYS)
def test_a_restored_copy_that_grew_before_anyone_looked_is_not_taken_for_the_old(
    tmp_path, encoder, restore
):
    path, backup = tmp_path / "photos", tmp_path / "backup"
    Index.create(path, encoder).close()
    add(path, encoder, "a")
    shutil.copytree(path, backup)
    add(path, encoder, "b")
    with Index.open(path, encoder) as opened:
        assert agrees(opened, encoder, "ab")
        before = opened.generation, opened.commit_id
        restore(backup, path)
        add(path, encoder, "x")
        assert opened.generation == before[0]
        assert opened.commit_id != before[1]
        assert agrees(opened, encoder, "ax")


def problems(path):
    return " ".join(verify(path, full=True).problems)


def test_verify_notices_an_older_catalog_until_it_is_taken_for_the_present_one(tmp_path, encoder):
    path, older = tmp_path / "photos", tmp_path / "older.sqlite"
    Index.create(path, encoder).close()
    add(path, encoder, "a")
    shutil.copy(path / "catalog.sqlite", older)
    add(path, encoder, "b")
    for taken in (lambda: add(path, encoder, "x"), (path / "committed.json").unlink):
        shutil.copytree(path, tmp_path / "copy")
        assert problems(tmp_path / "copy") == ""
        shutil.rmtree(tmp_path / "copy")
        shutil.copy(older, path / "catalog.sqlite")
        assert "was committed here. Either this is an older copy" in problems(path)
        with Index.open(path, encoder) as index:
            assert agrees(index, encoder, "a")
        taken()
        assert problems(path) == ""
        add(path, encoder, "y")


def test_a_note_of_another_index_or_without_sense_tells_nothing(tmp_path, encoder):
    path, note = tmp_path / "photos", tmp_path / "photos" / "committed.json"
    other = tmp_path / "other"
    for folder, names in ((path, "a"), (other, "xyz")):
        Index.create(folder, encoder).close()
        add(folder, encoder, *names)
    own, strange = note.read_bytes(), (other / "committed.json").read_bytes()
    assert own != strange
    later = own.replace(b'"generation": 1', b'"generation": 9')
    for text in (strange, b"", own[:-1], b"[" * 900, b"[]", b"7", b"\xff", later + b" " * 10**6):
        note.write_bytes(text)
        assert problems(path) == ""
    for number in (b"1e999", b"null", b'"9"', b"true"):
        note.write_bytes(own.replace(b": 1", b": " + number))
        assert problems(path) == ""
    note.write_bytes(later)
    assert "state 9 was committed here" in problems(path)
    shutil.rmtree(path)
    path.mkdir()
    note.write_bytes(strange)
    Index.create(path, encoder).close()
    assert problems(path) == ""


@pytest.mark.parametrize("put_there", WAYS)
def test_another_index_in_the_place_is_refused(tmp_path, encoder, put_there):
    path, other = tmp_path / "photos", tmp_path / "other"
    for folder, names in ((path, "ab"), (other, "xy")):
        Index.create(folder, encoder).close()
        add(folder, encoder, *names)
    with Index.open(path, encoder) as opened:
        assert agrees(opened, encoder, "ab")
        put_there(other, path)
        assert not opened.is_current()
        for use in (lambda: opened.search("a"), lambda: opened.item(1), opened.writer):
            with pytest.raises(IndexMigratedError, match=REPLACED):
                use()
    with Index.open(path, encoder) as again:
        assert again.is_current()
        assert agrees(again, encoder, "xy")
    assert not again.is_current()


def test_an_index_made_again_in_the_same_folder_is_refused(tmp_path, encoder):
    """Even where the file system gives its files the same numbers."""
    path = tmp_path / "photos"
    Index.create(path, encoder).close()
    add(path, encoder, "a", "b")
    with Index.open(path, encoder) as opened:
        assert agrees(opened, encoder, "ab")
        shutil.rmtree(path)
        assert not opened.is_current()
        with pytest.raises(IndexNotFoundError, match="index photos is gone"):
            opened.search("a")
        Index.create(path, encoder).close()
        add(path, encoder, "c", "d")
        assert not opened.is_current()
        with pytest.raises(IndexMigratedError, match=REPLACED):
            opened.search("a")


def test_a_backup_of_an_older_format_is_refused_until_it_is_reopened(tmp_path, encoder):
    path = tmp_path / "photos"
    Index.create(path, encoder).close()
    add(path, encoder, "a")
    older = tmp_path / "older.sqlite"
    shutil.copy(path / "catalog.sqlite", older)
    connection = sqlite3.connect(older)
    connection.execute("DELETE FROM meta WHERE key IN ('index_id', 'commit_id')")
    connection.execute("PRAGMA user_version = 3")
    connection.commit()
    connection.close()
    with Index.open(path, encoder) as opened:
        assert agrees(opened, encoder, "a")
        (path / "catalog.sqlite").write_bytes(older.read_bytes())
        with pytest.raises(IndexMigratedError, match=REPLACED):
            opened.search("a")
    with Index.open(path, encoder) as again:
        assert agrees(again, encoder, "a")


def test_every_change_gives_the_state_a_new_id(tmp_path, encoder):
    path = tmp_path / "photos"
    with Index.create(path, encoder) as index:
        seen = [index.commit_id]
        for change in (
            lambda: add(path, encoder, "a", "b"),
            lambda: index.set_tags([1], ["dog"]),
            lambda: index.refresh_baseline(encoder, force=True),
            lambda: index.remove([2]),
            index.compact,
            lambda: index.build_ann(force=True),
            lambda: index.migrate(FakeEncoder("another"), drop_missing=True),
            index.forget_models,
        ):
            change()
            seen.append(index.commit_id)
        assert len(set(seen)) == len(seen)
        assert all(len(bytes.fromhex(commit)) == 16 for commit in seen)
        index.search(np.ones(encoder.dim))
        assert index.commit_id == seen[-1]  # looking is no change


@pytest.mark.parametrize("restore", [overwrite])
def test_a_server_its_client_and_its_page_attribute_no_hit_to_another_photo(tmp_path, restore):
    """Backed up with a, then b came; restored, and c took the id and the generation of b."""
    encoder = PixelEncoder()
    path, other, backup = tmp_path / "photos", tmp_path / "other", tmp_path / "backup"
    files = {name: picture(tmp_path / f"{name}.png", n) for n, name in enumerate("abc")}

    def grow(folder, name):
        with Index.open(folder, encoder) as index:
            index.add([files[name]])

    for folder in (path, other):
        Index.create(folder, encoder).close()
        grow(folder, "a")
    shutil.copytree(path, backup)
    grow(path, "b")
    with Index.open(path, encoder) as index:
        vectors = {name: index.vectors([n])[0].tolist() for n, name in enumerate("ab", 1)}
        before = index.generation
        copies = [thumbnail(index.item(n)) for n in (1, 2)]
    app = create_app(encoder, {"photos": path, "other": other})
    with served(app) as url, httpx.Client(base_url=url, timeout=60) as http, Client(url) as client:

        def found(name, vector):
            asked = {"terms": [{"vector": vector}], "k": 1}
            (hit,) = http.post(f"/v1/indexes/{name}/search", json=asked).json()["hits"]
            (same,) = client.index(name).search(np.array(vector, np.float32), k=1)
            assert (same.item.id, round(same.score, 4)) == (hit["id"], round(hit["score"], 4))
            return hit["id"], hit["score"] > 0.999

        def shown():
            pages = "/page/results?index=photos", "/page/items/photos/2"
            return [http.get(page).text for page in pages]

        def image(of, **headers):
            return http.get(f"/v1/indexes/photos/items/2/{of}", headers=headers)

        assert found("photos", vectors["b"]) == (2, True)
        assert all("b.png" in piece for piece in shown())
        kept = {of: image(of).headers["etag"] for of in ("image", "thumbnail")}
        for of, tag in kept.items():
            assert image(of, **{"If-None-Match": tag}).status_code == 304
        plain = "/media/photos/2/thumbnail"
        version = sha256_of(files["b"])[:16]
        assert version in shown()[0]
        old = f"?v={version}"
        assert http.get(plain).headers["cache-control"] == "private, no-cache"
        assert "immutable" in http.get(plain + old).headers["cache-control"]

        restore(backup, path)
        grow(path, "c")

        assert client.index("photos").generation == before
        assert found("photos", vectors["a"]) == (1, True)
        assert found("photos", vectors["b"])[1] is False
        assert found("other", vectors["a"]) == (1, True)
        assert all("c.png" in piece and "b.png" not in piece for piece in shown())
        for of, tag in kept.items():
            answer = image(of, **{"If-None-Match": tag})
            assert answer.status_code == 200
            assert answer.content not in (*copies, files["b"].read_bytes())
        assert image("image").content == files["c"].read_bytes()
        assert http.get(plain + old).status_code == 410
        assert http.get(plain).content not in copies


def sha256_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("restore", WAYS)
def test_a_hub_that_held_the_index_open_answers_for_what_is_there(tmp_path, encoder, restore):
    path, backup = tmp_path / "photos", tmp_path / "backup"
    Index.create(path, encoder).close()
    add(path, encoder, "a")
    shutil.copytree(path, backup)
    add(path, encoder, "b")
    hub = Hub(lambda name: encoder, open_index=Index.open)
    library = Library([str(path)], hub=hub)
    assert agrees(hub.index(path), encoder, "ab")
    before = hub.index(path).generation
    assert library.facets("photos").captions == 2
    assert len(library.sample("photos")[0]) == 2
    restore(backup, path)
    add(path, encoder, "x")
    assert hub.index(path).generation == before
    assert agrees(hub.index(path), encoder, "ax")
    rows, vectors = library.sample("photos")
    np.testing.assert_allclose(vectors[list(rows).index(2)], encoder.vector("image x"), atol=2e-3)
    library.close()
    hub.close()
