"""The frozen result types that every layer shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, overload

__all__ = [
    "Hit",
    "Hits",
    "IngestReport",
    "Item",
    "MigrationReport",
    "Modality",
    "Outcome",
    "Precision",
    "Prediction",
    "Progress",
    "Record",
    "Status",
]

Modality = Literal["image", "caption"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
Status = Literal["indexed", "unchanged", "duplicate", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of one image-text pair before it has a row in an index.

    `key` is unique in an index: the absolute path of a file, `table.csv#17` for a row of a table
    without files, `shard.tar!name` for a member of a tar shard.
    """

    key: str
    path: str | None = None  # absolute path of the image file, if it is a file of its own
    caption: str | None = None
    sha256: str | None = None  # of the image file's bytes, hex
    size_bytes: int | None = None
    mtime_ns: int | None = None
    width: int | None = None  # pixels, after EXIF orientation
    height: int | None = None
    format: str | None = None  # Pillow's name: JPEG, PNG, WEBP, ...
    taken_at: str | None = None  # ISO 8601 local time, from EXIF
    camera: str | None = None
    latitude: float | None = None  # degrees, north positive
    longitude: float | None = None  # degrees, east positive
    extra: Mapping[str, Any] = field(default_factory=dict)  # further columns of a table source


@dataclass(frozen=True, slots=True, kw_only=True)
class Item(Record):
    """A stored image-text pair.

    `id` names one version of one picture: it is never reused, and a file whose content changes
    gets a new one, so whatever is cached under an id never goes stale.
    """

    id: int
    has_image: bool = True
    has_caption: bool = False  # whether a caption vector is stored
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One search result: an item with its cosine `score` in [-1, 1]."""

    item: Item
    score: float
    percentile: float | None = None  # share of unrelated pairs that score lower, in [0, 100]


@dataclass(frozen=True, slots=True)
class Hits(Sequence[Hit]):
    """Search results, best first, ties by ascending id; all from one committed state."""

    hits: tuple[Hit, ...] = ()
    generation: int = 0  # number of the committed state that was searched
    took_ms: float = 0.0
    approximate: bool = False  # whether an ANN index took part

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
    unchanged: int = 0  # already stored, moved files among them
    duplicate: int = 0  # stored with the vector of an identical file; not encoded again
    skipped: int = 0
    updated: int = 0  # of the indexed: files that replaced an older version of themselves
    moved: int = 0  # of the unchanged: files found again under another path
    ignored: int = 0  # of the skipped: files that never claimed to be images
    pruned: int = 0  # items removed because their file is gone
    skips: tuple[Outcome, ...] = ()  # the first 1,000 that were skipped but not ignored
    seconds: float = 0.0
    busy: Mapping[str, float] = field(default_factory=dict)  # stage -> share of the time, 0..1
    notes: tuple[str, ...] = ()

    @property
    def images_per_s(self) -> float:
        """Encoded images a second, wall time."""
        return self.indexed / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationReport:
    """What one `Index.migrate` did."""

    switched: bool  # whether the index uses the new model now
    vectors: int  # of images and captions that are stored for the new model
    encoded: int = 0  # of these: in this run
    missing: tuple[Outcome, ...] = ()  # items that could not be embedded, with the reasons
    dropped: int = 0  # of the missing: removed from the index
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """One label for one image."""

    label: str
    probability: float  # in [0, 1]
    score: float  # cosine between image and class vector
