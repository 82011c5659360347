"""Work for the CPU's cores: one block a core instead of all cores on one block.

A matrix product that is shared among cores waits for the slowest of them at every layer, and burns
time while it waits; blocks that are independent do not, which counts most on a busy machine.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["Cores"]

_Block = TypeVar("_Block")
_Result = TypeVar("_Result")


class Cores:
    """Runs functions of torch in as many threads as there are cores, each on one of them.

    Several threads may use it at a time.
    """

    def __init__(self) -> None:
        self.count = torch.get_num_threads()
        self._lock = threading.Lock()
        self._users = 0
        self._pool: ThreadPoolExecutor | None = None

    def map(self, function: Callable[[_Block], _Result], blocks: Iterable[_Block]) -> list[_Result]:
        """The results of all blocks, in order."""
        with self._single_threaded() as pool:
            return list(pool.map(function, blocks))

    @contextlib.contextmanager
    def _single_threaded(self) -> Iterator[ThreadPoolExecutor]:
        """Meanwhile torch uses one thread for each call; MKL has one number for all threads."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(
                    self.count, "encode", initializer=torch.set_num_threads, initargs=(1,)
                )
            self._users += 1
            torch.set_num_threads(1)
        try:
            yield self._pool
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    torch.set_num_threads(self.count)
