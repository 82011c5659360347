"""Archives of photos as sources: every member ends in the account, and nothing is lost silently."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
from fastapi.testclient import TestClient

from clipsearch import Index
from clipsearch.errors import SourceError
from clipsearch.explore.thumbnails import reduced
from clipsearch.ingest import IngestOptions
from clipsearch.intake import members
from clipsearch.intake.archives import ArchiveSource
from clipsearch.intake.originals import indexed_bytes
from clipsearch.intake.places import LocalPlace
from clipsearch.intake.sources import open_source, pairs_within
from clipsearch.server.app import create_app

from .test_images import dng
from .test_ingest import PixelEncoder, picture, total

COMPRESSIONS = {"tar": "w", "tar.gz": "w:gz", "tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}
DOTTED = (
    "2024.05.01 beach.png", "2024.05.02 dog.png", "Dr. Smith.png", "IMG_1.png",
    "photo.edited.png", "photo.png",
)  # fmt: skip


@pytest.fixture
def index(tmp_path):
    with Index.create(tmp_path / "index", PixelEncoder()) as index:
        yield index


@pytest.fixture
def drawn(tmp_path):
    """Bytes of a picture of which there is no other, by number."""
    return lambda number: picture(tmp_path / "drawn" / f"{number}.png", number).read_bytes()


def entry(name, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def pack(path, files):
    """Write an archive as its name says; a value that is no bytes is a header of a tar."""
    suffix = next((s for s in COMPRESSIONS if path.name.endswith(f".{s}")), None)
    if suffix is None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return path
    with tarfile.open(path, COMPRESSIONS[suffix]) as archive:
        for name, data in files.items():
            info = data if isinstance(data, tarfile.TarInfo) else entry(name)
            info.size = 0 if info is data else len(data)
            archive.addfile(info, None if info is data else io.BytesIO(data))
    return path


def names(index):
    return [item.key.partition("!")[2] for item in index.items()]


@pytest.mark.parametrize("suffix", [*COMPRESSIONS, "zip"])
def test_every_member_ends_in_the_account_and_a_second_run_finds_nothing_new(
    tmp_path, index, drawn, suffix
):
    archive = pack(
        tmp_path / f"album.{suffix}",
        {
            "a.png": drawn(1),
            "a.PNG": drawn(2),
            "deep/er/a.png": drawn(3),
            "deep/b.txt": "ein Fluß".encode(),
            "deep/b.png": drawn(4),
            "deep/c.json": json.dumps({"caption": "a lake"}).encode(),
            "deep/c.png": drawn(5),
            "/absolute.png": drawn(6),
            "../../up.png": drawn(7),
            "without a suffix": drawn(8),
            "bad.png": b"no picture",
            "clip.mp4": b"film",
            "read me.txt": b"words",
            "__MACOSX/._a.png": b"\0\5\x16\7",
            "._a.png": b"\0\5\x16\7",
        },
    )
    report = index.add(archive)
    assert total(report) == report.seen == 13
    assert (report.indexed, report.skipped, report.ignored) == (8, 5, 4)
    assert names(index) == [
        "a", "a.PNG", "deep/er/a", "deep/b", "deep/c", "/absolute", "../../up", "without a suffix"
    ]  # fmt: skip
    assert [item.caption for item in index.items()][3:5] == ["ein Fluß", "a lake"]
    assert [skip.key for skip in report.skips] == [f"{archive}!bad"]
    assert report.ignored_as == {".mp4": 1, ".txt": 1}
    assert "skipped 2 files in __MACOSX, ._*; --all-files takes them" in report.notes
    again = index.add(archive)
    assert (again.unchanged, again.skipped, again.known, again.indexed) == (8, 5, 1, 0)


def test_names_with_dots_are_photos_of_an_archive_and_parts_of_a_shard(tmp_path, index, drawn):
    photos = {name: drawn(number) for number, name in enumerate(DOTTED)}
    report = index.add(pack(tmp_path / "p.tar", photos))
    assert names(index) == [name.removesuffix(".png") for name in DOTTED]
    assert "p.tar was read as an archive of photos" in report.notes[0]
    samples = {
        f"{number:03}{ending}": drawn(10 * number + len(ending)) if "png" in ending else b"{}"
        for number in range(3)
        for ending in (".json", ".png", ".seg.png")
    }
    report = index.add(pack(tmp_path / "s.tar", samples))
    assert names(index)[6:] == ["000", "001", "002"]
    assert "s.tar was read as a WebDataset shard" in report.notes[0]
    assert report.ignored_as == {"another image of its sample": 3}


def test_a_photo_that_the_rule_of_shards_would_lose_is_an_alarm(tmp_path, index, drawn):
    pack(tmp_path / "p1.tar", {name: drawn(number) for number, name in enumerate(DOTTED)})
    report = index.add(str(tmp_path / "p{1..1}.tar"))
    assert total(report) == report.seen == 6
    assert [skip.key.partition("!")[2] for skip in report.skips] == ["2024.05.02 dog.png"]


def test_sidecars_of_takeout_make_no_shard(tmp_path, drawn):
    files = {}
    for number in range(3):
        files[f"t/IMG_{number}.png"] = drawn(number)
        files[f"t/IMG_{number}.png.json"] = b'{"title": "IMG"}'
    source = ArchiveSource(LocalPlace(pack(tmp_path / "takeout.tgz", files)))
    keys = [pair.key.partition("!")[2] for pair in source if not pair.ignored]
    assert keys == ["t/IMG_0", "t/IMG_1", "t/IMG_2"]
    assert source.was_shard is False


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.xz", "zip"])
def test_what_comes_before_a_cut_is_kept_and_the_rest_is_told(tmp_path, index, drawn, suffix):
    whole = pack(tmp_path / f"whole.{suffix}", {f"{n}.png": drawn(n) for n in range(40)})
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    report = index.add(cut)
    assert 5 < report.indexed < 35
    assert report.seen == report.indexed + 1
    assert "is damaged after" in report.skips[0].reason


def test_damage_inside_a_tar_costs_a_file_and_is_told(tmp_path, index, drawn):
    archive = pack(tmp_path / "a.tar", {f"{n}.png": drawn(n) for n in range(10)})
    data = bytearray(archive.read_bytes())
    data[data.index(b"5.png") + 150] ^= 7  # in the checksum of its header
    archive.write_bytes(data)
    report = index.add(archive)
    assert (report.indexed, report.skipped, report.ignored) == (9, 1, 0)
    assert "damaged here, and a file at least is lost" in report.skips[0].reason
    data[data.index(b"9.png") + 150] ^= 7  # the last one has no file behind it
    archive.write_bytes(data)
    report = index.add(archive)
    assert (report.unchanged, report.skipped, report.known) == (8, 2, 1)


def test_tars_that_are_joined_are_read_to_the_last_one(tmp_path, drawn):
    parts = [pack(tmp_path / f"{n}.tar", {f"{n}.png": drawn(n)}).read_bytes() for n in range(3)]
    (tmp_path / "joined.tar").write_bytes(b"".join(parts) + b"garbage" * 500)
    assert [pair.image for pair in open_source(tmp_path / "joined.tar")] == [*map(drawn, range(3))]


def test_a_zip_member_that_cannot_be_read_costs_itself_alone(tmp_path, index, drawn):
    archive = pack(tmp_path / "a.zip", {f"{n}.png": drawn(n) for n in range(4)})
    data = bytearray(archive.read_bytes())
    data[data.index(b"1.png") + 60] ^= 255
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # the flags in both headers of 2.png
        begin = [n for n in range(len(data)) if data.startswith(mark, n)][2]
        data[begin + at] |= 1
    archive.write_bytes(data)
    report = index.add(archive)
    reasons = {skip.key[-1]: skip.reason for skip in report.skips}
    assert (report.indexed, sorted(reasons)) == (2, ["1", "2"])
    assert "damaged in the archive" in reasons["1"]
    assert "encrypted" in reasons["2"]


def test_links_in_a_tar_lead_nowhere_outside_it(tmp_path, index, drawn):
    archive = pack(
        tmp_path / "links.tar",
        {
            "a.png": drawn(1),
            "again.png": entry("again.png", tarfile.LNKTYPE, "a.png"),
            "sub/up.png": entry("sub/up.png", tarfile.SYMTYPE, "../a.png"),
            "out.png": entry("out.png", tarfile.SYMTYPE, "/etc/passwd"),
            "pipe": entry("pipe", tarfile.FIFOTYPE),
            "folder": entry("folder", tarfile.DIRTYPE),
        },
    )
    report = index.add(archive)
    assert (report.seen, report.indexed, report.ignored) == (5, 1, 2)
    assert report.ignored_as == {"a link": 2}
    reasons = {skip.key.partition("!")[2]: skip.reason for skip in report.skips}
    assert "not in the archive" in reasons["out.png"]
    assert "not a regular file" in reasons["pipe"]


def test_a_member_is_never_larger_in_memory_than_is_allowed(tmp_path, index, drawn, monkeypatch):
    monkeypatch.setattr("clipsearch.intake.archives.MAX_IMAGE_BYTES", 1 << 20)
    archive = pack(tmp_path / "bomb.zip", {"bomb.png": bytes(64 << 20), "a.png": drawn(1)})
    tracemalloc.start()
    try:
        pairs = list(open_source(archive))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert "over the limit of 1 MB" in pairs[0].refused
    assert pairs[1].image == drawn(1)


def test_what_an_archive_is_its_bytes_say_not_its_name(tmp_path, drawn):
    files = {"a.png": drawn(1)}
    tar, zipped = pack(tmp_path / "a.tar", files), pack(tmp_path / "a.zip", files)
    for name, data in (
        ("tar.tar.gz", tar.read_bytes()),
        ("tar.zip", tar.read_bytes()),
        ("zip.tar", zipped.read_bytes()),
        ("gz.tar", pack(tmp_path / "b.tgz", files).read_bytes()),
    ):
        (tmp_path / name).write_bytes(data)
        (pair,) = open_source(tmp_path / name)
        assert pair.image == drawn(1), name
    (tmp_path / "text.tar").write_text("no archive")
    (tmp_path / "x.7z").write_bytes(b"7z\xbc\xaf")
    for name, message in (
        ("text.tar", "neither a tar nor a zip"),
        ("x.7z", "unpack it"),
        ("absent.zip", "nothing is at"),
    ):
        with pytest.raises(SourceError, match=message):
            list(open_source(tmp_path / name))


def test_gzip_in_several_pieces_is_read_to_its_end(tmp_path, drawn):
    plain = pack(tmp_path / "a.tar", {f"{n}.png": drawn(n) for n in range(5)}).read_bytes()
    half = len(plain) // 2
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(plain[:half]) + gzip.compress(plain[half:]))
    assert len(list(open_source(tmp_path / "b.tar.gz"))) == 5


def test_a_caption_is_found_wherever_in_the_archive_it_lies(tmp_path, drawn):
    files = {"b.txt": b"second", "a.png": drawn(1), "b.png": drawn(2), "c.png": drawn(3)}
    for suffix in ("tar", "tar.gz", "zip"):
        archive = pack(tmp_path / f"x.{suffix}", {**files, "a.txt": b"first"})
        assert [pair.caption for pair in open_source(archive)] == ["first", "second", None]


def test_patterns_and_all_files_count_in_archives_too(tmp_path, index, drawn):
    files = {"a.png": drawn(1), "b.gif": drawn(2), "@eaDir/c.png": drawn(3), ".d/e.png": drawn(4)}
    archive = pack(tmp_path / "x.tar", files)
    options = IngestOptions(exclude=("*.gif",), all_files=True)
    assert index.add(archive, options=options).indexed == 3
    assert sorted(names(index)) == [".d/e", "@eaDir/c", "a"]
    again = index.add(archive)
    assert (again.unchanged, len(again.notes)) == (3, 2)


def test_items_are_found_in_an_archive_by_whichever_rule_they_were_stored(tmp_path, drawn):
    archive = pack(tmp_path / "p1.tar", {name: drawn(n) for n, name in enumerate(DOTTED)})
    for source in (str(archive), str(tmp_path / "p{1..1}.tar")):
        expected = {pair.key: pair.image for pair in open_source(source) if pair.image}
        found = {pair.key: pair.image for pair in pairs_within(str(archive)) if pair.image}
        assert expected.items() <= found.items()


def test_an_archive_that_was_renamed_takes_its_items_along(tmp_path, index, drawn):
    files = {"a.png": drawn(1), "b.png": drawn(2)}
    archive = pack(tmp_path / "x.zip", files)
    index.add(archive)
    index.set_tags([1, 2], ["x", "y"])
    archive = archive.rename(tmp_path / "y.zip")
    report = index.add(archive)
    assert (report.unchanged, report.moved, report.duplicate) == (2, 2, 0)
    items = index.items()
    assert [(item.id, item.key, item.tags) for item in items] == [
        (1, f"{archive}!a", ("x",)),
        (2, f"{archive}!b", ("y",)),
    ]
    assert [indexed_bytes(item) for item in items] == list(files.values())
    report = index.add(pack(tmp_path / "z.tar", files))  # the other one is still there
    assert (report.moved, report.duplicate) == (0, 2)


def test_names_that_do_not_say_that_they_are_utf8_are_read_as_it(tmp_path, drawn):
    archive = pack(tmp_path / "mac.zip", {"caf\u00e9.png": drawn(1)})
    data = bytearray(archive.read_bytes())
    for mark, at in ((b"PK\3\4", 7), (b"PK\1\2", 9)):
        data[data.index(mark) + at] &= ~0x08  # the flag that says so
    archive.write_bytes(data)
    (pair,) = open_source(archive)
    assert pair.key.endswith("!caf\u00e9")


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "zip"])
def test_the_api_shows_a_member_until_its_archive_is_another(tmp_path, index, drawn, suffix):
    archive = pack(tmp_path / f"album.{suffix}", {"deep/a.png": drawn(1), "deep/b.png": drawn(2)})
    index.add(archive)
    with TestClient(create_app(index.encoder, {"index": index.path}, ui=False)) as client:

        def image(number):
            return client.get(f"/v1/indexes/index/items/{number}/image")

        def thumbnail(number):
            return client.get(f"/v1/indexes/index/items/{number}/thumbnail")

        for number in (1, 2):
            assert (image(number).status_code, image(number).content) == (200, drawn(number))
        assert thumbnail(2).headers["content-type"] == "image/jpeg"
        item = client.get("/v1/indexes/index/items/1").json()
        assert item["has_image"]
        assert archive.name not in json.dumps(item)
        pack(archive, {"deep/a.png": drawn(3), "deep/b.png": drawn(2)})
        assert (image(1).status_code, thumbnail(1).status_code) == (404, 404)
        archive.unlink()
        assert image(2).status_code == 404


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "zip"])
def test_a_photo_that_moved_within_its_archive_is_shown_from_where_it_is(
    tmp_path, index, drawn, suffix
):
    archive = pack(tmp_path / f"album.{suffix}", {"a.png": drawn(1)})
    index.add(archive)
    pack(archive, {"b.png": drawn(2), "a.png": drawn(1)})
    assert index.add(archive).unchanged == 1
    assert indexed_bytes(index.item(1)) == drawn(1)
    index.set_tags([1], ["dog"])
    archive = archive.rename(tmp_path / f"other.{suffix}")
    report = index.add(archive)
    assert (report.unchanged, report.moved, report.duplicate) == (2, 2, 0)
    assert indexed_bytes(index.item(1)) == drawn(1)
    assert index.tags([1]) == {1: ("dog",)}
    pack(tmp_path / f"copy.{suffix}", {"c.png": drawn(1)})  # the other one is still there
    assert index.add(tmp_path / f"copy.{suffix}").duplicate == 1


def test_photos_of_every_archive_that_can_be_read_are_shown(tmp_path, index, drawn):
    pack(tmp_path / "a.tar.bz2", {"a.png": drawn(1)})
    pack(tmp_path / "b.tar.xz", {"b.png": drawn(2)})
    joined = [pack(tmp_path / f"{n}.tar", {f"c{n}.png": drawn(n)}).read_bytes() for n in (3, 4)]
    (tmp_path / "c.tgz").write_bytes(gzip.compress(b"".join(joined)))
    plain = tarfile.TarInfo("\udce9/d.png")  # a byte that is no UTF-8
    plain.size = len(drawn(5))
    name = tmp_path / os.fsdecode(b"d\xe9.tar")
    with tarfile.open(name, "w", encoding="utf-8", errors="surrogateescape") as archive:
        archive.addfile(plain, io.BytesIO(drawn(5)))
    info = zipfile.ZipInfo("win\\e.png")
    info.filename, info.create_system = "win\\e.png", 0  # as .NET once wrote it
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        archive.writestr(info, drawn(6))
    cut = pack(tmp_path / "f.zip", {"f.png": drawn(7), "g.png": drawn(8)})
    cut.write_bytes(cut.read_bytes()[:-40])
    for path in ("a.tar.bz2", "b.tar.xz", "c.tgz", name.name, "e.zip", "f.zip"):
        index.add(tmp_path / path)
    items = index.items()
    assert [indexed_bytes(item) for item in items] == [drawn(number) for number in range(1, 9)]


def test_camera_raw_in_an_archive_is_known_by_its_name(tmp_path, encoder):
    pytest.importorskip("rawpy", reason="needs the extra raw")
    raw = dng(np.full((60, 80), 2000), orientation=6)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.dng").write_bytes(raw)
    sources = [tmp_path / "folder"]
    sources += [
        pack(tmp_path / f"a.{suffix}", {"d/a.dng": raw}) for suffix in ("tar", "tgz", "zip")
    ]
    sources.append(pack(tmp_path / "s.tar", {"1.nef": raw, "1.json": b'{"w": 1}'}))
    with Index.create(tmp_path / "raw", encoder) as index:
        for source in sources:
            index.add(source)
        items = index.items()
        assert {(item.format, item.width, item.height) for item in items} == {("RAW", 60, 80)}
        assert len({reduced(indexed_bytes(item), 320) for item in items}) == 1
        assert len(items) == 5
        index.add(sources[1], options=IngestOptions(rescan=True))
        assert index.item(2).format == "RAW"


def test_the_command_tells_the_rule_and_alarms_once(cli, tmp_path, drawn):
    archive = pack(tmp_path / "p.tgz", {"a.b.png": drawn(1), "c.png": b"bad", "d.pdf": b"%PDF"})
    done = cli("index", archive, "-i", "p", expect=3).stderr
    assert "p.tgz was read as an archive of photos" in done
    assert "skipped 1 file that is not an image (.pdf: 1)" in done
    assert "1 was skipped before" in cli("index", archive, "-i", "p").stderr
    listed = json.loads(cli("info", "-i", "p", "--skipped", "-f", "json").stdout)["skipped"]
    assert [one["key"] for one in listed] == [f"{archive}!c"]
    pack(archive, {"a.b.png": drawn(1), "c.png": b"bad in another way"})
    cli("index", archive, "-i", "p", expect=3)
    pack(archive, {"a.b.png": drawn(1)})
    cli("index", archive, "-i", "p")
    assert cli("info", "-i", "p", "--skipped").stderr == "no file was skipped\n"


def test_streams_that_cannot_be_rewound_are_read_as_tar_alone(tmp_path, drawn):
    class Pipe(io.RawIOBase):
        def __init__(self, data):
            self._data = io.BytesIO(data)

        def readable(self):
            return True

        def readinto(self, buffer):
            return self._data.readinto(buffer)

    files = {"a.png": drawn(1)}
    for suffix in ("tar", "tgz"):
        data = pack(tmp_path / f"a.{suffix}", files).read_bytes()
        _, found = members.members_of(Pipe(data), "a")
        assert [member.read(1 << 20) for member in found] == [drawn(1)]
    with pytest.raises(SourceError, match="as a stream"):
        members.members_of(Pipe(pack(tmp_path / "a.zip", files).read_bytes()), "a")
