"""Routes that say how the server is."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response

from .schemas import ReadyDocument
from .service import Engine
from .telemetry import Telemetry

__all__ = ["router"]

router = APIRouter(tags=["status"])


@router.get("/healthz", response_model=dict[str, str])
def healthz() -> Response:
    """Say that the process lives; needs no token.

    curl http://127.0.0.1:7860/healthz
    """
    return JSONResponse({"status": "ok"})


@router.get("/readyz", response_model=ReadyDocument, responses={503: {"model": ReadyDocument}})
def readyz(request: Request) -> Response:
    """Say whether the model is loaded and every index can be read; needs no token.

    curl http://127.0.0.1:7860/readyz
    """
    engine: Engine = request.app.state.engine
    missing = engine.missing_shards()
    ready = bool(request.app.state.started) and not engine.broken() and not missing
    document: dict[str, Any] = {"ready": ready}
    if missing is not None:
        document["missing_shards"] = missing
    return JSONResponse(document, 200 if ready else 503)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "Metrics.", "content": {"text/plain": {}}}},
)
def metrics(request: Request) -> Response:
    """Give the numbers of this server in Prometheus form.

    curl http://127.0.0.1:7860/metrics
    """
    telemetry: Telemetry = request.app.state.telemetry
    return Response(telemetry.exposition(), media_type=CONTENT_TYPE_LATEST)
