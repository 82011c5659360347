"""What a folder or archive leaves out: litter, excluded names, what `.clipsearchignore` says.

Litter is what file servers, systems and photo programs leave beside photos: thumbnails, deleted
files, snapshots, previews. Only what lies below a source is judged, never the source itself, so a
recycle bin that is named as a source is taken.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import lru_cache
from typing import Any

from ..files import open_regular
from ..folding import nfc
from ..images import image_suffixes
from ..limits import over
from ..names import shown, suffix_of
from .pairs import Source

__all__ = [
    "EXCLUDED",
    "IGNORE_FILE",
    "LEFT_OUT",
    "Ignores",
    "LeftOut",
    "RuledSource",
    "Rules",
    "Tally",
    "litter",
    "settled",
]

IGNORE_FILE = ".clipsearchignore"
LEFT_OUT = "left out: "  # begins the reason of a member that is
EXCLUDED = "--exclude"  # what a file that matches a pattern is left out by
_MOST_COUNTED = 10_000  # files in litter; a file server may keep hundreds of snapshots
_MOST_NAMED = 6
_MOST_IGNORE_BYTES = 1024 * 1024
_MOST_PATTERN = 4096  # characters, as a path has at most
_ANYWHERE, _BETWEEN = "^(?:.+/)?", "(?:/.+)?"  # `**/` and `/**` in expressions of pathspec's
# A star in an expression of pathspec's, up to the next one in the same name.
_STAR_AND_STAR = re.compile(
    r"\[\^/\]\*((?:\\[^/]|\[[^\]]*\](?!\*)|[^\\\[\]()/*+?|^$])+)(?=\[\^/\]\*)"
)
_FOLDER_MARK = "ps_d"  # the group in pathspec's expressions that a folder's slash matches
_MOST_FOLDERS = 10_000  # whose ignore files are kept in mind

# Folders, whatever their case: of Synology, QNAP and NetApp, macOS and netatalk, Windows, Linux,
# iTunes, GoodSync and Nextcloud. Names that begin with a dot are left out in any case.
_FOLDERS = frozenset(
    {
        "@eadir", "#recycle", "#snapshot",
        "@recycle", "@recently-snapshot", "@__thumb",
        "~snapshot",
        "__macosx", "network trash folder", "thevolumesettingsfolder",
        "$recycle.bin", "system volume information",
        "lost+found",
        "ipod photo cache",
        "_gsdata_",
        "files_trashbin", "files_versions",
    }
)  # fmt: skip
_WINDOWS_BINS = frozenset({"RECYCLER", "RECYCLED"})  # in lower case they may be anybody's
_PREVIEWS = (".lrdata", ".lrcat-data")  # of Lightroom
# Libraries of photo programs: the folders in them that hold what the person put in.
_LIBRARIES = {
    ".photoslibrary": ("originals", "masters"),
    ".photolibrary": ("originals", "masters"),
    ".migratedphotolibrary": ("originals", "masters"),
    ".aplibrary": ("masters",),
    ".migratedaplibrary": ("masters",),
    ".cocatalog": ("originals",),
}
_IPHOTO = "iphoto library"  # which has no suffix in older versions
_HIDDEN = "hidden "
_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})  # no photos: not counted
# Names with a dot that a person would know; others are called hidden.
_KNOWN_HIDDEN = frozenset(
    {
        ".trash", ".trashes", ".spotlight-v100", ".fseventsd", ".documentrevisions-v100",
        ".temporaryitems", ".appledouble", ".@__thumb", ".thumbnails", ".thumbs", ".cache",
        ".dtrash", ".stversions", ".sync", ".git", ".svn", ".hg", ".picasaoriginals", ".recycle",
        ".recycle.bin", ".snapshot", ".snapshots", ".zfs", ".xvpics", ".dropbox.cache",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rules:
    """What a person asks to be left out; None where nothing is said of it.

    Attributes:
        exclude: Shell patterns of names, or of paths relative to the source.
        all_files: Whether hidden files and litter are taken.
    """

    exclude: tuple[str, ...] | None = None
    all_files: bool | None = None

    @classmethod
    def of(cls, exclude: Iterable[str] | None, all_files: bool | None) -> Rules:
        """Rules as options give them: no patterns, or empty ones, are a word as well."""
        if exclude is None:
            return cls(None, all_files)
        return cls(
            tuple(pattern.rstrip("/") or pattern for pattern in exclude if pattern), all_files
        )


class RuledSource(Source):
    """A source that leaves things out.

    Attributes:
        place: What its rules are remembered under: a folder or an archive.
        asked: The rules that were given for it; with those of earlier runs they are settled
            before it is read.
        tally: What was left out.
    """

    place: str
    asked: Rules
    tally: Tally

    def settle(self, rules: Rules, base: str | None = None) -> None:
        """Let these rules count.

        Args:
            rules: The rules.
            base: The folder that relative patterns start from, where that is one above.
        """
        raise NotImplementedError

    def remarks(self) -> list[str]:
        """What was left out as litter, once the source has been read."""
        return self.tally.remarks()


@dataclass(slots=True)
class Tally:
    """Counts the files that are left out as litter."""

    counts: Counter[str] = field(default_factory=Counter)
    oddities: list[str] = field(default_factory=list)  # what is wrong with an ignore file
    capped: bool = False

    def left_out(self, reason: str, path: str, *, is_folder: bool) -> None:
        """Count what is left out for a reason, if a person might miss it."""
        if not is_folder:
            if suffix_of(path) in image_suffixes():
                self.file_left_out(reason, path)
        elif reason not in (EXCLUDED, IGNORE_FILE):
            self._add_folder(reason, path)

    def file_left_out(self, reason: str, path: str) -> None:
        """Count one file of litter, or an image that is hidden."""
        if reason in (EXCLUDED, IGNORE_FILE):
            return
        if not _is_hidden(reason) or suffix_of(path) in image_suffixes():
            self.counts[reason] += 1

    def _add_folder(self, label: str, folder: str) -> None:
        """Count the files below a folder, as far as that is quick; of hidden ones, the images."""
        suffixes = image_suffixes() if _is_hidden(label) else None
        if suffixes is None:
            self.counts[label] += 0  # named even if nothing is counted any more
        folders = [folder]
        while folders and not self.capped:
            try:
                with os.scandir(folders.pop()) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        elif suffixes is None or suffix_of(entry.name) in suffixes:
                            self.counts[label] += 1
                    self.capped = self.counts.total() > _MOST_COUNTED
            except OSError:
                continue

    def remarks(self) -> list[str]:
        """One line that names what was left out, and how to have it."""
        total = self.counts.total()
        told = list(dict.fromkeys(self.oddities))[:_MOST_NAMED]
        if not total:
            return told
        names = [shown(name) for name in self.counts]
        if len(names) > _MOST_NAMED:
            names = [*names[: _MOST_NAMED - 1], f"{len(names) - _MOST_NAMED + 1} other places"]
        many = f"more than {_MOST_COUNTED:,}" if self.capped else f"{total:,}"
        files, them = ("file", "it") if total == 1 else ("files", "them")
        told.append(f"skipped {many} {files} in {', '.join(names)}; --all-files takes {them}")
        return told


def _is_hidden(reason: str) -> bool:
    return reason.startswith((_HIDDEN, "."))


def litter(name: str, parents: Sequence[str], *, is_folder: bool) -> str | None:
    """What to call a file or folder that is hidden or litter; None for any other.

    Args:
        name: Its name.
        parents: Names of the folders that it lies in, below the source, outermost first.
        is_folder: Whether it is a folder.
    """
    if name.startswith("."):
        if name.startswith("._"):
            return "._*"
        if name.lower() in _KNOWN_HIDDEN or name.lower().startswith(".trash-"):
            return name
        return f"{_HIDDEN}folders" if is_folder else f"{_HIDDEN}files"
    parent = parents[-1] if parents else ""
    kept = _library(parent.lower())
    if kept is not None and name.lower() not in kept:
        return parent
    if not is_folder:
        return name if name.lower() in _FILES else None
    low = name.lower()
    if low in _FOLDERS or name in _WINDOWS_BINS or low.endswith(_PREVIEWS):
        return name
    if low == "cache" and parent.lower() == "captureone":
        return "CaptureOne/Cache"
    if low == "preview" and parent.lower().startswith("appdata_"):  # of Nextcloud
        return f"{parent}/{name}"
    if low == "previews" and any(p.lower().endswith(".lrlibrary") for p in parents):
        return name
    return None


@lru_cache(maxsize=1024)
def _library(low: str) -> tuple[str, ...] | None:
    """Which folders of a photo program's library are taken; None for any other folder."""
    if low == _IPHOTO:
        return ("originals", "masters")
    return _LIBRARIES.get(suffix_of(low))


class Ignores:
    """The `.clipsearchignore` files that hold for one folder: its own, and those above it.

    A folder's own file is asked first, and the last pattern of a file that fits decides, as in git.
    """

    def __init__(
        self,
        above: Ignores | None = None,
        folder: str = "",
        patterns: Sequence[tuple[Any, bool]] = (),
    ) -> None:
        self._above = above
        self._start = folder.rstrip("/") + "/"
        self._patterns = patterns  # the last one first

    @classmethod
    def above(cls, folder: str, tally: Tally) -> Ignores:
        """Those in the folders above one, which hold for it too."""
        ignores = cls()
        for upper in reversed(list(_and_above(folder))[1:]):
            ignores = ignores.within(upper, tally)
        return ignores

    def within(self, folder: str, tally: Tally) -> Ignores:
        """Those that hold for the entries of a folder, which may have an ignore file."""
        path = os.path.join(folder, IGNORE_FILE)
        return Ignores(self, folder, _read_patterns(path, tally)) if os.path.isfile(path) else self

    def leave_out(self, path: str, *, is_folder: bool) -> bool:
        """Whether a file or folder is ignored, given that the folders above it are not."""
        at: Ignores | None = self
        while at is not None:
            if path.startswith(at._start):
                relative = path[len(at._start) :]
                for pattern, folders_only in at._patterns:
                    if (is_folder or not folders_only) and _fits(pattern, relative, is_folder):
                        return bool(pattern.include)
            at = at._above
        return False


def _fits(pattern: Any, path: str, is_folder: bool) -> bool:
    """Whether a pattern fits a file or folder itself, and not only a folder above it.

    `GitIgnoreSpec.check_file` answers for a file with all folders above it, which are judged
    one by one here, as git does.
    """
    if pattern.include is None:  # a comment
        return False
    found = pattern.regex.search(path)
    if found is not None and not found.groupdict().get(_FOLDER_MARK):
        return True
    return is_folder and any(
        found.groupdict().get(_FOLDER_MARK) and found.end(_FOLDER_MARK) == len(path) + 1
        for found in pattern.regex.finditer(path + "/")
    )


def _bounded(pattern: Any) -> Any:
    """A pattern whose expression takes few steps, however many stars it has.

    What comes first after a star may be taken for good as long as another star follows, as
    `fnmatch` does; else each star multiplies the ways to try. So it is with `**` and folders.
    """
    if pattern.include is not None:
        text = re.sub(r"(?:\[\^/\]\*){2,}", "[^/]*", pattern.regex.pattern)
        text = _STAR_AND_STAR.sub(r"(?>[^/]*?\1)", text)
        *parts, last = text.split(_BETWEEN)
        if parts and parts[0].startswith(_ANYWHERE):
            parts[0] = f"^(?>(?:.+?/)??{parts[0].removeprefix(_ANYWHERE)}(?=/))"
        parts[1:] = [f"(?>(?:/.+?)??{part}(?=/))" for part in parts[1:]]
        pattern.regex = re.compile("".join(parts) + (_BETWEEN if parts else "") + last)
    return pattern


def _read_patterns(path: str, tally: Tally) -> list[tuple[Any, bool]]:
    """The patterns of an ignore file, the last one first, and whether each is for folders only."""
    from pathspec import GitIgnoreSpec

    try:
        with open_regular(path) as file:
            data = file.read(_MOST_IGNORE_BYTES + 1)
    except OSError as exc:
        tally.oddities.append(f"cannot read {shown(path)}: {exc.strerror}")
        return []
    if len(data) > _MOST_IGNORE_BYTES:
        tally.oddities.append(f"{shown(path)} is {over(_MOST_IGNORE_BYTES)}, and was cut there")
    lines = os.fsdecode(data.removeprefix(b"\xef\xbb\xbf")).split("\n")
    patterns: list[tuple[Any, bool]] = []
    for number, line in enumerate((line.removesuffix("\r") for line in lines), 1):
        try:
            if len(line) > _MOST_PATTERN:
                raise ValueError
            for pattern in GitIgnoreSpec.from_lines([line]).patterns:
                patterns.append((_bounded(pattern), line.rstrip(" ").endswith("/")))
        except ValueError:
            tally.oddities.append(f"line {number} of {shown(path)} is no pattern")
    return patterns[::-1]


class LeftOut:
    """Judges the entries of a tree by its rules.

    Args:
        top: The folder or archive; it is never left out itself.
        rules: What counts.
        base: The folder that relative patterns start from, where that is one above.
    """

    def __init__(self, top: str, rules: Rules, base: str | None = None) -> None:
        self._top = top
        self._start = (base or top).rstrip("/") + "/"
        self._exclude = tuple(nfc(pattern) for pattern in rules.exclude or ())
        self.takes_all = bool(rules.all_files)
        self._ignores: dict[str, Ignores] = {}  # by folder

    def reason(self, path: str, *, is_folder: bool, ignores: Ignores | None = None) -> str | None:
        """Why a file or folder is left out, given that the folders above it are not; or None.

        Args:
            path: Its path, below the top.
            is_folder: Whether it is a folder.
            ignores: The ignore files of its folder.
        """
        relative = path.removeprefix(self._start)
        *parents, name = relative.split("/")
        if self._exclude and self._is_excluded(nfc(name), nfc(relative)):
            return EXCLUDED
        if name == IGNORE_FILE or (
            ignores is not None and ignores.leave_out(path, is_folder=is_folder)
        ):
            return IGNORE_FILE
        if self.takes_all:
            return None
        return litter(name, parents or [os.path.basename(self._top)], is_folder=is_folder)

    def _is_excluded(self, name: str, relative: str) -> bool:
        return any(fnmatch(name, p) or fnmatch(relative, p) for p in self._exclude)

    def of_path(self, path: str) -> str | None:
        """Why a file is left out, by its own name or a folder above it; ignore files do not count.

        Args:
            path: Relative to the top.
        """
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        top = self._top.rstrip("/")
        for at in range(len(parts)):
            found = self.reason(f"{top}/{'/'.join(parts[: at + 1])}", is_folder=at < len(parts) - 1)
            if found is not None:
                return found
        return None

    def on_the_way(self, path: str, *, is_folder: bool = False) -> str | None:
        """Why what lies below the top is left out, by its own name or by a folder above it."""
        here = self._top.rstrip("/")
        parts = path.removeprefix(here + "/").split("/")
        for at, name in enumerate(parts):
            ignores = self._ignores_of(here)
            here = f"{here}/{name}"
            found = self.reason(here, is_folder=is_folder or at < len(parts) - 1, ignores=ignores)
            if found is not None:
                return found
        return None

    def _ignores_of(self, folder: str) -> Ignores:
        if folder not in self._ignores:
            if len(self._ignores) > _MOST_FOLDERS:
                self._ignores.clear()
            tally = Tally()
            upper = os.path.dirname(folder)
            above = (
                Ignores.above(folder, tally)
                if folder == self._top.rstrip("/") or folder == upper
                else self._ignores_of(upper)
            )
            self._ignores[folder] = above.within(folder, tally)
        return self._ignores[folder]


def settled(
    asked: Rules, place: str, remembered: Mapping[str, Mapping[str, Any]]
) -> tuple[Rules, str | None, dict[str, Any] | None, list[str]]:
    """The rules that count for a source, from those given now and those of earlier runs.

    Args:
        asked: Those given now.
        place: The folder or archive.
        remembered: Rules of earlier runs by folder or archive.

    Returns:
        The rules; the place that remembered patterns are relative to, if any count; what is to be
        remembered of this place from now on, empty to forget it, or None for no change; and notes.
    """
    above = next((p for p in _and_above(place) if p in remembered), None)
    known = remembered[above] if above is not None else {}
    before = Rules(tuple(known.get("exclude", ())), bool(known.get("all_files", False)))
    notes, base = [], None
    if asked.exclude is None and before.exclude:
        base = above
        patterns = ", ".join(f"'{shown(pattern)}'" for pattern in before.exclude)
        notes.append(f"--exclude {patterns} as in an earlier run; --exclude '' forgets it")
    if asked.all_files is None and before.all_files:
        notes.append("--all-files as in an earlier run; --no-all-files forgets it")
    rules = Rules(
        before.exclude if asked.exclude is None else asked.exclude,
        before.all_files if asked.all_files is None else asked.all_files,
    )
    if asked == Rules() or rules == before:
        return rules, base, None, notes
    change = {"exclude": list(rules.exclude or ()), "all_files": bool(rules.all_files)}
    return rules, base, change if any(change.values()) or above != place else {}, notes


def _and_above(place: str) -> Iterator[str]:
    """A folder and those above it, the nearest first; of anything else only itself."""
    yield place
    while place.startswith("/") and place != "/":
        place = os.path.dirname(place)
        yield place
