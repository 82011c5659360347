"""Captions and metadata in files beside images: which belongs to which image, and what it says."""

from __future__ import annotations

import errno
import functools
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ..files import read_regular
from ..folding import caseless
from ..names import suffix_of
from ..passing import passing_of
from ..standards.description import Description, combined
from ..standards.json_document import describe_json, title_of
from ..standards.texts import MAX_TEXT, clean_text, decode
from ..standards.xmp import MAX_XMP_BYTES, describe_xmp
from .pairs import Pair

__all__ = [
    "LONE",
    "SIDECAR_SUFFIXES",
    "Sidecars",
    "described_paths",
    "read_beside",
    "remote_sidecars",
    "text_caption",
]

_TEXTS = (".txt", ".caption")
SIDECAR_SUFFIXES = frozenset({*_TEXTS, ".json", ".xmp"})
_MAX_BYTES = MAX_XMP_BYTES
_LABELS = re.compile(r"[\s\d.,:;+eE-]+")  # what annotation tools write beside images
_SUPPLEMENTAL = ".supplemental-metadata"
_TAKEOUT_LIMIT = 46  # characters that Google Takeout leaves of a name, before ".json"
_CUT = range(_TAKEOUT_LIMIT + 5, _TAKEOUT_LIMIT - 4, -1)  # with a number after it, fewer
_NUMBERED = re.compile(r"(.+)\((\d{1,5})\)", re.DOTALL)
# What Google Photos adds to the name of an edited photo, in the languages of its users.
_EDITED = (
    "-edited", "-effects", "-smile", "-mix", "-bearbeitet", "-edytowane", "-bewerkt", "-modificato",
    "-modifié", "-modifie", "-modifiée", "-ha editado", "-editado", "-editada", "-editat",
    "-編集済み", "-已编辑", "-已編輯", "-编辑", "-編輯", "-수정됨", "-redigerad", "-redigeret",
    "-redigert", "-muokattu", "-upraveno", "-upravené", "-szerkesztett", "-szerkesztve",
    "-отредактировано", "-измененный", "-змінено", "-düzenlendi", "-editované", "-επεξεργασμένη",
    "-แก้ไขแล้ว", "-đã chỉnh sửa", "-diedit",
)  # fmt: skip
_FOLDERS_KEPT = 32  # whose names are known while a list of paths is read
LONE = "text, JSON and XMP files without an image of their name beside them"
_UNREADABLE = "sidecars that cannot be read"
_NO_JSON = "JSON sidecars that are not valid JSON"
_NO_XMP = "XMP sidecars that are not valid XMP"
_NO_TEXT = "text sidecars that are not text"
_NO_WORDS = "text sidecars of numbers alone, which are no captions"
_TOO_LONG = f"captions over {MAX_TEXT:,} characters, which were ignored"
_TOO_LARGE = f"sidecars over {_MAX_BYTES // (1024 * 1024)} MB, which were ignored"
_OTHER_TITLE = "JSON sidecars with a cut name and the title of another image"

_NOTHING = Description()
Note = tuple[str, str]  # what was ignored, and the name of a file where it was


class Sidecars:
    """The sidecars of the images of one folder, found by its list of names.

    `photo.txt` and `photo.jpg.txt` belong to `photo.jpg`, whatever the case of their letters, as do
    `.caption`, `.json` and `.xmp`; one with the full name counts before one with the stem, which
    belongs to every image of that stem. Of Google Takeout, cut and numbered names are understood,
    and an edited photo has the sidecar of its original.

    Args:
        names: Of the files in the folder.
        suffixes: Lower-case suffixes of images.
        read: Returns the bytes of a file by its name, at most so many and one more; what it cannot
            read is noted.
    """

    def __init__(
        self,
        names: Iterable[str],
        suffixes: Collection[str],
        read: Callable[[str, int], bytes],
    ) -> None:
        self._read = read
        self._of: dict[str, list[str]] = {}
        self._unread: set[str] = set()  # images of whose sidecars one may be read another time
        images: list[str] = []
        sidecars: list[tuple[str, str, str]] = []
        for name in names:
            stem, suffix = os.path.splitext(name)
            suffix = suffix.lower()
            if suffix in SIDECAR_SUFFIXES:
                sidecars.append((name, stem, suffix))
            elif suffix in suffixes:
                images.append(name)
        if sidecars:
            self._match(images, sidecars)
        self._used = {name for found in self._of.values() for name in found}

    def belongs(self, name: str) -> bool:
        """Whether a file is the sidecar of an image."""
        return name in self._used

    def of(self, name: str) -> tuple[Description, tuple[Note, ...]]:
        """What the sidecars of an image say, and what in them was ignored."""
        found = self._of.get(name)
        if not found:
            return _NOTHING, ()
        notes: list[Note] = []
        said: dict[str, list[Description]] = {suffix: [] for suffix in SIDECAR_SUFFIXES}
        for sidecar in found:
            suffix = suffix_of(sidecar)
            said[suffix].append(self._described(sidecar, suffix, name, notes))
        texts = [one for suffix in _TEXTS for one in said[suffix]]
        own_names = (name, os.path.splitext(name)[0])
        captions = [
            one.caption
            for one in (*texts, *said[".json"], *said[".xmp"])
            if one.caption and one.caption not in own_names
        ]
        # The times of XMP are local ones, those of Google Takeout are not.
        merged = combined([*said[".xmp"], *said[".json"]])
        return replace(merged, caption=next(iter(captions), None)), tuple(notes)

    def pair(self, path: str, name: str | None = None) -> Pair:
        """The pair of an image file with what its sidecars say.

        Args:
            path: Its path, which is its key too.
            name: Its name, where the path does not end with it, as in an archive.
        """
        name = name or path.rpartition("/")[2]
        if name not in self._of:
            return Pair(key=path, image=path, caption_from="sidecar", sidecar=_NOTHING, beside="")
        said, notes = self.of(name)
        return Pair(
            key=path,
            image=path,
            caption=said.caption,
            caption_from="sidecar",
            sidecar=said,
            beside=said.digest() or "",
            notes=notes,
            passing="trouble" if name in self._unread else None,
        )

    # --- matching -------------------------------------------------------------------------------

    def _match(self, images: list[str], sidecars: list[tuple[str, str, str]]) -> None:
        by_name: dict[str, list[str]] = {}  # folded name without the suffix -> sidecars
        takeout: dict[tuple[str, str], list[str]] = {}  # image's name and number -> sidecars
        for name, stem, suffix in sorted(sidecars):
            by_name.setdefault(caseless(stem), []).append(name)
            if suffix == ".json":
                for key in _takeout_keys(caseless(stem)):
                    takeout.setdefault(key, []).append(name)
        there = {caseless(image) for image in images}
        for image in images:
            found = dict.fromkeys(self._beside(image, by_name, there))
            if takeout and not any(name.lower().endswith(".json") for name in found):
                found |= dict.fromkeys(_of_takeout(caseless(image), takeout))
            if found:
                self._of[image] = list(found)

    @staticmethod
    def _beside(
        image: str, by_name: dict[str, list[str]], images: Collection[str]
    ) -> Iterator[str]:
        """Sidecars of the full name, then of the stem; those of the same case where there are."""
        stem = os.path.splitext(image)[0]
        for wanted in (image,) if caseless(stem) in images else (image, stem):
            found = by_name.get(caseless(wanted), ())
            same = [name for name in found if os.path.splitext(name)[0] == wanted]
            yield from same or found

    # --- reading --------------------------------------------------------------------------------

    def _described(self, sidecar: str, suffix: str, image: str, notes: list[Note]) -> Description:
        try:
            data = self._read(sidecar, _MAX_BYTES)
        except (OSError, ValueError) as exc:
            if getattr(exc, "errno", None) == errno.EFBIG:
                notes.append((_TOO_LARGE, sidecar))
                return Description()
            if passing_of(exc):
                self._unread.add(image)
            notes.append((_UNREADABLE, f"{sidecar}: {getattr(exc, 'strerror', None) or exc}"))
            return Description()
        if not data.strip(b"\0 \t\r\n"):
            return Description()
        if len(data) > _MAX_BYTES:
            notes.append((_TOO_LARGE, sidecar))
        elif suffix == ".json":
            return self._of_json(data, sidecar, image, notes)
        elif suffix == ".xmp":
            found = describe_xmp(data)
            if found is not None:
                return found
            notes.append((_NO_XMP, sidecar))
        else:
            return Description(caption=text_caption(data, sidecar, notes))
        return Description()

    @staticmethod
    def _of_json(data: bytes, sidecar: str, image: str, notes: list[Note]) -> Description:
        text = decode(data)
        try:
            document: Any = json.loads(text.text) if text is not None else None
        except (ValueError, RecursionError):
            text = None
        if text is None:
            notes.append((_NO_JSON, sidecar))
            return Description()
        if not _may_be_of(document, sidecar, image):
            notes.append((_OTHER_TITLE, sidecar))
            return Description()
        return describe_json(document)


def read_beside(folder: str) -> Callable[[str, int], bytes]:
    """What reads the files of a folder on this machine: regular ones, so that it never waits."""

    def read(name: str, most: int) -> bytes:
        return read_regular(os.path.join(folder, name), most)

    return read


def described_paths(suffixes: Collection[str]) -> Callable[[str], Pair]:
    """What makes pairs of absolute paths, with their sidecars; it lists each folder once.

    Args:
        suffixes: Lower-case suffixes of images.
    """

    @functools.lru_cache(_FOLDERS_KEPT)
    def beside(folder: str) -> Sidecars:
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            names = []
        return Sidecars(names, suffixes, read_beside(folder))

    return lambda path: beside(os.path.dirname(path)).pair(path)


def remote_sidecars(
    paths: Sequence[str],
    suffixes: Collection[str],
    read: Callable[[str], tuple[bytes | None, str | None]],
) -> Callable[[str], Sidecars]:
    """What finds the sidecars of one folder among the paths below a URL or in an archive.

    Args:
        paths: Relative to it, with slashes.
        suffixes: Lower-case suffixes of images.
        read: Returns the bytes of a path, or the reason why there are none.
    """
    names: dict[str, list[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        names.setdefault(folder, []).append(name)

    @functools.lru_cache(_FOLDERS_KEPT)
    def beside(folder: str) -> Sidecars:
        def read_name(name: str, most: int) -> bytes:
            data, reason = read(f"{folder}/{name}" if folder else name)
            if data is None:
                raise OSError(reason)
            return data[: most + 1]

        return Sidecars(names[folder], suffixes, read_name)

    return beside


def text_caption(data: bytes, sidecar: str, notes: list[Note]) -> str | None:
    """The caption in a text file; `notes` takes why there is none, or that it was guessed."""
    found = decode(data)
    if found is None:
        notes.append((_NO_TEXT, sidecar))
        return None
    if len(found.text) > MAX_TEXT:
        notes.append((_TOO_LONG, sidecar))
        return None
    if found.text.strip() and _LABELS.fullmatch(found.text):
        notes.append((_NO_WORDS, sidecar))
        return None
    if found.guessed:
        notes.append((f"captions whose encoding was guessed as {found.encoding}", sidecar))
    return clean_text(found.text)


def _takeout_keys(stem: str) -> Iterator[tuple[str, str]]:
    """The images that a JSON file of Google Takeout may be of: name without number, and number."""
    numbered = _NUMBERED.fullmatch(stem)
    name, number = (numbered[1], numbered[2]) if numbered else (stem, "")
    yield name, number
    cut, dot, rest = name.rpartition(".")
    if dot and _SUPPLEMENTAL.startswith(dot + rest):
        yield cut, number


def _of_takeout(image: str, takeout: dict[tuple[str, str], list[str]]) -> list[str]:
    """The JSON files of an image, or of the original of an edited one."""
    stem, suffix = os.path.splitext(image)
    numbered = _NUMBERED.fullmatch(stem)
    plain, number = (numbered[1], numbered[2]) if numbered else (stem, "")
    original = _unedited(plain)
    for base in (plain, original) if original else (plain,):
        if found := takeout.get((base + suffix, number)):
            return found
        full = base + suffix
        for length in _CUT:
            if length < len(full) and (found := takeout.get((full[:length], number))):
                return found
    if original:  # of another format, as edited HEIC is
        for other in (".heic", ".heif", ".jpg", ".jpeg", ".png", ".dng", ".webp"):
            if found := takeout.get((original + other, number)):
                return found
    return []


def _unedited(stem: str) -> str | None:
    """The stem of the original of an edited photo; long ones are cut within the mark."""
    for mark in _EDITED:
        if stem.endswith(mark):
            return stem.removesuffix(mark)
    if len(stem) >= _TAKEOUT_LIMIT:
        head, dash, rest = stem.rpartition("-")
        if dash and rest and any(mark.startswith(dash + rest) for mark in _EDITED):
            return head
    return None


def _may_be_of(document: Any, sidecar: str, image: str) -> bool:
    """Whether a sidecar whose name is cut is of an image, as far as its title says."""
    title = title_of(document)
    stem = os.path.splitext(sidecar)[0]
    if title is None or len(stem) < _TAKEOUT_LIMIT - 3 or caseless(image) in caseless(stem):
        return True
    plain = _NUMBERED.sub(r"\1", os.path.splitext(caseless(image))[0])
    plain = _unedited(plain) or plain
    return _letters(title).startswith(_letters(plain)[: _TAKEOUT_LIMIT + 1])


def _letters(name: str) -> str:
    """A name without the signs that Google Takeout replaces."""
    return re.sub(r"[\W_]", "_", caseless(name))
