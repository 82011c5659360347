"""Writes that are whole or nothing, and what killed ones leave."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import clipsearch.ui
import pytest

import clipsearch
from clipsearch import Index
from clipsearch.errors import ClipSearchError, InvalidInputError, StorageError
from clipsearch.files import expanded, is_temporary, output_file, replacing, replacing_folder, sweep
from clipsearch.intake.sources import open_source

KILLED = """
import os, signal, sys
from pathlib import Path
from clipsearch.files import {how}

with {how}(Path(sys.argv[1])) as part:
    {write}
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(how: str, write: str, target) -> None:
    """A process that is killed in the middle of a write."""
    code = KILLED.format(how=how, write=write)
    done = subprocess.run([sys.executable, "-c", code, str(target)])
    assert done.returncode == -signal.SIGKILL


def fail(_written: int) -> None:
    raise OSError("full")


def temporary(folder) -> list:
    return [path for path in folder.iterdir() if is_temporary(path.name)]


def make_old(path) -> None:
    before = time.time() - 2 * 24 * 3600
    os.utime(path, (before, before))


def test_a_kill_in_the_middle_leaves_the_old_file_whole_and_is_swept_a_day_later(tmp_path):
    target = tmp_path / "report.json"
    target.write_text("old")
    killed("replacing", "part.write_text('half of the n')", target)
    assert target.read_text() == "old"
    (left,) = temporary(tmp_path)
    with replacing(target) as part:
        part.write_text("new")
    assert target.read_text() == "new"
    assert temporary(tmp_path) == [left]  # young: perhaps another process writes it
    make_old(left)
    with replacing(tmp_path / "other.json") as part:
        part.write_text("other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.json", "report.json"]


def test_a_kill_in_the_middle_leaves_the_old_folder_whole_and_is_swept_a_day_later(tmp_path):
    target = tmp_path / "model"
    for content in ("old", "new"):
        with replacing_folder(target) as part:
            (part / "weights").write_text(content)
        assert (target / "weights").read_text() == content
        assert not temporary(tmp_path)
    killed("replacing_folder", "(part / 'weights').write_text('newest')", target)
    assert (target / "weights").read_text() == "new"
    (left,) = temporary(tmp_path)
    sweep(tmp_path)
    assert left.is_dir()
    make_old(left)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_in_the_middle_leaves_the_old_content_and_no_temporary_file(tmp_path):
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("old")
    folder.mkdir()
    (folder / "part").write_text("old")
    with pytest.raises(OSError, match="full"), replacing(file) as part:
        fail(part.write_text("new"))
    with pytest.raises(OSError, match="full"), replacing_folder(folder) as part:
        fail((part / "part").write_text("new"))
    assert file.read_text() == (folder / "part").read_text() == "old"
    assert sorted(tmp_path.iterdir()) == [file, folder]


def test_names_that_only_look_temporary_are_never_deleted(tmp_path):
    names = ["photo.part", ".clipsearch-12.part", ".clipsearch-0123456789abcdef.partial", ".part"]
    for name in names:
        (tmp_path / name).touch()
        make_old(tmp_path / name)
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    sweep(tmp_path / "absent")


@pytest.mark.parametrize("how", ["replacing", "replacing_folder"])
def test_two_processes_that_write_the_same_leave_one_of_them_whole(tmp_path, how):
    target = tmp_path / "target"
    write = {
        "replacing": "part.write_text(word * 10_000)",
        "replacing_folder": "[(part / str(n)).write_text(word) for n in range(20)]",
    }[how]
    code = (
        f"import sys\nfrom pathlib import Path\nfrom clipsearch.files import {how}\n"
        "target, word = Path(sys.argv[1]), sys.argv[2]\n"
        f"for _ in range(60):\n    with {how}(target) as part: {write}\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(target), word]) for word in "abc"]
    assert [process.wait() for process in running] == [0, 0, 0]
    if how == "replacing":
        words = {target.read_text()[:1]}
        assert target.read_text() == words.copy().pop() * 10_000
    else:
        words = {file.read_text() for file in target.iterdir()}
        assert len(list(target.iterdir())) == 20
    assert len(words) == 1
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_that_a_user_names_is_refused_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InvalidInputError, match="no folder"), output_file(tmp_path / "no" / "f"):
        pass
    with pytest.raises(InvalidInputError, match="is a folder"), output_file(tmp_path):
        pass
    with pytest.raises(StorageError, match="cannot write"), output_file(tmp_path / "file"):
        raise OSError(28, "No space left on device")
    with output_file("~/file") as part:
        part.write_text("there")
        assert not (tmp_path / "file").exists()
    assert (tmp_path / "file").read_text() == "there"
    umask = os.umask(0o022)
    os.umask(umask)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with output_file(tmp_path / "link") as part:
        part.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        with output_file(pipe) as part:
            part.write_text("through")
        assert reader.communicate()[0] == "through"
    assert pipe.is_fifo()
    code = (
        "from clipsearch.files import output_file\n"
        "with output_file('/dev/stdout') as part: part.write_text('said')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "said"


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path):
    target = tmp_path / "private"
    target.touch(0o600)
    with output_file(target) as part:
        part.write_text("secret")
    assert target.stat().st_mode & 0o777 == 0o600


def test_the_folder_of_a_user_who_does_not_exist_is_a_name_as_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert expanded("~nobody-at-all/x") == Path("~nobody-at-all/x")
    assert expanded("~") == Path.home()
    with pytest.raises(ClipSearchError, match="~nobody-at-all"):
        Index.open("~nobody-at-all/index")
    with pytest.raises(ClipSearchError, match="~nobody-at-all"):
        open_source("~nobody-at-all/photos")
    packages = [Path(package.__file__).parent for package in (clipsearch, clipsearch.ui)]
    sources = {path for package in packages for path in package.rglob("*.py")}
    assert len(sources) > 100
    raising = re.compile(r"(?<!os\.path)\.expanduser\(")  # it has another exception for that
    assert [path for path in sources if raising.search(path.read_text())] == []
