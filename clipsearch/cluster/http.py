"""The HTTP face of the router: the search route of `clipsearch serve`, with the same documents.

POST /v1/indexes/{name}/search   GET /v1/indexes   GET /healthz   GET /readyz
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

from ..documents import hits_document, public_hit
from ..errors import ClipSearchError, InvalidInputError
from ..server.problems import Problem, of_error, problem_response
from ..server.public_filter import checked_where, visible_fields
from ..server.schemas import SearchBody

if TYPE_CHECKING:
    from starlette.requests import Request as HttpRequest

    from .router import Router, RouterSettings

__all__ = ["answer"]

_MAX_BODY_BYTES = 1024 * 1024  # a search by words, ids and vectors; images are sent otherwise


async def answer(request: HttpRequest, router: Router, settings: RouterSettings) -> Response:
    """Answer one request; every error becomes a problem document."""
    try:
        return await _route(request, router, settings)
    except Problem as problem:
        return problem_response(problem)
    except ClipSearchError as exc:
        return problem_response(of_error(exc))


async def _route(request: HttpRequest, router: Router, settings: RouterSettings) -> Response:
    path = request.url.path.rstrip("/")
    if path == "/healthz":
        return JSONResponse({"ok": True})
    _authenticate(request, settings.tokens)
    routes: dict[str, tuple[str, Any]] = {
        "/readyz": ("GET", _ready),
        "/v1/indexes": ("GET", _indexes),
        f"/v1/indexes/{settings.name}": ("GET", _index),
        f"/v1/indexes/{settings.name}/search": ("POST", _search),
    }
    if path not in routes:
        raise Problem(404, "not_found", "there is nothing here; GET /v1/indexes lists what is")
    method, handler = routes[path]
    if request.method != method:
        raise Problem(405, "method_not_allowed", f"use {method}", headers={"Allow": method})
    found: Response = await handler(request, router)
    return found


def _authenticate(request: HttpRequest, tokens: tuple[str, ...]) -> None:
    if not tokens:
        return
    scheme, _, presented = request.headers.get("authorization", "").partition(" ")
    digest = hashlib.sha256(presented.strip().encode("utf-8", "surrogateescape")).digest()
    known = [hashlib.sha256(token.encode()).digest() for token in tokens]
    fits = [hmac.compare_digest(digest, one) for one in known]
    if scheme.lower() != "bearer" or not any(fits):
        headers = {"WWW-Authenticate": "Bearer"}
        raise Problem(401, "unauthorized", "send one of the server's tokens", headers=headers)


async def _ready(_: HttpRequest, router: Router) -> Response:
    missing = (await router.info())["missing"]
    return JSONResponse({"ready": not missing, "missing_shards": missing}, 503 if missing else 200)


async def _indexes(_: HttpRequest, router: Router) -> Response:
    return JSONResponse({"indexes": [_document(await router.info())]})


async def _index(_: HttpRequest, router: Router) -> Response:
    return JSONResponse(_document(await router.info()))


def _document(info: dict[str, Any]) -> dict[str, Any]:
    names = ("name", "items", "generation", "model", "dim", "shards")
    shown = {name: info[name] for name in names}
    fields = visible_fields(info["fields"])
    return {**shown, "missing_shards": info["missing"], "fields": fields}


async def _search(request: HttpRequest, router: Router) -> Response:
    body = SearchBody.model_validate(await _json(request))
    if any(term.image for term in body.terms):
        raise InvalidInputError("send the vector of the image, as POST /v1/embed/image gives it")
    where = checked_where(await router.fields(), body.where)
    hits = await router.answer(replace(body.request(), where=where))
    return JSONResponse(hits_document(hits, public_hit))


async def _json(request: HttpRequest) -> Any:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MAX_BODY_BYTES:
            raise Problem(413, "too_large", f"a search takes {_MAX_BODY_BYTES:,} bytes at most")
    try:
        document = json.loads(body)
        SearchBody.model_validate(document)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Problem(422, "invalid_input", f"{where}: {first['msg']}") from exc
    except (ValueError, RecursionError) as exc:
        raise Problem(422, "invalid_input", "the body must be a JSON object") from exc
    return document
