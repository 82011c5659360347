"""The only way in to Gradio: the routes that the page uses, in the language of the visitor.

Gradio has routes that read and write files (`file=`, `upload`, `stream`, `proxy=`). The page needs
none of them: images come by item id, uploads travel in the body of an event and never touch the
disk. So a request for anything that is not on the list below is answered 404 before Gradio sees it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipsearch.server.door import query_fields
from clipsearch.server.guard import read_body, replay
from clipsearch.server.problems import Problem, problem_response

from .events import FAILED, check_event
from .sessions import Sessions

__all__ = ["LANGUAGE_COOKIE", "PageGuard"]

LANGUAGE_COOKIE = "clipsearch_lang"
_OPEN = re.compile(
    r"/(?:$|config/?$|theme\.css$|favicon\.ico$|robots\.txt$|manifest\.json$|pwa_icon(?:/\d+)?$"
    r"|assets/[\w.-]+(?:/[\w.-]+)*$|static/[\w.-]+(?:/[\w.-]+)*$"
    r"|gradio_api/(?:run/predict/?$|heartbeat/[\w-]{1,64}$|startup-events$|info/?$|theme\.css$))"
)
_POLICY = (  # Gradio's page has scripts and styles of its own within it
    b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self'; "
    b"form-action 'self'; base-uri 'self'; object-src 'none'; frame-ancestors 'none'"
)


class PageGuard:
    """Lets the page's own requests through, to the application in the right language.

    Who may ask and how much a request may hold is for the guard around the whole application.

    Args:
        apps: Gradio applications by language.
        inputs: The number of inputs of each event, by language.
        sessions: What is kept of visitors, by language.
        routes: The page's own, below /page/.
        language: Used whatever the browser says; None to follow the browser.
    """

    def __init__(
        self,
        apps: Mapping[str, ASGIApp],
        inputs: Mapping[str, Mapping[int, int]],
        sessions: Mapping[str, Sessions],
        routes: ASGIApp,
        *,
        language: str | None,
    ) -> None:
        self._apps = dict(apps)
        self._routes = routes
        self._inputs = dict(inputs)
        self._sessions = dict(sessions)
        self._language = language

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        path = scope["path"]
        prefix = scope.get("root_path", "")
        inner = path[len(prefix) :] if prefix and path.startswith(prefix) else path
        if inner.startswith("/page/"):
            await self._routes(scope, receive, send)
        else:
            await self._gradio(inner, scope, receive, send)

    async def _gradio(self, inner: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse a request for what Gradio has."""
        if not _OPEN.match(inner or "/") or ".." in inner:
            await _refuse(Problem(404, "not_found", "there is nothing here"), scope, receive, send)
            return
        headers = dict(scope["headers"])
        query = query_fields(scope.get("query_string", b"").decode("latin-1"))
        asked = query.get("lang", [""])[0]
        page = inner in ("", "/")

        failed = is_new = False

        async def answered(message: Message) -> None:
            nonlocal failed
            if message["type"] == "http.response.start":
                failed = message["status"] >= 400 and page_event
                extra = [(b"content-security-policy", _POLICY)]
                if page and asked in self._apps:
                    cookie = f"{LANGUAGE_COOKIE}={asked}; Path=/; SameSite=Lax; Max-Age=31536000"
                    extra.append((b"set-cookie", cookie.encode()))
                if is_new:  # which a page that was answered before loads itself again for
                    extra.append((b"x-clipsearch-session", b"new"))
                message = {**message, "headers": [*message.get("headers", []), *extra]}
            if not failed:
                await send(message)

        language = self._choose(asked, headers)
        body = await read_body(receive) if scope["method"] == "POST" else b""
        if body is None:
            return  # the visitor has gone
        page_event = scope["method"] == "POST" and inner.startswith("/gradio_api/run/")
        try:
            if page_event:
                session = check_event(body, self._inputs[language])
                is_new = session is not None and session not in self._sessions[language]
        except Problem as problem:
            await _refuse(problem, scope, receive, send)
            return
        await self._apps[language](scope, replay(body, receive), answered)
        if failed:
            await _refuse(Problem(422, "invalid_input", FAILED), scope, receive, send)

    def _choose(self, asked: str, headers: Mapping[bytes, bytes]) -> str:
        """The language of one request: asked for, remembered, configured, the browser's."""
        if asked in self._apps:
            return asked
        try:
            cookie = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
            remembered = cookie[LANGUAGE_COOKIE].value if LANGUAGE_COOKIE in cookie else ""
        except CookieError:
            remembered = ""
        if remembered in self._apps:
            return remembered
        if self._language in self._apps:
            return str(self._language)
        for part in headers.get(b"accept-language", b"").decode("latin-1").split(","):
            tag = part.split(";")[0].strip().lower().split("-")[0]
            if tag in self._apps:
                return tag
        return next(iter(self._apps))


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    answer = problem_response(problem, scope.get("state", {}).get("request_id", ""))
    await answer(scope, receive, send)
