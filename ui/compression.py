"""Compressed answers of the page."""

from __future__ import annotations

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["CompressedPage"]

_AS_THEY_ARE = (
    "/page/items/",
    "/page/zip/",
    "/gradio_api/heartbeat/",
)  # images, and what never ends


class CompressedPage:
    """Compresses the page, its script and its results; leaves images as they are."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._compressed = GZipMiddleware(app, minimum_size=1000, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        plain = scope["type"] != "http" or scope["path"].startswith(_AS_THEY_ARE)
        await (self._app if plain else self._compressed)(scope, receive, send)
