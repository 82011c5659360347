"""Tokens: who has one, the browser's session that takes its place, and a brake on guesses."""

from __future__ import annotations

import hashlib
import hmac
import html
import secrets
import time
from collections.abc import Mapping, Sequence
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope

from .buckets import Buckets
from .problems import Problem, come_back

__all__ = ["MAX_FORM_BYTES", "Door", "form_token", "is_form", "link_token", "query_fields"]

MAX_FORM_BYTES = 8 * 1024
SESSION_S = 7 * 24 * 3600
_COOKIE = "clipsearch_session"
_LOGIN_PATH = "/login"
_PROXIED = {
    b"forwarded",
    b"via",
    *(f"x-forwarded-{of}".encode() for of in ("for", "host", "proto")),
}
_MAX_FIELDS = 300  # of a query: more than the longest link of the page has
# Guesses of one address: ten at once, then ten a minute. Of all together: a hundred, then one a
# second, which holds for those only that guessed wrong before.
_GUESSES, _GUESSES_PER_S = 10, 1 / 6
_ALL_GUESSES, _ALL_GUESSES_PER_S = 100, 1.0
_EVERYONE = "everyone"
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>clipsearch</title>
<body style="font-family:sans-serif;max-width:24em;margin:4em auto">
<h1>clipsearch</h1><p role="alert">{told}</p>
<form method="post" action="{login}"><label>Token
<input name="token" type="password" autofocus autocomplete="current-password"></label>
<button>Open</button></form></body></html>"""
_PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",  # with none, browsers post the form with Origin: null
    "WWW-Authenticate": "Bearer",
    "Connection": "close",  # whatever body there is stays unread
}


class Door:
    """Lets those in who have a token.

    Args:
        tokens: Any of them opens the door; none means that it is open.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = [hashlib.sha256(token.encode()).digest() for token in tokens]
        self._secret = secrets.token_bytes(32)  # sessions end with the process
        self._guesses = Buckets(_GUESSES_PER_S, _GUESSES)
        self._all_guesses = Buckets(_ALL_GUESSES_PER_S, _ALL_GUESSES)
        self.locked = bool(tokens)
        self.several = len(tokens) > 1

    def who(self, headers: Mapping[bytes, str], client: str) -> int | None:
        """Which token a request carries, as a bearer or by the browser's session.

        Args:
            headers: Of the request.
            client: Whose guesses are counted.

        Raises:
            Problem: The client must wait after wrong guesses.
        """
        scheme, _, presented = headers.get(b"authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._match(presented.strip(), client)
        try:
            cookie = SimpleCookie(headers.get(b"cookie", "")).get(_COOKIE)
        except CookieError:
            return None
        return None if cookie is None else self._of_session(cookie.value)

    def sign_in(self, scope: Scope, client: str, token: str) -> Response:
        """Give a browser a session for a token, or ask again."""
        try:
            who = self._match(token, client)
        except Problem as problem:
            return _page(scope, problem.status, problem.detail, problem.headers)
        if who is None:
            return _page(scope, 401, "This is not a token of this server.")
        answer = RedirectResponse(_start(scope), 303, {"Cache-Control": "no-store"})
        answer.set_cookie(
            _COOKIE,
            self._session(who, int(time.time()) + SESSION_S),
            max_age=SESSION_S,
            httponly=True,
            samesite="strict",
            secure=scope.get("scheme") == "https",
        )
        return answer

    def refuse(self, scope: Scope, headers: Mapping[bytes, str]) -> Response:
        """Ask a browser for a token; tell a program that it needs one.

        Raises:
            Problem: It is a program.
        """
        if _is_page(scope, headers) and not scope["path"].startswith("/v1/"):
            return _page(scope, 401, "")
        raise Problem(
            401,
            "unauthorized",
            "send the token of this server: Authorization: Bearer TOKEN",
            headers={"WWW-Authenticate": "Bearer"},
        )

    def _match(self, presented: str, client: str) -> int | None:
        """Compare with every token, in a time that does not depend on which one fits."""
        wait = self._guesses.wait_s(client)
        if not wait and not self._guesses.is_full(client):
            wait = self._all_guesses.wait_s(_EVERYONE)
        if wait:
            told = f"too many wrong tokens; wait {wait} s"
            raise come_back(429, "too_many_guesses", told, after_s=wait)
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
        found = None
        for who, token in enumerate(self._tokens):
            if hmac.compare_digest(token, digest):
                found = who
        if found is None:
            self._guesses.take(client)
            self._all_guesses.take(_EVERYONE)
        return found

    def _session(self, who: int, until: int) -> str:
        said = f"{who}.{until}"
        signed = hmac.new(self._secret, said.encode(), hashlib.sha256).hexdigest()
        return f"{said}.{signed}"

    def _of_session(self, value: str) -> int | None:
        who, _, rest = value.partition(".")
        until = rest.partition(".")[0]
        if not (who.isdecimal() and until.isdecimal() and value.isascii() and len(value) < 200):
            return None
        if not hmac.compare_digest(self._session(int(who), int(until)), value):
            return None
        return int(who) if time.time() < int(until) else None


def is_form(scope: Scope) -> bool:
    """Whether a request posts the form that asks for a token."""
    return bool(scope["path"] == _LOGIN_PATH and scope["method"] == "POST")


def link_token(scope: Scope, headers: Mapping[bytes, str]) -> str | None:
    """The token of a browser's `/?token=...`; None where there is none."""
    if scope["path"] != "/" or not _is_page(scope, headers):
        return None
    query = query_fields(scope.get("query_string", b"").decode("latin-1"))
    return query["token"][0] if "token" in query else None


def form_token(body: bytes) -> str:
    """The token of a posted form; empty where there is none."""
    return query_fields(body.decode("latin-1")).get("token", [""])[0]


def query_fields(query: str) -> dict[str, list[str]]:
    """The fields of an address after its `?`; none where there are too many."""
    try:
        return parse_qs(query, max_num_fields=_MAX_FIELDS)
    except ValueError:
        return {}


def _is_page(scope: Scope, headers: Mapping[bytes, str]) -> bool:
    return "text/html" in headers.get(b"accept", "") and bool(scope["method"] == "GET")


def _page(
    scope: Scope, status: int, told: str, headers: Mapping[str, str] | None = None
) -> Response:
    up = "../" * (scope["path"].count("/") - 1)  # a proxy may have the server below a path
    form = _PAGE.format(told=html.escape(told), login=f"{up}{_LOGIN_PATH[1:]}")
    return HTMLResponse(form, status, {**_PAGE_HEADERS, **(headers or {})})


def _start(scope: Scope) -> str:
    """Where the page is: beside what was asked for, if there is a sign of a proxy.

    A proxy that has the server below a path tells nobody of that path, so no address from the
    root on leads back to it.
    """
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    came_from = urlsplit(headers.get(b"referer", "")).path
    if came_from not in ("", "/", _LOGIN_PATH) or _PROXIED & headers.keys():
        return "./"
    return "/"
