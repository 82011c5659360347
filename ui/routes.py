"""The page's own routes, beside Gradio's."""

from __future__ import annotations

from fastapi import APIRouter

from .library import Library
from .map_routes import map_router
from .media import media_router
from .scripts import scripts_router
from .settings import Settings

__all__ = ["own_routes"]


def own_routes(library: Library, settings: Settings) -> APIRouter:
    """All of them, which are there before Gradio is loaded."""
    router = APIRouter()
    for routes in (media_router(library, settings), map_router(library), scripts_router()):
        router.include_router(routes)
    return router
