"""Streams of a device: what different threads compute there, side by side where it can do that."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

import torch

__all__ = ["Streams", "streams_of"]

# Threads that compute at a time. CUDA: two batches of an index, one of which is copied while the
# other is encoded, and a query beside them. MPS: a second thread crashes the process inside Metal
# (pytorch#197805). What a CPU takes is bounded elsewhere, by its cores.
_AT_ONCE = {"cuda": 3, "mps": 1}


class Streams:
    """The streams of a device, each of which has one user at a time. For several threads.

    A CPU and MPS have torch's streams that do nothing.

    Attributes:
        permits: To be held by what computes there outside a `turn`.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._module: Any = torch.cuda if device.type == "cuda" else torch.cpu
        self.permits = threading.Semaphore(_AT_ONCE.get(device.type, sys.maxsize))
        self._idle: list[Any] = []

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Compute on a stream of one's own, after what the current one has been given so far.

        Results must have been copied to the CPU when it ends, as another stream may come next.
        """
        with self.permits:
            try:
                stream = self._idle.pop()
            except IndexError:
                stream = self._new()
            try:
                # where models are moved and their precision is changed
                stream.wait_stream(self._module.current_stream(self._device))
                with self._module.stream(stream):
                    yield
            finally:
                self._idle.append(stream)

    def free_memory(self) -> None:
        """Give back what torch keeps of the device's memory without using it."""
        if self._device.type != "cpu":
            with self.permits:
                torch.get_device_module(self._device).empty_cache()

    def _new(self) -> Any:
        given = {"device": self._device} if self._module is torch.cuda else {}
        return self._module.Stream(**given)


_known: dict[tuple[str, int], Streams] = {}
_lock = threading.Lock()


def streams_of(device: torch.device) -> Streams:
    """The streams of a device, which all models there share."""
    key = (device.type, device.index or 0)
    with _lock:
        if key not in _known:
            _known[key] = Streams(device)
        return _known[key]
