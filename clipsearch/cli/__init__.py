"""The command line: the only part that prints, asks and exits."""

from __future__ import annotations

from .app import main

__all__ = ["main"]
