"""The page's routes for albums, saved searches and examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from . import albums
from .context import Context
from .pageroutes import PageRoutes, sent_fields

__all__ = ["album_router"]

_CHANGES = ("make", "rename", "delete", "save", "forget")


def album_router(contexts: Mapping[str, Context]) -> APIRouter:
    """The routes.

    Args:
        contexts: By language.
    """
    router = APIRouter(prefix="/page", include_in_schema=False)
    routes = _Routes(contexts)
    router.add_api_route("/albums/{index}", routes.listed)
    router.add_api_route("/albums/{index}/{what}", routes.change, methods=["POST"])
    router.add_api_route("/examples/{index}", routes.examples)
    return router


class _Routes(PageRoutes):
    """What the routes answer, in the language that `lang` names."""

    def listed(self, request: Request, index: str) -> Response:
        def work(context: Context) -> dict[str, Any]:
            return albums.listed(context.library.index(index), index)

        return self.answer(request, work)

    def examples(self, request: Request, index: str) -> Response:
        def work(context: Context) -> dict[str, Any]:
            return {"examples": albums.examples(context.library, index)}

        return self.answer(request, work)

    async def change(self, request: Request, index: str, what: str) -> Response:
        context = self.context(request)
        if what not in _CHANGES:
            return JSONResponse({"problem": context.words("picked.nothing")}, 404)
        if not context.settings.may_build:
            return JSONResponse({"problem": context.words("picked.read_only")}, 403)
        sent = sent_fields(await request.body())

        def work(context: Context) -> dict[str, Any]:
            opened = context.library.index(index)
            albums.change(opened, what, sent)
            return albums.listed(opened, index)

        return await run_in_threadpool(self.answer, request, work)
