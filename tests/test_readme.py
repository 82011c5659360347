"""The README's examples do what they say, run as a reader would run them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
READMES = ["README.md", "README.es.md"]


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


def blocks(readme: str, language: str) -> list[str]:
    text = (ROOT / readme).read_text(encoding="utf-8")
    found = re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)
    assert found
    return found


@pytest.mark.slow
def test_shell_examples(home, tmp_path):
    script = "set -e\n" + "\n".join(blocks("README.md", "bash"))
    script = script.replace("source .venv/bin/activate\n", "")
    done = subprocess.run(
        ["bash", "-c", script], env=home, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    coffee = done.stdout.split("coffee.png")
    assert len(coffee) > 2, done.stdout  # found by words and by picture
    assert re.search(r"chelsea\.png\s+cat \d+%", done.stdout), done.stdout


def test_spanish_shell_examples_are_the_english_ones():
    english, spanish = ("\n".join(blocks(readme, "bash")).splitlines() for readme in READMES)
    assert len(spanish) > 5
    assert {line.replace("fotos", "photos") for line in spanish} <= set(english)


@pytest.mark.slow
@pytest.mark.parametrize("readme", READMES)
def test_python_examples(home, tmp_path, readme):
    script = "\n".join(blocks(readme, "python"))
    done = subprocess.run(
        [sys.executable, "-c", script], env=home, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith("indexed, 0 skipped")
    assert lines[1].endswith("coffee.png")
    assert lines[-1].startswith("cat ")


@pytest.mark.parametrize("readme", READMES)
def test_links_lead_somewhere(readme):
    text = (ROOT / readme).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert len(links) > 2
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("readme", READMES)
def test_commands_that_need_a_network_exist(readme):
    """The blocks that are not run name commands and options that there are."""
    from typer.main import get_command

    from clipsearch.cli.app import assemble

    commands = get_command(assemble()).commands
    text = (ROOT / readme).read_text(encoding="utf-8")
    shown = re.findall(r"clipsearch ([a-z]+)((?: +(?:-{1,2}[\w-]+))*)", text)
    for command, options in shown:
        assert command in commands, command
        known = {name for parameter in commands[command].params for name in parameter.opts}
        assert set(options.split()) <= known, (command, options)
