"""Asking before a model is loaded that only an index names."""

from __future__ import annotations

import sys

import typer

from ..errors import ModelLoadError
from ..models import check_trusted
from ..names import shown
from .output import note

__all__ = ["may_load"]


def may_load(name: str, allowed: bool, *, say: bool = False) -> bool:
    """Whether a model that an index names may be loaded: by `--trust-model`, or as a person says.

    Without a terminal nobody is asked; what loads the model then says what to do.

    Args:
        name: Of the model.
        allowed: Whether the user allows it in any case.
        say: Whether to say so here where nobody is asked.
    """
    try:
        check_trusted(name, trust=allowed)
    except ModelLoadError as exc:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            if say:
                note(str(exc))
            return False
        return typer.confirm(
            f"The index names the model {shown(name)}, which was never used on this machine. "
            "Load it?",
            err=True,
        )
    return True
