"""`clipsearch serve`: the HTTP API and the web page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InvalidInputError
from ..files import expanded, read_given
from ..limits import MAX_TEXT_BYTES
from ..locations import existing_index, home, index_names
from ..models import BUNDLED_MODEL, load_index_encoder
from .cluster import serve_on_cluster
from .options import Device, TrustModel
from .output import note
from .page import Lang, Proxy, Root, checked_roots, note_hidden
from .trust import may_load

if TYPE_CHECKING:
    from ..encoder import Encoder
    from ..hub import Hub
    from ..index import Index

__all__ = ["TOKEN_VARIABLE", "serve"]

TOKEN_VARIABLE = "CLIPSEARCH_TOKEN"  # noqa: S105 - the variable's name
_MIN_TOKEN = 16  # characters: 80 bits of a random token
_REMOTE_RATE = 50.0  # requests a second of one client, when others than this machine can ask


def serve(
    names: Annotated[
        list[str] | None,
        typer.Option(
            "-i", "--index", help="Index to serve; by default all that share one model. Repeatable."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("-m", "--model", help="Model; by default that of the indexes.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 chooses a free one.")] = 7860,
    token: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Bearer token that clients must send; prefer ${TOKEN_VARIABLE} or a file."
        ),
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="File with one token per line.")] = None,
    no_auth: Annotated[
        bool,
        typer.Option(
            "--no-auth", help="Listen on a non-loopback address without requiring a token."
        ),
    ] = False,
    proxy: Proxy = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0, help="Requests per second and client; 0 is unlimited."),
    ] = None,
    max_batch: Annotated[int, typer.Option(min=1, help="Inputs encoded together at most.")] = 64,
    batch_wait_ms: Annotated[
        float, typer.Option(min=0, help="Time that the first input of a batch waits for others.")
    ] = 2.0,
    max_body_mb: Annotated[int, typer.Option(min=1, help="Size limit of a request body.")] = 32,
    max_in_flight: Annotated[
        int, typer.Option(min=1, help="Number of requests processed at once.")
    ] = 128,
    max_pixels: Annotated[
        int,
        typer.Option(min=1, help="Refuse images with more pixels than this, before decoding them."),
    ] = 50_000_000,
    ui: Annotated[bool, typer.Option("--ui/--no-ui", help="Serve the web page at /.")] = True,
    root: Root = None,
    lang: Lang = None,
    device: Device = "auto",
    trust_model: TrustModel = False,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            help="Serve the shards of one index on a Ray cluster (local, auto or HOST:PORT): the "
            "HTTP API without the web page.",
        ),
    ] = None,
    replicas: Annotated[int, typer.Option(min=1, help="With --ray: replicas of each shard.")] = 1,
    max_replicas: Annotated[
        int | None,
        typer.Option(min=1, help="With --ray: autoscale each shard up to this many replicas."),
    ] = None,
    routers: Annotated[
        int,
        typer.Option(min=1, help="With --ray: routers, which encode queries and merge results."),
    ] = 1,
    shard_timeout_s: Annotated[
        float, typer.Option(min=0.1, help="With --ray: time after which a shard counts as missing.")
    ] = 10.0,
    refuse_partial: Annotated[
        bool,
        typer.Option(
            "--refuse-partial", help="With --ray: fail rather than give a partial answer."
        ),
    ] = False,
) -> None:
    """Serve search, classification and embedding over HTTP.

    clipsearch serve -i photos

    CLIPSEARCH_TOKEN=$(openssl rand -hex 16) clipsearch serve -i photos --host 0.0.0.0

    clipsearch shard -i web --shards 8 && clipsearch serve --ray auto -i web --replicas 2
    """
    from ..server.process import listen, own_temporary_files, run
    from ..server.proxies import checked_proxies
    from ..server.settings import ServerSettings, is_loopback

    tokens = _tokens(token, token_file)
    local = is_loopback(host)
    if not local and not tokens and not no_auth:
        raise InvalidInputError(
            f"{host} can be reached from other machines: set {TOKEN_VARIABLE}, give --token-file "
            "FILE, or use --no-auth to serve everyone"
        )
    roots = checked_roots(root)
    settings = ServerSettings(
        tokens=tokens,
        allowed_hosts=("localhost", "127.0.0.1", "::1", host) if local and not tokens else None,
        proxies=checked_proxies(proxy),
        rate_per_s=(rate or None) if rate is not None else None if local else _REMOTE_RATE,
        max_batch=max_batch,
        batch_wait_ms=batch_wait_ms,
        max_body_bytes=max_body_mb * 1024**2,
        max_in_flight=max_in_flight,
        max_pixels=max_pixels,
        may_build=local or bool(tokens),  # not for everyone who can reach the port
        roots=roots,
        language=lang,
    )
    if ray is not None:
        serve_on_cluster(
            names,
            address=ray,
            host=host,
            port=port,
            settings=settings,
            device=device,
            replicas=replicas,
            max_replicas=max_replicas,
            routers=routers,
            timeout_s=shard_timeout_s,
            refuse_partial=refuse_partial,
            trust_model=trust_model,
        )
        return
    from ..hub import Hub
    from ..index import Index
    from ..server.app import serve_hub
    from ..server.shared_encoder import sharing
    from ..server.telemetry import Telemetry

    with own_temporary_files():
        telemetry = Telemetry()
        trusted = set() if model is None else {model}

        def loaded(name: str) -> Encoder:
            return load_index_encoder(name, device=device, trust=trust_model or name in trusted)

        hub = Hub(sharing(loaded, settings, telemetry), open_index=Index.open)
        folders, chosen = _folders_and_model(hub, names, model)
        for folder in () if roots else folders.values():
            note_hidden(hub.index(folder))
        if may_load(chosen, trust_model or chosen in trusted):
            trusted.add(chosen)
        app = serve_hub(hub, folders, model=chosen, settings=settings, telemetry=telemetry, ui=ui)
        sock = listen(host, port)
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{sock.getsockname()[1]}"
        run(app, sock, ready=lambda: note(f"serving {', '.join(folders) or 'no index'} at {url}"))


def _tokens(given: list[str] | None, file: Path | None) -> tuple[str, ...]:
    """Tokens of the options and the environment, each long enough to be a secret."""
    found = [*(given or []), *os.environ.get(TOKEN_VARIABLE, "").split(",")]
    if file is not None:
        try:
            lines = read_given(expanded(file), MAX_TEXT_BYTES).decode().splitlines()
        except (OSError, UnicodeDecodeError) as exc:
            raise InvalidInputError(f"cannot read tokens from {file}: {exc}") from exc
        lines = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if not lines:
            raise InvalidInputError(f"{file} contains no token; write one token per line")
        found += lines
    tokens = tuple(dict.fromkeys(token.strip() for token in found if token.strip()))
    for token in tokens:
        if len(token) < _MIN_TOKEN:
            raise InvalidInputError(
                f"a token needs at least {_MIN_TOKEN} characters; try: openssl rand -hex 16"
            )
    return tokens


def _folders_and_model(
    hub: Hub[Index], names: list[str] | None, model: str | None
) -> tuple[dict[str, Path], str]:
    """Folders of the indexes by name, and the name of the model that they share."""
    if names:
        folders = {Path(name).name: existing_index(name) for name in names}
    else:
        folders = {name: home() / name for name in index_names()}
    models = {name: hub.index(folder).model_name for name, folder in folders.items()}
    chosen = model or next(iter(models.values()), BUNDLED_MODEL)
    others = [name for name, its in models.items() if its != chosen]
    if others and not names:
        note(f"not served, because they use another model than {chosen}: {', '.join(others)}")
        folders = {name: folder for name, folder in folders.items() if name not in others}
    return folders, chosen
