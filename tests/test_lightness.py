"""What importing costs, and what is public."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import clipsearch
from clipsearch import errors

HEAVY = {
    "faiss", "fastapi", "gradio", "open_clip", "pandas", "pyarrow", "scipy", "sklearn", "sqlglot",
    "torch",
}  # fmt: skip


@pytest.mark.parametrize("module", ["clipsearch", "clipsearch.cli", "clipsearch.index"])
def test_import_loads_nothing_heavy(module):
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_a_text_query_loads_nothing_heavy(encoder, photos, tmp_path, monkeypatch):
    """A small index is searched, and its query encoded, with numpy and SQLite alone."""
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "cache"))
    with clipsearch.Index.create(tmp_path / "index", encoder) as index:
        index.add([str(photo) for photo in photos[:3]])
    command = ["search", "a red bus", "-f", "paths", "-i", str(tmp_path / "index")]
    code = (
        "import contextlib, sys\n"
        "from clipsearch.cli import main\n"
        f"sys.argv = ['clipsearch', *{command!r}]\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "print('loaded', *sys.modules, sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    hits, _, modules = done.stdout.partition("loaded")
    assert set(hits.split()) == {str(photo) for photo in photos[:3]}
    assert not HEAVY & set(modules.split())


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
