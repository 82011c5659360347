"""The cache folder: one limit for everything in it, and the least recently used goes first."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from clipsearch import cache
from clipsearch.cache import cached_key, cached_vectors, read_entry, write_entry
from clipsearch.cli.output import short_path
from clipsearch.errors import InvalidInputError

KB = 1000


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv(cache.LIMIT_VARIABLE, "0.1")
    return tmp_path / "cache"


def thumbnail(n: int) -> str:
    key = cached_key("thumbnail", n)
    return f"thumbnails/320/{key[:2]}/{key[2:]}.jpg"


def names(n: int) -> list[str]:
    """An entry of every kind that is one file."""
    return [
        f"classes/{cached_key('class', n)}.npy",
        f"maps/{cached_key('map', n)}.npz",
        f"probes/{cached_key('probe', n)}.npy",
        thumbnail(n),
    ]


def aged(folder, name: str, hours: float) -> None:
    then = time.time() - hours * 3600
    os.utime(folder / name, (then, then))


def total(folder) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_total_stays_under_the_limit_and_the_least_recently_used_goes_first(folder):
    oldest, older = names(0), names(1)
    for hours, group in ((400, oldest), (300, older)):
        for name in group:
            write_entry(name, bytes(10 * KB))
            aged(folder, name, hours)
    text = folder / "text" / ("ab" * 16)
    assert cache.write_folder_entry("text/" + "ab" * 16, lambda part: _fill(part, 15 * KB))
    os.utime(text, (time.time() - 350 * 3600,) * 2)
    assert total(folder) == 95 * KB
    write_entry(thumbnail(2), bytes(10 * KB))
    assert total(folder) <= 0.1e6
    left = [name for name in oldest if (folder / name).exists()]
    assert len(left) < len(oldest)
    assert all((folder / name).exists() for name in (*older, thumbnail(2)))
    for n in range(3, 40):  # all that was older goes, the text encoder as a whole
        write_entry(thumbnail(n), bytes(10 * KB))
        assert total(folder) <= 0.1e6
    assert not any((folder / name).exists() for name in (*oldest, *older))
    assert not text.exists()
    assert read_entry(thumbnail(39)) == bytes(10 * KB)


def _fill(part, size: int) -> None:
    (part / "one.npy").write_bytes(bytes(size // 3))
    (part / "two.npy").write_bytes(bytes(size - size // 3))


def test_what_was_read_is_not_the_least_recently_used(folder):
    for n in range(9):
        write_entry(thumbnail(n), bytes(10 * KB))
        aged(folder, thumbnail(n), 100 - n)
    assert read_entry(thumbnail(0)) is not None
    text = "text/" + "cd" * 16
    assert cache.write_folder_entry(text, lambda part: _fill(part, 9 * KB))
    os.utime(folder / text, (0, 0))
    cache.folder_entry(text)
    write_entry(thumbnail(9), bytes(10 * KB))
    assert read_entry(thumbnail(0)) is not None
    assert (folder / text).is_dir()
    assert read_entry(thumbnail(1)) is None


def test_nothing_is_deleted_that_is_no_entry(folder):
    strangers = ["photo.jpg", "thumbnails/320/ab/holiday.jpg", "maps/world.npz", "letters/a.txt"]
    for name in strangers:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(200 * KB))
        aged(folder, name, 10_000)
    for n in range(20):
        write_entry(thumbnail(n), bytes(10 * KB))
    assert all((folder / name).exists() for name in strangers)
    with pytest.raises(ValueError, match="never be deleted"):
        write_entry("maps/world.npz", b"")


def test_what_killed_writes_left_is_swept(folder):
    left = folder / "maps" / ".clipsearch-0123456789abcdef.part"
    left.parent.mkdir(parents=True)
    left.write_bytes(bytes(10))
    aged(folder, "maps/" + left.name, 48)
    for n in range(20):
        write_entry(thumbnail(n), bytes(10 * KB))
    assert not left.exists()


def test_processes_that_write_the_same_entries_leave_them_whole_and_few(folder):
    code = (
        "import numpy as np\n"
        "from clipsearch.cache import cached_key, cached_vectors\n"
        "unit = np.eye(50, dtype=np.float32)\n"
        "for n in range(150):\n"
        "    found = cached_vectors('classes', cached_key(n % 30), lambda: unit, shape=(50, 50))\n"
        "    assert (found == unit).all()\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    # Each may write a sixteenth of the limit before it looks again.
    assert total(folder) <= 0.1e6 * (1 + 3 / 16) + 3 * 10_128
    for path in (folder / "classes").iterdir():
        assert np.load(path).shape == (50, 50)


def test_a_limit_that_is_no_size_is_refused(monkeypatch):
    for text in ("much", "-1", "nan"):
        monkeypatch.setenv(cache.LIMIT_VARIABLE, text)
        with pytest.raises(InvalidInputError, match=r"CLIPSEARCH_CACHE_MB must be a number"):
            write_entry(thumbnail(0), b"x")
    monkeypatch.setenv(cache.LIMIT_VARIABLE, "0")
    unit = np.eye(3, dtype=np.float32)
    for _ in range(2):
        cached_vectors("classes", cached_key("zero"), lambda: unit, shape=(3, 3))
    assert read_entry(f"classes/{cached_key('zero')}.npy") is None


def test_a_clock_that_was_set_back_keeps_nothing_for_ever(folder):
    """The folder was looked through, and an entry used, in what is the future now."""
    write_entry(thumbnail(0), bytes(60 * KB))
    aged(folder, ".looked-through", -1000)
    aged(folder, thumbnail(0), -1000)
    read_entry(thumbnail(0))
    assert (folder / thumbnail(0)).stat().st_mtime <= time.time() + 60
    cache._written.clear()
    write_entry(thumbnail(1), bytes(5 * KB))
    assert (folder / ".looked-through").stat().st_mtime <= time.time() + 60


def test_a_user_without_a_home_folder_has_no_cache(monkeypatch):
    for variable in (cache.CACHE_VARIABLE, "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # as in a container with any user id
    write_entry(thumbnail(0), b"x")
    assert read_entry(thumbnail(0)) is None
    assert not cache.write_folder_entry("text/" + "ab" * 16, lambda part: None)
    assert short_path("/photos/a.jpg") == "/photos/a.jpg"
