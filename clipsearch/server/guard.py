"""Who may ask, how often and how much, decided before a request is looked at.

`add_guard` puts one guard around an application, whether it serves the API, the page or both.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.applications import Starlette
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problems import Problem, problem_response
from .settings import ServerSettings
from .telemetry import Telemetry, TelemetryMiddleware

__all__ = [
    "GuardMiddleware",
    "HeadersMiddleware",
    "add_guard",
    "query_fields",
    "read_body",
    "replay",
]

_COOKIE = "clipsearch_session"
_OPEN_PATHS = frozenset({"/healthz", "/readyz"})
_MAX_CLIENTS = 10_000  # remembered by the rate limit; the one that was quiet longest is forgotten
_MAX_FIELDS = 300  # of a query: more than the longest link of the page has
_LOGIN_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>clipsearch</title>
<body style="font-family:sans-serif;max-width:24em;margin:4em auto">
<h1>clipsearch</h1><form method="get" action="/"><label>Token
<input name="token" type="password" autofocus autocomplete="current-password"></label>
<button>Open</button></form></body></html>"""
_LOGIN_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
)
# Of every answer that does not bring its own; pages that need more say so in their policy.
_HEADERS = (
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

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                names = {name.lower() for name, _ in headers}
                ours = (*_HEADERS, _UNKEPT) if scope["path"].startswith("/v1/") else _HEADERS
                headers += [pair for pair in ours if pair[0] not in names]
                message["headers"] = headers
            await send(message)

        await self._app(scope, receive, dressed if scope["type"] == "http" else send)


class GuardMiddleware:
    """Host, origin, token, rate, number of requests, and the size and speed of the body."""

    def __init__(
        self, app: ASGIApp, settings: ServerSettings, telemetry: Telemetry | None = None
    ) -> None:
        self._app = app
        self._settings = settings
        self._telemetry = telemetry
        secret = secrets.token_bytes(32)  # sessions end with the process
        self._tokens = [hashlib.sha256(token.encode()).digest() for token in settings.tokens]
        self._sessions = [
            hmac.new(secret, digest, hashlib.sha256).hexdigest() for digest in self._tokens
        ]
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here speaks WebSocket
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        try:
            answer = self._admit(scope, headers)
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
        try:
            body = await self._body(headers, receive)
        except Problem as problem:
            await self._refusal(problem, scope)(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, replay(body, receive), send)

    async def _body(self, headers: dict[bytes, str], receive: Receive) -> bytes | None:
        """The body, within the limits; None when the client has gone."""
        limit, seconds = self._settings.max_body_bytes, self._settings.body_timeout_s
        length = headers.get(b"content-length", "0")
        if not length.isdigit() or int(length) > limit:
            raise _too_large(limit)
        try:
            async with asyncio.timeout(seconds):
                return await read_body(receive, limit)
        except TimeoutError:
            told = f"the body did not arrive within {seconds:g} s"
            raise Problem(408, "body_too_slow", told) from None

    def _admit(self, scope: Scope, headers: dict[bytes, str]) -> Response | None:
        """None to go on, or the answer; raises `Problem` to refuse."""
        self._check_origin(headers)
        if scope["path"] in _OPEN_PATHS:
            return None
        client = (scope.get("client") or ("",))[0]
        self._check_rate(f"address {client}")
        if self._tokens:
            who = self._who(headers)
            if who is None:
                return self._login(scope, headers)
            self._check_rate(f"token {who}", cost=0 if len(self._tokens) == 1 else 1)
        if scope["path"].startswith("/v1/") and self._in_flight >= self._settings.max_in_flight:
            raise Problem(
                503,
                "overloaded",
                f"{self._in_flight} requests are under way already; try again soon",
                headers={"Retry-After": "1"},
            )
        return None

    def _check_origin(self, headers: dict[bytes, str]) -> None:
        """Only answer under our own name, and no page of another site."""
        host = headers.get(b"host", "")
        allowed = self._settings.allowed_hosts
        if allowed is not None and _split(f"//{host}")[1] not in allowed:
            raise Problem(421, "wrong_host", "this server does not answer under that host name")
        origin = headers.get(b"origin")
        if origin is not None and _split(origin)[0] != host:
            raise Problem(403, "wrong_origin", "pages of other sites may not call this server")

    def _check_rate(self, client: str, cost: float = 1.0) -> None:
        rate, burst = self._settings.rate_per_s, float(self._settings.rate_burst)
        if rate is None or not cost:
            return
        now = time.monotonic()
        left, at = self._buckets.pop(client, (burst, now))
        left = min(burst, left + (now - at) * rate)
        enough = left >= cost
        self._buckets[client] = (left - cost if enough else left, now)
        while len(self._buckets) > _MAX_CLIENTS:
            self._buckets.popitem(last=False)
        if not enough:
            wait = max(1, round((cost - left) / rate + 0.5))
            raise Problem(
                429,
                "rate_limited",
                f"over {rate:g} requests a second; wait {wait} s",
                headers={"Retry-After": str(wait)},
            )

    def _who(self, headers: dict[bytes, str]) -> int | None:
        """Which token the request carries, as a bearer or as the browser's session."""
        scheme, _, presented = headers.get(b"authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._match(presented.strip())
        try:
            cookie = SimpleCookie(headers.get(b"cookie", "")).get(_COOKIE)
        except CookieError:
            return None
        if cookie is None:
            return None
        found = None
        for who, session in enumerate(self._sessions):
            if hmac.compare_digest(session.encode(), cookie.value.encode()):
                found = who
        return found

    def _match(self, presented: str) -> int | None:
        """Compare with every token, in a time that does not depend on which one fits."""
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
        found = None
        for who, token in enumerate(self._tokens):
            if hmac.compare_digest(token, digest):
                found = who
        return found

    def _login(self, scope: Scope, headers: dict[bytes, str]) -> Response:
        """Turn `/?token=...` into a session cookie; ask browsers for the token."""
        page = "text/html" in headers.get(b"accept", "") and scope["method"] == "GET"
        query = query_fields(scope.get("query_string", b"").decode("latin-1"))
        if page and scope["path"] == "/" and query.get("token"):
            who = self._match(query["token"][0])
            if who is not None:
                answer = RedirectResponse("/", 303)
                answer.set_cookie(
                    _COOKIE,
                    self._sessions[who],
                    httponly=True,
                    samesite="strict",
                    secure=scope.get("scheme") == "https",
                )
                return answer
        if page and not scope["path"].startswith("/v1/"):
            challenge = {"WWW-Authenticate": "Bearer", "Content-Security-Policy": _LOGIN_POLICY}
            return HTMLResponse(_LOGIN_PAGE, 401, challenge)
        raise Problem(
            401,
            "unauthorized",
            "send the token of this server: Authorization: Bearer TOKEN",
            headers={"WWW-Authenticate": "Bearer"},
        )

    def _refusal(self, problem: Problem, scope: Scope) -> Response:
        if self._telemetry is not None:
            self._telemetry.refused.labels(problem.code).inc()
        answer = problem_response(problem, scope.get("state", {}).get("request_id", ""))
        answer.headers["connection"] = "close"  # whatever body there is stays unread
        return answer


def query_fields(query: str) -> dict[str, list[str]]:
    """The fields of an address after its `?`; none where there are too many."""
    try:
        return parse_qs(query, max_num_fields=_MAX_FIELDS)
    except ValueError:
        return {}


async def read_body(receive: Receive, limit: int | None = None) -> bytes | None:
    """The whole body of a request; None when the client has gone.

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


def _split(address: str) -> tuple[str, str | None]:
    """Network location and host name of an address; empty for what is none."""
    try:
        parts = urlsplit(address)
        return parts.netloc, parts.hostname
    except ValueError:
        return "", None
