"""A real Ray cluster of several nodes on this machine, and the proof that nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

OBJECT_STORE_BYTES = 128 * 1024**2
PATIENCE_S = 600.0  # for what takes seconds where the machine has nothing else to do
SETTINGS = {"RAY_worker_niceness": "0"}  # or a busy machine starves the workers
VARIABLES = ("RAY_AUTH_TOKEN", "RAY_TMPDIR", *SETTINGS)


def processes(*words: str) -> dict[int, str]:
    """Command lines by process id that hold one of the words; this process is left out."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                line = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                )
                if any(word in line for word in words):
                    found[int(entry.name)] = line
    return found


def descendants(root: int) -> dict[int, str]:
    """Command lines of a process's children and their children."""
    parents: dict[int, int] = {}
    lines: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError, IndexError):
                stat = (entry / "stat").read_text()
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
                raw = (entry / "cmdline").read_bytes()
                lines[int(entry.name)] = raw.replace(b"\0", b" ").decode("utf-8", "replace")
    found: dict[int, str] = {}
    queue = [root]
    while queue:
        parent = queue.pop()
        children = [pid for pid, its in parents.items() if its == parent]
        found.update({pid: lines.get(pid, "") for pid in children})
        queue += children
    return found


@contextlib.contextmanager
def started(command: list[str], **options) -> Iterator[subprocess.Popen]:
    """A process that is waited for, and killed where its test fails."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def wait_for(condition, *, seconds: float = PATIENCE_S, what: str = "it"):
    """The first true value of a condition."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen within {seconds:g} s")


def free_port() -> int:
    """A port that nothing listened at a moment ago; Ray Serve cannot choose one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def cluster(nodes: int = 2, cpus: int = 2, connect: bool = True) -> Iterator[object]:
    """Nodes with a temporary folder and a token of their own; checks that nothing is left."""
    import ray
    from ray.cluster_utils import Cluster

    # Not below pytest's folder: paths of Unix sockets may have 107 bytes.
    folder = tempfile.mkdtemp(prefix="cs-", dir="/tmp")
    before = {name: os.environ.get(name) for name in VARIABLES}
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    os.environ["RAY_TMPDIR"] = folder  # where the address of the last cluster is noted
    os.environ.update(SETTINGS)
    Path(folder, "ray").mkdir()
    left = leavings()
    made = None
    try:
        common = {"num_cpus": cpus, "object_store_memory": OBJECT_STORE_BYTES}
        made = Cluster(
            initialize_head=True,
            head_node_args={**common, "temp_dir": folder, "include_dashboard": False},
        )
        made.folder = folder
        made.common = common
        for _ in range(nodes - 1):
            made.add_node(**common)
        if connect:
            ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
        yield made
    finally:
        if connect:
            ray.shutdown()
        if made is not None:
            made.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    wait_for(lambda: not processes(folder), what="the end of all its processes")
    if connect:
        assert not descendants_of_ray()
    assert leavings() == left


def leavings() -> set[str]:
    """Files, sockets and folders outside a cluster's own folder that Ray might leave behind."""
    places = {Path("/dev/shm"): "plasma*", Path("/tmp"): "ray*", Path.home() / ".ray": "*"}
    found = {str(path) for place, names in places.items() for path in place.glob(names)}
    lines = Path("/proc/net/unix").read_text().splitlines()
    sockets = {line.split()[-1] for line in lines if "/" in line}
    return found | {path for path in sockets if "/sockets/raylet" in path or "plasma" in path}


@contextlib.contextmanager
def node_with_other_files(made, *mounts: str) -> Iterator[int]:
    """A further node, started by `ray start` where the mounts hide or replace files.

    Args:
        made: The cluster.
        mounts: Arguments of `mount`, of commands that are run before the node starts.

    Yields:
        A process of the node, for `unmount`.
    """
    import pytest
    import ray

    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("needs the right to make mount namespaces (root, CAP_SYS_ADMIN)")
    start = [
        sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={made.address}",
        "--num-cpus=1", f"--object-store-memory={OBJECT_STORE_BYTES}", "--block",
    ]  # fmt: skip
    script = " && ".join([*(f"mount {mount}" for mount in mounts), f"exec {' '.join(start)}"])

    def alive() -> int:
        return sum(node["Alive"] for node in ray.nodes())

    before = alive()
    command = ["unshare", "--mount", "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            wait_for(lambda: alive() > before or process.poll() is not None, what="a node")
            assert process.poll() is None, process.stdout.read().decode()
            yield process.pid
        finally:
            process.terminate()
    wait_for(lambda: alive() == before, what="the end of a node")


def unmount(pid: int, path: os.PathLike[str] | str) -> None:
    """Undo a mount of a node."""
    subprocess.run(["nsenter", f"--target={pid}", "--mount", "umount", os.fspath(path)], check=True)


def descendants_of_ray() -> dict[int, str]:
    """Ray's processes below this one."""
    return {
        pid: line
        for pid, line in descendants(os.getpid()).items()
        if "ray::" in line or "raylet" in line or "gcs_server" in line
    }
