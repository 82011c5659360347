"""The classes that Ray Serve runs: a replica of a shard, and the router that asks all shards.

They are plain classes. The router encodes a query once, asks every shard at the same time and
merges. A replica that dies in the middle costs one more attempt at another one; a shard none of
whose replicas answers in time is missing, and the answer says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..errors import (
    ClipSearchError,
    ImageDecodeError,
    InvalidInputError,
    ItemNotFoundError,
    PartialAnswerError,
)
from ..query import Query
from ..request import SearchRequest
from ..types import Hits
from ..vectors import Floats
from .shard_answer import (
    FetchedVectors,
    KeywordReader,
    ShardAnswer,
    ShardReader,
    described,
    merge,
    without_cosine,
)

if TYPE_CHECKING:
    from ..encoder import Encoder

__all__ = ["Router", "RouterSettings", "ShardReplica"]

_log = logging.getLogger("clipsearch.cluster")
# What is wrong with the question, not with the shard: no other replica would answer it.
_OF_THE_QUESTION = (InvalidInputError, ItemNotFoundError, ImageDecodeError)
_PAUSE_S = 0.05  # before another replica is asked
_SUSPECT_S = 0.5  # how long a shard that was missing last time is waited for


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSettings:
    """How the router works."""

    name: str  # of the index
    folder: Path  # of the index
    was_split: bool  # else the index itself is the only shard
    model: str
    fingerprint: str
    dim: int
    generation: int
    items: int
    device: str = "auto"
    timeout_s: float = 10.0  # for one shard
    refuse_partial: bool = False
    tokens: tuple[str, ...] = ()


class ShardReplica:
    """One copy of one shard, answering searches.

    Args:
        folder: Of the shard.
        fingerprint: Of the model that queries are encoded with.
    """

    def __init__(self, folder: str, fingerprint: str) -> None:
        self._reader = ShardReader(Path(folder))
        if self._reader.fingerprint != fingerprint:
            raise InvalidInputError(f"{folder} is a shard of another index")

    async def search(self, request: SearchRequest, vector: Floats) -> ShardAnswer:
        """The best of this shard; see `ShardReader.search`."""
        return await asyncio.to_thread(self._reader.search, request, vector)

    async def look_up(
        self, ids: Sequence[int], request: SearchRequest, vector: Floats
    ) -> ShardAnswer:
        """Those of the items that are here; see `ShardReader.look_up`."""
        return await asyncio.to_thread(self._reader.look_up, ids, request, vector)

    async def vectors(self, ids: Sequence[int]) -> dict[int, Floats]:
        """Vectors of the items that are here."""
        return await asyncio.to_thread(self._reader.vectors, ids)

    async def fields(self) -> dict[str, str]:
        """Names and types of what `where` knows."""
        return await asyncio.to_thread(self._reader.fields)

    def check_health(self) -> None:
        """Called by Ray Serve now and then; an error makes it replace the replica."""
        self._reader.check()


class Router:
    """Answers searches of the whole index.

    Args:
        settings: How.
        shards: Ray Serve's handles of the shards, in order.
    """

    def __init__(self, settings: RouterSettings, *shards: Any) -> None:
        from ..models import load_encoder

        self._settings = settings
        self._shards = shards
        self._encoder: Encoder = load_encoder(settings.model, device=settings.device)
        if self._encoder.fingerprint != settings.fingerprint:
            raise InvalidInputError(
                f"{settings.model} is another model here than the one that made the index"
            )
        self._keywords = KeywordReader(
            settings.folder, settings.generation if settings.was_split else None
        )
        self._lost: set[int] = set()
        self._fields: dict[str, str] = {}
        self._encoded = 0  # queries for which the model ran
        self._searched = 0

    async def answer(self, request: SearchRequest) -> Hits:
        """Search all shards.

        Args:
            request: What is asked of the whole index; images as bytes.

        Raises:
            InvalidInputError: A bad query, filter or number.
            ItemNotFoundError: The query names an item that no shard has.
            PartialAnswerError: No shard answered; or not all did, and that is refused.
        """
        started = perf_counter()
        self._searched += 1
        vector = await self._resolve(request.query)
        plain = described(request)
        found = await self._ask_all("search", plain, vector)
        answers = [answer for answer in found.values() if answer is not None]
        words, looked_up = None, dict[int, ShardAnswer | None]()
        if request.hybrid:
            words = await asyncio.to_thread(self._keywords.match, plain)
            if unknown := without_cosine(words, answers):
                looked_up = await self._ask_all("look_up", unknown, plain, vector)
        missing = [n for n in found if found[n] is None or looked_up.get(n, 0) is None]
        if missing and (self._settings.refuse_partial or not answers):
            raise PartialAnswerError(
                f"{len(missing)} of {len(self._shards)} shards of {self._settings.name} do not "
                f"answer (shard {', '.join(map(str, missing))}); try again soon"
            )
        merged = merge(
            answers,
            request,
            words=words,
            looked_up=[answer for answer in looked_up.values() if answer is not None],
            missing=missing,
            shards=len(self._shards),
        )
        return replace(merged, took_ms=(perf_counter() - started) * 1e3)

    async def info(self) -> dict[str, Any]:
        """What the index is, and how much this router has done."""
        return {
            "name": self._settings.name,
            "items": self._settings.items,
            "generation": self._settings.generation,
            "model": self._settings.model,
            "dim": self._settings.dim,
            "shards": len(self._shards),
            "missing": sorted(self._lost),
            "searched": self._searched,
            "encoded": self._encoded,
            "fields": await self.fields(),
        }

    async def fields(self) -> dict[str, str]:
        """Names and types of what `where` knows."""
        if not self._fields:
            for found in (await self._ask_all("fields")).values():
                self._fields = self._fields or found or {}
        return self._fields

    async def __call__(self, request: Any) -> Any:
        """Answer an HTTP request; see `http`."""
        from .http import answer

        return await answer(request, self, self._settings)

    async def _resolve(self, query: Query) -> Floats:
        """The query as one vector; the model runs once."""
        ids = [int(term.value) for term in query.terms if term.kind == "item"]
        vectors: dict[int, Floats] = {}
        if ids:
            found = await self._ask_all("vectors", ids)
            for part in found.values():
                vectors.update(part or {})
            unknown = [number for number in ids if number not in vectors]
            missing = [number for number, part in found.items() if part is None]
            if unknown and missing:
                raise PartialAnswerError(
                    f"item {unknown[0]} may be in shard {missing[0]}, which does not answer; try "
                    "again soon"
                )
        source = FetchedVectors(self._settings.dim, vectors, self._settings.name)
        self._encoded += any(term.kind in ("text", "image") for term in query.terms)
        return await asyncio.to_thread(query.resolve, self._encoder, source)

    async def _ask_all(self, method: str, *arguments: Any) -> dict[int, Any]:
        """Every shard's answer by its number, from 1; None for one that is missing."""
        numbers = range(1, len(self._shards) + 1)
        tasks = [asyncio.create_task(self._ask(n, method, *arguments)) for n in numbers]
        try:
            found = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return dict(zip(numbers, found, strict=True))

    async def _ask(self, number: int, method: str, *arguments: Any) -> Any:
        """One shard's answer, or None if it gives none in time."""
        clock = asyncio.get_running_loop().time
        limit = min(_SUSPECT_S, self._settings.timeout_s) if number in self._lost else None
        deadline = clock() + (limit or self._settings.timeout_s)
        reason = "no answer in time"
        while (left := deadline - clock()) > 0:
            call = _awaited(getattr(self._shards[number - 1], method), arguments)
            try:
                found = await asyncio.wait_for(call, left)
            except TimeoutError:
                break
            except Exception as exc:  # Ray's, of many kinds: the replica is gone or cannot answer
                cause = getattr(exc, "cause", exc)
                if isinstance(cause, _OF_THE_QUESTION):
                    raise cause from None
                reason = " ".join(str(cause).split())[:200]
                if isinstance(cause, ClipSearchError):
                    break  # this replica's files are damaged, and so are those of the others
                await asyncio.sleep(_PAUSE_S)
            else:
                self._lost.discard(number)
                return found
        if number not in self._lost:
            _log.warning("shard %d of %s is missing: %s", number, self._settings.name, reason)
        self._lost.add(number)
        return None


async def _awaited(method: Any, arguments: tuple[Any, ...]) -> Any:
    return await method.remote(*arguments)
