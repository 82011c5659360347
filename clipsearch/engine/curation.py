"""Groups of duplicates: every member is held against the leader of its group."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from ..errors import InvalidInputError
from ..types import Duplicate, DuplicateKind, Item
from ..vectors import Rows, is_in, score
from . import catalog, thumbprints
from .alike import Bounds, Neighbours, neighbours
from .keeper import keeper
from .snapshot import VectorStore

__all__ = ["KINDS", "Judge", "Tell", "Verdict", "duplicate_groups"]

KINDS: tuple[DuplicateKind, ...] = ("bytes", "pixels", "looks")
Verdict = Literal["pixels", "looks", "unknown"]  # "unknown" where an image cannot be read
# Told how some items are like the first one; None for another picture.
Judge = Callable[[Item, Sequence[Item]], Sequence[Verdict | None]]
# Told what is being compared, how many images are done, and of how many; may raise to stop.
Tell = Callable[[Literal["vectors", "images"], int, int], None]

# From these cosines on, images are compared; docs/benchmarks.md has what is found with them.
_NEAR, _FAR, _BLIND = 0.8, 0.6, 0.9
_EQUAL = 0.97  # where only equal pixels are looked for
_UNCHECKED = 0.95  # cosine from which images that cannot be compared count as alike
_AT_ONCE = 8  # items that are judged together
_IN_VAIN = 32  # items that a leader is compared with in vain before it is left


@dataclass(frozen=True, slots=True)
class _Unit:
    """Items with the same bytes."""

    rows: list[int]  # ascending
    area: int  # pixels; 0 where they are not known


@dataclass(slots=True)
class _Group:
    leader: int  # position of a unit
    members: list[tuple[int, DuplicateKind, float, bool]] = field(default_factory=list)


def duplicate_groups(
    conn: sqlite3.Connection,
    store: VectorStore,
    judge: Judge,
    *,
    threshold: float | None = None,
    kinds: Collection[str] = KINDS,
    among: Rows | None = None,
    tell: Tell = lambda what, done, of: None,
) -> list[list[Duplicate]]:
    """Group items that are copies of each other.

    The largest image leads its group, the one that was indexed first of equally large ones. Every
    other member is like the leader itself, not like another member.

    Args:
        conn: A connection within the transaction of the state.
        store: The image vectors of the state.
        judge: Compares images.
        threshold: Cosine from which images are compared, in (0, 1]; None for what suits photos.
        kinds: What to look for: "bytes", "pixels", "looks".
        among: The only rows to look at, ascending; None for all.
        tell: Told how far it is.

    Returns:
        Groups of at least two, largest first, then by lowest id of the leader. The first of a
        group is its leader with score 1; the others follow by kind, then by descending cosine
        with it.

    Raises:
        InvalidInputError: The threshold is not in (0, 1], or a kind is none.
    """
    wanted = _checked(kinds)
    if threshold is not None and (
        not isinstance(threshold, int | float | np.number) or not 0.0 < threshold <= 1.0
    ):
        raise InvalidInputError(f"threshold must be above 0 and at most 1, got {threshold!r}")
    units = _units(conn, store, among)
    groups = _Grouping(conn, store, judge, threshold, wanted, units, tell).groups()
    return _as_duplicates(conn, store, units, groups, wanted)


def _checked(kinds: Collection[str]) -> frozenset[str]:
    wanted = frozenset([kinds] if isinstance(kinds, str) else kinds)
    if not wanted or wanted - set(KINDS):
        told = ", ".join(map(repr, sorted(wanted - set(KINDS)))) or "none"
        names = ", ".join(kind for kind in get_args(DuplicateKind) if kind in KINDS)
        raise InvalidInputError(f"kinds of duplicates are {names}; got {told}")
    return wanted


def _units(conn: sqlite3.Connection, store: VectorStore, among: Rows | None) -> list[_Unit]:
    """The items with an image, those of the same bytes together, by their lowest row."""
    live = store.live_rows()
    if among is not None:
        live = live[is_in(live, among)]
    units: dict[str | int, _Unit] = {}
    cursor = conn.execute(
        "SELECT row, sha256, coalesce(width * height, 0) FROM items WHERE has_image ORDER BY row"
    )
    while found := cursor.fetchmany(4096):
        ids = np.fromiter((fields[0] for fields in found), np.int64, len(found))
        for (row, sha256, area), there in zip(found, is_in(ids, live).tolist(), strict=True):
            if there:
                units.setdefault(sha256 or row, _Unit([], area)).rows.append(row)
    return list(units.values())


class _Grouping:
    """Finds the groups of one state."""

    def __init__(
        self,
        conn: sqlite3.Connection,
        store: VectorStore,
        judge: Judge,
        threshold: float | None,
        kinds: frozenset[str],
        units: list[_Unit],
        tell: Tell,
    ) -> None:
        self._tell = tell
        self._done = self._of = 0  # images that may be copies of others
        self._conn = conn
        self._store = store
        self._judge = judge
        self._unchecked = _UNCHECKED if threshold is None else min(threshold, 1.0 - 1e-3)
        if threshold is not None:
            self._bounds = Bounds(threshold, threshold, threshold)
        elif "looks" in kinds:
            self._bounds = Bounds(_NEAR, _FAR, _BLIND)
        else:
            self._bounds = Bounds(_EQUAL, _EQUAL, _EQUAL)
        self._kinds = kinds
        self._units = units
        self._taken = np.zeros(len(units), bool)

    def groups(self) -> list[_Group]:
        """Groups of units; one of a single unit stands for its items with the same bytes."""
        near = self._neighbours() if self._kinds - {"bytes"} else None
        self._of = 0 if near is None else int(np.count_nonzero(np.diff(near.starts)))
        areas = np.fromiter((unit.area for unit in self._units), np.int64, len(self._units))
        groups = []
        for leader in np.argsort(-areas, kind="stable").tolist():
            if self._taken[leader]:
                continue
            group = _Group(leader)
            if near is not None and near.starts[leader + 1] > near.starts[leader]:
                self._take(leader)
                self._gather(group, near)
            if group.members or (len(self._units[leader].rows) > 1 and "bytes" in self._kinds):
                groups.append(group)
        return groups

    def _neighbours(self) -> Neighbours:
        rows = np.fromiter((unit.rows[0] for unit in self._units), np.int64, len(self._units))
        prints, there = thumbprints.of_rows(self._conn, rows)
        return neighbours(
            self._store,
            rows,
            prints,
            there,
            self._bounds,
            lambda done: self._tell("vectors", done, rows.size),
        )

    def _take(self, position: int) -> None:
        self._taken[position] = True
        self._done += 1
        self._tell("images", self._done, self._of)

    def _gather(self, group: _Group, near: Neighbours) -> None:
        """Find the members of a group, nearest first, and among the neighbors of its members."""
        seen = {group.leader}
        waiting: list[tuple[float, int]] = []
        vector = self._vectors([group.leader])[0]

        def add(position: int) -> None:
            new = [end for end, _ in near.of(position) if end not in seen and not self._taken[end]]
            seen.update(new)
            if new:
                cosines = score(self._vectors(new), vector)
                for end, cosine in zip(new, cosines.tolist(), strict=True):
                    if cosine >= self._bounds.lowest:
                        heapq.heappush(waiting, (-cosine, end))

        add(group.leader)
        in_vain = 0
        while waiting and in_vain < _IN_VAIN:
            some = [heapq.heappop(waiting) for _ in range(min(_AT_ONCE, len(waiting)))]
            for (cosine, position), kind in zip(some, self._kinds_of(group, some), strict=True):
                in_vain += 1
                if kind is None:
                    continue
                in_vain = 0
                self._take(position)
                group.members.append((position, kind[0], -cosine, kind[1]))
                add(position)

    def _kinds_of(
        self, group: _Group, some: list[tuple[float, int]]
    ) -> list[tuple[DuplicateKind, bool] | None]:
        rows = [self._units[position].rows[0] for _, position in some]
        leader = self._units[group.leader].rows[0]
        items = catalog.items(self._conn, [leader, *rows])
        verdicts = self._judge(items[leader], [items[row] for row in rows])
        kinds: list[tuple[DuplicateKind, bool] | None] = []
        for (cosine, _), verdict in zip(some, verdicts, strict=True):
            kind: tuple[DuplicateKind, bool] | None = None
            if verdict == "unknown":
                if -cosine >= self._unchecked:
                    kind = ("looks", False)
            elif verdict is not None:
                kind = (verdict, True)
            kinds.append(kind if kind is not None and kind[0] in self._kinds else None)
        return kinds

    def _vectors(self, positions: list[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        """Vectors of units, in the order of the positions (units are by ascending row)."""
        wanted, back = np.unique(positions, return_inverse=True)
        rows = np.array([self._units[at].rows[0] for at in wanted.tolist()], np.int64)
        _, vectors = self._store.take(rows)
        return vectors[back]


def _as_duplicates(
    conn: sqlite3.Connection,
    store: VectorStore,
    units: list[_Unit],
    groups: list[_Group],
    kinds: frozenset[str],
) -> list[list[Duplicate]]:
    """The groups with all items of their units, in order."""
    ordered: list[list[tuple[int, DuplicateKind, float, bool]]] = []
    for group in groups:
        lead, *same = units[group.leader].rows
        members: list[tuple[int, DuplicateKind, float, bool]] = []
        if "bytes" in kinds:
            members += [(row, "bytes", 1.0, True) for row in same]
        for position, kind, cosine, checked in group.members:
            of_unit = min(cosine, 1.0)
            members += [(row, kind, of_unit, checked) for row in units[position].rows]
        members.sort(key=lambda member: (KINDS.index(member[1]), -member[2], member[0]))
        ordered.append([(lead, "leader", 1.0, True), *members])
    ordered.sort(key=lambda group: (-len(group), group[0][0]))
    items = catalog.items(conn, [member[0] for group in ordered for member in group])
    return [_suggested(group, items) for group in ordered]


def _suggested(
    group: Sequence[tuple[int, DuplicateKind, float, bool]], items: Mapping[int, Item]
) -> list[Duplicate]:
    """A group, and which of it to keep."""
    kept, reason = keeper([items[row] for row, *_ in group])
    return [
        Duplicate(items[row], cosine, kind, checked=checked, keep=reason if place == kept else None)
        for place, (row, kind, cosine, checked) in enumerate(group)
    ]
