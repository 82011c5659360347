"""A library as people have it: a thousand photos, and everything that lies beside them."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsearch import Index

pytestmark = pytest.mark.slow

PHOTOS = 700  # that are ordinary; with all the others there are about 1,000
LITTER = ("@eaDir/a.jpg", "#recycle", "#snapshot/daily", "$RECYCLE.BIN/S-1-5", ".thumbnails")


@dataclass
class Library:
    """A folder, and what must come of it."""

    root: Path
    images: int = 0  # that are indexed, copies among them
    copies: int = 0
    broken: int = 0
    captions: dict[str, str] = field(default_factory=dict)
    tagged: set[str] = field(default_factory=set)
    dated: dict[str, str] = field(default_factory=dict)


def _describe(found: Library, path: Path, number: int, chance: random.Random) -> None:
    """Give some photos a date and a turn, and some a sidecar."""
    if number % 4 == 0:
        exif = Image.Exif()
        exif[0x0112] = chance.choice((1, 3, 6, 8))
        taken = f"{2015 + number % 10}:{number % 12 + 1:02}:05 10:{number % 60:02}:00"
        exif.get_ifd(0x8769)[0x9003] = taken
        with Image.open(path) as image:
            image.save(path, exif=exif)
        found.dated[str(path)] = taken.replace(":", "-", 2).replace(" ", "T")
    if number % 17 == 0:
        text = f"caption {number}"
        path.with_suffix(".txt").write_text(text)
        found.captions[str(path)] = text
    elif number % 23 == 0:
        text = f"título número {number}"
        takeout = {"description": text, "photoTakenTime": {"timestamp": "1500000000"}}
        path.with_name(path.name + ".supplemental-metadata.json").write_text(json.dumps(takeout))
        found.captions[str(path)] = text
    elif number % 29 == 0:
        path.with_suffix(".xmp").write_text(
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf='
            '"http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
            'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag>'
            "<rdf:li>lago</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF>"
            "</x:xmpmeta>"
        )
        found.tagged.add(str(path))


@pytest.fixture(scope="module")
def library(shared_data, tmp_path_factory):
    found = Library(tmp_path_factory.mktemp("mixed") / "Fotos")
    photos = iter(sorted((shared_data / "flickr").rglob("*.jpg"))[: PHOTOS + 400])
    chance = random.Random(0)

    def put(name: str, source: Path | None = None) -> Path:
        path = found.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source or next(photos), path)
        found.images += 1
        return path

    for number in range(PHOTOS):
        path = put(f"{2015 + number % 10}/{number % 12 + 1:02}/IMG_{number:04}.jpg")
        _describe(found, path, number, chance)
    for number in range(40):  # copies, some of them below another name
        source = found.root / "2015/01/IMG_0000.jpg"
        put(f"copies/copy {number}.jpg", source)
        found.copies += 1
    for number in range(30):
        with Image.open(next(photos)) as image:
            small = image.resize((96, 72))
            grey = np.asarray(small.convert("L"), np.uint16) << 4  # 12 bits
            black = Image.new("RGB", small.size)
            for name, save in (
                (f"scans/{number}.png", lambda p, g=grey: Image.fromarray(g).save(p)),
                (f"scans/{number}.tif", lambda p, i=small: i.save(p, compression="tiff_lzw")),
                (
                    f"web/{number}.gif",
                    lambda p, i=small, b=black: b.save(p, save_all=True, append_images=[i]),
                ),
            ):
                path = found.root / name
                path.parent.mkdir(exist_ok=True)
                save(path)
                found.images += 1
    for place in LITTER:
        for number in range(12):
            path = found.root / place / f"litter {number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(found.root / "2015/01/IMG_0000.jpg", path)
    for name in ("línea\nnueva.jpg", "\x1b[31mrot.jpg", "-f.jpg", os.fsdecode(b"ma\xf1ana.jpg")):
        put(f"names/{name}")
    for number in range(10):
        (found.root / f"2016/02/broken {number}.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
        found.broken += 1
    (found.root / "notes.txt").write_text("of no photo")
    (found.root / "film.mov").write_bytes(bytes(1000))
    return found


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    home = tmp_path_factory.mktemp("indexes")
    environment = {**os.environ, "CLIPSEARCH_INDEXES": str(home)}

    def run(*arguments, status=0):
        done = subprocess.run(
            [sys.executable, "-m", "clipsearch", *map(str, arguments)],
            capture_output=True, env=environment, text=True, errors="surrogateescape",
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        return done

    run.home = home
    return run


def add_up(report) -> None:
    assert (
        report["indexed"] + report["unchanged"] + report["duplicate"] + report["skipped"]
        == (report["seen"])
    ), report


def last_report(home: Path, name: str) -> dict:
    with Index.open(home / name) as index:
        report = index.get_meta("last_report")
    add_up(report)
    return report


def test_accounts_add_up_in_every_run(library, command):
    root = library.root
    first = command("index", root, "-i", "mixed", status=3)  # broken ones are news
    assert "--all-files takes them" in first.stderr
    report = last_report(command.home, "mixed")
    assert report["indexed"] + report["duplicate"] == library.images
    assert report["duplicate"] >= library.copies
    assert report["skipped"] - report["ignored"] == library.broken
    with Index.open(command.home / "mixed") as index:
        items = {item.path: item for item in index.items(limit=9999)}
        assert len(items) == library.images
        for path, caption in library.captions.items():
            assert items[path].caption == caption
        for path, taken in library.dated.items():
            assert items[path].taken_at == taken
        assert {path for path, item in items.items() if "lago" in item.tags} == library.tagged
        assert all(item.frame == 1 for path, item in items.items() if path.endswith(".gif"))

    again = command("index", root, "-i", "mixed")  # nothing new, so nothing to be alarmed of
    report = last_report(command.home, "mixed")
    assert report["unchanged"] == library.images, again.stderr
    assert report["indexed"] == report["duplicate"] == 0
    skipped = json.loads(command("info", "-i", "mixed", "--skipped", "-f", "json").stdout)
    assert sum("broken" in str(one) for one in json.dumps(skipped).split("},")) == library.broken

    command("index", root, "-i", "mixed", "--rescan")
    report = last_report(command.home, "mixed")
    assert (report["indexed"], report["updated"], report["unchanged"]) == (0, 0, library.images)

    assert command("verify", "-i", "mixed", "--full").returncode == 0


def test_an_edit_and_a_move_cost_what_they_must(library, command):
    path = Path(next(iter(library.captions)))
    with Index.open(command.home / "mixed") as index:
        before = {item.path: item.id for item in index.items(limit=9999)}
    path.with_suffix(".txt").write_text("an edited caption")
    shutil.move(library.root / "copies", library.root / "Kopien")
    command("index", library.root, "-i", "mixed")
    report = last_report(command.home, "mixed")
    assert report["moved"] == 40
    with Index.open(command.home / "mixed") as index:
        after = {item.path: item for item in index.items(limit=9999)}
        assert len(after) == library.images
        assert after[str(path)].id == before[str(path)]
        assert after[str(path)].caption == "an edited caption"


def test_what_is_exported_comes_back(library, command, tmp_path):
    command("export", tmp_path / "all.parquet", "-i", "mixed")
    command("import", tmp_path / "all.parquet", "-i", "back")
    with Index.open(command.home / "mixed") as one, Index.open(command.home / "back") as other:
        assert len(one) == len(other) == library.images
        for left, right in itertools.islice(zip(one.items(), other.items(), strict=True), 500):
            assert (left.key, left.caption, left.taken_at) == (
                right.key, right.caption, right.taken_at,
            )  # fmt: skip
        query = one.vectors([1])[0]
        assert [hit.item.key for hit in one.search(query)] == [
            hit.item.key for hit in other.search(query)
        ]


def test_an_archive_and_a_table_of_it_add_up_too(library, command, tmp_path):
    photos = sorted((library.root / "2017").rglob("*.jpg"))[:60]
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        for path in photos[:30]:
            tar.add(path, f"{path.parent.name}/{path.stem}.v1.jpg")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in photos[30:]:
            archive.write(path, f"{path.parent.name}/{path.name}")
        archive.writestr("__MACOSX/._x.jpg", b"litter")
    for name in ("a.tar.gz", "a.zip"):
        command("index", tmp_path / name, "-i", "packed")
        report = last_report(command.home, "packed")
        assert report["indexed"] + report["duplicate"] == 30
        command("index", tmp_path / name, "-i", "packed")
        report = last_report(command.home, "packed")
        assert report["indexed"] == 0
    text = io.StringIO()
    rows = csv.writer(text, delimiter=";")
    rows.writerow(["file", "caption", "zip"])
    rows.writerows([str(path), f"row {n}", f"0{n}"] for n, path in enumerate(photos))
    (tmp_path / "t.csv").write_text(text.getvalue(), encoding="utf-16")
    command("index", tmp_path / "t.csv", "-i", "rows", "--allow-outside")
    report = last_report(command.home, "rows")
    assert report["indexed"] + report["duplicate"] == len(photos)
    with Index.open(command.home / "rows") as index:
        assert [item.extra["zip"] for item in index.items()] == [f"0{n}" for n in range(60)]
