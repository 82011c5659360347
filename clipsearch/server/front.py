"""The Gradio page on top of the server's own models and indexes."""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import anyio.to_thread
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from ..hub import Hub
from ..index import Index
from .service import Engine

__all__ = ["mount_front"]


def mount_front(app: FastAPI, engine: Engine, hub: Hub[Index]) -> None:
    """Put `clipsearch.ui` at `/`; its searches share batches with those of the API.

    The API answers while the page is still being made.
    """
    names = tuple(str(folder) for folder in engine.folders)
    library = importlib.import_module("clipsearch.ui.library").Library(names, hub=hub)
    settings = importlib.import_module("clipsearch.ui.settings").Settings(
        names=names,
        max_pixels=engine.settings.max_pixels,
        may_build=engine.settings.may_build,
        roots=engine.settings.roots,
        language=engine.settings.language,
    )
    app.include_router(
        importlib.import_module("clipsearch.ui.routes").own_routes(library, settings)
    )
    page = _LatePage(partial(_assembled, library, settings))
    before = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(outer: FastAPI) -> AsyncIterator[Any]:
        async with before(outer) as state, page.made_meanwhile():
            library.warm()
            yield state

    app.router.lifespan_context = lifespan
    app.mount("/", page)


def _assembled(library: Any, settings: Any) -> Any:
    # Gradio takes three times as long to import as the rest of the server, and half of the memory.
    return importlib.import_module("clipsearch.ui.app").assemble(library, settings)


class _LatePage:
    """A page that is made in a thread while the server runs; whoever asks for it waits until then.

    Args:
        make: Makes the `clipsearch.ui.app.Page`.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._page: Any = None
        self._opened: anyio.Event | None = None  # of a running server

    @contextlib.asynccontextmanager
    async def made_meanwhile(self) -> AsyncIterator[None]:
        """Make the page, and keep it open as long as the server runs."""
        self._opened, ending = anyio.Event(), anyio.Event()

        async def keep_open(opened: anyio.Event) -> None:
            try:
                page = await anyio.to_thread.run_sync(self._made, abandon_on_cancel=True)
                async with page.lifespan():
                    opened.set()
                    await ending.wait()
            finally:
                opened.set()  # who waits is told the error

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep_open, self._opened)
            try:
                yield
            finally:
                ending.set()
                if not self._opened.is_set():  # nobody waits for the page any more
                    tasks.cancel_scope.cancel()

    def _made(self) -> Any:
        with self._lock:
            if self._page is None:
                self._page = self._make()
            return self._page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of the page."""
        if self._opened is not None:
            await self._opened.wait()
        page = self._page or await anyio.to_thread.run_sync(self._made)
        await page.asgi(scope, receive, send)
