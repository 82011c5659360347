"""The pipeline: nothing lost, nothing misattributed, whatever the source and the interruption."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsearch import Index
from clipsearch.cluster.index_job import ClusterEmbedder
from clipsearch.cluster.worker import EmbeddedSlice
from clipsearch.errors import (
    ImageDecodeError,
    InvalidInputError,
    SourceError,
    StorageError,
)
from clipsearch.images import Preprocessing
from clipsearch.ingest import IngestOptions
from clipsearch.intake.embedder import Embedded
from clipsearch.intake.sources import Pair
from clipsearch.intake.triage import Candidate, is_gone

from .drawn import endless_jpeg
from .fakes import FakeEncoder
from .test_images import png_header
from .test_sources import write_table


class PixelEncoder(FakeEncoder):
    """Vectors that depend on the pixels, so that a mix-up shows."""

    preprocessing = Preprocessing(size=(8, 8), mean=(0, 0, 0), std=(1, 1, 1))

    pixels = 0  # images encoded

    def encode_pixels(self, pixels):
        self.encoded += len(pixels)
        self.pixels += len(pixels)
        return np.stack([self.vector(p.tobytes().hex()) for p in pixels])


def picture(path: Path, number: int, kind: str | None = None) -> Path:
    """A picture of which there is no other."""
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, kind or "PNG")
    return path


def total(report) -> int:
    return report.indexed + report.unchanged + report.duplicate + report.skipped


def contents(index) -> dict[str, bytes]:
    """Key -> vector of all items."""
    items = index.items(limit=100_000)
    ids = [item.id for item in items]
    return {
        item.key: vector.tobytes()
        for item, vector in zip(items, index.vectors(ids), strict=True)
    }  # fmt: skip


@pytest.fixture
def index(tmp_path):
    with Index.create(tmp_path / "index", PixelEncoder()) as index:
        yield index


def test_odd_files_among_good_ones_cost_themselves_alone(tmp_path, encoder, photos, monkeypatch):
    """Every good photo gets the vector that it gets alone, whatever fails beside it."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    good = {}
    for number, photo in enumerate(photos[:16]):
        name = f"{number:02}-good{photo.suffix}"
        good[str(shutil.copy(photo, folder / name))] = photo
    data = next(photo for photo in photos if photo.suffix == ".jpg").read_bytes()
    (folder / "00-a-empty.jpg").touch()
    (folder / "03-cut.jpg").write_bytes(data[: len(data) // 2])
    (folder / "05-text.png").write_text("no picture")
    (folder / "07-wrong.gif").write_bytes(photos[17].read_bytes())
    (folder / "08-link.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (folder / "09-notes.md").write_text("notes")
    os.mkfifo(folder / "10-pipe.jpg")
    (folder / "11-bomb.png").write_bytes(png_header(60_000, 60_000))
    shutil.copy(photos[0], folder / "12-again.jpg")
    with Index.create(tmp_path / "index", encoder) as index:
        report = index.add(folder, options=IngestOptions(batch_size=4, report_file=tmp_path / "r"))
        assert (report.seen, report.indexed, report.duplicate, report.skipped) == (25, 17, 1, 7)
        assert total(report) == report.seen
        found = contents(index)
        alone = {key: encoder.encode_images([photo])[0] for key, photo in good.items()}
    for key, vector in alone.items():
        stored = np.frombuffer(found[key], np.float32)
        assert float(stored @ vector) > 0.9999, key
    reasons = {Path(skip.key).name: skip.reason for skip in report.skips}
    assert "empty" in reasons["00-a-empty.jpg"] or "no bytes" in reasons["00-a-empty.jpg"]
    assert "broken image" in reasons["03-cut.jpg"]
    assert "not an image" in reasons["05-text.png"]
    assert "gone" in reasons["08-link.jpg"]
    assert "regular" in reasons["10-pipe.jpg"]
    assert "--max-pixels" in reasons["11-bomb.png"]
    lines = [json.loads(line) for line in (tmp_path / "r").read_text().splitlines()]
    assert len(lines) == report.seen
    assert {line["status"] for line in lines} == {"indexed", "duplicate", "skipped"}


@pytest.mark.slow
def test_strange_files_among_photos(tmp_path, encoder, photos, shared_data):
    odd = [path for path in sorted((shared_data / "odd").rglob("*")) if path.is_file()]
    mixed = [str(path) for pair in zip(odd, photos * 30, strict=False) for path in pair]
    paths = list(dict.fromkeys(mixed))
    with Index.create(tmp_path / "index", encoder) as index:
        report = index.add(paths)
        assert report.seen == len(paths) == total(report)
        stored = contents(index)
        for photo in photos:
            vector = encoder.encode_images([photo])[0]
            assert float(np.frombuffer(stored[str(photo)], np.float32) @ vector) > 0.9999


def test_a_hanging_decoder_costs_its_file_alone(tmp_path, index):
    folder = tmp_path / "pictures"
    paths = [picture(folder / f"{n}.png", n) for n in range(6)]

    paths[2].write_bytes(endless_jpeg())
    everything = [str(path) for path in paths]
    report = index.add(everything, options=IngestOptions(timeout_s=1.5))
    assert (report.indexed, report.skipped) == (5, 1)
    assert "took over 1.5 s" in report.skips[0].reason


def test_a_second_run_does_only_what_is_new(tmp_path, index):
    folder = tmp_path / "pictures"
    for number in range(8):
        picture(folder / f"{number}.png", number)
    assert index.add(folder).indexed == 8
    first = index.encoder.encoded
    assert index.add(folder).unchanged == 8
    os.utime(folder / "0.png")  # touched: the same bytes
    (folder / "1.png").rename(folder / "moved.png")
    shutil.copy(folder / "2.png", folder / "copy.png")
    picture(folder / "3.png", 33)
    (folder / "4.txt").write_text("now with words")
    (folder / "5.png").unlink()
    picture(folder / "new.png", 99)
    before = {item.key: item.id for item in index.items()}
    report = index.add(folder, options=IngestOptions(prune=True))
    assert index.encoder.encoded - first == 2 + 1  # the changed, the new, and a caption
    assert (report.indexed, report.updated, report.moved, report.duplicate) == (3, 2, 1, 1)
    assert (report.unchanged, report.pruned, total(report)) == (5, 1, report.seen)
    after = {item.key: item.id for item in index.items()}
    assert after[str(folder / "moved.png")] == before[str(folder / "1.png")]
    assert str(folder / "5.png") not in after


def test_identical_pictures_in_one_run_are_encoded_once(tmp_path, index):
    paths = [picture(tmp_path / f"{n:02}.png", n % 3) for n in range(30)]
    report = index.add([str(path) for path in paths])
    assert (report.indexed, report.duplicate, index.encoder.pixels) == (3, 27, 3)
    assert len({item.id for item in index.items()}) == 30
    assert [item.key for item in index.items()] == [str(path) for path in paths]  # in order


def test_files_that_exchange_their_bytes_keep_a_vector_of_their_own(tmp_path, index):
    """Each has the bytes of an item that is replaced in the same run."""
    folder = tmp_path / "pictures"
    paths = [picture(folder / f"{number}.png", number) for number in range(5)]
    index.add(folder)
    before = contents(index)
    data = [path.read_bytes() for path in paths]
    for path, other in zip(paths, data[1:] + data[:1], strict=True):
        path.write_bytes(other)
    pairs = [Pair(key=f"row {number}", image=content) for number, content in enumerate(data)]
    report = index.add([*map(str, paths), *pairs], options=IngestOptions(batch_size=2))
    assert (report.seen, report.skipped, total(report)) == (10, 0, 10)
    after = contents(index)
    for number, path in enumerate(paths):
        same = before[str(paths[(number + 1) % 5])]
        assert after[str(path)] == same
        assert after[f"row {(number + 1) % 5}"] == same
    assert index.verify(full=True).ok


def test_pictures_that_came_before_in_a_batch_are_found(tmp_path, index):
    """A copy of a copy, a move with a copy, and one key with other bytes, a few images apart."""
    paths = [picture(tmp_path / f"{n}.png", n) for n in range(4)]
    index.add(map(str, paths))
    ids = {item.key: item.id for item in index.items()}
    paths[0].rename(tmp_path / "moved.png")
    shutil.copy(tmp_path / "moved.png", tmp_path / "copy.png")
    picture(tmp_path / "new.png", 9)
    shutil.copy(tmp_path / "new.png", tmp_path / "new copy.png")
    names = ["moved.png", "copy.png", "new.png", "new copy.png", "1.png"]
    report = index.add([str(tmp_path / name) for name in names])
    assert (report.moved, report.duplicate, report.indexed, report.unchanged) == (1, 2, 1, 2)
    now = {item.key: item.id for item in index.items()}
    assert now[str(tmp_path / "moved.png")] == ids[str(paths[0])]
    assert list(now)[-3:] == [str(tmp_path / name) for name in names[1:4]]
    assert index.encoder.pixels == 5


def test_a_later_pair_of_a_key_is_compared_with_what_the_earlier_one_stored(tmp_path, index):
    """It goes through triage while the earlier one is still being encoded."""
    data = [picture(tmp_path / f"{n}.png", n).read_bytes() for n in range(260)]
    index.add([Pair(key="same", image=data[0])])
    others = [Pair(key=f"row {n}", image=data[n]) for n in range(2, 257)]
    pairs = [*others, Pair(key="same", image=data[1]), Pair(key="same", image=data[0])]
    report = index.add(pairs)
    assert (report.indexed, report.updated, report.unchanged) == (257, 2, 0)
    (last,) = (item for item in index.items() if item.key == "same")
    assert last.sha256 == hashlib.sha256(data[0]).hexdigest()


def test_a_file_that_changed_while_a_cluster_embedded_it_is_tried_again(tmp_path, index):
    path = str(picture(tmp_path / "changing.png", 1))
    pair = Pair(key=path, image=path)
    late = EmbeddedSlice([Embedded(Candidate(pair))], {}, {})
    report = index.add([path], embedder=ClusterEmbedder([late]))
    assert "changed while the job ran" in report.skips[0].reason
    assert index.add([path]).indexed == 1


def test_files_that_failed_are_not_tried_again_unless_asked(tmp_path, index):
    folder = tmp_path / "pictures"
    picture(folder / "good.png", 1)
    bad = folder / "bad.png"
    bad.write_bytes(b"\x89PNG broken")
    first = index.add(folder)
    assert first.skipped == 1
    again = index.add(folder)
    assert (again.skipped, again.skips[0].reason) == (1, first.skips[0].reason)
    assert "--retry-skipped" in again.notes[0]
    retried = index.add(folder, options=IngestOptions(retry_skipped=True))
    assert (retried.skipped, retried.notes) == (1, ())
    facts = bad.stat()
    picture(bad, 2)  # mended: another size and time, so it is tried without being asked
    assert bad.stat().st_size != facts.st_size
    assert index.add(folder).indexed == 1
    assert index.add(folder).unchanged == 2
    assert index.get_meta("last_report")["unchanged"] == 2


def test_a_limit_that_was_raised_lets_a_skipped_file_in(tmp_path, index):
    folder = tmp_path / "pictures"
    picture(folder / "small.png", 1)
    Image.new("RGB", (300, 300), "red").save(folder / "large.png")
    assert index.add(folder, options=IngestOptions(max_pixels=1000)).skipped == 1
    assert index.add(folder).indexed == 1


def test_strict_stops_at_the_first_bad_file_and_keeps_what_was_done(tmp_path, index):
    folder = tmp_path / "pictures"
    picture(folder / "a.png", 1)
    (folder / "b.png").write_bytes(b"broken")
    with pytest.raises(ImageDecodeError, match=r"b\.png"):
        index.add(folder, on_error="raise")
    assert total(index.add(folder)) == 2


@pytest.mark.parametrize("report", ["/nowhere/report.jsonl", "/dev/full"])
def test_a_report_that_cannot_be_written_is_named(tmp_path, index, report):
    path = picture(tmp_path / "a.png", 1)
    with pytest.raises(StorageError, match=f"cannot write {report}"):
        index.add([path], options=IngestOptions(report_file=report))
    assert index.add([path]).seen == 1
    assert index.verify(full=True).ok


def test_pairs_of_ones_own(tmp_path, index):
    data = picture(tmp_path / "a.png", 1).read_bytes()
    pairs = [
        Pair(key="bytes", image=data, caption="from memory", extra={"n": 1}),
        Pair(key="words", caption="only words"),
        Pair(key="nothing"),
        Pair(key="blank", caption="  "),
        Pair(key="nul\0", caption="x"),
        Pair(key="\udcff", caption="x"),
        Pair(key="bytes", image=data),
        Pair(key="odd", caption="x", extra={"of": {1, 2}}),
    ]
    report = index.add(pairs)
    assert total(report) == report.seen == 8
    assert report.indexed >= 2
    words = next(item for item in index.items() if item.key == "words")
    assert (words.has_image, words.has_caption) == (False, True)
    assert index.add(pairs[:2]).unchanged == 2


def test_tables_and_shards_end_in_the_index(tmp_path, index):
    for number in range(4):
        picture(tmp_path / "set" / f"{number}.png", number)
    table = tmp_path / "set" / "pairs.csv"
    table.write_text(
        "image,caption,stars,id\n0.png,a dog,5,p\n1.png,😀,4,q\n0.png,the same dog,1,r\n"
        "../x.png,out,1,s\n2.png,twice,1,p\n"
    )
    report = index.add(table)
    assert (report.indexed, report.duplicate, report.skipped) == (2, 1, 2)
    assert [item.caption for item in index.items("stars >= 4")] == ["a dog", "😀"]
    assert index.add(table).unchanged == 3
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for number in range(4):
            archive.add(tmp_path / "set" / f"{number}.png", f"{number}.png")
        words = tarfile.TarInfo("3.txt")
        words.size = 5
        archive.addfile(words, io.BytesIO(b"a cat"))
    report = index.add(tmp_path / "set.tar")
    assert (report.indexed, report.duplicate, total(report)) == (2, 2, 4)
    assert index.add(tmp_path / "set.tar").unchanged == 4
    item = next(item for item in index.items() if item.key.endswith("set.tar!3"))
    assert (item.path, item.caption) == (None, "a cat")


def test_options_are_checked(index, tmp_path):
    for bad in ({"batch_size": 0}, {"workers": 0}, {"on_error": "ignore"}, {"timeout_s": 0.0}):
        with pytest.raises(InvalidInputError):
            IngestOptions(**bad)
    with pytest.raises(SourceError):
        index.add(tmp_path / "absent")
    with pytest.raises(InvalidInputError, match="prune needs a folder"):
        index.add([str(picture(tmp_path / "a.png", 1))], options=IngestOptions(prune=True))


# --- interruptions --------------------------------------------------------------------------------

SCRIPT = """
import os, sys, time
import clipsearch.intake.store as store
from clipsearch import Index
from clipsearch.ingest import IngestOptions
sys.path.insert(0, {root!r})
from tests.test_ingest import PixelEncoder

store._COMMIT_ITEMS = 100

class Slow(PixelEncoder):
    def encode_pixels(self, pixels):
        os.write(1, f"{{len(pixels)}}\\n".encode())  # print would mix the lines of two threads
        time.sleep(0.1)
        return super().encode_pixels(pixels)

encoder = Slow()
with Index.create({index!r}, encoder, exist_ok=True) as index:
    index.add({folder!r}, options=IngestOptions(workers=2))
"""


def run_script(index: Path, folder: Path) -> subprocess.Popen[str]:
    root = str(Path(__file__).resolve().parents[1])
    code = SCRIPT.format(root=root, index=str(index), folder=str(folder))
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_is_finished_by_the_next(tmp_path, how):
    """1,000 files; what was committed before the interruption is not encoded again."""
    folder = tmp_path / "pictures"
    for number in range(1000):
        picture(folder / f"{number:04}.png", number)
    cut = run_script(tmp_path / "cut", folder)
    encoded = 0
    while encoded < 400:
        encoded += int(cut.stdout.readline())
    cut.send_signal(how)
    cut.communicate(timeout=60)
    assert cut.returncode != 0
    with Index.open(tmp_path / "cut") as half:
        kept = len(half)
    assert 100 <= kept < 1000

    encoder = PixelEncoder()
    with (
        Index.open(tmp_path / "cut", encoder) as one,
        Index.create(tmp_path / "whole", PixelEncoder()) as other,
    ):
        report = one.add(folder)
        assert (report.seen, report.indexed, report.unchanged) == (1000, 1000 - kept, kept)
        assert encoder.pixels == 1000 - kept
        assert other.add(folder).indexed == 1000
        assert contents(one) == contents(other)
        assert one.info()["items"] == 1000


MEMORY = """
import resource, sys
sys.path.insert(0, {root!r})
from clipsearch import Index
from clipsearch.intake.sources import Pair
from tests.test_ingest import PixelEncoder, drawn

with Index.create({index!r}, PixelEncoder()) as index:
    report = index.add(Pair(key=str(n), image=drawn(n)) for n in range({count}))
assert report.indexed == {count}, report
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def drawn(number: int) -> bytes:
    """A tiny BMP of which there is no other, quick to make."""
    body = number.to_bytes(8, "little") + bytes(40)
    head = b"BM" + (54 + len(body)).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    info = (40).to_bytes(4, "little") + (4).to_bytes(4, "little") * 2
    info += (1).to_bytes(2, "little") + (24).to_bytes(2, "little") + bytes(24)
    return head + info + body


@pytest.mark.slow
def test_memory_does_not_grow_with_the_source(tmp_path):
    root = str(Path(__file__).resolve().parents[1])
    peaks = []
    for count in (5_000, 50_000):
        code = MEMORY.format(root=root, index=str(tmp_path / str(count)), count=count)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout))
    assert peaks[1] < 1.1 * peaks[0], peaks


# --- the command ----------------------------------------------------------------------------------


def test_the_command_tells_rate_bottleneck_and_skips(cli, photo_folder, tmp_path):
    (photo_folder / "bad.jpg").write_bytes(b"no picture")
    done = cli("index", photo_folder, "-i", "p", "--report", tmp_path / "r.jsonl", expect=3)
    first = done.stderr.splitlines()[0]
    assert " images in " in first
    assert "/s): encode " in first
    assert all(f"{stage} " in first for stage in ("decode", "write"))
    assert "skipped" in done.stderr
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == len(list(photo_folder.iterdir()))
    again = cli("index", photo_folder, "-i", "p").stderr  # no news, so no alarm
    assert "skipped again (--retry-skipped retries them): 1" in again
    assert "not tried" not in cli(
        "index", photo_folder, "-i", "p", "--retry-skipped", expect=3
    ).stderr  # fmt: skip


def test_the_command_takes_paths_on_stdin_and_tables(cli, photo_folder):
    some = sorted(photo_folder.iterdir())[:3]
    done = cli("index", "-", "-i", "p", stdin="\n".join(map(str, some)))
    assert "3 images in" in done.stderr
    table = photo_folder / "t.tsv"
    table.write_text(f"pic\twords\n{some[0].name}\ta thing\n")
    done = cli("index", table, "-i", "p", expect=1)
    assert "choose one with --images: pic, words" in done.stderr
    done = cli("index", table, "-i", "p", "--images", "pic", "--captions", "words")
    assert "1 duplicate" in done.stderr


def test_watching_follows_the_folder(tmp_path, index):
    import threading

    from clipsearch.watch import watch

    folder = tmp_path / "pictures"
    picture(folder / "a.png", 1)
    stop, ready = threading.Event(), threading.Event()
    follower = threading.Thread(
        target=watch, args=(index, folder), kwargs={"stop": stop, "ready": ready.set}
    )
    follower.start()

    def follows(names: set[str]) -> bool:
        end = time.monotonic() + 40
        while time.monotonic() < end:
            if {Path(item.key).name for item in index.items()} == names:
                return True
            time.sleep(0.2)
        return False

    try:
        assert ready.wait(60)
        assert follows({"a.png"})
        picture(folder / "album" / "b.png", 2)
        (folder / ".c.png").write_bytes(b"hidden")
        assert follows({"a.png", "b.png"})
        before = {Path(item.key).name: item.id for item in index.items()}
        picture(folder / "a.png", 3)
        end = time.monotonic() + 40
        while time.monotonic() < end and len(index.items()) == 2:
            if {Path(item.key).name: item.id for item in index.items()}["a.png"] != before["a.png"]:
                break
            time.sleep(0.2)
        assert {Path(i.key).name: i.id for i in index.items()}["a.png"] != before["a.png"]
        (folder / "album" / "b.png").rename(folder / "d.png")
        assert follows({"a.png", "d.png"})
        shutil.rmtree(folder / "album")
        (folder / "a.png").unlink()
        assert follows({"d.png"})
    finally:
        stop.set()
        follower.join(30)
    assert not follower.is_alive()


def test_another_writer_right_after_the_last_commit_takes_nothing_from_the_report(
    tmp_path, monkeypatch
):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.bmp").write_bytes(drawn(number))
    measure = Index.refresh_baseline
    with Index.create(tmp_path / "index", PixelEncoder()) as index:

        def meanwhile(self, *arguments, **options):
            with Index.open(tmp_path / "index").writer():
                measure(self, *arguments, **options)

        monkeypatch.setattr(Index, "refresh_baseline", meanwhile)
        assert index.add(folder).indexed == 4
        assert len(index) == 4


def test_a_file_that_cannot_be_looked_at_is_not_gone(tmp_path, monkeypatch):
    (tmp_path / "there").write_text("a file")
    assert not is_gone(str(tmp_path / "there"))
    assert is_gone(str(tmp_path / "absent"))
    assert is_gone(str(tmp_path / "there" / "below a file"))
    for number in (errno.EACCES, errno.EIO, errno.ESTALE):
        monkeypatch.setattr(os, "lstat", _failing(number))
        assert not is_gone(str(tmp_path / "absent"))


def _failing(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_new_values_of_columns_are_stored_without_encoding_anew(tmp_path, suffix):
    for number in range(3):
        (tmp_path / f"{number}.bmp").write_bytes(drawn(number))
    encoder, table = PixelEncoder(), tmp_path / f"t{suffix}"

    def write(*prices):
        rows = [
            {"image": f"{n}.bmp", "caption": f"a {n}", "price": price, "shop": "north"}
            for n, price in enumerate(prices)
        ]
        write_table(table, rows)

    with Index.create(tmp_path / "index", encoder) as index:
        write(10, 20, 30)
        index.add(table)
        before, encoded = index.items(), encoder.encoded
        write(10, 99, 30)
        report = index.add(table)
        assert (report.seen, report.unchanged, report.updated, report.indexed) == (3, 3, 1, 0)
        assert [item.extra["price"] for item in index.items()] == [10, 99, 30]
        assert [item.id for item in index.items()] == [item.id for item in before]
        assert index.items("price = 99")[0].caption == "a 1"
        assert encoder.encoded - encoded <= 207  # generic texts at most
        if suffix == ".jsonl":  # which can hold what no database can: it costs that character
            write(10, "cut \ud83d", 30)
            report = index.add(table)
            assert (report.unchanged, report.updated, report.skipped) == (3, 1, 0)
        assert index.verify(full=True).ok
