"""A real server in a process of its own, over an index of real photos."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path

import httpx
import pytest

from clipsearch import Index

TOKEN = "a-token-for-the-tests-0123456789"


@dataclass
class Service:
    url: str
    process: subprocess.Popen
    home: Path
    log: list[str]
    http: httpx.Client  # without cookies of its own; making one for every request is slow

    def get(self, path, **options):
        return self.http.get(self.url + path, **options)

    def post(self, path, **options):
        return self.http.post(self.url + path, **options)


@contextmanager
def serving(home: Path, *arguments: str, token: str = "", stop_s: float = 40):
    """Start `clipsearch serve` on a free port; stop it gracefully and check that it did."""
    environment = {
        **os.environ,
        "CLIPSEARCH_INDEXES": str(home),
        "CLIPSEARCH_CACHE": str(home.parent / "cache"),
        "CLIPSEARCH_TOKEN": token,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "clipsearch", "serve", "--port", "0", "--device", "cpu", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    log: list[str] = []
    url = ""
    for line in process.stderr:
        log.append(line)
        if " at http" in line:
            url = line.rsplit(" ", 1)[1].strip()
            break
    assert url, "".join(log)
    reader = threading.Thread(target=lambda: log.extend(process.stderr), daemon=True)
    reader.start()
    try:
        with httpx.Client(timeout=60, verify=False) as http:
            http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            yield Service(url, process, home, log, http)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(stop_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        reader.join(5)
        process.stderr.close()
    assert "Traceback" not in "".join(log), "".join(log)


@pytest.fixture(scope="session")
def home(tmp_path_factory, encoder, photos) -> Path:
    """A home of indexes with one index of the photos, kept under a folder of their own."""
    import shutil

    base = tmp_path_factory.mktemp("service")
    folder = base / "pictures"
    folder.mkdir()
    for photo in photos:
        shutil.copy(photo, folder / photo.name)
    with Index.create(base / "indexes" / "photos", encoder) as index:
        index.add(folder)
    return base / "indexes"


@pytest.fixture(scope="session")
def service(home):
    with serving(home, "-i", "photos", "--no-ui") as running:
        yield running
