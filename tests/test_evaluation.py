"""Evaluation, tagging and their commands, on folders made at test time."""

from __future__ import annotations

import json
import shutil
import time

import numpy as np
import pytest

from clipsearch import Index, ZeroShotClassifier
from clipsearch.classification.labelled import read_captioned, read_labelled
from clipsearch.errors import SourceError
from clipsearch.evaluation import evaluate_index, evaluate_retrieval, evaluate_zeroshot
from clipsearch.tags import tag_index
from clipsearch.types import Record

CLASSES = {
    "cat": ["chelsea.png"],
    "rocket": ["rocket.jpg"],
    "coffee_cup": ["coffee.png"],
    "coins": ["coins.png"],
}
CAPTIONS = {
    "chelsea.png": ["a cat looks at the camera", "the face of a ginger cat"],
    "rocket.jpg": ["a rocket is launched"],
    "coffee.png": ["a cup of coffee on a table", "an espresso with a spoon"],
}


@pytest.fixture
def labelled(tmp_path, photos):
    folder = tmp_path / "labelled"
    by_name = {photo.name: photo for photo in photos}
    for name, files in CLASSES.items():
        (folder / name).mkdir(parents=True)
        for file in files:
            shutil.copy(by_name[file], folder / name / file)
    return folder


@pytest.fixture
def captioned(tmp_path, photos):
    folder = tmp_path / "captioned"
    folder.mkdir()
    by_name = {photo.name: photo for photo in photos}
    lines = ["image\tcaption"]
    for file, captions in CAPTIONS.items():
        shutil.copy(by_name[file], folder / file)
        lines += [f"{file}\t{caption}" for caption in captions]
    (folder / "captions.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "captions.tsv"


def test_labelled_folders_and_tables_are_read(labelled, tmp_path):
    data = read_labelled(labelled)
    assert data.classes == ("cat", "coffee cup", "coins", "rocket")
    table = tmp_path / "labels.csv"
    table.write_text("class,image\ncat,labelled/cat/chelsea.png\n", encoding="utf-8")
    assert read_labelled(table).images == (str(tmp_path / "labelled/cat/chelsea.png"),)
    for bad in ("image,other\na,b\n", ""):
        table.write_text(bad, encoding="utf-8")
        with pytest.raises(SourceError):
            read_labelled(table)
    with pytest.raises(SourceError):
        read_labelled(tmp_path / "absent.csv")


def test_zero_shot_report_counts_what_predict_says(encoder, labelled):
    (labelled / "cat" / "broken.jpg").write_bytes(b"no image")
    data = read_labelled(labelled)
    classifier = ZeroShotClassifier(encoder, data.classes, templates="simple")
    report = evaluate_zeroshot(classifier, data)
    good = [(i, t) for i, t in zip(data.images, data.labels, strict=True) if "broken" not in i]
    answers = classifier.predict([image for image, _ in good], k=1)
    right = [row[0].label == truth for row, (_, truth) in zip(answers, good, strict=True)]
    assert report.top1 == pytest.approx(np.mean(right))
    assert report.images == 4
    assert len(report.skipped) == 1
    assert sum(count for *_, count in report.confusions) == 4 - sum(right)
    assert report.top5 == 1


def test_retrieval_counts_any_caption(encoder, captioned):
    report = evaluate_retrieval(encoder, read_captioned(captioned))
    assert (report.images, report.captions) == (3, 5)
    assert report.text_to_image.queries == 5
    assert report.image_to_text.recall[5] == 1
    assert report.text_to_image.recall[1] >= 0.6


def synthetic(path, encoder, n, clusters=7):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(clusters, encoder.dim))
    vectors = centres[np.arange(n) % clusters] + 0.05 * rng.normal(size=(n, encoder.dim))
    index = Index.create(path, encoder)
    with index.writer() as writer:
        for row, vector in enumerate(vectors.astype(np.float32)):
            writer.put(Record(key=f"item {row}"), image=vector)
    return index, centres


def test_index_report(encoder, tmp_path):
    index, _ = synthetic(tmp_path / "index", encoder, 300)
    with index:
        report = evaluate_index(index, queries=20)
    assert report.recall == 1
    assert report.queries == 20
    assert not report.approximate


def test_tags_are_found_by_where(encoder, tmp_path):
    index, _ = synthetic(tmp_path / "index", encoder, 500)
    labels = ["cat", "bus", "rocket"]
    classifier = ZeroShotClassifier(encoder, labels, templates="none")
    with index:
        report = tag_index(index, classifier, name="things")
        assert report.items == report.tagged == 500
        ids, vectors = next(index.iter_vectors("image", batch=500))
        wanted = [row[0].label for row in classifier.predict_vectors(np.float32(vectors), k=1)]
        for label in labels:
            found = {item.id for item in index.items(f"tag = '{label}'", limit=1000)}
            assert found == {int(i) for i, w in zip(ids, wanted, strict=True) if w == label}


@pytest.mark.slow
def test_100_000_items_are_tagged_in_seconds(encoder, tmp_path):
    index, _ = synthetic(tmp_path / "index", encoder, 100_000)
    classifier = ZeroShotClassifier(encoder, ["cat", "bus", "rocket", "coffee"], templates="none")
    with index:
        started = time.perf_counter()
        report = tag_index(index, classifier, none_of_these=True)
        assert time.perf_counter() - started < 30
    assert report.items == 100_000


# --- commands -----------------------------------------------------------------------------------


def test_commands_teach_and_apply_labels(cli, labelled, tmp_path, photos):
    chelsea = next(photo for photo in photos if photo.name == "chelsea.png")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    pack = tmp_path / "own.clip"
    done = json.loads(cli("fit", labelled, "-o", pack, "-t", "none", "-f", "json").stdout)
    assert done["examples"] == 4
    told = cli("classify", chelsea, broken, "--labels", pack, "-f", "json", expect=3)
    assert "broken.jpg" in told.stderr
    assert json.loads(told.stdout)[0]["predictions"][0]["label"] == "cat"
    table = cli("classify", "-", "--labels", pack, "-f", "csv", stdin=f"{chelsea}\n").stdout
    assert table.splitlines()[1].split(",")[2] == "cat"
    assert (
        "none of these"
        in cli("classify", chelsea, "-l", "bus", "-t", "none", "--none-of-these").stdout
    )
    assert "labels" in cli("classify", chelsea, expect=1).stderr


def test_evaluate_commands_print_and_write_json(cli, labelled, captioned, tmp_path):
    pytest.importorskip("matplotlib")
    out, plot = tmp_path / "out.json", tmp_path / "plot.png"
    done = cli("evaluate", "zeroshot", labelled, "-t", "none", "--json", out, "--plot", plot)
    assert "top-1" in done.stdout
    assert json.loads(out.read_text(encoding="utf-8"))["images"] == 4
    assert plot.read_bytes().startswith(b"\x89PNG")
    report = json.loads(cli("evaluate", "retrieval", captioned, "-f", "json").stdout)
    assert report["image_to_text"]["recall"]["5"] == 1


@pytest.mark.slow
def test_models_are_compared(cli, labelled):
    done = cli(
        "evaluate",
        "models",
        "clipsearch-mini",
        "no-such-model",
        "--data",
        labelled,
        "-t",
        "none",
        "-f",
        "json",
        expect=3,
    )
    mini, absent = json.loads(done.stdout)["models"]
    assert mini["top1"] >= 0.5
    assert mini["memory_mb"] > 100
    assert mini["licence"] == "Apache-2.0"
    assert "no model" in absent["error"]
