"""Images for the page, by index and item id, always as reduced copies."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from clipsearch import Index
from clipsearch.errors import ClipSearchError, ImageDecodeError, ItemNotFoundError
from clipsearch.explore.thumbnails import PREVIEW_SIDE, THUMBNAIL_SIDE, thumbnail
from clipsearch.types import Item

from .library import Library
from .settings import Settings

__all__ = ["MEDIA_PATH", "copy_of", "media_router", "preview_url", "thumb_url"]

MEDIA_PATH = "/media"
# An id names one version of one image for good, so a copy never goes stale.
_HEADERS = {"Cache-Control": "private, max-age=31536000, immutable"}


def thumb_url(index: str, id: int) -> str:  # noqa: A002 - the word of Item.id
    """Where the page finds a small copy."""
    return f"{MEDIA_PATH}/{index}/{id}/thumbnail"


def preview_url(index: str, id: int) -> str:  # noqa: A002
    """Where the page finds a large copy."""
    return f"{MEDIA_PATH}/{index}/{id}/preview"


def copy_of(index: Index, item: Item, settings: Settings, side: int) -> bytes:
    """A reduced copy of an item's image, if it lies where the page may show images from.

    Raises:
        ItemNotFoundError: It lies elsewhere.
        ImageDecodeError: There is no image, or it has changed since.
    """
    return thumbnail(item, side, roots=(*map(str, settings.roots), *index.indexed_folders()))


def media_router(library: Library, settings: Settings) -> APIRouter:
    """The routes; no path of a file is ever taken from a request."""
    router = APIRouter()

    def answer(index: str, id: int, side: int) -> Response:  # noqa: A002
        try:
            opened = library.index(index)
            data = copy_of(opened, opened.item(id), settings, side)
        except ImageDecodeError as exc:
            return PlainTextResponse(str(exc), 410)
        except ItemNotFoundError as exc:
            return PlainTextResponse(str(exc), 404)
        except ClipSearchError:
            return PlainTextResponse("there is no such image", 404)
        return Response(data, media_type="image/jpeg", headers=_HEADERS)

    @router.get(MEDIA_PATH + "/{index}/{id}/thumbnail", include_in_schema=False)
    def small(index: str, id: int) -> Response:  # noqa: A002
        return answer(index, id, THUMBNAIL_SIDE)

    @router.get(MEDIA_PATH + "/{index}/{id}/preview", include_in_schema=False)
    def large(index: str, id: int) -> Response:  # noqa: A002
        return answer(index, id, PREVIEW_SIDE)

    return router
