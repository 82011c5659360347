"""A pool of decoder processes, in which a bad file costs that file alone.

A broken file can hang or crash a C decoder, so files are decoded in child processes under a time
limit; a child that hangs is killed, and one that dies is replaced. The children are plain
Python processes that import this module, with Pillow and numpy but never torch. (A
`multiprocessing` pool would import the user's script again in every child.)

Where a GPU encodes thousands of images a second, taking them from the children is what limits the
rate: each time that a thread waits for bytes it has to queue for Python's lock again. So a child
gets several files in one message, and answers for each: a few plain values, with the pixels beside
them, which are read to their end in one call.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ..errors import ImageDecodeError
from ..files import read_regular
from ..images import (
    DEFAULT_MAX_PIXELS,
    Prepared,
    Preprocessing,
    decode_error,
    image_suffixes,
    prepare_with_facts,
    read_facts,
)
from ..limits import file_limit
from ..metadata import DECODER_ERRORS, ImageFacts
from ..passing import PASSING_SIGNALS, Passing, passing_of

__all__ = ["DEFAULT_TIMEOUT_S", "Decoded", "DecoderPool", "FactsOnly", "serve"]

_CHILD = f"import sys; from {__name__} import serve; serve(int(sys.argv[1]))"
_SIZES = struct.Struct("=QQ")  # bytes of the pickled message, and of the pixels that follow it
_JOINED_BYTES = 1024 * 1024  # a message up to this is sent in one call; larger ones not copied
_STOPPED = "decoding was stopped"
_NO_MEMORY = 75  # exit code of a child that cannot even answer; EX_TEMPFAIL of sysexits.h
DEFAULT_TIMEOUT_S = 60.0  # a 179-megapixel PNG takes under 10 s to decode on one slow core


@dataclass(frozen=True, slots=True)
class Decoded:
    """One image, ready for the model, with what identifies its bytes."""

    prepared: Prepared
    sha256: str  # of the encoded bytes, hex
    size_bytes: int
    busy_s: float  # CPU time of the decoder


@dataclass(frozen=True, slots=True)
class FactsOnly:
    """An image that is known to decode, of which only the header is to be read."""

    image: str | bytes


_Source = str | bytes | FactsOnly
_Ended = Decoded | ImageFacts | ImageDecodeError


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

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; what they were decoding is given up."""
        self._closed = True
        for child in self._children.copy():
            child.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for child in self._children:  # which were just starting
            child.kill()

    def submit(self, source: str | bytes) -> Future[Decoded]:
        """Queue a path or the bytes of a file; the future raises `ImageDecodeError`."""
        return self._threads.submit(self._decode_one, source)

    def submit_many(
        self, sources: Sequence[str | bytes | FactsOnly]
    ) -> Future[list[Decoded | ImageFacts | ImageDecodeError]]:
        """Queue files that one process decodes one after the other, with an end for each.

        That of a `FactsOnly` is its facts, or an error.
        """
        return self._threads.submit(self._decode, sources)

    def _decode_one(self, source: str | bytes) -> Decoded:
        (end,) = self._decode([source])
        if isinstance(end, ImageDecodeError):
            raise end
        return cast("Decoded", end)  # as it is no `FactsOnly`

    def _decode(self, sources: Sequence[_Source]) -> list[_Ended]:
        ends: list[_Ended] = []
        while len(ends) < len(sources):
            if self._closed:
                stopped = ImageDecodeError(_STOPPED, passing="limit")
                return [*ends, *(stopped for _ in sources[len(ends) :])]
            child: _Child | None = getattr(self._own, "child", None)
            try:
                if child is None:
                    child = self._own.child = _Child(self._settings, self._timeout_s)
                    self._children.append(child)
                for end in child.ask(sources[len(ends) :]):
                    ends.append(end)
            except (TimeoutError, EOFError, OSError) as exc:  # the file after the last that ended
                if child is not None:
                    child.kill()
                    self._children.remove(child)
                self._own.child = None
                ends.append(self._failure(sources[len(ends)], child, exc))
        return ends

    def _failure(self, source: _Source, child: _Child | None, exc: Exception) -> ImageDecodeError:
        passing: Passing | None = None
        if self._closed:
            how, passing = _STOPPED, "limit"
        elif child is None:  # the system has no room for another process
            how, passing = f"no decoder can be started ({exc})", "trouble"
        elif isinstance(exc, TimeoutError):
            how = f"took over {self._timeout_s:g} s to decode"
        else:
            how = f"crashed the decoder ({child.how_it_died()})"
            passing = None if child.died_of_file() else "trouble"
        return ImageDecodeError(f"{_name(source)}: {how}", passing=passing)


@dataclass(frozen=True, slots=True)
class _Failure:
    """What a child answers for an image that it cannot decode."""

    reason: str
    passing: Passing | None


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

    def ask(self, sources: Sequence[_Source]) -> Iterator[_Ended]:
        """The end of each file, in order, as it comes."""
        if not self._is_ready:  # starting, which a busy machine draws out, is no file's fault
            _receive(self._socket)
            self._is_ready = True
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, self._limit)
        _send(self._socket, sources)
        for _ in sources:
            try:
                answer, pixels = _receive(self._socket)
            except BlockingIOError as exc:
                raise TimeoutError from exc
            if isinstance(answer, _Failure):
                yield ImageDecodeError(answer.reason, passing=answer.passing)
                continue
            if isinstance(answer, dict):
                yield ImageFacts(**answer)
                continue
            shape, facts, notes, sha256, size_bytes, busy_s = answer
            array = np.frombuffer(pixels, np.uint8).reshape(shape)
            prepared = Prepared(array, ImageFacts(**facts), notes)
            yield Decoded(prepared, sha256, size_bytes, busy_s)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def how_it_died(self) -> str:
        code = self._process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def died_of_file(self) -> bool:
        """Whether it was the file that ended it, and not the system or a lack of memory."""
        code = self._process.wait()
        return self._is_ready and code != _NO_MEMORY and -code not in PASSING_SIGNALS


def serve(descriptor: int) -> None:
    """The child's loop: sources come in, an answer or the reason against it goes out for each."""
    pipe = socket.socket(fileno=descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    (spec, max_pixels), _ = _receive(pipe)
    with _ending(), contextlib.suppress(EOFError, OSError):  # the parent is gone, or done
        image_suffixes()  # loads the decoders
        _send(pipe, True)
        while True:
            sources, _ = _receive(pipe)
            for source in sources:
                answer: Any
                try:
                    if isinstance(source, FactsOnly):
                        answer, pixels = _facts(source), None
                    else:
                        answer, pixels = _decoded(source, spec, max_pixels)
                except ImageDecodeError as exc:
                    answer, pixels = _Failure(str(exc), exc.passing), None
                except Exception as exc:  # whatever a decoder does, it costs this file alone
                    reason = f"{type(exc).__name__} while decoding: {exc}"
                    answer, pixels = _Failure(reason, passing_of(exc)), None
                _send(pipe, answer, pixels)


@contextlib.contextmanager
def _ending() -> Iterator[None]:
    """Say by the exit code that memory did not suffice for an answer."""
    try:
        yield
    except MemoryError:
        os._exit(_NO_MEMORY)


def _decoded(
    source: str | bytes, spec: Preprocessing, max_pixels: int
) -> tuple[Any, npt.NDArray[np.uint8]]:
    """What `_Child.ask` makes a `Decoded` of, in values that are quick to pickle."""
    started = perf_counter()
    name = _name(source)
    if isinstance(source, bytes):
        data = source
    else:
        try:
            data = read_regular(source, file_limit(max_pixels))
        except (OSError, MemoryError) as exc:
            raise decode_error(name, exc) from exc
    prepared = prepare_with_facts(data, spec, max_pixels=max_pixels, name=name)
    digest = hashlib.sha256(data).hexdigest()
    facts = dataclasses.asdict(prepared.facts)
    pixels = np.ascontiguousarray(prepared.pixels)
    answer = (pixels.shape, facts, prepared.notes, digest, len(data), perf_counter() - started)
    return answer, pixels


def _facts(source: FactsOnly) -> dict[str, Any]:
    image = source.image
    try:
        return dataclasses.asdict(read_facts(image))
    except DECODER_ERRORS as exc:
        raise ImageDecodeError(f"{_name(source)}: {exc}", passing=passing_of(exc)) from exc


def _name(source: _Source) -> str:
    image = source.image if isinstance(source, FactsOnly) else source
    return getattr(image, "name", "the image") if isinstance(image, bytes) else Path(image).name


def _send(pipe: socket.socket, message: Any, pixels: npt.NDArray[np.uint8] | None = None) -> None:
    """Send a message, with pixels that go beside it."""
    pickled = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    size_bytes = 0 if pixels is None else pixels.nbytes
    sizes = _SIZES.pack(len(pickled), size_bytes)
    if len(pickled) <= _JOINED_BYTES:
        pipe.sendall(sizes + pickled)
    else:
        pipe.sendall(sizes)
        pipe.sendall(pickled)
    if pixels is not None:
        pipe.sendall(pixels.data.cast("B"))


def _receive(pipe: socket.socket) -> tuple[Any, memoryview]:
    """The next message, and the pixels beside it.

    Raises `EOFError` at the end, `BlockingIOError` after the time limit.
    """
    pickled, size_bytes = _SIZES.unpack(_read(pipe, _SIZES.size))
    message = pickle.loads(_read(pipe, pickled))  # noqa: S301 - a child
    return message, _read(pipe, size_bytes)


def _read(pipe: socket.socket, size: int) -> memoryview:
    data = np.empty(size, np.uint8).data
    left = data
    while left:
        count = pipe.recv_into(left, flags=socket.MSG_WAITALL)
        if not count:
            raise EOFError
        left = left[count:]
    return data
