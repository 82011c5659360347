"""Who may ask: names, origins, proxies, tokens, and how often a token may be guessed."""

from __future__ import annotations

import socket

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from clipsearch.errors import InvalidInputError
from clipsearch.server import ServerSettings, buckets, door
from clipsearch.server.buckets import Buckets
from clipsearch.server.guard import add_guard
from clipsearch.server.proxies import checked_proxies, client_network
from tests.ui_support import served

from .conftest import TOKEN

RIGHT = {"Authorization": f"Bearer {TOKEN}"}
WRONG = {"Authorization": "Bearer a-wrong-guess"}
PAGE = {"Accept": "text/html"}


async def echo(request):
    body = await request.body()
    return JSONResponse(
        {
            "client": request.client.host,
            "scheme": request.url.scheme,
            "headers": sorted(set(request.headers)),
            "size": len(body),
        }
    )


def guarded(**settings):
    app = Starlette(routes=[Route("/{path:path}", echo, methods=["GET", "POST"])])
    add_guard(app, ServerSettings(**settings))
    return served(app)


@pytest.fixture(scope="module")
def local():
    with guarded(allowed_hosts=("localhost", "127.0.0.1", "::1")) as url:
        yield url


@pytest.fixture
def locked():
    with guarded(tokens=(TOKEN,), proxies=("127.0.0.0/8",)) as url:
        yield url


def status(url, *headers, method="GET", version="1.1"):
    """The status of a request with just these headers."""
    port = int(url.rsplit(":", 1)[1])
    lines = [
        f"{method} / HTTP/{version}",
        *(header.replace("PORT", str(port)) for header in headers),
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        return int(sock.recv(65536).split()[1])


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost:PORT", "LOCALHOST", "[::1]:1", "[0:0::1]"]
)
def test_a_server_answers_under_its_names(local, host):
    assert status(local, f"Host: {host}") == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "localhost.evil.example",
        "localhost.",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0.0.0.0",
        "u@localhost",
        "u:p@localhost",
        "evil.example@localhost",
        "localhost@evil.example",
        "localhost#",
        "localhost#.evil.example",
        "localhost?x",
        "localhost/x",
        "localhost\\x",
        "localhost:",
        "localhost:0",
        "localhost:080",
        "localhost:65536",
        "localhost:99999999999",
        "localhost:8o",
        "localhost:80:80",
        "localhost, evil.example",
        "localhost evil.example",
        "http://localhost",
        "//localhost",
        "[::1",
        "::1",
        "[::1]x",
        "[::1%25lo]",
        "[::ffff:127.0.0.1]",
        "[localhost]",
        "%6cocalhost",
        "loc\u0430lhost".encode().decode("latin-1"),
    ],
)
def test_a_server_answers_under_no_other_name(local, host):
    assert status(local, f"Host: {host}") == 421


def test_what_is_said_twice_is_refused(local):
    for name, value in (
        ("Host", "localhost"),
        ("Origin", "http://localhost"),
        ("Authorization", "Bearer x"),
        ("Content-Type", "application/json"),
        ("Sec-Fetch-Site", "none"),
    ):
        first = () if name == "Host" else ("Host: localhost",)
        assert status(local, *first, f"{name}: {value}", f"{name}: {value}") == 400, name
    assert status(local) == 421  # without any Host
    assert status(local, version="1.0") == 421
    with guarded() as public:
        assert status(public) == 421
        assert status(public, "Host: u@any.example") == 421
        assert status(public, "Host: any.example") == 200
        assert status(public, version="1.0") == 200


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:PORT", True),
        ("HTTP://LOCALHOST:PORT", True),
        ("null", False),
        ("", False),
        ("http://localhost", False),
        ("http://localhost:1", False),
        ("https://localhost:PORT", False),
        ("http://127.0.0.1:PORT", False),
        ("http://localhost.:PORT", False),
        ("http://u@localhost:PORT", False),
        ("http://localhost:PORT/", False),
        ("http://localhost:PORT#", False),
        ("file://", False),
        ("chrome-extension://localhost:PORT", False),
        ("http://evil.example", False),
    ],
)
def test_pages_of_other_sites_may_not_call(local, origin, allowed):
    for method in ("GET", "POST"):
        found = status(local, "Host: localhost:PORT", f"Origin: {origin}", method=method)
        assert found == (200 if allowed else 403)


def test_an_origin_leaves_out_the_port_that_goes_without_saying():
    with guarded(proxies=("127.0.0.1",)) as url:
        for proto, origin, found in (
            ("https", "https://photos.example", 200),
            ("https", "https://photos.example:443", 200),
            ("https", "http://photos.example", 403),
            ("http", "http://photos.example:80", 200),
        ):
            said = ("Host: photos.example", f"X-Forwarded-Proto: {proto}", f"Origin: {origin}")
            assert status(url, *said, method="POST") == found


@pytest.mark.parametrize(
    ("site", "mode", "method", "allowed"),
    [
        ("same-origin", "cors", "POST", True),
        ("none", "navigate", "GET", True),
        ("cross-site", "navigate", "GET", True),  # a link
        ("cross-site", "navigate", "POST", False),  # a form
        ("cross-site", "no-cors", "GET", False),  # an image
        ("same-site", "no-cors", "GET", False),  # another port
    ],
)
def test_what_browsers_say_of_a_request_is_believed(local, site, mode, method, allowed):
    headers = ("Host: localhost", f"Sec-Fetch-Site: {site}", f"Sec-Fetch-Mode: {mode}")
    assert status(local, *headers, method=method) == (200 if allowed else 403)


CLAIMS = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Prefix": "/evil",
    "X-Real-IP": "203.0.113.9",
    "X-Gradio-Server": "http://evil.example",
    "Forwarded": "for=203.0.113.9;proto=https;host=evil.example",
}


def test_only_proxies_that_were_named_are_believed():
    for proxies, client, scheme in (
        ((), "127.0.0.1", "http"),
        (("10.0.0.0/8",), "127.0.0.1", "http"),
        (("127.0.0.1",), "203.0.113.9", "https"),
    ):
        with guarded(proxies=proxies) as url:
            told = httpx.get(url, headers=CLAIMS).json()
            assert (told["client"], told["scheme"]) == (client, scheme)
            assert not {name.lower() for name in CLAIMS} & set(told["headers"])
    with guarded(proxies=("127.0.0.1", "10.0.0.0/8")) as url:
        for said, client in (
            ("198.51.100.1, 203.0.113.9, 10.1.1.1", "203.0.113.9"),  # the first may be made up
            ("10.1.1.1", "10.1.1.1"),
            ("203.0.113.9:4711", "203.0.113.9"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("203.0.113.9, unknown", "127.0.0.1"),
            ("", "127.0.0.1"),
        ):
            answer = httpx.get(
                url, headers={"X-Forwarded-For": said, "X-Forwarded-Proto": "gopher"}
            )
            assert (answer.json()["client"], answer.json()["scheme"]) == (client, "http"), said
    with pytest.raises(InvalidInputError, match="--proxy all"):
        checked_proxies(["10.0.0.1", "all"])


def test_wrong_tokens_are_braked_for_the_address_they_come_from(locked):
    with httpx.Client(base_url=locked) as client:
        found = [client.get("/", headers=WRONG).status_code for _ in range(40)]
        assert found == [401] * 10 + [429] * 30
        braked = client.get("/", headers=RIGHT)
        assert braked.status_code == 429
        assert braked.json()["code"] == "too_many_guesses"
        assert int(braked.headers["Retry-After"]) >= 1
        form = client.post("/login", data={"token": TOKEN})
        assert form.status_code == 429
        assert int(form.headers["Retry-After"]) >= 1
        elsewhere = {"X-Forwarded-For": "203.0.113.9"}
        assert client.get("/", headers={**RIGHT, **elsewhere}).status_code == 200


def test_wrong_tokens_of_many_addresses_lock_out_no_right_one(locked):
    with httpx.Client(base_url=locked) as client:

        def guess(number, headers):
            at = {"X-Forwarded-For": f"198.51.{number // 200}.{number % 200}"}
            return client.get("/", headers={**headers, **at}).status_code

        found = [guess(n % 60, WRONG) for n in range(240)]
        assert found.count(401) < 140
        assert found[-60:].count(429) > 50
        assert guess(9999, RIGHT) == 200
        networks = [f"2001:db8::{n:x}" for n in range(11)]  # of one client
        found = [
            client.get("/", headers={**WRONG, "X-Forwarded-For": at}).status_code for at in networks
        ]
        assert found[-1] == 429


def test_the_brake_forgets_the_quietest_client_and_refills(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(buckets.time, "monotonic", lambda: now)
    brake = Buckets(1 / 6, 10)
    for number in range(20_000):
        assert brake.take(str(number)) == 0
    assert len(brake._buckets) == 10_000
    assert brake.is_full("1")
    for _ in range(9):
        assert brake.take("19999") == 0
    assert brake.take("19999") > 0
    now += 60
    assert brake.is_full("19999")
    assert client_network("::ffff:10.0.0.1") == client_network("10.0.0.1")


def test_a_browser_signs_in_by_a_form_and_its_session_ends(locked, monkeypatch):
    with httpx.Client(base_url=locked) as client:
        page = client.get("/", headers=PAGE)
        assert page.status_code == 401
        assert 'method="post"' in page.text
        assert page.headers["referrer-policy"] == "same-origin"  # or forms come with Origin: null
        wrong = client.post("/login", data={"token": "<b>wrong"})
        assert (wrong.status_code, "<b>" in wrong.text) == (401, False)
        assert client.post("/login", content=b"x" * 10_000).status_code == 413
        assert client.get("/login", params={"token": TOKEN}, headers=PAGE).status_code == 401
        evil = {"Origin": "http://evil.example"}
        assert client.post("/login", data={"token": TOKEN}, headers=evil).status_code == 403
        answer = client.post("/login", data={"token": TOKEN}, headers={"Origin": locked})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        for part in ("HttpOnly", "SameSite=strict", "Max-Age=604800"):
            assert part in cookie
        assert "Secure" not in cookie
        assert TOKEN not in cookie
        client.cookies.clear()
        by_link = client.get("/", params={"token": TOKEN}, headers=PAGE)
        assert (by_link.status_code, by_link.headers["location"]) == (303, "/")
        tls = {"X-Forwarded-Proto": "https", "Origin": locked.replace("http", "https")}
        assert (
            "; Secure"
            in client.post("/login", data={"token": TOKEN}, headers=tls).headers["set-cookie"]
        )
        client.cookies.clear()
        value = cookie.split(";")[0]
        session = {"Cookie": value}
        assert client.get("/", headers=session).status_code == 200
        who, until, signed = value.partition("=")[2].split(".")
        for forged in (
            f"{who}.{int(until) + 1}.{signed}",
            f"1.{until}.{signed}",
            "0.9",
            "é",
            "x" * 999,
        ):
            bad = {"Cookie": f"clipsearch_session={forged}".encode()}
            assert client.get("/", headers=bad).status_code == 401
        monkeypatch.setattr(door.time, "time", lambda: int(until) + 1)
        assert client.get("/", headers=session).status_code == 401
        assert client.get("/", headers=RIGHT).status_code == 200  # old sessions are no guesses


def test_all_bodies_together_have_a_limit():
    with guarded(max_held_bytes=150_000) as url:
        port = int(url.rsplit(":", 1)[1])
        head = f"POST / HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 100000\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=60) as first:
            first.sendall(head.encode() + b"x" * 99_999)
            for _ in range(3):
                answer = httpx.post(url, content=b"x" * 100_000)
                assert answer.status_code == 503
                assert answer.headers["Retry-After"]
            first.sendall(b"x")
            assert b'"size":100000' in first.recv(65536)
        assert httpx.post(url, content=b"x" * 100_000).json()["size"] == 100_000
