"""The classes that Ray Serve runs: a replica of a shard, and the router that asks all shards.

They are plain classes. The router encodes a query once, asks every shard at the same time and
merges. A replica that dies in the middle costs one more attempt at another one; a shard none of
whose replicas answers in time is missing, and the answer says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from ..errors import (
    ClipSearchError,
    ImageDecodeError,
    InvalidInputError,
    ItemNotFoundError,
    PartialAnswerError,
)
from ..known import indexed_folders
from ..models import load_encoder
from ..query import Query
from ..request import SearchRequest
from ..server.settings import ServerSettings
from ..server.shared_encoder import SharedEncoder
from ..server.telemetry import Telemetry
from ..types import Hits, Item
from ..vectors import Floats
from .index_shards import ShardSet
from .shard_answer import (
    FetchedVectors,
    KeywordReader,
    ShardAnswer,
    ShardIndex,
    described,
    merge,
    without_cosine,
)

__all__ = ["Router", "ShardReplica"]

_log = logging.getLogger("clipsearch.cluster")
# What is wrong with the question, not with the shard: no other replica would answer it.
_OF_THE_QUESTION = (InvalidInputError, ItemNotFoundError, ImageDecodeError)
_PAUSE_S = 0.05  # before another replica is asked
_SUSPECT_S = 0.5  # how long a shard that was missing last time is waited for


class ShardReplica:
    """One copy of one shard.

    Args:
        folder: Of the shard.
        fingerprint: Of the model that queries are encoded with.
    """

    def __init__(self, folder: str, fingerprint: str) -> None:
        self._index = ShardIndex.open(folder)
        if self._index.fingerprint != fingerprint:
            raise InvalidInputError(f"{folder} is a shard of another index")

    async def ask(self, method: str, *arguments: Any) -> Any:
        """What a method of `ShardIndex` returns."""
        return await asyncio.to_thread(getattr(self._index, method), *arguments)

    def check_health(self) -> None:
        """Called by Ray Serve now and then; an error makes it replace the replica."""
        _ = self._index.generation


class Router:
    """Answers for the whole index.

    Args:
        handles: Ray Serve's handles of the shards, in order.
        folder: The folder of the index.
        shards: Its shards; the index itself as the only one if it was not split.
        settings: Limits of queries.
        device: Of the model.
        timeout_s: How long a shard may take before it counts as missing.
        refuse_partial: Whether an answer without all shards is an error.

    Raises:
        InvalidInputError: The model is another one here.
    """

    def __init__(
        self,
        *handles: Any,
        folder: Path,
        shards: ShardSet,
        settings: ServerSettings,
        device: str,
        timeout_s: float,
        refuse_partial: bool,
    ) -> None:
        self.folder = folder
        self.shards = shards
        self.settings = settings
        self.telemetry = Telemetry()
        encoder = load_encoder(shards.model_name, device=device)
        if encoder.fingerprint != shards.fingerprint:
            raise InvalidInputError(
                f"{shards.model_name} is another model here than the one that made the index"
            )
        self.encoder = SharedEncoder(encoder, settings, self.telemetry)
        self._handles = handles
        self._timeout_s = timeout_s
        self._refuse_partial = refuse_partial
        was_split = shards.shards[0].folder != folder
        self._keywords = KeywordReader(folder, shards.generation if was_split else None)
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
            ImageDecodeError: An image of the query cannot be read.
            PartialAnswerError: No shard answered; or not all did, and that is refused.
        """
        started = perf_counter()
        self._searched += 1
        vector = None if request.query is None else await self._resolve(request.query)
        plain = described(request)
        found = await self._ask_all("best", plain, vector)
        answers = [answer for answer in found.values() if answer is not None]
        words, looked_up = None, dict[int, ShardAnswer | None]()
        if request.hybrid:
            words = await asyncio.to_thread(self._keywords.match, plain)
            if unknown := without_cosine(words, answers):
                looked_up = await self._ask_all("look_up", unknown, plain, vector)
        missing = [n for n in found if found[n] is None or looked_up.get(n, 0) is None]
        if missing and (self._refuse_partial or not answers):
            raise PartialAnswerError(
                f"{len(missing)} of {len(self.shards)} shards of {self.shards.name} do not "
                f"answer (shard {', '.join(map(str, missing))}); try again soon"
            )
        merged = merge(
            answers,
            request,
            words=words,
            looked_up=[answer for answer in looked_up.values() if answer is not None],
            missing=missing,
            shards=len(self.shards),
        )
        return replace(merged, took_ms=(perf_counter() - started) * 1e3)

    async def info(self) -> dict[str, Any]:
        """What the index is, and how much this router has done."""
        return {
            "name": self.shards.name,
            "items": self.shards.items,
            "generation": self.shards.generation,
            "model": self.shards.model_name,
            "dim": self.shards.dim,
            "shards": len(self.shards),
            "missing": sorted(self._lost),
            "searched": self._searched,
            "encoded": self._encoded,
            "fields": await self.fields(),
        }

    async def fields(self) -> dict[str, str]:
        """Names and types of what `where` knows."""
        if not self._fields:
            self._fields = await self._ask_any("fields") or {}
        return self._fields

    def indexed_folders(self) -> tuple[str, ...]:
        """The folders whose files were indexed on this machine into the index that was split."""
        return indexed_folders(self._keywords.index_id(), self.folder)

    async def item(self, id: int) -> Item:  # noqa: A002 - the word of Item.id
        """One item.

        Raises:
            ItemNotFoundError: No shard has it.
            PartialAnswerError: It may be in a shard that does not answer.
        """
        found = await self._of_items("items_of", [id])
        if id not in found:
            raise ItemNotFoundError(f"there is no item {id} in index {self.shards.name}")
        item: Item = found[id]
        return item

    async def missing(self) -> list[int]:
        """Numbers of the shards that do not answer now, ascending, from 1."""
        found = await self._ask_all("__len__")
        return [number for number, items in found.items() if items is None]

    async def _resolve(self, query: Query) -> Floats:
        """The query as one vector; the model runs once."""
        self._encoded += any(term.kind in ("text", "image") for term in query.terms)
        encoded = await self.encoder.encoded(query)
        ids = [int(term.value) for term in query.terms if term.kind == "item"]
        vectors = await self._of_items("vectors_of", ids) if ids else {}
        return encoded.resolve(None, FetchedVectors(self.shards.dim, vectors, self.shards.name))

    async def _of_items(self, method: str, ids: Sequence[int]) -> dict[int, Any]:
        """What the shards know of items, by id, of those that there are.

        Raises:
            PartialAnswerError: One may be in a shard that does not answer.
        """
        found = await self._ask_all(method, ids)
        known: dict[int, Any] = {}
        for part in found.values():
            known.update(part or {})
        unknown = [number for number in ids if number not in known]
        missing = [number for number, part in found.items() if part is None]
        if unknown and missing:
            raise PartialAnswerError(
                f"item {unknown[0]} may be in shard {missing[0]}, which does not answer; try "
                "again soon"
            )
        return known

    async def _ask_any(self, method: str, *arguments: Any) -> Any:
        """The answer of one shard, where all have the same; None if there is none."""
        for number in sorted(range(1, len(self.shards) + 1), key=self._lost.__contains__):
            if (found := await self._ask(number, method, *arguments)) is not None:
                return found
        return None

    async def _ask_all(self, method: str, *arguments: Any) -> dict[int, Any]:
        """Every shard's answer by its number, from 1; None for one that is missing."""
        numbers = range(1, len(self.shards) + 1)
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
        limit = min(_SUSPECT_S, self._timeout_s) if number in self._lost else None
        deadline = clock() + (limit or self._timeout_s)
        reason = "no answer in time"
        while (left := deadline - clock()) > 0:
            call = _awaited(self._handles[number - 1].ask, (method, *arguments))
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
            _log.warning("shard %d of %s is missing: %s", number, self.shards.name, reason)
        self._lost.add(number)
        return None


async def _awaited(method: Any, arguments: tuple[Any, ...]) -> Any:
    return await method.remote(*arguments)
