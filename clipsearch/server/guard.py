"""Who may ask, how often and how much, decided before a request is looked at.

`add_guard` puts one guard around an application, whether it serves the API, the page or both.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .buckets import Buckets
from .door import MAX_FORM_BYTES, Door, form_token, is_form, link_token
from .problems import Problem, come_back, problem_response
from .proxies import Proxies, client_network
from .settings import ServerSettings
from .telemetry import Telemetry, TelemetryMiddleware

__all__ = [
    "SECURITY_HEADERS",
    "GuardMiddleware",
    "HeadersMiddleware",
    "add_guard",
    "read_body",
    "replay",
]

_OPEN_PATHS = frozenset({"/healthz", "/readyz"})
_HOST = re.compile(
    r"(?P<name>\[[0-9a-fA-F:.]{2,45}\]|[a-zA-Z0-9](?:[a-zA-Z0-9._-]{0,251}[a-zA-Z0-9])?)"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_ONCE = frozenset(
    b"authorization content-length content-type host origin sec-fetch-mode sec-fetch-site".split()
)
# Of every answer that does not bring its own; pages that need more say so in their policy.
SECURITY_HEADERS = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_UNKEPT = (b"cache-control", b"no-store")  # of the API's answers


def add_guard(
    app: Starlette, settings: ServerSettings, *, telemetry: Telemetry | None = None
) -> None:
    """Put the guard around an application; middleware that is added later lies outside of it.

    Args:
        app: What is guarded.
        settings: The limits and tokens.
        telemetry: Counts and logs requests, refused ones among them; None counts none.
    """
    # The last one added is the outermost.
    app.add_middleware(GuardMiddleware, settings=settings, telemetry=telemetry)
    if telemetry is not None:
        app.add_middleware(TelemetryMiddleware, telemetry=telemetry)
    app.add_middleware(HeadersMiddleware)


class HeadersMiddleware:
    """Security headers for every answer, those of refusals and failures among them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = False

        async def dressed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = list(message.get("headers", ()))
                names = {name.lower() for name, _ in headers}
                ours = (
                    (*SECURITY_HEADERS, _UNKEPT)
                    if scope["path"].startswith("/v1/")
                    else SECURITY_HEADERS
                )
                headers += [pair for pair in ours if pair[0] not in names]
                message["headers"] = headers
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, dressed)
        except asyncio.CancelledError:  # the server stops, and this took too long
            if not started:
                told = "this server is being stopped; send the request again"
                await problem_response(Problem(503, "stopping", told))(scope, receive, dressed)


class GuardMiddleware:
    """Host, origin, token, rate, number of requests, and the size and speed of the body."""

    def __init__(
        self, app: ASGIApp, settings: ServerSettings, telemetry: Telemetry | None = None
    ) -> None:
        self._app = app
        self._settings = settings
        self._telemetry = telemetry
        self._proxies = Proxies(settings.proxies)
        self._door = Door(settings.tokens)
        rate = settings.rate_per_s
        self._rate = None if rate is None else Buckets(rate, settings.rate_burst)
        self._in_flight = 0
        self._held_bytes = 0  # of the bodies of all requests under way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here speaks WebSocket
            await send({"type": "websocket.close", "code": 1008})
            return
        self._proxies.apply(scope)
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        try:
            answer = await self._admit(scope, headers, receive)
        except Problem as problem:
            answer = self._refusal(problem, scope)
        if answer is not None:
            await answer(scope, receive, send)
            return
        # The page keeps connections open that do no work; only the API's requests count.
        work = scope["path"].startswith("/v1/")
        self._in_flight += work
        try:
            await self._serve(headers, scope, receive, send)
        finally:
            self._in_flight -= work

    async def _serve(
        self, headers: dict[bytes, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve one request with its body in memory, or refuse the body."""
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            held += size
            self._held_bytes += size
            if self._held_bytes > self._settings.max_held_bytes:
                raise _overloaded("the bodies of other requests fill the memory for them")

        try:
            try:
                body = await self._body(headers, receive, self._settings.max_body_bytes, hold)
            except Problem as problem:
                await self._refusal(problem, scope)(scope, receive, send)
                return
            if body is not None:
                await self._app(scope, replay(body, receive), send)
        finally:
            self._held_bytes -= held

    async def _body(
        self,
        headers: dict[bytes, str],
        receive: Receive,
        limit: int,
        hold: Callable[[int], None] | None = None,
    ) -> bytes | None:
        """The body, within the limits; None when the client has gone."""
        seconds = self._settings.body_timeout_s
        length = headers.get(b"content-length", "0")
        if not length.isdigit() or int(length) > limit:
            raise _too_large(limit)
        try:
            async with asyncio.timeout(seconds):
                return await read_body(receive, limit, hold)
        except TimeoutError:
            told = f"the body did not arrive within {seconds:g} s"
            raise Problem(408, "body_too_slow", told) from None

    async def _admit(
        self, scope: Scope, headers: dict[bytes, str], receive: Receive
    ) -> Response | None:
        """None to go on, or the answer; raises `Problem` to refuse."""
        _check_once(scope)
        self._check_origin(scope, headers)
        if scope["path"] in _OPEN_PATHS:
            return None
        client = client_network((scope.get("client") or ("",))[0])
        self._check_rate(f"address {client}")
        if self._door.locked:
            if is_form(scope):
                form = await self._body(headers, receive, MAX_FORM_BYTES)
                return self._door.sign_in(scope, client, form_token(form or b""))
            token = link_token(scope, headers)
            if token is not None:
                return self._door.sign_in(scope, client, token)
            who = self._door.who(headers, client)
            if who is None:
                return self._door.refuse(scope, headers)
            if self._door.several:
                self._check_rate(f"token {who}")
        if scope["path"].startswith("/v1/") and self._in_flight >= self._settings.max_in_flight:
            raise _overloaded(f"{self._in_flight} requests are under way already")
        return None

    def _check_origin(self, scope: Scope, headers: dict[bytes, str]) -> None:
        """Only answer under our own name, and no page of another site."""
        text = headers.get(b"host")
        host = None if text is None else _host(text)
        allowed = self._settings.allowed_hosts
        known = host is not None and (allowed is None or host[0] in allowed)
        if text is None and allowed is None and scope.get("http_version") != "1.1":
            known = True  # as some load balancers ask whether a server is alive
        if not known:
            raise Problem(421, "wrong_host", "this server does not answer under that host name")
        origin = headers.get(b"origin")
        scheme = scope.get("scheme", "http")
        if origin is not None and (host is None or _origin(origin) != _netloc(scheme, host)):
            raise Problem(
                403,
                "wrong_origin",
                "pages of other sites may not call this server (behind a proxy: does it keep the "
                "Host header, and is it given as --proxy?)",
            )
        site = headers.get(b"sec-fetch-site", "none")  # what browsers say of every request
        link = headers.get(b"sec-fetch-mode") == "navigate" and scope["method"] in ("GET", "HEAD")
        if site not in ("none", "same-origin") and not link:
            raise Problem(403, "wrong_origin", "pages of other sites may not call this server")

    def _check_rate(self, client: str) -> None:
        wait = 0 if self._rate is None else self._rate.take(client)
        if wait:
            told = f"over {self._settings.rate_per_s:g} requests a second; wait {wait} s"
            raise come_back(429, "rate_limited", told, after_s=wait)

    def _refusal(self, problem: Problem, scope: Scope) -> Response:
        if self._telemetry is not None:
            self._telemetry.refused.labels(problem.code).inc()
        answer = problem_response(problem, scope.get("state", {}).get("request_id", ""))
        answer.headers["connection"] = "close"  # whatever body there is stays unread
        return answer


async def read_body(
    receive: Receive, limit: int | None = None, hold: Callable[[int], None] | None = None
) -> bytes | None:
    """The whole body of a request; None when the client has gone.

    Args:
        receive: Gives the body.
        limit: Bytes of it at most.
        hold: Told the size of every part; may raise.

    Raises:
        Problem: It has more bytes than `limit`.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if limit is not None and size > limit:
            raise _too_large(limit)
        if hold is not None:
            hold(len(parts[-1]))
        if not message.get("more_body", False):
            return b"".join(parts)


def replay(body: bytes, receive: Receive) -> Receive:
    """A body that was read, once more, and then whatever else arrives."""
    delivered = False

    async def again() -> Message:
        nonlocal delivered
        if delivered:
            return await receive()  # the client's going away
        delivered = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _too_large(limit: int) -> Problem:
    return Problem(413, "body_too_large", f"a body may have {limit:,} bytes at most")


def _overloaded(why: str) -> Problem:
    return come_back(503, "overloaded", f"{why}; try again soon", after_s=1)


def _check_once(scope: Scope) -> None:
    """Refuse headers that say two things, of which each reader might believe another."""
    names = [name for name, _ in scope["headers"] if name in _ONCE]
    if len(names) != len(set(names)):
        raise Problem(400, "bad_request", "a header is given twice")


def _host(text: str) -> tuple[str, int | None] | None:
    """Name in lower case and port of a Host header; None for what is none."""
    found = _HOST.fullmatch(text)
    if found is None:
        return None
    name, port = found["name"].lower(), found["port"]
    if name.startswith("["):
        try:
            name = str(ipaddress.IPv6Address(name[1:-1]))
        except ValueError:
            return None
    if port is not None and not 0 < int(port) < 65536:
        return None
    return name, None if port is None else int(port)


def _netloc(scheme: str, host: tuple[str, int | None]) -> tuple[str, str, int | None]:
    return scheme, host[0], host[1] or {"http": 80, "https": 443}.get(scheme)


def _origin(text: str) -> tuple[str, str, int | None] | None:
    """Scheme, name and port of an Origin header; None for what is none, such as `null`."""
    scheme, between, rest = text.partition("://")
    host = _host(rest) if between else None
    return None if host is None else _netloc(scheme.lower(), host)
