"""Cores on which torch computes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch

from .cores import Cores

__all__ = ["TorchCores"]

_Block = TypeVar("_Block")
_Result = TypeVar("_Result")


class TorchCores(Cores):
    """As many threads as torch has, each of which computes alone."""

    def __init__(self) -> None:
        super().__init__(torch.get_num_threads(), lambda: torch.set_num_threads(1))
        self._users = 0
        self._counting = threading.Lock()

    def map(self, function: Callable[[_Block], _Result], blocks: Iterable[_Block]) -> list[_Result]:
        """The results of all blocks, in order.

        Meanwhile torch uses one thread for each call; MKL has one number for all threads.
        """
        with self._counting:
            self._users += 1
            torch.set_num_threads(1)
        try:
            return super().map(function, blocks)
        finally:
            with self._counting:
                self._users -= 1
                if not self._users:
                    torch.set_num_threads(self.count)
