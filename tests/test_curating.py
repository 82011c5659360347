"""The commands around an index, on real photos with captions: filters, pairs, copies, transfer."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clipsearch import Index

CAPTIONS = {
    "astronaut.png": "an astronaut",
    "chelsea.png": "a cat lying down",
    "china.jpg": "a temple in China",
    "coffee.png": "a cup of coffee on a wooden table",
    "coins.png": "old coins",
    "flower.jpg": "a red flower",
    "horse.png": "the silhouette of a horse",
    "lion.jpg": "a lion in the grass",
    "moon.png": "the surface of the moon",
    "motorcycle_left.png": "a motorcycle in a garage",
    "rocket.jpg": "a rocket launch",
    "tower.jpg": "a tower",
}
SWAPPED = {"chelsea.png": "coffee.png", "coffee.png": "chelsea.png"}


@pytest.fixture(scope="module")
def pairs_folder(photos, tmp_path_factory):
    """Photos, one of them twice, and a table of their captions, in which two are exchanged."""
    folder = tmp_path_factory.mktemp("pairs")
    named = {photo.name: photo for photo in photos}
    lines = []
    for number, name in enumerate(CAPTIONS):
        shutil.copy(named[name], folder / name)
        lines.append((name, CAPTIONS[SWAPPED.get(name, name)], number * 0.5, "north"))
    with Image.open(named["lion.jpg"]) as lion:
        exif = lion.getexif()
        exif[0x0110] = "Box 2"  # model
        exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
        exif.get_ifd(0x8825).update({1: "S", 2: (10.0, 30.0, 0.0), 3: "E", 4: (20.0, 15.0, 0.0)})
        lion.convert("RGB").resize((400, 300)).save(folder / "small lion.jpg", exif=exif)
    lines.append(("small lion.jpg", "another lion", 99, "south"))
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "text", "price", "shop"), *lines])
    return folder


@pytest.fixture(scope="module")
def index_folder(pairs_folder, encoder, tmp_path_factory):
    """An index of these pairs; the tests that use it leave it as it is."""
    from clipsearch.ingest import IngestOptions

    folder = tmp_path_factory.mktemp("indexes") / "pairs"
    with Index.create(folder, encoder) as index:
        index.add(
            pairs_folder / "pairs.csv",
            on_error="raise",
            options=IngestOptions(images="file", captions="text"),
        )
        rows = [i.id for i in index.items() if i.path.endswith(("lion.jpg", "chelsea.png"))]
        index.set_tags(rows, ["animal"] * len(rows))
    return folder


def names(done) -> list[str]:
    return [os.path.basename(path) for path in done.stdout.splitlines()]


# --- pairs ----------------------------------------------------------------------------------------


def test_exchanged_captions_are_the_weakest_pairs(cli, index_folder):
    found = json.loads(cli("pairs", "-i", index_folder, "-k", 6, "-f", "json").stdout)["pairs"]
    scores = [hit["score"] for hit in found]
    assert scores == sorted(scores)
    weakest = [os.path.basename(hit["path"]) for hit in found]
    assert set(SWAPPED) < set(weakest)  # beside some that the bundled model finds weak itself
    assert not {"lion.jpg", "motorcycle_left.png", "china.jpg"} & set(weakest)
    assert weakest[0] in SWAPPED
    assert found[0]["percentile"] < 90
    table = cli("pairs", "-i", index_folder, "-k", 3).stdout
    assert "chelsea.png" in table
    assert CAPTIONS["coffee.png"] in table
    rows = list(csv.DictReader(io.StringIO(cli("pairs", "-i", index_folder, "-f", "csv").stdout)))
    assert len(rows) == len(CAPTIONS) + 1
    assert [float(row["score"]) for row in rows[:6]] == pytest.approx(scores, abs=1e-6)
    assert float(rows[0]["percentile"]) == pytest.approx(found[0]["percentile"], abs=1e-3)
    assert rows[0]["path"] == found[0]["path"]


def test_an_index_without_captions_has_no_pairs(cli, encoder, tmp_path):
    with Index.create(tmp_path / "plain", encoder) as index, index.writer() as writer:
        from .fakes import record

        writer.put(record("a"), image=np.ones(encoder.dim))
    done = cli("pairs", "-i", tmp_path / "plain")
    assert done.stdout == ""
    assert "no item has both an image and a caption" in done.stderr
    assert "no near-duplicates" in cli("duplicates", "-i", tmp_path / "plain").stderr
    for flags in (["--target", "caption"], ["--hybrid"]):
        done = cli("search", "a dog", "-i", tmp_path / "plain", *flags)
        assert "plain holds no captions" in done.stderr


# --- duplicates -----------------------------------------------------------------------------------


def test_a_stretched_copy_is_a_duplicate(cli, index_folder):
    command = ["duplicates", "-i", index_folder, "--threshold", 0.9]
    found = json.loads(cli(*command, "-f", "json").stdout)["groups"]
    assert [[os.path.basename(i["path"]) for i in group] for group in found] == [
        ["small lion.jpg", "lion.jpg"]  # which has fewer pixels, in spite of its name
    ]
    assert found[0][0]["score"] == 1
    assert 0.9 <= found[0][1]["score"] < 1
    table = cli(*command).stdout
    assert "small lion.jpg" in table
    rows = cli("duplicates", "-i", index_folder, "--threshold", 0.05, "-f", "csv").stdout
    assert len(rows.splitlines()) == 3  # it says who is compared, not who is alike
    rows = list(csv.DictReader(io.StringIO(cli(*command, "-f", "csv").stdout)))
    assert [float(row["score"]) for row in rows] == [i["score"] for i in found[0]]
    none = cli("duplicates", "-i", index_folder, "--threshold", 0.9999)
    assert none.stdout == ""
    assert "no near-duplicates with a similarity of 0.9999 or more" in none.stderr


# --- filters and scores ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("path like '%/small lion.jpg'", {"small lion.jpg"}),
        ("name = 'moon.png'", {"moon.png"}),
        ("width = 400 and height = 300", {"small lion.jpg"}),
        ("size_bytes > 0 and format = 'jpeg' and width > 400", {"china.jpg", "flower.jpg"}),
        ("mtime < '2000'", set()),
        (
            "mtime >= '2020' and taken_at is not null",
            {"small lion.jpg", "chelsea.png", "flower.jpg"},  # the last two by XMP and IPTC
        ),
        ("taken_at >= '2024-01-01'", {"small lion.jpg"}),
        ("camera like '%box 2'", {"small lion.jpg"}),
        ("latitude < -10.4 and longitude between 20.2 and 20.3", {"small lion.jpg"}),
        ("caption like '%lion%'", {"lion.jpg", "small lion.jpg"}),
        ("price > 5 and shop = 'south'", {"small lion.jpg"}),
        ("tag = 'animal' and price < 50", {"chelsea.png", "lion.jpg"}),
        (
            "width >= 200 and taken_at >= '2024-01-01' and caption like '%lion%' "
            "and tag = 'animal'",
            {"small lion.jpg"},
        ),
    ],
)
def test_every_field_filters(cli, index_folder, where, expected):
    done = cli("search", "a lion", "-i", index_folder, "--where", where, "-f", "paths")
    found = set(names(done))
    assert expected <= found if "format" in where else found == expected


def test_an_unknown_field_lists_those_there_are(cli, index_folder):
    done = cli("search", "a lion", "-i", index_folder, "--where", "hight > 3", expect=1)
    assert "Did you mean height?" in done.stderr
    for field in ("size_bytes", "taken_at", "camera", "latitude", "tag", "price", "shop"):
        assert field in done.stderr


def test_hybrid_finds_the_words_of_a_caption(cli, index_folder):
    """The exchanged caption speaks of a cup, the picture shows a cat."""
    plain = names(cli("search", "cup", "-i", index_folder, "-k", 2, "-f", "paths"))
    hybrid = names(cli("search", "cup", "-i", index_folder, "-k", 2, "-f", "paths", "--hybrid"))
    assert plain[0] == "coffee.png"
    assert "chelsea.png" not in plain
    assert set(hybrid) == {"coffee.png", "chelsea.png"}


def test_min_score_auto_drops_what_is_no_better_than_chance(cli, index_folder):
    def found(text) -> list[dict]:
        done = cli("search", text, "-i", index_folder, "--min-score", "auto", "-f", "json")
        return json.loads(done.stdout)["hits"]

    coffee = found("a cup of coffee")
    assert os.path.basename(coffee[0]["path"]) == "coffee.png"
    assert coffee[0]["percentile"] > 99
    assert len(coffee) < 4
    assert found("quarterly tax form with numbers") == []


# --- query algebra --------------------------------------------------------------------------------


def test_weights_of_words_pictures_and_items(cli, index_folder, pairs_folder):
    def scores(*flags) -> dict[str, float]:
        done = cli("search", *flags, "-i", index_folder, "-k", 50, "-f", "json")
        hits = json.loads(done.stdout)["hits"]
        return {os.path.basename(hit["path"]): hit["score"] for hit in hits}

    with Index.open(index_folder) as index:
        (lion,) = (item.id for item in index.items("name = 'lion.jpg'"))
    cats = [scores("an animal", "-a", f"a cat^{weight}")["chelsea.png"] for weight in (0.2, 1, 3)]
    assert cats == sorted(cats)
    less = [scores("an animal", "-s", f"a cat^{weight}")["chelsea.png"] for weight in (0.2, 0.5, 1)]
    assert less == sorted(less, reverse=True)
    assert scores("-a", "an animal") == scores("an animal")
    assert scores("--item", lion)["lion.jpg"] == pytest.approx(1, abs=1e-3)
    few, many = (scores("the moon", "--item", f"{lion}^{w}")["lion.jpg"] for w in (0.1, 2))
    assert few < many
    picture = pairs_folder / "lion.jpg"
    assert scores("the moon", "--image", f"{picture}^2")["lion.jpg"] == pytest.approx(
        many, abs=0.02
    )
    assert scores("the moon", "--subtract-image", f"{picture}^0.5")["lion.jpg"] < few


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["-a", "cat^much"], "must be a number above 0, as in 'cars^0.5', not 'much'"),
        (["-s", "cat^-1"], "must be a number above 0"),
        (["-a", "^2"], "empty"),
        (["--item", "lion"], "--item takes an item ID"),
        (["--item", "9999"], "no item 9999"),
        (["--subtract-image", "absent.jpg^2"], "no image file at absent.jpg"),
        (["--image", "absent^.jpg"], "must be a number above 0"),
    ],
)
def test_bad_parts_of_a_query_get_one_line(cli, index_folder, flags, says):
    done = cli("search", "a lion", "-i", index_folder, *flags, expect=1)
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


# --- export and import ----------------------------------------------------------------------------


def test_export_is_readable_with_pandas_and_faiss(cli, index_folder, tmp_path):
    import faiss

    done = cli("export", tmp_path / "out.parquet", "-i", index_folder)
    assert "13 items written" in done.stderr
    frame = pd.read_parquet(tmp_path / "out.parquet").set_index("id")
    with Index.open(index_folder) as index:
        assert len(frame) == len(index)
        vectors = index.vectors(list(frame.index), "image")
        captions = index.vectors(list(frame.index), "caption")
    assert np.allclose(np.stack(frame["image_vector"]), vectors)
    assert np.allclose(np.stack(frame["caption_vector"]), captions)
    last = frame.iloc[-1]
    assert os.path.basename(last["path"]) == "small lion.jpg"
    assert json.loads(last["extra"]) == {"price": 99, "shop": "south"}
    assert list(last["tags"]) == ["animal"]
    for target, expected in (("image", vectors), ("caption", captions)):
        done = cli("export", tmp_path / "out.faiss", "-i", index_folder, "--target", target)
        assert f"13 {target} vectors written" in done.stderr
        flat = faiss.read_index(str(tmp_path / "out.faiss"))
        assert flat.search(expected[:1], 1)[1][0, 0] == frame.index[0]
        assert flat.ntotal == 13
    cli("export", tmp_path / "table", "-f", "parquet", "-i", index_folder)
    assert len(pd.read_parquet(tmp_path / "table")) == 13


def test_export_that_cannot_work_says_why_and_leaves_nothing(cli, index_folder, tmp_path):
    for file, says in (
        (tmp_path / "out.csv", "does not end in .parquet, .faiss or .tar; give -f"),
        (tmp_path / "no" / "out.parquet", f"there is no folder {tmp_path / 'no'}"),
        (tmp_path / "no" / "out.faiss", f"there is no folder {tmp_path / 'no'}"),
    ):
        done = cli("export", file, "-i", index_folder, expect=1)
        assert says in done.stderr
        assert len(done.stderr.splitlines()) == 1
    (tmp_path / "folder.parquet").mkdir()
    done = cli("export", tmp_path / "folder.parquet", "-i", index_folder, expect=1)
    assert "is a folder" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["folder.parquet"]


@pytest.fixture
def embeddings(index_folder, tmp_path):
    """The index's vectors in clip-retrieval's layout."""
    folder = tmp_path / "embeddings"
    with Index.open(index_folder) as index:
        items = index.items()
        for part, modality in (("img_emb", "image"), ("text_emb", "caption")):
            (folder / part).mkdir(parents=True)
            vectors = index.vectors([item.id for item in items], modality)
            np.save(folder / part / f"{part}_0.npy", vectors.astype(np.float16))
    (folder / "metadata").mkdir()
    pd.DataFrame(
        {"image_path": [i.path for i in items], "caption": [i.caption for i in items], "nsfw": 0.1}
    ).to_parquet(folder / "metadata" / "metadata_0.parquet")
    return folder


def test_imported_embeddings_are_found_by_words(cli, embeddings):
    done = cli("import", embeddings, "-i", "web")
    assert "13 items from" in done.stderr
    found = cli("search", "a rocket launch", "-i", "web", "-k", 1, "-f", "json").stdout
    (hit,) = json.loads(found)["hits"]
    assert os.path.basename(hit["path"]) == "rocket.jpg"
    assert hit["extra"] == {"nsfw": 0.1}
    again = cli("import", embeddings, "-i", "web")
    assert "13 updated" in again.stderr
    assert json.loads(cli("info", "-i", "web", "-f", "json").stdout)["items"] == 13
    assert "the index is sound" in cli("verify", "--full", "-i", "web").stderr


def test_embeddings_that_do_not_fit_say_why_and_leave_nothing(cli, embeddings, tmp_path):
    def refused(says):
        done = cli("import", embeddings, "-i", "web", expect=1)
        assert says in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not (tmp_path / "indexes").exists()

    metadata = embeddings / "metadata" / "metadata_0.parquet"
    pd.read_parquet(metadata).head(5).to_parquet(metadata)
    refused("do not fit together")
    metadata.write_bytes(b"no parquet")
    refused("metadata_0.parquet cannot be read")
    metadata.unlink()
    file = embeddings / "img_emb" / "img_emb_0.npy"
    np.save(file, np.ones((13, 7), np.float16))
    refused("the vectors differ in length")
    np.save(embeddings / "text_emb" / "text_emb_0.npy", np.ones((13, 7), np.float16))
    refused(
        "the vectors have 7 dimensions, but clipsearch-mini makes vectors of 768; name the model"
    )
    np.save(file, np.ones(13, np.float16))
    refused("not a matrix of vectors")
    file.write_bytes(b"no numpy")
    refused("img_emb_0.npy cannot be read")
    shutil.rmtree(embeddings)
    refused("holds no embeddings")


# --- looking after an index -----------------------------------------------------------------------


def test_remove_compact_verify_info(cli, index_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(index_folder, copy)
    assert "removed 2 of 3 items" in cli("remove", 1, 2, 999, "-i", copy).stderr
    facts = json.loads(cli("info", "-i", copy, "-f", "json").stdout)
    assert facts["items"] == 11
    assert facts["tombstones"] == 4  # two images, two captions
    assert "before" in cli("compact", "-i", copy).stderr
    facts = json.loads(cli("info", "-i", copy, "-f", "json").stdout)
    assert (facts["items"], facts["tombstones"]) == (11, 0)
    assert "tombstones" in cli("info", "-i", copy).stdout
    assert "the index is sound" in cli("verify", "--full", "-i", copy).stderr
    damaged = sorted(p for p in (copy / "vectors").iterdir() if ".rows" not in p.name)
    for path in damaged:
        os.truncate(path, path.stat().st_size - 2)
    done = cli("verify", "-i", copy, expect=1)
    assert all(f"{path} is damaged" in done.stderr for path in damaged)
    assert done.stderr.count("problem: ") == 2
    (copy / "catalog.sqlite").unlink()
    for command in (["verify"], ["search", "a lion"], ["info"]):
        done = cli(*command, "-i", copy, expect=1)
        assert "catalog.sqlite is missing, but there are vectors" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_damaged_ann_file_costs_speed_and_no_answer(cli, index_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(index_folder, copy)
    with Index.open(copy) as index:
        index.build_ann(force=True)
    recall = json.loads(cli("info", "-i", copy, "-f", "json").stdout)["ann"]["image"][
        "recall_at_10"
    ]
    assert f"{recall:.6g}" in cli("info", "-i", copy).stdout
    assert "neighbours of a sample found" in cli("verify", "--full", "-i", copy).stderr
    (file,) = (copy / "ann").glob("image*.faiss")
    os.truncate(file, 1000)
    done = cli("verify", "-i", copy, expect=1)
    assert f"{file} is damaged" in done.stderr
    assert "clipsearch compact" in done.stderr
    assert "Until then every search is exact" in cli("info", "-i", copy).stdout
    found = cli("search", "a rocket launch", "-i", copy, "-k", 1, "-f", "json").stdout
    assert json.loads(found)["hits"][0]["path"].endswith("rocket.jpg")
    assert not json.loads(found)["approximate"]
    cli("compact", "-i", copy)
    assert "the index is sound" in cli("verify", "--full", "-i", copy).stderr


def test_commands_that_write_wait_for_the_other_writer(cli, index_folder, embeddings, tmp_path):
    import threading

    copy = tmp_path / "copy"
    shutil.copytree(index_folder, copy)
    for arguments in (["remove", 1], ["compact"], ["import", embeddings]):
        with Index.open(copy) as index:
            writer = index.writer()
            done = cli(*arguments, "-i", copy, expect=1)
            assert f"process {os.getpid()}" in done.stderr
            assert "--wait" in done.stderr
            release = threading.Timer(0.3, writer.close)
            release.start()
            cli(*arguments, "-i", copy, "--wait")
            release.join()


# --- following a folder ---------------------------------------------------------------------------


@pytest.mark.slow
def test_watching_on_the_command_line(photos, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    named = {photo.name: photo for photo in photos}
    shutil.copy(named["rocket.jpg"], folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "clipsearch", "index", folder, "-i", "photos", "--watch"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "CLIPSEARCH_INDEXES": str(tmp_path / "indexes")},
    )

    def told(what: str) -> None:
        for line in process.stderr:
            if what in line:
                return
        raise AssertionError(f"the command ended without saying {what!r}")

    try:
        told("watching")
        shutil.copy(named["moon.png"], folder)
        told("1 images in")
        (folder / "moon.png").rename(folder / "luna.png")
        told("1 moved")
        (folder / "rocket.jpg").unlink()
        told("1 removed")
        process.send_signal(signal.SIGINT)
        told("stopped watching")
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
    with Index.open(tmp_path / "indexes" / "photos") as index:
        assert [os.path.basename(item.path) for item in index.items()] == ["luna.png"]
        assert index.verify(full=True).ok
