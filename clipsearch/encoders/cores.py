"""Work for the CPU's cores: one block a core instead of all cores on one block.

A matrix product that is shared among cores waits for the slowest of them at every layer, and burns
time while it waits; blocks that are independent do not, which counts most on a busy machine.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["Cores", "usable_cores"]

_Block = TypeVar("_Block")
_Result = TypeVar("_Result")


class Cores:
    """Runs functions in as many threads as there are cores.

    Several threads may use it at a time.

    Args:
        count: Threads.
        initializer: Called in each new thread.
    """

    def __init__(self, count: int, initializer: Callable[[], object] | None = None) -> None:
        self.count = count
        self._initializer = initializer
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def map(self, function: Callable[[_Block], _Result], blocks: Iterable[_Block]) -> list[_Result]:
        """The results of all blocks, in order."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.count, "encode", initializer=self._initializer)
        return list(self._pool.map(function, blocks))


def usable_cores() -> int:
    """Cores that this process may use: `$OMP_NUM_THREADS`, as for torch, or those it is given."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if asked.isdecimal() and int(asked):
        return int(asked)
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
