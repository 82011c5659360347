"""The commands assembled, and errors turned into one line and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import clipsearch

from ..errors import ClipSearchError, ClipSearchWarning
from ..files import advice
from .output import EXIT_ERROR, EXIT_INTERRUPTED, note

__all__ = ["assemble", "main"]

# Module and function, or group of commands, of each command, in the order of --help.
_COMMANDS = {
    "index": "index.index",
    "migrate": "migrate.migrate",
    "search": "search.search",
    "classify": "classify.classify",
    "tag": "tag.tag",
    "facets": "facets.facets",
    "album": "album.album_app",
    "saved": "search.saved_app",
    "fit": "tag.fit",
    "calibrate": "tag.calibrate",
    "serve": "serve.serve",
    "ui": "page.ui",
    "info": "manage.info",
    "remove": "manage.remove",
    "compact": "manage.compact",
    "verify": "manage.verify",
    "pairs": "curate.pairs",
    "duplicates": "curate.duplicates",
    "export": "curate.export",
    "import": "curate.import_command",
    "shard": "cluster.shard",
    "demo": "demo.demo",
    "evaluate": "evaluate.evaluate_app",
    "models": "manage.models_app",
}


class _Commands(TyperGroup):
    """Runs a command; a known error becomes one line on stderr."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:  # the reader (head, less) has gone; nothing is wrong
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit from None
        except ClipSearchError as exc:
            note(f"error: {exc}")
            raise typer.Exit(exc.exit_code) from exc
        except OSError as exc:
            with contextlib.suppress(ValueError):  # a stream of another program
                try:
                    sys.stdout.flush()
                except OSError:
                    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            where = exc.filename or "the output"  # as of `search > file`, on a full disk
            note(f"error: cannot read or write {where}: {exc.strerror or exc}. {advice(exc.errno)}")
            raise typer.Exit(EXIT_ERROR) from exc
        except KeyboardInterrupt:
            note("interrupted; committed work is kept, run the same command again to resume")
            raise typer.Exit(EXIT_INTERRUPTED) from None


def _version(value: bool) -> None:
    if value:
        print(f"clipsearch {clipsearch.__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Search photos by words, by image or both, and classify them zero-shot."""


def assemble(names: Iterable[str] = _COMMANDS) -> typer.Typer:
    """The command line with the commands of these names.

    Typer builds every command that it is given, used or not. Building all of them takes 0.1 s, a
    seventh of a search.
    """
    app = typer.Typer(
        cls=_Commands,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Search photos by words, by image or both, and classify them zero-shot.",
        epilog=(
            "Exit codes: 0 success, 1 error (one line on stderr), 2 wrong usage, 3 success but "
            "files that were not skipped before could not be read, 130 interrupted."
        ),
    )
    app.callback()(_root)
    for name in names:
        module, attribute = _COMMANDS[name].split(".")
        command = getattr(import_module(f".{module}", __package__), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def main() -> None:
    """Entry point of the `clipsearch` command."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", ClipSearchWarning)
        warnings.showwarning = lambda message, *_args, **_kwargs: note(f"note: {message}")
    named = [word for word in sys.argv[1:2] if word in _COMMANDS]
    assemble(named or _COMMANDS)()
