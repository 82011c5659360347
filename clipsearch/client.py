"""A client of `clipsearch serve`, with the methods of the local objects.

client = Client("http://127.0.0.1:7860")
for hit in client.index("photos").search("a red bus", k=5):
    print(hit.score, hit.item.id)
client.classifier(["cat", "dog"]).predict(["cat.jpg"])
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from . import calls
from .calls import Call, ClassifierCalls, IndexCalls, Labels
from .classification.renamed import asked_of_classify
from .errors import ServiceError
from .images import ImageInput
from .request import Searchable, SearchRequest
from .types import Album, Duplicate, Facets, Hits, Item, Prediction, SavedSearch
from .vectors import Floats

__all__ = ["Client", "RemoteClassifier", "RemoteIndex"]

_T = TypeVar("_T")


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
        self, url: str, token: str | None = None, *, timeout_s: float = calls.TIMEOUT_S
    ) -> None:
        import httpx

        self._http = httpx.Client(**calls.connection(url, token, timeout_s))

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
            return self._do(calls.ready())
        except ServiceError:
            return False

    def indexes(self) -> list[str]:
        """Names of the indexes."""
        return self._do(calls.indexes())

    def index(self, name: str) -> RemoteIndex:
        """An index by name; nothing is asked yet."""
        return RemoteIndex(self, name)

    def classifier(
        self, labels: Labels, *, templates: str | Sequence[str] = "openai"
    ) -> RemoteClassifier:
        """A zero-shot classifier of labels, as `ZeroShotClassifier`, or of a label pack's path."""
        return RemoteClassifier(self, labels, templates=templates)

    def list_models(self) -> list[dict[str, Any]]:
        """The model in memory, then the recommended ones."""
        return self._do(calls.list_models())

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        """Unit vectors of texts, float32 [n, dim]."""
        return self._do(calls.encode_texts(texts))

    def encode_images(self, images: Sequence[ImageInput]) -> Floats:
        """Unit vectors of images, float32 [n, dim]."""
        return self._do(calls.encode_images(images))

    def _do(self, call: Call[_T]) -> _T:
        import httpx

        try:
            answer = self._http.request(call.method, call.path, **call.body)
        except httpx.HTTPError as exc:
            raise calls.unreachable(self._http.base_url, exc) from exc
        return call.result(answer)


class RemoteIndex(Searchable):
    """An index on a server; its items have no path."""

    def __init__(self, client: Client, name: str) -> None:
        self._do = client._do
        self._calls = IndexCalls(name)

    def info(self) -> dict[str, Any]:
        """What the index holds, the number of its state, its model and fields."""
        return self._do(self._calls.info())

    def fields(self) -> dict[str, str]:
        """Names and types of the fields that `where` knows."""
        return dict(self.info()["fields"])

    @property
    def generation(self) -> int:
        """Number of the last committed state."""
        return int(self.info()["generation"])

    def __len__(self) -> int:
        return int(self.info()["items"])

    def answer(self, request: SearchRequest) -> Hits:
        """Answer a request; see `search`."""
        return self._do(self._calls.search(request))

    def item(self, id: int) -> Item:  # noqa: A002 - the word of Item.id
        """One item, without its path."""
        return self._do(self._calls.item(id))

    def duplicates(
        self,
        threshold: float | None = None,
        *,
        kinds: Sequence[str] = ("bytes", "pixels", "looks"),
        where: str | None = None,
        limit: int = 100,
    ) -> list[list[Duplicate]]:
        """As `Index.duplicates`, the largest `limit` groups; items know little but their id."""
        return self._do(self._calls.duplicates(threshold, kinds, where, limit))

    def facets(
        self, where: str | None = None, *, by: Sequence[str] | None = None, limit: int = 100
    ) -> Facets:
        """As `Index.facets`, without folders."""
        return self._do(self._calls.facets(where, by, limit))

    def albums(self) -> list[Album]:
        """As `Index.albums`."""
        return self._do(self._calls.albums())

    def saved_searches(self) -> list[SavedSearch]:
        """As `Index.saved_searches`."""
        return self._do(self._calls.saved_searches())

    def image(self, id: int) -> bytes:  # noqa: A002
        """The bytes of an item's image."""
        return self._do(self._calls.image(id))

    def thumbnail(self, id: int) -> bytes:  # noqa: A002
        """A small JPEG copy of an item's image."""
        return self._do(self._calls.thumbnail(id))


class RemoteClassifier:
    """A zero-shot classifier on a server."""

    def __init__(self, client: Client, labels: Labels, *, templates: str | Sequence[str]) -> None:
        self._do = client._do
        self._calls = ClassifierCalls(labels, templates)

    def classify(
        self,
        images: Sequence[ImageInput],
        *,
        k: int = 5,
        multi_label: bool = False,
        none_of_these: bool = False,
        threshold: float | None = None,
    ) -> list[list[Prediction]]:
        """As `ZeroShotClassifier.classify`."""
        return self._do(
            self._calls.classify(
                images,
                k=k,
                multi_label=multi_label,
                none_of_these=none_of_these,
                threshold=threshold,
            )
        )

    def predict(
        self,
        images: Sequence[ImageInput],
        *,
        k: int | None = None,
        multi_label: bool | None = None,
        none_of_these: bool | None = None,
        threshold: float | None = None,
    ) -> Any:
        """As `ZeroShotClassifier.predict`: the likeliest label of every image, texts [n]."""
        options = asked_of_classify(
            k=k, multi_label=multi_label, none_of_these=none_of_these, threshold=threshold
        )
        return (
            self.classify(images, **options) if options else self._do(self._calls.predict(images))
        )
