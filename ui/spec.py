"""A search as a value: in the page's address, as a query, as a command and as Python."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlencode

import numpy as np

from clipsearch.engine.facets import FACETS, chosen_where
from clipsearch.errors import InvalidInputError
from clipsearch.explore.feedback import refine
from clipsearch.names import shell_word
from clipsearch.ordering import Sort
from clipsearch.query import Query
from clipsearch.request import SearchRequest
from clipsearch.server.door import query_fields
from clipsearch.types import FacetName, Modality
from clipsearch.vectors import Floats

from .problems import PageError

__all__ = [
    "FIELDS",
    "MEANT_LETTERS",
    "SORTS",
    "Chip",
    "SearchSpec",
    "facet_field",
    "from_link",
    "pack_vector",
    "read_facet",
    "read_integer",
    "unpack_vector",
]

# Of a search in an address; other fields belong to the tab that is shown.
FIELDS = (
    "index", "q", "c", "up", "down", "from", "to", "width", "camera", "tag", "f", "where", "ids",
    "selection", "target", "min", "hybrid", "sort", "of",
)  # fmt: skip
MAX_CHIPS = 24
_MAX_WEIGHT = 4.0
_MAX_TEXT = 500  # characters; a model reads about 300 at most
_MAX_INTEGER = 2**63 - 1  # SQLite's
MEANT_LETTERS = 5  # of the content of an image, to tell it from others that have its id
_MODEL_DIGITS = 8  # of a model's fingerprint; enough to tell the models of one server apart
# Flags of `clipsearch search` for a part, by its kind and whether it is added.
_FLAGS = {
    ("text", True): "-a",
    ("text", False): "-s",
    ("vector", True): "--image",
    ("vector", False): "--subtract-image",
    ("item", True): "--item",
}
_UNKNOWN = "-" * MEANT_LETTERS
_MOST_FACETS = 100  # chosen values
_FACETS: dict[str, FacetName] = {name: name for name in FACETS}
_DATE = re.compile(r"\d{4}(-\d{2})?", re.ASCII)  # of a year or month
# How the engine sorts, and whether the other way round; a query is else best first, a list newest.
SORTS: dict[str, tuple[Sort, bool]] = {
    "newest": ("date", False),
    "oldest": ("date", True),
    "largest": ("size", False),
}
_NEWEST: dict[str, Any] = {"sort": "date"}
_KINDS: dict[str, Literal["text", "item", "vector"]] = {"t": "text", "i": "item", "v": "vector"}


@dataclass(frozen=True, slots=True)
class Chip:
    """One further part of a search, added (weight above 0) or subtracted (below)."""

    kind: Literal["text", "item", "vector"]
    value: str  # the words, the item's id, or a packed vector
    weight: float = 1.0
    label: str = ""  # for an image: its name
    thumb: str = ""  # for an image: a small data URL, not kept in links

    def query(self, fingerprint: str) -> Query:
        """This part alone, for an index whose model has this fingerprint.

        Raises:
            PageError: It is an image that another model has read, or a damaged one.
        """
        if self.kind == "text":
            return Query.text(self.value, self.weight)
        if self.kind == "item":
            return Query.item(int(self.value), self.weight)
        return Query.vector(unpack_vector(self.value, fingerprint), self.weight)


@dataclass(frozen=True, slots=True)
class SearchSpec:
    """Everything that decides what the gallery shows."""

    index: str = ""
    text: str = ""
    chips: tuple[Chip, ...] = ()
    liked: tuple[int, ...] = ()
    unliked: tuple[int, ...] = ()
    date_from: str = ""
    date_to: str = ""
    min_width: int = 0
    camera: str = ""
    tags: tuple[str, ...] = ()
    facets: tuple[tuple[FacetName, str | None], ...] = ()  # chosen values; None: items without one
    where_text: str = ""
    target: Modality = "image"
    min_score: float | Literal["auto"] | None = None
    hybrid: bool = False
    sort: str = ""  # one of SORTS
    chosen: tuple[int, ...] = field(default=())  # only these items: a selection on the map
    selection: str = ""  # the token of a larger one, which is kept on the server
    meant: tuple[tuple[int, str], ...] = ()  # ids, with letters of the images that they name

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked, so that the collection itself is shown."""
        return not (self.text or self.chips or self.liked)

    @property
    def ids(self) -> tuple[int, ...]:
        """All ids of items in it, in the order of links."""
        parts = (int(chip.value) for chip in self.chips if chip.kind == "item")
        return (*self.liked, *self.unliked, *parts, *self.chosen)

    def without(self, ids: Collection[int]) -> SearchSpec:
        """The same without these items."""
        return replace(
            self,
            liked=tuple(id_ for id_ in self.liked if id_ not in ids),
            unliked=tuple(id_ for id_ in self.unliked if id_ not in ids),
            chips=tuple(c for c in self.chips if c.kind != "item" or int(c.value) not in ids),
            chosen=tuple(id_ for id_ in self.chosen if id_ not in ids),
        )

    def query(self, fingerprint: str) -> Query:
        """The whole query, moved by thumbs up and down, for an index of that model.

        Raises:
            PageError: There is nothing to look for, only something to avoid, or an image of the
                search was read by another model or is damaged.
            InvalidInputError: There are too many marks, or an item is marked in both ways.
        """
        parts = [self.text or None, *(chip.query(fingerprint) for chip in self.chips)]
        asked = Query.combine(parts) if any(parts) else None
        if not self.liked and (asked is None or all(term.weight <= 0 for term in asked.terms)):
            raise PageError("search.nothing_asked")
        if asked is None or self.liked or self.unliked:
            return refine(asked, self.liked, self.unliked)
        return asked

    def request(self, query: Query, k: int, offset: int = 0) -> SearchRequest:
        """The search for a query with everything else that the page asks."""
        return SearchRequest(
            query=query,
            k=k,
            where=self.where,
            target=self.target,
            min_score=self.least,
            hybrid=self.hybrid,
            offset=offset,
            **self.sorting,
        )

    def listing(self, k: int, offset: int = 0) -> SearchRequest:
        """The list of the collection, without a query, newest first unless it is sorted."""
        return SearchRequest(k=k, where=self.where, offset=offset, **(self.sorting or _NEWEST))

    @property
    def sorting(self) -> dict[str, Any]:
        """`sort` and `reverse` of a request, nothing for the usual order."""
        sort, reverse = SORTS.get(self.sort, (None, False))
        return {"sort": sort, "reverse": reverse} if sort else {}

    @property
    def least(self) -> float | Literal["auto"] | None:
        """The least score: what is sorted by something else has to fit better than chance."""
        is_sorted = self.sort in SORTS and not self.is_empty
        return "auto" if is_sorted and self.min_score is None else self.min_score

    @property
    def of_facets(self) -> dict[FacetName, list[str | None]]:
        """The chosen values by facet."""
        found: dict[FacetName, list[str | None]] = {}
        for name, value in self.facets:
            found.setdefault(name, []).append(value)
        return found

    def folded(self) -> SearchSpec:
        """The same with the camera and the tag of older links as chosen values of facets.

        Several tags stay: an item has to have all of them, but any of a facet's chosen values.
        """
        said: list[tuple[FacetName, str | None]] = []
        if self.camera:
            said.append(("camera", self.camera))
        if len(self.tags) == 1:
            said.append(("tag", self.tags[0]))
        facets = tuple(dict.fromkeys((*self.facets, *said)))
        tags = self.tags if len(self.tags) > 1 else ()
        return replace(self, facets=facets, camera="", tags=tags)

    @property
    def where(self) -> str | None:
        """All filters as one expression, None without any."""
        parts = filter(None, (self.where_but_facets, chosen_where(self.of_facets)))
        return " and ".join(parts) or None

    @property
    def where_but_facets(self) -> str | None:
        """All filters but the chosen values of facets."""
        parts = []
        if self.date_from:
            parts.append(f"taken_at >= {_quoted(self.date_from)}")
        if self.date_to:
            parts.append(f"taken_at <= {_quoted(self.date_to)}")
        if self.min_width:
            parts.append(f"width >= {self.min_width}")
        if self.camera:
            parts.append(f"camera = {_quoted(self.camera)}")
        parts += [f"tag = {_quoted(tag)}" for tag in self.tags]
        if self.chosen:
            parts.append(f"id in ({', '.join(map(str, self.chosen))})")
        if self.selection:
            parts.append(f"selection = {_quoted(self.selection)}")
        if self.where_text.strip():
            is_part = parts or self.facets
            parts.append(f"({self.where_text.strip()})" if is_part else self.where_text.strip())
        return " and ".join(parts) or None

    @property
    def filters(self) -> int:
        """How many filters are set."""
        named = (self.date_from, self.date_to, self.min_width, self.camera)
        some = (*named, self.chosen, self.selection)
        several = len(self.tags) + len(self.facets)
        return sum(map(bool, some)) + several + bool(self.where_text.strip())

    def link(self) -> str:
        """The search as the part of a page's address after `?`."""
        meant = dict(self.meant)
        fields: list[tuple[str, str]] = [
            ("index", self.index),
            ("q", self.text),
            *(("c", f"{c.weight:g}:{c.kind[0]}:{c.value}") for c in self.chips),
            *(("up", str(row)) for row in self.liked),
            *(("down", str(row)) for row in self.unliked),
            ("from", self.date_from),
            ("to", self.date_to),
            ("width", str(self.min_width or "")),
            ("camera", self.camera),
            *(("tag", tag) for tag in self.tags),
            *(("f", facet_field(name, value)) for name, value in self.facets),
            ("where", self.where_text),
            ("ids", "-".join(map(str, self.chosen))),
            ("selection", self.selection),
            ("target", "" if self.target == "image" else self.target),
            ("min", _score_text(self.min_score)),
            ("hybrid", "1" if self.hybrid else ""),
            ("sort", self.sort),
            ("of", "".join(meant.get(id_, _UNKNOWN) for id_ in self.ids)),
        ]
        return urlencode([(key, value) for key, value in fields if value])

    def command(self, index: str) -> tuple[str, bool]:
        """The `clipsearch search` line for the same search, and whether it is exactly the same.

        Args:
            index: How a command names the index: by its name or its folder.
        """
        is_option = self.text.startswith("-")  # to a shell's eye, unless `--` comes before it
        words = ["clipsearch", "search"]
        exact = not (self.liked or self.unliked)
        if self.text and not is_option:
            words.append(self.text)
        for chip in self.chips:
            flag = _FLAGS.get((chip.kind, chip.weight > 0))
            exact = exact and chip.kind != "vector" and flag is not None
            if flag is not None:
                value = (chip.label or "picture.jpg") if chip.kind == "vector" else chip.value
                plain = abs(chip.weight) == 1 and "^" not in value
                words += [flag, value if plain else f"{value}^{abs(chip.weight):g}"]
        words += ["-i", index]
        if self.where:
            words += ["--where", self.where]
        if self.target != "image":
            words += ["--target", self.target]
        if self.least is not None:
            words += ["--min-score", _score_text(self.least)]
        if self.hybrid:
            words.append("--hybrid")
        if sorting := self.sorting:
            words += ["--sort", sorting["sort"], *(["--reverse"] if sorting["reverse"] else [])]
        if is_option:
            words += ["--", self.text]
        return " ".join(map(shell_word, words)), exact

    def python(self, folder: str, model: str) -> str:
        """Lines of Python for the same search."""
        names = ["Index", "load_encoder"]
        parts = [f"Query.text({self.text!r})"] if self.text else []
        parts += [_chip_code(chip) for chip in self.chips]
        asked = " + ".join(parts)
        if parts:
            names.append("Query")
        lines = []
        if self.liked or self.unliked:
            marks = f"liked={list(self.liked)}, unliked={list(self.unliked)}"
            asked = f"refine({asked or None}, {marks})"
            lines.append("from clipsearch.explore.feedback import refine")
        elif parts == [f"Query.text({self.text!r})"]:
            asked = repr(self.text)
            names.remove("Query")
        lines.insert(0, f"from clipsearch import {', '.join(sorted(names))}")
        options = ["k=20"]
        options += [f"where={self.where!r}"] if self.where else []
        options += [f"target={self.target!r}"] if self.target != "image" else []
        if self.least is not None:
            least = _score_text(self.least)
            options.append(f"min_score={least if least != 'auto' else repr(least)}")
        options += ["hybrid=True"] if self.hybrid else []
        options += [f"{name}={value!r}" for name, value in self.sorting.items() if value]
        lines += [
            "",
            f"index = Index.open({folder!r}, load_encoder({model!r}))",
            f"hits = index.search({asked}, {', '.join(options)})",
        ]
        return "\n".join(lines)


def from_link(search: str, known: Sequence[str]) -> SearchSpec:
    """Read the address of a page; what is not understood is left out.

    Args:
        search: The part from `?` on.
        known: Names of the indexes there are; the first is the default. Another name is kept: to
            show the results of an index that was not asked for would be wrong.
    """
    fields = query_fields(search.lstrip("?"))
    spec = SearchSpec(index=_first(fields, "index") or (known[0] if known else ""))
    least = _first(fields, "min")
    chips = [chip for text in fields.get("c", []) if (chip := _read_chip(text)) is not None]
    spec = replace(
        spec,
        text=_first(fields, "q")[:_MAX_TEXT],
        chips=tuple(chips[:MAX_CHIPS]),
        liked=_ids(fields.get("up", [])),
        unliked=_ids(fields.get("down", [])),
        date_from=_first(fields, "from")[:19],
        date_to=_first(fields, "to")[:19],
        min_width=read_integer(_first(fields, "width")) or 0,
        camera=_first(fields, "camera")[:200],
        tags=tuple(fields.get("tag", []))[:20],
        facets=_facets(fields.get("f", [])),
        where_text=_first(fields, "where")[:2000],
        chosen=_ids(_first(fields, "ids").split("-")),
        selection=_first(fields, "selection")[:32],
        target="caption" if _first(fields, "target") == "caption" else "image",
        min_score=_score(least),
        hybrid=_first(fields, "hybrid") == "1",
        sort=_first(fields, "sort") if _first(fields, "sort") in SORTS else "",
    )
    of = _first(fields, "of")
    if len(of) != MEANT_LETTERS * len(spec.ids):  # of an older version, or changed by hand
        return spec
    said = (of[at : at + MEANT_LETTERS] for at in range(0, len(of), MEANT_LETTERS))
    known_ones = ((id_, one) for id_, one in zip(spec.ids, said, strict=True) if one != _UNKNOWN)
    return replace(spec, meant=tuple(known_ones))


def facet_field(name: str, value: str | None) -> str:
    """A chosen value of a facet as a field of an address; None stands for items without a value."""
    return name if value is None else f"{name}:{value}"


def read_facet(field: str) -> tuple[FacetName, str | None] | None:
    """Read what `facet_field` wrote; None for what is no value of a facet."""
    said, colon, text = field.partition(":")
    name = _FACETS.get(said)
    value = text[:1000] if colon else None
    if name is None or (name in ("year", "month") and value and not _DATE.fullmatch(value)):
        return None
    try:
        chosen_where({name: [value]})
    except InvalidInputError:
        return None
    return name, value


def clamp_weight(weight: object) -> float:
    """A weight from outside, in [-4, 4]; 1 for what is no number."""
    try:
        value = float(str(weight))
    except ValueError:
        return 1.0
    return min(max(value, -_MAX_WEIGHT), _MAX_WEIGHT) if np.isfinite(value) else 1.0


def read_integer(text: str) -> int | None:
    """A whole number that an index can hold, such as an id of an item; None for any other text."""
    digits = len(str(_MAX_INTEGER))
    if not text.isdecimal() or len(text) > digits or int(text) > _MAX_INTEGER:
        return None
    return int(text)


def pack_vector(vector: Floats, fingerprint: str) -> str:
    """A unit vector [dim] as 8-bit numbers in URL-safe base64; the cosine with it is over 0.999.

    Args:
        vector: What a model made of an image.
        fingerprint: Of that model, whose first digits come first: to others it means nothing.
    """
    scaled = np.round(vector / np.abs(vector).max() * 127).astype(np.int8)
    packed = base64.urlsafe_b64encode(scaled.tobytes()).decode().rstrip("=")
    return f"{fingerprint[:_MODEL_DIGITS]}.{packed}"


def unpack_vector(packed: str, fingerprint: str) -> Floats:
    """What `pack_vector` packed, float32 [dim], not normalised.

    Raises:
        PageError: It is of another model than the one with this fingerprint, or damaged.
    """
    model, _, encoded = packed.partition(".")
    if model != fingerprint[:_MODEL_DIGITS]:
        raise PageError("search.other_model")
    try:
        data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as exc:
        raise PageError("search.damaged") from exc
    if not data:
        raise PageError("search.damaged")
    return np.frombuffer(data, np.int8).astype(np.float32)


def _read_chip(text: str) -> Chip | None:
    weight, _, rest = text.partition(":")
    letter, _, value = rest.partition(":")
    kind = _KINDS.get(letter)
    value = value.strip()
    if kind is None or not value or (kind == "item" and read_integer(value) is None):
        return None
    return Chip(kind, value[: _MAX_TEXT if kind == "text" else 4000], clamp_weight(weight))


def _chip_code(chip: Chip) -> str:
    if chip.kind == "text":
        code = f"Query.text({chip.value!r}"
    elif chip.kind == "item":
        code = f"Query.item({chip.value}"
    else:
        code = f"Query.image({(chip.label or 'picture.jpg')!r}"
    return code + (")" if chip.weight == 1 else f", {chip.weight:g})")


def _facets(fields: Sequence[str]) -> tuple[tuple[FacetName, str | None], ...]:
    read = (read_facet(field) for field in fields[:_MOST_FACETS])
    return tuple(dict.fromkeys(one for one in read if one is not None))


def _first(fields: Mapping[str, Sequence[str]], name: str) -> str:
    return fields[name][0].strip() if fields.get(name) else ""


def _ids(values: Sequence[str]) -> tuple[int, ...]:
    rows = (read_integer(value) for value in values)
    return tuple(row for row in rows if row is not None)[:2000]


def _score_text(score: float | Literal["auto"] | None) -> str:
    if score is None:
        return ""
    return score if isinstance(score, str) else f"{score:.3f}"


def _score(text: str) -> float | Literal["auto"] | None:
    if text == "auto":
        return "auto"
    try:
        value = float(text)
    except ValueError:
        return None
    return value if -1 <= value <= 1 else None


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
