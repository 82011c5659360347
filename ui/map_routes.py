"""What the map's script fetches and sends: points, names of items, selections."""

from __future__ import annotations

from urllib.parse import quote

import anyio.to_thread
import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from clipsearch.errors import ClipSearchError
from clipsearch.explore.map_points import packed

from .library import Library
from .render import item_name

__all__ = ["map_router", "map_url"]

_FOR_GOOD = {"Cache-Control": "private, max-age=31536000, immutable"}
_MOST_ID = 2**53  # that a number of JavaScript holds exactly


def map_url(index: str) -> str:
    """Where the page finds what belongs to the map of an index, from where it is itself."""
    return f"map/{quote(index, safe='')}"


def map_router(library: Library) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.get("/map/{index}/points/{commit}", include_in_schema=False)
    def points(index: str, commit: str) -> Response:
        """Ids and places, in the form of `packed`."""
        try:
            made = library.map(index)
            if made is None or library.index(index).seen_id != commit:
                return PlainTextResponse("the collection has changed; load the map again", 410)
        except ClipSearchError:
            return PlainTextResponse("there is no such map", 404)
        return Response(packed(made), media_type="application/octet-stream", headers=_FOR_GOOD)

    @router.get("/map/{index}/names/{id}", include_in_schema=False)
    def name(index: str, id: int) -> Response:  # noqa: A002 - the word of Item.id
        try:
            item = library.index(index).item(id)
        except ClipSearchError:
            return PlainTextResponse("there is no such item", 404)
        return JSONResponse({"name": item_name(item)})

    @router.post("/map/{index}/selections", include_in_schema=False)
    async def keep(index: str, request: Request) -> Response:
        """Keep a selection; the ids come as little-endian float64."""
        body = await request.body()
        if not body or len(body) % 8:
            return PlainTextResponse("a selection is a list of ids, of 8 bytes each", 422)
        numbers = np.frombuffer(body, "<f8")
        if not ((numbers >= 1) & (numbers < _MOST_ID) & (numbers % 1 == 0)).all():
            return PlainTextResponse("a selection holds ids of items only", 422)
        ids = numbers.astype(np.int64)
        try:
            token = await anyio.to_thread.run_sync(
                lambda: library.index(index).keep_selection(ids.tolist())
            )
        except ClipSearchError as exc:
            return PlainTextResponse(str(exc), exc.http_status)
        return JSONResponse({"selection": token})

    return router
