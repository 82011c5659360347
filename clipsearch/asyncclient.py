"""The client of `clipsearch serve` for asyncio: the methods of `Client`, to be awaited.

async with AsyncClient("http://127.0.0.1:7860") as client:
    for hit in await client.index("photos").search("a red bus", k=5):
        print(hit.score, hit.item.id)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from . import calls
from .calls import Call, ClassifierCalls, IndexCalls, Labels
from .errors import ServiceError
from .images import ImageInput
from .request import SearchOptions, SearchRequest, queries_of
from .types import Album, Duplicate, Facets, Hits, Item, Prediction, SavedSearch
from .vectors import Floats

if TYPE_CHECKING:
    from typing import Unpack

    import numpy.typing as npt

    from .query import QueryLike

__all__ = ["AsyncClient", "AsyncRemoteClassifier", "AsyncRemoteIndex"]

_T = TypeVar("_T")
_AT_ONCE = 16  # queries of one `search_many` that are under way together


class AsyncClient:
    """A connection to one server for asyncio; closes as an asynchronous context manager.

    Args:
        url: Such as "http://127.0.0.1:7860".
        token: The server's token, if it wants one.
        timeout_s: For one request.

    Files are read and images encoded in threads. Every method raises what that of `Client` raises.
    """

    def __init__(
        self, url: str, token: str | None = None, *, timeout_s: float = calls.TIMEOUT_S
    ) -> None:
        import httpx

        self._http = httpx.AsyncClient(**calls.connection(url, token, timeout_s))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ready(self) -> bool:
        """Whether the server has its model and indexes loaded."""
        try:
            return await self._do(calls.ready())
        except ServiceError:
            return False

    async def indexes(self) -> list[str]:
        """Names of the indexes."""
        return await self._do(calls.indexes())

    def index(self, name: str) -> AsyncRemoteIndex:
        """An index by name; nothing is asked yet."""
        return AsyncRemoteIndex(self, name)

    def classifier(
        self, labels: Labels, *, templates: str | Sequence[str] = "openai"
    ) -> AsyncRemoteClassifier:
        """As `Client.classifier`; the file of a label pack is read at once."""
        return AsyncRemoteClassifier(self, labels, templates=templates)

    async def list_models(self) -> list[dict[str, Any]]:
        """The model in memory, then the recommended ones."""
        return await self._do(calls.list_models())

    async def encode_texts(self, texts: Sequence[str]) -> Floats:
        """Unit vectors of texts, float32 [n, dim]."""
        return await self._do(calls.encode_texts(texts))

    async def encode_images(self, images: Sequence[ImageInput]) -> Floats:
        """Unit vectors of images, float32 [n, dim]."""
        return await self._do(await asyncio.to_thread(calls.encode_images, images))

    async def _do(self, call: Call[_T]) -> _T:
        import httpx

        try:
            answer = await self._http.request(call.method, call.path, **call.body)
        except httpx.HTTPError as exc:
            raise calls.unreachable(self._http.base_url, exc) from exc
        return call.result(answer)


class AsyncRemoteIndex:
    """An index on a server; its items have no path."""

    def __init__(self, client: AsyncClient, name: str) -> None:
        self._do = client._do
        self._calls = IndexCalls(name)

    async def info(self) -> dict[str, Any]:
        """What the index holds (`items`), the number of its state, its model and fields."""
        return await self._do(self._calls.info())

    async def fields(self) -> dict[str, str]:
        """Names and types of the fields that `where` knows."""
        return dict((await self.info())["fields"])

    async def search(
        self, query: QueryLike | None = None, k: int = 10, **options: Unpack[SearchOptions]
    ) -> Hits:
        """As `Index.search`, with the same options."""
        return (await self.search_many([query], k, **options))[0]

    async def search_many(
        self,
        queries: Iterable[QueryLike | None] | npt.NDArray[Any],
        k: int = 10,
        **options: Unpack[SearchOptions],
    ) -> list[Hits]:
        """As `Index.search_many`; several are under way together, and the server batches them."""
        return await self.answer_many(
            [SearchRequest(query=query, k=k, **options) for query in queries_of(queries)]
        )

    async def answer(self, request: SearchRequest) -> Hits:
        """Answer a request; see `search`."""
        return await self._do(await asyncio.to_thread(self._calls.search, request))

    async def answer_many(self, requests: Sequence[SearchRequest]) -> list[Hits]:
        """Answer several requests, in order; of several errors, the first one is raised."""
        found: list[Hits] = []
        for start in range(0, len(requests), _AT_ONCE):
            some = map(self.answer, requests[start : start + _AT_ONCE])
            for ended in await asyncio.gather(*some, return_exceptions=True):
                if isinstance(ended, BaseException):
                    raise ended
                found.append(ended)
        return found

    async def item(self, id: int) -> Item:  # noqa: A002 - the word of Item.id
        """One item, without its path."""
        return await self._do(self._calls.item(id))

    async def duplicates(
        self,
        threshold: float | None = None,
        *,
        kinds: Sequence[str] = ("bytes", "pixels", "looks"),
        where: str | None = None,
        limit: int = 100,
    ) -> list[list[Duplicate]]:
        """As `Index.duplicates`, the largest `limit` groups; items know little but their id."""
        return await self._do(self._calls.duplicates(threshold, kinds, where, limit))

    async def facets(
        self, where: str | None = None, *, by: Sequence[str] | None = None, limit: int = 100
    ) -> Facets:
        """As `Index.facets`, without folders."""
        return await self._do(self._calls.facets(where, by, limit))

    async def albums(self) -> list[Album]:
        """As `Index.albums`."""
        return await self._do(self._calls.albums())

    async def saved_searches(self) -> list[SavedSearch]:
        """As `Index.saved_searches`."""
        return await self._do(self._calls.saved_searches())

    async def image(self, id: int) -> bytes:  # noqa: A002
        """The bytes of an item's image."""
        return await self._do(self._calls.image(id))

    async def thumbnail(self, id: int) -> bytes:  # noqa: A002
        """A small JPEG copy of an item's image."""
        return await self._do(self._calls.thumbnail(id))


class AsyncRemoteClassifier:
    """A zero-shot classifier on a server."""

    def __init__(
        self, client: AsyncClient, labels: Labels, *, templates: str | Sequence[str]
    ) -> None:
        self._do = client._do
        self._calls = ClassifierCalls(labels, templates)

    async def classify(
        self,
        images: Sequence[ImageInput],
        *,
        k: int = 5,
        multi_label: bool = False,
        none_of_these: bool = False,
        threshold: float | None = None,
    ) -> list[list[Prediction]]:
        """As `ZeroShotClassifier.classify`."""
        call = await asyncio.to_thread(
            self._calls.classify,
            images,
            k=k,
            multi_label=multi_label,
            none_of_these=none_of_these,
            threshold=threshold,
        )
        return await self._do(call)

    async def predict(self, images: Sequence[ImageInput]) -> npt.NDArray[Any]:
        """As `ZeroShotClassifier.predict`: the likeliest label of every image, texts [n]."""
        found: npt.NDArray[Any] = await self._do(
            await asyncio.to_thread(self._calls.predict, images)
        )
        return found
