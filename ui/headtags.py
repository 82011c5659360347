"""What the page itself brings along: tags in its head, and its first results before it ends.

Gradio adds tags of its own once it runs; these are there when the browser reads the page.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio.to_thread
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["HeadTags"]

_GRADIO = b"<script data-gradio-mode>"  # after its configuration, and before what reads that
_MANIFEST = b'<link rel="manifest" href="/manifest.json" />'  # from the root on; there is none
_PATIENCE_S = 0.4  # for the first results; whoever opens the page asks for later ones


class HeadTags:
    """Puts tags into the head of the page, and data before the end of its body.

    Gradio sends the page as one body. What the browser needs to begin is sent on at once, while
    the data is still being made.

    Args:
        app: What sends the page.
        tags: The HTML of the tags.
        start: What to tell the script of the page, of the query of its address.
    """

    def __init__(self, app: ASGIApp, tags: str, start: Callable[[str], Any]) -> None:
        self._app = app
        self._tags = tags.encode()
        self._start = start

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"].rstrip("/") != scope.get("root_path", ""):
            await self._app(scope, receive, send)
            return
        begun: Message = {}
        parts: list[bytes] = []

        async def tagged(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = message
                return
            parts.append(message.get("body", b""))
            if message.get("more_body", False):
                return
            body = _without_frames(b"".join(parts).replace(_MANIFEST, b""))
            before = _GRADIO if _GRADIO in body else b"</head>"
            body = body.replace(before, self._tags + before, 1)
            body, mark, end = body.rpartition(b"</body>")
            headers = [pair for pair in begun["headers"] if pair[0] != b"content-length"]
            headers.append((b"cache-control", b"private, no-cache"))
            await send({**begun, "headers": headers})
            await send({"type": "http.response.body", "body": body, "more_body": True})
            told = await self._told(scope["query_string"].decode("latin-1"))
            await send({"type": "http.response.body", "body": told + mark + end})

        await self._app(scope, receive, tagged)

    async def _told(self, query: str) -> bytes:
        found = None
        with anyio.move_on_after(_PATIENCE_S):
            found = await anyio.to_thread.run_sync(self._start, query, abandon_on_cancel=True)
        data = json.dumps(found, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        return f"<script>csStart.give({data});</script>".encode(errors="replace")


def _without_frames(page: bytes) -> bytes:
    """The page without the script that it would load, from the root on, if it were in a frame."""
    at = page.find(b"iframeResizer.contentWindow")
    if at < 0:
        return page
    end = page.index(b"</script>", at) + len(b"</script>")
    return page[: page.rindex(b"<script", 0, at)] + page[end:]
