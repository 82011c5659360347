"""Searches that come together, answered together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.concurrency import run_in_threadpool
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped, unused-ignore]

from ..index import Index
from ..request import SearchRequest
from ..types import Hits
from .batching import Batcher
from .settings import ServerSettings

__all__ = ["SharedSearch"]


class SharedSearch:
    """One index that many requests search, safe for any number of threads.

    Scanning all vectors costs little more for many queries than for one, so plain searches that
    come while another is under way are scored together. What takes a time of its own (a filter,
    keywords, an ANN file) is not waited for by others.

    Args:
        index: What is searched.
        settings: How many are scored together at most.
        observe: Called with the size of every batch.
    """

    def __init__(
        self, index: Index, settings: ServerSettings, observe: Callable[[int], None]
    ) -> None:
        self._index = index
        self._threads = ThreadpoolController()
        self._scans = True  # until an answer says that an ANN file took part
        self._together: Batcher[SearchRequest, Hits] = Batcher(
            self._answer, max_batch=settings.max_batch, wait_ms=0, observe=observe
        )

    async def answer(self, request: SearchRequest) -> Hits:
        """As `Index.answer`; the query's texts and images should be encoded already."""
        if request.where is not None or request.hybrid or not self._scans:
            hits = await run_in_threadpool(self._index.answer, request)
        else:
            (hits,) = await self._together.soon([request])
        if request.where is None:
            self._scans = not hits.approximate
        return hits

    @property
    def waiting(self) -> int:
        """How many searches wait."""
        return self._together.waiting

    def _answer(self, requests: list[SearchRequest]) -> Sequence[Hits]:
        # A second thread of BLAS spends more time on waiting than this product takes.
        with self._threads.limit(limits=1, user_api="blas"):
            return self._index.answer_many(requests)

    def close(self) -> None:
        """Finish what is under way."""
        self._together.close()
