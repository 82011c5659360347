"""Tags in the page's head, where browsers see them first; Gradio adds its own once it runs."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["HeadTags"]


class HeadTags:
    """Puts tags before the end of the head of the page, which Gradio sends as one body.

    Args:
        app: What sends the page.
        tags: The HTML of the tags.
    """

    def __init__(self, app: ASGIApp, tags: str) -> None:
        self._app = app
        self._tags = tags.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"].rstrip("/") != scope.get("root_path", ""):
            await self._app(scope, receive, send)
            return
        start: Message = {}
        parts: list[bytes] = []

        async def tagged(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            parts.append(message.get("body", b""))
            if message.get("more_body", False):
                return
            body = b"".join(parts).replace(b"</head>", self._tags + b"</head>", 1)
            length = (b"content-length", str(len(body)).encode())
            headers = [pair for pair in start["headers"] if pair[0] != length[0]]
            await send({**start, "headers": [*headers, length]})
            await send({"type": "http.response.body", "body": body})

        await self._app(scope, receive, tagged)
