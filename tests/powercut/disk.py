"""What a power cut leaves of a folder, out of the recorded calls of the processes that wrote to it.

Only what was synced is certain. The rest is on the disk or not, in any order (Pillai et al., "All
File Systems Are Not Created Equal", OSDI 2014): every sector of a file by itself, every name of a
folder by itself; a rename happens as a whole. To sync a file does not sync its name, which is what
POSIX promises, and less than today's file systems do.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

_HEAD = struct.Struct("5q")


class Record(NamedTuple):
    """One call: kind, inode, position or length, the path or mark, and data or a second path."""

    kind: str
    inode: int
    number: int
    text: str
    data: bytes


def records(log: Path) -> Iterator[Record]:
    """What the shim has written."""
    data, at = log.read_bytes(), 0
    while at < len(data):
        kind, inode, number, first, second = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        text, content = data[at : at + first], data[at + first : at + first + second]
        yield Record(chr(kind), inode, number, os.fsdecode(text), content)
        at += first + second


@dataclass
class File:
    """The bytes that are certain, and the writes `(position, data)` and truncations since."""

    certain: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        self.certain = self.after(None)
        self.pending.clear()

    def after(self, dice: random.Random | None) -> bytes:
        """All of the writes, or with dice what a cut leaves of them."""
        sizes, steps = [len(self.certain)], len(self.pending)
        for at, data in self.pending:
            sizes.append(at if data is None else max(sizes[-1], at + len(data)))
        unit = dice.choice((512, 4096)) if dice else max(max(sizes), 1)
        last: dict[int, int] = {}  # how many of the writes a sector has seen

        def seen(sector: int) -> int:
            if dice is None:
                return steps
            return last.setdefault(sector, dice.choice((0, steps, dice.randint(0, steps))))

        out = bytearray(max(sizes))
        out[: len(self.certain)] = self.certain
        for step, (at, data) in enumerate(self.pending):
            end = len(out) if data is None else at + len(data)
            for sector in range(at // unit, -(-end // unit)):
                if step < seen(sector):
                    low, high = max(at, sector * unit), min(end, (sector + 1) * unit)
                    out[low:high] = (
                        bytes(high - low) if data is None else data[low - at : high - at]
                    )
        return bytes(out[: dice.choice(sizes) if dice else sizes[-1]])


@dataclass
class Folder:
    """The names that are certain, and the changes since: `(name to forget, name to give, what)`."""

    certain: dict[str, File | Folder] = field(default_factory=dict)
    pending: list[tuple[str, str, File | Folder | None]] = field(default_factory=list)

    def sync(self) -> None:
        self.certain = self.after(None)
        self.pending.clear()

    def after(self, dice: random.Random | None) -> dict[str, File | Folder]:
        names = dict(self.certain)
        share = dice.choice((0.1, 0.5, 0.9)) if dice else 1.0
        for gone, name, what in self.pending:
            if dice is None or dice.random() < share:
                names.pop(gone, None)
                if what is not None:
                    names[name] = what
        return names


class Disk:
    """Applies records; `write` makes what is left."""

    def __init__(self, root: Path, *, syncs: Callable[[str], bool] = lambda path: True) -> None:
        self._root = root
        self._syncs = syncs  # those of which paths count
        self.top = Folder()
        self._inodes: dict[int, tuple[str, File | Folder]] = {}

    def _find(self, path: str) -> tuple[Folder, str, File | Folder | None]:
        *folders, name = Path(path).relative_to(self._root).parts
        folder = self.top
        for part in folders:
            found = folder.after(None)[part]
            assert isinstance(found, Folder)
            folder = found
        return folder, name, folder.after(None).get(name)

    def apply(self, record: Record) -> None:
        kind, inode, number, text, data = record
        if kind in "OD":
            folder, name, known = self._find(text)
            if known is None or self._inodes.get(inode, ("", None))[1] is not known:
                new = File() if kind == "O" else Folder()
                folder.pending.append(("", name, new))
                self._inodes[inode] = text, new
        elif kind in "WT" and inode in self._inodes:
            file = self._inodes[inode][1]
            assert isinstance(file, File)
            file.pending.append((number, data if kind == "W" else None))
        elif kind == "S" and inode in self._inodes:
            path, what = self._inodes[inode]
            if self._syncs(path):
                what.sync()
        elif kind == "S" and self._syncs(str(self._root)):
            self.top.sync()  # the one folder that was there before
        elif kind == "U":
            folder, name, _ = self._find(text)
            folder.pending.append((name, "", None))
        elif kind == "R":
            folder, name, what = self._find(text)
            other, new, _ = self._find(os.fsdecode(data))
            assert folder is other, "no file is moved to another folder"
            folder.pending.append((name, new, what))
            for inode, (_, known) in self._inodes.items():
                if known is what:
                    self._inodes[inode] = os.fsdecode(data), known

    def write(self, target: Path, dice: random.Random | None) -> None:
        """Make a folder with what a cut leaves; without dice, with all that was written."""
        rule = dice.choice(("names", "data", "both", "both", "nothing")) if dice else ""
        _write(
            self.top,
            target,
            random.Random(dice.random()) if dice and rule != "data" else None,
            random.Random(dice.random()) if dice and rule != "names" else None,
            nothing=rule == "nothing",
        )


def _write(
    folder: Folder,
    target: Path,
    names: random.Random | None,
    data: random.Random | None,
    *,
    nothing: bool,
) -> None:
    target.mkdir()
    for name, what in (folder.certain if nothing else folder.after(names)).items():
        if isinstance(what, Folder):
            _write(what, target / name, names, data, nothing=nothing)
        else:
            (target / name).write_bytes(what.certain if nothing else what.after(data))
