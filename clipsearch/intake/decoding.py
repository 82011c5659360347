"""A pool of decoder processes, in which a bad file costs that file alone.

A broken file can hang or crash a C decoder, so files are decoded in child processes under a time
limit; a child that hangs is killed, and one that dies is replaced. The children are plain
Python processes that import this module, with Pillow and numpy but never torch. (A
`multiprocessing` pool would import the user's script again in every child.)

Where a GPU encodes thousands of images a second, taking them from the children is what limits the
rate: each time that a thread waits for bytes it has to queue for Python's lock again. So pixels
come beside the pickled rest (protocol 5) and are read to their end in one call.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any

import numpy as np

from ..errors import ImageDecodeError
from ..images import (
    DEFAULT_MAX_PIXELS,
    Prepared,
    Preprocessing,
    image_suffixes,
    prepare_with_facts,
)

__all__ = ["DEFAULT_TIMEOUT_S", "Decoded", "DecoderPool", "serve"]

_CHILD = f"import sys; from {__name__} import serve; serve(int(sys.argv[1]))"
_SIZES = struct.Struct("=QQ")  # bytes of the pickled message, and of the array that it holds
DEFAULT_TIMEOUT_S = 60.0  # a 179-megapixel PNG takes under 10 s to decode on one slow core


@dataclass(frozen=True, slots=True)
class Decoded:
    """One image, ready for the model, with what identifies its bytes."""

    prepared: Prepared
    sha256: str  # of the encoded bytes, hex
    size_bytes: int
    busy_s: float  # processor time of the decoder


class DecoderPool:
    """Decodes images in `workers` child processes.

    Args:
        spec: What the model wants.
        workers: Number of processes.
        max_pixels: Larger images are refused before they are decoded.
        timeout_s: A file that takes longer is given up.
    """

    def __init__(
        self,
        spec: Preprocessing,
        *,
        workers: int,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self._settings = (spec, max_pixels)
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decoder")
        self._own = threading.local()
        self._children: list[_Child] = []
        self._closed = False

    def __enter__(self) -> DecoderPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed = True
        for child in list(self._children):
            child.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def submit(self, source: str | bytes) -> Future[Decoded]:
        """Queue a path or the bytes of a file; the future raises `ImageDecodeError`."""
        return self._threads.submit(self._decode, source)

    def _decode(self, source: str | bytes) -> Decoded:
        child: _Child | None = getattr(self._own, "child", None)
        if child is None:
            child = self._own.child = _Child(self._settings, self._timeout_s)
            self._children.append(child)
        name = "the image" if isinstance(source, bytes) else Path(source).name
        try:
            answer = child.ask(source)
        except (TimeoutError, EOFError, OSError) as exc:
            child.kill()
            self._children.remove(child)
            self._own.child = None
            if self._closed:
                raise ImageDecodeError(f"{name}: decoding was stopped") from exc
            how = (
                f"took over {self._timeout_s:g} s to decode"
                if isinstance(exc, TimeoutError)
                else f"crashed the decoder ({child.how_it_died()})"
            )
            raise ImageDecodeError(f"{name}: {how}") from exc
        if isinstance(answer, str):
            raise ImageDecodeError(answer)
        return answer


class _Child:
    """One decoder process and the socket to it."""

    def __init__(self, settings: tuple[Preprocessing, int], timeout_s: float) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-c", _CHILD, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # libtiff and others print there
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        self._socket = ours
        _send(ours, settings)
        self._is_ready = False
        self._limit = struct.pack("@ll", int(timeout_s), int(timeout_s % 1 * 1e6))  # a timeval

    def ask(self, source: str | bytes) -> Decoded | str:
        if not self._is_ready:  # starting, which a busy machine draws out, is no file's fault
            self._is_ready = _receive(self._socket)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, self._limit)
        _send(self._socket, source)
        try:
            answer: Decoded | str = _receive(self._socket)
        except BlockingIOError as exc:
            raise TimeoutError from exc
        return answer

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def how_it_died(self) -> str:
        code = self._process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def serve(descriptor: int) -> None:
    """The child's loop: a source comes in, a `Decoded` or the reason against it goes out."""
    pipe = socket.socket(fileno=descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    spec, max_pixels = _receive(pipe)
    with contextlib.suppress(EOFError, OSError):  # the parent is gone, or done
        image_suffixes()  # loads the decoders
        _send(pipe, True)
        while True:
            source = _receive(pipe)
            try:
                answer: Decoded | str = _decode_one(source, spec, max_pixels)
            except ImageDecodeError as exc:
                answer = str(exc)
            except Exception as exc:  # whatever a decoder does, it costs this file alone
                answer = f"{type(exc).__name__} while decoding: {exc}"
            _send(pipe, answer)


def _decode_one(source: str | bytes, spec: Preprocessing, max_pixels: int) -> Decoded:
    started = perf_counter()
    if isinstance(source, bytes):
        data, name = source, "the image"
    else:
        name = Path(source).name
        try:
            data = Path(source).read_bytes()
        except FileNotFoundError as exc:
            raise ImageDecodeError(f"{name}: the file is gone") from exc
        except PermissionError as exc:
            raise ImageDecodeError(f"{name}: no permission to read the file") from exc
        except OSError as exc:
            raise ImageDecodeError(f"{name}: {exc.strerror or exc}") from exc
    prepared = prepare_with_facts(data, spec, max_pixels=max_pixels, name=name)
    digest = hashlib.sha256(data).hexdigest()
    return Decoded(prepared, digest, len(data), perf_counter() - started)


def _send(pipe: socket.socket, message: Any) -> None:
    """Send a message, with the array that it may hold beside it."""
    arrays: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(message, protocol=5, buffer_callback=arrays.append)
    array = arrays[0].raw() if arrays else memoryview(b"")
    pipe.sendall(_SIZES.pack(len(pickled), array.nbytes) + pickled)
    pipe.sendall(array)


def _receive(pipe: socket.socket) -> Any:
    """The next message. Raises `EOFError` at the end, `BlockingIOError` after the time limit."""
    pickled, array = _SIZES.unpack(_read(pipe, _SIZES.size))
    message = _read(pipe, pickled)
    return pickle.loads(message, buffers=[_read(pipe, array)] if array else None)  # noqa: S301 - a child


def _read(pipe: socket.socket, size: int) -> memoryview:
    data = np.empty(size, np.uint8).data
    left = data
    while left:
        count = pipe.recv_into(left, flags=socket.MSG_WAITALL)
        if not count:
            raise EOFError
        left = left[count:]
    return data
