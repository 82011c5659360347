"""Which fingerprint a model's name means, found without loading the model.

It is noted when torch has loaded a model. A note counts as long as the files that the name points
to are those of then.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..cache import cached_key, read_entry, write_entry
from ..files import expanded

__all__ = ["known_fingerprint", "name_entry", "note_fingerprint"]

_FORMAT = 1


def name_entry(name: str) -> str | None:
    """Where it is noted what a name means, which changes with its files; None if they are gone."""
    try:
        return f"names/{cached_key(_FORMAT, name, _files(name))}.json"
    except OSError:
        return None


def known_fingerprint(entry: str | None) -> str | None:
    """The fingerprint of a model that was loaded here before; None if it may have changed."""
    data = None if entry is None else read_entry(entry)
    try:
        return None if data is None else str(json.loads(data)["fingerprint"])
    except (ValueError, TypeError, KeyError):
        return None


def note_fingerprint(entry: str | None, fingerprint: str) -> None:
    """Note what a name means.

    Args:
        entry: Of the name, found before the model was loaded, so that files that change meanwhile
            are not taken for those that were.
        fingerprint: Of the model.
    """
    if entry is not None:
        write_entry(entry, json.dumps({"fingerprint": fingerprint}).encode())


def _files(name: str) -> list[list[Any]]:
    """Paths of the files that a name points to on this machine, with what changes as they do."""
    kind, colon, place = name.partition(":")
    if kind == "hf-hub":
        return [_hub_revision(place)]
    if not colon:  # published weights, which never change
        return []
    path = expanded(place).absolute()
    files = sorted(path.iterdir()) if kind == "local-dir" else [path]
    return [_state(file) for file in files]


def _state(file: Path) -> list[Any]:
    state = file.stat()
    return [str(file), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]


def _hub_revision(repository: str) -> list[Any]:
    """The revision of a repository that the hub's cache holds, if it holds any."""
    home = os.environ.get("HF_HUB_CACHE") or os.path.join(
        os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface"), "hub"
    )
    main = Path(home, f"models--{repository.replace('/', '--')}", "refs", "main")
    try:
        return [main.read_text(encoding="utf-8")]
    except OSError:
        return []
