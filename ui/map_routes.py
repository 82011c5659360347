"""What the map's script fetches: points and names of items."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from clipsearch.errors import ClipSearchError
from clipsearch.explore.map_points import packed

from .library import Library
from .media import FOR_GOOD
from .render import item_name

__all__ = ["map_router", "map_url"]


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
        return Response(packed(made), media_type="application/octet-stream", headers=FOR_GOOD)

    @router.get("/map/{index}/names/{id}", include_in_schema=False)
    def name(index: str, id: int) -> Response:  # noqa: A002 - the word of Item.id
        try:
            item = library.index(index).item(id)
        except ClipSearchError:
            return PlainTextResponse("there is no such item", 404)
        return JSONResponse({"name": item_name(item)})

    return router
