"""Images for the page, by index and item id, always as reduced copies."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from clipsearch.errors import ClipSearchError, ImageDecodeError
from clipsearch.explore.thumbnails import PREVIEW_SIDE, THUMBNAIL_SIDE, thumbnail
from clipsearch.server.image_files import image_answer

from .library import Library

__all__ = ["media_router", "media_url", "preview_url", "thumb_url"]

MEDIA_PATH = "/media"
_FOR_GOOD = {"Cache-Control": "private, max-age=31536000, immutable"}


def media_url(index: str) -> str:
    """Where the page finds the images of an index, by their ids."""
    return f"{MEDIA_PATH}/{quote(index, safe='')}"


def thumb_url(index: str, id: int, sha256: str | None = None) -> str:  # noqa: A002 - as Item.id
    """Where the page finds a small copy; with the hash of the image, one that may be kept."""
    return f"{media_url(index)}/{id}/thumbnail{_version(sha256)}"


def preview_url(index: str, id: int, sha256: str | None = None) -> str:  # noqa: A002
    """Where the page finds a large copy."""
    return f"{media_url(index)}/{id}/preview{_version(sha256)}"


def _version(sha256: str | None) -> str:
    return f"?v={sha256[:16]}" if sha256 else ""


def media_router(library: Library) -> APIRouter:
    """The routes; no path of a file is ever taken from a request."""
    router = APIRouter()

    def answer(request: Request, index: str, id: int, side: int) -> Response:  # noqa: A002
        version = request.query_params.get("v", "")
        try:
            item = library.index(index).item(id)
            if version and not (item.sha256 or "").startswith(version):
                raise ImageDecodeError("the id names another image now; load the page again")
            data = thumbnail(item, side)
        except ImageDecodeError as exc:
            return PlainTextResponse(str(exc), 410)
        except ClipSearchError:
            return PlainTextResponse("there is no such image", 404)
        if version:
            return Response(data, media_type="image/jpeg", headers=_FOR_GOOD)
        return image_answer(request, data, "image/jpeg", {})

    @router.get(MEDIA_PATH + "/{index}/{id}/thumbnail", include_in_schema=False)
    def small(request: Request, index: str, id: int) -> Response:  # noqa: A002
        return answer(request, index, id, THUMBNAIL_SIDE)

    @router.get(MEDIA_PATH + "/{index}/{id}/preview", include_in_schema=False)
    def large(request: Request, index: str, id: int) -> Response:  # noqa: A002
        return answer(request, index, id, PREVIEW_SIDE)

    return router
