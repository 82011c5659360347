"""A server process: its socket, its logs, its graceful stop."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI

from ..errors import StorageError
from ..names import shown
from .telemetry import access_log

__all__ = ["listen", "run"]

_BACKLOG = 2048
_KEEP_ALIVE_S = 30
_GRACE_S = 20  # for requests under way when the server is asked to stop


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


def run(app: FastAPI, sock: socket.socket, *, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are finished.

    Args:
        app: What `create_app` made.
        sock: What `listen` returned.
        ready: Called when requests are answered.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines("%(message)s"))
    logging.getLogger().addHandler(handler)  # uvicorn, the engine, libraries
    for logger in (access_log, logging.getLogger("clipsearch.server")):
        logger.setLevel(logging.INFO)
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,  # ours leaves out what users write
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
        lifespan="on",
        ws="none",
    )
    _Server(config, ready).run(sockets=[sock])


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

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        # Having stopped as asked is success; uvicorn would raise SIGTERM once more and die of it.
        self._captured_signals = [s for s in self._captured_signals if s != signal.SIGTERM]
