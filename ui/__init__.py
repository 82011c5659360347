"""The Gradio front end.

`mount` serves the page from a FastAPI application, `create_app` makes one that serves nothing else.
Gradio is imported when one of them is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .app import create_app, mount
    from .library import Library
    from .settings import Settings

__all__ = ["Library", "Settings", "create_app", "mount"]

_LAZY = {
    "Library": "library",
    "Settings": "settings",
    "create_app": "app",
    "mount": "app",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value
