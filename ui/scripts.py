"""Scripts that a tab loads when it needs them, under addresses that change with their text."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from .media import FOR_GOOD

__all__ = ["script_url", "scripts_router"]

_FOLDER = Path(__file__).parent / "assets"
_TABS = ("curate", "learn", "map")  # folders of modules, which import each other by relative paths


@functools.cache
def _scripts() -> dict[str, bytes]:
    files = (file for tab in _TABS for file in sorted((_FOLDER / tab).glob("*.js")))
    return {file.relative_to(_FOLDER).as_posix(): file.read_bytes() for file in files}


@functools.cache
def _version() -> str:
    return hashlib.sha256(b"\0".join(_scripts().values())).hexdigest()[:16]


def script_url(name: str) -> str:
    """Where the page finds a script, such as "map/tab.js", from where it is itself."""
    return f"scripts/{_version()}/{name}"


def scripts_router() -> APIRouter:
    """The route; it knows the names of the scripts, and no path of a file."""
    router = APIRouter()

    @router.get("/scripts/{version}/{name:path}", include_in_schema=False)
    def script(version: str, name: str) -> Response:
        text = _scripts().get(name)
        if text is None:
            return PlainTextResponse("there is no such script", 404)
        kept = FOR_GOOD if version == _version() else {"Cache-Control": "no-store"}
        return Response(text, media_type="text/javascript", headers=kept)

    return router
