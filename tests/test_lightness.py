"""What importing costs, and what is public."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

import clipsearch
from clipsearch import errors

HEAVY = {
    "faiss", "fastapi", "gradio", "open_clip", "pandas", "pyarrow", "scipy", "sklearn", "sqlglot",
    "timm", "torch", "torchvision",
}  # fmt: skip


@pytest.mark.parametrize("module", ["clipsearch", "clipsearch.cli", "clipsearch.index"])
def test_import_loads_nothing_heavy(module):
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


@pytest.fixture(scope="module")
def few(encoder, photos, tmp_path_factory):
    """Three photos in an index, and one more beside it."""
    folder = tmp_path_factory.mktemp("few")
    with clipsearch.Index.create(folder / "index", encoder) as index:
        index.add([str(photo) for photo in photos[:3]])
    return folder / "index", photos[3]


@pytest.mark.parametrize(
    "command",
    ["search 'a red bus'", "search --image PHOTO", "classify PHOTO -l bus -l cat", "index PHOTO"],
)
def test_commands_load_nothing_heavy(few, command):
    """Small indexes are searched, and images encoded, with numpy, SQLite and OpenVINO alone."""
    index, photo = few
    words = shlex.split(command.replace("PHOTO", shlex.quote(str(photo))))
    if words[0] != "classify":
        words += ["-i", str(index)]
    code = (
        "import contextlib, sys\n"
        "from clipsearch.cli import main\n"
        f"sys.argv = ['clipsearch', *{words!r}]\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "print('loaded', *sys.modules, sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, _, modules = done.stdout.partition("loaded")
    assert "bus" in said or words[0] == "index"
    assert "error" not in done.stderr
    assert not HEAVY & set(modules.split())


def imported(lines):
    """The packages of which `-X importtime` tells."""
    told = (line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:"))
    return {name.partition(".")[0] for name in told}


def test_the_service_is_ready_before_its_page_is_made_and_never_loads_torch(few):
    index, photo = few
    command = [sys.executable, "-X", "importtime", "-m", "clipsearch", "serve", "-i", str(index)]
    with subprocess.Popen([*command, "--port=0"], stderr=subprocess.PIPE, text=True) as process:
        before, after = [], []
        for line in process.stderr:
            if " at http://" in line:
                break
            before.append(line)
        reader = threading.Thread(target=lambda: after.extend(process.stderr))
        reader.start()
        with httpx.Client(base_url=line.split()[-1], timeout=120) as http:
            path = f"/v1/indexes/{index.name}/search/image"
            http.post(path, files={"image": photo.read_bytes()}).raise_for_status()
            assert "gradio" in http.get("/").raise_for_status().text
        process.terminate()
        process.wait(60)
        reader.join()
    assert not (HEAVY - {"fastapi", "sqlglot"}) & imported(before)
    assert {"gradio", "openvino"} <= imported(after)
    assert not {"torch", "open_clip", "timm"} & imported(after)


def test_public_names_are_sorted_and_there():
    assert clipsearch.__all__ == sorted(clipsearch.__all__)
    for name in clipsearch.__all__:
        assert name == "__version__" or getattr(clipsearch, name).__name__ == name
    assert clipsearch.__version__ == version("clipsearch")
    with pytest.raises(AttributeError, match="Indx"):
        _ = clipsearch.Indx


def test_what_is_listed_as_public_is_what_is_public():
    names = set(clipsearch.__all__)
    for name in names:
        getattr(clipsearch, name)  # loads what is loaded on first use
    there = {
        name
        for name, value in vars(clipsearch).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("clipsearch.")
    }
    assert there == names - {"__version__"}
    assert set(dir(clipsearch)) == names
    assert set(errors.__all__) <= names


USER = """
import clipsearch
from clipsearch import ClipSearchError, Hits, Index, IngestOptions, Pair, Query, load_encoder

def search(words: str) -> Hits:
    with Index.open("indexes/photos", load_encoder("clipsearch-mini")) as index:
        return index.search(Query.text(words), k=5)

options: IngestOptions = IngestOptions(prune=True)
pair = Pair(key="1", caption="a dog")
version: str = clipsearch.__version__
"""


WRONG = {
    "from clipsearch import Indx": 'no attribute "Indx"',
    "clipsearch.serch": 'no attribute "serch"',
    "Index.opne": 'no attribute "opne"',
    "Hits().took_sec": 'no attribute "took_sec"',
    "IngestOptions(prun=True)": 'argument "prun"',
}


def test_a_wrong_name_in_a_users_file_is_an_error_for_mypy(tmp_path):
    """Other packages are skipped: only our names matter here, and torch takes a minute."""
    (tmp_path / "right.py").write_text(USER)
    (tmp_path / "wrong.py").write_text("\n".join([USER, *WRONG]))
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nstrict = true\nfollow_imports = skip\n"
        "[mypy-clipsearch,clipsearch.*]\nfollow_imports = silent\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "right.py", "wrong.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(Path(clipsearch.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    said = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert len(said) == len(WRONG), done.stdout + done.stderr
    for line, expected in zip(said, WRONG.values(), strict=True):
        assert line.startswith("wrong.py:")
        assert expected in line


def test_every_error_has_a_code_of_its_own_and_a_builtin():
    leaves = [
        error
        for name in errors.__all__
        if isinstance(error := getattr(errors, name), type)
        and issubclass(error, errors.ClipSearchError)
        and error is not errors.ClipSearchError
    ]
    codes = [error.code for error in leaves]
    assert len(set(codes)) == len(codes)
    for error in leaves:
        assert str(error("what happened")) == "what happened"
        assert len(error.__bases__) == 2
        assert error.code in (errors.__doc__ or "")
