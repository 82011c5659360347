"""Searches that come together, answered together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Protocol, runtime_checkable

from starlette.concurrency import run_in_threadpool
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped, unused-ignore]

from ..encoder import Encoder
from ..request import SearchRequest
from ..types import Hits, Item
from .batcher import Batcher
from .settings import ServerSettings

__all__ = ["InShards", "Search", "ServedIndex", "SharedSearch"]


class ServedIndex(Protocol):
    """What the server needs of an open index; `Index` is one."""

    @property
    def model_name(self) -> str:
        """Name of its model."""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of its model."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def generation(self) -> int:
        """Number of the last committed state."""

    @property
    def encoder(self) -> Encoder:
        """Its model, loaded on first need."""

    def __len__(self) -> int:
        """Number of items."""

    def is_current(self) -> bool:
        """Whether it may still be used."""

    def fields(self) -> dict[str, str]:
        """Names and types of the fields that `where` knows."""

    def item(self, id: int) -> Item:  # noqa: A002 - the word of Item.id
        """One item."""

    def indexed_folders(self) -> tuple[str, ...]:
        """The folders whose files were indexed into it on this machine."""

    def answer_many(self, requests: Sequence[SearchRequest]) -> list[Hits]:
        """The hits of each request, whose texts and images are encoded already."""

    def close(self) -> None:
        """Close all files."""


@runtime_checkable
class InShards(Protocol):
    """What an index in shards says besides."""

    @property
    def shards(self) -> int:
        """Number of shards."""

    def missing_shards(self) -> list[int]:
        """Numbers of the shards that do not answer now, ascending, from 1."""


class Search(Protocol):
    """How the searches of one index are answered."""

    @property
    def waiting(self) -> int:
        """How many searches wait."""

    async def answer(self, index: ServedIndex, request: SearchRequest) -> Hits:
        """As `Index.answer`; the query's texts and images should be encoded already.

        Args:
            index: The index as it is open now; it may have been opened again since the last one.
            request: What is asked.
        """

    def close(self) -> None:
        """Finish what is under way."""


_Asked = tuple[ServedIndex, SearchRequest]


class SharedSearch:
    """Searches of one index by many requests, safe for any number of threads.

    Scanning all vectors costs little more for many queries than for one, so plain searches that
    come while another is under way are scored together. What takes a time of its own (a filter,
    keywords, an ANN file) is not waited for by others.

    Args:
        settings: How many are scored together at most.
        observe: Called with the size of every batch.
    """

    def __init__(self, settings: ServerSettings, observe: Callable[[int], None]) -> None:
        self._scans = True  # until an answer says that an ANN file took part
        self._together: Batcher[_Asked, Hits] = Batcher(
            self._answer, max_batch=settings.max_batch, wait_ms=0, observe=observe
        )

    async def answer(self, index: ServedIndex, request: SearchRequest) -> Hits:
        """As `Search.answer`."""
        if request.query is None:
            (hits,) = await run_in_threadpool(index.answer_many, [request])
            return hits
        if request.where is not None or request.hybrid or not self._scans:
            (hits,) = await run_in_threadpool(index.answer_many, [request])
        else:
            (hits,) = await self._together.soon([(index, request)])
        if request.where is None:
            self._scans = not hits.approximate
        return hits

    @cached_property
    def _threads(self) -> ThreadpoolController:
        """Of the libraries that are loaded by the time of the first search."""
        return ThreadpoolController()

    @property
    def waiting(self) -> int:
        """How many searches wait."""
        return self._together.waiting

    def _answer(self, asked: list[_Asked]) -> Sequence[Hits]:
        by_index: dict[ServedIndex, list[int]] = {}
        for place, (index, _) in enumerate(asked):
            by_index.setdefault(index, []).append(place)
        found: dict[int, Hits] = {}
        for index, places in by_index.items():
            # A second thread of BLAS spends more time on waiting than this product takes.
            with self._threads.limit(limits=1, user_api="blas"):
                hits = index.answer_many([asked[place][1] for place in places])
            found.update(zip(places, hits, strict=True))
        return [found[place] for place in range(len(asked))]

    def close(self) -> None:
        """Finish what is under way."""
        self._together.close()
