"""`clipsearch ui`: the web page for one person, on this machine only."""

from __future__ import annotations

import contextlib
import importlib
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import ClipSearchError, SourceError
from ..files import expanded
from ..locations import existing_index, index_names
from ..models import load_index_encoder
from .options import Device, TrustModel
from .output import note
from .trust import may_load

if TYPE_CHECKING:
    from ..encoder import Encoder
    from ..index import Index

__all__ = ["Lang", "Proxy", "Root", "checked_roots", "note_hidden", "ui"]

_HOST = "127.0.0.1"
_HOSTS = ("127.0.0.1", "localhost")  # no other name, so that no other site's page can reach in


Root = Annotated[
    list[Path] | None,
    typer.Option(
        help="Folder whose images may be shown, whoever indexed them, and below which the page "
        "may index. Repeatable."
    ),
]
Proxy = Annotated[
    list[str] | None,
    typer.Option(
        help="Address or network of a reverse proxy whose X-Forwarded-For and X-Forwarded-Proto "
        "are believed. Repeatable."
    ),
]
Lang = Annotated[
    Literal["en", "es"] | None,
    typer.Option(help="Language of the page; by default that of the browser."),
]


def checked_roots(given: list[Path] | None) -> tuple[Path, ...]:
    """The folders of `--root`, links resolved.

    Raises:
        SourceError: One is not there.
    """
    roots = tuple(expanded(path).resolve() for path in given or [])
    for path in roots:
        if not path.is_dir():
            raise SourceError(f"--root {path} is not an existing folder")
    return roots


def note_hidden(index: Index) -> None:
    """Say that the images of an index are not shown, if it was indexed elsewhere."""
    if len(index) and not index.indexed_folders():
        note(
            f"{index.path.name} was not indexed on this machine, or was moved since or made by an "
            "older version, so `ui` and `serve` do not show its images; run `clipsearch index "
            f"FOLDER -i {index.path.name}` on their folder, or start with --root FOLDER"
        )


def ui(
    names: Annotated[
        list[str] | None,
        typer.Option(
            "-i",
            "--index",
            help="Index to show; by default all in the home folder of clipsearch. Repeatable.",
        ),
    ] = None,
    root: Root = None,
    lang: Lang = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 chooses a free one.")] = 7861,
    proxy: Proxy = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
    ] = True,
    device: Device = "auto",
    trust_model: TrustModel = False,
) -> None:
    """Open the web page: search, classify, explore and build indexes.

    clipsearch ui

    clipsearch ui -i photos --root ~/Pictures --lang es
    """
    folders = [existing_index(name) for name in names or index_names()]
    roots = checked_roots(root)
    from ..index import Index
    from ..server.process import listen, own_temporary_files, run
    from ..server.proxies import checked_proxies

    models = set()
    for folder in folders:
        with contextlib.suppress(ClipSearchError), Index.open(folder) as index:
            models.add(index.model_name)
            if not roots:
                note_hidden(index)
    trusted = {model for model in sorted(models) if may_load(model, trust_model, say=True)}

    def loaded(model: str) -> Encoder:
        return load_index_encoder(model, device=device, trust=trust_model or model in trusted)

    with own_temporary_files():
        sock = listen(_HOST, port)
        # Gradio takes seconds to import, and a taken port should be told at once.
        page = importlib.import_module("clipsearch.ui.app")
        settings = page.Settings(
            names=tuple(names) if names else None,
            roots=roots,
            language=lang,
            shows_paths=True,
            allowed_hosts=_HOSTS,
            proxies=checked_proxies(proxy),
        )
        app = page.create_app(settings, library=page.Library(settings.names, load=loaded))
        url = f"http://{_HOST}:{sock.getsockname()[1]}/"

        def ready() -> None:
            note(f"the page is at {url} (press Ctrl-C to stop)")
            if browser:
                threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

        run(app, sock, ready=ready)
