"""Concurrent requests worked on together in one call."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import islice
from time import monotonic
from typing import Any, Generic, TypeVar

__all__ = ["Batcher"]

T = TypeVar("T")
R = TypeVar("R")
F = TypeVar("F", bound="_AnyFuture")
_AnyFuture = Future[Any] | asyncio.Future[Any]
_Batch = list[tuple[list[T], _AnyFuture]]


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
        self._queue: deque[tuple[list[T], _AnyFuture]] = deque()
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
        futures: list[Future[list[R]]] = self._submit(values, Future)
        return [result for future in futures for result in future.result()]

    async def soon(self, values: Sequence[T]) -> list[R]:
        """The results of values, in order, for a coroutine; raises as a call does.

        A thread for every request that waits would cost more than all else in a small search.
        """
        new = asyncio.get_running_loop().create_future
        parts = await asyncio.gather(*self._submit(values, new))
        return [result for part in parts for result in part]

    def _submit(self, values: Sequence[T], new: Callable[[], F]) -> list[F]:
        futures = []
        with self._wake:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            # In parts, so that a long list leaves room for others between them.
            for start in range(0, len(values), self._max_batch):
                part = list(values[start : start + self._max_batch])
                futures.append(new())
                self._queue.append((part, futures[-1]))
                self._waiting += len(part)
            self._wake.notify()
        return futures

    def close(self) -> None:
        """Work on what is waiting, then stop."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            if not batch:  # all of its clients have gone
                continue
            try:
                outcomes = self._together(batch)
            except BaseException as exc:
                outcomes = [exc] if len(batch) == 1 else [self._alone(part) for part, _ in batch]
            _deliver([future for _, future in batch], outcomes)

    def _together(self, batch: _Batch[T]) -> list[Any]:
        values = [value for part, _ in batch for value in part]
        self._observe(len(values))
        results = iter(self._work(values))
        return [list(islice(results, len(part))) for part, _ in batch]

    def _alone(self, part: list[T]) -> Any:
        try:
            return list(self._work(part))
        except BaseException as exc:
            return exc

    def _next(self) -> _Batch[T] | None:
        """The next batch; None when the batcher is closed and nothing waits."""
        with self._wake:
            while not self._queue and not self._closed:
                self._wake.wait()
            if not self._queue:
                return None
            until = monotonic() + self._wait_s
            while self._waiting < self._max_batch and not self._closed:
                left = until - monotonic()
                if left <= 0:
                    break
                self._wake.wait(left)
            batch: _Batch[T] = []
            size = 0
            while self._queue and (not batch or size + len(self._queue[0][0]) <= self._max_batch):
                part, future = self._queue.popleft()
                self._waiting -= len(part)
                if not future.cancelled():  # else its client has gone
                    batch.append((part, future))
                    size += len(part)
            return batch


def _deliver(futures: Sequence[_AnyFuture], outcomes: Sequence[Any]) -> None:
    """Settle futures with results or exceptions; an event loop is woken once for all of its."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_AnyFuture, Any]]] = {}
    for future, outcome in zip(futures, outcomes, strict=True):
        if isinstance(future, asyncio.Future):
            by_loop.setdefault(future.get_loop(), []).append((future, outcome))
        else:
            _settle([(future, outcome)])
    for loop, settled in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it who waited
            loop.call_soon_threadsafe(_settle, settled)


def _settle(settled: list[tuple[_AnyFuture, Any]]) -> None:
    for future, outcome in settled:
        if future.cancelled():
            continue
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
