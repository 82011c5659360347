"""What one test leaves for the next, since it is alike whoever starts it and slow to start.

Decoder processes cost a quarter of a second of CPU each, and most tests that fill an index start
some; loading the bundled model costs more than a second, and most commands load it. So a decoder
that has nothing to do when its pool is closed is kept for the next pool that would start the same
(with the same settings, in the same folder, from the same environment), and the bundled model is
loaded once for all commands that run in this process. A decoder that is busy, broken or late is
killed as ever.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from clipsearch.intake import decoders
from clipsearch.models import BUNDLED_MODEL

_MOST = 4  # decoders that wait
# What no decoder looks at, and what differs from test to test.
_UNSEEN = ("CLIPSEARCH_CACHE", "CLIPSEARCH_INDEXES", "CLIPSEARCH_STATE", "PYTEST_CURRENT_TEST")

OWN = decoders._Child  # for tests of the processes themselves

_waiting: list[tuple[Any, subprocess.Popen, socket.socket]] = []
_models: dict[tuple[str, str], Any] = {}
_lock = threading.Lock()


class _KeptChild(OWN):
    """A decoder process, which `kill` keeps if it is idle."""

    def __init__(self, settings, timeout_s, slots, number):
        self._busy = self._kept = False
        environment = {name: value for name, value in os.environ.items() if name not in _UNSEEN}
        self._alike = (settings, timeout_s, os.getcwd(), environment, subprocess.Popen)
        with _lock:
            for place, (alike, process, pipe) in enumerate(_waiting):
                if alike == self._alike and process.poll() is None:
                    del _waiting[place]
                    self._process, self._socket, self._is_ready = process, pipe, True
                    self._share(slots, number)
                    return
        super().__init__(settings, timeout_s, slots, number)

    def ask(self, sources, slot, first):
        with _lock:
            if self._kept:
                raise EOFError
            self._busy = True
        yield from super().ask(sources, slot, first)
        self._busy = False  # not before all answers have come

    def kill(self):
        with _lock:
            if self._kept:
                return
            if self._is_ready and not self._busy and self._process.poll() is None:
                self._kept = True
                _waiting.append((self._alike, self._process, self._socket))
                if len(_waiting) > _MOST:
                    _end(*_waiting.pop(0))
                return
        super().kill()


def _end(_: Any, process: subprocess.Popen, pipe: socket.socket) -> None:
    process.kill()
    process.wait()
    pipe.close()


@contextlib.contextmanager
def decoders_kept() -> Iterator[None]:
    """Keep decoders while this lasts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoders, "_Child", _KeptChild)
        yield
    while _waiting:
        _end(*_waiting.pop())


def model_kept(patch: pytest.MonkeyPatch) -> None:
    """Load the bundled model at most once for each device and precision."""
    from clipsearch.encoders import loader

    load = loader.open_encoder

    def open_encoder(name, *, device, precision, alias=None):
        def loaded():
            return load(name, device=device, precision=precision, alias=alias)

        if alias != BUNDLED_MODEL:
            return loaded()
        if (device, precision) not in _models:
            _models[device, precision] = loaded()
        return _models[device, precision]

    patch.setattr(loader, "open_encoder", open_encoder)
