"""Files that a user names to be written: nothing that is not theirs is lost."""

import json
import os
import shutil
from pathlib import Path

import pytest

from clipsearch import Index, IngestOptions, ZeroShotClassifier
from clipsearch.errors import InvalidInputError


@pytest.fixture(scope="module")
def home(tmp_path_factory, encoder, photos) -> Path:
    """A folder with `photos/`, an `index` of it, a `diary.txt`, and links to all three."""
    home = tmp_path_factory.mktemp("outputs")
    (home / "photos").mkdir()
    for photo in photos[:2]:
        shutil.copy(photo, home / "photos")
    with Index.create(home / "index", encoder) as index:
        index.add(home / "photos")
    (home / "diary.txt").write_text("Dear diary\n")
    (home / "to_index").symlink_to("index")
    (home / "to_photos").symlink_to("photos")
    (home / "to_catalog.parquet").symlink_to("index/catalog.sqlite")
    (home / "to_diary").symlink_to("diary.txt")
    return home


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


@pytest.mark.parametrize("command", ["report", "export", "faiss"])
@pytest.mark.parametrize(
    "target",
    [
        "index/new",
        "index/vectors/new",
        "to_index/catalog.sqlite",
        "to_catalog.parquet",
        "photos/../index/catalog.sqlite",
        "photos/new",
        "to_photos/new",
        "photos/IMAGE",
        "diary.txt",
        "to_diary",
    ],
)
def test_nothing_that_is_not_theirs_is_written_over(home, cli, photos, command, target):
    force = "diary" not in target
    path = home / target.replace("IMAGE", photos[0].name)
    before = content(home)
    words = {
        "report": ("index", home / "photos", "-i", home / "index", "--report", path),
        "export": ("export", path, "-i", home / "index", "-f", "parquet"),
        "faiss": ("export", path, "-i", home / "index", "-f", "faiss"),
    }[command]
    said = cli(*words, *(["--force"] if force else []), expect=InvalidInputError.exit_code).stderr
    assert "Traceback" not in said
    assert "choose" in said
    assert content(home) == before


def test_an_own_file_an_empty_one_and_a_forced_one_are_replaced(home, cli, tmp_path):
    photos, index = home / "photos", home / "index"
    for suffix, words in {
        ".jsonl": ("index", photos, "-i", index, "--report"),
        ".parquet": ("export", "-i", index),
        ".faiss": ("export", "-i", index),
    }.items():
        path = tmp_path / f"out{suffix}"
        path.touch()
        cli(*words, path)
        cli(*words, path)
        written = path.read_bytes()
        assert written
        path.write_text("mine")
        os.link(path, tmp_path / "another_name")
        cli(*words, path, expect=InvalidInputError.exit_code)
        assert path.read_text() == "mine"
        cli(*words, path, "--force")
        assert path.read_bytes()[:20] == written[:20]
        assert (tmp_path / "another_name").read_text() == "mine"
        (tmp_path / "another_name").unlink()
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["unchanged"] * 2


def test_a_failed_export_leaves_the_old_one(home, encoder, tmp_path, monkeypatch):
    path = tmp_path / "out.parquet"
    with Index.open(home / "index", encoder) as index:
        index.export(path)
        before = path.read_bytes()
        with monkeypatch.context() as patched:
            patched.setattr("clipsearch.engine.parquet._vectors", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                index.export(path)
        assert path.read_bytes() == before
        assert os.listdir(tmp_path) == ["out.parquet"]


def test_python_has_the_same_guard(home, encoder, tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    classifier = ZeroShotClassifier(encoder, ["cat", "dog"])
    with Index.open(home / "index", encoder) as index:
        for write in (
            lambda: index.export(mine),
            lambda: index.add(home / "photos", options=IngestOptions(report_file=mine)),
            lambda: classifier.save(mine),
        ):
            with pytest.raises(InvalidInputError, match="did not write it"):
                write()
            assert mine.read_text() == "mine"
        index.export(mine, overwrite=True)
    classifier.save(mine, overwrite=True)
    classifier.save(mine)
    assert ZeroShotClassifier.load(mine, encoder).labels == ("cat", "dog")
