"""What is left out of a folder: litter, hidden files, excluded names, pipes and broken links."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

import pytest
from pathspec import GitIgnoreSpec

from clipsearch import Index
from clipsearch.ingest import IngestOptions
from clipsearch.intake import left_out
from clipsearch.intake.left_out import litter
from clipsearch.intake.sources import FolderSource
from clipsearch.watch import _changed_folders, _judge

from .test_ingest import PixelEncoder, picture, total


@pytest.fixture
def index(tmp_path):
    with Index.create(tmp_path / "index", PixelEncoder()) as index:
        yield index


def fill(root, *names):
    """Pictures with these names, each of them another one."""
    for number, name in enumerate(names):
        picture(root / name, number + 1, "JPEG")
    return root


def found(index, root):
    return sorted(os.path.relpath(item.key, root) for item in index.items())


def walked(root, **options):
    source = FolderSource(root, may_be_empty=True, **options)
    return sorted(os.path.relpath(pair.key, root) for pair in source if not pair.ignored)


LITTER = (
    "2024/@eaDir/a.jpg/SYNOFILE_THUMB_B.jpg",
    "#recycle/deleted.jpg",
    "#snapshot/GMT-1/2024/a.jpg",
    "@Recycle/b.jpg",
    "@Recently-Snapshot/GMT/c.jpg",
    "2024/.@__thumb/default.jpg",
    "$RECYCLE.BIN/S-1-5/$R1.jpg",
    "system volume information/x.jpg",
    "lost+found/#123.jpg",
    "~snapshot/hourly.0/a.jpg",
    ".Trashes/501/a.jpg",
    ".Trash-1000/files/a.jpg",
    "2024/._a.jpg",
    "__MACOSX/2024/a.jpg",
    "Photos Library.photoslibrary/resources/derivatives/A/a_1_105_c.jpeg",
    "Old.aplibrary/Previews/a.jpg",
    "Trip.lrdata/0/preview.jpg",
    "RECYCLER/S-1/a.jpg",
    "2024/CaptureOne/Cache/Proxies/a.jpg",
    "iPod Photo Cache/F00/a.jpg",
    "cloud/files_trashbin/a.jpg",
)
KEPT = (
    "2024/a.jpg",
    "Snapshots/a.jpg",
    "cache/a.jpg",
    "Recycled/a.jpg",
    "Photos Library.photoslibrary/originals/A/a.jpeg",
    "Old.aplibrary/Masters/2011/a.jpg",
    "2024/CaptureOne/Output/a.jpg",
)


def test_litter_is_left_out_and_told_in_one_line(tmp_path, index):
    root = fill(tmp_path / "nas", *KEPT, *LITTER)
    report = index.add(root)
    assert total(report) == report.seen == len(KEPT)
    assert found(index, root) == sorted(KEPT)
    (note,) = report.notes
    assert note.startswith(f"skipped {len(LITTER)} files in #recycle, #snapshot, $RECYCLE.BIN, ")
    assert note.endswith("; --all-files takes them")


def test_all_files_are_taken_on_request_which_is_remembered(tmp_path, index):
    root = fill(tmp_path / "nas", *KEPT, *LITTER)
    every = IngestOptions(all_files=True)
    assert index.add(root, options=every).indexed == len(KEPT) + len(LITTER)
    again = index.add(root, options=IngestOptions(prune=True))
    assert (again.unchanged, again.pruned) == (len(KEPT) + len(LITTER), 0)
    assert "--no-all-files forgets it" in again.notes[0]
    report = index.add(root, options=IngestOptions(prune=True, all_files=False))
    assert report.pruned == len(LITTER)
    assert any("removed items of files that are left out" in note for note in report.notes)
    assert found(index, root) == sorted(KEPT)
    assert index.add(root, options=IngestOptions(prune=True)).notes == report.notes[:1]


@pytest.mark.parametrize("name", ["#recycle", "@eaDir", ".hidden", "x.photoslibrary/resources"])
def test_a_source_that_is_litter_itself_is_meant(tmp_path, index, name):
    root = fill(tmp_path / "vol" / name, "a.jpg", "deep/b.jpg")
    assert index.add(root).indexed == 2


def test_a_photo_library_as_a_source_gives_its_originals(tmp_path, index):
    root = fill(tmp_path / "My.photoslibrary", "originals/a.jpg", "resources/derivatives/a.jpg")
    assert index.add(root).indexed == 1


@pytest.mark.parametrize(
    ("name", "parents", "is_folder"),
    [("THUMBS.DB", [], False), ("@EADIR", [], True), ("Lost+Found", ["x"], True)],
)
def test_case_does_not_matter_where_it_does_not_to_the_systems(name, parents, is_folder):
    assert litter(name, parents, is_folder=is_folder) == name


def test_a_folder_of_litter_alone_says_so(cli, tmp_path):
    root = fill(tmp_path / "nas", "@eaDir/a.jpg")
    done = cli("index", root, "-i", "p", expect=1).stderr
    assert "skipped 1 file in @eaDir; --all-files takes it" in done


PATTERNS = {
    ".": "# drafts\n*.png\n/out\n!keep.png\nA*/\n\n*.gif\r\n",
    "a": "!*.gif\nb/*\n!b/x.jpg\n",
    "a/out": "x*\n",
}


def test_an_ignore_file_is_read_as_git_reads_its_own(tmp_path):
    """Git is asked, which reads any file by its rules; the files below are what it would add."""
    root = fill(
        tmp_path / "photos", "x.jpg", "x.png", "keep.png", "out/x.jpg", "a/out/x.jpg",
        "a/out/y.jpg", "Album/x.jpg", "a/Album", "a/b/x.jpg", "a/b/y.jpg", "a/x.gif", "x.gif",
        "a/b/c/x.jpg", "deep/keep.png", "deep/er/x.png",
    )  # fmt: skip
    for folder, text in PATTERNS.items():
        (root / folder / ".clipsearchignore").write_text(text)
    assert walked(root) == [
        "a/Album", "a/b/x.jpg", "a/out/y.jpg", "a/x.gif", "deep/keep.png", "keep.png", "x.jpg"
    ]  # fmt: skip
    if shutil.which("git"):
        subprocess.run(["git", "init", "-q", root], check=True)
        listed = subprocess.run(
            ["git", "-C", root, "ls-files", "-zo", "--exclude-per-directory=.clipsearchignore"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split("\0")
        assert sorted(n for n in listed if n and "clipsearchignore" not in n) == walked(root)
    assert walked(root / "a") == ["Album", "b/x.jpg", "out/y.jpg", "x.gif"]  # it holds below too


def test_an_ignore_file_that_is_written_later_counts_from_the_next_run(tmp_path, index):
    root = fill(tmp_path / "photos", "a.jpg", "b.jpg", "c/d.jpg")
    index.add(root)
    (root / ".clipsearchignore").write_text("b.*\n!\nc/\n")
    report = index.add(root, options=IngestOptions(prune=True))
    assert (report.unchanged, report.pruned) == (1, 2)
    assert any("line 2 of" in note and "is no pattern" in note for note in report.notes)
    assert any(".clipsearchignore): 2" in note for note in report.notes)


def test_patterns_are_remembered_with_their_folder_and_below_it(tmp_path, index):
    root = fill(tmp_path / "photos", "a.jpg", "b.png", "raw/c.jpg", "raw/d.png", "new/raw/e.jpg")
    index.add(root, options=IngestOptions(exclude=("*.png", "new/*")))
    assert found(index, root) == ["a.jpg", "raw/c.jpg"]
    again = index.add(root)
    assert (again.indexed, again.unchanged) == (0, 2)
    assert again.notes == (
        "--exclude '*.png', 'new/*' as in an earlier run; --exclude '' forgets it",
    )
    assert index.add(root / "raw").seen == 1
    assert index.add(root / "new", options=IngestOptions(exclude=())).indexed == 1
    assert index.add(root, options=IngestOptions(exclude=("",))).indexed == 2
    assert index.add(root).notes == ()


def test_the_command_remembers_and_forgets(cli, tmp_path):
    root = fill(tmp_path / "photos", "a.jpg", "b.png", ".c.jpg")
    cli("index", root, "-i", "p", "--exclude", "*.png")
    assert "--exclude '*.png' as in an earlier run" in cli("index", root, "-i", "p").stderr
    assert "1 images in" in cli("index", root, "-i", "p", "--exclude", "").stderr
    assert "skipped 1 file in hidden files" in cli("index", root, "-i", "p").stderr
    assert "1 images in" in cli("index", root, "-i", "p", "--all-files").stderr


def test_watching_takes_no_notice_of_what_is_left_out(tmp_path, index):
    root = fill(tmp_path / "photos", "a/b.jpg", "a/@eaDir/c.jpg", "a/d.png", ".e.jpg")
    index.add(root, options=IngestOptions(exclude=("*.png",)))
    left_out = _judge(index, root, IngestOptions()).left_out
    paths = [root / name for name in ("a/b.jpg", "a/@eaDir/c.jpg", "a/d.png", ".e.jpg")]
    assert [left_out(str(path)) for path in paths] == [None, "@eaDir", "--exclude", "hidden files"]
    assert _changed_folders(root, [p for p in paths if left_out(str(p)) is None]) == [root / "a"]
    part = FolderSource(root / "a" / "@eaDir", within=root, may_be_empty=True)
    assert list(part) == []


def test_pipes_and_links_to_themselves_are_skips(tmp_path, index):
    root = fill(tmp_path / "photos", "x.jpg", "y.jpg")
    os.mkfifo(root / "pipe")
    os.mkfifo(root / "x.txt")
    (root / "l1").symlink_to("l2")
    (root / "l2").symlink_to("l1")
    (root / "self.txt").symlink_to("self.txt")
    (root / "around").symlink_to(root)
    report = index.add(root)
    assert (report.seen, report.indexed, report.skipped, report.ignored) == (7, 2, 5, 3)
    assert {os.path.basename(skip.key) for skip in report.skips} == {"l1", "l2"}
    again = index.add(root)
    assert (again.unchanged, again.skipped, again.known) == (2, 5, 2)


def test_a_skip_is_news_once_and_listed_until_it_is_mended(cli, tmp_path):
    root = fill(tmp_path / "photos", "a.jpg")
    bad, link = root / "bad.jpg", root / "gone.jpg"
    bad.write_bytes(b"no picture")
    link.symlink_to("nowhere")
    cli("index", root, "-i", "p", expect=3)
    cli("index", root, "-i", "p")
    listed = cli("info", "-i", "p", "--skipped").stdout
    assert "bad.jpg" in listed
    assert "gone.jpg" in listed
    assert "skipped" in cli("info", "-i", "p").stdout
    cli("index", root, "-i", "p", "--retry-skipped", expect=3)  # who asks wants to know
    bad.write_bytes(b"no picture either, at another length")
    cli("index", root, "-i", "p", expect=3)
    picture(bad, 5, "JPEG")
    link.unlink()
    cli("index", root, "-i", "p")
    assert cli("info", "-i", "p", "--skipped").stderr == "no file was skipped\n"


def test_python_lists_what_was_skipped(tmp_path, index):
    root = fill(tmp_path / "photos", "a.jpg")
    (root / "bad.jpg").write_bytes(b"no picture")
    index.add(root)
    (one,) = index.skipped()
    assert (one.key, one.status) == (str(root / "bad.jpg"), "skipped")
    assert index.info()["skipped"] == 1


def test_a_pattern_takes_few_steps_however_many_stars_it_has(tmp_path):
    patterns = ["*a" * 12 + "b", "**/a/" * 9 + "b", "x*[a-c]?*a*/**/y*a*a", "**[!a]*"]
    patterns += ["a**/*b*", "/*a*b/**/c", "**/a*/**/b/**"]
    places = ["a" * 255, "/".join("a" * 900), "xba/u/v/yaa", "b", "a/1b2", "zab/c", "zab/q/c"]
    places += ["u/ab/w/b/z", "u/ab/b/z"]
    for line in patterns:
        for pattern, plain in zip(
            GitIgnoreSpec.from_lines([line]).patterns,
            GitIgnoreSpec.from_lines([line]).patterns,
            strict=True,
        ):
            bounded = left_out._bounded(pattern)
            start = time.perf_counter()
            found = [bool(left_out._fits(bounded, place, False)) for place in places]
            assert time.perf_counter() - start < 2
            expected = [bool(left_out._fits(plain, place, False)) for place in places[2:]]
            assert found[2:] == expected
