"""Serving a sharded index with Ray Serve: deployments made, watched and taken down."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import ClusterError, ImageDecodeError, IndexNotFoundError, InvalidInputError
from ..files import expanded, read_regular
from ..index import Index
from ..limits import MAX_IMAGE_BYTES
from ..models import check_trusted
from ..query import Query, Term
from ..request import Searchable, SearchRequest
from ..server.settings import ServerSettings
from ..types import Hits
from .connection import LOCAL, connected, of_ray, require_ray
from .index_shards import Shard, ShardSet, open_shards
from .preflight import check_nodes
from .router import Router, ShardReplica

__all__ = ["ServeOptions", "ShardedIndex", "serve_shards", "shards_to_serve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """How an index is served on a cluster."""

    address: str = "local"  # of the cluster: local, auto or HOST:PORT
    replicas: int = 1  # of every shard; the least with `max_replicas`
    max_replicas: int | None = None  # more than `replicas` makes Ray Serve follow the queues
    target_ongoing: float = 4.0  # searches under way in a replica that autoscaling aims at
    routers: int = 1
    timeout_s: float = 10.0  # that a shard may take before it counts as missing
    refuse_partial: bool = False  # an error rather than an answer without all shards
    device: str = "auto"  # of the routers' model
    host: str = "127.0.0.1"
    trust_model: bool = False  # whether a model that this machine never used is loaded
    port: int | None = None  # for HTTP; None answers through Python handles only
    settings: ServerSettings = field(
        default_factory=ServerSettings
    )  # each router keeps its own count
    app: str = "clipsearch"  # name of the application in Ray Serve

    def __post_init__(self) -> None:
        if self.replicas < 1 or self.routers < 1:
            raise InvalidInputError("there must be at least one replica and one router")
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise InvalidInputError(
                f"max_replicas ({self.max_replicas}) must not be below replicas ({self.replicas})"
            )
        if self.timeout_s <= 0 or self.target_ongoing <= 0:
            raise InvalidInputError("timeout_s and target_ongoing must be positive")


class ShardedIndex(Searchable):
    """A served index, searched as an `Index` is.

    The hits are those of exact search of the index that was split, for a split writes no ANN
    files. Where a shard has one all the same, or the index was served without a split, it is used
    unless the search is `exact`, and `hits.approximate` says so. `hits.missing` names the shards
    that did not answer.

    Args:
        handle: Ray Serve's handle of the router.
        name: Of the index, for messages.
    """

    def __init__(self, handle: Any, name: str) -> None:
        self._handle = handle
        self._name = name

    def answer(self, request: SearchRequest) -> Hits:
        """Answer a request; see `search`.

        Raises:
            InvalidInputError: A bad query or filter.
            ItemNotFoundError: The query names an item that is not there.
            ImageDecodeError: An image of the query cannot be read.
            PartialAnswerError: No shard answered; or not all did, and that is refused.
            ClusterError: The service is gone.
        """
        query = request.query
        sent = request if query is None else replace(request, query=portable(query))
        found: Hits = self._call("answer", sent)
        return found

    def info(self) -> dict[str, Any]:
        """What is served, and how much one router has done."""
        found: dict[str, Any] = self._call("info")
        return found

    def _call(self, method: str, *arguments: Any) -> Any:
        ray = require_ray()
        from ray.serve.exceptions import RayServeException

        try:
            return getattr(self._handle, method).remote(*arguments).result()
        except (ray.exceptions.RayError, RayServeException) as exc:
            raise of_ray(exc) from exc


def portable(query: Query) -> Query:
    """The query with the contents of its image files, for a path means nothing elsewhere.

    Raises:
        ImageDecodeError: A file cannot be read.
    """
    return Query(tuple(_portable(term) for term in query.terms))


def _portable(term: Term) -> Term:
    if term.kind != "image" or not isinstance(term.value, str | os.PathLike):
        return term
    try:
        data = read_regular(expanded(term.value), MAX_IMAGE_BYTES)
    except OSError as exc:
        raise ImageDecodeError(f"cannot read {term.value}: {exc.strerror or exc}") from exc
    return Term("image", data, term.weight)


def shards_to_serve(folder: Path) -> ShardSet:
    """The shards of an index; the index itself as the only one if it was not split.

    Raises:
        IndexNotFoundError: There is no index.
        InvalidInputError: The index has changed since it was split.
    """
    with Index.open(folder) as index:
        info = index.info()
    try:
        found = open_shards(folder)
    except IndexNotFoundError:
        whole = Shard(folder, info["items"], 0, 0)
        model = info["model"]
        return ShardSet(
            folder.name,
            info["generation"],
            model["name"],
            model["fingerprint"],
            info["dim"],
            (whole,),
        )
    if found.generation != info["generation"]:
        raise InvalidInputError(
            f"{folder.name} has changed since it was split (state {info['generation']}, its shards "
            f"are of {found.generation}); split it again: clipsearch shard -i {folder.name} "
            f"--shards {len(found)}"
        )
    return found


@contextlib.contextmanager
def serve_shards(folder: Path, options: ServeOptions) -> Iterator[ShardedIndex]:
    """Serve an index on a cluster as long as the context lasts.

    Args:
        folder: The folder of the index. Its shards must be on storage that all nodes share.
        options: How.

    Raises:
        MissingExtraError: The extra `ray` is not installed.
        ClusterError: There is no cluster, it has not what it needs, or it failed.
        IndexNotFoundError: There is no index.
        InvalidInputError: The index has changed since it was split.
        ModelLoadError: As `models.check_trusted`.
    """
    shards = shards_to_serve(folder)
    check_trusted(shards.model_name, trust=options.trust_model)
    ours = options.address == LOCAL and not require_ray().is_initialized()
    with connected(options.address):
        check_nodes(model=shards.model_name, others=[str(shard.folder) for shard in shards.shards])
        handle = _deploy(folder, shards, options, _cpus_of_each(len(shards), options))
        try:
            yield ShardedIndex(handle, shards.name)
        finally:
            _take_down(options.app, cluster_ends=ours)


def _cpus_of_each(shards: int, options: ServeOptions) -> float:
    """CPUs that a replica reserves: one, or less where few are free."""
    free = float(require_ray().available_resources().get("CPU", 0.0))
    if free <= 0:
        raise ClusterError("no CPU of the cluster is free; stop other work on it, or add a node")
    wanted = shards * (options.max_replicas or options.replicas) + options.routers
    return min(1.0, max(0.01, math.floor(80 * free / wanted) / 100))


def _deploy(folder: Path, shards: ShardSet, options: ServeOptions, cpus: float) -> Any:
    ray = require_ray()
    from ray import serve

    common = {
        "ray_actor_options": {"num_cpus": cpus},
        "health_check_period_s": 2.0,
        "health_check_timeout_s": 10.0,
        "graceful_shutdown_timeout_s": 3.5,
        "graceful_shutdown_wait_loop_s": 0.2,  # Ray looks every 2 s whether a replica is idle
        "max_ongoing_requests": 64,
    }
    scaling: dict[str, Any] = {"num_replicas": options.replicas}
    if options.max_replicas is not None and options.max_replicas > options.replicas:
        scaling = {
            "autoscaling_config": {
                "min_replicas": options.replicas,
                "max_replicas": options.max_replicas,
                "target_ongoing_requests": options.target_ongoing,
                "upscale_delay_s": 2.0,
            }
        }
    handles = [
        serve.deployment(ShardReplica)
        .options(name=f"shard-{number}", **scaling, **common)
        .bind(str(shard.folder), shards.fingerprint)
        for number, shard in enumerate(shards.shards, start=1)
    ]
    http = options.port is not None
    if http:
        from .ingress import http_router
    # Where more come, the guard of the application refuses them.
    queue = {"max_ongoing_requests": 2 * options.settings.max_in_flight}
    router = (
        serve.deployment(http_router() if http else Router)
        .options(name="router", num_replicas=options.routers, **common | queue)
        .bind(
            *handles,
            folder=folder,
            shards=shards,
            settings=options.settings,
            device=options.device,
            timeout_s=options.timeout_s,
            refuse_partial=options.refuse_partial,
        )
    )
    try:
        serve.start(
            proxy_location="EveryNode" if http else "Disabled",
            http_options={"host": options.host, "port": options.port} if http else None,
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
        return serve.run(
            router,
            name=options.app,
            route_prefix="/" if http else None,
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
    except (ray.exceptions.RayError, RuntimeError, ValueError, TimeoutError) as exc:
        _take_down(options.app)
        line = " ".join(str(exc).split())[:300]
        raise ClusterError(f"Ray Serve could not start the shards and the router: {line}") from exc


def _take_down(app: str, *, cluster_ends: bool = False) -> None:
    """Delete the application, and Ray Serve itself when nothing else is on it.

    Args:
        app: Its name.
        cluster_ends: Whether the cluster ends after it, and Ray Serve with it.
    """
    require_ray()
    from ray import serve

    with contextlib.suppress(Exception):  # the cluster may be gone, and all of this with it
        serve.delete(app)
        if not cluster_ends and not serve.status().applications:
            serve.shutdown()
