"""Routes that search and show what is indexed."""

from __future__ import annotations

import threading
from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Path, Request
from fastapi import Query as QueryParameters
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from ..documents import facets_document, hits_document, public_duplicate, public_hit, public_item
from ..errors import ImageDecodeError, IndexLockedError, InvalidInputError, ItemNotFoundError
from ..explore.thumbnails import THUMBNAIL_SIDE, thumbnail
from ..index import Index
from .image_files import image_answer, sent_image, shown_folders
from .public_filter import checked_where, visible_facets, visible_fields
from .schemas import (
    AlbumsDocument,
    DuplicatesDocument,
    DuplicatesQuery,
    FacetsDocument,
    FacetsQuery,
    HitsDocument,
    IndexDocument,
    IndexesDocument,
    ItemDocument,
    SavedSearchesDocument,
    SearchBody,
    SearchForm,
    SearchParameters,
)
from .service import Engine, public_name
from .shared_search import InShards, ServedIndex
from .uploads import check_form

__all__ = ["router"]

_IMAGE_HEADERS = {"Content-Security-Policy": "default-src 'none'; sandbox"}
_IMAGE_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The image.", "content": {"image/*": {}}}
}

Name = Annotated[str, Path(max_length=200, description="An index, as GET /v1/indexes names it.")]
ItemId = Annotated[int, Path(ge=0, le=2**63 - 1, description="An item's id.")]

_COMPARING = threading.Lock()  # who looks for duplicates: it takes a core for minutes

router = APIRouter(prefix="/v1/indexes", tags=["search"])


@router.get("", response_model=IndexesDocument)
def list_indexes(request: Request) -> Response:
    """List the indexes.

    curl http://127.0.0.1:7860/v1/indexes
    """
    engine: Engine = request.app.state.engine
    listed = [_described(name, index) for name, index in engine.indexes.items()]
    return JSONResponse({"indexes": listed})


@router.get("/{name}", response_model=IndexDocument)
def get_index(request: Request, name: Name) -> Response:
    """Tell what one index holds.

    curl http://127.0.0.1:7860/v1/indexes/photos
    """
    engine: Engine = request.app.state.engine
    return JSONResponse(_described(name, engine.index(name)))


@router.post("/{name}/search", response_model=HitsDocument)
async def search(request: Request, name: Name, body: SearchBody) -> Response:
    """Search by words, and by stored items or vectors.

    curl http://127.0.0.1:7860/v1/indexes/photos/search -H 'Content-Type: application/json'
    -d '{"text": "a dog on the beach", "subtract": ["people"], "k": 5}'
    """
    return await _answer(request.app.state.engine, name, body)


@router.post(
    "/{name}/search/image", response_model=HitsDocument, dependencies=[Depends(check_form)]
)
async def search_image(
    request: Request,
    name: Name,
    form: Annotated[SearchForm, Form(media_type="multipart/form-data")],
) -> Response:
    """Search by an image, with words added or subtracted.

    curl http://127.0.0.1:7860/v1/indexes/photos/search/image -F image=@beach.jpg -F add=sunset
    """
    return await _answer(request.app.state.engine, name, form)


@router.get("/{name}/duplicates", response_model=DuplicatesDocument)
def get_duplicates(
    request: Request, name: Name, asked: Annotated[DuplicatesQuery, QueryParameters()]
) -> Response:
    """List groups of duplicate images; takes long for a large index, so one at a time.

    curl 'http://127.0.0.1:7860/v1/indexes/photos/duplicates?kind=bytes&kind=pixels'
    """
    index = _whole_index(request, name)
    where = checked_where(index.fields(), asked.where)
    if not _COMPARING.acquire(blocking=False):
        raise IndexLockedError("duplicates are being looked for already; try again when it is done")
    try:
        groups = index.duplicates(asked.threshold, kinds=asked.kind, where=where)
    finally:
        _COMPARING.release()
    shown = [[public_duplicate(member) for member in group] for group in groups[: asked.limit]]
    return JSONResponse({"groups": shown, "total": len(groups)})


@router.get("/{name}/facets", response_model=FacetsDocument)
def get_facets(
    request: Request, name: Name, asked: Annotated[FacetsQuery, QueryParameters()]
) -> Response:
    """Count the items that satisfy a filter by camera, tag, month and so on.

    curl 'http://127.0.0.1:7860/v1/indexes/photos/facets?by=month&by=camera&where=width%3E=800'
    """
    index = _whole_index(request, name)
    where = checked_where(index.fields(), asked.where)
    found = index.facets(where, by=visible_facets(asked.by), limit=asked.limit)
    return JSONResponse(facets_document(found))


@router.get("/{name}/albums", response_model=AlbumsDocument)
def get_albums(request: Request, name: Name) -> Response:
    """List the albums of an index.

    curl http://127.0.0.1:7860/v1/indexes/photos/albums
    """
    index = _whole_index(request, name)
    return JSONResponse({"albums": [asdict(album) for album in index.albums()]})


@router.get("/{name}/saved-searches", response_model=SavedSearchesDocument)
def get_saved_searches(request: Request, name: Name) -> Response:
    """List the saved searches of an index.

    curl http://127.0.0.1:7860/v1/indexes/photos/saved-searches
    """
    index = _whole_index(request, name)
    return JSONResponse({"searches": [asdict(one) for one in index.saved_searches()]})


@router.get("/{name}/items/{item_id}", response_model=ItemDocument)
def get_item(request: Request, name: Name, item_id: ItemId) -> Response:
    """Tell what is known of an item.

    curl http://127.0.0.1:7860/v1/indexes/photos/items/17
    """
    engine: Engine = request.app.state.engine
    return JSONResponse(public_item(engine.index(name).item(item_id)))


@router.get("/{name}/items/{item_id}/image", response_class=Response, responses=_IMAGE_RESPONSES)
def get_image(request: Request, name: Name, item_id: ItemId) -> Response:
    """Get an item's image as it was indexed.

    curl http://127.0.0.1:7860/v1/indexes/photos/items/17/image -o image.jpg
    """
    engine: Engine = request.app.state.engine
    index = engine.index(name)
    item = index.item(item_id)
    data, media_type = sent_image(item, shown_folders(engine.settings.roots, index))
    return image_answer(request, data, media_type, _IMAGE_HEADERS)


@router.get(
    "/{name}/items/{item_id}/thumbnail", response_class=Response, responses=_IMAGE_RESPONSES
)
def get_thumbnail(request: Request, name: Name, item_id: ItemId) -> Response:
    """Get a small JPEG copy of an item's image.

    curl http://127.0.0.1:7860/v1/indexes/photos/items/17/thumbnail -o small.jpg
    """
    engine: Engine = request.app.state.engine
    index = engine.index(name)
    item = index.item(item_id)
    try:
        roots = shown_folders(engine.settings.roots, index)
        data = thumbnail(item, THUMBNAIL_SIDE, roots=roots)
    except ImageDecodeError as exc:
        raise ItemNotFoundError(f"the file of item {item_id} cannot be read any more") from exc
    return image_answer(request, data, "image/jpeg", _IMAGE_HEADERS)


def _described(name: str, index: ServedIndex) -> dict[str, Any]:
    document = {
        "name": name,
        "items": len(index),
        "generation": index.generation,
        "model": public_name(index.model_name),
        "fingerprint": index.fingerprint,
        "dim": index.dim,
        "fields": visible_fields(index.fields()),
        "away": len(index.away()) if isinstance(index, Index) else None,
    }
    if isinstance(index, InShards):
        document |= {"shards": index.shards, "missing_shards": index.missing_shards()}
    return document


async def _answer(engine: Engine, name: str, asked: SearchParameters) -> Response:
    request = asked.request()
    if request.where is not None:  # no work for the thread that serves everyone
        where = await run_in_threadpool(_checked, engine, name, request.where)
        request = replace(request, where=where)
    return JSONResponse(hits_document(await engine.answer(name, request), public_hit))


def _checked(engine: Engine, name: str, where: str) -> str | None:
    return checked_where(engine.index(name).fields(), where)


def _whole_index(request: Request, name: str) -> Index:
    """An index that is not in shards."""
    engine: Engine = request.app.state.engine
    index = engine.index(name)
    if not isinstance(index, Index):
        raise InvalidInputError(f"index {name} is served in shards, which cannot tell this")
    return index
