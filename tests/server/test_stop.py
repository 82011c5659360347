"""SIGTERM with work under way, and what a killed server leaves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from clipsearch import Index
from clipsearch.temporary import private_folder
from tests.raycluster import descendants, wait_for

from .conftest import serving

STOP_S = 15  # promised are five, of which a busy machine may make more


def connected(url, request):
    address = urlsplit(url)
    sock = socket.create_connection((address.hostname, address.port), timeout=60)
    sock.sendall(request.replace("\n", "\r\n").replace("HOST", address.netloc).encode())
    return sock


def event(url, name):
    """The number of the page's event that a control with this label starts, and its inputs."""
    config = httpx.get(f"{url}/config", timeout=60).json()
    (control,) = (c["id"] for c in config["components"] if c["props"].get("value") == name)
    return next(d for d in config["dependencies"] if d["targets"][0][0] == control)


@pytest.fixture
def stopping(tmp_path, home, photos, monkeypatch):
    """A server with its page, whose temporary files are below a folder of the test."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    pictures = tmp_path / "pictures"
    for number in range(20):
        (pictures / str(number)).mkdir(parents=True)
        for photo in photos[:15]:
            # Other bytes each time, or they would be encoded once.
            copy = pictures / str(number) / photo.name
            copy.write_bytes(photo.read_bytes() + str(number).encode())
    with serving(home, "-i", "photos", "--root", str(pictures), stop_s=STOP_S) as running:
        yield running


def test_a_stop_ends_pages_uploads_and_indexing_and_leaves_nothing_behind(stopping, home, tmp_path):
    url = stopping.url
    (folder,) = (tmp_path / "tmp").glob("clipsearch-serve-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    streams = [
        connected(url, f"GET /gradio_api/heartbeat/page{n} HTTP/1.1\nHost: HOST\n\n")
        for n in range(3)
    ]
    for stream in streams:
        assert b"200 OK" in stream.recv(1000)
    start = event(url, "Index")
    root = str(tmp_path / "pictures")
    body = {"fn_index": start["id"], "data": ["made", root, ""], "session_hash": "page0"}
    assert httpx.post(f"{url}/gradio_api/run/predict", json=body, timeout=60).status_code == 200
    made = home / "made"
    wait_for(lambda: made.is_dir() and descendants(stopping.process.pid), what="indexing to begin")
    head = "POST /v1/embed/text HTTP/1.1\nHost: HOST\nContent-Length: 1000\n\n{"
    upload = connected(url, head)
    waiting = connected(url, "GET / HT")
    children = descendants(stopping.process.pid)
    stopping.process.send_signal(signal.SIGTERM)
    assert stopping.process.wait(STOP_S) == 0
    assert upload.recv(1000).startswith(b"HTTP/1.1 503")
    for sock in (*streams, upload, waiting):
        sock.close()
    assert not list((tmp_path / "tmp").glob("clipsearch-serve-*"))
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), what="children")
    with Index.open(made) as index:
        assert index.verify(full=True).ok
    # What is left when nothing can be tidied up goes at the next start.
    numbers = (stopping.process.pid, os.getpid())  # the second as in a container, again and again
    left = [tmp_path / "tmp" / f"clipsearch-serve-{number}-left" for number in numbers]
    for folder in left:
        folder.mkdir()
    with private_folder("clipsearch-serve-", root=tmp_path / "tmp", only=True):
        assert not any(folder.exists() for folder in left)


_STUCK = """
import sys, time
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from clipsearch.server import ServerSettings
from clipsearch.server.guard import add_guard
from clipsearch.server.process import listen, own_temporary_files, run

def stuck(request):  # in a thread, which nothing can interrupt
    print("asked", file=sys.stderr, flush=True)
    time.sleep(600)
    return PlainTextResponse("late")

app = Starlette(routes=[Route("/", stuck)])
add_guard(app, ServerSettings())
with own_temporary_files():
    sock = listen("127.0.0.1", 0)
    port = sock.getsockname()[1]
    run(app, sock, ready=lambda: print(port, flush=True))
"""


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_work_that_cannot_be_interrupted_holds_up_no_stop(tmp_path, asked):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", _STUCK],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            port = int(process.stdout.readline())
            with connected(f"http://127.0.0.1:{port}", "GET / HTTP/1.1\nHost: HOST\n\n"):
                assert process.stderr.readline() == "asked\n"
                process.send_signal(asked)
                assert process.wait(STOP_S) == (0 if asked == signal.SIGTERM else 130)
        finally:
            process.kill()
        if asked == signal.SIGTERM:
            assert "Traceback" not in process.stderr.read()
    assert not list(tmp_path.iterdir())
