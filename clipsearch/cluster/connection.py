"""Joining a Ray cluster, or starting one on this machine, and leaving it without a trace."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import errors
from ..errors import ClipSearchError, ClusterError, MissingExtraError
from ..temporary import private_folder

__all__ = ["LOCAL", "connected", "of_ray", "require_ray"]

LOCAL = "local"  # the address that stands for a cluster of this machine alone
_REACH_S = 5.0
_START = (
    "start one with `ray start --head` and join further machines with `ray start --address=...`, "
    "or use --ray local"
)
# Sockets below this folder must fit into 107 bytes, so it is short whatever TMPDIR is.
_TEMP_ROOT = "/tmp"  # noqa: S108 - a fresh folder with a random name is made in it
_AUTH_VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_TEMP_PREFIX = "clipsearch-ray-"
# Ray Serve's HTTP proxies call this when they start. A cluster that runs already has to have it.
PROXY_LIMITS = (
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH",
    "clipsearch.server.wire:bound_ray_proxy",
)


def require_ray() -> Any:
    """Import Ray.

    Raises:
        MissingExtraError: The extra `ray` is not installed.
    """
    try:
        import ray
    except ImportError as exc:
        raise MissingExtraError(
            "working on a cluster needs Ray; install it with: pip install 'clipsearch[ray]'"
        ) from exc
    return ray


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Be connected to a cluster; a connection that is already there is used and kept.

    Args:
        address: `local` for a cluster of this machine's CPUs, which is stopped afterwards;
            `auto` for the one that this machine is a node of; or `HOST:PORT` of its head.

    Raises:
        MissingExtraError: The extra `ray` is not installed.
        ClusterError: There is no cluster, or it runs other versions.
    """
    ray = require_ray()
    if ray.is_initialized():
        yield
        return
    if address != LOCAL:
        _check_address(address)
    options: dict[str, Any] = {
        "logging_level": logging.ERROR,
        "log_to_driver": False,
        "configure_logging": False,
    }
    with contextlib.ExitStack() as stack:
        if address == LOCAL:
            stack.enter_context(_own_token())
            # Workers go at the pace of the command that started them; by itself Ray takes 15.
            stack.enter_context(_environment("RAY_worker_niceness", "0"))
            stack.enter_context(_environment(*PROXY_LIMITS))
            options |= {
                "num_cpus": os.cpu_count(),
                "include_dashboard": False,
                "_temp_dir": str(stack.enter_context(_temp_folder())),
            }
        else:
            options["address"] = address
        stack.callback(ray.shutdown)
        _join(ray, address, options)
        yield


def of_ray(exc: Exception) -> ClipSearchError:
    """An error of Ray's as one of ours: its cause if that is ours, else one line."""
    cause = getattr(exc, "cause", None)
    if isinstance(cause, ClipSearchError):
        return cause
    text = str(exc).strip()
    for name, message in reversed(re.findall(r"(?:^|[\s.])(\w+Error): (.+)", text)):
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, ClipSearchError):
            return kind(message)
    line = text.splitlines()[-1].strip()[:300] if text else type(exc).__name__
    return ClusterError(
        f"the work on the cluster failed: {line}. What was committed is kept; run the same "
        "command again to resume"
    )


def _join(ray: Any, address: str, options: dict[str, Any]) -> None:
    try:
        ray.init(**options)
    except Exception as exc:  # of many kinds, and a bare one where a node starts too slowly
        raise _translated(address, exc) from exc


def _translated(address: str, exc: Exception) -> ClusterError:
    text = " ".join(str(exc).split())
    if "Version mismatch" in text:
        words = text.replace("Version mismatch: ", "")
        return ClusterError(
            f"the cluster at {address} runs other versions than this machine. {words}. Install "
            "the same Ray and Python on all machines"
        )
    if isinstance(exc, ConnectionError) or "Could not find any running Ray instance" in text:
        return ClusterError(f"no Ray cluster answers at {address}; {_START}")
    if "timed out during startup" in text:
        return ClusterError(
            f"a node of the Ray cluster ({address}) did not start in time; this machine is too "
            "busy, try again when it is less so"
        )
    if "node" in text and ("IP address" in text or "raylet" in text):
        return ClusterError(
            f"this machine is not a node of the cluster at {address}; join it first: ray start "
            f"--address={address}"
        )
    return ClusterError(f"cannot join the Ray cluster at {address}: {text[:300]}")


def _check_address(address: str) -> None:
    """Refuse at once what Ray would try for a minute."""
    if address.startswith("ray://"):
        raise ClusterError(
            f"{address} is an address for Ray's client, which Ray Data does not work through; run "
            "this command on a machine of the cluster with --ray auto, or --ray HOST:6379"
        )
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ClusterError(
            f"{address!r} is no address of a cluster; give 'local', 'auto' or HOST:PORT of its "
            "head (the port is 6379 unless it was chosen)"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
    except OSError as exc:
        raise ClusterError(f"no Ray cluster answers at {address}; {_START}") from exc
    if not _is_healthy(address):
        raise ClusterError(f"what answers at {address} is no Ray cluster; {_START}")


def _is_healthy(address: str) -> bool:
    """Whether the head of a cluster answers at an address where something listens."""
    try:
        import grpc
    except ImportError:
        return True  # Ray itself will tell, later
    channel = grpc.insecure_channel(address)
    try:
        grpc.channel_ready_future(channel).result(timeout=_REACH_S)
    except grpc.FutureTimeoutError:
        return False
    finally:
        channel.close()
    return True


@contextlib.contextmanager
def _own_token() -> Iterator[None]:
    """Lock a local cluster with a token of its own, or Ray would leave one in the home folder."""
    if any(os.environ.get(name) for name in _AUTH_VARIABLES):
        yield
        return
    with _environment("RAY_AUTH_TOKEN", secrets.token_hex(32)):
        yield


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable that is not set, for a while."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)


def _temp_folder() -> contextlib.AbstractContextManager[Path]:
    """A folder for a local cluster's logs and sockets."""
    root = Path(_TEMP_ROOT)
    return private_folder(_TEMP_PREFIX, root=root if root.is_dir() else None)
