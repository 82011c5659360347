"""The frozen result types that every layer shares."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_type_hints, overload

from .names import stored

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Album",
    "Column",
    "Duplicate",
    "DuplicateKind",
    "Facet",
    "FacetName",
    "FacetValue",
    "Facets",
    "FieldType",
    "Hit",
    "Hits",
    "IngestReport",
    "Item",
    "KeepReason",
    "MigrationReport",
    "Modality",
    "Outcome",
    "Precision",
    "Prediction",
    "Progress",
    "Record",
    "SavedSearch",
    "ShardReport",
    "Status",
    "columns_of_items",
    "own_values",
]

Modality = Literal["image", "caption"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
Status = Literal["indexed", "unchanged", "duplicate", "skipped"]
DuplicateKind = Literal["leader", "bytes", "pixels", "looks"]
KeepReason = Literal["pixels", "size", "known", "path"]
FieldType = Literal["integer", "number", "text", "date", "tag"]
FacetName = Literal[
    "folder",
    "year",
    "month",
    "camera",
    "tag",
    "album",
    "format",
    "orientation",
    "size",
    "caption",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What a field of `Item` is beyond its Python type; `documents` reads this.

    Attributes:
        field: Its type in filters; None if filters do not know it.
        field_name: Its name in filters, where that is another one.
        public: Its place in an HTTP document; None keeps it on the server.
        tells_place: Whether a filter on it would tell where files are.
        stored: Whether it is a column of the catalog's table of items.
        internal: Whether it serves indexing alone: no document, filter or export has it.
    """

    field: FieldType | None = None
    field_name: str | None = None
    public: int | None = None
    tells_place: bool = False
    stored: bool = True
    internal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of one image-text pair before it has a row in an index.

    `key` is unique in an index: the absolute path of a file, `table.csv#17` for a row of a table
    without files, `shard.tar!name` for a member of a tar shard.
    """

    key: Annotated[str, Column(field="text", tells_place=True)]
    # absolute path of the image file, if it is a file of its own
    path: Annotated[str | None, Column(field="text", tells_place=True)] = None
    # where its bytes lie within a table or archive, as `intake.inside` writes it
    place: str | None = None
    caption: Annotated[str | None, Column(field="text", public=1)] = None
    sha256: str | None = None  # of the image file's bytes, hex
    size_bytes: Annotated[int | None, Column(field="integer", public=5)] = None
    mtime_ns: Annotated[int | None, Column(field="date", field_name="mtime")] = None
    # of the file as it was read; another one is a reason to read it again
    ctime_ns: Annotated[int | None, Column(internal=True)] = None
    inode: Annotated[int | None, Column(internal=True)] = None
    # number of its file system, which tells whether another one is mounted there now
    device: Annotated[int | None, Column(internal=True)] = None
    # what the caption was read from; None for one that was given, which no file can take back
    caption_from: Annotated[Literal["sidecar", "image"] | None, Column(internal=True)] = None
    # digest of what files beside the image said of it
    beside: Annotated[str | None, Column(internal=True)] = None
    # pixels, after EXIF orientation
    width: Annotated[int | None, Column(field="integer", public=2)] = None
    height: Annotated[int | None, Column(field="integer", public=3)] = None
    # Pillow's name: JPEG, PNG, WEBP, ...
    format: Annotated[str | None, Column(field="text", public=4)] = None
    # ISO 8601 local time at which it was taken, as far as its metadata says
    taken_at: Annotated[str | None, Column(field="date", public=6)] = None
    camera: Annotated[str | None, Column(field="text", public=7)] = None
    # degrees, north positive
    latitude: Annotated[float | None, Column(field="number", public=8)] = None
    # degrees, east positive
    longitude: Annotated[float | None, Column(field="number", public=9)] = None
    # which frame or page stands for a file with several, from 0
    frame: Annotated[int | None, Column(field="integer", public=14)] = None
    # further columns of a table source
    extra: Annotated[Mapping[str, Any], Column(public=11)] = field(default_factory=dict)
    # keywords that come with the image; of an item, all its tags
    tags: Annotated[
        tuple[str, ...], Column(field="tag", field_name="tag", public=10, stored=False)
    ] = ()

    @property
    def has_original(self) -> bool:
        """Whether its image may still be had, from a file of its own or from within another."""
        return self.path is not None or self.place is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Item(Record):
    """A stored image-text pair.

    `id` names one version of one image: it is never reused, and a file whose content changes
    gets a new one, so whatever is cached under an id never goes stale.
    """

    id: Annotated[int, Column(field="integer", public=0, stored=False)]
    has_image: Annotated[bool, Column(public=12)] = True
    # whether a caption vector is stored
    has_caption: Annotated[bool, Column(public=13)] = False
    # names of the albums that it is in
    albums: Annotated[
        tuple[str, ...], Column(field="tag", field_name="album", public=15, stored=False)
    ] = ()
    # under which its caption vector is stored; None for its own
    caption_row: Annotated[int | None, Column(internal=True)] = None


@functools.cache
def columns_of_items() -> dict[str, Column]:
    """Every field of an item with what is said of it, `id` first, `tags` and `albums` last."""
    hints = get_type_hints(Item, include_extras=True)
    found = {
        one.name: next(iter(getattr(hints[one.name], "__metadata__", ())), Column())
        for one in fields(Item)
    }
    ends = {name: found.pop(name) for name in ("id", "tags", "albums")}
    return {"id": ends.pop("id"), **found, **ends}


def own_values(items: Sequence[Item]) -> dict[str, list[Any]]:
    """The columns of items as a table has them, but the extra ones; names are as they are stored.

    Of no items there are the same columns.
    """
    names = [
        name
        for name, column in columns_of_items().items()
        if not column.internal and name != "extra"
    ]
    values = {name: [getattr(item, name) for item in items] for name in names}
    for name in ("key", "path"):
        values[name] = [value and stored(value) for value in values[name]]
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One search result: an item with its cosine `score` in [-1, 1].

    In a list without a query the score is NaN.
    """

    item: Item
    score: float
    percentile: float | None = None  # share of unrelated pairs that score lower, in [0, 100]


class Duplicate(tuple[Item, float]):
    """A member of a group of duplicates: `(item, score)`, with how it is like the group's leader.

    Attributes:
        kind: "leader" of the first of a group. Of the others: "bytes" if their files are equal to
            the leader's, "pixels" if their decoded images are, "looks" if they show the same
            picture (smaller, compressed, cropped a little, ...).
        checked: Whether the images were compared. False where a file is away: then the
            embeddings, and what the index keeps of the structure, had to answer alone.
        keep: Of the one of the group that is suggested to be kept, what it is ahead of all others
            in: "pixels" (of the image), "size" (of the file), "known" (whether it has a caption,
            tags and albums) or "path" (the shortest). None for the others.
    """

    kind: DuplicateKind
    checked: bool
    keep: KeepReason | None

    def __new__(
        cls,
        item: Item,
        score: float,
        kind: DuplicateKind,
        *,
        checked: bool = True,
        keep: KeepReason | None = None,
    ) -> Self:
        """Make a member of its item, the cosine with the leader, and how it is like it."""
        self = super().__new__(cls, (item, score))
        self.kind, self.checked, self.keep = kind, checked, keep
        return self

    @property
    def item(self) -> Item:
        """The item."""
        return self[0]

    @property
    def score(self) -> float:
        """Cosine with the leader, -1 to 1."""
        return self[1]

    def __repr__(self) -> str:
        return (
            f"Duplicate(item={self.item!r}, score={self.score!r}, kind={self.kind!r}, "
            f"checked={self.checked!r}, keep={self.keep!r})"
        )


@dataclass(frozen=True, slots=True)
class Hits(Sequence[Hit]):
    """Search results, best first unless sorted otherwise; all from one committed state."""

    hits: tuple[Hit, ...] = ()
    generation: int = 0  # number of the committed state that was searched
    took_ms: float = 0.0
    approximate: bool = False  # whether an ANN index took part
    weak: bool = False  # whether nothing fits well: unrelated pairs score as well as the best hit
    floor: float | None = None  # the score below which a hit is no better than chance, if known
    shards: int | None = None  # how many shards the index has, if it is sharded
    missing: tuple[int, ...] = ()  # numbers of the shards that did not answer, from 1

    @property
    def partial(self) -> bool:
        """Whether better hits may be in shards that did not answer."""
        return bool(self.missing)

    @overload
    def __getitem__(self, i: int) -> Hit: ...
    @overload
    def __getitem__(self, i: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, i: int | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[i]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def to_pandas(self) -> pd.DataFrame:
        """The hits as a DataFrame, one row each, in their order.

        Returns:
            `id`, `score` and `percentile`, then the columns of the items, then those that their
            tables had (`extra.NAME` where an item has such a column itself), whose dates and times
            are texts, as in `item.extra`. `Index.vectors(frame["id"])` gives the vectors.
        """
        from .tabular import data_frame

        items = [hit.item for hit in self.hits]
        own = own_values(items)
        own = {
            "id": own.pop("id"),
            "score": [hit.score for hit in self.hits],
            "percentile": [hit.percentile for hit in self.hits],
            **own,
        }
        kinds = {**get_type_hints(Item), "score": float, "percentile": float}
        return data_frame(own, {name: kinds[name] for name in own}, [one.extra for one in items])


@dataclass(frozen=True, slots=True, kw_only=True)
class FacetValue:
    """A value of a facet."""

    value: str | bool | None  # None: the items without a value; a truth value for "caption"
    count: int
    where: str  # the filter that finds these items; more filters are joined to it by `and`
    below: bool = False  # of a folder: whether there are folders in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Facet:
    """The values of one facet, in the order in which they are shown."""

    values: tuple[FacetValue, ...]
    distinct: int  # how many there are, with those that are over a limit, without None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facets:
    """What items have in common: choices for filters, and how many items have each value.

    Two are equal if they offer the same choices.
    """

    cameras: tuple[str, ...] = ()  # most frequent first, ties by name
    tags: tuple[str, ...] = ()
    first_taken: str | None = None  # ISO 8601 date; None where no item has one
    last_taken: str | None = None
    has_sizes: bool = False  # whether any item knows its width
    captions: int = 0  # items with a caption vector
    items: int = field(default=0, compare=False)  # how many were counted
    by: Mapping[str, Facet] = field(default_factory=dict, compare=False)  # facets by name


@dataclass(frozen=True, slots=True, kw_only=True)
class Album:
    """An album of an index."""

    name: str
    items: int  # all of them, those that are away included
    away: int
    created_at: str  # ISO 8601, UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedSearch:
    """A search that is kept in an index under a name."""

    name: str
    request: Mapping[str, Any]  # as `SearchRequest.to_dict` writes it
    saved_at: str  # ISO 8601, UTC


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one file or row of a source ended."""

    key: str
    status: Status
    reason: str | None = None  # why it was skipped, or what it duplicates


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an `Index.add` has come."""

    seen: int
    total: int | None  # None while, or where, it is not known
    indexed: int
    skipped: int
    images_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """What one `Index.add` did. `indexed + unchanged + duplicate + skipped == seen`, always."""

    seen: int = 0
    indexed: int = 0  # encoded and stored, updated files among them
    unchanged: int = 0  # already stored, moved and refreshed files among them
    duplicate: int = 0  # stored with the vector of an identical file; not encoded again
    skipped: int = 0
    # of the indexed and the unchanged: items that were changed in place or replaced by new bytes
    updated: int = 0
    refreshed: int = 0  # of the updated: those among the unchanged, for which nothing was encoded
    recaptioned: int = 0  # of the indexed: items of which the caption alone was encoded
    moved: int = 0  # of the unchanged: files found again under another path
    ignored: int = 0  # of the skipped: files that never claimed to be images
    known: int = 0  # of the skipped: skipped before for the same reason, and not changed since
    ignored_as: Mapping[str, int] = field(default_factory=dict)  # of the ignored, by suffix
    pruned: int = 0  # items removed because their file is gone
    away: int = 0  # items of the source whose file cannot be found: kept, but left out of answers
    unpruned: int = 0  # of these: would have been removed, but they are many and nobody agreed
    skips: tuple[Outcome, ...] = ()  # the first 1,000 that were skipped but not ignored
    seconds: float = 0.0
    busy: Mapping[str, float] = field(default_factory=dict)  # stage -> share of the time, 0..1
    notes: tuple[str, ...] = ()

    @property
    def images_per_s(self) -> float:
        """Encoded images a second, wall time."""
        encoded = self.indexed - self.recaptioned
        return encoded / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationReport:
    """What one `Index.migrate` did."""

    switched: bool  # whether the index uses the new model now
    vectors: int  # of images and captions that are stored for the new model
    encoded: int = 0  # of these: in this run
    missing: tuple[Outcome, ...] = ()  # items that could not be embedded, with the reasons
    dropped: int = 0  # of the missing: removed from the index
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardReport:
    """What one `Index.export_shards` wrote."""

    samples: int
    shards: tuple[str, ...]  # paths, in order
    skipped: tuple[Outcome, ...] = ()  # items whose image could not be read, with the reasons


@dataclass(frozen=True, slots=True)
class Prediction:
    """One label for one image."""

    label: str
    probability: float  # in [0, 1]
    score: float  # cosine between image and class vector
