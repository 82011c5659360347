"""An open index under which a backup is restored, or another index put: never a mixed answer."""

import os
import shutil
import sqlite3

import numpy as np
import pytest

from clipsearch.errors import IndexMigratedError, IndexNotFoundError
from clipsearch.index import Index
from tests.fakes import FakeEncoder, put

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
