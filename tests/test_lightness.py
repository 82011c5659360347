"""What importing costs, and what is public."""

from __future__ import annotations

import subprocess
import sys

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
        assert getattr(clipsearch, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = clipsearch.nonsense


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
