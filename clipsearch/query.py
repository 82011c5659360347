"""Query algebra: texts, images, vectors and stored items, added and subtracted with weights.

Query.text("beach") + Query.image("dog.jpg") - 0.5 * Query.text("people")
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from .errors import InvalidInputError
from .types import Modality
from .vectors import Floats, check_vector, unit

if TYPE_CHECKING:
    from PIL import Image

    from .encoder import Encoder
    from .images import ImageInput

    QueryLike: TypeAlias = (
        "Query | str | bytes | os.PathLike[str] | Image.Image | npt.NDArray[Any]"
        " | Mapping[str, Any]"
    )

__all__ = ["Query", "Term", "VectorSource", "encode_together"]

Kind = Literal["text", "image", "vector", "item"]

MAX_TERMS = 64  # far more than anyone combines; bounds the work of one request
# A sum shorter than this share of its weights is cancellation, and its direction is noise.
_MIN_SHARE = 1e-4


class VectorSource(Protocol):
    """What a query needs of an index: the vectors of stored items."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    def vectors(self, ids: Sequence[int], modality: Modality | None = None) -> Floats:
        """Unit vectors of items, float32 [n, dim]."""


@dataclass(frozen=True, slots=True)
class Term:
    """One weighted part of a query."""

    kind: Kind
    value: Any  # str, image, tuple of floats, or item id
    weight: float = 1.0
    # float32 [dim] of a text or image that was encoded already
    vector: Floats | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Query:
    """A weighted sum of terms. Build it with the class methods, `+`, `-` and `*`."""

    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        if not self.terms:
            raise InvalidInputError("a query needs at least one text, image, vector or item")
        if len(self.terms) > MAX_TERMS:
            raise InvalidInputError(
                f"a query can have {MAX_TERMS} terms at most, got {len(self.terms)}"
            )
        for term in self.terms:
            if not math.isfinite(term.weight):
                raise InvalidInputError(f"the weight of a term must be finite, got {term.weight}")

    @classmethod
    def text(cls, text: str, weight: float = 1.0) -> Query:
        """What words describe.

        Raises:
            InvalidInputError: The text is empty or no text.
        """
        if not isinstance(text, str):
            raise InvalidInputError(f"a text was expected, got {type(text).__name__}")
        if not text.strip():
            raise InvalidInputError("the text of the query is empty; say what to look for")
        return cls((Term("text", text.strip(), _number(weight)),))

    @classmethod
    def image(cls, image: ImageInput, weight: float = 1.0) -> Query:
        """What an image shows: a path, bytes, a PIL image, or uint8 pixels [H, W, 3]."""
        if isinstance(image, np.ndarray):
            image = image.copy()
        return cls((Term("image", image, _number(weight)),))

    @classmethod
    def vector(cls, vector: npt.ArrayLike, weight: float = 1.0) -> Query:
        """A vector of the index's space, [dim]; need not be normalised."""
        array = np.asarray(vector, dtype=np.float64)
        checked = check_vector(array, array.size, what="vector of the query")
        return cls((Term("vector", tuple(checked.tolist()), _number(weight)),))

    @classmethod
    def item(cls, id: int, weight: float = 1.0) -> Query:  # noqa: A002 - the word of Item.id
        """What a stored item shows: its image vector, or its caption vector if it has no image."""
        if isinstance(id, bool) or not isinstance(id, int | np.integer):
            raise InvalidInputError(f"an item id is a whole number, got {id!r}")
        return cls((Term("item", int(id), _number(weight)),))

    @classmethod
    def of(cls, given: QueryLike) -> Query:
        """A query of whatever says what to look for.

        Args:
            given: A text, a vector [dim], a PIL image, the `Path` or bytes of an image file, what
                `to_dict` gave, or a `Query`, which stays as it is.

        Raises:
            InvalidInputError: It is none of these, or empty.
        """
        if isinstance(given, Query):
            return given
        if isinstance(given, str):
            return cls.text(given)
        if isinstance(given, Mapping):
            return cls.from_dict(given)
        if isinstance(given, np.ndarray):
            return cls.vector(given)
        if isinstance(given, bytes | os.PathLike) or (
            hasattr(given, "convert") and hasattr(given, "size")
        ):
            return cls.image(given)
        raise InvalidInputError(
            "a query is a text, a Query, a vector, a PIL image, or the Path or bytes of an image, "
            f"got {type(given).__name__}"
        )

    @classmethod
    def combine(cls, add: Iterable[QueryLike | None], subtract: Iterable[QueryLike] = ()) -> Query:
        """One query of everything to look for, less everything to steer away from.

        Args:
            add: Parts as `of` takes them; None is left out.
            subtract: Parts as `of` takes them.

        Raises:
            InvalidInputError: There is no part, or one of them is not a query.
        """
        parts = [cls.of(part) for part in add if part is not None]
        parts += [-cls.of(part) for part in subtract]
        if not parts:
            raise InvalidInputError("nothing to look for; give words, an image or an item")
        return cls(tuple(term for part in parts for term in part.terms))

    def __add__(self, other: Query) -> Query:
        if not isinstance(other, Query):
            return NotImplemented
        return Query(self.terms + other.terms)

    def __sub__(self, other: Query) -> Query:
        if not isinstance(other, Query):
            return NotImplemented
        return self + -other

    def __neg__(self) -> Query:
        return self * -1.0

    def __mul__(self, factor: float) -> Query:
        if isinstance(factor, Query):
            return NotImplemented
        scale = _number(factor)
        return Query(tuple(replace(term, weight=term.weight * scale) for term in self.terms))

    __rmul__ = __mul__

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts with positive weight."""
        return tuple(t.value for t in self.terms if t.kind == "text" and t.weight > 0)

    @property
    def kind(self) -> Literal["text", "image", "vector"]:
        """Whose score distribution applies: of texts, of images, or of nothing known.

        A text pulls a sum towards the texts, so one text makes it a text query.
        """
        kinds = {term.kind for term in self.terms if term.weight > 0}
        if "text" in kinds:
            return "text"
        return "image" if kinds and kinds <= {"image", "item"} else "vector"

    def resolve(
        self, encoder: Encoder | Callable[[], Encoder] | None, index: VectorSource | None = None
    ) -> Floats:
        """Turn the query into one vector.

        Each term's vector has unit length before its weight is applied, and so has the sum.

        Args:
            encoder: Encodes texts and images; may be a function that loads it, which is called
                only when there is something to encode.
            index: Knows the vectors of items, and the dimension that `vector` terms must have.

        Returns:
            float32 [dim], unit length.

        Raises:
            InvalidInputError: The terms cancel each other out, a vector has another length, or
                there is no encoder or index for a term that needs one.
            ItemNotFoundError: The index has no such item.
            ImageDecodeError: An image cannot be read.
        """
        (encoded,) = encode_together([self], encoder)
        found: dict[int, npt.NDArray[np.floating[Any]]] = {
            i: term.vector for i, term in enumerate(encoded.terms) if term.vector is not None
        }
        items = self._positions("item")
        if items:
            if index is None:
                raise InvalidInputError("a query with item terms needs the index of the items")
            stored = index.vectors([self.terms[i].value for i in items])
            found.update(zip(items, stored, strict=True))
        for i in self._positions("vector"):
            found[i] = np.asarray(self.terms[i].value)
        dims = {vector.size for vector in found.values()} | (
            set() if index is None else {index.dim}
        )
        if len(dims) > 1:
            raise InvalidInputError(
                f"the vectors of the query have different lengths: {sorted(dims)}; the index and "
                "everything in the query must come from one model"
            )
        vectors = unit(np.stack([found[i] for i in range(len(self.terms))]))  # [terms, dim]
        weights = np.asarray([term.weight for term in self.terms])
        total = weights @ vectors.astype(np.float64)  # [dim]
        if np.linalg.norm(total) <= _MIN_SHARE * np.abs(weights).sum():
            raise InvalidInputError(
                "the terms of the query cancel each other out; change the weights"
            )
        return unit(total)

    def unencoded(self, kind: Literal["text", "image"]) -> list[Any]:
        """The texts or images that have no vector yet, in order."""
        return [t.value for t in self.terms if t.kind == kind and t.vector is None]

    def with_vectors(self, kind: Literal["text", "image"], vectors: Iterator[Floats]) -> Query:
        """The same query; what `unencoded` lists takes its vectors from an iterator, in order."""
        return Query(
            tuple(
                replace(term, vector=next(vectors))
                if term.kind == kind and term.vector is None
                else term
                for term in self.terms
            )
        )

    def _positions(self, kind: Kind) -> list[int]:
        return [i for i, term in enumerate(self.terms) if term.kind == kind]

    def to_dict(self) -> dict[str, Any]:
        """The query as JSON-able data, for permalinks and HTTP.

        Raises:
            InvalidInputError: It holds an image, which has no place in a link.
        """
        terms = []
        for term in self.terms:
            if term.kind == "image":
                raise InvalidInputError(
                    "an image cannot be written as JSON; send the image itself, or use its "
                    "vector or item id"
                )
            value = list(term.value) if term.kind == "vector" else term.value
            terms.append({term.kind: value, "weight": term.weight})
        return {"terms": terms}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Query:
        """Read what `to_dict` wrote. Takes no paths, so it is safe for data from outside.

        Raises:
            InvalidInputError: The data is not of that form; the message says where.
        """
        terms = data.get("terms") if isinstance(data, Mapping) else None
        if not isinstance(terms, Sequence) or isinstance(terms, str | bytes):
            raise InvalidInputError("a query is an object with a list of `terms`")
        parts: list[Term] = []
        makers: dict[str, Callable[[Any, float], Query]] = {
            "text": cls.text,
            "vector": cls.vector,
            "item": cls.item,
        }
        for i, term in enumerate(terms):
            names = set(term) - {"weight"} if isinstance(term, Mapping) else set()
            if len(names) != 1 or not names <= set(makers):
                raise InvalidInputError(
                    f"terms[{i}] must hold exactly one of text, vector, item, and may hold a weight"
                )
            name = names.pop()
            try:
                parts.extend(makers[name](term[name], term.get("weight", 1.0)).terms)
            except (TypeError, ValueError) as exc:
                raise InvalidInputError(f"terms[{i}].{name}: {exc}") from exc
        return cls(tuple(parts))


def encode_together(
    queries: Sequence[Query], encoder: Encoder | Callable[[], Encoder] | None
) -> list[Query]:
    """The same queries with the vectors of their texts and images, which are encoded at once.

    Args:
        queries: Some may have their vectors already.
        encoder: As for `Query.resolve`, which needs none for what this returns.

    Raises:
        InvalidInputError: There is no encoder for a term that needs one.
        ImageDecodeError: An image cannot be read.
    """
    for kind in ("text", "image"):
        values = [query.unencoded(kind) for query in queries]
        flat = [value for part in values for value in part]
        if not flat:
            continue
        if encoder is None:
            raise InvalidInputError(
                f"a query with {kind} terms needs an encoder, to be given with it"
            )
        model = cast("Encoder", encoder if hasattr(encoder, "encode_texts") else encoder())
        vectors = iter(model.encode_texts(flat) if kind == "text" else model.encode_images(flat))
        queries = [query.with_vectors(kind, vectors) for query in queries]
    return list(queries)


def _number(weight: float) -> float:
    if isinstance(weight, bool) or not isinstance(weight, int | float | np.number):
        raise InvalidInputError(f"a weight is a number, got {weight!r}")
    return float(weight)
