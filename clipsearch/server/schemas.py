"""The JSON documents of the API, with their limits and examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from fastapi import UploadFile
from pydantic import (
    AfterValidator,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    create_model,
    model_validator,
)

from ..documents import DEFAULTS, PUBLIC, TYPES
from ..engine.facets import MOST_VALUES
from ..query import Query
from ..request import PARAMETERS, SearchRequest
from ..types import FacetName
from .settings import ServerSettings

if TYPE_CHECKING:
    from ..query import QueryLike

__all__ = [
    "AlbumsDocument",
    "ClassifyDocument",
    "DuplicatesDocument",
    "DuplicatesQuery",
    "EmbedBody",
    "EmbedDocument",
    "FacetsDocument",
    "FacetsQuery",
    "HitsDocument",
    "IndexDocument",
    "ItemDocument",
    "PredictionDocument",
    "ProblemDocument",
    "SavedSearchesDocument",
    "SearchBody",
    "SearchForm",
    "Text",
]

_LIMITS = ServerSettings()
_MAX_ID = 2**63 - 1


def clean(text: str) -> str:
    """Text that can be encoded and holds no null bytes."""
    if "\0" in text:
        raise ValueError("a text must not hold null bytes")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("a text must be valid Unicode") from None
    return text


Text = Annotated[
    str,
    Field(min_length=1, max_length=_LIMITS.max_text_length, pattern=r"\S"),
    AfterValidator(clean),
]
Where = Annotated[str, Field(max_length=4000), AfterValidator(clean)]
Id = Annotated[int, Field(ge=0, le=_MAX_ID)]
Weight = Annotated[float, Field(ge=-100, le=100)]
MissingShards = Annotated[
    list[int] | None,
    Field(description="Of an index in shards: numbers of those that do not answer, from 1."),
]


class _Document(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")


class TermBody(_Document):
    """One weighted term of a query: exactly one of text, image, item and vector."""

    text: Text | None = None
    image: Base64Bytes | None = Field(None, description="The bytes of an image file, in base64.")
    item: Id | None = Field(None, description="An item's id: what its image shows.")
    vector: list[float] | None = Field(None, max_length=8192)
    weight: Weight = 1.0

    @model_validator(mode="after")
    def _holds_one(self) -> Self:
        if len(self._given()) != 1:
            raise ValueError("a term has exactly one of text, image, item and vector")
        return self

    def query(self) -> Query:
        """The term as a query."""
        ((make, value),) = self._given()
        return make(value, self.weight)

    def _given(self) -> list[tuple[Callable[..., Query], Any]]:
        """What is given, each with what makes a query of it."""
        known = (
            (Query.text, self.text),
            (Query.image, self.image),
            (Query.item, self.item),
            (Query.vector, self.vector),
        )
        return [(make, value) for make, value in known if value is not None]


class SearchParameters(_Document):
    """What a search may ask for besides what is looked for first."""

    add: list[Text] = Field([], max_length=_LIMITS.max_terms)
    subtract: list[Text] = Field([], max_length=_LIMITS.max_terms)
    k: int = Field(10, ge=1, le=_LIMITS.max_k, description="Maximum number of hits.")
    offset: int = Field(0, ge=0, le=_LIMITS.max_offset)
    where: Where | None = Field(None, description="Such as: width >= 800 and tag = 'dog'")
    target: Literal["image", "caption"] = "image"
    min_score: Annotated[float, Field(ge=-1, le=1)] | Literal["auto"] | None = None
    hybrid: bool = Field(False, description="Fuse with a keyword ranking of the captions.")
    exact: bool = Field(False, description="Compare with every vector, not by ANN.")
    sort: Literal["score", "date", "size", "name"] | None = Field(
        None,
        description="Newest, largest or by name first. With a query, the k hits are sorted.",
    )
    reverse: bool = Field(False, description="Sort the other way round.")

    def parts(self) -> list[QueryLike | None]:
        """What is looked for besides the words to add."""
        return []

    def request(self) -> SearchRequest:
        """The whole search; a filter or an order alone lists items.

        Raises:
            InvalidInputError: There is nothing to look for.
        """
        given = [part for part in (*self.parts(), *self.add) if part is not None]
        is_list = not given and not self.subtract and (self.where or self.sort)
        query = None if is_list else Query.combine(given, self.subtract)
        return SearchRequest(query=query, **self.model_dump(include=set(PARAMETERS)))


class SearchBody(SearchParameters):
    """What to look for: words, more words, items, vectors, added and subtracted."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"text": "a dog on the beach", "k": 5},
                {"text": "a street", "subtract": ["cars"], "where": "width >= 800", "k": 10},
                {"terms": [{"item": 17}, {"text": "at night", "weight": 0.5}]},
                {"where": "camera like '%iphone%'", "sort": "date"},
            ]
        },
    )

    text: Text | None = None
    terms: list[TermBody] = Field([], max_length=_LIMITS.max_terms)

    def parts(self) -> list[QueryLike | None]:
        """The text and the terms."""
        return [self.text, *(term.query() for term in self.terms)]


class SearchForm(SearchParameters):
    """An image to look for, with words added and subtracted."""

    image: UploadFile = Field(description="An image file.")

    def parts(self) -> list[QueryLike | None]:
        """The image."""
        return [self.image.file.read()]


if TYPE_CHECKING:
    ItemDocument: TypeAlias = _Document
else:
    ItemDocument = create_model(
        "ItemDocument",
        __base__=_Document,
        __doc__="What is known of an item; never where its file is.",
        **{name: (TYPES[name], DEFAULTS.get(name, ...)) for name in PUBLIC},
    )


class HitDocument(ItemDocument):
    """An item with its score."""

    score: float | None = Field(description="Cosine, -1 to 1; null in a list without a query.")
    percentile: float | None = Field(None, description="Unrelated pairs that score lower, in %.")


class HitsDocument(_Document):
    """Hits, best first unless sorted otherwise, all of one committed state."""

    hits: list[HitDocument]
    generation: int
    approximate: bool
    weak: bool = Field(description="Whether nothing fits well: chance would score as well.")
    took_ms: float
    partial: bool | None = Field(None, description="Of an index in shards: whether any is missing.")
    missing_shards: MissingShards = None


class DuplicatesQuery(_Document):
    """Which duplicates to list."""

    kind: list[Literal["bytes", "pixels", "looks"]] = Field(
        ["bytes", "pixels", "looks"],
        min_length=1,
        max_length=3,
        description="Same bytes, same pixels, images that look alike; may be given several times.",
    )
    threshold: float | None = Field(
        None, gt=0, le=1, description="Cosine from which images are compared; by default 0.8."
    )
    where: Where | None = Field(None, description="Look only at items that satisfy this filter.")
    limit: int = Field(100, ge=1, le=1000, description="Maximum number of groups.")


class DuplicateDocument(_Document):
    """A member of a group; the first one is the group's leader."""

    id: int
    score: float = Field(description="Cosine with the leader.")
    kind: Literal["leader", "bytes", "pixels", "looks"] = Field(
        description="How it is like the leader."
    )
    checked: bool = Field(description="False where an image could not be read and compared.")
    keep: Literal["pixels", "size", "known", "path"] | None = Field(
        description="Of the one that is suggested to be kept, what it is ahead of the others in: "
        "pixels, size of the file, being known by caption, tags and albums, or a short path."
    )
    sha256: str | None = Field(description="Of the image file's bytes.")
    size_bytes: int | None
    width: int | None
    height: int | None


class DuplicatesDocument(_Document):
    """Groups of duplicates, largest first."""

    groups: list[list[DuplicateDocument]]
    total: int = Field(description="How many groups there are, whatever the limit.")


class FacetsQuery(_Document):
    """What to count."""

    where: Where | None = Field(None, description="Only items that satisfy this filter count.")
    by: list[FacetName] | None = Field(
        None,
        max_length=20,
        description="A facet; may be given several times. By default all but folders, which are "
        "not shown over HTTP.",
    )
    limit: int = Field(MOST_VALUES, ge=1, le=1000, description="Maximum number of values of each.")


class FacetValueDocument(_Document):
    """A value with the items that have it."""

    value: str | bool | None = Field(description="Null for items without a value.")
    count: int
    where: str = Field(description="The filter that finds them; others are joined to it by `and`.")
    below: bool = False


class FacetDocument(_Document):
    """The values of one facet: dates newest first, sizes ascending, others by their counts."""

    values: list[FacetValueDocument]
    distinct: int = Field(description="How many values there are, whatever the limit.")


class FacetsDocument(_Document):
    """Counts by facet, with the choices of menus: the most frequent cameras and tags, dates."""

    items: int = Field(description="How many items were counted.")
    by: dict[str, FacetDocument]
    cameras: list[str]
    tags: list[str]
    first_taken: str | None
    last_taken: str | None
    has_sizes: bool = Field(description="Whether any item knows its width.")
    captions: int = Field(description="How many items have a caption vector.")


class IndexDocument(_Document):
    """One index."""

    name: str
    items: int
    away: int | None = Field(
        None,
        description="How many of the items are kept but left out of answers, because their files "
        "cannot be found; unknown for an index in shards.",
    )
    generation: int
    model: str
    fingerprint: str = Field(description="Of the model; vectors of others say nothing here.")
    dim: int
    fields: dict[str, str] = Field(description="What `where` knows, with types.")
    shards: int | None = Field(None, description="Number of shards, if it is served in shards.")
    missing_shards: MissingShards = None


class IndexesDocument(_Document):
    """All indexes."""

    indexes: list[IndexDocument]


class AlbumDocument(_Document):
    """An album; a search in it has the filter `album = 'NAME'`."""

    name: str
    items: int
    away: int = Field(description="Of them, those whose files cannot be found now.")
    created_at: str


class AlbumsDocument(_Document):
    """All albums of an index."""

    albums: list[AlbumDocument]


class SavedSearchDocument(_Document):
    """A saved search."""

    name: str
    request: dict[str, Any] = Field(description="The body of a search that asks it again.")
    saved_at: str


class SavedSearchesDocument(_Document):
    """All saved searches of an index."""

    searches: list[SavedSearchDocument]


class ModelDocument(_Document):
    """One model."""

    name: str
    loaded: bool
    params_m: int | None = None
    licence: str | None = None
    languages: str | None = None
    advice: str | None = None


class ModelsDocument(_Document):
    """The model in memory first, then the recommended ones."""

    models: list[ModelDocument]
    dim: int
    fingerprint: str
    runtime: str | None = Field(None, description="What encodes images: openvino or torch.")


class PredictionDocument(_Document):
    """One label for one image."""

    label: str
    probability: float
    score: float = Field(description="Cosine of image and label, -1 to 1.")


class ClassifyDocument(_Document):
    """For every image, in order, its labels, best first; empty where the answer is withheld."""

    predictions: list[list[PredictionDocument]]
    labels: int


class EmbedBody(_Document):
    """Texts to embed."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"texts": ["a red bus", "a blue car"]}]}
    )

    texts: list[Text] = Field(min_length=1, max_length=_LIMITS.max_texts)


class EmbedDocument(_Document):
    """Unit vectors of texts and images, in the order given."""

    texts: list[list[float]] = []
    images: list[list[float]] = []
    dim: int
    model: str
    fingerprint: str


class ReadyDocument(_Document):
    """Whether the model and every index can be used, all shards included."""

    ready: bool
    missing_shards: MissingShards = None


class ProblemDocument(_Document):
    """An error, as RFC 9457 has it; `code` never changes its meaning."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None = None
