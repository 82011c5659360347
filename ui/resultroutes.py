"""The page's own routes for results, items and regions, and for its script."""

from __future__ import annotations

import hashlib
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
from .filters import panel
from .jobroutes import progress
from .media import FOR_GOOD, hidden_ids
from .pageroutes import MOST_LINK, UNKEPT, PageRoutes, fields_of, sent_fields
from .results import CHUNK, MOST, Results
from .spec import SearchSpec, from_link, read_integer
from .theme import asset, css

__all__ = ["PATH", "first_results", "head_tags", "result_router"]

PATH = "/page"
_SCRIPTS = (
    "page", "address", "dialogs", "header", "job", "ask", "picked", "pickcards", "pickedbar",
    "compare", "layout", "search", "facets", "timeline", "grid", "view", "zoom", "region",
    "albums", "suggest",
    "results",
)  # fmt: skip
_ELSEWHERE = ("map", "curate", "classify", "learn")  # tabs that show no results
_MOST_OFFSET = MOST - CHUNK


@cache
def _script() -> str:
    return "\n".join(asset(f"{name}.js") for name in _SCRIPTS)


def head_tags() -> str:
    """The page's script and style sheet as HTML; other ones have other addresses.

    Gradio has the same style sheet, but begins to use it when everything is laid out already.
    """
    script, style = (
        f"{PATH[1:]}/app.{kind}?v={hashlib.sha256(text.encode()).hexdigest()[:12]}"
        for kind, text in (("js", _script()), ("css", css()))
    )
    icon = '<link rel="icon" href="favicon.ico">'
    return f'{icon}<link rel="stylesheet" href="{style}"><script src="{script}"></script>'


def first_results(context: Context) -> Callable[[str], dict[str, Any]]:
    """What the page tells its script of the query of its address.

    Returns:
        A function that gives `indexes`, all names, the latest `job`, and `first`, which
        `Results.first` found, or None where another tab is shown.
    """
    results = Results(context)

    def start(query: str) -> dict[str, Any]:
        names = context.library.names()
        job = progress(context.jobs, context) if context.settings.may_build else None
        told = {"indexes": names, "job": job, "first": None}
        tab = query_fields(query[:MOST_LINK]).get("tab", ["search"])[0]
        if tab in _ELSEWHERE:
            return told
        return {**told, "first": results.first(from_link(query[:MOST_LINK], names))}

    return start


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
    router.add_api_route("/ids", routes.ids)
    router.add_api_route("/facets", routes.facets)
    router.add_api_route("/items/{index}/{id}", routes.item)
    router.add_api_route("/items/{index}/{id}/captions", routes.captions)
    router.add_api_route("/items/{index}/{id}/region", routes.region)
    router.add_api_route("/items/{index}/{id}/file", routes.file)
    router.add_api_route("/image", routes.image, methods=["POST"])
    return router


class _Routes(PageRoutes):
    """What the routes answer, in the language that `lang` names."""

    def __init__(self, contexts: Mapping[str, Context]) -> None:
        super().__init__(contexts)
        self._results = {language: Results(context) for language, context in contexts.items()}

    def script(self) -> Response:
        return Response(_script(), media_type="text/javascript", headers=FOR_GOOD)

    def style(self) -> Response:
        return Response(css(), media_type="text/css", headers=FOR_GOOD)

    def results(self, request: Request) -> Response:
        results, spec, offset = self._asked(request)
        found = results.further(spec, offset) if offset else results.first(spec)
        return JSONResponse(found, headers=UNKEPT)

    def shapes(self, request: Request) -> Response:
        results, spec, offset = self._asked(request)
        return JSONResponse(results.shapes(spec, offset), headers=UNKEPT)

    def ids(self, request: Request) -> Response:
        results, spec, _ = self._asked(request)
        fields = fields_of(request)
        offset = min(read_integer(fields.get("offset", ["0"])[0]) or 0, MOST - 1)
        count = min(read_integer(fields.get("count", [""])[0]) or MOST, MOST - offset)
        return JSONResponse(results.ids(spec, offset, count), headers=UNKEPT)

    def facets(self, request: Request) -> Response:
        fields = fields_of(request)

        def work(context: Context) -> dict[str, Any]:
            spec = from_link(request.url.query[:MOST_LINK], context.library.names())
            opened, more = fields.get("open", []), fields.get("more", [])
            return panel(spec.folded(), context, opened=opened, more=more)

        return self.answer(request, work)

    def item(self, request: Request, index: str, id: int) -> Response:  # noqa: A002 - as Item.id
        def work(context: Context) -> dict[str, Any]:
            opened = context.library.index(index)
            item = opened.item(id)
            found = details(item, context.words, paths=context.settings.shows_paths)
            if hidden_ids(opened, [item], context.settings):
                found["gone"] = context.words("search.hidden", index=index)
            return found

        return self.answer(request, work)

    def captions(self, request: Request, index: str, id: int) -> Response:  # noqa: A002
        def work(context: Context) -> dict[str, str]:
            captioned = bool(context.library.facets(index).captions)
            opened = context.library.index(index)
            return {"html": captions(opened, id, context.words, captioned=captioned)}

        return self.answer(request, work)

    def region(self, request: Request, index: str, id: int) -> Response:  # noqa: A002
        box = fields_of(request).get("box", [""])[0]

        def work(context: Context) -> dict[str, str]:
            opened = context.library.index(index)
            return chip_of_region(opened, opened.item(id), read_box(box), context)

        return self.answer(request, work)

    def file(self, request: Request, index: str, id: int) -> Response:  # noqa: A002
        context = self.context(request)
        try:
            opened = context.library.index(index)
            item = opened.item(id)
            data, kind = sent_image(item, shown_folders(context.settings.roots, opened))
        except ClipSearchError:
            return Response("there is no such image", 404, media_type="text/plain")
        headers = {}
        if "download" in fields_of(request):
            name = shown((item.path or item.key).replace("\\", "/").rsplit("/", 1)[-1])
            headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
        return image_answer(request, data, kind, headers)

    async def image(self, request: Request) -> Response:
        body = await request.body()

        def work(context: Context) -> dict[str, str]:
            fields = sent_fields(body)
            index = context.library.index(str(fields.get("index", "")))
            return chip_of_image(index, fields, context)

        return await run_in_threadpool(self.answer, request, work)

    def _asked(self, request: Request) -> tuple[Results, SearchSpec, int]:
        context, fields = self.context(request), fields_of(request)
        spec = from_link(request.url.query[:MOST_LINK], context.library.names())
        offset = min(read_integer(fields.get("offset", ["0"])[0]) or 0, _MOST_OFFSET)
        spec = _labelled(spec, fields.get("n", []))
        return self._results[context.words.language], spec, offset


def _labelled(spec: SearchSpec, labels: list[str]) -> SearchSpec:
    """A search with the names of its images, which no link has."""
    if len(labels) != len(spec.chips):
        return spec
    named = (replace(chip, label=name[:60]) for chip, name in zip(spec.chips, labels, strict=True))
    return replace(spec, chips=tuple(named))
