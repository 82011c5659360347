"""The application put together: routes, errors, guards, the page for people."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Match, Route

from ..encoder import Encoder
from ..errors import ClipSearchError, ImageDecodeError
from ..hub import Hub
from ..index import Index
from ..models import load_index_encoder
from . import model_routes, search_routes, status_routes
from .docs import docs_page
from .guard import add_guard
from .problems import PROBLEM_TYPE, Problem, of_error, problem_response
from .schemas import ProblemDocument
from .service import Engine
from .settings import ServerSettings
from .shared_encoder import SharedEncoder, sharing
from .telemetry import Telemetry

__all__ = ["create_app", "serve_engine", "serve_hub"]

_log = logging.getLogger("clipsearch.server")
_HTTP_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}
_ROUTERS = (status_routes.router, search_routes.router, model_routes.router)
_DOCS_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


def create_app(
    encoder: Encoder,
    indexes: Mapping[str, Path],
    *,
    settings: ServerSettings | None = None,
    ui: bool = True,
    load: Callable[[str], Encoder] = load_index_encoder,
) -> FastAPI:
    """The server as an ASGI application.

    Args:
        encoder: The model in memory.
        indexes: Name and folder of every index.
        settings: Limits and tokens.
        ui: Whether the front end is at `/`, behind the same guard as everything else.
        load: From a model's name to the model, for an index that is migrated meanwhile.

    Raises:
        EncoderMismatchError: An index is of another model.
        IndexNotFoundError: A folder is no index.
    """
    settings = settings or ServerSettings()
    telemetry = Telemetry()
    hub = Hub(sharing(load, settings, telemetry), open_index=Index.open)
    hub.add_model(SharedEncoder(encoder, settings, telemetry))
    return serve_hub(
        hub, indexes, model=encoder.name, settings=settings, telemetry=telemetry, ui=ui
    )


def serve_hub(
    hub: Hub[Index],
    indexes: Mapping[str, Path],
    *,
    model: str,
    settings: ServerSettings,
    telemetry: Telemetry,
    ui: bool,
) -> FastAPI:
    """The ASGI application over a hub, which it closes at its end.

    Args:
        hub: Its models are `SharedEncoder`s.
        indexes: Name and folder of every index.
        model: Name of the model that they share.
        settings: Limits and tokens.
        telemetry: What the models report to.
        ui: Whether the front end is at `/`.

    Raises:
        EncoderMismatchError: An index is of another model.
        IndexNotFoundError: A folder is no index.
        ModelNotFoundError, ModelLoadError: The model cannot be loaded.
    """
    try:
        encoder = hub.encoder(model)
        for folder in indexes.values():
            hub.index(folder).check_encoder(encoder)
    except BaseException:
        hub.close()
        raise
    engine = Engine(hub, indexes, model=model, settings=settings, telemetry=telemetry)
    return serve_engine(engine, page=hub if ui else None)


def serve_engine(engine: Engine, *, page: Hub[Index] | None = None) -> FastAPI:
    """The ASGI application that answers with an engine, which it closes at its end.

    Args:
        engine: What it answers with.
        page: The hub of the front end at `/`; None for no front end.
    """
    settings, telemetry = engine.settings, engine.telemetry

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = settings.max_in_flight
        app.state.started = True
        try:
            yield
        finally:
            app.state.started = False
            engine.close()

    app = FastAPI(
        title="clipsearch",
        version=_version(),
        description="Search images by words, by image or both, and classify them zero-shot.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.engine = engine
    app.state.telemetry = telemetry
    app.state.started = False
    for router in _ROUTERS:
        app.include_router(router)
    _add_docs(app)
    _add_errors(app, telemetry)
    _add_front(app, engine, page)
    add_guard(app, settings, telemetry=telemetry)
    return app


def _add_docs(app: FastAPI) -> None:
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _describe_problems(generate())
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]

    @app.get("/docs", include_in_schema=False)
    def docs() -> Response:
        return HTMLResponse(
            docs_page(app.openapi()), headers={"Content-Security-Policy": _DOCS_POLICY}
        )


def _describe_problems(document: dict[str, Any]) -> None:
    """Every operation may want a token, and may answer with a problem in place of FastAPI's 422."""
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}, {}]  # none where the server has no token
    schemas = document["components"]["schemas"]
    schemas["ProblemDocument"] = ProblemDocument.model_json_schema()
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = {
        "description": "A problem, as RFC 9457 has it.",
        "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
    }
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = problem


def _add_errors(app: FastAPI, telemetry: Telemetry) -> None:
    def answer(request: Request, problem: Problem) -> Response:
        return problem_response(problem, getattr(request.state, "request_id", ""))

    @app.exception_handler(ClipSearchError)
    async def known(request: Request, exc: ClipSearchError) -> Response:
        problem = of_error(exc)
        if isinstance(exc, ImageDecodeError):
            telemetry.skipped.inc()
        if problem.status >= 500:
            _log.error("request %s: %s", getattr(request.state, "request_id", ""), exc)
        return answer(request, problem)

    @app.exception_handler(Problem)
    async def ours(request: Request, exc: Problem) -> Response:
        return answer(request, exc)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, exc: RequestValidationError) -> Response:
        # Where and why, but never the value, which need not even be valid Unicode.
        first = exc.errors()[0]
        if first["type"] == "json_invalid":
            return answer(request, Problem(400, "bad_request", "the body is not valid JSON"))
        is_json = "json" in request.headers.get("content-type", "application/json").lower()
        if first["loc"] == ("body",) and not is_json:
            wanted = "send the body as Content-Type: application/json"
            return answer(request, Problem(415, "unsupported_media_type", wanted))
        told = [
            f"{'.'.join(str(part) for part in error['loc'][:6])}: {error['msg']}"
            for error in exc.errors()[:5]
        ]
        return answer(request, Problem(422, "invalid_input", "; ".join(told)))

    @app.exception_handler(HTTPException)
    async def http(request: Request, exc: HTTPException) -> Response:
        code = _HTTP_CODES.get(exc.status_code, "http_error")
        problem = Problem(exc.status_code, code, str(exc.detail), headers=exc.headers)
        return answer(request, problem)


def _add_front(app: FastAPI, engine: Engine, hub: Hub[Index] | None) -> None:
    """The page for people at `/`; it adds a route for every path, so it comes last."""
    if hub is not None:
        from .front import mount_front

        _keep_refusals(app)
        mount_front(app, engine, hub)
        return

    @app.get("/", include_in_schema=False)
    def home() -> Response:
        return RedirectResponse("/docs")


def _keep_refusals(app: FastAPI) -> None:
    """Wrong methods and paths of the API stay problems of the API where a page takes the rest."""
    ours = [route for router in _ROUTERS for route in router.routes if isinstance(route, Route)]

    async def refuse(request: Request) -> Response:
        methods: set[str] = set()
        for route in ours:
            match, _ = route.matches(request.scope)
            if match is not Match.NONE:
                methods |= route.methods or set()
        if methods:
            raise HTTPException(405, headers={"Allow": ", ".join(sorted(methods))})
        raise HTTPException(404)

    every = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    for path in ("/v1/{rest:path}", *(r.path for r in ours if not r.path.startswith("/v1/"))):
        app.add_route(path, refuse, methods=every, include_in_schema=False)


def _version() -> str:
    try:
        return version("clipsearch")
    except PackageNotFoundError:  # run from a checkout that was not installed
        return "0"
