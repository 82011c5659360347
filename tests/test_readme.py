"""The README's examples do what they say, run as a reader would run them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def home(photos, tmp_path) -> dict[str, str]:
    """A home folder with photos in it, and `clipsearch` on the path."""
    pictures = tmp_path / "Pictures"
    pictures.mkdir()
    for photo in photos:
        shutil.copy(photo, pictures / photo.name)
    return {
        **os.environ,
        "HOME": str(tmp_path),
        "CLIPSEARCH_INDEXES": str(tmp_path / "indexes"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


def blocks(language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    assert found
    return found


def test_shell_examples(home, tmp_path):
    script = "set -e\n" + "\n".join(blocks("bash"))
    script = script.replace("source .venv/bin/activate\n", "")
    done = subprocess.run(
        ["bash", "-c", script], env=home, cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    coffee = done.stdout.split("coffee.png")
    assert len(coffee) > 2, done.stdout  # found by words and by picture
    assert re.search(r"chelsea\.png\s+cat \d+%", done.stdout), done.stdout


def test_python_examples(home, tmp_path):
    script = "\n".join(blocks("python"))
    done = subprocess.run(
        [sys.executable, "-c", script], env=home, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith("indexed, 0 skipped")
    assert lines[1].endswith("coffee.png")
    assert lines[-1].startswith("cat ")
