"""Folders, tables, tar shards, lists of paths and URLs as streams of pairs."""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import itertools
import json
import os
import tarfile
import threading
import tomllib
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest

from clipsearch.errors import InvalidInputError, MissingExtraError, SourceError
from clipsearch.intake import places
from clipsearch.intake.sources import (
    FolderSource,
    Pair,
    PathListSource,
    TableSource,
    open_source,
)
from clipsearch.intake.tar_shards import expand_braces

from .conftest import ROOT

JPEG = b"\xff\xd8\xff\xe0 not a whole picture"


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pictures"
    for name in ("a.jpg", "b/c.PNG", ".hidden.jpg", ".git/d.jpg", "b/skip/e.jpg", "note.md"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"words" if name.endswith("md") else JPEG)
    return root


def names(source, root) -> list[str]:
    return [os.path.relpath(pair.key, root) for pair in source if not pair.ignored]


def test_a_folder_is_walked_in_order_without_hidden_and_excluded_files(folder):
    assert names(FolderSource(folder), folder) == ["a.jpg", "b/c.PNG", "b/skip/e.jpg"]
    assert names(FolderSource(folder, exclude=["skip"]), folder) == ["a.jpg", "b/c.PNG"]
    assert names(FolderSource(folder, exclude=["b/*"]), folder) == ["a.jpg"]
    assert FolderSource(folder).count() == 4  # the note, too, is accounted for
    ignored = [pair for pair in FolderSource(folder) if pair.ignored]
    assert [pair.refused for pair in ignored] == ["not an image file (.md)"]


def test_links_to_folders_are_followed_once(folder):
    (folder / "b" / "up").symlink_to(folder)
    (folder / "b" / "again").symlink_to(folder / "b")
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    assert names(FolderSource(folder), folder) == ["a.jpg", "gone.jpg", "b/c.PNG", "b/skip/e.jpg"]


def test_an_image_without_a_suffix_is_found_by_its_first_bytes(folder):
    (folder / "IMG_0001").write_bytes(JPEG)
    assert "IMG_0001" in names(FolderSource(folder), folder)


def test_a_file_that_needs_an_extra_says_which(folder, monkeypatch):
    (folder / "x.nef").write_bytes(b"II*")
    (folder / "y.heic").write_bytes(b"....ftypheic")
    source = FolderSource(folder)
    monkeypatch.setattr(source, "_suffixes", frozenset({".jpg", ".png"}))
    reasons = {os.path.basename(pair.key): pair.refused for pair in source if pair.refused}
    assert reasons["x.nef"] == ".nef needs: pip install 'clipsearch[raw]'"
    assert reasons["y.heic"] == ".heic needs: pip install 'clipsearch[heif]'"


def test_sidecars_are_captions(folder):
    (folder / "a.txt").write_text("  a red\0bus 🚌 \n")
    (folder / "b" / "c.json").write_text(json.dumps({"title": "later", "caption": "a lake"}))
    (folder / "b" / "skip" / "e.json").write_text("not json")
    captions = {os.path.basename(pair.key): pair.caption for pair in FolderSource(folder)}
    assert captions == {"a.jpg": "a red bus 🚌", "c.PNG": "a lake", "e.jpg": None, "note.md": None}


def test_a_folder_without_images_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="it is empty"):
        list(FolderSource(tmp_path))
    (tmp_path / "a.md").touch()
    with pytest.raises(SourceError, match="none of them an image"):
        list(FolderSource(tmp_path))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0"])
def test_paths_on_stdin(tmp_path, end, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = end.join([b"a.jpg", b"with space.jpg", b"", os.fsencode("é.jpg")])
    paths = [pair.image for pair in PathListSource(io.BytesIO(data))]
    assert paths == [str(tmp_path / name) for name in ("a.jpg", "with space.jpg", "é.jpg")]


ROWS = [
    {"image": "a.jpg", "caption": "a dog", "width": 3, "id": "x"},
    {"image": "sub/b.jpg", "caption": "NA", "width": None, "id": "y"},
    {"image": "../c.jpg", "caption": "outside", "width": 1, "id": "z"},
    {"image": "/etc/d.jpg", "caption": "outside", "width": 1, "id": "zz"},
    {"image": "a.jpg", "caption": "twice", "width": 1, "id": "x"},
    {"image": "a.jpg", "caption": "nameless", "width": 1, "id": None},
    {"image": None, "caption": "words alone", "width": 1, "id": "w"},
    {"image": "https://example.org/x.jpg", "caption": "far", "width": 1, "id": "u"},
    {"image": "a.jpg", "caption": "x" * 100_000 + " 😀", "width": 1, "id": "long"},
]


def write_table(path, rows=ROWS):
    frame = pd.DataFrame(rows)
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".tsv":
            frame.to_csv(path, index=False, sep="\t")
        case ".parquet":
            frame.to_parquet(path)
        case ".jsonl":
            path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_tables_of_every_format_give_the_same_pairs(tmp_path, suffix):
    table = write_table(tmp_path / f"pairs{suffix}")
    pairs = list(open_source(table))
    assert [pair.key.removeprefix(f"{table}#") for pair in pairs] == [
        "x", "y", "z", "zz", "row 5", "row 6", "w", "u", "long",
    ]  # fmt: skip
    assert [pair.image for pair in pairs[:2]] == [str(tmp_path / p) for p in ("a.jpg", "sub/b.jpg")]
    assert pairs[1].caption == "NA"  # a word, not an absent value
    assert pairs[0].extra == {"width": 3}
    assert pairs[1].extra == {}
    assert "outside" in pairs[2].refused
    assert "outside" in pairs[3].refused
    assert "came before" in pairs[4].refused
    assert "no 'id'" in pairs[5].refused
    assert (pairs[6].image, pairs[6].caption, pairs[6].refused) == (None, "words alone", None)
    assert "URL" in pairs[7].refused
    assert len(pairs[8].caption) == 100_002


def test_an_explicit_flag_lets_a_table_reach_outside(tmp_path):
    (tmp_path / "deep").mkdir()
    table = write_table(tmp_path / "deep" / "pairs.csv")
    pairs = list(open_source(table, outside=True))
    assert pairs[2].image == str(tmp_path / "c.jpg")
    assert pairs[3].image == "/etc/d.jpg"


def test_columns_are_found_or_named(tmp_path):
    rows = [{"Filename": "a.jpg", "words": "a dog", "n": 1}]
    table = write_table(tmp_path / "t.csv", rows)
    (pair,) = TableSource(table)
    assert (pair.image, pair.caption) == (str(tmp_path / "a.jpg"), None)
    assert pair.key == f"{table}#1"
    (pair,) = TableSource(table, captions="words", images="Filename", ids="n")
    assert (pair.caption, pair.key) == ("a dog", f"{table}#1")
    with pytest.raises(SourceError, match=r"no column 'nope' for images; there are: Filename, w"):
        list(TableSource(table, images="nope"))
    with pytest.raises(SourceError, match="choose one with --images"):
        list(TableSource(write_table(tmp_path / "u.csv", [{"q": 1}])))


def test_bad_rows_are_counted_skips(tmp_path):
    table = tmp_path / "t.csv"
    table.write_bytes(
        b"image,caption\na.jpg,one\nb.jpg,two,three,four\n\xff\xfe.jpg,bytes\nnul.jpg,a\0b\nc.jpg\n"
    )
    pairs = list(TableSource(table))
    refused = [pair.refused for pair in pairs if pair.refused]
    assert len(pairs) == 5
    assert len(refused) == 1
    assert refused[0].startswith("4 fields in a table of 2")
    assert {pair.caption for pair in pairs} == {"one", "bytes", "a b", None}
    lines = tmp_path / "t.jsonl"
    lines.write_text('{"image": "a.jpg"}\n\n{"image": \n[1]\n{"image": 7}\n{"image": "\\u0000"}\n')
    reasons = [pair.refused for pair in TableSource(lines)]
    assert reasons[0] is None
    assert all(reasons[1:])
    assert len(reasons) == 5


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_a_table_that_is_none_is_an_error(tmp_path, suffix):
    (tmp_path / f"t{suffix}").write_bytes(b"")
    with pytest.raises(SourceError):
        list(open_source(tmp_path / f"t{suffix}"))


def test_images_may_lie_in_the_table(tmp_path):
    rows = [{"image": {"bytes": JPEG, "path": "x.jpg"}, "text": "a dog"}, {"image": None}]
    table = tmp_path / "t.parquet"
    pd.DataFrame(rows).to_parquet(table)
    first, second = TableSource(table)
    assert (first.image, first.caption) == (JPEG, "a dog")
    assert second.image is None


def test_a_table_is_read_in_chunks(tmp_path):
    table = write_table(tmp_path / "t.csv", [{"image": f"{n}.jpg"} for n in range(2500)])
    keys = [pair.key for pair in TableSource(table)]
    assert len(set(keys)) == 2500


def shard(path, members) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def test_tar_shards_are_grouped_by_name(tmp_path):
    for number in range(3):
        shard(
            tmp_path / f"s-{number:02}.tar",
            [
                ("one.jpg", JPEG),
                ("one.txt", b"a dog\n"),
                ("one.json", b'{"width": 4, "caption": "other"}'),
                ("sub/two.PNG", JPEG),
                ("three.cls", b"7"),
                ("four.txt", "nur Wörter".encode()),
                ("five.jpg", JPEG),
                ("five.json", b"{"),
            ],
        )
    pairs = list(open_source(str(tmp_path / "s-{00..02}.tar")))
    assert len(pairs) == 15
    one, two, three, four, five = pairs[:5]
    assert one.place is not None
    assert replace(one, place=None) == Pair(
        key=f"{tmp_path}/s-00.tar!one",
        image=JPEG,
        caption="a dog",
        extra={"width": 4, "caption": "other"},
    )
    assert (two.key, two.image, two.caption) == (f"{tmp_path}/s-00.tar!sub/two", JPEG, None)
    assert three.ignored
    assert (four.image, four.caption) == (None, "nur Wörter")
    assert "not valid JSON" in five.refused


def test_a_damaged_shard_costs_what_follows_the_damage(tmp_path):
    whole = tmp_path / "whole.tar"
    shard(whole, [(f"{n}.jpg", JPEG * 100) for n in range(20)])
    (tmp_path / "cut.tar").write_bytes(whole.read_bytes()[:20_000])
    pairs = list(open_source(tmp_path / "cut.tar"))
    assert all(pair.refused is None for pair in pairs[:-1])
    assert 2 < len(pairs) < 20
    assert "damaged" in pairs[-1].refused
    two = list(open_source(str(tmp_path / "{whole,absent}.tar")))
    assert len(two) == 21
    assert "cannot read" in two[-1].refused


def test_brace_ranges():
    assert expand_braces("a-{08..10}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert expand_braces("{x,y}{1..2}") == ["x1", "x2", "y1", "y2"]
    for bad in ("{2..1}", "{a..b}", "{0..9999999}"):
        with pytest.raises(SourceError):
            expand_braces(bad)


def test_urls_are_read_through_fsspec(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe("/set/a.jpg", JPEG)
    memory.pipe("/set/.hidden.jpg", JPEG)
    memory.pipe("/set/t.csv", b"image,caption\na.jpg,a dog\n../up.jpg,up\nb.jpg,gone\n")
    shard(tmp_path / "s.tar", [("one.jpg", JPEG)])
    memory.pipe("/set/s.tar", (tmp_path / "s.tar").read_bytes())
    try:
        found = list(open_source("memory://set"))
        assert [(pair.key, pair.image) for pair in found if not pair.ignored] == [
            ("memory://set/a.jpg", JPEG)
        ]
        one, up, gone = open_source("memory://set/t.csv")
        assert (one.image, one.caption) == (JPEG, "a dog")
        assert "outside" in up.refused
        assert "cannot be read" in gone.refused
        (member,) = open_source("memory://set/s.tar")
        assert (member.key, member.image) == ("memory://set/s.tar!one", JPEG)
        (alone,) = open_source("memory://set/a.jpg")
        assert alone.image == JPEG
        with pytest.raises(SourceError, match="nothing is at"):
            open_source("memory://nowhere")
    finally:
        memory.rm("/set", recursive=True)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_a_table_behind_a_web_server(tmp_path):
    """Whose paths are URLs to fsspec; what lies beside the table is inside, and no more."""
    pytest.importorskip("aiohttp")
    folder = tmp_path / "set"
    folder.mkdir()
    (tmp_path / "up.jpg").write_bytes(JPEG)
    (folder / "a.jpg").write_bytes(JPEG)
    (folder / "t.csv").write_text("image\na.jpg\n../up.jpg\ngone.jpg\n")
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        one, up, gone = open_source(f"http://127.0.0.1:{server.server_port}/set/t.csv")
        server.shutdown()
        thread.join()
    assert one.image == JPEG
    assert "outside" in up.refused
    assert "cannot be read" in gone.refused


def test_what_a_web_server_sends_is_bounded_whatever_it_says_of_it(monkeypatch):
    """Bodies without end, larger ones than were promised, and few bytes that unpack to many."""
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(places, "MAX_IMAGE_BYTES", 8 * 1024**2)
    sent, bomb = [], gzip.compress(bytes(64 * 1024**2))

    class Hostile(Quiet):
        def do_GET(self):
            self.send_response(200)
            bodies = {
                "/small.jpg": ({}, [JPEG]),
                "/endless.jpg": ({}, itertools.repeat(JPEG * 2000)),
                "/bomb.jpg": ({"Content-Encoding": "gzip"}, [bomb]),
                "/short.jpg": ({"Content-Length": "99999"}, [JPEG]),
                "/long.jpg": ({"Content-Length": "10"}, [JPEG]),
            }
            headers, parts = bodies[self.path]
            for header in headers.items():
                self.send_header(*header)
            self.end_headers()
            with contextlib.suppress(OSError):  # the reader has had enough
                for part in parts:
                    self.wfile.write(part)
                    sent.append(len(part))

        def do_HEAD(self):
            raise AssertionError

    with ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        place = places.open_place(f"http://127.0.0.1:{server.server_port}/t.csv")
        small, endless, unpacked, short, long = (
            place.image(f"{name}.jpg", outside=False)
            for name in ("small", "endless", "bomb", "short", "long")
        )
        server.shutdown()
        thread.join()
    assert small == (JPEG, None)
    assert endless == unpacked == (None, "over the limit of 8 MB")
    assert short[0] is None
    assert long[0] in (None, JPEG[:10])
    assert sum(sent) < 64 * 1024**2


@pytest.fixture
def web(tmp_path):
    """A folder behind a real HTTP server: its path and its URL."""
    folder = tmp_path / "web"
    folder.mkdir()

    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_tables_and_shards_come_from_a_web_server(web):
    pytest.importorskip("aiohttp", reason="needs the extra http")
    folder, url = web
    (folder / "a.jpg").write_bytes(JPEG)
    (folder / "t.csv").write_text("image,caption\na.jpg,a dog\nb.jpg,gone\n/etc/passwd,out\n")
    write_table(folder / "t.parquet", [{"image": "a.jpg", "caption": "a dog"}])
    shard(folder / "s-0.tar", [("one.jpg", JPEG), ("one.txt", b"a cat")])
    shard(folder / "s-1.tar", [("two.jpg", JPEG)])
    one, gone, outside = open_source(f"{url}/t.csv")
    assert (one.image, one.caption) == (JPEG, "a dog")
    assert "cannot be read" in gone.refused
    assert "outside" in outside.refused
    (folder / "t.csv").write_text("image\n../127.0.0.1:1/a.jpg\n/a.jpg\n")
    reasons = [pair.refused for pair in open_source(f"{url}/t.csv", outside=True)]
    assert reasons == ["on another server than the table"] * 2
    assert [pair.image for pair in open_source(f"{url}/t.parquet")] == [JPEG]
    samples = list(open_source(url + "/s-{0..1}.tar"))
    assert [(pair.image, pair.caption) for pair in samples] == [(JPEG, "a cat"), (JPEG, None)]
    with pytest.raises(SourceError, match="cannot read"):
        list(open_source(f"{url}/absent.csv"))


def test_a_url_without_its_back_end_says_what_to_install(monkeypatch):
    fsspec = pytest.importorskip("fsspec")
    with pytest.raises(SourceError, match="nosuch"):
        open_source("nosuch://bucket/photos")

    def absent(url):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", absent)
    with pytest.raises(MissingExtraError, match=r"clipsearch\[s3\]"):
        open_source("s3://bucket/photos")


def test_the_extras_that_messages_name_are_there():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(places._EXTRAS.values()) <= set(declared["project"]["optional-dependencies"])


def test_what_is_no_source_is_refused(tmp_path):
    with pytest.raises(SourceError, match="nothing is at"):
        open_source(tmp_path / "absent")
    with pytest.raises(SourceError, match="nothing is at"):
        open_source(tmp_path / "absent.tar")
    with pytest.raises(SourceError, match="nothing is at"):
        open_source(tmp_path / "absent.csv")
    with pytest.raises(InvalidInputError, match="cannot index a int"):
        open_source(7)
    with pytest.raises(InvalidInputError, match="paths or Pairs"):
        list(open_source([7]))
