"""What a client must keep to before anything looks at its requests: size, number and time.

uvicorn limits neither the head of a request nor how long one may take to arrive, keeps what a
client does not read for as long as the client likes, and accepts any number of connections.
"""

from __future__ import annotations

import asyncio
import os
from http import HTTPStatus
from typing import Any

import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .guard import SECURITY_HEADERS
from .problems import Problem, problem_response

__all__ = ["BoundedProtocol", "bound_ray_proxy"]

MAX_HEAD_BYTES = 64 * 1024  # all but bodies: request line, headers, the framing of chunks, trailers
MAX_TARGET_BYTES = 32 * 1024  # longer than any link of the page
MAX_HEADERS = 100
MAX_PIPELINED = 16  # requests that wait for the answer to an earlier one
MAX_CONNECTIONS = 512  # half of the files that a process may have open on most systems
MAX_OF_ADDRESS = 384  # connections of one address, so that others are answered as well
HEAD_S = 10.0  # in which a head has to arrive
SEND_S = 30.0  # in which a client has to read `_LEAST_READ` bytes, or all there are
_LEAST_READ = 32 * 1024
_FRAMING_OF_BYTE = 8  # chunks of one byte have five bytes around it
_TICK_S = 1.0


class BoundedProtocol(HttpToolsProtocol):
    """A connection that is closed when its client sends too much, is too slow, or does not read."""

    _in_head = True  # neither a body nor trailers are being received
    _framing = 0  # bytes received since the last head or message ended that are in no body
    _body = 0  # bytes of the body that is being received
    _problem: Problem | None = None  # why the connection is being closed
    _watcher: asyncio.TimerHandle | None = None

    # --- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection; where there are too many, one that waits for a request ends."""
        super().connection_made(transport)
        now = self.loop.time()
        self._since: float | None = now  # when the head could have begun; None between requests
        self._unread, self._unread_at = 0, now
        self._watcher = self.loop.call_later(_TICK_S, self._watch)
        if len(self.connections) > MAX_OF_ADDRESS:
            crowd: list[Any] = [c for c in self.connections if not c.transport.is_closing()]
            address = self.client and self.client[0]
            same = [c for c in crowd if (c.client and c.client[0]) == address]
            self._make_room(same, MAX_OF_ADDRESS)
            self._make_room(crowd, MAX_CONNECTIONS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._watcher is not None:
            self._watcher.cancel()
        super().connection_lost(exc)

    def _make_room(self, crowd: list[Any], limit: int) -> None:
        if len(crowd) <= limit or self.transport.is_closing():
            return
        waiting = [other for other in crowd if other is not self and other._idle]
        if waiting:
            min(waiting, key=lambda other: other._since or 0.0).transport.abort()
        else:
            self._refuse(503, "overloaded", "too many connections are open; try again soon")

    @property
    def _idle(self) -> bool:
        """Whether no request is under way."""
        return (self.cycle is None or self.cycle.response_complete) and not self.pipeline

    def _watch(self) -> None:
        """Close the connection if its client is too slow, every second."""
        now = self.loop.time()
        if self._in_head and self._idle and self._since is not None and now - self._since > HEAD_S:
            if self._framing:
                self._refuse(
                    408, "head_too_slow", f"the request did not arrive within {HEAD_S:g} s"
                )
            else:
                self.transport.close()
            self._since = None
        unread = self.transport.get_write_buffer_size()
        if not unread or not self._unread or unread <= self._unread - _LEAST_READ:
            self._unread, self._unread_at = unread, now
        elif now - self._unread_at > SEND_S:
            self.transport.abort()
        self._watcher = self.loop.call_later(_TICK_S, self._watch)

    def resume_writing(self) -> None:
        """The client has read nearly all there was."""
        self._unread = 0
        super().resume_writing()

    def shutdown(self) -> None:
        """Finish the request under way; a stream of events, which has no end, is cut."""
        super().shutdown()
        cycle = self.cycle
        if cycle is not None and cycle.chunked_encoding and not cycle.response_complete:
            self.transport.close()

    # --- what arrives

    def data_received(self, data: bytes) -> None:
        """Parse bytes, as long as they stay within the limits."""
        if self._problem is not None:
            return
        self._framing += len(data)
        if self._since is None:
            self._since = self.loop.time()
        super().data_received(data)
        if self._problem is None and self._framing > MAX_HEAD_BYTES + _FRAMING_OF_BYTE * self._body:
            self._refuse(431, "head_too_large", f"over {MAX_HEAD_BYTES:,} bytes besides the body")

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        super().on_url(url)
        if len(self.url) > MAX_TARGET_BYTES:
            self._stop(414, "target_too_long", f"over {MAX_TARGET_BYTES:,} bytes in the address")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; trailers are left out, for they were not there when the request was checked."""
        if not self._in_head:
            return
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            self._stop(431, "too_many_headers", f"over {MAX_HEADERS} headers")

    def on_headers_complete(self) -> None:
        """The head is complete, and the request begins."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD_BYTES:
            self._stop(431, "head_too_large", f"over {MAX_HEAD_BYTES:,} bytes besides the body")
        version = self.parser.get_http_version()
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        if version not in ("1.0", "1.1") or codings not in ([], [b"chunked"][: version == "1.1"]):
            self._stop(400, "bad_request", "use HTTP/1.1, and send the body as it is or in chunks")
        if not self.url.startswith(b"/") or b"#" in self.url:
            self._stop(400, "bad_request", "the request must name a path of this server")
        if len(self.pipeline) >= MAX_PIPELINED:
            self._stop(400, "bad_request", f"over {MAX_PIPELINED} requests wait for an answer")
        upgrade = self.parser.should_upgrade()
        has_body = any(name == b"content-length" and value != b"0" for name, value in self.headers)
        if upgrade and (has_body or codings):  # the parser would leave the body out
            self._stop(400, "bad_request", "send a body without the header Upgrade")
        self._in_head, self._framing, self._body = False, 0, 0
        super().on_headers_complete()
        if upgrade:
            self.cycle.keep_alive = False  # the parser takes no other request

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body += len(body)
        self._framing = max(0, self._framing - len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has arrived."""
        self._in_head, self._framing, self._body = True, 0, 0
        self._since = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The request is answered; one that was not read to its end ends the connection."""
        self._since = self.loop.time() if self._framing else None
        if not self._in_head and not self.pipeline:
            self.transport.close()
        super().on_response_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """A request to change the protocol is answered as any other, and is nothing to log."""

    # --- refusals

    def _stop(self, status: int, code: str, detail: str) -> None:
        """Refuse from within the parser."""
        self._problem = Problem(status, code, detail)
        raise ValueError(detail)

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be parsed, or what was refused while it was."""
        problem = self._problem or Problem(400, "bad_request", "this is not a valid HTTP request")
        self._refuse(problem.status, problem.code, problem.detail)

    def _refuse(self, status: int, code: str, detail: str) -> None:
        """Close the connection, and say why unless another answer is under way."""
        self._problem = Problem(status, code, detail)
        asked = self.cycle is not None and not self.cycle.response_complete
        if asked:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        started = (asked and self.cycle.response_started) or self.pipeline
        if not started and not self.transport.is_closing():
            answer = problem_response(self._problem)
            head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
            head += [b": ".join(pair) for pair in answer.raw_headers]
            head += [b": ".join(pair) for pair in (*SECURITY_HEADERS, (b"connection", b"close"))]
            self.transport.write(b"\r\n".join([*head, b"", bytes(answer.body)]))
        self.transport.close()


def bound_ray_proxy() -> list[Any]:
    """Make the HTTP proxies of Ray Serve use `BoundedProtocol`; they call this when they start.

    Returns:
        Middleware to add, of which there is none.
    """
    os.environ["FORWARDED_ALLOW_IPS"] = ""  # uvicorn would believe this machine; the guard decides
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{BoundedProtocol.__name__}"
    return []
