"""Searches that come together, answered together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from starlette.concurrency import run_in_threadpool
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped, unused-ignore]

from ..index import Index
from ..query import Query
from ..types import Hits, Modality
from .batching import Batcher
from .settings import ServerSettings

__all__ = ["SearchOptions", "SharedSearch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """What is asked besides the query, as `Index.search` has it."""

    k: int
    offset: int = 0
    where: str | None = None
    target: Modality = "image"
    min_score: float | Literal["auto"] | None = None
    hybrid: bool = False
    exact: bool = False


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
        self._together: Batcher[tuple[Query, SearchOptions], Hits] = Batcher(
            self._search, max_batch=settings.max_batch, wait_ms=0, observe=observe
        )

    async def search(self, query: Query, options: SearchOptions) -> Hits:
        """As `Index.search`; the query's texts and images should be encoded already."""
        if options.where is not None or options.hybrid or not self._scans:
            hits = await run_in_threadpool(self._index.search, query, **asdict(options))
        else:
            (hits,) = await self._together.soon([(query, options)])
        if options.where is None:
            self._scans = not hits.approximate
        return hits

    @property
    def waiting(self) -> int:
        """How many searches wait."""
        return self._together.waiting

    def _search(self, asked: list[tuple[Query, SearchOptions]]) -> Sequence[Hits]:
        alike: dict[SearchOptions, list[int]] = {}
        for place, (_, options) in enumerate(asked):
            alike.setdefault(options, []).append(place)
        found: dict[int, Hits] = {}
        for options, places in alike.items():
            queries = [asked[place][0] for place in places]
            # A second thread of BLAS spends more time on waiting than this product takes.
            with self._threads.limit(limits=1, user_api="blas"):
                hits = self._index.search_many(queries, **asdict(options))
            found.update(zip(places, hits, strict=True))
        return [found[place] for place in range(len(asked))]

    def close(self) -> None:
        """Finish what is under way."""
        self._together.close()
