"""A client of `clipsearch serve`, with the methods of the local objects.

client = Client("http://127.0.0.1:7860")
for hit in client.index("photos").search("a red bus", k=5):
    print(hit.score, hit.item.id)
client.classifier(["cat", "dog"]).predict(["cat.jpg"])
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from . import errors
from .documents import duplicate_of_public, facets_of_public, hits_of_public, item_of_public
from .errors import ServiceError
from .files import expanded, read_regular
from .images import ImageInput, load_image
from .limits import MAX_IMAGE_BYTES
from .query import Query, Term
from .request import Searchable, SearchRequest
from .types import Album, Duplicate, Facets, Hits, Item, Prediction, SavedSearch
from .vectors import Floats

if TYPE_CHECKING:
    import httpx

__all__ = ["Client", "RemoteClassifier", "RemoteIndex"]

_TIMEOUT_S = 60.0
_ERRORS: dict[str, type[errors.ClipSearchError]] = {
    cls.code: cls
    for name in errors.__all__
    if isinstance(cls := getattr(errors, name), type) and issubclass(cls, errors.ClipSearchError)
}


class Client:
    """A connection to one server. Safe for threads; closes as a context manager.

    Args:
        url: Such as "http://127.0.0.1:7860".
        token: The server's token, if it wants one.
        timeout_s: For one request.

    Every method raises the error that the local object would raise, and `ServiceError` when the
    server cannot be reached or refuses.
    """

    def __init__(
        self, url: str, token: str | None = None, *, timeout_s: float = _TIMEOUT_S
    ) -> None:
        import httpx

        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(
            base_url=url, headers=headers, timeout=timeout_s, follow_redirects=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ready(self) -> bool:
        """Whether the server has its model and indexes loaded."""
        try:
            return bool(self._send("GET", "/readyz").json()["ready"])
        except ServiceError:
            return False

    def indexes(self) -> list[str]:
        """Names of the indexes."""
        listed = self._send("GET", "/v1/indexes").json()["indexes"]
        return [entry["name"] for entry in listed]

    def index(self, name: str) -> RemoteIndex:
        """An index by name; nothing is asked yet."""
        return RemoteIndex(self, name)

    def classifier(
        self,
        labels: Sequence[str] | Mapping[str, Sequence[str]] | str | os.PathLike[str],
        *,
        templates: str | Sequence[str] = "openai",
    ) -> RemoteClassifier:
        """A zero-shot classifier of labels, as `ZeroShotClassifier`, or of a label pack's path."""
        return RemoteClassifier(self, labels, templates=templates)

    def list_models(self) -> list[dict[str, Any]]:
        """The model in memory, then the recommended ones."""
        models: list[dict[str, Any]] = self._send("GET", "/v1/models").json()["models"]
        return models

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        """Unit vectors of texts, float32 [n, dim]."""
        found = self._send("POST", "/v1/embed", json={"texts": list(texts)}).json()
        return np.asarray(found["texts"], np.float32).reshape(-1, found["dim"])

    def encode_images(self, images: Sequence[ImageInput]) -> Floats:
        """Unit vectors of images, float32 [n, dim]."""
        files = [("images", _upload(image)) for image in images]
        found = self._send("POST", "/v1/embed/image", files=files).json()
        return np.asarray(found["images"], np.float32).reshape(-1, found["dim"])

    def _send(self, method: str, path: str, **body: Any) -> httpx.Response:
        import httpx

        try:
            answer = self._http.request(method, path, **body)
        except httpx.HTTPError as exc:
            raise ServiceError(f"no answer from {self._http.base_url}: {exc}") from exc
        if answer.is_success:
            return answer
        raise _error(answer)


class RemoteIndex(Searchable):
    """An index on a server; its items have no path."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._path = f"/v1/indexes/{_quoted(name)}"

    def info(self) -> dict[str, Any]:
        """What the index holds, the number of its state, its model and fields."""
        facts: dict[str, Any] = self._client._send("GET", self._path).json()
        return facts

    def fields(self) -> dict[str, str]:
        """Names and types of the fields that `where` knows."""
        fields: dict[str, str] = self.info()["fields"]
        return fields

    @property
    def generation(self) -> int:
        """Number of the last committed state."""
        return int(self.info()["generation"])

    def __len__(self) -> int:
        return int(self.info()["items"])

    def answer(self, request: SearchRequest) -> Hits:
        """Answer a request; see `search`."""
        terms = request.query.terms if request.query is not None else ()
        body = {"terms": [_term(term) for term in terms], **request.parameters}
        answer = self._client._send("POST", f"{self._path}/search", json=body)
        return hits_of_public(answer.json())

    def item(self, id: int) -> Item:  # noqa: A002 - the word of Item.id
        """One item, without its path."""
        return item_of_public(self._client._send("GET", f"{self._path}/items/{int(id)}").json())

    def duplicates(
        self,
        threshold: float | None = None,
        *,
        kinds: Sequence[str] = ("bytes", "pixels", "looks"),
        where: str | None = None,
        limit: int = 100,
    ) -> list[list[Duplicate]]:
        """As `Index.duplicates`, the largest `limit` groups; items know little but their id."""
        asked: dict[str, Any] = {"kind": list(kinds), "limit": limit}
        if threshold is not None:
            asked["threshold"] = threshold
        if where is not None:
            asked["where"] = where
        answer = self._client._send("GET", f"{self._path}/duplicates", params=asked).json()
        return [[duplicate_of_public(member) for member in group] for group in answer["groups"]]

    def facets(
        self, where: str | None = None, *, by: Sequence[str] | None = None, limit: int = 100
    ) -> Facets:
        """As `Index.facets`, without folders."""
        asked: dict[str, Any] = {"limit": limit}
        if where is not None:
            asked["where"] = where
        if by is not None:
            asked["by"] = [by] if isinstance(by, str) else list(by)
        answer = self._client._send("GET", f"{self._path}/facets", params=asked)
        return facets_of_public(answer.json())

    def albums(self) -> list[Album]:
        """As `Index.albums`."""
        answer = self._client._send("GET", f"{self._path}/albums").json()
        return [Album(**one) for one in answer["albums"]]

    def saved_searches(self) -> list[SavedSearch]:
        """As `Index.saved_searches`."""
        answer = self._client._send("GET", f"{self._path}/saved-searches").json()
        return [SavedSearch(**one) for one in answer["searches"]]

    def image(self, id: int) -> bytes:  # noqa: A002
        """The bytes of an item's image."""
        return self._client._send("GET", f"{self._path}/items/{int(id)}/image").content

    def thumbnail(self, id: int) -> bytes:  # noqa: A002
        """A small JPEG copy of an item's image."""
        return self._client._send("GET", f"{self._path}/items/{int(id)}/thumbnail").content


class RemoteClassifier:
    """A zero-shot classifier on a server."""

    def __init__(
        self,
        client: Client,
        labels: Sequence[str] | Mapping[str, Sequence[str]] | str | os.PathLike[str],
        *,
        templates: str | Sequence[str],
    ) -> None:
        self._client = client
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

    def predict(
        self,
        images: Sequence[ImageInput],
        *,
        k: int = 5,
        multi_label: bool = False,
        none_of_these: bool = False,
        threshold: float | None = None,
    ) -> list[list[Prediction]]:
        """As `ZeroShotClassifier.predict`."""
        data = {**self._data, "k": str(k)}
        data |= {"multi_label": str(multi_label).lower()}
        data |= {"none_of_these": str(none_of_these).lower()}
        if threshold is not None:
            data["threshold"] = str(threshold)
        files = [("images", _upload(image)) for image in images]
        if self._pack is not None:
            files.append(("pack", ("pack.clip", self._pack)))
        answer = self._client._send("POST", "/v1/classify", data=data, files=files).json()
        return [
            [Prediction(p["label"], p["probability"], p["score"]) for p in row]
            for row in answer["predictions"]
        ]


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


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


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
