"""Images for the page, by index and item id, always as reduced copies."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from clipsearch import Index
from clipsearch.errors import ClipSearchError, ImageDecodeError, ItemNotFoundError
from clipsearch.explore.thumbnails import PREVIEW_SIDE, THUMBNAIL_SIDE, thumbnail
from clipsearch.intake.originals import hidden_items
from clipsearch.server.image_files import image_answer, shown_folders
from clipsearch.types import Item

from .library import Library
from .settings import Settings

__all__ = [
    "FOR_GOOD",
    "copy_of",
    "hidden_ids",
    "media_router",
    "media_url",
    "preview_url",
    "thumb_url",
]

MEDIA_PATH = "/media"
# For what has another address once it is another: its hash or its commit is part of that.
FOR_GOOD = {"Cache-Control": "private, max-age=31536000, immutable"}


def media_url(index: str) -> str:
    """Where the page finds the images of an index, by their ids, from where it is itself."""
    return f"{MEDIA_PATH[1:]}/{quote(index, safe='')}"


def thumb_url(index: str, id: int, sha256: str | None = None) -> str:  # noqa: A002 - as Item.id
    """Where the page finds a small copy; with the hash of the image, one that may be kept."""
    return f"{media_url(index)}/{id}/thumbnail{_version(sha256)}"


def preview_url(index: str, id: int, sha256: str | None = None) -> str:  # noqa: A002
    """Where the page finds a large copy."""
    return f"{media_url(index)}/{id}/preview{_version(sha256)}"


def _version(sha256: str | None) -> str:
    return f"?v={sha256[:16]}" if sha256 else ""


def copy_of(index: Index, item: Item, settings: Settings, side: int) -> bytes:
    """A reduced copy of an item's image, if it lies where the page may show images from.

    Raises:
        ItemNotFoundError: It lies elsewhere.
        ImageDecodeError: There is no image, or it has changed since.
    """
    return thumbnail(item, side, roots=shown_folders(settings.roots, index))


def hidden_ids(index: Index, items: Iterable[Item], settings: Settings) -> frozenset[int]:
    """The ids of those whose images the page may not show, because of where they lie."""
    return hidden_items(items, shown_folders(settings.roots, index))


def media_router(library: Library, settings: Settings) -> APIRouter:
    """The routes; no path of a file is ever taken from a request."""
    router = APIRouter()

    def answer(request: Request, index: str, id: int, side: int) -> Response:  # noqa: A002
        version = request.query_params.get("v", "")
        try:
            opened = library.index(index)
            item = opened.item(id)
            if version and not (item.sha256 or "").startswith(version):
                raise ImageDecodeError("the id names another image now; load the page again")
            data = copy_of(opened, item, settings, side)
        except ImageDecodeError as exc:
            return PlainTextResponse(str(exc), 410)
        except ItemNotFoundError as exc:
            return PlainTextResponse(str(exc), 404)
        except ClipSearchError:
            return PlainTextResponse("there is no such image", 404)
        if version:
            return Response(data, media_type="image/jpeg", headers=FOR_GOOD)
        return image_answer(request, data, "image/jpeg", {})

    @router.get(MEDIA_PATH + "/{index}/{id}/thumbnail", include_in_schema=False)
    def small(request: Request, index: str, id: int) -> Response:  # noqa: A002
        return answer(request, index, id, THUMBNAIL_SIDE)

    @router.get(MEDIA_PATH + "/{index}/{id}/preview", include_in_schema=False)
    def large(request: Request, index: str, id: int) -> Response:  # noqa: A002
        return answer(request, index, id, PREVIEW_SIDE)

    return router
