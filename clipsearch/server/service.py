"""What the server serves: several indexes, their model, recent classifiers."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

from starlette.concurrency import run_in_threadpool

from ..classification.labels import Groups, label_groups
from ..classification.prompts import resolve_templates
from ..errors import (
    ClipSearchError,
    IndexMigratedError,
    IndexNotFoundError,
    InvalidInputError,
)
from ..hub import Hub
from ..request import SearchRequest
from ..types import Hits
from ..zeroshot import ZeroShotClassifier
from .settings import ServerSettings
from .shared_encoder import SharedEncoder
from .shared_search import InShards, Search, ServedIndex, SharedSearch
from .telemetry import Telemetry

__all__ = ["Engine", "public_name"]


class Engine:
    """Answers for the indexes and models of a hub; safe for threads.

    Args:
        hub: What is open. Its models are `SharedEncoder`s, as `sharing` loads them.
        indexes: Name and folder of every index that is served.
        model: Name of the model that classifies and embeds where no index is served.
        settings: Limits.
        telemetry: Where batches and queues are reported.
        searches: How each index is searched; by default those that come together are collected.
    """

    def __init__(
        self,
        hub: Hub[ServedIndex],
        indexes: Mapping[str, Path],
        *,
        model: str,
        settings: ServerSettings,
        telemetry: Telemetry,
        searches: Mapping[str, Search] | None = None,
    ) -> None:
        self.settings = settings
        self.telemetry = telemetry
        self._hub = hub
        self._folders = dict(indexes)
        self._model = model
        observe = telemetry.batch_observer("search")
        self._searches = searches or {name: SharedSearch(settings, observe) for name in indexes}
        self._classifiers: OrderedDict[str, ZeroShotClassifier] = OrderedDict()
        self._lock = threading.Lock()
        watched = self._searches.values()
        telemetry.watch_queue("search", lambda: sum(search.waiting for search in watched))
        for name in indexes:
            telemetry.watch_index(name, partial(self._numbers, name))

    @property
    def indexes(self) -> Mapping[str, ServedIndex]:
        """The indexes by name, as they are now."""
        return {name: self.index(name) for name in self._folders}

    @property
    def folders(self) -> list[Path]:
        """The folders of the indexes that are served."""
        return list(self._folders.values())

    def folder(self, name: str) -> Path:
        """The folder of an index by name, which is looked up here and never becomes a path.

        Raises:
            IndexNotFoundError: There is none of that name.
        """
        if name not in self._folders:
            raise IndexNotFoundError("there is no such index; GET /v1/indexes lists them")
        return self._folders[name]

    def index(self, name: str) -> ServedIndex:
        """An index by name, as it is now. Looks at the disk, so not for an event loop.

        Raises:
            IndexNotFoundError: There is none of that name, or it is gone.
            ClipSearchError: It cannot be opened.
        """
        return self._hub.index(self.folder(name))

    @property
    def encoder(self) -> SharedEncoder:
        """The model of the first index, which also classifies and embeds."""
        for name in list(self._folders)[:1]:
            with contextlib.suppress(ClipSearchError):  # the model that it had still serves
                self._model = self._ready(name).model_name
        return cast("SharedEncoder", self._hub.encoder(self._model))

    def _ready(self, name: str) -> ServedIndex:
        """An index by name, as it is now, with its model loaded.

        Raises:
            IndexMigratedError: It was migrated to a model that cannot be loaded.
        """
        index = self.index(name)
        try:
            _ = index.encoder
        except ClipSearchError as exc:
            raise IndexMigratedError(f"{name} was migrated and cannot be served: {exc}") from exc
        return index

    async def answer(self, name: str, request: SearchRequest) -> Hits:
        """Search an index; what other requests ask meanwhile is encoded and scored with it.

        Raises:
            IndexNotFoundError: There is none of that name.
            ClipSearchError: As `Index.answer`.
        """
        terms = len(request.query.terms) if request.query is not None else 0
        if terms > self.settings.max_terms:
            raise InvalidInputError(
                f"a query of {terms} terms is over the limit of {self.settings.max_terms}"
            )
        index = self._hub.held(self.folder(name))
        if index is not None and self._hub.is_loaded(index.model_name):
            try:
                return await self._answer(name, index, request)
            except IndexMigratedError:
                pass  # the search has looked at the disk; a look before it would cost a thread
        index = await run_in_threadpool(self._ready, name)
        return await self._answer(name, index, request)

    async def _answer(self, name: str, index: ServedIndex, request: SearchRequest) -> Hits:
        query = request.query
        if query is not None:
            query = await cast("SharedEncoder", index.encoder).encoded(query)
        return await self._searches[name].answer(index, replace(request, query=query))

    def broken(self) -> list[str]:
        """Names of the indexes that cannot be searched now."""
        return [name for name in self._folders if not self._is_usable(name)]

    def _is_usable(self, name: str) -> bool:
        try:
            index = self.index(name)
            len(index)  # reads its state
            ready = self._hub.model_state(index.model_name) == "ready"
            return ready and index.encoder is not None
        except ClipSearchError:
            return False

    def missing_shards(self) -> list[int] | None:
        """Numbers of the shards that do not answer now; None where no index is in shards."""
        found: list[int] | None = None
        for name in self._folders:
            with contextlib.suppress(ClipSearchError):  # `broken` says so
                index = self.index(name)
                if isinstance(index, InShards):
                    found = [*(found or ()), *index.missing_shards()]
        return found

    def _numbers(self, name: str) -> tuple[int, int]:
        index = self.index(name)
        return index.generation, len(index)

    def classifier(
        self, labels: Sequence[str] | Groups, templates: str | Sequence[str]
    ) -> ZeroShotClassifier:
        """The classifier of labels, made or remembered.

        Raises:
            InvalidInputError: The labels or templates are wrong or too many.
        """
        groups = label_groups(labels)
        names = sum(map(len, groups.values()))
        sentences = names * len(resolve_templates(templates))
        if sentences > self.settings.max_sentences:
            raise InvalidInputError(
                f"{names} names in {sentences // names} templates are {sentences:,} sentences, "
                f"over the limit of {self.settings.max_sentences:,}; take fewer labels, or "
                "template simple or none"
            )
        encoder = self.encoder
        asked = (encoder.fingerprint, list(groups.items()), templates)
        return self._remembered(
            hashlib.sha256(repr(asked).encode()).hexdigest(),
            lambda: ZeroShotClassifier(encoder, groups, templates=templates, cache=False),
        )

    def packed(self, pack: bytes) -> ZeroShotClassifier:
        """The classifier of a label pack's bytes, made or remembered.

        Raises:
            InvalidInputError: Not a label pack.
            EncoderMismatchError: It was made with another model.
        """
        encoder = self.encoder
        key = encoder.fingerprint + hashlib.sha256(pack).hexdigest()
        return self._remembered(key, lambda: ZeroShotClassifier.load(pack, encoder))

    def _remembered(self, key: str, make: Callable[[], ZeroShotClassifier]) -> ZeroShotClassifier:
        with self._lock:
            found = self._classifiers.get(key)
            if found is not None:
                self._classifiers.move_to_end(key)
                return found
        made = make()  # two threads may both make it; either will do
        with self._lock:
            self._classifiers[key] = made
            while len(self._classifiers) > self.settings.classifiers_kept:
                self._classifiers.popitem(last=False)
        return made

    def close(self) -> None:
        """Finish what is under way and close the hub."""
        for search in self._searches.values():
            search.close()
        self._hub.close()


def public_name(model: str) -> str:
    """A model's name without the place of a checkpoint on the server."""
    return model.partition(":")[0] if "/" in model.partition(":")[2] else model
