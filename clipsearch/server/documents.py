"""The JSON documents of the API, with their limits and examples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Base64Bytes, BaseModel, ConfigDict, Field

from ..engine.catalog import holds_path
from ..query import Query
from ..types import Hit, Item, Prediction
from .settings import ServerSettings

__all__ = [
    "ClassifyDocument",
    "EmbedBody",
    "EmbedDocument",
    "HitsDocument",
    "IndexDocument",
    "ItemDocument",
    "PredictionDocument",
    "ProblemDocument",
    "SearchBody",
    "Text",
    "hit_of",
    "item_of",
    "prediction_of",
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


class _Document(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")


class TermBody(_Document):
    """One weighted term of a query: exactly one of text, image, item and vector."""

    text: Text | None = None
    image: Base64Bytes | None = Field(None, description="The bytes of an image file, in base64.")
    item: Id | None = Field(None, description="An item's id: what its picture shows.")
    vector: list[float] | None = Field(None, max_length=8192)
    weight: Weight = 1.0

    def query(self) -> Query:
        """The term as a query."""
        given = self.model_dump(exclude_none=True)
        if self.image is not None and len(given) == 2:
            return Query.image(self.image, self.weight)
        return Query.from_dict({"terms": [given]})


class SearchBody(_Document):
    """What to look for: words, more words, items, vectors, added and subtracted."""

    model_config = ConfigDict(
        allow_inf_nan=False,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"text": "a dog on the beach", "k": 5},
                {"text": "a street", "subtract": ["cars"], "where": "width >= 800", "k": 10},
                {"terms": [{"item": 17}, {"text": "at night", "weight": 0.5}]},
            ]
        },
    )

    text: Text | None = None
    add: list[Text] = Field([], max_length=_LIMITS.max_terms)
    subtract: list[Text] = Field([], max_length=_LIMITS.max_terms)
    terms: list[TermBody] = Field([], max_length=_LIMITS.max_terms)
    k: int = Field(10, ge=1, le=_LIMITS.max_k, description="How many hits at most.")
    offset: int = Field(0, ge=0, le=_LIMITS.max_offset)
    where: Where | None = Field(None, description="Such as: width >= 800 and tag = 'dog'")
    target: Literal["image", "caption"] = "image"
    min_score: Annotated[float, Field(ge=-1, le=1)] | Literal["auto"] | None = None
    hybrid: bool = Field(False, description="Fuse with a keyword ranking of the captions.")
    exact: bool = Field(False, description="Leave the ANN file aside.")


class ItemDocument(_Document):
    """What is known of an item; never where its file is."""

    id: int
    caption: str | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    size_bytes: int | None = None
    taken_at: str | None = None
    camera: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    tags: list[str] = []
    extra: dict[str, Any] = {}
    has_image: bool = True
    has_caption: bool = False


class HitDocument(ItemDocument):
    """An item with its score."""

    score: float = Field(description="Cosine, -1 to 1.")
    percentile: float | None = Field(None, description="Unrelated pairs that score lower, in %.")


class HitsDocument(_Document):
    """Hits, best first, ties by ascending id, all of one committed state."""

    hits: list[HitDocument]
    generation: int
    approximate: bool
    took_ms: float


class IndexDocument(_Document):
    """One index."""

    name: str
    items: int
    generation: int
    model: str
    fingerprint: str = Field(description="Of the model; vectors of others say nothing here.")
    dim: int
    fields: dict[str, str] = Field(description="What `where` knows, with types.")


class IndexesDocument(_Document):
    """All indexes."""

    indexes: list[IndexDocument]


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
    """Whether the model and every index can be used."""

    ready: bool


class ProblemDocument(_Document):
    """An error, as RFC 9457 has it; `code` never changes its meaning."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None = None


def item_of(item: Item) -> dict[str, Any]:
    """An item without its key, path and hashes."""
    return {
        "id": item.id,
        "caption": item.caption,
        "width": item.width,
        "height": item.height,
        "format": item.format,
        "size_bytes": item.size_bytes,
        "taken_at": item.taken_at,
        "camera": item.camera,
        "latitude": item.latitude,
        "longitude": item.longitude,
        "tags": list(item.tags),
        "extra": {name: value for name, value in item.extra.items() if not holds_path(value)},
        "has_image": item.has_image,
        "has_caption": item.has_caption,
    }


def hit_of(hit: Hit) -> dict[str, Any]:
    """A hit without its file."""
    return {**item_of(hit.item), "score": hit.score, "percentile": hit.percentile}


def prediction_of(prediction: Prediction) -> dict[str, Any]:
    """A prediction as JSON."""
    return {
        "label": prediction.label,
        "probability": prediction.probability,
        "score": prediction.score,
    }
