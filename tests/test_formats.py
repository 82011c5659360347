"""Every command prints the formats that it offers, and offers no others."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import tarfile
from pathlib import Path

import pytest
import typer
from PIL import Image, ImageOps

from clipsearch import Index, Query
from clipsearch.cli.app import assemble
from clipsearch.ingest import IngestOptions
from clipsearch.request import SearchRequest

CLASSES = {"cat": "chelsea.png", "rocket": "rocket.jpg", "coffee": "coffee.png"}
# The formats of each command that has a choice, and the rest of a command line that works.
FORMATS = {
    "search": ("table json jsonl paths", ["a cat", "-i", "{index}"]),
    "classify": ("table json csv", ["{photos}/cat", "-l", "cat", "-l", "rocket", "-t", "none"]),
    "tag": ("table json", ["-i", "{index}", "-l", "cat", "-l", "rocket", "-t", "none"]),
    "facets": ("table json csv", ["-i", "{index}", "--by", "format"]),
    "album list": ("table json", ["-i", "{index}"]),
    "saved list": ("table json", ["-i", "{index}"]),
    "fit": ("table json", ["{photos}", "-o", "{pack}", "-t", "none"]),
    "calibrate": ("table json", ["{photos}", "-o", "{pack}", "-t", "none"]),
    "info": ("table json", ["-i", "{index}"]),
    "pairs": ("table json csv", ["-i", "{index}"]),
    "duplicates": ("table json csv", ["-i", "{index}", "--threshold", "0.5"]),
    "evaluate zeroshot": ("table json", ["{photos}", "-t", "none"]),
    "evaluate retrieval": ("table json", ["{captions}"]),
    "evaluate index": ("table json", ["-i", "{index}", "--queries", "3"]),
    "evaluate models": (
        "table json",
        ["clipsearch-mini", "--data", "{photos}", "-t", "none"],
    ),
    "models list": ("table json", []),
    "export": ("parquet faiss webdataset", ["{export}", "-i", "{index}"]),
}


@pytest.fixture(scope="module")
def places(photos, encoder, tmp_path_factory) -> dict[str, Path]:
    """Labelled and captioned photos, an index of them, and where a command may write."""
    base = tmp_path_factory.mktemp("formats")
    named = {photo.name: photo for photo in photos}
    lines = ["image\tcaption"]
    for label, name in CLASSES.items():
        (base / "photos" / label).mkdir(parents=True)
        shutil.copy(named[name], base / "photos" / label / name)
        with Image.open(named[name]) as image:
            for size in (100, 150, 200):  # calibration wants ten images
                small = ImageOps.mirror(image.convert("RGB").resize((size, size)))
                small.save(base / "photos" / label / f"{size}.png")
        lines.append(f"photos/{label}/{name}\ta photo of {label}")
    captions = base / "captions.tsv"
    captions.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with Index.create(base / "index", encoder) as index:
        index.add(captions, options=IngestOptions(images="image", captions="caption"))
        index.add(base / "photos", on_error="raise")
        with index.writer() as writer:
            writer.add_to_album("Pets", index.ids())
            writer.save_search("cats", SearchRequest(query=Query.of("a cat")))
    return {
        "photos": base / "photos",
        "captions": captions,
        "index": base / "index",
        "pack": base / "labels.clip",
        "export": base / "exported",
    }


def _names(app: typer.Typer) -> list[str]:
    return [
        *(str(command.name) for command in app.registered_commands),
        *(f"{g.name} {name}" for g in app.registered_groups for name in _names(g.typer_instance)),
    ]


def test_each_command_that_offers_formats_is_tested_here(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    offered = {}
    for name in _names(assemble()):
        help_text = cli(*name.split(), "--help").stdout
        for choices in re.findall(r"--format +-f +[<\[]([a-z|]+)[>\]]", help_text):
            offered[name] = choices.replace("|", " ")
    assert offered == {name: formats for name, (formats, _) in FORMATS.items()}


def test_info_says_nothing_of_what_an_index_has_none_of(cli, places):
    assert "kept model" not in cli("info", "-i", places["index"]).stdout


@pytest.mark.parametrize("command", ["fit", "calibrate"])
def test_a_pack_of_a_wrong_name_is_refused_before_any_work(cli, tmp_path, command):
    done = cli(command, tmp_path / "absent", "-o", tmp_path / "labels.txt", expect=1)
    assert "use -o labels.clip" in done.stderr


@pytest.mark.parametrize("name", FORMATS)
def test_other_formats_are_wrong_usage(cli, name):
    formats, _ = FORMATS[name]
    for wrong in sorted({"table", "csv", "jsonl", "paths", "parquet", "xml"} - {*formats.split()}):
        done = cli(*name.split(), "-f", wrong, expect=2)
        assert done.stdout == ""
        assert wrong in done.stderr


def _cases():
    for name, (formats, _) in FORMATS.items():
        marks = [pytest.mark.slow] if name == "evaluate models" else []  # each in a process
        for output in formats.split():
            yield pytest.param(name, output, marks=marks, id=f"{name} {output}")


@pytest.mark.parametrize(("name", "output"), _cases())
def test_each_offered_format_is_what_is_printed(cli, places, encoder, monkeypatch, name, output):
    monkeypatch.setattr("clipsearch.encoders.loader.open_encoder", lambda *_, **__: encoder)
    arguments = [argument.format(**places) for argument in FORMATS[name][1]]
    printed = cli(*name.split(), *arguments, "-f", output).stdout
    if output == "json":
        assert json.loads(printed)
    elif output == "jsonl":
        assert all(json.loads(line)["path"] for line in printed.splitlines())
    elif output == "csv":
        rows = list(csv.reader(io.StringIO(printed)))
        assert len(rows) > 1
        assert {len(row) for row in rows} == {len(rows[0])}
        assert all(cell.isidentifier() for cell in rows[0])
    elif output == "paths":
        assert printed
        assert all(Path(line).is_file() for line in printed.splitlines())
    elif output == "table":
        assert "───" in printed
    elif output == "webdataset":
        (shard,) = places["export"].parent.glob(f"{places['export'].name}-*.tar")
        with tarfile.open(shard) as members:
            assert {Path(name).suffix for name in members.getnames()} >= {".png", ".json"}
    else:
        start = places["export"].read_bytes()[:4]
        assert start == {"parquet": b"PAR1", "faiss": b"IxM2"}[output]
