"""Files that go away and come back: nothing is lost, nothing is encoded again, nobody is misled."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsearch import Index, InvalidInputError, SourceError
from clipsearch.engine import skipped
from clipsearch.ingest import IngestOptions
from clipsearch.intake import decoders
from clipsearch.watch import watch

from .test_edits import TellingEncoder, encoded, picture, sound

PRUNE, RESCAN = IngestOptions(prune=True), IngestOptions(rescan=True)
SOON = 2.5  # seconds within which a reader notices that files are back


@pytest.fixture
def index(tmp_path):
    with Index.create(tmp_path / "index", TellingEncoder()) as index:
        yield index


@pytest.fixture
def root(tmp_path):
    """Seven pictures on two shares, mounted below one folder."""
    root = tmp_path / "root"
    for number in range(7):
        picture(root / ("nas1" if number < 4 else "nas2") / f"{number}.png", number)
    return root


def tagged(index) -> dict[int, tuple[str, tuple[str, ...]]]:
    return {item.id: (Path(item.key).name, item.tags) for item in index.items()}


def filled(index, root) -> dict[int, tuple[str, tuple[str, ...]]]:
    """Index a folder, and tag and caption its items; returns what has to stay."""
    for path in sorted(root.rglob("*.png"))[:2]:
        path.with_suffix(".txt").write_text(f"caption of {path.stem}")
    index.add(root)
    ids = [item.id for item in index.items()]
    index.set_tags(ids, [f"tag {number}" for number in ids])
    encoded(index)
    return tagged(index)


def unmounted(share: Path) -> Path:
    """Leave an empty mount point where a share was; returns where the files are."""
    aside = share.parents[1] / f"{share.name} aside"
    share.rename(aside)
    share.mkdir()
    return aside


def mounted(aside: Path, share: Path) -> None:
    share.rmdir()
    aside.rename(share)


def waited(condition, seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.1)
    return bool(found)


# --- away is not gone -----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [IngestOptions(), PRUNE], ids=["run", "prune"])
def test_items_of_an_empty_mount_point_wait_with_all_that_is_known(index, root, options):
    kept = filled(index, root)
    vectors = index.vectors(list(kept))
    aside = unmounted(root / "nas1")
    report = index.add(root, options=options)
    assert (report.away, report.pruned, report.unpruned) == (4, 0, 4 if options.prune else 0)
    assert any("4 of 7 items" in note and "nas1" in note for note in report.notes) is options.prune
    hidden = [number for number, (name, _) in kept.items() if int(name[0]) < 4]
    assert sorted(index.away()) == sorted(hidden)
    assert index.info()["away"] == 4
    assert len(index) == 7
    assert_hidden(index, hidden)
    assert index.item(hidden[0]).tags == kept[hidden[0]][1]
    assert (index.vectors(list(kept)) == vectors).all()
    sound(index, report)
    index.compact()
    mounted(aside, root / "nas1")
    report = index.add(root)
    assert (report.unchanged, report.away, index.away()) == (7, 0, {})
    assert tagged(index) == kept
    assert (index.vectors(list(kept)) == vectors).all()
    assert encoded(index) == (0, [])
    sound(index, report)


def assert_hidden(index, hidden) -> None:
    """No answer has these items, whatever is asked."""
    query = index.vectors([hidden[0]])[0]
    answers = {
        "exact": index.search(query, k=50, exact=True),
        "by default": index.search(query, k=50),
        "captions": index.search(query, k=50, target="caption"),
        "filtered": index.search(query, k=50, where="width > 1"),
        "hybrid": index.search("caption", k=50, hybrid=True),
        "list": index.search(k=50, sort="name"),
        "list of some": index.search(k=50, where="caption like '%caption%'"),
    }
    for name, hits in answers.items():
        assert not {hit.item.id for hit in hits} & set(hidden), name
    assert not {item.id for item in index.items()} & set(hidden)
    assert not set(index.sample(50)[0].tolist()) & set(hidden)
    assert not {member.item.id for group in index.duplicates(0.1) for member in group} & set(hidden)
    assert not {hit.item.id for hit in index.pairs()} & set(hidden)
    encoded(index)  # the words of these queries
    facets = index.facets()
    assert not {f"tag {number}" for number in hidden} & set(facets.tags)
    assert set(hidden) <= {number for ids, _ in index.iter_vectors() for number in ids.tolist()}


def test_files_that_are_back_count_at_once_without_a_run(index, root):
    kept = filled(index, root)
    aside = unmounted(root / "nas1")
    index.add(root)
    assert len(tagged(index)) == 3
    before = index.seen_id
    with Index.open(index.path) as reader:
        assert len(tagged(reader)) == 3
        mounted(aside, root / "nas1")
        assert waited(lambda: tagged(reader) == kept, SOON)
        assert reader.seen_id != before
        assert len(reader.search(index.vectors([1])[0], k=50)) == 7
        aside = unmounted(root / "nas1")
        assert waited(lambda: len(tagged(reader)) == 3, SOON)
    mounted(aside, root / "nas1")
    with Index.open(index.path) as reader:  # as one command does
        assert tagged(reader) == kept


def test_approximate_search_finds_what_is_back(index, root):
    kept = filled(index, root)
    aside = unmounted(root / "nas1")
    index.add(root)
    index.build_ann(force=True)
    query = index.vectors([max(kept)])[0]
    assert len(index.search(query, k=3)) == 3
    mounted(aside, root / "nas1")
    assert waited(lambda: len(index.items()) == 7, SOON)
    assert {hit.item.id for hit in index.search(query, k=7)} == kept.keys()
    assert index.verify(full=True).ok


@pytest.mark.parametrize("way", ["gone", "empty"])
def test_a_source_that_is_not_there_is_an_error_and_its_items_are_away(index, root, way):
    kept = filled(index, root)
    root.rename(root.with_name("aside"))
    if way == "empty":
        root.mkdir()
    for options in (IngestOptions(), PRUNE):
        with pytest.raises(SourceError, match="7 items are away"):
            index.add(root, options=options)
    assert (len(index), index.items(), len(index.away())) == (7, [], 7)
    shutil.rmtree(root, ignore_errors=True)
    root.with_name("aside").rename(root)
    assert index.add(root).unchanged == 7
    assert (tagged(index), encoded(index)) == (kept, (0, []))
    shutil.rmtree(root)
    with pytest.raises(SourceError, match="7 items of it were removed"):
        index.add(root, options=IngestOptions(prune=True, yes=True))
    assert len(index) == 0
    sound(index)


@pytest.mark.parametrize("kind", ["list", "table", "archive"])
def test_files_of_lists_tables_and_archives_go_away_and_come_back(index, root, tmp_path, kind):
    paths = sorted(map(str, root.rglob("*.png")))
    source: object = paths
    if kind == "table":
        source = root.parent / "t.csv"
        source.write_text("id,image\n" + "".join(f"{n},{p}\n" for n, p in enumerate(paths)))
    if kind == "archive":
        source = root.parent / "a.tar"
        with tarfile.open(source, "w") as tar:
            for path in paths:
                tar.add(path, Path(path).name)
    index.add(source)
    ids = [item.id for item in index.items()]
    encoded(index)
    lost = source if kind == "archive" else Path(paths[0])
    lost.rename(tmp_path / "aside")
    if kind == "archive":
        with pytest.raises(SourceError, match="7 items are away"):
            index.add(source)
    else:
        assert index.add(source).away == 1
    assert len(index.away()) == (7 if kind == "archive" else 1)
    (tmp_path / "aside").rename(lost)
    report = index.add(source)
    assert (report.away, index.away()) == (0, {})
    assert ([item.id for item in index.items()], encoded(index)) == (ids, (0, []))
    sound(index, report)


def test_imported_items_keep_id_and_tags_when_their_files_are_first_found(index, root):
    paths = sorted(root.rglob("*.png"))
    filled(index, root)
    vectors = index.vectors([item.id for item in index.items()])
    vectors[0] = -vectors[0]  # of another image than the file that is there
    folder = root.parent / "made elsewhere"
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    np.save(folder / "img_emb" / "img_emb_0.npy", vectors.astype(np.float16))
    table = pa.table({"image_path": list(map(str, paths)), "caption": ["told"] * 7})
    pq.write_table(table, folder / "metadata" / "metadata_0.parquet")
    root.rename(root.with_name("aside"))  # a share that is not mounted
    with Index.create(root.parent / "imported", index.encoder) as other:
        other.import_embeddings(folder)
        other.set_tags(range(1, 8), ["kept"] * 7)
        root.with_name("aside").rename(root)
        for path in paths[:2]:
            path.with_suffix(".txt").unlink()
        report = other.add(root)
        assert (report.unchanged, report.updated, report.indexed) == (6, 7, 1)
        items = other.items()
        assert [item.id for item in items] == [*range(2, 8), max(item.id for item in items)]
        assert {item.tags for item in items[:6]} == {("kept",)}
        assert {(item.caption, item.width) for item in items[:6]} == {("told", 8)}
        assert other.add(root).unchanged == 7
        sound(other)


def packed(path: Path, names: dict[str, Path]) -> Path:
    """An archive of pictures by their names in it."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, file in names.items():
                archive.write(file, name)
    else:
        with tarfile.open(path, "w") as tar:
            for name, file in names.items():
                tar.add(file, name)
    return path


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_members_that_an_archive_no_longer_has_are_away_or_have_moved(index, root, kind):
    files = {f"d/{path.name}": path for path in sorted(root.rglob("*.png"))}
    archive = packed(root.parent / f"a.{kind}", files)
    index.add(archive)
    ids = [item.id for item in index.items()]
    index.set_tags(ids, [f"tag {number}" for number in ids])
    kept = tagged(index)
    encoded(index)
    fewer = {name: path for name, path in files.items() if name != "d/0.png"}
    renamed = {"e/new.png" if name == "d/1.png" else name: path for name, path in fewer.items()}
    packed(archive, renamed)
    report = index.add(archive)
    assert (report.away, report.moved, report.duplicate) == (1, 1, 0)
    assert index.away() == {ids[0]: f"{archive}!"}
    assert {number: tags for number, (_, tags) in tagged(index).items()} == {
        number: tags for number, (_, tags) in kept.items() if number != ids[0]
    }
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) * 2 // 3])  # what cannot be read is not missing
    index.add(archive)
    assert list(index.away()) == ids[:1]
    index.compact()
    packed(archive, files)
    report = index.add(archive)
    assert (report.away, report.moved, tagged(index), encoded(index)) == (0, 1, kept, (0, []))
    sound(index, report)
    packed(archive, fewer)
    assert index.add(archive, options=PRUNE).pruned == 1
    assert tagged(index) == {number: kept[number] for number in ids[1:]}
    sound(index)


def test_a_link_into_a_drive_that_is_gone_is_away_and_not_pruned(index, root):
    drive = root.parent / "drive"
    picture(drive / "linked.png", 50)
    (root / "photo.png").symlink_to(drive / "linked.png")
    (root / "all").symlink_to(drive)
    kept = filled(index, root)
    drive.rename(root.parent / "aside")
    report = index.add(root, options=PRUNE)
    assert (report.away, report.pruned, len(index)) == (2, 0, 9)
    (root.parent / "aside").rename(drive)
    assert waited(lambda: tagged(index) == kept, SOON)


@pytest.mark.parametrize("renamed", ["zoo", "."])
def test_a_renamed_folder_is_a_move_of_all_its_items(index, root, renamed):
    picture(root / "nas2" / "0.png", 0)  # equal bytes and name in the other folder
    kept = filled(index, root)
    at_first = {item.id: Path(item.key).relative_to(root) for item in index.items()}
    unmounted(root / "nas2")
    index.add(root)  # in between it is away
    source = root
    if renamed == ".":
        source = root.rename(root.with_name("other"))
    else:
        (root / "nas1").rename(root / renamed)
    (root.parent / "nas2 aside").rename(source / "share")
    report = index.add(source)
    assert (report.moved, report.indexed, report.duplicate) == (8, 0, 0)
    assert (tagged(index), encoded(index)) == (kept, (0, []))
    folders = {
        number: (path.parent.name, Path(index.item(number).key).parent.name)
        for number, path in at_first.items()
    }
    assert all((old == "nas2") is (new == "share") for old, new in folders.values())
    sound(index, report)


# --- only prune removes, and it asks --------------------------------------------------------------


@pytest.mark.parametrize(
    ("lost", "of", "asks"),
    [
        (["b/0", "b/1"], "everything in b", True),
        (["b/0"], "", False),
        (["a/0", "a/1"], "", False),
        (["a/0", "a/1", "a/2"], "more than 20%", True),
    ],
    ids=["a folder", "one of two", "a seventh", "a fifth"],
)
def test_prune_asks_before_it_removes_much(index, tmp_path, lost, of, asks):
    root = tmp_path / "root"
    for number in range(14):
        name = f"b/{number}" if number < 2 else f"a/{number - 2}"
        picture(root / f"{name}.png", number)
    kept = filled(index, root)
    for name in lost:
        (root / f"{name}.png").unlink()
    asked: list[str] = []
    answers = iter([False, True])

    def answer(question: str) -> bool:
        asked.append(question)
        return next(answers)

    report = index.add(root, options=PRUNE)
    assert (report.pruned, report.unpruned) == ((0, len(lost)) if asks else (len(lost), 0))
    assert any("--yes" in note and of in note for note in report.notes) is asks
    if asks:
        assert index.add(root, options=IngestOptions(prune=True, yes=answer)).pruned == 0
        assert (len(index), len(index.away())) == (14, len(lost))
        assert index.add(root, options=IngestOptions(prune=True, yes=answer)).pruned == len(lost)
        assert [of in question for question in asked] == [True, True]
    assert len(index) == 14 - len(lost)
    assert index.away() == {}
    assert tagged(index).items() <= kept.items()
    sound(index, report)


def test_prune_asks_before_it_removes_a_file_of_another_file_system(index, root):
    filled(index, root)
    with index.writer() as writer:  # as of a share whose empty mount point is on this one
        writer.change(lambda conn: conn.execute("UPDATE items SET device = 4711 WHERE row = 1"))
    Path(index.item(1).key).unlink()
    report = index.add(root, options=PRUNE)
    assert (report.pruned, report.unpruned) == (0, 1)
    assert "another file system" in " ".join(report.notes)


def test_the_device_of_unchanged_files_is_kept_up_to_date(index, root):
    filled(index, root)
    with index.writer() as writer:
        writer.change(lambda conn: conn.execute("UPDATE items SET device = NULL WHERE row < 3"))
        writer.change(lambda conn: conn.execute("UPDATE items SET device = 1 WHERE row = 3"))
    assert index.add(root).unchanged == 7
    devices = {item.device for item in index.items()}
    assert devices == {os.stat(root).st_dev}


def test_a_folder_that_cannot_be_listed_makes_nothing_away(index, root, monkeypatch):
    kept = filled(index, root)
    real, look = os.scandir, os.stat

    def scandir(path="."):
        if str(path).startswith(str(root / "nas1")):
            raise OSError(errno.EIO, "Input/output error")
        return real(path)

    def stat(path, *arguments, **options):
        if str(path).startswith(str(root / "nas1" / "0")):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return look(path, *arguments, **options)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "stat", stat)
    report = index.add(root, options=IngestOptions(prune=True, yes=True))
    assert (report.unchanged, report.skipped, report.away, report.pruned) == (3, 1, 0, 0)
    assert tagged(index) == kept


@pytest.mark.slow
def test_watching_removes_single_files_and_keeps_folders_and_drives(index, root):
    for number in range(20, 30):
        picture(root / "rest" / f"{number}.png", number)
    reports, stop, ready = [], threading.Event(), threading.Event()
    arguments = {"stop": stop, "ready": ready.set, "on_report": reports.append}
    follower = threading.Thread(target=watch, args=(index, root), kwargs=arguments)
    follower.start()
    try:
        assert ready.wait(60)
        kept = filled(index, root)
        (single,) = (number for number, (name, _) in kept.items() if name == "20.png")
        asides = [unmounted(root / "nas1"), unmounted(root / "nas2")]
        assert waited(lambda: len(index.away()) == 7)
        time.sleep(5)  # a file that vanishes while a run goes on is away, to be on the safe side
        (root / "rest" / "20.png").unlink()
        assert waited(lambda: len(index) == 16)
        for aside in asides:
            mounted(aside, root / aside.name.partition(" ")[0])
        del kept[single]
        assert waited(lambda: tagged(index) == kept)
        root.rename(root.with_name("aside"))  # as a drive that is pulled out
        assert waited(lambda: len(index.away()) == 16)
        root.with_name("aside").rename(root)
        assert waited(lambda: tagged(index) == kept)
        picture(root / "new.png", 77)
        assert waited(lambda: len(index) == 17)
    finally:
        stop.set()
        follower.join(30)
    assert encoded(index)[0] == 1
    assert sum(report.pruned for report in reports) == 1
    sound(index)


@pytest.mark.slow
def test_the_command_asks_says_what_to_do_and_counts(cli, tmp_path, photo_folder):
    folder = photo_folder / "share"
    folder.mkdir()
    for path in list(photo_folder.glob("*.*"))[:3]:
        path.rename(folder / path.name)
    cli("index", photo_folder)
    shutil.move(folder, tmp_path / "aside")
    said = cli("index", photo_folder, "--prune", expect=1).stderr
    assert "3 items are away" in said
    assert "everything in share" in said
    assert "--yes" in said
    assert "3 of them away" in said
    assert json.loads(cli("info", "-f", "json").stdout)["away"] == 3
    assert "--yes goes with --prune" in cli("index", photo_folder, "--yes", expect=1).stderr
    assert "3 removed" in cli("index", photo_folder, "--prune", "--yes").stderr


# --- failures that may pass -----------------------------------------------------------------------

# What a decoder process gets instead of the bytes of a file, by the name of the file.
_FAILING = """
import errno, os, pathlib, signal
opened = os.open
def open_failing(path, *arguments, **options):
    kind = pathlib.Path(path).stem.partition("-")[2] if str(path).endswith(".png") else ""
    if kind == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "MemoryError":
        raise MemoryError
    if kind:
        raise OSError(getattr(errno, kind), os.strerror(getattr(errno, kind)))
    return opened(path, *arguments, **options)
os.open = open_failing
"""
_PASSING = [
    *("EIO", "ESTALE", "ETIMEDOUT", "EMFILE", "ENFILE", "ENOMEM", "ENOSPC", "EINTR", "EAGAIN"),
    *("EDQUOT", "EBUSY", "ENODEV", "ENXIO", "EREMOTEIO", "EHOSTDOWN", "ENETDOWN", "ENETUNREACH"),
    *("ECONNRESET", "EACCES", "EPERM", "MemoryError", "SIGKILL"),
]


@pytest.fixture
def failing(tmp_path, monkeypatch):
    """Makes decoders fail at files that are named after errors, until it is called."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(_FAILING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    return lambda: monkeypatch.delenv("PYTHONPATH")


def test_what_failed_for_a_passing_reason_is_tried_again(index, tmp_path, failing):
    folder = tmp_path / "pictures"
    for number, kind in enumerate(_PASSING):
        picture(folder / f"photo-{kind}.png", number)
    picture(folder / "good.png", 100)
    report = index.add(folder)
    assert (report.indexed, report.skipped) == (1, len(_PASSING))
    everything = index._reader.run(lambda conn, _: list(skipped.everything(conn)))
    assert all((one.mtime_ns, one.sha256) == (None, None) for one in everything)
    failing()
    report = index.add(folder)
    assert (report.indexed, report.unchanged, report.skipped) == (len(_PASSING), 1, 0)
    assert index.skipped() == []
    sound(index, report)


def test_a_source_that_fails_as_a_whole_is_an_error(index, tmp_path, failing):
    folder = tmp_path / "pictures"
    paths = [picture(folder / f"{number:03}-EIO.png", number % 5) for number in range(150)]
    with pytest.raises(SourceError, match=r"failed: Input/output error \(\d+\)") as failed:
        index.add(folder)
    count = int(str(failed.value).partition("cannot be read: ")[2].partition(" ")[0])
    assert 100 <= count < 150
    with pytest.raises(SourceError, match="5 of 5 files failed"):
        index.add(paths[:5])
    failing()
    assert index.add(folder).skipped == 0
    assert len(index) == 150


def test_a_file_that_kills_its_decoder_by_itself_is_remembered(index, tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    code = _FAILING.replace("SIGKILL", "SIGSEGV").replace('kind == "MemoryError"', "False")
    (tmp_path / "site" / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    bad = picture(tmp_path / "photo-SIGSEGV.png", 1)
    assert "SIGSEGV" in index.add([bad]).skips[0].reason
    monkeypatch.delenv("PYTHONPATH")
    assert index.add([bad]).known == 1


def test_a_machine_without_room_for_decoders_says_so_and_remembers_nothing(
    index, tmp_path, monkeypatch
):
    paths = [str(picture(tmp_path / "p" / f"{number}.png", number)) for number in range(3)]
    start = decoders.subprocess.Popen

    def without_room(*arguments, **options):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            return start(*arguments, **options)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    monkeypatch.setattr(decoders.subprocess, "Popen", without_room)
    with pytest.raises(SourceError, match="no decoder can"):
        index.add(paths)
    monkeypatch.undo()
    assert index.add(paths).indexed == 3


def test_a_sidecar_that_cannot_be_read_now_takes_no_caption_away(index, tmp_path, monkeypatch):
    photo = picture(tmp_path / "p" / "a.png", 1)
    sidecar = photo.with_suffix(".txt")
    sidecar.write_text("a caption")
    index.add(photo.parent)
    sidecar.unlink()
    sidecar.symlink_to("/proc/self/mem")  # reading it is a real input/output error
    report = index.add(photo.parent, options=IngestOptions(rescan=True))
    assert (report.skipped, index.items()[0].caption) == (1, "a caption")
    sidecar.unlink()
    sidecar.write_text("another")
    assert index.add(photo.parent, options=IngestOptions(rescan=True)).skipped == 0
    assert index.items()[0].caption == "another"


def test_prune_still_needs_a_folder(index, root):
    with pytest.raises(InvalidInputError, match="prune needs a folder"):
        index.add(sorted(map(str, root.rglob("*.png"))), options=PRUNE)


# --- all of it, in any order ----------------------------------------------------------------------


class Album:
    """Pictures that come, move and go at random, each of them once, and what must be known of them.

    The model is a dict from the number of a picture to its item and tag. An item that is known
    keeps both whatever happens, unless it was pruned or its picture was written over.
    """

    def __init__(self, base: Path, seed: int) -> None:
        self.random, self.base, self.root = random.Random(seed), base, base / "root"
        self.paths: dict[int, Path] = {}
        self.hidden: dict[Path, Path] = {}  # folder, by where it was
        self.known: dict[int, tuple[int, str]] = {}
        self.encoders = [TellingEncoder("one"), TellingEncoder("two")]
        self.index = Index.create(base / "index", self.encoders[0])
        for _ in range(6):
            self.take()

    def there(self) -> dict[int, Path]:
        return {number: path for number, path in self.paths.items() if path.exists()}

    def some(self) -> list[int]:
        there = sorted(self.there())
        return self.random.sample(there, min(2, len(there)))

    def folder(self) -> Path:
        return self.root / self.random.choice("abcd")

    def take(self) -> None:
        number = max(self.paths, default=0) + 1
        self.paths[number] = picture(self.folder() / f"{number}.png", number)

    def write_over(self) -> None:
        for old in self.some()[:1]:
            number = max(self.paths) + 1
            self.paths[number] = picture(self.paths.pop(old), number)
            self.known.pop(old, None)

    def delete(self) -> None:
        for number in self.some()[:1]:
            self.paths[number].unlink()

    def move(self) -> None:
        for number in self.some()[:1]:
            new = self.folder() / f"{number} {self.random.random()}.png"
            new.parent.mkdir(exist_ok=True, parents=True)
            self.paths[number] = self.paths[number].rename(new)

    def exchange(self) -> None:
        if len(self.some()) == 2:
            one, two = self.some()
            first, second, aside = self.paths[one], self.paths[two], self.base / "aside.png"
            first.rename(aside)
            second.rename(first)
            aside.rename(second)
            self.paths |= {one: second, two: first}
            self.look()  # or one that is deleted now was written over by the other

    def rename(self) -> None:
        old, new = self.folder(), self.folder()
        if old.exists() and not new.exists():
            there = self.there()
            old.rename(new)
            for number, path in there.items():
                if path.parent == old:
                    self.paths[number] = new / path.name

    def hide(self) -> None:
        folder = self.folder()
        if folder.exists() and folder not in self.hidden:
            self.hidden[folder] = folder.rename(
                self.base / f"aside {len(self.hidden)} {folder.name}"
            )

    def show(self) -> None:
        for folder, aside in list(self.hidden.items()):
            if not folder.exists():
                self.hidden.pop(folder)
                aside.rename(folder)

    def caption(self) -> None:
        for number in self.some()[:1]:
            text = self.paths[number].with_suffix(".txt")
            text.write_text(f"Wörter {self.random.random()}")
            self.look(RESCAN)
            text.unlink()

    def tag(self) -> None:
        tag = f"tag {self.random.random()}"
        self.known = {number: (row, tag) for number, (row, _) in self.known.items()}
        rows = [row for row, _ in self.known.values()]
        self.index.set_tags(rows, [tag] * len(rows), name="all")

    def prune(self) -> None:
        self.look(IngestOptions(prune=True, yes=self.random.random() < 0.5))

    def migrate(self) -> None:
        other = self.encoders[self.index.fingerprint == self.encoders[0].fingerprint]
        assert not (self.index.migrate(other).switched and self.index.away())

    def tidy(self) -> None:
        self.index.compact()
        self.index.build_ann(force=True)

    def copy(self) -> None:
        target = self.base / f"copy {self.random.random()}"
        self.index.export(self.base / "x.parquet", overwrite=True)
        with Index.create(target, self.index.encoder) as other:
            assert other.import_embeddings(self.base / "x.parquet").indexed == len(self.index)
            assert other.verify(full=True).ok

    def look(self, options: IngestOptions | None = None) -> None:
        """Index the folder, and hold everything against the model."""
        try:
            self.index.add(self.root, options=options or IngestOptions())
        except SourceError:
            assert not self.there()
        rows = {Path(item.key): item for item in self.index.items()}
        there = self.there()
        assert rows.keys() == set(there.values())
        for number, path in there.items():
            row, tag = self.known.setdefault(number, (rows[path].id, ""))
            assert (rows[path].id, rows[path].tags) == (row, (tag,) if tag else ())
        lost = {number: row for number, (row, _) in self.known.items() if number not in there}
        if options is None or not options.prune:
            assert self.index.away().keys() == set(lost.values())
        self.known = {
            number: known
            for number, known in self.known.items()
            if number in there or known[0] in self.index.away()
        }


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_whatever_comes_and_goes_is_sound_and_keeps_what_is_known(tmp_path, seed):
    album = Album(tmp_path, seed)
    steps = [album.take, album.write_over, album.delete, album.move, album.exchange, album.rename]
    steps += [album.hide, album.show, album.caption, album.tag, album.prune, album.migrate]
    steps += [album.tidy, album.copy, *[album.look] * 3]
    with album.index:
        for _ in range(30):
            album.random.choice(steps)()
            report = album.index.verify(full=True)
            assert report.ok, report.problems
        album.show()
        album.look()
