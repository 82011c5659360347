"""What the Curate tab shows, page by page, as data for its script."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from clipsearch import ClipSearchError, Duplicate, Index, Item
from clipsearch.deletions import Deletion, deletions
from clipsearch.engine.curation import KINDS
from clipsearch.explore.outliers import outliers
from clipsearch.names import shown
from clipsearch.server.image_files import shown_folders

from . import filters
from .context import Context
from .copies import CopiesAsked, Groups, Looking
from .meant import letters
from .media import hidden_ids
from .problems import PageError, explained
from .render import item_name, message, state_screen
from .spec import SearchSpec

__all__ = ["LOOKS", "Asked", "Curated"]

Look = Literal["duplicates", "pairs", "outliers"]
LOOKS: tuple[Look, ...] = get_args(Look)
_GROUPS = 20  # at a time
_MEMBERS = 12  # of a group, until all are asked for
_CARDS = 48  # weak pairs or outliers at a time
_MOST_CARDS = 480
_PATIENT = 25  # times that a list waits for duplicates that are still looked for


@dataclass(frozen=True, slots=True)
class Asked:
    """What a visitor wants to see: the collection with its filters, and the tab's own fields."""

    spec: SearchSpec
    look: Look = "duplicates"
    kinds: tuple[str, ...] = KINDS
    threshold: float | None = None

    @classmethod
    def of(cls, spec: SearchSpec, fields: Mapping[str, Sequence[str]]) -> Asked:
        """Read the tab's own fields of an address; what is not understood is left out."""
        look = fields.get("look", [""])[0]
        wanted = fields.get("kind", [])
        return cls(
            spec,
            look if look in LOOKS else "duplicates",
            tuple(kind for kind in KINDS if kind in wanted) or KINDS,
            _threshold(fields.get("cosine", [""])[0]),
        )


class Curated:
    """Answers the Curate tab.

    Args:
        context: The library and the words.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self._words = context.words
        self._library = context.library
        self._settings = context.settings

    def answer(self, asked: Asked, offset: int, limit: int) -> dict[str, Any]:
        """Some groups or images.

        Returns:
            `index`, and either `notice` (HTML of what there is instead), `busy` (`told`, and
            `share` in [0, 1]), or `commit`, `summary`, `more` and `groups`, each a list of `cards`
            with its `count`; weak pairs and outliers are one group.
        """
        head = {"index": asked.spec.index, "look": asked.look}
        try:
            waiting = state_screen(self.context, asked.spec.index, model=False)
            if waiting is not None:
                return {**head, "notice": waiting}
            index = self._library.index(asked.spec.index)
            filters.check(index, asked.spec)
            commit = index.seen_id
            if asked.look == "duplicates":
                found = self._duplicates(asked, index, offset, limit)
            else:
                found = self._images(asked, index, offset)
        except ClipSearchError as exc:
            return {**head, "notice": message(explained(exc, self._words))}
        return {**head, "commit": commit, **found}

    def _duplicates(self, asked: Asked, index: Index, offset: int, limit: int) -> dict[str, Any]:
        groups = self._groups(asked, index)
        if isinstance(groups, Looking):
            return {"busy": self._busy(groups)}
        if not groups:
            return {"notice": message(self._words("curate.no_duplicates"), kind="info")}
        some = groups[offset : offset + max(limit, _GROUPS)]
        told = self._words.count("curate.groups", len(groups))
        copies = self._words.count("curate.copies", sum(len(group) - 1 for group in groups))
        hidden = self._hidden(index, [member.item for group in some for member in group])
        return {
            "summary": self._told(asked, index, f"{told}, {copies}"),
            "groups": [self._group(group, hidden, _MEMBERS) for group in some],
            "more": offset + len(some) < len(groups),
        }

    def group(self, asked: Asked, leader: int) -> dict[str, Any]:
        """A group with all its members.

        Raises:
            ClipSearchError: It cannot be looked for, or is gone.
        """
        index = self._library.index(asked.spec.index)
        group = next((one for one in self._settled(asked, index) if one[0].item.id == leader), None)
        if group is None:
            raise PageError("problem.item_not_found")
        return self._group(group, self._hidden(index, [m.item for m in group]), len(group))

    def rest(self, asked: Asked) -> dict[str, Any]:
        """The `ids` of all copies that are not suggested to be kept, and what they `meant`.

        Raises:
            ClipSearchError: They cannot be looked for.
        """
        groups = self._settled(asked, self._library.index(asked.spec.index))
        rest = [m.item for group in groups for m in group if m.keep is None and m.checked]
        return {"ids": [str(item.id) for item in rest], "meant": list(map(letters, rest))}

    def listed(self, asked: Asked, marked: Mapping[int, str]) -> tuple[Groups, dict[int, Deletion]]:
        """What may be deleted of what is marked, with the groups of copies.

        Args:
            asked: How the copies were found.
            marked: Ids with the letters of the images that were seen; empty where not known.

        Raises:
            ClipSearchError: The copies cannot be looked for.
        """
        index = self._library.index(asked.spec.index)
        groups = self._settled(asked, index) if asked.look == "duplicates" else []
        found = {
            id_: deletion
            for id_, deletion in deletions(index, groups, marked).items()
            if marked[id_] in ("", letters(deletion.item))  # or another image has the id now
        }
        return groups, found

    def _groups(self, asked: Asked, index: Index) -> Groups | Looking:
        wanted = CopiesAsked(threshold=asked.threshold, kinds=asked.kinds, where=asked.spec.where)
        return self._library.copies.groups(index, wanted)

    def _settled(self, asked: Asked, index: Index) -> Groups:
        for _ in range(_PATIENT):
            groups = self._groups(asked, index)
            if not isinstance(groups, Looking):
                return groups
        raise PageError("curate.busy_list")

    def _busy(self, looking: Looking) -> dict[str, Any]:
        if looking.stage != "waiting" and not looking.of:
            return {"told": self._words("curate.beginning"), "share": 0}
        done, of = map(self._words.number, (looking.done, looking.of))
        told = self._words(f"curate.{looking.stage}", done=done, of=of)
        return {"told": told, "share": looking.done / max(looking.of, 1)}

    def _told(self, asked: Asked, index: Index, told: str) -> str:
        parts = [told]
        if asked.spec.where is not None:
            parts.append(self._words("curate.within"))
        if not shown_folders(self._settings.roots, index):
            parts.append(self._words("search.hidden", index=asked.spec.index))
        return " · ".join(parts)

    def _group(
        self, group: Sequence[Duplicate], hidden: Collection[int], most: int
    ) -> dict[str, Any]:
        cards = [
            self._card(
                member.item,
                hidden,
                kind=member.kind,
                badge=self._words(f"curate.is_{member.kind if member.checked else 'unchecked'}"),
                keep=member.keep and self._words(f"curate.keep_{member.keep}"),
                score=member.score if member.kind == "looks" else None,
            )
            for member in group[:most]
        ]
        return {"cards": cards, "count": len(group)}

    def _images(self, asked: Asked, index: Index, offset: int) -> dict[str, Any]:
        where, k = asked.spec.where, min(offset + _CARDS + 1, _MOST_CARDS)
        if asked.look == "pairs":
            found = [(hit.item, hit.score) for hit in index.pairs(k, where=where)[offset:]]
        else:
            rows, vectors = self._library.sample(asked.spec.index)
            if where is not None:
                wanted = frozenset(index.ids(where))
                keep = [place for place, row in enumerate(rows.tolist()) if row in wanted]
                rows, vectors = rows[keep], vectors[keep]
            lowest = outliers(rows, vectors, min(k, max(1, len(rows) // 2)))[offset:]
            found = [(index.item(row), score) for row, score in lowest]
        if not found:
            return {"notice": message(self._words(f"curate.no_{asked.look}"), kind="info")}
        some = found[:_CARDS]
        hidden = self._hidden(index, [item for item, _ in some])
        cards = [self._card(item, hidden, score=score) for item, score in some]
        return {
            "summary": self._told(asked, index, self._words(f"curate.{asked.look}_help")),
            "groups": [{"cards": cards, "count": len(cards)}],
            "more": len(found) > _CARDS,
        }

    def _hidden(self, index: Index, items: Sequence[Item]) -> frozenset[int]:
        return hidden_ids(index, items, self._settings)

    def _card(
        self,
        item: Item,
        hidden: Collection[int],
        *,
        kind: str = "",
        badge: str = "",
        keep: str | None = None,
        score: float | None = None,
    ) -> dict[str, Any]:
        """All that is shown of an image, nothing of it cut."""
        path = Path(item.path or item.key)
        facts = [
            f"{item.width} \N{MULTIPLICATION SIGN} {item.height}" if item.width else "",
            "" if item.size_bytes is None else _size(item.size_bytes),
            item.format or "",
        ]
        marks = [*item.tags, *item.albums]
        said = "" if score is None else f"{score:.{3 if kind else 2}f}"
        if kind and said:
            said = self._words("curate.similarity", score=said)
        return {
            "id": item.id,
            "name": item_name(item),
            "caption": shown(item.caption or "", lines=True),
            "file": shown(path.name),
            "folder": shown(str(path.parent)) if self._settings.shows_paths else "",
            "facts": " · ".join(filter(None, facts)),
            "marks": shown(", ".join(marks)),
            "version": (item.sha256 or "")[:16],
            "width": item.width or 0,
            "height": item.height or 0,
            "image": item.has_original and item.id not in hidden,
            "meant": letters(item),
            "kind": kind,
            "badge": badge,
            "keep": keep,
            "score": said,
        }


def _threshold(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return min(max(value, 0.5), 1.0) if math.isfinite(value) else None


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:,.0f} KB"
