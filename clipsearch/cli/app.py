"""The commands assembled, and errors turned into one line and an exit code."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..errors import ClipSearchError, ClipSearchWarning
from . import (
    classifying,
    clustering,
    curating,
    demo,
    evaluating,
    indexing,
    managing,
    migrating,
    searching,
    serving,
    showing,
    tagging,
)
from .exits import exit_code
from .output import EXIT_INTERRUPTED, note

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """Runs a command; a known error becomes one line on stderr."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ClipSearchError as exc:
            note(f"error: {exc}")
            raise typer.Exit(exit_code(exc)) from exc
        except KeyboardInterrupt:
            note("interrupted; what was committed is kept, and the same command goes on from there")
            raise typer.Exit(EXIT_INTERRUPTED) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Search photos by words, by picture or both, and classify them zero-shot.",
    epilog=(
        "Exit codes: 0 done, 1 an error in one line, 2 wrong usage, 3 done but some files were "
        "skipped, 130 interrupted."
    ),
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"clipsearch {version('clipsearch')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Search photos by words, by picture or both, and classify them zero-shot."""


app.command("index")(indexing.index)
app.command("migrate")(migrating.migrate)
app.command("search")(searching.search)
app.command("classify")(classifying.classify)
app.command("tag")(tagging.tag)
app.command("fit")(tagging.fit)
app.command("calibrate")(tagging.calibrate)
app.add_typer(evaluating.evaluate_app, name="evaluate")
app.command("serve")(serving.serve)
app.command("ui")(showing.ui)
for name, command in (managing.COMMANDS | curating.COMMANDS | clustering.COMMANDS).items():
    app.command(name)(command)
app.add_typer(managing.models_app, name="models")
app.command("demo")(demo.demo)


def main() -> None:
    """Entry point of the `clipsearch` command."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", ClipSearchWarning)
        warnings.showwarning = lambda message, *_args, **_kwargs: note(f"note: {message}")
    try:
        app()
    except BrokenPipeError:  # the reader (head, less) has gone; nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
