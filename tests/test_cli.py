"""The commands: what they print, and how they fail."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import clipsearch
from clipsearch.images import load_image
from tests.test_images import png_header


def hits(done) -> list[dict]:
    return json.loads(done.stdout)["hits"]


@pytest.fixture(scope="module")
def kept(photos, encoder, tmp_path_factory):
    """The demo photos and their index, which no test changes."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "photos").mkdir()
    for photo in photos:
        shutil.copy(photo, folder / "photos" / photo.name)
    with clipsearch.Index.create(folder / "indexes" / "photos", encoder) as index:
        index.add(folder / "photos")
    return folder


@pytest.fixture
def indexed(kept, tmp_path):
    """The demo photos, not to be changed, in an index of one's own called `photos`."""
    shutil.copytree(kept / "indexes", tmp_path / "indexes")
    return kept / "photos"


def test_index_search_classify(cli, indexed):
    found = hits(cli("search", "a cat", "-i", "photos", "-f", "json"))
    assert found[0]["path"] == str(indexed / "chelsea.png")
    assert found[0]["score"] > found[1]["score"]
    again = hits(cli("search", "--image", indexed / "coffee.png", "-f", "json"))
    assert again[0]["path"] == str(indexed / "coffee.png")
    assert again[0]["score"] > 0.99
    labelled = json.loads(
        cli("classify", indexed / "chelsea.png", "-l", "cat", "-l", "dog", "-f", "json").stdout
    )
    best, second = labelled[0]["predictions"]
    assert best["label"] == "cat"
    assert best["probability"] + second["probability"] == pytest.approx(1, abs=1e-5)


def test_adding_and_subtracting_move_the_results(cli, indexed):
    def score(*flags) -> float:
        found = hits(cli("search", "an animal", *flags, "-k", 100, "-f", "json"))
        return next(h["score"] for h in found if h["path"].endswith("chelsea.png"))

    assert score("--add", "a cat") > score() > score("--subtract", "a cat")


def test_formats(cli, indexed):
    paths = cli("search", "a rocket", "-k", 3, "-f", "paths").stdout.splitlines()
    assert paths[0] == str(indexed / "rocket.jpg")
    assert len(paths) == 3
    nul = cli("search", "a rocket", "-k", 3, "-0").stdout
    assert nul.split("\0") == [*paths, ""]
    lines = cli("search", "a rocket", "-k", 3, "-f", "jsonl").stdout.splitlines()
    assert [json.loads(line)["path"] for line in lines] == paths
    told = cli("search", "a rocket", "-s", "clouds", "--image", paths[0], "-f", "json").stdout
    assert json.loads(told)["query"] == [
        {"text": "a rocket", "weight": 1.0},
        {"image": paths[0], "weight": 1.0},
        {"text": "clouds", "weight": -1.0},
    ]
    table = cli("search", "a rocket", "-k", 3).stdout
    assert "rocket.jpg" in table
    assert json.loads(cli("info", "-f", "json").stdout)["items"] == len(list(indexed.iterdir()))


def test_a_second_run_encodes_only_what_is_new_or_changed(cli, photo_folder):
    cli("index", photo_folder, "-i", "photos")
    count = len(list(photo_folder.iterdir()))
    assert f"of {count} files: {count} unchanged" in cli("index", photo_folder).stderr
    shutil.copy(photo_folder / "coffee.png", photo_folder / "copy.png")
    (photo_folder / "rocket.jpg").rename(photo_folder / "moved.jpg")
    load_image(photo_folder / "moon.png").resize((99, 99)).save(photo_folder / "moon.png")
    told = cli("index", photo_folder).stderr
    assert told.startswith("1 images in")
    assert "1 duplicate, 1 updated, 1 moved" in told
    found = hits(cli("search", "a rocket launch", "-k", 1, "-f", "json"))
    assert found[0]["path"] == str(photo_folder / "moved.jpg")
    (photo_folder / "moved.jpg").unlink()
    assert "1 removed" in cli("index", photo_folder, "--prune").stderr
    cli("verify", "--full")


def test_bad_files_are_skipped_with_their_reasons(cli, photo_folder, tmp_path):
    (photo_folder / "text.jpg").write_text("I am not a photo")
    whole = (photo_folder / "rocket.jpg").read_bytes()
    (photo_folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (photo_folder / "empty.png").touch()
    (photo_folder / "notes.txt").write_text("not an image, and does not claim to be")
    done = cli("index", photo_folder, "--report", tmp_path / "report.jsonl", expect=3)
    for name in ("text.jpg", "truncated.jpg", "empty.png"):
        assert name in done.stderr
    report = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert len(report) == len(list(photo_folder.iterdir()))
    ends = {os.path.basename(entry["key"]): entry["status"] for entry in report}
    assert {name for name, status in ends.items() if status == "skipped"} == {
        "text.jpg",
        "truncated.jpg",
        "empty.png",
        "notes.txt",
    }
    assert "empty.png" in cli("index", photo_folder, "--strict", expect=1).stderr


def test_a_folder_with_a_text_file_is_no_failure(cli, photo_folder):
    (photo_folder / "notes.txt").write_text("not an image")
    assert "skipped 1 file that is not an image" in cli("index", photo_folder, expect=0).stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["index", "absent"], "nothing is at absent"),
        (["index", "EMPTY"], "it is empty"),
        (["index", "TEXTS"], "none of them an image"),
        (["search", "cat", "-i", "unknown"], "no index called 'unknown'"),
        (["search", "cat"], "no index in"),
        (["classify", "PHOTO", "-l", "a", "-m", "clipsearch-mimi"], "did you mean clipsearch-mini"),
        (["classify", "PHOTO", "-l", "a", "-m", "ViT-B-32/laion2b_s34b_b79k"], "offline you can"),
        (["classify", "PHOTO"], "no labels"),
        (["evaluate", "zeroshot", "absent"], "no folder or table at absent"),
        (["classify", "PHOTO", "--labels", "absent.txt"], "cannot read labels"),
    ],
)
def test_bad_input_gets_one_line(cli, tmp_path, photos, arguments, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("text")
    places = {
        "EMPTY": str(tmp_path / "empty"),
        "TEXTS": str(tmp_path / "texts"),
        "PHOTO": str(photos[0]),
    }
    done = cli(*(places.get(argument, argument) for argument in arguments), expect=1)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert not (tmp_path / "indexes").exists()  # nothing is left behind


def test_bad_queries_get_one_line(cli, indexed):
    for arguments, says in (
        (["search", ""], "the query is empty"),
        (["search", "   "], "the query is empty"),
        (["search"], "give words, --image FILE, --item ID or --add WORDS"),
        (["search", "--item", "first"], "--item takes an item ID"),
        (["search", "--image", "absent.jpg"], "no image file at absent.jpg"),
        (["search", "cat", "-k", "0"], "k must be at least 1"),
        (["search", "cat", "--where", "colour = 'red'"], "colour"),
        (["search", "cat", "--min-score", "high"], "--min-score"),
        (["search", "cat", "-i", "other"], "photos"),
    ):
        done = cli(*arguments, expect=1)
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        assert says in done.stderr


def test_another_model_is_refused(cli, indexed, tmp_path):
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.create_model("ViT-S-32-alt")
    weights = tmp_path / "weights.safetensors"
    save_file({k: v.contiguous().clone() for k, v in model.state_dict().items()}, weights)
    done = cli("index", indexed, "-i", "photos", "-m", f"ViT-S-32-alt:{weights}", expect=1)
    assert "clipsearch-mini" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_no_permission_to_write(photo_folder, tmp_path, bound):
    locked = tmp_path / "indexes"
    locked.mkdir(mode=0o500)
    done = subprocess.run(
        [*bound, sys.executable, "-m", "clipsearch", "index", photo_folder],
        capture_output=True,
        text=True,
        env={**os.environ, "CLIPSEARCH_INDEXES": str(locked)},
    )
    assert done.returncode == 1
    assert "permission denied" in done.stderr.lower()
    assert len(done.stderr.splitlines()) == 1
    assert list(locked.iterdir()) == []


def test_the_place_of_an_index_is_a_file(cli, photo_folder, tmp_path):
    (tmp_path / "indexes").mkdir()
    (tmp_path / "indexes" / "photos").write_text("in the way")
    done = cli("index", photo_folder, expect=1)
    assert len(done.stderr.splitlines()) == 1


def test_an_index_that_another_command_makes_meanwhile_is_filled(
    cli, photo_folder, tmp_path, encoder, monkeypatch
):
    def load(*_, **__):
        clipsearch.Index.create(tmp_path / "indexes" / "new photos", encoder).close()
        return encoder

    monkeypatch.setattr(clipsearch, "load_encoder", load)
    told = cli("index", photo_folder, "-i", "new photos").stderr
    assert f"{len(list(photo_folder.iterdir()))} images in" in told
    assert "-i 'new photos'" in told  # as a shell takes it


def test_a_reader_that_goes_is_no_error(indexed, tmp_path):
    command = [sys.executable, "-m", "clipsearch", "search", "a cat", "-k", "100", "-f", "json"]
    env = {**os.environ, "CLIPSEARCH_INDEXES": str(tmp_path / "indexes")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as done:
        done.stdout.close()
        assert done.stderr.read() == b""
        assert done.wait() == 0


def test_a_process_of_its_own_answers(cli, cli_process, indexed):
    paths = cli_process("search", "a cat", "-k", 1, "-f", "paths")
    assert paths.stdout == f"{indexed / 'chelsea.png'}\n"
    assert paths.stderr == ""
    done = cli_process("search", "a cat", "-i", "other", expect=1)
    assert done.stderr.startswith("error: no index called 'other' (there are: photos)")


def test_ctrl_c_keeps_what_was_committed(cli, tmp_path):
    """The list of paths never ends, so that only the interruption can end the first run."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(120):
        Image.new("RGB", (64, 64), (2 * number, number, 90)).save(folder / f"{number}.png")
    indexes = {"CLIPSEARCH_INDEXES": str(tmp_path / "indexes")}
    process = subprocess.Popen(
        [sys.executable, "-m", "clipsearch", "index", "-", "-i", "many"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **indexes},
    )
    first = "\n".join(str(photo) for photo in sorted(folder.iterdir())[:60])
    while not committed(tmp_path / "indexes" / "many"):
        print(first, file=process.stdin, flush=True)
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert "interrupted" in told
    before = committed(tmp_path / "indexes" / "many")
    assert 0 < before <= 60
    done = cli("index", folder, "-i", "many")
    assert f"{120 - before} images in" in done.stderr
    assert json.loads(cli("info", "-i", "many", "-f", "json").stdout)["items"] == 120
    cli("verify", "-i", "many", "--full")


def committed(folder: Path) -> int:
    """Items of an index that may not be there yet."""
    try:
        with clipsearch.Index.open(folder) as index:
            return len(index)
    except clipsearch.ClipSearchError:
        return 0


def test_help_is_quick_and_has_examples():
    started = os.times()
    done = subprocess.run(
        [sys.executable, "-m", "clipsearch", "--help"], capture_output=True, text=True, check=True
    )
    used = os.times()
    assert "search" in done.stdout
    assert used.children_user + used.children_system > started.children_user  # it really ran
    for command in ("index", "search", "classify", "info"):
        told = subprocess.run(
            [sys.executable, "-m", "clipsearch", command, "--help"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert f"clipsearch {command}" in told


def test_usage_errors_exit_with_2(cli):
    assert "No such option" in cli("search", "--nonsense", expect=2).stderr
    cli("index", expect=2)
    wrong = cli("index", ".", "--precision", "fp9", expect=2).stderr
    assert "'fp9'" in wrong
    assert "int8" in wrong


def test_models_list(cli):
    from open_clip import list_pretrained

    from clipsearch.models import _BUNDLED_FOLDER

    models = json.loads(cli("models", "list", "-f", "json").stdout)
    assert models[0]["name"] == "clipsearch-mini"
    size = sum(file.stat().st_size for file in _BUNDLED_FOLDER.iterdir())
    assert models[0]["size_mb"] == pytest.approx(size / 1e6, abs=3)
    assert models[0]["params_m"] == pytest.approx(size / 2e6, abs=2)  # in half precision
    known = {f"{architecture}/{tag}" for architecture, tag in list_pretrained()}
    assert {model["name"] for model in models[1:]} <= known
    assert all(model["licence"] and model["advice"] for model in models)
    assert all(50 < model["imagenet"] < 90 for model in models[1:])
    told = cli("models", "list")
    assert all(model["name"] in told.stdout for model in models)
    assert "clipsearch migrate" in told.stderr


def test_a_decompression_bomb_costs_one_file(cli, photo_folder):
    (photo_folder / "bomb.png").write_bytes(png_header(60_000, 60_000))
    told = cli("index", photo_folder, expect=3).stderr
    assert "bomb.png" in told
    assert "--max-pixels" in told
    assert "1 skipped" in told


def test_the_demo_tells_a_newcomer_what_to_try(cli, tmp_path):
    told = cli("demo").stdout
    for found in ("chelsea.png", "coffee.png", "rocket.jpg", "cat 9"):
        assert found in told
    assert 'clipsearch search "an animal" -i demo' in told
    cli("search", "an animal", "-i", "demo")  # as it said
