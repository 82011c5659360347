"""What every machine of a cluster must have, checked before any work starts."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ..errors import ClipSearchWarning, ClusterError
from ..files import expanded
from ..models import BUNDLED_MODEL
from .connection import require_ray

__all__ = [
    "Capacity",
    "Worker",
    "check_nodes",
    "local_files_of_model",
    "size_workers",
    "watched_nodes",
]

_TIMEOUT_S = 120.0  # a node starts its first process, which imports what it needs
_GPU_SHARE_EPSILON = 1e-6
_LOOK_S = 5.0  # between two looks at which nodes are alive


@dataclass(frozen=True, slots=True)
class Worker:
    """What one worker reserves and uses."""

    cpus: float  # reserved
    gpus: float  # reserved
    threads: int  # of the model, and decoder processes


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a node of the cluster offers."""

    cpus: float
    gpus: float


def local_files_of_model(name: str) -> list[str]:
    """Files that every node needs to load a model; empty for one that comes from the hub."""
    if name == BUNDLED_MODEL:
        return []  # travels with the package
    if name.startswith("local-dir:"):
        folder = expanded(name.removeprefix("local-dir:"))
        return [str(folder / "open_clip_config.json")]
    if name.startswith("hf-hub:"):
        return []
    _, colon, file = name.partition(":")
    return [str(expanded(file))] if colon else []


def check_nodes(
    *, model: str, sources: Sequence[str] = (), others: Sequence[str] = (), gpus: float = 0.0
) -> list[Capacity]:
    """Check every live node of the cluster.

    Args:
        model: Name of the model that workers will load.
        sources: Paths that they will read.
        others: Further paths that they will read, such as shards.
        gpus: GPUs that one worker needs.

    Returns:
        What the nodes offer.

    Raises:
        ClusterError: A node runs another version, or cannot see the model's files or a path; or
            no node has the GPUs. The message names the node and what to do.
    """
    ray = require_ray()
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"]]
    capacities = [
        Capacity(node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
        for node in nodes
    ]
    if gpus > 0 and not any(c.gpus >= gpus - _GPU_SHARE_EPSILON for c in capacities):
        most = max((c.gpus for c in capacities), default=0.0)
        raise ClusterError(
            f"a worker wants {gpus:g} GPUs and no node of the cluster has that many (the most is "
            f"{most:g}); start nodes with `ray start --num-gpus=N`, or leave out --gpus-per-worker"
        )
    files = local_files_of_model(model)
    probe = ray.remote(num_cpus=0, max_retries=0)(_probe)
    asked = {}
    for node in nodes:
        strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ref = probe.options(scheduling_strategy=strategy).remote([*files, *sources, *others])
        asked[ref] = node
    ours = _versions()
    for ref, node in asked.items():
        where = f"node {node['NodeManagerAddress']} ({node['NodeID'][:8]})"
        found = _answer(ray, ref, where)
        for what, wanted in ours.items():
            if found["versions"].get(what) != wanted:
                raise ClusterError(
                    f"{where} has {what} {found['versions'].get(what)}, this machine has {wanted};"
                    " install the same version on all machines"
                )
        for path in found["missing"]:
            kind = "the model's file" if path in files else "the path"
            raise ClusterError(
                f"{where} cannot read {kind} {path}; put it on storage that all nodes share, under "
                "the same name"
            )
    return capacities


def _answer(ray: Any, ref: Any, where: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = ray.get(ref, timeout=_TIMEOUT_S)
    except ray.exceptions.GetTimeoutError as exc:
        raise ClusterError(f"{where} did not answer within {_TIMEOUT_S:g} s") from exc
    except ray.exceptions.RayTaskError as exc:
        if "ModuleNotFoundError" in str(exc):
            raise ClusterError(
                f"{where} has no clipsearch; install the same version on all machines: pip install "
                "'clipsearch[ray]'"
            ) from exc
        raise ClusterError(f"{where} failed: {str(exc).strip().splitlines()[-1][:300]}") from exc
    except ray.exceptions.RayError as exc:
        raise ClusterError(f"{where} failed: {' '.join(str(exc).split())[:300]}") from exc
    return found


def _probe(paths: Sequence[str]) -> dict[str, Any]:
    """Runs on a node: its versions, and which of the paths it cannot read."""
    missing = [path for path in paths if not os.access(path, os.R_OK)]
    return {"versions": _versions(), "missing": missing, "host": socket.gethostname()}


def _versions() -> dict[str, str]:
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for package in ("clipsearch", "torch", "open_clip_torch"):
        try:
            found[package] = version(package).partition("+")[0]
        except PackageNotFoundError:
            found[package] = "none"
    return found


@contextlib.contextmanager
def watched_nodes(gpus: float) -> Iterator[None]:
    """Tell of nodes that are lost in the meantime.

    Args:
        gpus: GPUs of a worker; with some, a lost worker may have to wait for a free one.

    Warns:
        ClipSearchWarning: A node was lost.
    """
    stop = threading.Event()
    thread = threading.Thread(target=_watch, args=(stop, gpus), daemon=True, name="nodes")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_LOOK_S)


def _watch(stop: threading.Event, gpus: float) -> None:
    ray = require_ray()
    with contextlib.suppress(Exception):  # the cluster is gone, which the job itself tells of
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        while not stop.wait(_LOOK_S):
            nodes = {node["NodeID"]: node for node in ray.nodes()}
            for lost in [one for one in alive if one in nodes and not nodes[one]["Alive"]]:
                alive.discard(lost)
                wait = " where a GPU is free, or joins" if gpus else ""
                warnings.warn(
                    f"node {nodes[lost]['NodeManagerAddress']} ({lost[:8]}) was lost; what its "
                    f"workers had in hand is done again on the others{wait}",
                    ClipSearchWarning,
                    stacklevel=1,
                )


def size_workers(
    capacities: Sequence[Capacity], *, workers: int | None, gpus: float
) -> tuple[int, Worker]:
    """Decide how many workers there are and what each reserves.

    A worker of a lost node is started again on another, so on several nodes the reservations are
    such that all workers fit even without the largest node. (GPUs cannot be had twice: there
    the replacement waits until a node with a free GPU joins.)

    Args:
        capacities: What the nodes offer.
        workers: How many are wanted; None for one for every GPU or for every four CPUs.
        gpus: GPUs of each.

    Raises:
        ClusterError: So many do not fit.
    """
    cpus = sum(c.cpus for c in capacities)
    if cpus < 1:
        raise ClusterError("the cluster has no CPUs to work with (every node has 0 CPUs)")
    if gpus > 0:
        fit = sum(int((c.gpus + _GPU_SHARE_EPSILON) / gpus) for c in capacities)
    else:
        fit = int(cpus)
    count = workers or (fit if gpus > 0 else max(1, int(cpus / 4)))
    if count > fit:
        what = f"{gpus:g} GPUs each" if gpus > 0 else "one CPU each"
        raise ClusterError(
            f"{count} workers with {what} do not fit into the cluster, which has room for {fit}; "
            "use fewer, or add nodes"
        )
    threads = max(1, int(cpus / count))
    left = cpus - max(c.cpus for c in capacities) if len(capacities) > 1 else cpus
    share = max(min(left, cpus) / count, 0.01)
    reserved = float(int(share)) if share >= 1 else round(share, 2)
    smallest = min((c.cpus for c in capacities if c.cpus > 0), default=1.0)
    threads = min(threads, int(max(c.cpus for c in capacities)))
    return count, Worker(cpus=min(reserved, smallest), gpus=gpus, threads=threads)
