"""A server process: its socket, its logs, its graceful stop."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from ..errors import StorageError
from ..names import shown
from ..temporary import private_folder
from .telemetry import access_log
from .wire import BoundedProtocol

__all__ = ["configuration", "listen", "own_temporary_files", "run"]

_BACKLOG = 2048
_KEEP_ALIVE_S = 30
# When the server is asked to stop: requests under way are finished within this time, and others
# answered 503; after the second one the process ends whatever is under way.
_GRACE_S = 3.5
_END_S = 4.7
_TEMP_PREFIX = "clipsearch-serve-"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        StorageError: The address is taken or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError as exc:
        sock.close()
        raise StorageError(
            f"cannot listen on {host} port {port}: {exc.strerror or exc}; choose another --port"
        ) from exc
    return sock


@contextlib.contextmanager
def own_temporary_files() -> Iterator[None]:
    """Keep whatever this process has in temporary files in a folder of its own, gone afterwards.

    Put it around everything, for libraries decide early where they put theirs.
    """
    global _temporary
    with private_folder(_TEMP_PREFIX, only=True) as _temporary:
        before, tempfile.tempdir = tempfile.tempdir, str(_temporary)
        os.environ["GRADIO_TEMP_DIR"] = str(_temporary / "gradio")
        try:
            yield
        finally:
            tempfile.tempdir = before


_temporary: Path | None = None  # the folder, while there is one


def run(app: FastAPI, sock: socket.socket, *, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT, and return or end the process within five seconds of it.

    Args:
        app: What `create_app` made.
        sock: What `listen` returned.
        ready: Called when requests are answered.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines("%(message)s"))
    logging.basicConfig(handlers=[handler], force=True)  # uvicorn, the engine, libraries
    for logger in (access_log, logging.getLogger("clipsearch.server")):
        logger.setLevel(logging.INFO)
    server = _Server(configuration(app), ready)
    server.run(sockets=[sock])
    if server.should_exit:
        _end(0)  # everything is closed, and Python would take seconds to unload the models


def configuration(app: FastAPI) -> uvicorn.Config:
    """How every server of ours speaks HTTP."""
    return uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,  # ours leaves out what users write
        server_header=False,
        proxy_headers=False,  # the guard reads them
        http=BoundedProtocol,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,  # type: ignore[arg-type] # asyncio takes fractions
        lifespan="on",
        ws="none",
    )


class _Lines(logging.Formatter):
    """Each record as one line; a traceback follows it, marked, so that no text can forge a line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - of logging
        return shown(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - of logging
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"| {shown(line)}" for line in lines)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            status = 0 if sig == signal.SIGTERM else 128 + sig
            # A thread that searches or encodes cannot be interrupted, and Python waits for it.
            end = threading.Timer(_END_S, _end, (status, "stopped with work under way"))
            end.daemon = True
            end.start()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        # Having stopped as asked is success; uvicorn would raise SIGTERM once more and die of it.
        self._captured_signals = [s for s in self._captured_signals if s != signal.SIGTERM]


def _end(status: int, told: str = "stopped") -> None:
    """End this process now. Indexes are sound after that, as they are after any crash."""
    if _temporary is not None:
        shutil.rmtree(_temporary, ignore_errors=True)
    logging.getLogger("clipsearch.server").info(told)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)
