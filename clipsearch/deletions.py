"""Which copies may be deleted because another one stays, which is looked at on disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .documents import duplicate_document
from .errors import ClipSearchError, ImageDecodeError
from .index import Index
from .intake.originals import check_indexed_here, indexed_bytes, original_file
from .intake.sights import Comparer
from .names import shown, stored
from .types import Duplicate, DuplicateKind, Item

__all__ = [
    "COLUMNS",
    "Deletion",
    "Reason",
    "deletion_document",
    "deletion_lines",
    "deletion_rows",
    "deletions",
]

Reason = Literal[
    "no_copy", "inside", "gone", "none_stays", "stays_gone", "same_file", "unknown", "differs",
    "smaller", "bytes", "pixels", "looks",
]  # fmt: skip
_SAFE: dict[DuplicateKind, Reason] = {"bytes": "bytes", "pixels": "pixels", "looks": "looks"}
_TOLD: dict[Reason, str] = {
    "no_copy": "it is in no group of copies",
    "inside": "it lies inside another file",
    "gone": "its own file is gone or has changed since it was indexed",
    "none_stays": "all of its copies are to be deleted too",
    "stays_gone": "{stays} is gone or has changed since it was indexed",
    "same_file": "{stays} is the same file on disk as one that is to be deleted",
    "unknown": "it could not be compared with {stays}",
    "differs": "it does not show the same picture as {stays}",
    "smaller": "{stays}, which looks like it, has fewer pixels: {size}",
    "bytes": "same bytes as {stays}, which is there",
    "pixels": "same pixels as {stays}, which is there: {size}",
    "looks": "looks like {stays}, which is there: {size}, cosine {score:.3f}",
}
COLUMNS = (
    "group", "score", "id", "path", "kind", "checked", "size_bytes", "width", "height", "sha256",
    "keep", "safe", "why", "stays", "stays_kind", "stays_score", "loses",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """What is lost if an image's file is deleted.

    Attributes:
        item: The image.
        reason: Why its file may be deleted ("bytes", "pixels", "looks": how it is like the one
            that stays), or why not.
        stays: The copy that stays, of which the index has the same bytes as the disk; where there
            is none, the copy that fails to.
        score: Cosine of the two.
        loses: What the index knows of the image and not of the one that stays.
    """

    item: Item
    reason: Reason
    stays: Item | None = None
    score: float | None = None
    loses: tuple[str, ...] = ()

    @property
    def is_safe(self) -> bool:
        """Whether its picture stays."""
        return self.reason in _SAFE.values()

    @property
    def why(self) -> str:
        """The reason in words."""
        values: dict[str, Any] = {}
        if self.stays is not None:
            values["stays"] = shown(_place(self.stays))
            values["size"] = f"{self.stays.width} x {self.stays.height}"
            values["score"] = self.score or 0.0
        return _TOLD[self.reason].format(**values)


def deletions(
    index: Index, groups: Sequence[Sequence[Duplicate]], marked: Collection[int] | None = None
) -> dict[int, Deletion]:
    """Say of images whether their files may be deleted because a copy stays.

    A copy stays if it is not to be deleted itself, and its file is there with the bytes that were
    indexed. Images that were not compared with it when the groups were made are compared now.

    Args:
        index: What holds them.
        groups: Its duplicates.
        marked: Ids of the images to delete; None for all of the groups that are not suggested to
            be kept. Ids that are not in the index are left out.

    Returns:
        By id, in the order of the groups; then those that are in none.
    """
    if marked is None:
        marked = {m.item.id for group in groups for m in group if m.keep is None}
    wanted = frozenset(marked)
    found: dict[int, Deletion] = {}
    alone = {*wanted} - {member.item.id for group in groups for member in group}
    items = [item for id_ in sorted(alone) for item in _item(index, id_)]
    together = [m.item for group in groups for m in group if m.item.id in wanted]
    files = _Files(index.indexed_folders())
    doomed = {place for item in (*together, *items) if (place := files.place(item)) is not None}
    with Comparer(index.indexed_folders()) as judge:
        for group in groups:
            chosen = [member for member in group if member.item.id in wanted]
            stay = sorted(
                (member for member in group if member.item.id not in wanted),
                key=lambda member: member.keep is None,
            )
            for member in chosen:
                found[member.item.id] = _judged(index, member, stay, doomed, files, judge)
    return found | {item.id: Deletion(item=item, reason="no_copy") for item in items}


def _judged(
    index: Index,
    member: Duplicate,
    stay: Sequence[Duplicate],
    doomed: Collection[tuple[int, int]],
    files: _Files,
    judge: Comparer,
) -> Deletion:
    item = member.item
    if item.path is None:
        return Deletion(item=item, reason="inside")
    if not files.is_there(item):
        return Deletion(item=item, reason="gone")
    first: Deletion | None = None
    for other in stay:
        reason: Reason
        if not files.is_there(other.item):
            reason = "stays_gone"
        elif files.place(other.item) in doomed:
            reason = "same_file"
        else:
            kind = _kind(member, other) or judge(other.item, [item])[0]
            reason = "unknown" if kind == "unknown" else _SAFE[kind] if kind else "differs"
            if reason == "looks" and _pixels(other.item) < _pixels(item):
                reason = "smaller"
        found = Deletion(
            item=item,
            reason=reason,
            stays=other.item,
            score=_cosine(index, member, other),
            loses=_only_of(item, other.item),
        )
        if found.is_safe:
            return found
        first = first or found
    return first or Deletion(item=item, reason="none_stays")


def _kind(member: Duplicate, other: Duplicate) -> DuplicateKind | None:
    """How two of a group are like each other, if that is known from their leader."""
    if member.item.sha256 == other.item.sha256:
        return "bytes"
    if {member.kind, other.kind} <= {"leader", "bytes", "pixels"}:
        return "pixels"  # which these are of the leader, and so of each other
    for one, leader in ((member, other), (other, member)):
        if leader.kind == "leader" and one.checked:
            return one.kind
    return None


def _cosine(index: Index, member: Duplicate, other: Duplicate) -> float:
    for one, leader in ((member, other), (other, member)):
        if leader.kind == "leader":
            return one.score
    first, second = index.vectors([member.item.id, other.item.id], "image")
    return min(float(first @ second), 1.0)


class _Files:
    """What lies on disk in the place of images, each looked at once."""

    def __init__(self, roots: Collection[str]) -> None:
        self._roots = roots
        self._there: dict[int, bool] = {}

    def is_there(self, item: Item) -> bool:
        """Whether an image's file has the bytes that were indexed."""
        if item.id not in self._there:
            try:
                check_indexed_here(original_file(item) or "", self._roots)
                indexed_bytes(item)
                self._there[item.id] = item.sha256 is not None
            except ImageDecodeError:
                self._there[item.id] = False
        return self._there[item.id]

    def place(self, item: Item) -> tuple[int, int] | None:
        """Which file on disk it is, through links and under any name; None if it is gone."""
        with contextlib.suppress(OSError, ValueError, ImageDecodeError):
            state = os.stat(original_file(item) or "")
            return state.st_dev, state.st_ino
        return None


def _item(index: Index, id: int) -> Iterator[Item]:  # noqa: A002 - the word of Item.id
    with contextlib.suppress(ClipSearchError):  # removed meanwhile
        yield index.item(id)


def _pixels(item: Item) -> int:
    return (item.width or 0) * (item.height or 0)


def _place(item: Item) -> str:
    return item.path or item.key


def _only_of(item: Item, stays: Item) -> tuple[str, ...]:
    """What the index knows of an image and not of the one that stays."""
    one, other = (
        {
            "caption": of.caption,
            "date": of.taken_at,
            "camera": of.camera,
            "place": of.latitude and (of.latitude, of.longitude),
        }
        for of in (item, stays)
    )
    return (
        *(name for name, value in one.items() if value and value != other[name]),
        *(f"tag {tag}" for tag in item.tags if tag not in stays.tags),
        *(f"album {album}" for album in item.albums if album not in stays.albums),
    )


# --- as lists -----------------------------------------------------------------------------------


def deletion_document(deletion: Deletion) -> dict[str, Any]:
    """What is said of deleting an image, for the person whose index it is."""
    stays = deletion.stays
    return {
        "safe": deletion.is_safe,
        "why": deletion.why,
        "stays": None if stays is None else stored(_place(stays)),
        "stays_kind": deletion.reason if deletion.is_safe else None,
        "stays_score": deletion.score,
        "loses": list(deletion.loses),
    }


def deletion_rows(
    groups: Sequence[Sequence[Duplicate]], found: dict[int, Deletion], *, every: bool
) -> Iterator[list[object]]:
    """The rows of a table with `COLUMNS`.

    Args:
        groups: The duplicates.
        found: What `deletions` says.
        every: Whether those that are not to be deleted have a row too.
    """
    grouped = set()
    for number, group in enumerate(groups, 1):
        for member in group:
            deletion = found.get(member.item.id)
            grouped.add(member.item.id)
            if every or deletion is not None:
                yield _row(number, duplicate_document(member), deletion)
    for id_, deletion in found.items():
        if id_ not in grouped:
            item = Duplicate(deletion.item, 0.0, "leader")
            known = {**duplicate_document(item), "kind": None, "score": None, "checked": None}
            yield _row(None, known, deletion)


def _row(number: int | None, known: dict[str, Any], deletion: Deletion | None) -> list[object]:
    said = {} if deletion is None else deletion_document(deletion)
    row = {**known, **said, "group": number, "path": known["path"] or known["key"]}
    row["loses"] = "; ".join(row.get("loses", ()))
    return [row.get(name) for name in COLUMNS]


def deletion_lines(found: dict[int, Deletion]) -> Iterator[str]:
    """The list as text: paths of files that may be deleted, and comments that begin with `#`."""
    for deletion in found.values():
        path = shown(_place(deletion.item))
        yield f"# {'safe' if deletion.is_safe else 'NOT safe'}: {deletion.why}"
        if deletion.loses:
            yield f"# the index knows of it alone: {shown(', '.join(deletion.loses))}"
        yield path if deletion.is_safe else f"# {path}"
