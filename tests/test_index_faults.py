"""Locks, damaged files, full disks, missing permissions, other versions."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from clipsearch.engine import ann, catalog
from clipsearch.engine.writer import Writer
from clipsearch.errors import (
    IndexCorruptError,
    IndexLockedError,
    IndexVersionError,
    InvalidInputError,
    StorageError,
)
from clipsearch.index import Index
from tests.fakes import DIM, FakeEncoder, fill, put, record

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def encoder():
    return FakeEncoder()


@pytest.fixture
def index(tmp_path, encoder):
    with Index.create(tmp_path / "index", encoder) as index:
        fill(index, encoder, 40, commits=2, captions=True)
        yield index


def child(code: str, *arguments: object, before=(), **options) -> subprocess.Popen:
    """Run Python in a process of its own, with the tests importable."""
    return subprocess.Popen(
        [*before, sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def sound(path, count) -> None:
    with Index.open(path) as index:
        assert len(index) == count
        assert len(index.search(np.ones(DIM), k=1000)) == count
        report = index.verify(full=True)
        assert report.ok, report.problems


# --- interruptions --------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["commit", "compact"])
def test_ctrl_c_as_a_commit_succeeds_leaves_the_new_state(index, encoder, monkeypatch, what):
    """Python raises it after SQLite's COMMIT, in which it came."""
    reset = Writer._reset

    def interrupted(self):
        if getattr(self, "_has_new_files", False) and not self._conn.in_transaction:
            monkeypatch.setattr(Writer, "_reset", reset)
            raise KeyboardInterrupt
        reset(self)

    monkeypatch.setattr(Writer, "_reset", interrupted)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        if what == "compact":
            index.compact()
        else:
            fill(index, encoder, 10, first=40)
    assert Writer._reset is reset
    with index.writer():
        pass  # which sweeps
    sound(index.path, 40 if what == "compact" else 50)


def test_ctrl_c_between_an_item_and_its_vector_leaves_neither(index, encoder, monkeypatch):
    insert = catalog.insert_items

    def interrupted(*arguments, **options):
        insert(*arguments, **options)
        raise KeyboardInterrupt

    writer = index.writer()
    put(writer, encoder, "before")
    with monkeypatch.context() as patch:
        patch.setattr(catalog, "insert_items", interrupted)
        with pytest.raises(KeyboardInterrupt):
            put(writer, encoder, "interrupted")
    put(writer, encoder, "after")
    writer.commit()  # as `Index.add` does on its way out
    writer.close()
    sound(index.path, 41)


def test_an_item_that_is_refused_leaves_the_staged_one_that_it_would_replace(index, encoder):
    with index.writer() as writer:
        first = put(writer, encoder, "twice", caption="good")
        with pytest.raises(InvalidInputError):
            writer.put(record("twice", caption="cut \ud83d"), image=np.ones(DIM))
        put(writer, encoder, "later")
    sound(index.path, 42)
    np.testing.assert_allclose(index.vectors(first)[0], encoder.vector("image twice"), atol=1e-3)


def test_an_item_that_is_refused_costs_no_other_of_its_batch(index, encoder):
    records = [record(f"new {n}", caption="fine") for n in range(20)]
    records[3] = record("half", caption="cut \ud83d")
    records[11] = record("too large", caption="fine", size_bytes=2**70)
    records[12] = record("new 5", caption="again")
    at, vectors = np.arange(20), np.stack([encoder.vector(f"{n}") for n in range(20)])
    vectors[7] = np.nan
    with index.writer() as writer:
        ends = writer.put_many(records, images=(at, vectors), captions=(at[:0], vectors[:0]))
        refused = {n for n, end in enumerate(ends) if isinstance(end, InvalidInputError)}
        assert refused == {3, 7, 11}
        assert "image vector of /photos/new 7.jpg" in str(ends[7])
        rows = [end for end in ends if not isinstance(end, InvalidInputError)]
        assert rows == list(range(41, 41 + 17))
        assert writer.vector(ends[5]) is None  # which the twelfth has replaced
        np.testing.assert_allclose(writer.vector(ends[12]), vectors[12], atol=1e-3)
        with pytest.raises(InvalidInputError, match="an item needs an image or a caption"):
            writer.put(record("nothing"))
        with pytest.raises(InvalidInputError, match=r"shape \[16\], got \[8\]"):
            writer.put(record("nothing"), image=np.ones(8))
        with pytest.raises(InvalidInputError, match="2 image vectors came for 1"):
            writer.put_many([record("nothing")], images=(at[:1], np.ones((2, 16))))
    sound(index.path, 56)


def test_ctrl_c_between_a_caption_and_its_vector_leaves_the_old_one(index, encoder, monkeypatch):
    update = catalog.update_item

    def interrupted(*arguments, **options):
        update(*arguments, **options)
        raise KeyboardInterrupt

    writer = index.writer()
    writer.recaption(1, "dropped", np.ones(DIM))
    with monkeypatch.context() as patch:
        patch.setattr(catalog, "update_item", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.recaption(2, "interrupted", np.ones(DIM))
    writer.recaption(3, "after", encoder.vector("text after"))
    writer.commit()
    writer.close()
    assert [item.caption for item in index.items()[:4]] == [
        *("caption 0", "caption 1", "after", "caption 3"),
    ]
    vectors = index.vectors([1, 2, 3], "caption")
    wanted = [encoder.vector(f"text {text}") for text in ("caption 0", "caption 1", "after")]
    np.testing.assert_allclose(vectors, np.stack(wanted), atol=1e-3)
    sound(index.path, 40)


def test_a_change_that_is_refused_leaves_nothing_of_itself(index, encoder):
    def refused(conn):
        conn.execute("DELETE FROM items")
        raise InvalidInputError("no")

    with index.writer() as writer:
        put(writer, encoder, "before")
        with pytest.raises(InvalidInputError, match="no"):
            writer.change(refused)
        put(writer, encoder, "after")
    sound(index.path, 42)


def test_a_text_that_sqlite_finds_too_long_is_refused_by_itself(index, encoder):
    with index.writer() as writer:
        writer._conn.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
        put(writer, encoder, "before")
        with pytest.raises(InvalidInputError, match="too big"):
            put(writer, encoder, "long", caption="x" * 10_001)
    sound(index.path, 41)


# --- the writer lock ------------------------------------------------------------------------------

HOLD = """
    import sys, time
    from clipsearch.index import Index
    index = Index.open(sys.argv[1])
    writer = index.writer()
    print("locked", flush=True)
    time.sleep(60)
"""


def test_the_second_writer_is_told_who_the_first_is(index):
    holder = child(HOLD, index.path)
    try:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(IndexLockedError, match=rf"process {holder.pid} on .* since 20.*--wait"):
            index.writer()
        started = time.monotonic()
        with pytest.raises(IndexLockedError, match=r"Waited 0\.3 s"):
            index.remove([1], wait=0.3)
        assert time.monotonic() - started >= 0.3
        assert len(index.search(np.ones(DIM))) == 10  # readers take no lock
    finally:
        holder.kill()
        holder.communicate()
    index.remove([1])  # the lock of a deleted process is nobody's
    sound(index.path, 39)


def test_a_writer_waits_for_its_turn(index, encoder):
    holder = child(HOLD.replace("60", "0.5") + "    writer.close()\n", index.path)
    assert holder.stdout.readline() == "locked\n"
    assert index.remove([1], wait=True) == 1
    holder.communicate()
    assert holder.returncode == 0


def test_forked_children_do_not_hold_the_lock(index):
    writer = index.writer()
    pid = os.fork()
    if pid == 0:
        time.sleep(5)
        os._exit(0)
    try:
        writer.close()
        index.writer().close()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_two_writers_in_one_process(index):
    with index.writer(), pytest.raises(IndexLockedError, match=f"process {os.getpid()}"):
        index.remove([1])


# --- damaged files --------------------------------------------------------------------------------


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "altered":
        data[-20] ^= 0xFF
        path.write_bytes(data)
    elif how == "silently altered":  # as a failing disk does: time and size stay
        stat = path.stat()
        data[-20] ^= 0xFF
        path.write_bytes(data)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def vector_files(index) -> list[Path]:
    return sorted((index.path / "vectors").iterdir())


@pytest.mark.parametrize("how", ["missing", "truncated", "empty", "altered"])
@pytest.mark.parametrize("which", [0, 1])
def test_a_damaged_vector_file_is_named_with_the_remedy(index, how, which):
    path = vector_files(index)[which]
    index.close()
    damage(path, how)
    with pytest.raises(IndexCorruptError, match=rf"{path.name} is (damaged|missing).*estore"):
        Index.open(index.path).search(np.ones(DIM))
    report = index.verify()
    assert not report.ok
    assert path.name in report.problems[0]


def test_a_silently_altered_vector_file_is_found_by_full_verification(index):
    path = next(p for p in vector_files(index) if ".rows" not in p.name)
    damage(path, "silently altered")
    assert index.verify().ok
    report = index.verify(full=True)
    assert f"{path.name} is damaged: its content was altered" in report.problems[0]


def test_a_file_truncated_under_an_open_index_is_an_error_not_a_crash(index):
    with Index.open(index.path, exact_elements=1) as reader:
        reader.search(np.ones(DIM), exact=True)
        for path in vector_files(index):
            os.truncate(path, 150)
        with pytest.raises(IndexCorruptError, match="ends too early"):
            reader.search(np.ones(DIM), exact=True)


@pytest.mark.parametrize("how", ["altered", "silently altered"])
def test_a_writer_never_copies_a_damaged_segment(index, how):
    path = next(p for p in vector_files(index) if ".rows" not in p.name)
    damage(path, how)
    with pytest.raises(IndexCorruptError, match=path.name):
        index.compact()
    assert path.exists()
    assert not index.verify(full=True).ok


@pytest.mark.parametrize("how", ["missing", "truncated", "empty", "altered"])
def test_a_damaged_catalog_is_named_with_the_remedy(index, how):
    path = index.path / "catalog.sqlite"
    index.close()
    if how == "altered":
        data = bytearray(path.read_bytes())
        data[: len(data) : 7] = b"x" * len(data[::7])
        path.write_bytes(data)
    else:
        damage(path, how)
    with pytest.raises(IndexCorruptError, match=r"catalog\.sqlite.* is (damaged|missing).*index"):
        Index.open(index.path).search(np.ones(DIM))


def test_full_verification_finds_contradictions(index):
    connection = sqlite3.connect(index.path / "catalog.sqlite")
    with connection:
        (trigger,) = connection.execute(
            "SELECT sql FROM sqlite_schema WHERE name = 'words_delete'"
        ).fetchone()
        connection.execute("DROP TRIGGER words_delete")
        connection.execute("DELETE FROM items WHERE row = 3")
        connection.execute(trigger)
        connection.execute("INSERT INTO tombstones VALUES ('image', 999)")
        connection.execute("INSERT INTO tags VALUES (3, 'default', 'dog', 1.0)")
    connection.close()
    told = " ".join(index.verify().problems)
    assert "says 40 items, but has 39" in told
    assert "1 image vectors belong to no item, the first are 3" in told
    assert "1 removed rows are listed that no image segment has" in told
    assert "1 tags belong to no item" in told
    with pytest.raises(IndexCorruptError, match="no item 3"):
        index.search(np.ones(DIM), k=100)


# --- lost or damaged ANN files --------------------------------------------------------------------


@pytest.mark.parametrize("how", ["missing", "truncated", "empty", "altered"])
def test_a_lost_ann_file_is_noted_and_rebuilt(tmp_path, encoder, how, caplog):
    Index.create(tmp_path / "index", encoder).close()
    with Index.open(tmp_path / "index", encoder, exact_elements=100 * DIM) as index:
        fill(index, encoder, 300)
        index.build_ann()
        hits = [h.item.id for h in index.search("x", k=5, exact=True)]
        (path,) = (index.path / "ann").glob("*.faiss")
        damage(path, how)
    with Index.open(tmp_path / "index", encoder, exact_elements=100 * DIM) as index:
        found = index.search("x", k=5)
        assert [h.item.id for h in found] == hits
        assert not found.approximate
        (note,) = index.info()["notes"]
        assert path.name in note
        assert "clipsearch compact" in note
        assert path.name in caplog.text
        assert not index.verify().ok
        assert index.build_ann()["image"] == "train"
        assert index.info()["notes"] == []
        assert index.search("x", k=5).approximate
        assert index.verify(full=True).ok


# --- disks that refuse ----------------------------------------------------------------------------

FULL = """
    import resource, sys
    from clipsearch.errors import StorageError
    from clipsearch.index import Index
    from tests.fakes import FakeEncoder, fill, put
    path, limit, what = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    encoder = FakeEncoder()
    index = Index.open(path, encoder, exact_elements=16)
    index.search("x")
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        if what == "add":
            fill(index, encoder, 2000, first=1000)
        elif what == "recaption":
            with index.writer() as writer:
                for row in range(100, 1000):
                    writer.recaption(row, "new", encoder.vector("text new"))
        elif what == "remove":
            index.remove(range(1, 4000))
        elif what == "compact":
            index.compact()
        else:
            index.build_ann(force=True)
    except StorageError as exc:
        print(exc)
    else:
        print("done")
    assert len(index.search("x", k=3)) == 3, "readers go on"
"""


@pytest.mark.parametrize(
    ("what", "limit"),
    [
        *[("add", 20_000), ("add", 60_000), ("add", 200_000)],
        *[("recaption", 20_000), ("recaption", 60_000)],
        *[("compact", 20_000), ("ann", 10_000)],
    ],
)
def test_a_full_disk_leaves_the_index_as_it_was(tmp_path, encoder, what, limit):
    with Index.create(tmp_path / "index", encoder) as index:
        fill(index, encoder, 1000, commits=3)
        index.remove(range(1, 100))
    done = child(FULL, tmp_path / "index", limit, what)
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0, err
    assert "The index is as it was before" in out
    sound(tmp_path / "index", 901)
    with Index.open(tmp_path / "index", encoder) as index:
        fill(index, encoder, 10, first=1000)
        names = {p.name for p in (index.path / "vectors").iterdir()}
        assert len(names) == 2 * index.info()["segments"], "garbage is swept"
        assert not list((index.path / "ann").glob("*.tmp"))
    sound(tmp_path / "index", 911)


@pytest.fixture
def small_disk():
    """A real small file system, where this is allowed."""
    place = Path(tempfile.mkdtemp())
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        place.rmdir()
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
    place.rmdir()


def test_a_full_file_system(encoder, small_disk):
    with Index.create(small_disk / "index", encoder) as index:
        fill(index, encoder, 100)
        with pytest.raises(StorageError, match="as it was before"):
            fill(index, encoder, 20_000, first=100)
        assert len(index.search("x", k=200)) == 100
        fill(index, encoder, 5, first=100)
    sound(small_disk / "index", 105)


def test_on_a_file_system_without_any_space_an_index_can_be_searched(encoder, small_disk):
    with Index.create(small_disk / "index", encoder) as index:
        fill(index, encoder, 100)
    with (small_disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(bytes(4096)):
            pass
    sound(small_disk / "index", 100)
    with Index.open(small_disk / "index", encoder) as index:
        for change in (lambda: fill(index, encoder, 1), index.compact, lambda: index.remove([1])):
            with pytest.raises(StorageError, match="the disk is full") as told:
                change()
            assert len(str(told.value).splitlines()) == 1
        with pytest.raises(StorageError, match="No space left on device"):
            index.export(small_disk / "out.parquet")
    (small_disk / "filler").unlink()
    with Index.open(small_disk / "index", encoder) as index:
        fill(index, encoder, 5, first=100)
    sound(small_disk / "index", 105)


def test_a_read_only_file_system(encoder, small_disk):
    with Index.create(small_disk / "index", encoder) as index:
        fill(index, encoder, 100)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    sound(small_disk / "index", 100)
    with Index.open(small_disk / "index", encoder) as index:
        with pytest.raises(
            StorageError, match=r"Read-only file system\. The index can be searched"
        ):
            index.remove([1])
        with pytest.raises(StorageError, match="Fix the permissions"):
            Index.create(small_disk / "other", encoder)


def test_output_that_a_full_disk_refuses_is_one_line(index):
    index.close()
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "clipsearch", "info", "-i", str(index.path)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    *notes, error = done.stderr.splitlines()
    assert done.returncode == 1
    assert len(notes) <= 1, done.stderr  # that images of another machine are not shown
    assert error.startswith("error: cannot read or write the output: No space left on device")


def test_what_was_committed_before_an_error_is_not_said_to_be_undone(index, encoder, monkeypatch):
    """The disk refuses the ANN file, for which `compact` comes after its commits."""

    def refused(*arguments, **options):
        raise OSError(28, "No space left on device", str(index.path / "ann" / "x.tmp"))

    monkeypatch.setattr(ann.Trained, "write", refused)
    with pytest.raises(StorageError, match="The index is as it was before"):
        index.build_ann(force=True)
    index.remove(range(1, 30))
    with (
        Index.open(index.path, encoder, exact_elements=5 * DIM) as small,
        pytest.raises(StorageError) as told,
    ):
        small.compact()
    assert str(told.value).endswith("Everything that was committed before the error is kept.")
    sound(index.path, 11)


DENIED = """
    import sys
    from clipsearch.errors import StorageError
    from clipsearch.index import Index
    from tests.fakes import FakeEncoder, put
    encoder = FakeEncoder()
    index = Index.open(sys.argv[1], encoder)
    writer = index.writer()
    put(writer, encoder, "x")
    index.path.chmod(0o555)
    (index.path / "vectors").chmod(0o555)
    for attempt in (writer.commit, lambda: Index.create(index.path / "y", encoder)):
        try:
            attempt()
        except StorageError as exc:
            print(exc)
    writer.close()
    assert len(index.search("x", k=100)) == 10, "readers go on"
"""


def test_a_permission_error_in_the_middle(tmp_path, encoder, bound):
    with Index.create(tmp_path / "index", encoder) as index:
        fill(index, encoder, 10)
    done = child(DENIED, tmp_path / "index", before=bound)
    out, err = done.communicate(timeout=60)
    for path in (tmp_path / "index", tmp_path / "index" / "vectors"):
        path.chmod(0o755)
    assert done.returncode == 0, err
    assert out.count("Permission denied") == 2, (out, err)
    assert "The index is as it was before" in out
    sound(tmp_path / "index", 10)
    with Index.open(tmp_path / "index", encoder) as index:
        fill(index, encoder, 1, first=10)
    sound(tmp_path / "index", 11)


def test_an_index_that_cannot_be_written_can_be_searched(tmp_path, encoder, bound):
    folder = tmp_path / "index"
    with Index.create(folder, encoder) as index:
        fill(index, encoder, 10)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    code = """
        import sys
        import numpy as np
        from clipsearch.errors import StorageError
        from clipsearch.index import Index
        with Index.open(sys.argv[1]) as index:
            print(len(index.search(np.ones(16), k=100)), index.verify(full=True).ok)
            try:
                index.remove([1])
            except StorageError:
                print("refused")
    """
    done = child(code, folder, before=bound)
    out, err = done.communicate(timeout=60)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)
    assert out == "10 True\nrefused\n", err


# --- garbage and versions -------------------------------------------------------------------------


def test_files_that_the_catalog_does_not_name_are_swept(index):
    for name in (
        "vectors/image-00000000deadbeef.npy",
        "vectors/image-00000000deadbeef.rows.npy",
        "ann/image-00000000deadbeef.tmp",
        "ann/caption-00000000deadbeef.faiss",
    ):
        (index.path / name).write_bytes(b"left behind")
    assert index.verify(full=True).ok
    index.writer().close()
    assert not list((index.path / "ann").glob("*deadbeef*"))
    assert len(vector_files(index)) == 2 * index.info()["segments"]


def test_a_newer_format_is_refused(index):
    index.close()
    connection = sqlite3.connect(index.path / "catalog.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(IndexVersionError, match=r"format version 99.*pip install -U"):
        Index.open(index.path)


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_an_older_format_is_migrated(tmp_path, encoder, version):
    path = tmp_path / "old"
    (path / "ann").mkdir(parents=True)
    fixture = ROOT / f"tests/fixtures/index_v{version}"
    shutil.copytree(fixture / "vectors", path / "vectors")
    connection = sqlite3.connect(path / "catalog.sqlite")
    connection.executescript((fixture / "catalog.sql").read_text())
    connection.close()
    with Index.open(path, encoder) as index:
        if version >= 2:
            assert index.item(1).tags == ("dog",)
            assert index.search("cat", min_score="auto") is not None
        assert index.info()["format_version"] == 5
        assert index.info()["model"]["name"] == "fake"
        assert [item.key for item in index.items()] == [f"/photos/{n}.jpg" for n in "acd"]
        assert index.search(encoder.vector("image c"), k=1)[0].item.caption == "a cat"
        assert index.fields()["price"] == "number"
        assert index.fields()["place"] == "text"
        assert [item.id for item in index.items("price > 2")] == [3, 4]
        index.set_tags([1], ["dog"])
        put_one = index.writer()
        assert put(put_one, encoder, "e") == 5
        put_one.commit()
        put_one.close()
        index.refresh_baseline(encoder)
        assert len(index.search("cat", hybrid=True)) == 4
        with index.writer() as writer:
            writer.recaption(3, "a heron", encoder.vector("text a heron"))
        hit = index.search("a heron", k=1, target="caption", hybrid=True)[0]
        assert (hit.item.id, hit.item.caption) == (3, "a heron")
        assert hit.score > 0.999
        report = index.verify(full=True)
        assert report.ok, report.problems
    sound(path, 4)


def test_a_copied_index_is_recognised_by_its_content(index, tmp_path, encoder):
    shutil.copytree(index.path, tmp_path / "copy", copy_function=shutil.copy)
    sound(tmp_path / "copy", 40)
    with Index.open(tmp_path / "copy", encoder) as copy:
        fill(copy, encoder, 5, first=40)
    sound(tmp_path / "copy", 45)
    sound(index.path, 40)
