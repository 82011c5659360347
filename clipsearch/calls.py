"""The requests that clients of `clipsearch serve` send, and what the answers to them mean."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from . import errors
from .documents import duplicate_of_public, facets_of_public, hits_of_public, item_of_public
from .errors import ServiceError
from .files import expanded, read_regular
from .images import ImageInput, check_images, load_image
from .limits import MAX_IMAGE_BYTES
from .query import Query, Term
from .request import SearchRequest
from .types import Album, Duplicate, Facets, Hits, Item, Prediction, SavedSearch
from .vectors import Floats

if TYPE_CHECKING:
    import httpx

__all__ = [
    "TIMEOUT_S",
    "Call",
    "ClassifierCalls",
    "IndexCalls",
    "Labels",
    "connection",
    "encode_images",
    "encode_texts",
    "indexes",
    "list_models",
    "ready",
    "unreachable",
]

TIMEOUT_S = 60.0
Labels = Sequence[str] | Mapping[str, Sequence[str]] | str | os.PathLike[str]
_T = TypeVar("_T")
_ERRORS: dict[str, type[errors.ClipSearchError]] = {
    cls.code: cls
    for name in errors.__all__
    if isinstance(cls := getattr(errors, name), type) and issubclass(cls, errors.ClipSearchError)
}


@dataclass(frozen=True, slots=True)
class Call(Generic[_T]):
    """A request, and how its answer is read."""

    method: str
    path: str
    reads: Callable[[httpx.Response], _T]
    body: Mapping[str, Any] = field(default_factory=dict)  # as httpx takes it

    def result(self, answer: httpx.Response) -> _T:
        """What an answer means.

        Raises:
            ClipSearchError: The error that the local object would have raised.
            ServiceError: The server refuses for another reason.
        """
        if answer.is_success:
            return self.reads(answer)
        raise _error(answer)


def connection(url: str, token: str | None, timeout_s: float) -> dict[str, Any]:
    """How a client of httpx connects."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return {"base_url": url, "headers": headers, "timeout": timeout_s, "follow_redirects": False}


def unreachable(url: object, exc: Exception) -> ServiceError:
    """The error for a server that gives no answer."""
    return ServiceError(f"no answer from {url}: {exc}")


# --- the server ---------------------------------------------------------------------------------


def ready() -> Call[bool]:
    """Whether the server has its model and indexes loaded."""
    return Call("GET", "/readyz", lambda answer: bool(answer.json()["ready"]))


def indexes() -> Call[list[str]]:
    """Names of the indexes."""
    return Call(
        "GET", "/v1/indexes", lambda answer: [one["name"] for one in answer.json()["indexes"]]
    )


def list_models() -> Call[list[dict[str, Any]]]:
    """The model in memory, then the recommended ones."""
    return Call("GET", "/v1/models", lambda answer: list(answer.json()["models"]))


def encode_texts(texts: Sequence[str]) -> Call[Floats]:
    """Unit vectors of texts, float32 [n, dim]."""
    return Call("POST", "/v1/embed", _vectors("texts"), {"json": {"texts": list(texts)}})


def encode_images(images: Sequence[ImageInput]) -> Call[Floats]:
    """Unit vectors of images, float32 [n, dim]."""
    return Call("POST", "/v1/embed/image", _vectors("images"), {"files": _uploads(images)})


# --- an index -----------------------------------------------------------------------------------


class IndexCalls:
    """What an index on a server is asked."""

    def __init__(self, name: str) -> None:
        from urllib.parse import quote

        self._path = f"/v1/indexes/{quote(name, safe='')}"

    def info(self) -> Call[dict[str, Any]]:
        """What the index holds, the number of its state, its model and fields."""
        return Call("GET", self._path, lambda answer: dict(answer.json()))

    def search(self, request: SearchRequest) -> Call[Hits]:
        """The hits of a request."""
        terms = request.query.terms if request.query is not None else ()
        body = {"terms": [_term(term) for term in terms], **request.parameters}
        return Call(
            "POST",
            f"{self._path}/search",
            lambda answer: hits_of_public(answer.json()),
            {"json": body},
        )

    def item(self, id: int) -> Call[Item]:  # noqa: A002 - the word of Item.id
        """One item, without its path."""
        return Call("GET", self._of(id), lambda answer: item_of_public(answer.json()))

    def duplicates(
        self, threshold: float | None, kinds: Sequence[str], where: str | None, limit: int
    ) -> Call[list[list[Duplicate]]]:
        """The largest groups of duplicates."""
        asked: dict[str, Any] = {"kind": list(kinds), "limit": limit}
        if threshold is not None:
            asked["threshold"] = threshold
        if where is not None:
            asked["where"] = where

        def reads(answer: httpx.Response) -> list[list[Duplicate]]:
            groups = answer.json()["groups"]
            return [[duplicate_of_public(member) for member in group] for group in groups]

        return Call("GET", f"{self._path}/duplicates", reads, {"params": asked})

    def facets(self, where: str | None, by: Sequence[str] | None, limit: int) -> Call[Facets]:
        """What items have in common."""
        asked: dict[str, Any] = {"limit": limit}
        if where is not None:
            asked["where"] = where
        if by is not None:
            asked["by"] = [by] if isinstance(by, str) else list(by)
        return Call(
            "GET",
            f"{self._path}/facets",
            lambda answer: facets_of_public(answer.json()),
            {"params": asked},
        )

    def albums(self) -> Call[list[Album]]:
        """The albums."""
        return Call(
            "GET",
            f"{self._path}/albums",
            lambda answer: [Album(**one) for one in answer.json()["albums"]],
        )

    def saved_searches(self) -> Call[list[SavedSearch]]:
        """The saved searches."""
        return Call(
            "GET",
            f"{self._path}/saved-searches",
            lambda answer: [SavedSearch(**one) for one in answer.json()["searches"]],
        )

    def image(self, id: int) -> Call[bytes]:  # noqa: A002
        """The bytes of an item's image."""
        return Call("GET", f"{self._of(id)}/image", lambda answer: answer.content)

    def thumbnail(self, id: int) -> Call[bytes]:  # noqa: A002
        """A small JPEG copy of an item's image."""
        return Call("GET", f"{self._of(id)}/thumbnail", lambda answer: answer.content)

    def _of(self, id: int) -> str:  # noqa: A002
        return f"{self._path}/items/{int(id)}"


# --- a classifier -------------------------------------------------------------------------------


class ClassifierCalls:
    """What a classifier on a server is asked: labels, or a label pack of which this is the path."""

    def __init__(self, labels: Labels, templates: str | Sequence[str]) -> None:
        self._pack: bytes | None = None
        self._data: dict[str, Any] = {}
        if isinstance(labels, str | os.PathLike):
            self._pack = _read(labels)
        elif isinstance(labels, Mapping):
            groups = {name: list(words) for name, words in labels.items()}
            self._data["classes"] = json.dumps(groups)
        else:
            self._data["labels"] = list(labels)
        if self._pack is None:
            self._data["template"] = [templates] if isinstance(templates, str) else list(templates)

    def classify(
        self,
        images: Sequence[ImageInput],
        *,
        k: int = 5,
        multi_label: bool = False,
        none_of_these: bool = False,
        threshold: float | None = None,
    ) -> Call[list[list[Prediction]]]:
        """The k best labels of every image."""
        data = {**self._data, "k": str(k)}
        data |= {"multi_label": str(multi_label).lower()}
        data |= {"none_of_these": str(none_of_these).lower()}
        if threshold is not None:
            data["threshold"] = str(threshold)
        files = _uploads(images)
        if self._pack is not None:
            files.append(("pack", ("pack.clip", self._pack)))

        def reads(answer: httpx.Response) -> list[list[Prediction]]:
            return [
                [Prediction(p["label"], p["probability"], p["score"]) for p in row]
                for row in answer.json()["predictions"]
            ]

        return Call("POST", "/v1/classify", reads, {"data": data, "files": files})

    def predict(self, images: Sequence[ImageInput]) -> Call[Any]:
        """The likeliest label of every image, whatever a calibration says of abstaining."""
        asked = self.classify(images, k=1, threshold=0.0)

        def reads(answer: httpx.Response) -> Any:
            return np.array([row[0].label for row in asked.reads(answer)])

        return Call(asked.method, asked.path, reads, asked.body)


# --- parts --------------------------------------------------------------------------------------


def _vectors(name: str) -> Callable[[httpx.Response], Floats]:
    def reads(answer: httpx.Response) -> Floats:
        found = answer.json()
        return np.asarray(found[name], np.float32).reshape(-1, found["dim"])

    return reads


def _uploads(images: Sequence[ImageInput]) -> list[tuple[str, tuple[str, bytes]]]:
    check_images(images)
    return [("images", _upload(image)) for image in images]


def _upload(image: ImageInput) -> tuple[str, bytes]:
    """Name and bytes of an image; a file goes as it is, under no name."""
    if isinstance(image, bytes):
        return "image", image
    if isinstance(image, str | os.PathLike):
        return "image", _read(image)
    from io import BytesIO

    buffer = BytesIO()
    load_image(image).save(buffer, "PNG")
    return "image", buffer.getvalue()


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return read_regular(expanded(path), MAX_IMAGE_BYTES)
    except OSError as exc:
        raise errors.InvalidInputError(f"cannot read {path}: {exc.strerror or exc}") from exc


def _term(term: Term) -> dict[str, Any]:
    """A part of a query as the server takes it; an image as its bytes."""
    if term.kind == "image":
        return {"image": b64encode(_upload(term.value)[1]).decode(), "weight": term.weight}
    found: dict[str, Any] = Query((term,)).to_dict()["terms"][0]
    return found


def _error(answer: httpx.Response) -> errors.ClipSearchError:
    """The error that the local object would have raised."""
    try:
        problem = json.loads(answer.content)
        code, detail = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return ServiceError(f"HTTP status {answer.status_code}", status=answer.status_code)
    known = _ERRORS.get(code)
    if known not in (None, errors.ClipSearchError, ServiceError):
        return known(detail)
    return ServiceError(detail, status=answer.status_code, code=code)
