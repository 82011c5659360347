"""What was done on this machine: the folders that were indexed, and the models that were used.

An index may come from anywhere, so what it says of itself opens no file and loads no model. What
this user did here is kept outside of it, one small file each, that nobody else can read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from .files import expanded, replacing, users_folder

__all__ = [
    "STATE_VARIABLE",
    "indexed_folders",
    "is_below",
    "is_model_known",
    "remember_folders",
    "remember_model",
    "state_folder",
]

STATE_VARIABLE = "CLIPSEARCH_STATE"
_loaded: set[str] = set()  # models of this process, for a disk that refuses


def state_folder() -> Path:
    """`$CLIPSEARCH_STATE`, or `clipsearch` in the user's state folder (`$XDG_STATE_HOME`)."""
    if os.environ.get(STATE_VARIABLE):
        return expanded(os.environ[STATE_VARIABLE]).absolute()
    base = users_folder("XDG_STATE_HOME", "~/.local/state")
    return (base or Path(os.devnull)) / "clipsearch"  # in which nothing can be kept


def indexed_folders(index_id: str, folder: Path) -> tuple[str, ...]:
    """The folders, links resolved, whose files were indexed here into an index.

    Args:
        index_id: Of the index. A copy has the same one, so it does not suffice.
        folder: Of the index.
    """
    known = _read(_entry("indexed", index_id, os.path.realpath(folder)))
    folders = known.get("folders") if isinstance(known, dict) else None
    return tuple(map(str, folders)) if isinstance(folders, list) else ()


def remember_folders(index_id: str, folder: Path, folders: Collection[str]) -> None:
    """Add folders whose files are indexed here; those within others need not be told."""
    known = indexed_folders(index_id, folder)
    new = [one for one in folders if not is_below(one, known)]
    if new:
        place = os.path.realpath(folder)
        document = {"index": place, "folders": sorted({*known, *new})}
        _write(_entry("indexed", index_id, place), document)


def is_below(path: str, folders: Collection[str]) -> bool:
    """Whether a path is one of some folders, or lies within one; links are not looked at."""
    return any(
        path == folder or path.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders
    )


def is_model_known(name: str) -> bool:
    """Whether a model was loaded here before, because its name was given or its use allowed."""
    return _full(name) in _loaded or _entry("models", _full(name)).is_file()


def remember_model(name: str) -> None:
    """Remember that a model was loaded."""
    if not is_model_known(name):
        _loaded.add(_full(name))
        _write(_entry("models", _full(name)), {"model": _full(name)})


def _full(model: str) -> str:
    """A model's name, in which a path means the same from any folder."""
    kind, colon, path = model.partition(":")
    is_path = colon and kind != "hf-hub"
    return f"{kind}:{os.path.abspath(os.path.expanduser(path))}" if is_path else model


def _entry(kind: str, *parts: str) -> Path:
    digest = hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()
    return state_folder() / kind / f"{digest}.json"


def _read(path: Path) -> Any:
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return None


def _write(path: Path, document: Any) -> None:
    """Keep a document; where that is impossible, it has to be allowed again."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(path, durable=False) as part:
            part.touch(mode=0o600)
            part.write_text(json.dumps(document), encoding="utf-8")
