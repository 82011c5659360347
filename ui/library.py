"""The indexes that the pages show, and what is made of each."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from clipsearch import Index
from clipsearch.errors import ClipSearchError, IndexNotFoundError
from clipsearch.explore.projection import IndexMap, make_map
from clipsearch.hub import Hub
from clipsearch.locations import index_names, index_path
from clipsearch.models import BUNDLED_MODEL, load_index_encoder
from clipsearch.types import Facets
from clipsearch.vectors import Floats, Rows

from .copies import Copies
from .problems import CollectionGoneError

if TYPE_CHECKING:
    from clipsearch import Encoder

__all__ = ["Library"]

T = TypeVar("T")
_PATIENCE_S = 0.5  # a map made within this time needs no screen that says so
_SAMPLE = 4096  # vectors behind the score histogram and the words of a map


class Library:
    """What the pages show: the indexes that they may, of a hub, and what is made of each.

    Args:
        names: Names or folders of the indexes to show; None for all that are in the home of
            indexes at the time.
        device: Where models run.
        load: Loads a model by its name.
        hub: Where indexes and models are open, if others use them too; then `device` and `load`
            are its own matter.
    """

    def __init__(
        self,
        names: Sequence[str] | None = None,
        *,
        device: str = "auto",
        load: Callable[[str], Encoder] | None = None,
        hub: Hub[Index] | None = None,
    ) -> None:
        self._names = None if names is None else [os.fspath(name) for name in names]
        self._is_ours = hub is None
        self.hub = hub or Hub(
            load or partial(load_index_encoder, device=device),
            open_index=Index.open,
        )
        self._lock = threading.Lock()
        # of each index, with the id of the commit that it is of
        self._facets: dict[str, tuple[str, Facets]] = {}
        self._samples: dict[str, tuple[str, tuple[Rows, Floats]]] = {}
        self._maps: dict[str, tuple[str, Future[IndexMap]]] = {}
        self._mapper = ThreadPoolExecutor(1, thread_name_prefix="map")
        self.copies = Copies()

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
        try:
            return self.hub.index(index_path(given))
        except IndexNotFoundError:  # which tells where it was, and all others there are
            raise CollectionGoneError(name) from None

    def warm(self) -> None:
        """Begin to load the models of all indexes, before anybody asks."""
        for name in self.names():
            try:
                self.hub.prepare(self.index(name).model_name)
            except ClipSearchError:
                continue  # the page of that index will say why

    def model(self) -> str:
        """The model of the first index, or the bundled one: for pages that need no index."""
        names = self.names()
        return self.index(names[0]).model_name if names else BUNDLED_MODEL

    def facets(self, name: str) -> Facets:
        """Choices for filters, kept until the index changes."""
        return self._kept(self._facets, name, Index.facets)

    def sample(self, name: str) -> tuple[Rows, Floats]:
        """A sample of image vectors, int64 [n] and float32 [n, dim], kept until a change."""
        return self._kept(self._samples, name, lambda index: index.sample(_SAMPLE))

    def map(self, name: str) -> IndexMap | None:
        """The map of an index, kept until the index changes; None while it is being made.

        Raises:
            ClipSearchError: It cannot be made.
        """
        with self._lock:
            making = self._kept(
                self._maps, name, lambda index: self._mapper.submit(make_map, index)
            )
        try:
            return making.result(_PATIENCE_S)
        except TimeoutError:
            return None

    def _kept(self, kept: dict[str, tuple[str, T]], name: str, make: Callable[[Index], T]) -> T:
        """What is made of an index, kept until the index changes."""
        index = self.index(name)
        commit = index.seen_id
        found = kept.get(name)
        if found is None or found[0] != commit:
            found = kept[name] = (commit, make(index))
        return found[1]

    def close(self) -> None:
        """Make no more maps, look for no more copies, and close the hub unless others use it."""
        self.copies.close()
        self._mapper.shutdown(cancel_futures=True)
        if self._is_ours:
            self.hub.close()
