"""The HTTP service: search, classification and embedding over one model in memory."""

from __future__ import annotations

from .app import create_app
from .settings import ServerSettings

__all__ = ["ServerSettings", "create_app"]
