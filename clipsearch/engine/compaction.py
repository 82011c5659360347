"""Merging segments, so that thousands of small commits stay fast to search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import IndexCorruptError
from ..vectors import Halves, Rows, is_in
from .file_facts import REMEDY, SegmentEntry, check_file
from .segments import BLOCK_ROWS, Segment, segment_files, write_segment

__all__ = [
    "CLOSING_TIER",
    "COMMIT_TIER",
    "MAX_SEGMENT_ROWS",
    "deleted_in",
    "merge",
    "plan_full",
    "plan_tail",
]

# Eight segments of a tier become one of the next, so a vector is written again once a tier: five
# times on its way to 32,768 rows, however small the commits are.
FANOUT = 8
COMMIT_TIER = 4  # within a commit, segments below 8^4 = 4,096 rows are merged: at most 32 MB of 512
CLOSING_TIER = 5  # when a writer closes, those below 8^5 = 32,768 rows
MAX_SEGMENT_ROWS = 1 << 20  # `compact` writes no larger files: 1 GB at 512 dimensions


def plan_tail(entries: Sequence[SegmentEntry], tiers: int) -> list[SegmentEntry]:
    """Choose segments to merge after a commit.

    Args:
        entries: The segments of one modality by ascending rows.
        tiers: Only segments below `FANOUT ** tiers` rows are merged.

    Returns:
        Adjacent segments at the end, or an empty list when there is nothing to do.
    """
    for tier in range(tiers, 0, -1):
        tail: list[SegmentEntry] = []
        for entry in reversed(entries):
            if entry.count >= FANOUT**tier:
                break
            tail.append(entry)
        of_tier = sum(entry.count >= FANOUT ** (tier - 1) for entry in tail)
        if of_tier >= FANOUT:
            return tail[::-1]
    return []


def plan_full(entries: Sequence[SegmentEntry], deleted: Rows) -> list[list[SegmentEntry]]:
    """Choose segments to merge in a compact.

    Args:
        entries: The segments of one modality by ascending rows.
        deleted: Rows that are removed but still in a segment, int64, ascending.

    Returns:
        Groups of adjacent segments, each to become one. A full segment without removed rows is
        left alone.
    """
    groups: list[list[SegmentEntry]] = []
    group: list[SegmentEntry] = []
    size = 0
    for entry in entries:
        if group and size + entry.count > MAX_SEGMENT_ROWS:
            groups.append(group)
            group, size = [], 0
        group.append(entry)
        size += entry.count
    if group:
        groups.append(group)
    return [g for g in groups if len(g) > 1 or deleted_in(g[0], deleted)]


def deleted_in(entry: SegmentEntry, deleted: Rows) -> int:
    """How many rows of a segment are removed."""
    low, high = deleted.searchsorted([entry.first_row, entry.last_row + 1])
    return int(high - low)


def merge(
    folder: Path, entries: Sequence[SegmentEntry], deleted: Rows, dim: int
) -> SegmentEntry | None:
    """Write one segment with the live rows of several.

    Args:
        folder: The folder of the index.
        entries: Adjacent segments of one modality by ascending rows.
        deleted: Rows to leave out, int64, ascending; each is in a segment.
        dim: Length of a vector.

    Returns:
        The new entry, which the catalog does not name yet; None when no row is left.

    Raises:
        IndexCorruptError: A segment is damaged; a damaged one is never copied.
        OSError: The disk refused.
    """
    for entry in entries:  # what is copied gets a hash of its own, which would hide the damage
        vectors, rows = segment_files(folder, entry.name)
        check_file(vectors, entry.vectors, full=True)
        check_file(rows, entry.rows, full=True)
    segments = [Segment(folder, entry, dim) for entry in entries]
    count = sum(entry.count - deleted_in(entry, deleted) for entry in entries)
    if count == 0:
        return None
    blocks = _live(segments, deleted)
    try:
        return write_segment(folder, entries[0].modality, dim, count, blocks)
    except ValueError as exc:  # more or fewer rows than the catalog says
        raise IndexCorruptError(
            f"{folder}: removed rows are listed that no segment has. {REMEDY}"
        ) from exc


def _live(segments: Sequence[Segment], deleted: Rows) -> Iterator[tuple[Rows, Halves]]:
    for segment in segments:
        rows = segment.rows
        for start in range(0, rows.size, BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, rows.size)
            alive = ~is_in(rows[start:stop], deleted)
            if alive.any():
                yield rows[start:stop][alive], segment.read(start, stop)[alive]
