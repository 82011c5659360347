"""Who may ask, how often, and how much: decided before a body is read."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problems import Problem, problem_response
from .settings import ServerSettings
from .telemetry import Telemetry

__all__ = ["BodyMiddleware", "GuardMiddleware"]

_COOKIE = "clipsearch_session"
_OPEN_PATHS = frozenset({"/healthz", "/readyz"})
_LOGIN = "/login"
_MAX_CLIENTS = 10_000  # remembered by the rate limit; the one that was quiet longest is forgotten
_LOGIN_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>clipsearch</title>
<body style="font-family:sans-serif;max-width:24em;margin:4em auto">
<h1>clipsearch</h1><form method="get" action="/"><label>Token
<input name="token" type="password" autofocus autocomplete="current-password"></label>
<button>Open</button></form></body></html>"""


class GuardMiddleware:
    """Host, origin, token, rate and number of requests."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, telemetry: Telemetry) -> None:
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
            self._telemetry.refused.labels(problem.code).inc()
            state = scope.get("state", {})
            answer = problem_response(problem, state.get("request_id", ""))
            answer.headers["connection"] = "close"  # whatever body there is stays unread
        if answer is not None:
            await answer(scope, receive, send)
            return
        # The page keeps connections open that do no work; only the API's requests count.
        work = scope["path"].startswith("/v1/")
        self._in_flight += work
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_flight -= work

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
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"), max_num_fields=20)
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
            return HTMLResponse(_LOGIN_PAGE, 401, {"WWW-Authenticate": "Bearer"})
        raise Problem(
            401,
            "unauthorized",
            "send the token of this server: Authorization: Bearer TOKEN",
            headers={"WWW-Authenticate": "Bearer"},
        )


class BodyMiddleware:
    """Reads a body whole, within a size and a time, before anything looks at it."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, telemetry: Telemetry) -> None:
        self._app = app
        self._settings = settings
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request with its body in memory, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._body(scope, receive)
        except Problem as problem:
            self._telemetry.refused.labels(problem.code).inc()
            state = scope.get("state", {})
            answer = problem_response(problem, state.get("request_id", ""))
            answer.headers["connection"] = "close"
            await answer(scope, receive, send)
            return
        if body is None:
            return
        delivered = False

        async def replay() -> Message:
            nonlocal delivered
            if delivered:
                return await receive()  # the client's going away
            delivered = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body; None when the client has gone."""
        limit = self._settings.max_body_bytes
        too_large = Problem(
            413, "body_too_large", f"a body may have {limit:,} bytes at most", headers={}
        )
        for name, value in scope["headers"]:
            if name == b"content-length" and (not value.isdigit() or int(value) > limit):
                raise too_large
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        raise too_large
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            seconds = self._settings.body_timeout_s
            raise Problem(
                408, "body_too_slow", f"the body did not arrive within {seconds:g} s"
            ) from None


def _split(address: str) -> tuple[str, str | None]:
    """Network location and host name of an address; empty for what is none."""
    try:
        parts = urlsplit(address)
        return parts.netloc, parts.hostname
    except ValueError:
        return "", None
