"""The page assembled and served."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import anyio.to_thread
import gradio as gr
from fastapi import FastAPI
from starlette.types import ASGIApp

from clipsearch.server.guard import add_guard
from clipsearch.server.settings import ServerSettings

from . import pages
from .albumroutes import album_router
from .compression import CompressedPage
from .curate_routes import curate_router
from .headtags import HeadTags
from .jobroutes import job_router
from .jobs import Jobs
from .library import Library
from .pageguard import PageGuard
from .pickedroutes import picked_router
from .resultroutes import first_results, head_tags, result_router
from .routes import own_routes
from .sessions import Sessions
from .settings import Settings
from .spec import FIELDS
from .strings import LANGUAGES, Words
from .theme import css, make_theme

__all__ = ["Page", "assemble", "build", "create_app", "mount"]

# Wherever a proxy puts the page, its parts are beside it; Gradio would look for them at the root.
_ROOT = (
    "if(!location.pathname.endsWith('/'))location.replace(location.pathname+'/'+location.search);"
    "window.gradio_config.root=location.origin+location.pathname.replace(/\\/+$/,'');"
)
_JOB_ENDS_S = 1.0  # for a job of indexing to stop between two batches when the server stops


def build(
    library: Library, settings: Settings, *, language: str = "en", jobs: Jobs | None = None
) -> gr.Blocks:
    """The page in one language."""
    return pages.assemble(pages.Context(library, settings, Words(language), jobs or Jobs()))


def mount(app: FastAPI, library: Library, settings: Settings, *, path: str = "/") -> FastAPI:
    """Serve the page from an application, below `path`; its other routes must come first.

    Whatever guards the application's routes guards these: put `add_guard` around it.
    """
    app.include_router(own_routes(library, settings), prefix=path.rstrip("/"))
    page = assemble(library, settings)
    before = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(outer: FastAPI) -> AsyncIterator[Any]:
        async with before(outer) as state, page.lifespan():
            library.warm()
            yield state

    app.router.lifespan_context = lifespan
    app.mount(path, page.asgi)
    return app


@dataclass(frozen=True)
class Page:
    """The page without its own routes: what answers, and what must run around it."""

    asgi: ASGIApp
    lifespan: Callable[[], AbstractAsyncContextManager[None]]


def assemble(library: Library, settings: Settings) -> Page:
    """The page in all its languages, which takes Gradio seconds."""
    holders, inputs, sessions = {}, {}, {}
    jobs = Jobs()
    contexts = {
        language: pages.Context(library, settings, Words(language), jobs) for language in LANGUAGES
    }
    routes = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    routes.include_router(result_router(contexts))
    if settings.may_build:
        routes.include_router(job_router(contexts))
    routes.include_router(picked_router(contexts))
    routes.include_router(album_router(contexts))
    routes.include_router(curate_router(contexts))
    routes.add_middleware(CompressedPage)
    for language in LANGUAGES:
        holder = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        start = first_results(contexts[language])
        holder.add_middleware(HeadTags, tags=_head(contexts[language]), start=start)
        holder.add_middleware(CompressedPage)
        blocks = build(library, settings, language=language, jobs=jobs)
        inputs[language] = {number: len(event.inputs) for number, event in blocks.fns.items()}
        gr.mount_gradio_app(
            holder,
            blocks,
            path="/",
            ssr_mode=False,
            run_history=False,
            footer_links=[],
            show_error=False,
            allowed_paths=[],
            blocked_paths=["/"],
            max_file_size=1,  # nothing is uploaded by Gradio's own route, which is closed anyway
            enable_monitoring=False,
            mcp_server=False,
            pwa=False,
            theme=make_theme(),
            css=css(),
        )
        page: Any = holder.routes[-1]
        page.app.state_holder = sessions[language] = Sessions()
        sessions[language].set_blocks(blocks)
        holders[language] = holder

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for holder in holders.values():
                await stack.enter_async_context(holder.router.lifespan_context(holder))
            try:
                yield
            finally:
                await anyio.to_thread.run_sync(jobs.close, _JOB_ENDS_S)

    guard = PageGuard(holders, inputs, sessions, routes, language=settings.language)
    return Page(guard, lifespan)


def create_app(settings: Settings, *, library: Library | None = None) -> FastAPI:
    """An application that serves nothing but the page."""
    library = library or Library(settings.names, device=settings.device)
    app = FastAPI(title="clipsearch", openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    mount(app, library, settings)
    add_guard(app, ServerSettings(allowed_hosts=settings.allowed_hosts, proxies=settings.proxies))
    return app


def _head(context: pages.Context) -> str:
    """Scripts of the whole page, with their words, and what a visitor may do."""
    words, settings = context.words, context.settings
    may = json.dumps({"change": settings.may_build, "paths": settings.shows_paths})
    return (
        f"<script>{_ROOT}window.csWords={words.as_script('js.')};"
        f"window.csPick={words.as_script('pick.')};window.csAlbum={words.as_script('album.')};"
        f"window.csMay={may};window.csLang='{words.language}';window.csFields={json.dumps(FIELDS)};"
        "let give;window.csStart=new Promise(done=>{give=done});csStart.give=give;"
        f"document.addEventListener('DOMContentLoaded',()=>give());</script>{head_tags()}"
    )
