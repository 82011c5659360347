"""Duplicates are looked for in the background, and kept until their index changes."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from clipsearch import ClipSearchError, Duplicate, Index

__all__ = ["Copies", "CopiesAsked", "Looking"]

_PATIENCE_S = 0.4  # what is found within this time needs no screen that says so
_LEFT_S = 20.0  # after which a search that nobody asks for makes way for another
_KEPT = 4  # results

Groups = list[list[Duplicate]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiesAsked:
    """Which duplicates are looked for; see `Index.duplicates`."""

    threshold: float | None = None
    kinds: tuple[str, ...] = ()
    where: str | None = None


@dataclass(slots=True)
class Looking:
    """A search that is under way.

    Attributes:
        stage: What is compared; "waiting" until another search is done.
        done: Images that are done.
        of: Of how many; 0 where it is not known.
    """

    stage: Literal["waiting", "vectors", "images"] = "waiting"
    done: int = 0
    of: int = 0
    asked: float = field(default_factory=time.monotonic)
    found: Future[Groups] = field(default_factory=Future)


class _StoppedError(ClipSearchError):
    """Nobody waits for it any more."""


class Copies:
    """Looks for duplicates, one search at a time."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="copies")
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str, CopiesAsked], Looking] = OrderedDict()
        self._closed = False

    def groups(self, index: Index, asked: CopiesAsked) -> Groups | Looking:
        """The groups, if they are found in a moment; else how far the search is.

        Raises:
            ClipSearchError: They cannot be looked for.
        """
        key = (str(index.path), index.seen_id, asked)
        with self._lock:
            looking = self._known.get(key)
            if looking is None or (looking.found.done() and looking.found.exception() is not None):
                looking = self._known[key] = Looking()
                looking.found = self._worker.submit(self._look, index, asked, looking)
            self._known.move_to_end(key)
            while len(self._known) > _KEPT and next(iter(self._known.values())).found.done():
                self._known.popitem(last=False)
        looking.asked = time.monotonic()
        try:
            return looking.found.result(_PATIENCE_S)
        except TimeoutError:
            return looking

    def _look(self, index: Index, asked: CopiesAsked, looking: Looking) -> Groups:
        def tell(stage: Literal["vectors", "images"], done: int, of: int) -> None:
            looking.stage, looking.done, looking.of = stage, done, of
            left = time.monotonic() - looking.asked > _LEFT_S
            if self._closed or (left and self._waiting()):
                raise _StoppedError("nobody waits for these duplicates any more")

        looking.stage = "vectors"
        if self._closed or time.monotonic() - looking.asked > _LEFT_S:
            raise _StoppedError("nobody waits for these duplicates any more")
        return index.duplicates(
            asked.threshold, kinds=asked.kinds, where=asked.where, progress=tell
        )

    def _waiting(self) -> bool:
        return any(
            other.stage == "waiting" and not other.found.done()
            for other in list(self._known.values())
        )

    def close(self) -> None:
        """Stop what is looked for."""
        self._closed = True
        self._worker.shutdown(wait=False, cancel_futures=True)
