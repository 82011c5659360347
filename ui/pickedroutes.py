"""The page's routes for what is selected: kept under a token, downloaded, tagged, removed, ..."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from clipsearch import ClipSearchError, Index
from clipsearch.item_sets import is_token
from clipsearch.server.image_files import shown_folders
from clipsearch.server.zipped import zipped

from . import picked
from .context import Context
from .pageroutes import UNKEPT, PageRoutes, fields_of, sent_fields
from .problems import PageError
from .results import MOST

__all__ = ["picked_router"]

_Work = Callable[[Context, Index, list[int], str], dict[str, Any]]


def picked_router(contexts: Mapping[str, Context]) -> APIRouter:
    """The routes.

    Args:
        contexts: By language.
    """
    router = APIRouter(prefix="/page", include_in_schema=False)
    routes = _Routes(contexts)
    router.add_api_route("/picked/{index}/{action}", routes.act, methods=["POST"])
    router.add_api_route("/zip/{index}", routes.zip)
    router.add_api_route("/csv/{index}", routes.csv)
    return router


class _Routes(PageRoutes):
    """What the routes answer, in the language that `lang` names."""

    async def act(self, request: Request, index: str, action: str) -> Response:
        """Do something with the ids that were sent."""
        sent = sent_fields(await request.body())
        context = self.context(request)
        if action not in _READING and action not in _CHANGING:
            return JSONResponse({"problem": context.words("picked.nothing")}, 404)
        allowed = context.settings.shows_paths if action == "paths" else True
        if action in _CHANGING:
            allowed = context.settings.may_build
        if not allowed:
            return JSONResponse({"problem": context.words("picked.read_only")}, 403)
        work = _READING.get(action) or _CHANGING[action]

        def answer(context: Context) -> dict[str, Any]:
            opened = context.library.index(index)
            return work(context, opened, _ids(sent), str(sent.get("name", ""))[:1000])

        return await run_in_threadpool(self.answer, request, answer)

    def zip(self, request: Request, index: str) -> Response:
        """The files of the images of a token."""

        def parts(context: Context, opened: Index, token: str) -> Iterator[bytes]:
            folders = shown_folders(context.settings.roots, opened)
            return zipped(picked.selected(opened, token), folders)

        return self._download(request, index, parts, "zip", "application/zip")

    def csv(self, request: Request, index: str) -> Response:
        """A table of the images of a token."""

        def parts(context: Context, opened: Index, token: str) -> Iterator[bytes]:
            return picked.csv_parts(opened, token, with_paths=context.settings.shows_paths)

        return self._download(request, index, parts, "csv", "text/csv; charset=utf-8")

    def _download(
        self,
        request: Request,
        index: str,
        make: Callable[[Context, Index, str], Iterator[bytes]],
        ending: str,
        kind: str,
    ) -> Response:
        context = self.context(request)
        token = fields_of(request).get("selection", [""])[0]
        try:
            if not is_token(token):
                raise PageError("picked.nothing")
            opened = context.library.index(index)
            if not opened.items(f"selection = '{token}'", limit=1):
                raise PageError("picked.nothing")
            parts = make(context, opened, token)
        except ClipSearchError as exc:
            return PlainTextResponse(str(exc), exc.http_status)
        name = quote(f"{index}.{ending}", safe="")
        headers = {**UNKEPT, "Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
        return StreamingResponse(parts, media_type=kind, headers=headers)


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


def _selection(context: Context, index: Index, ids: list[int], name: str) -> dict[str, Any]:
    return {"selection": index.keep_selection(ids)}


def _marks(context: Context, index: Index, ids: list[int], name: str) -> dict[str, Any]:
    return picked.marks(index, ids)


def _paths(context: Context, index: Index, ids: list[int], name: str) -> dict[str, Any]:
    return {"text": picked.paths(index, ids)}


def _added(what: str) -> _Work:
    return lambda context, index, ids, name: {
        "told": picked.add(index, ids, what, name, context.words)
    }


def _taken(what: str) -> _Work:
    return lambda context, index, ids, name: {
        "told": picked.take(index, ids, what, name, context.words)
    }


def _removed(context: Context, index: Index, ids: list[int], name: str) -> dict[str, Any]:
    return {"told": picked.remove(index, ids, context.words)}


def _restored(context: Context, index: Index, ids: list[int], name: str) -> dict[str, Any]:
    return {"told": picked.restore(index, ids, context.words)}


_READING: dict[str, _Work] = {"selection": _selection, "marks": _marks, "paths": _paths}
_CHANGING: dict[str, _Work] = {  # not for everyone who can reach the page
    **{what: _added(what) for what in ("tag", "album")},
    **{what: _taken(what) for what in ("untag", "unalbum")},
    "remove": _removed,
    "restore": _restored,
}
