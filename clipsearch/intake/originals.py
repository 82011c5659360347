"""The files of indexed images, read only while they are what was indexed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Collection, Iterable
from typing import IO

from ..errors import ImageDecodeError, ItemNotFoundError
from ..files import open_regular
from ..known import is_below
from ..rawfiles import named
from ..types import Item
from .inside import file_around, read_inside

__all__ = [
    "check_indexed_here",
    "check_place",
    "hidden_items",
    "indexed_bytes",
    "original_file",
]

_MOST_BYTES = 2 * 1024**3  # of a file that is read into memory


def indexed_bytes(item: Item, *, roots: Collection[str] | None = None) -> bytes:
    """The bytes of an item's image, if they are still those that were indexed.

    So a file that was replaced, by a link to one outside the indexed folders for instance, is
    never shown under the name of the old one.

    Args:
        item: What the index knows.
        roots: The only folders, links resolved, whose files may be read, and only those with a
            known hash; None where the caller may see every file, as the user of this machine does.

    Raises:
        ItemNotFoundError: As `check_place`.
        ImageDecodeError: The item has no image file, or the file is gone, is no regular file
            any more, or has changed.
    """
    path = original_file(item)
    if path is None:
        raise ImageDecodeError(f"item {item.id} has no image file")
    if roots is not None and not item.sha256:
        raise ImageDecodeError(f"it is not known which bytes item {item.id} had; index it again")
    try:
        real = os.path.realpath(path)
        if not stat.S_ISREG(os.lstat(real).st_mode):  # opening a device may do something
            raise ImageDecodeError(_changed(item))
        with open_regular(real, follow=False) as file:  # it may become a link once it is resolved
            size = os.fstat(file.fileno()).st_size
            if roots is not None:  # of the file that is open: its path may have become another's
                _check_below(item, _path_of(file.fileno(), real), roots)
            if item.path is None and item.place is not None:
                data = _inside(item, item.place, file)
            elif item.size_bytes not in (None, size) or size > _MOST_BYTES:
                raise ImageDecodeError(_changed(item))
            else:
                data = named(file.read(size + 1), path)
    except OSError as exc:
        raise ImageDecodeError(f"the file of item {item.id} is gone or cannot be read") from exc
    if item.sha256 and hashlib.sha256(data).hexdigest() != item.sha256:
        raise ImageDecodeError(_changed(item))
    return data


def original_file(item: Item) -> str | None:
    """Path of the file that holds an item's image: its own, or the table or archive around it.

    Raises:
        ImageDecodeError: What the index says of its place is damaged.
    """
    path = item.path or (None if item.place is None else file_around(item.place))
    if path is not None and "\0" in path:
        raise ImageDecodeError(f"the path of item {item.id} is damaged")
    return path


def check_indexed_here(path: str, roots: Collection[str]) -> None:
    """Check that this machine indexed the folder of a file that an index names.

    The file itself may be a link to any place, as it was when it was indexed.

    Args:
        path: The file, which is not looked at.
        roots: The folders that were indexed here, links resolved.

    Raises:
        ImageDecodeError: It lies elsewhere, as in an index that came from another machine.
    """
    if "\0" in path or not is_below(os.path.realpath(os.path.dirname(path)), roots):
        raise ImageDecodeError(
            "its folder was not indexed on this machine; run `clipsearch index` on it"
        )


def check_place(item: Item, roots: Collection[str]) -> None:
    """Check that an item's image lies where images may be shown from.

    Args:
        item: What the index knows, which may be wrong on purpose.
        roots: The folders whose files may be shown, links resolved.

    Raises:
        ItemNotFoundError: The item has no file, or it lies elsewhere.
    """
    path = original_file(item)
    if path is None:
        raise ItemNotFoundError(f"item {item.id} has no image file")
    _check_below(item, os.path.realpath(path), roots)


def hidden_items(items: Iterable[Item], roots: Collection[str]) -> frozenset[int]:
    """The ids of those whose image files lie below none of `roots`, so that they are not shown.

    Links are looked at only where the path itself says no, for a folder may not answer.
    """
    hidden = set()
    for item in items:
        with contextlib.suppress(ImageDecodeError):  # whoever asks for its image is told
            path = original_file(item)
            if path is None or is_below(path, roots):
                continue
            if not roots or not is_below(os.path.realpath(path), roots):
                hidden.add(item.id)
    return frozenset(hidden)


def _check_below(item: Item, real: str, roots: Collection[str]) -> None:
    if not is_below(real, roots):
        raise ItemNotFoundError(
            f"the file of item {item.id} lies in no folder that was indexed on this machine; run "
            "`clipsearch index` on its folder, or start with --root FOLDER, to show it"
        )


def _path_of(descriptor: int, path: str) -> str:
    """Where an open file is now, on Linux; elsewhere what its path leads to."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return os.path.realpath(path)


def _inside(item: Item, place: str, file: IO[bytes]) -> bytes:
    try:
        return read_inside(place, file)
    except ImageDecodeError as exc:
        raise ImageDecodeError(_changed(item)) from exc


def _changed(item: Item) -> str:
    return f"the file of item {item.id} has changed since it was indexed; index it again"
