"""The Gradio page on top of the server's own models and indexes."""

from __future__ import annotations

import importlib

from fastapi import FastAPI

from ..hub import Hub
from ..index import Index
from .service import Engine

__all__ = ["mount_front"]


def mount_front(app: FastAPI, engine: Engine, hub: Hub[Index]) -> None:
    """Put `clipsearch.ui` at `/`; its searches share batches with those of the API."""
    # Gradio takes seconds to import, and `serve --no-ui` needs none of it.
    ui = importlib.import_module("clipsearch.ui.app")
    library = importlib.import_module("clipsearch.ui.library")
    names = tuple(str(folder) for folder in engine.folders)
    ui.mount(
        app,
        library.Library(names, hub=hub),
        ui.Settings(
            names=names,
            max_pixels=engine.settings.max_pixels,
            may_build=engine.settings.may_build,
            roots=engine.settings.roots,
            language=engine.settings.language,
        ),
    )
