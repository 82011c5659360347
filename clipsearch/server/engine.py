"""What the server serves: several indexes, their model, recent classifiers."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..classification.labels import Groups, label_groups
from ..classification.prompts import resolve_templates
from ..encoder import Encoder
from ..errors import (
    ClipSearchError,
    IndexMigratedError,
    IndexNotFoundError,
    InvalidInputError,
)
from ..index import Index
from ..models import load_encoder
from ..request import SearchRequest
from ..types import Hits
from ..zeroshot import ZeroShotClassifier
from .answering import SharedSearch
from .encoding import SharedEncoder
from .settings import ServerSettings
from .telemetry import Telemetry

__all__ = ["Engine", "public_name"]

_log = logging.getLogger("clipsearch.server")
_LOOK_S = 0.5  # between two looks at whether an index has been migrated
_RETRY_S = 30.0  # after a model could not be loaded


@dataclass(frozen=True, slots=True)
class _Served:
    """An open index with its model."""

    index: Index
    encoder: SharedEncoder
    search: SharedSearch


class Engine:
    """Holds the model and the indexes of one server; safe for threads.

    An index that is migrated meanwhile is opened anew, with the model that it has by then.

    Args:
        encoder: The model in memory.
        indexes: Name and folder of every index; all must be of that model.
        settings: Limits.
        telemetry: Where batches and queues are reported.
        load: From a model's name to the model.

    Raises:
        EncoderMismatchError: An index is of another model.
        IndexNotFoundError: A folder is no index.
    """

    def __init__(
        self,
        encoder: Encoder,
        indexes: Mapping[str, Path],
        *,
        settings: ServerSettings,
        telemetry: Telemetry,
        load: Callable[[str], Encoder] = load_encoder,
    ) -> None:
        self.settings = settings
        self._telemetry = telemetry
        self._load = load
        # Models are kept to the end: pages and requests may still use one that no index has.
        self._models = {encoder.name: SharedEncoder(encoder, settings, telemetry)}
        self._served: dict[str, _Served] = {}
        self._replaced: list[_Served] = []
        self._classifiers: OrderedDict[str, ZeroShotClassifier] = OrderedDict()
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._stop = threading.Event()
        self._follower = threading.Thread(target=self._follow, daemon=True, name="migrations")
        served = self._served
        telemetry.watch_queue("search", lambda: sum(s.search.waiting for s in served.values()))
        try:
            for name, folder in indexes.items():
                self._serve(name, folder, self._models[encoder.name])
        except BaseException:
            self.close()
            raise
        self._follower.start()

    def _serve(self, name: str, folder: Path, encoder: SharedEncoder) -> None:
        index = Index.open(folder, encoder)
        search = SharedSearch(index, self.settings, self._telemetry.batch_observer("search"))
        if name in self._served:
            self._replaced.append(self._served[name])
        self._served[name] = _Served(index, encoder, search)
        self._telemetry.watch_index(name, partial(_numbers, index))

    def _follow(self) -> None:
        """Open indexes anew that have been migrated, until the engine is closed."""
        while not self._stop.wait(_LOOK_S):
            for name, served in list(self._served.items()):
                if not isinstance(_trouble(served.index), IndexMigratedError):
                    continue
                try:
                    with Index.open(served.index.path) as now:
                        model = now.model_name
                    self._serve(name, served.index.path, self.load(model))
                except ClipSearchError as exc:
                    _log.error("%s was migrated and cannot be served: %s", name, exc)
                    self._stop.wait(_RETRY_S)

    @property
    def indexes(self) -> Mapping[str, Index]:
        """The open indexes by name."""
        return {name: served.index for name, served in self._served.items()}

    @property
    def encoder(self) -> SharedEncoder:
        """The model of the first index, which also classifies and embeds."""
        return next((s.encoder for s in self._served.values()), next(iter(self._models.values())))

    def load(self, model: str) -> SharedEncoder:
        """A model by name, which stays in memory.

        Raises:
            ModelNotFoundError, ModelLoadError: As `load_encoder`.
        """
        with self._loading:
            if model not in self._models:
                loaded = self._load(model)
                self._models[model] = SharedEncoder(loaded, self.settings, self._telemetry)
            return self._models[model]

    def index(self, name: str) -> Index:
        """An index by name, which is looked up here and never becomes a path.

        Raises:
            IndexNotFoundError: There is none of that name.
        """
        return self._found(name).index

    def _found(self, name: str) -> _Served:
        if name not in self._served:
            raise IndexNotFoundError("there is no such index; GET /v1/indexes lists them")
        return self._served[name]

    async def answer(self, name: str, request: SearchRequest) -> Hits:
        """Search an index; what other requests ask meanwhile is encoded and scored with it.

        Raises:
            IndexNotFoundError: There is none of that name.
            ClipSearchError: As `Index.answer`.
        """
        terms = len(request.query.terms)
        if terms > self.settings.max_terms:
            raise InvalidInputError(
                f"a query of {terms} terms is over the limit of {self.settings.max_terms}"
            )
        served = self._found(name)
        query = await served.encoder.encoded(request.query)
        return await served.search.answer(replace(request, query=query))

    def broken(self) -> list[str]:
        """Names of the indexes that cannot be read now."""
        return [name for name, served in self._served.items() if _trouble(served.index)]

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
        """Finish what is under way and close all files."""
        self._stop.set()
        if self._follower.is_alive():
            self._follower.join()
        for encoder in self._models.values():
            encoder.close()
        for served in [*self._served.values(), *self._replaced]:
            served.search.close()
            served.index.close()


def _numbers(index: Index) -> tuple[int, int]:
    return index.generation, len(index)


def _trouble(index: Index) -> ClipSearchError | None:
    """Why an open index cannot be read now."""
    try:
        index.generation  # noqa: B018 - looks at the file
    except ClipSearchError as exc:
        return exc
    return None


def public_name(model: str) -> str:
    """A model's name without the place of a checkpoint on the server."""
    return model.partition(":")[0] if "/" in model.partition(":")[2] else model
