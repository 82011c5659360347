"""What can be refused without a cluster, and the lightness of the single-machine path."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from clipsearch import InvalidInputError
from clipsearch.cluster import ClusterOptions, ServeOptions
from clipsearch.cluster.connection import connected, of_ray
from clipsearch.cluster.preflight import Capacity, size_workers
from clipsearch.errors import ClusterError, EncoderMismatchError, MissingExtraError


def test_one_machine_does_not_need_ray():
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "import clipsearch.cli, clipsearch.ingest, clipsearch.cluster.index_shards\n"
        "import clipsearch.cluster.index_job\n"
        "import clipsearch.cluster.deployment, clipsearch.cluster.ingress\n"
        "from clipsearch.cluster.connection import connected\n"
        "try:\n"
        "    connected('local').__enter__()\n"
        "except clipsearch.errors.MissingExtraError as exc: print(exc)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'clipsearch[ray]'" in done.stdout


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1"),
        ("no.such.host.invalid:6379", "no Ray cluster answers"),
        ("nonsense", "is no address of a cluster"),
        ("host:notaport", "is no address of a cluster"),
        ("ray://127.0.0.1:10001", "Ray's client"),
    ],
)
def test_an_address_without_a_cluster(cli, photo_folder, address, words):
    pytest.importorskip("ray")
    done = cli("index", photo_folder, "-i", "none", "--ray", address, expect=1)
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    listed = cli("info", "-i", "none", expect=1)
    assert "no index" in listed.stderr  # nothing was made


def test_something_else_listens_at_the_address():
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.close()

        threading.Thread(target=answer, daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ClusterError, match="is no Ray cluster"), connected(address):
            pass
        server.shutdown(socket.SHUT_RDWR)


def test_other_versions(monkeypatch):
    ray = pytest.importorskip("ray")

    def init(**_):
        raise RuntimeError(
            "Version mismatch: The cluster was started with:\n    Ray: 1.0\n    Python: 3.8.1\n"
            "This process on 10.0.0.7 was started with:\n    Ray: 2.60\n    Python: 3.11.7\n"
        )

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ClusterError, match=r"Ray: 1\.0 .* Ray: 2\.60") as caught, connected("auto"):
        pass
    assert "\n" not in str(caught.value)


def test_a_node_that_does_not_start_in_time(monkeypatch):
    """Ray raises a bare `Exception` then."""
    ray = pytest.importorskip("ray")

    def init(**_):
        raise Exception(
            "The current node timed out during startup. This could happen because some of the "
            "raylet failed to startup or the GCS has become overloaded."
        )

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ClusterError, match="did not start in time"), connected("local"):
        pass


def test_errors_of_ray_become_ours():
    text = (
        "The actor died because of an error raised in its creation task, ray::MapWorker()\n"
        "  File x.py\nclipsearch.errors.EncoderMismatchError: the files of m are others\n"
    )
    assert isinstance(of_ray(RuntimeError(text)), EncoderMismatchError)
    assert str(of_ray(RuntimeError(text))) == "the files of m are others"
    inner = MissingExtraError("needs an extra")
    outer = RuntimeError("wrapped")
    outer.cause = inner
    assert of_ray(outer) is inner
    assert isinstance(of_ray(RuntimeError("first\nlast line")), ClusterError)
    assert "last line" in str(of_ray(RuntimeError("first\nlast line")))


def test_workers_are_sized_so_that_a_lost_node_is_no_end():
    two = [Capacity(2, 0), Capacity(2, 0)]
    assert size_workers(two, workers=2, gpus=0)[1].cpus == 1.0  # both fit on one node
    assert size_workers(two, workers=4, gpus=0)[1].cpus == 0.5
    assert size_workers(two, workers=2, gpus=0)[1].threads == 2
    one = size_workers([Capacity(16, 0)], workers=None, gpus=0)
    assert (one[0], one[1].threads) == (4, 4)
    gpus = size_workers([Capacity(16, 8), Capacity(16, 8)], workers=None, gpus=1)
    assert (gpus[0], gpus[1].gpus, gpus[1].threads) == (16, 1, 2)
    assert size_workers([Capacity(8, 1)], workers=None, gpus=0.5)[0] == 2
    with pytest.raises(ClusterError, match="room for 2"):
        size_workers([Capacity(2, 0)], workers=3, gpus=0)
    with pytest.raises(ClusterError, match="room for 1"):
        size_workers([Capacity(8, 1)], workers=2, gpus=1)
    with pytest.raises(ClusterError, match="has no CPUs"):
        size_workers([Capacity(0, 0)], workers=None, gpus=0)


def test_options_that_make_no_sense(cli, photo_folder):
    for bad in ({"workers": 0}, {"gpus_per_worker": -1}):
        with pytest.raises(InvalidInputError):
            ClusterOptions(**bad)
    for bad in ({"replicas": 0}, {"replicas": 3, "max_replicas": 2}, {"timeout_s": 0}):
        with pytest.raises(InvalidInputError):
            ServeOptions(**bad)
    done = cli("index", photo_folder, "--num-workers", 2, expect=1)
    assert "need --ray" in done.stderr


def test_folders_of_killed_local_clusters_are_swept(tmp_path, monkeypatch):
    from clipsearch.cluster import connection

    monkeypatch.setattr(connection, "_TEMP_ROOT", str(tmp_path))
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    old = tmp_path / f"clipsearch-ray-{gone}-abc"
    mine = tmp_path / f"clipsearch-ray-{os.getpid()}-abc"
    old.mkdir()
    mine.mkdir()
    with connection._temp_folder() as folder:
        assert Path(folder).parent == tmp_path
        assert not old.exists()
        assert mine.exists()
    assert not Path(folder).exists()
