"""The indexes and models that the pages work on, with the state of each."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clipsearch import Index, load_encoder
from clipsearch.errors import ClipSearchError, IndexMigratedError, IndexNotFoundError
from clipsearch.exploring.mapping import IndexMap, make_map
from clipsearch.locations import existing_index, index_names
from clipsearch.models import BUNDLED_MODEL
from clipsearch.types import Facets
from clipsearch.vectors import Floats, Rows

from .problems import CollectionGoneError

if TYPE_CHECKING:
    from clipsearch import Encoder

__all__ = ["Library", "State"]

State = Literal["ready", "loading", "failed"]
_PATIENCE_S = 0.5  # a map made within this time needs no screen that says so
_SAMPLE = 4096  # vectors behind the score histogram and the words of a map


class Library:
    """Opens each index once and loads each model once, in the background.

    Args:
        names: Names or folders of the indexes to show; None for all that are in the home of
            indexes at the time.
        device: Where models run.
        load: Loads a model by its name; a server gives one that batches requests.
    """

    def __init__(
        self,
        names: Sequence[str] | None = None,
        *,
        device: str = "auto",
        load: Callable[[str], Encoder] | None = None,
    ) -> None:
        self._names = None if names is None else [os.fspath(name) for name in names]
        self._load = load or (lambda name: load_encoder(name, device=device))
        self._lock = threading.Lock()
        self._open: dict[str, Index] = {}
        self._loaded: dict[str, Encoder] = {}
        self._failed: dict[str, str] = {}  # why, until it has been told
        self._loading: dict[str, threading.Thread] = {}
        self._facets: dict[tuple[str, int], Facets] = {}
        self._samples: dict[tuple[str, int], tuple[Rows, Floats]] = {}
        self._maps: dict[tuple[str, int], Future[IndexMap]] = {}
        self._mapper = ThreadPoolExecutor(1, thread_name_prefix="map")

    def names(self) -> list[str]:
        """The indexes to choose from; short names of those given as folders."""
        return list(self._paths())

    def admit(self, name: str) -> None:
        """Show an index that was made here as well."""
        if self._names is not None and name not in self.names():
            self._names.append(name)

    def _paths(self) -> dict[str, str]:
        given = index_names() if self._names is None else self._names
        return {Path(name).name: name for name in given}

    def index(self, name: str) -> Index:
        """An index, opened on first use.

        Raises:
            CollectionGoneError: It is not one of `names`, or its folder is gone.
            ClipSearchError: It cannot be opened.
        """
        given = self._paths().get(name)
        if given is None:
            raise CollectionGoneError(name)
        with self._lock:
            opened = self._open.get(name)  # it may have been deleted or migrated since
            if opened is not None and _is_current(opened):
                return opened
            for kept in (self._facets, self._samples, self._maps):  # of the one before
                for key in [key for key in kept if key[0] == name]:
                    del kept[key]
            holder: list[Index] = []
            try:
                path = existing_index(given)
                opened = Index.open(path, lambda: self.encoder(holder[0].model_name))
            except IndexNotFoundError:  # which tells where it was, and all others there are
                raise CollectionGoneError(name) from None
            holder.append(opened)
            self._open[name] = opened
            return opened

    def encoder(self, model: str) -> Encoder:
        """A model, waiting for it where it is still loading.

        Raises:
            ClipSearchError: It cannot be loaded.
        """
        self.prepare(model)
        with self._lock:
            thread = self._loading.get(model)
        if thread is not None:
            thread.join()
        if model in self._loaded:
            return self._loaded[model]
        raise ClipSearchError(self._failed.get(model) or f"the model {model} is not loaded")

    def prepare(self, model: str) -> None:
        """Begin to load a model in the background, unless it is loaded or loading."""
        with self._lock:
            if model in self._loaded or model in self._loading:
                return
            self._failed.pop(model, None)
            thread = threading.Thread(target=self._load_now, args=(model,), daemon=True)
            self._loading[model] = thread
            thread.start()

    def _load_now(self, model: str) -> None:
        try:
            self._loaded[model] = self._load(model)
        except ClipSearchError as exc:
            self._failed[model] = str(exc)
        finally:
            with self._lock:
                self._loading.pop(model, None)

    def warm(self) -> None:
        """Begin to load the models of all indexes, before anybody asks."""
        for name in self.names():
            try:
                self.prepare(self.index(name).model_name)
            except ClipSearchError:
                continue  # the page of that index will say why

    def model(self) -> str:
        """The model of the first index, or the bundled one: for pages that need no index."""
        names = self.names()
        return self.index(names[0]).model_name if names else BUNDLED_MODEL

    def is_loaded(self, model: str) -> bool:
        """Whether a model can be used now."""
        return model in self._loaded

    def model_state(self, model: str) -> State:
        """Whether a model can be used now. Begins to load it if that is needed."""
        if self.is_loaded(model):
            return "ready"
        if model in self._failed:
            return "failed"
        self.prepare(model)
        return "loading"

    def failure_of(self, model: str) -> str:
        """Why a model could not be loaded. Told once: the next request for it tries again."""
        return self._failed.pop(model, "")

    def facets(self, name: str) -> Facets:
        """Choices for filters, kept until the index changes."""
        index = self.index(name)
        key = (name, index.generation)
        if key not in self._facets:
            self._facets[key] = index.facets()
        return self._facets[key]

    def sample(self, name: str) -> tuple[Rows, Floats]:
        """A sample of image vectors, int64 [n] and float32 [n, dim], kept until a change."""
        index = self.index(name)
        key = (name, index.generation)
        if key not in self._samples:
            self._samples[key] = index.sample(_SAMPLE)
        return self._samples[key]

    def map(self, name: str) -> IndexMap | None:
        """The map of an index, kept until the index changes; None while it is being made.

        Raises:
            ClipSearchError: It cannot be made.
        """
        index = self.index(name)
        key = (name, index.generation)
        with self._lock:
            making = self._maps.get(key)
            if making is None:
                making = self._maps[key] = self._mapper.submit(make_map, index)
        try:
            return making.result(_PATIENCE_S)
        except TimeoutError:
            return None

    def close(self) -> None:
        """Close all indexes."""
        self._mapper.shutdown(cancel_futures=True)
        with self._lock:
            for index in self._open.values():
                index.close()
            self._open.clear()


def _is_current(index: Index) -> bool:
    """Whether an open index still is there, with the model that it was opened with."""
    try:
        return index.generation >= 0
    except (IndexMigratedError, IndexNotFoundError):
        return False
