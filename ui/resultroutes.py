"""The page's own routes for results, items and regions, and for its script."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from clipsearch import ClipSearchError
from clipsearch.names import shown
from clipsearch.server.door import query_fields
from clipsearch.server.image_files import image_answer, sent_image, shown_folders

from .context import Context
from .details import captions, chip_of_image, chip_of_region, details, read_box
from .media import hidden_ids
from .problems import explained
from .results import CHUNK, Results
from .spec import SearchSpec, from_link, read_integer
from .strings import LANGUAGES
from .theme import asset, css

__all__ = ["PATH", "head_tags", "result_router"]

PATH = "/page"
_SCRIPTS = ("page", "layout", "search", "grid", "view", "zoom", "region", "results")
_FOR_GOOD = {"Cache-Control": "private, max-age=31536000, immutable"}
_UNKEPT = {"Cache-Control": "no-store"}
_MOST_OFFSET = 100_000 - CHUNK
_MOST_LINK = 20_000  # characters


@cache
def _script() -> str:
    return "\n".join(asset(f"{name}.js") for name in _SCRIPTS)


def head_tags() -> str:
    """The page's script and style sheet as HTML; other ones have other addresses.

    Gradio has the same style sheet, but begins to use it when everything is laid out already.
    """
    script, style = (
        f"{PATH}/app.{kind}?v={hashlib.sha256(text.encode()).hexdigest()[:12]}"
        for kind, text in (("js", _script()), ("css", css()))
    )
    return f'<link rel="stylesheet" href="{style}"><script src="{script}"></script>'


def result_router(contexts: Mapping[str, Context]) -> APIRouter:
    """The routes.

    Args:
        contexts: By language.
    """
    router = APIRouter(prefix=PATH, include_in_schema=False)
    routes = _Routes(contexts)
    router.add_api_route("/app.js", routes.script)
    router.add_api_route("/app.css", routes.style)
    router.add_api_route("/results", routes.results)
    router.add_api_route("/shapes", routes.shapes)
    router.add_api_route("/items/{index}/{id}", routes.item)
    router.add_api_route("/items/{index}/{id}/captions", routes.captions)
    router.add_api_route("/items/{index}/{id}/region", routes.region)
    router.add_api_route("/items/{index}/{id}/file", routes.file)
    router.add_api_route("/image", routes.image, methods=["POST"])
    return router


class _Routes:
    """What the routes answer, in the language that `lang` names."""

    def __init__(self, contexts: Mapping[str, Context]) -> None:
        self._contexts = contexts
        self._results = {language: Results(context) for language, context in contexts.items()}

    def script(self) -> Response:
        return Response(_script(), media_type="text/javascript", headers=_FOR_GOOD)

    def style(self) -> Response:
        return Response(css(), media_type="text/css", headers=_FOR_GOOD)

    def results(self, request: Request) -> Response:
        results, spec, offset = self._asked(request)
        found = results.further(spec, offset) if offset else results.first(spec)
        return JSONResponse(found, headers=_UNKEPT)

    def shapes(self, request: Request) -> Response:
        results, spec, offset = self._asked(request)
        return JSONResponse(results.shapes(spec, offset), headers=_UNKEPT)

    def item(self, request: Request, index: str, id: int) -> Response:  # noqa: A002 - as Item.id
        def work(context: Context) -> dict[str, Any]:
            opened = context.library.index(index)
            item = opened.item(id)
            found = details(item, context.words, paths=context.settings.shows_paths)
            if hidden_ids(opened, [item], context.settings):
                found["gone"] = context.words("search.hidden", index=index)
            return found

        return self._answer(request, work)

    def captions(self, request: Request, index: str, id: int) -> Response:  # noqa: A002
        def work(context: Context) -> dict[str, str]:
            captioned = bool(context.library.facets(index).captions)
            opened = context.library.index(index)
            return {"html": captions(opened, id, context.words, captioned=captioned)}

        return self._answer(request, work)

    def region(self, request: Request, index: str, id: int) -> Response:  # noqa: A002
        box = _fields(request).get("box", [""])[0]

        def work(context: Context) -> dict[str, str]:
            opened = context.library.index(index)
            return chip_of_region(opened, opened.item(id), read_box(box), context)

        return self._answer(request, work)

    def file(self, request: Request, index: str, id: int) -> Response:  # noqa: A002
        context = self._context(request)
        try:
            opened = context.library.index(index)
            item = opened.item(id)
            data, kind = sent_image(item, shown_folders(context.settings.roots, opened))
        except ClipSearchError:
            return Response("there is no such image", 404, media_type="text/plain")
        headers = {}
        if "download" in _fields(request):
            name = shown((item.path or item.key).replace("\\", "/").rsplit("/", 1)[-1])
            headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
        return image_answer(request, data, kind, headers)

    async def image(self, request: Request) -> Response:
        body = await request.body()

        def work(context: Context) -> dict[str, str]:
            try:
                sent = json.loads(body)
            except (ValueError, RecursionError):
                sent = None
            fields = sent if isinstance(sent, dict) else {}
            index = context.library.index(str(fields.get("index", "")))
            return chip_of_image(index, fields, context)

        return await run_in_threadpool(self._answer, request, work)

    def _context(self, request: Request) -> Context:
        asked = _fields(request).get("lang", [""])[0]
        return self._contexts.get(asked, self._contexts[LANGUAGES[0]])

    def _asked(self, request: Request) -> tuple[Results, SearchSpec, int]:
        context, fields = self._context(request), _fields(request)
        spec = from_link(request.url.query[:_MOST_LINK], context.library.names())
        offset = min(read_integer(fields.get("offset", ["0"])[0]) or 0, _MOST_OFFSET)
        spec = _labelled(spec, fields.get("n", []))
        return self._results[context.words.language], spec, offset

    def _answer(self, request: Request, work: Callable[[Context], Any]) -> Response:
        """The answer, or what went wrong in the visitor's words."""
        context = self._context(request)
        try:
            return JSONResponse(work(context), headers=_UNKEPT)
        except ClipSearchError as exc:
            return JSONResponse({"problem": explained(exc, context.words)}, headers=_UNKEPT)


def _fields(request: Request) -> dict[str, list[str]]:
    return query_fields(request.url.query[:_MOST_LINK])


def _labelled(spec: SearchSpec, labels: list[str]) -> SearchSpec:
    """A search with the names of its images, which no link has."""
    if len(labels) != len(spec.chips):
        return spec
    named = (replace(chip, label=name[:60]) for chip, name in zip(spec.chips, labels, strict=True))
    return replace(spec, chips=tuple(named))
