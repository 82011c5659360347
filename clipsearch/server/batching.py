"""Concurrent requests worked on together in one call."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from time import monotonic
from typing import Generic, TypeVar

__all__ = ["Batcher"]

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Collects what several threads want done, and does it at once.

    The first to come waits at most `wait_ms` for others, or for the batch before, as there is one
    at a time. If a batch fails, its parts are done one by one, so that only the one that is to
    blame fails.

    Args:
        work: From values to as many results, in order.
        max_batch: How many values are worked on together at most.
        wait_ms: How long the first one waits for company.
        observe: Called with the size of every batch.
    """

    def __init__(
        self,
        work: Callable[[list[T]], Sequence[R]],
        *,
        max_batch: int,
        wait_ms: float,
        observe: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._work = work
        self._max_batch = max_batch
        self._wait_s = wait_ms / 1000
        self._observe = observe
        self._queue: deque[tuple[list[T], Future[Sequence[R]]]] = deque()
        self._waiting = 0  # values in the queue
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many values wait to be worked on."""
        return self._waiting

    def __call__(self, values: Sequence[T]) -> list[R]:
        """The results of values, in order; blocks until they are there.

        Raises:
            RuntimeError: The batcher is closed.
            Exception: What `work` raises for these values.
        """
        futures = []
        with self._wake:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            # In parts, so that a long list leaves room for others between them.
            for start in range(0, len(values), self._max_batch):
                part = list(values[start : start + self._max_batch])
                future: Future[Sequence[R]] = Future()
                self._queue.append((part, future))
                self._waiting += len(part)
                futures.append(future)
            self._wake.notify()
        return [result for future in futures for result in future.result()]

    def close(self) -> None:
        """Work on what is waiting, then stop."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            values = [value for part, _ in batch for value in part]
            self._observe(len(values))
            try:
                results = self._work(values)
            except BaseException as exc:
                self._apart(batch, exc)
                continue
            start = 0
            for part, future in batch:
                future.set_result(results[start : start + len(part)])
                start += len(part)

    def _apart(self, batch: list[tuple[list[T], Future[Sequence[R]]]], exc: BaseException) -> None:
        for part, future in batch:
            if len(batch) == 1:
                future.set_exception(exc)
                return
            try:
                future.set_result(self._work(part))
            except BaseException as own:
                future.set_exception(own)

    def _next(self) -> list[tuple[list[T], Future[Sequence[R]]]]:
        """The next batch; empty when the batcher is closed and nothing waits."""
        with self._wake:
            while not self._queue and not self._closed:
                self._wake.wait()
            until = monotonic() + self._wait_s
            while self._waiting < self._max_batch and not self._closed:
                left = until - monotonic()
                if left <= 0:
                    break
                self._wake.wait(left)
            batch: list[tuple[list[T], Future[Sequence[R]]]] = []
            size = 0
            while self._queue and (not batch or size + len(self._queue[0][0]) <= self._max_batch):
                batch.append(self._queue.popleft())
                size += len(batch[-1][0])
            self._waiting -= size
            return batch
