"""Every command and the client's example in docs/api.md, run as they are written."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clipsearch import ZeroShotClassifier

DOC = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
CURLS = re.findall(r"`(curl [^`]+)`", DOC)
PICTURES = {"cat.jpg": "chelsea.png", "beach.jpg": "coffee.png", "rose.jpg": "flower.jpg"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photos, encoder):
    """Where the reader stands, with the files that the examples name."""
    here = tmp_path_factory.mktemp("reader")
    by_name = {photo.name: photo for photo in photos}
    for name, source in PICTURES.items():
        shutil.copy(by_name[source], here / name)
    ZeroShotClassifier(encoder, ["rose", "tulip"], templates="none").save(here / "flowers.clip")
    return here


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_commands_work(service, folder):
    address = service.url.removeprefix("http://")
    document = service.get("/openapi.json").json()
    reached = set()
    for command in CURLS:
        arguments = shlex.split(command.replace("localhost:7860", address))
        done = subprocess.run(
            [arguments[0], "--silent", "--show-error", "--fail", *arguments[1:]],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, (command, done.stderr)
        path = arguments[1].removeprefix(address).partition("?")[0]
        reached.add(re.sub(r"/items/\d+", "/items/{item_id}", path).replace("/photos", "/{name}"))
    assert reached == set(document["paths"])
    for name in ("image.jpg", "small.jpg"):
        assert (folder / name).stat().st_size > 1000


def test_the_client_example_works(service, folder):
    (example,) = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
    example = example.replace("http://127.0.0.1:7860", service.url)
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5
