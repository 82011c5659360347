"""Concurrent requests encoded together in one call of the model."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from time import monotonic
from typing import Generic, TypeVar

import numpy as np

from ..vectors import Floats

__all__ = ["Batcher"]

T = TypeVar("T")


class Batcher(Generic[T]):
    """Collects what several threads want encoded, and encodes it at once.

    The first to come waits at most `wait_ms` for others, or for the model, which encodes one
    batch at a time. If a batch fails, its parts are encoded one by one, so that only the one
    that is to blame fails.

    Args:
        encode: From a list to float32 [n, dim], in order.
        max_batch: How many values are encoded together at most.
        wait_ms: How long the first one waits for company.
        observe: Called with the size of every batch.
    """

    def __init__(
        self,
        encode: Callable[[list[T]], Floats],
        *,
        max_batch: int,
        wait_ms: float,
        observe: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._encode = encode
        self._max_batch = max_batch
        self._wait_s = wait_ms / 1000
        self._observe = observe
        self._queue: deque[tuple[list[T], Future[Floats]]] = deque()
        self._waiting = 0  # values in the queue
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many values wait to be encoded."""
        return self._waiting

    def __call__(self, values: Sequence[T]) -> Floats:
        """Encode values, float32 [n, dim], in order; blocks until it is done.

        Raises:
            RuntimeError: The batcher is closed.
            Exception: What `encode` raises for these values.
        """
        futures = []
        with self._wake:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            # In parts, so that a long list leaves room for others between them.
            for start in range(0, len(values), self._max_batch):
                part = list(values[start : start + self._max_batch])
                future: Future[Floats] = Future()
                self._queue.append((part, future))
                self._waiting += len(part)
                futures.append(future)
            self._wake.notify()
        return np.concatenate([future.result() for future in futures])

    def close(self) -> None:
        """Encode what is waiting, then stop."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            values = [value for part, _ in batch for value in part]
            self._observe(len(values))
            try:
                vectors = self._encode(values)
            except BaseException as exc:
                self._apart(batch, exc)
                continue
            start = 0
            for part, future in batch:
                future.set_result(vectors[start : start + len(part)])
                start += len(part)

    def _apart(self, batch: list[tuple[list[T], Future[Floats]]], exc: BaseException) -> None:
        for part, future in batch:
            if len(batch) == 1:
                future.set_exception(exc)
                return
            try:
                future.set_result(self._encode(part))
            except BaseException as own:
                future.set_exception(own)

    def _next(self) -> list[tuple[list[T], Future[Floats]]]:
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
            batch: list[tuple[list[T], Future[Floats]]] = []
            size = 0
            while self._queue and (not batch or size + len(self._queue[0][0]) <= self._max_batch):
                batch.append(self._queue.popleft())
                size += len(batch[-1][0])
            self._waiting -= size
            return batch
