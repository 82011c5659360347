"""A pool of decoder processes, in which a bad file costs that file alone.

A broken file can hang or crash a C decoder, so files are decoded in child processes under a time
limit; a child that hangs is killed, and one that dies is replaced. The children are plain
Python processes that import this module, with Pillow and numpy but never torch. (A
`multiprocessing` pool would import the user's script again in every child.)

Where a GPU encodes thousands of images a second, taking them from the children is what limits the
rate: each time that a thread waits for bytes it has to queue for Python's lock again. So a child
gets several files in one message, writes their pixels into memory that is shared (`slots`), and
answers for all of them in one message, or a few if they take long.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
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
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, perf_counter
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
from .slots import Shape, Slot, Slots, mapped, progress

__all__ = ["DEFAULT_TIMEOUT_S", "Decoded", "DecoderPool", "FactsOnly", "serve"]

_CHILD = f"import sys; from {__name__} import serve; serve(int(sys.argv[1]))"
_SIZE = struct.Struct("=Q")  # bytes of the pickled message
_TELLS_S = 0.2  # after which a child tells what it has, so that little is lost if it dies
_JOINED_BYTES = 1024 * 1024  # a message up to this is sent in one call; larger ones not copied
_STOPPED = "decoding was stopped"
_NO_MEMORY = 75  # exit code of a child that cannot even answer; EX_TEMPFAIL of sysexits.h
DEFAULT_TIMEOUT_S = 60.0  # a 179-megapixel PNG takes under 10 s to decode on one slow core


@dataclass(frozen=True, slots=True)
class Decoded:
    """One image, ready for the model, with what identifies its bytes."""

    prepared: Prepared  # the pixels are in a slot where one was given
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
        slot_images: Images that one of its slots has room for.
    """

    def __init__(
        self,
        spec: Preprocessing,
        *,
        workers: int,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        slot_images: int = 1,
    ) -> None:
        size = spec.size if spec else (1, 1)  # what encodes texts alone may have none
        self.slots = Slots((slot_images, *size, 3))
        self._settings = _Settings(spec, max_pixels, self.slots.shape)
        self._numbers = itertools.count()  # of the threads, each of which has one child at a time
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
        self.slots.close()

    def submit(self, source: str | bytes) -> Future[Decoded]:
        """Queue a path or the bytes of a file; the future raises `ImageDecodeError`."""
        return self._threads.submit(self._decode_one, source)

    def submit_many(
        self, sources: Sequence[str | bytes | FactsOnly], slot: Slot, first: int = 0
    ) -> Future[list[Decoded | ImageFacts | ImageDecodeError]]:
        """Queue files that one process decodes one after the other, with an end for each.

        That of a `FactsOnly` is its facts, or an error.

        Args:
            sources: Paths or the bytes of files.
            slot: What is decoded is written there, each at its place, and stays there.
            first: The place of the first one.
        """
        return self._threads.submit(self._decode, sources, slot, first)

    def _decode_one(self, source: str | bytes) -> Decoded:
        slot = self.slots.take()
        (end,) = self._decode([source], slot, 0)
        if isinstance(end, ImageDecodeError):
            self.slots.give(slot)
            raise end
        decoded = cast("Decoded", end)  # as it is no `FactsOnly`
        prepared = replace(decoded.prepared, pixels=decoded.prepared.pixels.copy())
        self.slots.give(slot)
        return replace(decoded, prepared=prepared)

    def _decode(self, sources: Sequence[_Source], slot: Slot, first: int) -> list[_Ended]:
        ends: list[_Ended] = []
        fatal: dict[int, ImageDecodeError] = {}  # by position: those that ended a child
        while (start := len(ends)) < len(sources):
            if self._closed:
                stopped = ImageDecodeError(_STOPPED, passing="limit")
                return [*ends, *(stopped for _ in sources[start:])]
            if start in fatal:
                ends.append(fatal[start])
                continue
            # Those that were decoded before it, and not told, are decoded again.
            stop = min((at for at in fatal if at > start), default=len(sources))
            child: _Child | None = getattr(self._own, "child", None)
            try:
                if child is None:
                    child = self._own.child = self._started()
                    self._children.append(child)
                for some in child.ask(sources[start:stop], slot, first + start):
                    ends += some
            except (TimeoutError, EOFError, OSError) as exc:
                at = len(ends)
                if child is not None:
                    child.kill()
                    self._children.remove(child)
                    at = min(max(at, start + child.progress), stop - 1)
                self._own.child = None
                fatal[at] = self._failure(sources[at], child, exc)
        return ends

    def _started(self) -> _Child:
        if not hasattr(self._own, "number"):
            self._own.number = next(self._numbers)
        return _Child(self._settings, self._timeout_s, self.slots, self._own.number)

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
class _Settings:
    """What a child is told first."""

    spec: Preprocessing
    max_pixels: int
    shape: Shape  # of a slot


@dataclass(frozen=True, slots=True)
class _Failure:
    """What a child answers for an image that it cannot decode."""

    reason: str
    passing: Passing | None


class _Child:
    """One decoder process and the socket to it."""

    def __init__(self, settings: _Settings, timeout_s: float, slots: Slots, number: int) -> None:
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
        limit_s = timeout_s + _TELLS_S
        self._limit = struct.pack("@ll", int(limit_s), int(limit_s % 1 * 1e6))  # a timeval
        self._share(slots, number)

    def _share(self, slots: Slots, number: int) -> None:
        """Let the process write to some slots, and to the progress with its number."""
        self._progress = slots.progress[number : number + 1]
        _send(self._socket, number)
        socket.send_fds(self._socket, [b"\0"], [slots.fd])

    @property
    def progress(self) -> int:
        """Which of the files that it was asked for it is at, or was when it died."""
        return int(self._progress[0])

    def ask(self, sources: Sequence[_Source], slot: Slot, first: int) -> Iterator[list[_Ended]]:
        """The ends of files, in order, some at a time, as they come."""
        self._progress[0] = 0
        if not self._is_ready:  # starting, which a busy machine draws out, is no file's fault
            _receive(self._socket)
            self._is_ready = True
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, self._limit)
        _send(self._socket, (sources, slot.number, first))
        at = first
        while at < first + len(sources):
            try:
                answers = _receive(self._socket)
            except BlockingIOError as exc:
                raise TimeoutError from exc
            yield [_ended(answer, slot.pixels[n]) for n, answer in enumerate(answers, at)]
            at += len(answers)

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


def _ended(answer: Any, pixels: npt.NDArray[np.uint8]) -> _Ended:
    """What a child has answered for a file whose pixels are there now, if it has any."""
    if isinstance(answer, _Failure):
        return ImageDecodeError(answer.reason, passing=answer.passing)
    if isinstance(answer, dict):
        return ImageFacts(**answer)
    facts, *others = answer
    notes, sha256, size_bytes, busy_s = others
    return Decoded(Prepared(pixels, ImageFacts(**facts), notes), sha256, size_bytes, busy_s)


def serve(descriptor: int) -> None:
    """The child's loop: sources come in, an answer or the reason against it goes out for each."""
    pipe = socket.socket(fileno=descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    settings = _receive(pipe)
    with _ending(), contextlib.suppress(EOFError, OSError):  # the parent is gone, or done
        image_suffixes()  # loads the decoders
        _send(pipe, True)
        while True:
            message = _receive(pipe)
            if isinstance(message, int):  # the child's number, with the file of the slots
                shared = socket.recv_fds(pipe, 1, 1)[1][0]
                own_progress = progress(shared)[message : message + 1]
                slots: dict[int, npt.NDArray[np.uint8]] = {}
                continue
            sources, slot, first = message
            if slot not in slots:
                slots[slot] = mapped(shared, settings.shape, slot)
            answers: list[Any] = []
            told = monotonic()
            for at, source in enumerate(sources):
                own_progress[0] = at
                if answers and monotonic() - told > _TELLS_S:
                    _send(pipe, answers)
                    answers, told = [], monotonic()
                answers.append(_answer(source, settings, slots[slot][first + at]))
            _send(pipe, answers)


def _answer(source: _Source, settings: _Settings, pixels: npt.NDArray[np.uint8]) -> Any:
    try:
        if isinstance(source, FactsOnly):
            return _facts(source)
        return _decoded(source, settings, pixels)
    except ImageDecodeError as exc:
        return _Failure(str(exc), exc.passing)
    except Exception as exc:  # whatever a decoder does, it costs this file alone
        reason = f"{type(exc).__name__} while decoding: {exc}"
        return _Failure(reason, passing_of(exc))


@contextlib.contextmanager
def _ending() -> Iterator[None]:
    """Say by the exit code that memory did not suffice for an answer."""
    try:
        yield
    except MemoryError:
        os._exit(_NO_MEMORY)


def _decoded(source: str | bytes, settings: _Settings, pixels: npt.NDArray[np.uint8]) -> Any:
    """Decode into `pixels`; returns what `_ended` makes a `Decoded` of, quick to pickle."""
    started = perf_counter()
    name = _name(source)
    if isinstance(source, bytes):
        data = source
    else:
        try:
            data = read_regular(source, file_limit(settings.max_pixels))
        except (OSError, MemoryError) as exc:
            raise decode_error(name, exc) from exc
    prepared = prepare_with_facts(data, settings.spec, max_pixels=settings.max_pixels, name=name)
    digest = hashlib.sha256(data).hexdigest()
    pixels[:] = prepared.pixels
    facts = dataclasses.asdict(prepared.facts)
    return facts, prepared.notes, digest, len(data), perf_counter() - started


def _facts(source: FactsOnly) -> dict[str, Any]:
    image = source.image
    try:
        return dataclasses.asdict(read_facts(image))
    except DECODER_ERRORS as exc:
        raise ImageDecodeError(f"{_name(source)}: {exc}", passing=passing_of(exc)) from exc


def _name(source: _Source) -> str:
    image = source.image if isinstance(source, FactsOnly) else source
    return getattr(image, "name", "the image") if isinstance(image, bytes) else Path(image).name


def _send(pipe: socket.socket, message: Any) -> None:
    pickled = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    if len(pickled) <= _JOINED_BYTES:
        pipe.sendall(_SIZE.pack(len(pickled)) + pickled)
    else:
        pipe.sendall(_SIZE.pack(len(pickled)))
        pipe.sendall(pickled)


def _receive(pipe: socket.socket) -> Any:
    """The next message.

    Raises `EOFError` at the end, `BlockingIOError` after the time limit.
    """
    (size,) = _SIZE.unpack(_read(pipe, _SIZE.size))
    return pickle.loads(_read(pipe, size))  # noqa: S301 - a child


def _read(pipe: socket.socket, size: int) -> memoryview:
    data = np.empty(size, np.uint8).data
    left = data
    while left:
        count = pipe.recv_into(left, flags=socket.MSG_WAITALL)
        if not count:
            raise EOFError
        left = left[count:]
    return data
