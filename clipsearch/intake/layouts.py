"""Which column of a table is the image, which the caption, and which identifies a row."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import SourceError

__all__ = [
    "KNOWN_NAMES",
    "Asked",
    "ColumnType",
    "Layout",
    "NoFileNamesError",
    "find_layout",
    "unique_names",
]

_IMAGE_NAMES = (
    "image", "image_path", "path", "file", "filename", "file_name", "filepath", "file_path",
    "img", "img_path", "image_file", "image_name", "photo", "picture", "image_filename",
    "image_file_name", "img_name", "image_bytes", "image_data", "jpg", "png", "jpeg", "webp",
)  # fmt: skip
_CAPTION_NAMES = (
    "caption", "text", "description", "title", "sentence", "alt", "alt_text", "captions",
    "caption_text", "prompt",
)  # fmt: skip
_ID_NAMES = ("id", "uid", "image_id", "key", "uuid")
KNOWN_NAMES = frozenset((*_IMAGE_NAMES, *_CAPTION_NAMES, *_ID_NAMES))
_LISTED = 20
_BLANK = " \ufeff\t\r\n\u00a0"


@dataclass(frozen=True, slots=True)
class Asked:
    """The columns that the user named."""

    image: str | None = None
    caption: str | None = None
    id: str | None = None
    by_file_name: bool = False  # whether the image must be in `file_name`, or `*_file_name`


class NoFileNamesError(Exception):
    """A table has no column `file_name`."""


@dataclass(frozen=True, slots=True)
class ColumnType:
    """What is known of a column before its values are.

    Attributes:
        arrow: Its Arrow type, as `engine.columns.type_text` writes it.
        kind: Its type in filters; None where its values tell.
    """

    arrow: str | None = None
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Which column is what.

    Attributes:
        image: The column with the image, or None.
        caption: The column with the caption, or None.
        ids: Columns that identify a row; the first one with a value does.
        place: A column with the place of an image that lies in another file.
        key: A column with the keys of the items, in an export of an index.
        left_out: Columns that are no extra columns.
        types: What is known of all columns.
        tables: In an export: the tables that its items came from, with their columns.
    """

    image: str | None
    caption: str | None
    ids: tuple[str, ...] = ()
    place: str | None = None
    key: str | None = None
    left_out: frozenset[str] = frozenset()
    types: Mapping[str, ColumnType] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def used(self) -> frozenset[str | None]:
        """The columns that are no extra columns."""
        return self.left_out | {self.image, self.caption, self.place, self.key, *self.ids}


def find_layout(
    asked: Asked, names: Sequence[str], table: str, *, likely_image: str | None = None
) -> Layout:
    """The layout of a table.

    Args:
        asked: The columns that the user named.
        names: Those that there are.
        table: The table's name, for messages.
        likely_image: A column whose values look like images, for when no name tells.

    Raises:
        SourceError: A column is missing, or none can be the image.
    """
    by_name = {_plain(name): name for name in reversed(names)}

    def find(wanted: str | None, usual: Iterable[str], what: str) -> str | None:
        if wanted is None:
            return next((by_name[name] for name in usual if name in by_name), None)
        if wanted in names:
            return wanted
        if (found := by_name.get(_plain(wanted))) is not None:
            return found
        close = difflib.get_close_matches(_plain(wanted), by_name, n=1)
        hint = f" Did you mean {by_name[close[0]]!r}?" if close else ""
        raise SourceError(
            f"{table} has no column {wanted!r} for {what}; there are: {listed(names)}.{hint}"
        )

    if asked.by_file_name:
        image = next((name for name in names if f"_{_plain(name)}".endswith("_file_name")), None)
        if image is None:
            raise NoFileNamesError(f"{table} has no column file_name; there are: {listed(names)}")
    else:
        image = find(asked.image, _IMAGE_NAMES, "images") or likely_image
    caption = find(asked.caption, _CAPTION_NAMES, "captions")
    if image is None and asked.caption is None:
        raise SourceError(
            f"{table} has no column that is known to name images; choose one with --images: "
            f"{listed(names)}"
        )
    row_id = find(asked.id, _ID_NAMES, "ids")
    if row_id in (image, caption) and asked.id is None:
        row_id = None
    return Layout(image, caption, (row_id,) if row_id is not None else ())


def listed(names: Sequence[Any]) -> str:
    """Names of columns, for messages."""
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(str(name)[:60] for name in names[:_LISTED]) + more


def unique_names(header: Sequence[Any]) -> tuple[list[str], list[str]]:
    """Names of columns without blanks around them, each once, and notes of what was changed."""
    names: list[str] = []
    notes: list[str] = []
    for at, raw in enumerate(header, 1):
        name = str(raw).replace("\0", "").strip(_BLANK)
        if len(name) > 2 and name[0] == name[-1] == '"':  # a blank before a quote keeps it
            name = name[1:-1].strip(_BLANK)
        name = name or f"column_{at}"
        if name in names:
            number = 2
            while f"{name}_{number}" in (*names, *map(str, header)):
                number += 1
            notes.append(f"two columns are named {name!r}; the later one is {name}_{number}")
            name = f"{name}_{number}"
        names.append(name)
    return names, notes


def _plain(name: str) -> str:
    """A name as it is compared: in lower case, with one underscore between words."""
    return re.sub(r"[\s_-]+", "_", str(name).strip().lower())
