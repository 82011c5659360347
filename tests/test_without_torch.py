"""The light installation, tried as its user would: commands, the service and its page.

`make light-smoke` makes its environment and runs this; photos and Chromium are those of this one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import httpx
import pytest
from PIL import Image

from clipsearch import Index, load_encoder

from .ui_support import FLAGS, QUERY, chromium

ROOT = Path(__file__).parents[1]
VENV = Path(os.environ.get("CLIPSEARCH_LIGHT_VENV", ".venv-light")).absolute()
HEAVY = {"torch", "torchvision", "open_clip", "timm"}

pytestmark = [
    pytest.mark.light,
    pytest.mark.skipif(not (VENV / "bin/clipsearch").exists(), reason="needs: make light"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where this module's commands keep all that they keep."""
    folder = tmp_path_factory.mktemp("light")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CACHE", "STATE", "INDEXES"):
            patch.setenv(f"CLIPSEARCH_{name}", str(folder / name.lower()))
        yield folder


@pytest.fixture(scope="module")
def run(place):
    """Run a command of that installation."""

    def run_command(*arguments, expect=0):
        done = subprocess.run(
            [VENV / "bin/clipsearch", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == expect, done
        assert "Traceback" not in done.stderr
        return done

    return run_command


@pytest.fixture(scope="module")
def album(run, photos, place):
    """A folder of photos, one of them twice, and its index."""
    folder = place / "photos"
    folder.mkdir()
    for photo in photos:
        shutil.copy(photo, folder)
    shutil.copy(folder / "coffee.png", folder / "again.png")
    run("index", folder, "-i", "album")
    return folder


def names(done):
    return [Path(line).name for line in done.stdout.splitlines()]


def python(code):
    return subprocess.run([VENV / "bin/python", "-I", "-c", code], capture_output=True, text=True)


def test_torch_is_not_there_and_is_not_asked_for():
    code = "import importlib.util as u; print(*filter(u.find_spec, {}))"
    assert python(code.format(sorted(HEAVY))).stdout.split() == []
    code = "import importlib.metadata as m; print(*m.requires('clipsearch'), sep='\\n')"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked, full = (
        {re.match(r"[\w-]+", line)[0] for line in lines if "extra ==" not in line}
        for lines in (python(code).stdout.splitlines(), project["dependencies"])
    )
    assert asked == full - {"torch", "open_clip_torch", "timm", "faiss-gpu"}


def test_photos_are_searched_by_words_and_by_image(run, album):
    assert set(names(run("search", "a cup of coffee", "-i", "album", "-f", "paths", "-k", 2))) == {
        "coffee.png",
        "again.png",
    }
    lion = ("--image", album / "lion.jpg", "--add", "spots", "--subtract", "mane")
    assert "cheetah" in " ".join(names(run("search", *lion, "-i", "album", "-f", "paths", "-k", 3)))
    found = json.loads(run("duplicates", "-i", "album", "-f", "json").stdout)
    assert "again.png" in json.dumps(found)


def test_photos_are_classified_by_words_and_by_what_was_learned(run, album, place):
    labels = ("-l", "cat", "-l", "dog", "-l", "coffee")
    done = run("classify", album / "chelsea.png", *labels, "--template", "openai", "-f", "json")
    assert json.loads(done.stdout)[0]["predictions"][0]["label"] == "cat"
    for label, some in {"cat": ("chelsea.png",), "big cat": ("lion.jpg", "cheetah.jpg")}.items():
        (place / "classes" / label).mkdir(parents=True)
        for name in some:
            shutil.copy(album / name, place / "classes" / label)
    run("fit", place / "classes", "-o", place / "cats.clip")
    done = run("classify", album / "cheetah1.jpg", "--labels", place / "cats.clip", "-f", "json")
    assert json.loads(done.stdout)[0]["predictions"][0]["label"] == "big cat"


def test_a_model_that_torch_loaded_once_needs_it_no_more(run, album, other, place):
    refused = run("index", album, "-i", "others", "-m", other, expect=1)
    (line,) = refused.stderr.splitlines()
    assert "pip install torch" in line
    encoder = load_encoder(other, device="cpu", precision="fp32")  # exports it
    few = [album / name for name in ("lion.jpg", "coffee.png", "chelsea.png")]
    run("index", *few, "-i", "others", "-m", other)
    run("search", "a cup", "-i", "others")
    run("search", "--image", few[0], "-i", "others")
    with Index.open(place / "indexes/others") as index:
        items = index.items()
        theirs = index.vectors([item.id for item in items])
    ours = encoder.in_torch().encode_images([item.path for item in items])
    assert (theirs * ours).sum(axis=1).min() > 0.9999


@pytest.mark.parametrize("wanted", ["--device=cuda", "--precision=int8"])
def test_what_only_torch_has_is_refused_in_a_line(run, album, wanted):
    if wanted.startswith("--device"):
        done = run("classify", album / "lion.jpg", "-l", "cat", "-l", "lion", wanted, expect=1)
    else:
        done = run("index", album, "-i", "other", wanted, expect=1)
    (line,) = done.stderr.splitlines()
    assert wanted.partition("=")[2] in line
    assert "pip install torch" in line


@pytest.fixture(scope="module")
def site(album, place):
    """The address of the service with its page."""
    command = [VENV / "bin/clipsearch", "serve", "-i", "album", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        said = []
        for line in process.stderr:
            said.append(line)
            if " at http://" in line:
                break
        assert "http" in said[-1], said
        yield said[-1].split()[-1]
        process.terminate()
        assert "Traceback" not in process.stderr.read()


def test_the_service_answers(site, album):
    picture = (album / "lion.jpg").read_bytes()
    with httpx.Client(base_url=site, timeout=60) as http:

        def best(path, **options):
            hit = http.post(path, **options).raise_for_status().json()["hits"][0]
            return hit["width"], hit["height"], hit["size_bytes"]

        def of(name):
            with Image.open(album / name) as image:
                return *image.size, (album / name).stat().st_size

        search = "/v1/indexes/album/search"
        assert best(search, json={"text": "a rocket", "k": 1}) == of("rocket.jpg")
        assert best(f"{search}/image", files={"image": picture}) == of("lion.jpg")
        told = http.post(
            "/v1/classify", data={"labels": ["cup", "lion"]}, files={"images": picture}
        ).raise_for_status()
        assert told.text.index("lion") < told.text.index("cup")


def test_the_page_searches(site):
    path = chromium()
    if path is None:
        pytest.skip("no Chromium here; on Debian and Ubuntu: apt install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page()
        page.goto(f"{site}/?q=a+cup+of+coffee", timeout=120_000)
        page.wait_for_selector(".cs-card", timeout=120_000)
        assert page.input_value(QUERY) == "a cup of coffee"
        browser.close()
