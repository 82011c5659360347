"""A page served in a thread of its own, for the tests of the front end."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import uvicorn

from clipsearch.server.process import configuration


@contextlib.contextmanager
def served(app, *, port: int = 0, timeout_s: float = 60):
    """Serve an application on a port of this machine, a free one by default; gives its address."""
    if not port:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
    config = configuration(app)
    config.port = port
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + timeout_s
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.started
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


@contextlib.contextmanager
def prefixed(url, prefix):
    """A proxy that serves what is at an address below a path; gives the address of the proxy."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            if not self.path.startswith(f"{prefix}/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = {"headers": dict(self.headers), "content": body, "timeout": None}
            target = url + self.path.removeprefix(prefix)
            with httpx.stream(self.command, target, **asked) as found:
                self.send_response(found.status_code)
                for name, value in found.headers.multi_items():
                    if name not in ("transfer-encoding", "content-length", "connection"):
                        self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()
                with contextlib.suppress(OSError, httpx.HTTPError):
                    for part in found.iter_raw():
                        self.wfile.write(part)

        do_GET = do_POST = answer  # noqa: N815 - names of http.server

        def log_message(self, *args):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def chromium() -> str | None:
    """Debian's Chromium, or another one that is there."""
    for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"):
        if Path(path).exists():
            return path
    return None


FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


QUERY = "#cs-query textarea, #cs-query input"


def search(page, text):
    """Type and press Enter, and wait for that gallery."""
    page.wait_for_selector(".cs-card")
    page.fill(QUERY, text)
    page.keyboard.press("Enter")
    page.wait_for_function(
        "text => new URLSearchParams(document.querySelector('.cs-justified')?.dataset.link ?? '')"
        ".get('q') === text",
        arg=text,
    )


def more_options(page):
    """Open the section of the panel that has the filter expression."""
    section = page.locator("[data-section=options]")
    section.evaluate("one => one.open || one.querySelector('summary').click()")


def names(page):
    """What the gallery shows, in order."""
    return page.locator("#cs-gallery .cs-name").all_text_contents()


def photo(photos, name):
    """The path of a demo photo."""
    return str(next(path for path in photos if path.name == name))
