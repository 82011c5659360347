"""A zip archive made while it is sent: one image in memory at a time, and no file on disk."""

from __future__ import annotations

import io
import re
import time
import zipfile
from collections.abc import Collection, Iterable, Iterator

from ..errors import ClipSearchError
from ..names import shown
from ..types import Item
from .image_files import original_image

__all__ = ["zipped"]

_MOST_LETTERS = 120  # of a name, so that it fits into any file system
_ODD = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')  # what Windows allows in no name
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}")
_YEARS = (1980, 2107)  # that a zip archive can say
_LEFT_OUT = "not-included.txt"


class _Window(io.RawIOBase):
    """What was written since the last look: a zip archive goes back within one member only."""

    def __init__(self) -> None:
        self._before = 0
        self._part = io.BytesIO()

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._before + self._part.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 0:
            offset -= self._before
        return self._before + self._part.seek(offset, whence)

    def write(self, data: object) -> int:
        return self._part.write(data)  # type: ignore[arg-type]

    def take(self) -> bytes:
        """The bytes since the last look; none of them is written again."""
        part = self._part.getvalue()
        self._before += len(part)
        self._part = io.BytesIO()
        return part


def zipped(items: Iterable[Item], roots: Collection[str]) -> Iterator[bytes]:
    """The parts of a zip archive of the files of images, stored as they were indexed.

    Names are unique, whatever the case of letters. Images that cannot be read, have changed or may
    not be shown are named in a text at the end of the archive.

    Args:
        items: The images, in order.
        roots: The folders whose files may be shown.
    """
    window = _Window()
    taken = {_LEFT_OUT}
    missing: list[str] = []
    with zipfile.ZipFile(window, "w", zipfile.ZIP_STORED) as archive:
        for item in items:
            try:
                data, kind = original_image(item, roots)
            except ClipSearchError:
                missing.append(_base(item))
                continue
            archive.writestr(zipfile.ZipInfo(_unique(item, kind, taken), _time(item)), data)
            del data
            yield window.take()
        if missing:
            head = "These images are gone, have changed, or lie in a folder that is not shown:\n\n"
            archive.writestr(_LEFT_OUT, head + "".join(f"{name}\n" for name in missing))
    yield window.take()


def _base(item: Item) -> str:
    """The last part of an item's path or key, as every system takes it for a name."""
    last = re.split(r"[/\\]", item.path or item.key)[-1]
    name = _ODD.sub("_", shown(last)).strip(" .") or str(item.id)
    return f"_{name}" if _RESERVED.fullmatch(name) else name


def _unique(item: Item, kind: str, taken: set[str]) -> str:
    name = _base(item)
    found = _ENDING.search(name, max(name.rfind("."), 0))
    whole = found is not None and found.end() == len(name)
    stem, ending = (name[: found.start()], found[0]) if found and whole else (name, f".{kind}")
    stem = stem[:_MOST_LETTERS]
    name, count = f"{stem}{ending}", 1
    while name.casefold() in taken:
        count += 1
        name = f"{stem} ({count}){ending}"
    taken.add(name.casefold())
    return name


def _time(item: Item) -> tuple[int, int, int, int, int, int]:
    when = time.localtime((item.mtime_ns or 0) / 1e9)
    year = min(max(when.tm_year, _YEARS[0]), _YEARS[1])
    return year, when.tm_mon, when.tm_mday, when.tm_hour, when.tm_min, when.tm_sec
