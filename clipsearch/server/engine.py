"""What the server serves: one model, several indexes, recent classifiers."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from ..classification.labels import label_groups
from ..classification.prompts import resolve_templates
from ..encoder import Encoder
from ..errors import ClipSearchError, IndexNotFoundError, InvalidInputError
from ..index import Index
from ..models import load_encoder
from ..query import Query
from ..types import Hits
from ..zeroshot import ZeroShotClassifier
from .answering import SearchOptions, SharedSearch
from .encoding import SharedEncoder
from .settings import ServerSettings
from .telemetry import Telemetry

__all__ = ["Engine", "public_name"]


class Engine:
    """Holds the model and the indexes of one server; safe for threads.

    Args:
        encoder: The model in memory.
        indexes: Name and folder of every index; all must be of that model.
        settings: Limits.
        telemetry: Where batches and queues are reported.

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
    ) -> None:
        self.settings = settings
        self.encoder = SharedEncoder(encoder, settings, telemetry)
        self._indexes: dict[str, Index] = {}
        self._searches: dict[str, SharedSearch] = {}
        self._classifiers: OrderedDict[str, ZeroShotClassifier] = OrderedDict()
        self._lock = threading.Lock()
        searches = self._searches
        telemetry.watch_queue("search", lambda: sum(s.waiting for s in searches.values()))
        try:
            for name, folder in indexes.items():
                self._indexes[name] = index = Index.open(folder, self.encoder)
                self._searches[name] = SharedSearch(
                    index, settings, telemetry.batch_observer("search")
                )
                telemetry.watch_index(name, partial(_numbers, index))
        except BaseException:
            self.close()
            raise

    @property
    def indexes(self) -> Mapping[str, Index]:
        """The open indexes by name."""
        return self._indexes

    def load(self, model: str) -> Encoder:
        """A model by name: the shared one, or another one from disk.

        Raises:
            ModelNotFoundError, ModelLoadError: As `load_encoder`.
        """
        return self.encoder if model == self.encoder.name else load_encoder(model)

    def index(self, name: str) -> Index:
        """An index by name, which is looked up here and never becomes a path.

        Raises:
            IndexNotFoundError: There is none of that name.
        """
        if name not in self._indexes:
            raise IndexNotFoundError("there is no such index; GET /v1/indexes lists them")
        return self._indexes[name]

    async def search(self, name: str, query: Query, options: SearchOptions) -> Hits:
        """Search an index; what other requests ask meanwhile is encoded and scored with it.

        Raises:
            IndexNotFoundError: There is none of that name.
            ClipSearchError: As `Index.search`.
        """
        self.index(name)
        return await self._searches[name].search(await self.encoder.encoded(query), options)

    def broken(self) -> list[str]:
        """Names of the indexes that cannot be read now."""
        return [name for name, index in self._indexes.items() if not _readable(index)]

    def classifier(
        self, labels: Sequence[str], templates: str | Sequence[str]
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
        key = hashlib.sha256(repr((list(groups.items()), templates)).encode()).hexdigest()
        return self._remembered(
            key,
            lambda: ZeroShotClassifier(self.encoder, groups, templates=templates, cache=False),
        )

    def packed(self, pack: bytes) -> ZeroShotClassifier:
        """The classifier of a label pack's bytes, made or remembered.

        Raises:
            InvalidInputError: Not a label pack.
            EncoderMismatchError: It was made with another model.
        """
        key = hashlib.sha256(pack).hexdigest()
        return self._remembered(key, lambda: ZeroShotClassifier.load(pack, self.encoder))

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
        self.encoder.close()
        for search in self._searches.values():
            search.close()
        for index in self._indexes.values():
            index.close()


def _numbers(index: Index) -> tuple[int, int]:
    return index.generation, len(index)


def _readable(index: Index) -> bool:
    try:
        return index.path.is_dir() and index.generation >= 0  # what is deleted stays open
    except ClipSearchError:
        return False


def public_name(model: str) -> str:
    """A model's name without the place of a checkpoint on the server."""
    return model.partition(":")[0] if "/" in model.partition(":")[2] else model
