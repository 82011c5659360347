"""The ordinary HTTP application over a sharded index, as Ray Serve carries it in every router."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..encoder import Encoder
from ..hub import Hub
from ..models import load_encoder
from ..request import Searchable, SearchRequest
from ..server.app import serve_engine
from ..server.service import Engine
from ..server.shared_encoder import sharing
from ..server.shared_search import ServedIndex
from ..types import Hits, Item
from .router import Router

__all__ = ["http_router"]

T = TypeVar("T")


class RoutedIndex(Searchable):
    """A sharded index as the server sees any index.

    Its methods wait for the router, so they are called in other threads than the event loop's.

    Args:
        router: Asks the shards.
        loop: The event loop that the router runs in.
    """

    def __init__(self, router: Router, loop: asyncio.AbstractEventLoop) -> None:
        self._router = router
        self._loop = loop
        self.model_name = router.shards.model_name
        self.fingerprint = router.shards.fingerprint
        self.dim = router.shards.dim
        self.generation = router.shards.generation  # of the index that was split
        self.shards = len(router.shards)
        self.encoder: Encoder = router.encoder

    def __len__(self) -> int:
        return self._router.shards.items

    def is_current(self) -> bool:
        """Whether it may still be used; shards never change."""
        return True

    def missing_shards(self) -> list[int]:
        """Numbers of the shards that do not answer now, ascending, from 1."""
        return self._wait(self._router.missing())

    def fields(self) -> dict[str, str]:
        """Names and types of the fields that `where` knows."""
        return self._wait(self._router.fields())

    def item(self, id: int) -> Item:  # noqa: A002 - the word of Item.id
        """One item; see `Router.item`."""
        return self._wait(self._router.item(id))

    def indexed_folders(self) -> tuple[str, ...]:
        """The folders whose files were indexed on this machine into the index that was split."""
        return self._router.indexed_folders()

    def answer(self, request: SearchRequest) -> Hits:
        """Answer a request; see `Router.answer`."""
        return self._wait(self._router.answer(request))

    def close(self) -> None:
        """Nothing is open here."""

    def _wait(self, asked: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result()


class _RoutedSearch:
    """Searches that come together are not collected: each shard answers several at a time."""

    waiting = 0

    def __init__(self, router: Router) -> None:
        self._router = router

    async def answer(self, index: ServedIndex, request: SearchRequest) -> Hits:
        return await self._router.answer(request)

    def close(self) -> None:
        pass


class _OneRequestId:
    """Leaves the header with a request's id to Ray Serve's proxy, which adds it to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def without(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                message["headers"] = [pair for pair in headers if pair[0] != b"x-request-id"]
            await send(message)

        await self._app(scope, receive, without)


def http_router() -> type[Router]:
    """A `Router` that also serves HTTP, for Ray Serve to make in each replica."""
    from ray import serve

    # Ray Serve calls the builder right after the constructor, in the same process.
    built: list[FastAPI] = []

    class HttpRouter(Router):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            built.append(_application(self))

    made: type[Router] = serve.ingress(lambda: built.pop())(HttpRouter)
    return made


def _application(router: Router) -> FastAPI:
    """What `clipsearch serve` serves, with a sharded index in place of indexes and no page."""
    shards, settings, telemetry = router.shards, router.settings, router.telemetry
    index = RoutedIndex(router, asyncio.get_running_loop())
    load = sharing(load_encoder, settings, telemetry)  # never called: there is one model
    hub = Hub(load, open_index=lambda _, *, load: index)
    hub.add_model(router.encoder)
    hub.index(router.folder)
    engine = Engine(
        hub,
        {shards.name: router.folder},
        model=shards.model_name,
        settings=settings,
        telemetry=telemetry,
        searches={shards.name: _RoutedSearch(router)},
    )
    app = serve_engine(engine)
    app.add_middleware(_OneRequestId)
    return app
