"""Where indexes live, and how a short name becomes a folder."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import IndexNotFoundError, InvalidInputError
from .files import as_on_disk, expanded, users_folder

__all__ = ["HOME_VARIABLE", "existing_index", "home", "index_names", "index_path"]

HOME_VARIABLE = "CLIPSEARCH_INDEXES"
_CATALOG = "catalog.sqlite"


def home() -> Path:
    """The folder that holds named indexes.

    `$CLIPSEARCH_INDEXES` if set; else `indexes/` of the source checkout that clipsearch runs
    from; else `clipsearch/indexes` in the user's data folder.
    """
    if os.environ.get(HOME_VARIABLE):
        return expanded(os.environ[HOME_VARIABLE]).absolute()
    checkout = Path(__file__).resolve().parents[1] / "indexes"
    if (checkout / "README.md").is_file():
        return checkout
    data = users_folder("XDG_DATA_HOME", "~/.local/share")
    if data is None:
        raise InvalidInputError(
            f"there is no home folder to keep indexes in; set {HOME_VARIABLE} to a folder"
        )
    return data / "clipsearch" / "indexes"


def index_path(name: str | os.PathLike[str]) -> Path:
    """The folder of an index: a name lives in `home()`, anything with a slash is a path."""
    text = os.fspath(name)
    if not text.strip() or "\0" in text:
        raise InvalidInputError(f"an index needs a name or a folder, not {text!r}")
    if os.sep in text or text in (".", ".."):
        return expanded(text).absolute()
    return home() / text


def index_names() -> list[str]:
    """Names of the indexes in `home()`, sorted."""
    folder = home()
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if (entry / _CATALOG).is_file())


def existing_index(name: str | None) -> Path:
    """The folder of an index that exists; without a name, the only one there is.

    Raises:
        IndexNotFoundError: There is none of that name; the message lists the ones there are.
        InvalidInputError: No name was given, and there are several.
    """
    names = index_names()
    if name is None:
        if len(names) == 1:
            return home() / names[0]
        if names:
            raise InvalidInputError(f"which index? choose one with -i: {', '.join(names)}")
        raise IndexNotFoundError(
            f"no index in {home()} yet; make one with: clipsearch index ~/Pictures -i photos"
        )
    path = as_on_disk(index_path(name))
    # An index that has lost its catalog is let through, for opening it says what to do.
    if not (path / _CATALOG).is_file() and not (path / "vectors").is_dir():
        there = f"there are: {', '.join(names)}" if names else "there is none yet"
        raise IndexNotFoundError(
            f"no index called {name!r} ({there}); make it with: clipsearch index FOLDER -i {name}"
        )
    return path
