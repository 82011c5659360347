"""What a person gives to look for: words, or an image by its path, its URL or standard input."""

from __future__ import annotations

import math
import os
import re
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..errors import InvalidInputError
from ..files import as_on_disk, expanded
from ..limits import MAX_IMAGE_BYTES
from ..names import shell_word
from ..query import Query
from .fetch import fetch_image, without_secrets
from .output import note

__all__ = ["ReceivedImage", "image", "item", "words"]

_STDIN = "-"
_URL = re.compile(r"https?://\S+", re.I)
_FILE_URI = re.compile(r"file:/", re.I)
# ./x, ../x, ~/x, ~name/x, C:\x, \\server\x
_ROOTED = re.compile(r"\.{1,2}[/\\]|~[\w.-]*[/\\]|[A-Za-z]:[\\/](?!/)|\\\\[^\\\s]")
_SEPARATOR = re.compile(r"[/\\]")
_SUFFIX = re.compile(r"\.(?=\w*[A-Za-z])\w{2,5}")


class ReceivedImage(bytes):
    """The bytes of an image that came from elsewhere than a file, with what it was called."""

    name: str = ""


def words(given: str, *, weighed: bool = True) -> Query:
    """Words to look for; what is the path or URL of an image instead is looked for as an image.

    Args:
        given: What was typed.
        weighed: Whether it may end in ^ and a weight.

    Raises:
        InvalidInputError: It looks like a path, and no file is there.
    """
    for text, weight in _readings(given) if weighed else [(given, 1.0)]:
        if text == _STDIN or _URL.fullmatch(text):
            found = image(text) * weight
            note(f"note: searching by the image {_shown(text)}")
            return found
        path = _path_of(text)
        if path is not None and _is_file(path) and _may_be_path(text):
            note(f"note: searching by the image {path}, not by its name")
            return Query.image(path, weight)
    text, weight = _weighed(given) if weighed else (given, 1.0)
    path = _path_of(text)
    if path is not None and _SEPARATOR.search(text) and _is_folder(path):
        raise InvalidInputError(
            f"{text} is a folder, and a search takes an image file; to index the folder: "
            f"clipsearch index {shell_word(text)}"
        )
    if _looks_like_path(text):
        raise InvalidInputError(
            f"no file at {text}, which looks like the path of an image; check the path, or "
            "describe the image in words"
        )
    return Query.text(text, weight)


def image(given: str) -> Query:
    """An image by its path, its URL, or "-" for standard input, perhaps with ^ and a weight.

    Raises:
        InvalidInputError: There is no such file, or the image cannot be fetched.
    """
    for text, weight in _readings(given):  # whatever signs its name has
        if text == _STDIN:
            return Query.image(_received(_from_stdin(), "-"), weight)
        if _URL.fullmatch(text):
            return Query.image(_received(fetch_image(text), without_secrets(text)), weight)
        path = _path_of(text)
        if path is not None and _is_file(path):
            return Query.image(path, weight)
    name, _ = _weighed(given)
    raise InvalidInputError(f"no image file at {_path_of(name) or name}")


def item(given: str) -> Query:
    """An item by its id, perhaps with ^ and a weight."""
    number, weight = _weighed(given)
    if not number.isdecimal():
        raise InvalidInputError(f"--item takes an item ID as search prints it, not {number!r}")
    return Query.item(int(number), weight)


def _readings(given: str) -> list[tuple[str, float]]:
    """What was typed as a whole, and without the weight at its end; of a URL only the latter."""
    value, mark, weight = given.rpartition("^")
    try:
        number = float(weight) if mark else math.nan
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        return [(given, 1.0)]
    return [(value, number)] if _URL.match(given) else [(given, 1.0), (value, number)]


def _weighed(given: str) -> tuple[str, float]:
    """Split "at sunset^0.5" into words and weight; without a weight it is 1."""
    value, mark, weight = given.rpartition("^")
    if not mark:
        return given, 1.0
    try:
        number = float(weight)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise InvalidInputError(
            f"the weight after ^ must be a number above 0, as in 'cars^0.5', not {weight!r}"
        )
    return value, number


def _path_of(text: str) -> Path | None:
    """The path that a text may mean; None for one that no file can have."""
    if not text.strip() or "\0" in text:
        return None
    if _FILE_URI.match(text):
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            return None
        text = unquote(parts.path, errors="surrogateescape")
        if re.match(r"/[A-Za-z]:", text) and os.name == "nt":
            text = text[1:]
    try:
        return as_on_disk(expanded(text))
    except (OSError, ValueError):
        return Path(text)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _may_be_path(text: str) -> bool:
    """Whether a text that names a file means it; that a file is named `dog` is no reason."""
    return bool(_SEPARATOR.search(text) or _FILE_URI.match(text)) or _has_image_suffix(text)


def _looks_like_path(text: str) -> bool:
    """Whether a text is the path of an image rather than words such as "black/white" or "24/7"."""
    text = text.strip()
    if "\n" in text:
        return False
    if _ROOTED.match(text) or _FILE_URI.match(text):
        return True
    if text.startswith("/"):
        top = text.split("/")[1]
        return bool(_SUFFIX.fullmatch(Path(text).suffix)) or (
            top != "" and _is_folder(Path(f"/{top}"))
        )
    if not _SEPARATOR.search(text):
        return False
    spaces = re.search(r"\s", text) is not None
    return _has_image_suffix(text) or (not spaces and bool(_SUFFIX.fullmatch(Path(text).suffix)))


def _has_image_suffix(text: str) -> bool:
    from ..images import image_suffixes
    from ..rawfiles import RAW_SUFFIXES

    suffix = Path(text).suffix.lower()
    return suffix != "" and suffix in image_suffixes() | RAW_SUFFIXES | {".heic", ".heif", ".svg"}


def _shown(text: str) -> str:
    return "on standard input" if text == _STDIN else f"at {without_secrets(text)}"


def _received(data: bytes, name: str) -> ReceivedImage:
    found = ReceivedImage(data)
    found.name = name
    return found


def _from_stdin() -> bytes:
    if sys.stdin.isatty():
        raise InvalidInputError(
            "- means an image on standard input, which is a terminal; pipe one in: "
            "clipsearch search --image - < cat.jpg"
        )
    data = sys.stdin.buffer.read(MAX_IMAGE_BYTES + 1)
    if not data:
        raise InvalidInputError("there is no image on standard input")
    if len(data) > MAX_IMAGE_BYTES:
        raise InvalidInputError(
            f"the image on standard input is larger than {MAX_IMAGE_BYTES // 1024**2} MB"
        )
    return data
