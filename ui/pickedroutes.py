"""The page's routes for what is selected: kept under a token, downloaded, tagged, removed, ..."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from clipsearch import Index

from .context import Context
from .pageroutes import PageRoutes, sent_fields
from .problems import PageError
from .results import MOST

__all__ = ["picked_router"]


def picked_router(contexts: Mapping[str, Context]) -> APIRouter:
    """The routes.

    Args:
        contexts: By language.
    """
    router = APIRouter(prefix="/page/picked", include_in_schema=False)
    routes = _Routes(contexts)
    router.add_api_route("/{index}/selection", routes.selection, methods=["POST"])
    return router


class _Routes(PageRoutes):
    """What the routes answer, in the language that `lang` names."""

    async def selection(self, request: Request, index: str) -> Response:
        return await self._with(
            request, index, lambda opened, ids, _: {"selection": opened.keep_selection(ids)}
        )

    async def _with(
        self,
        request: Request,
        index: str,
        work: Callable[[Index, list[int], dict[str, Any]], Any],
    ) -> Response:
        """The answer to a list of ids and what else was sent."""
        sent = sent_fields(await request.body())

        def answer(context: Context) -> Any:
            return work(context.library.index(index), _ids(sent), sent)

        return await run_in_threadpool(self.answer, request, answer)


def _ids(sent: Mapping[str, Any]) -> list[int]:
    """The ids that were sent.

    Raises:
        PageError: They are none, or too many.
    """
    ids = sent.get("ids")
    if not isinstance(ids, list) or not ids or any(type(one) is not int for one in ids):
        raise PageError("picked.nothing")
    if len(ids) > MOST:
        raise PageError("picked.too_many", n=MOST)
    return ids
