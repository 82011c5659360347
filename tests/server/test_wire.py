"""Bytes that no honest client sends, and clients that are slow: no memory and no time for them."""

from __future__ import annotations

import contextlib
import importlib
import re
import socket
import threading

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from clipsearch.cluster.connection import PROXY_LIMITS
from clipsearch.server import wire
from tests.raycluster import wait_for
from tests.ui_support import served

HOST = b"Host: a\r\n"
POST = b"POST / HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
WAIT_S = 60  # never reached: what is waited for takes a second or two
sending: set[int] = set()  # requests whose answer is being sent


async def echo(request):
    body = await request.body()
    return JSONResponse([request.method, request.url.path, len(body), dict(request.headers)])


async def big(request):
    async def parts():
        sending.add(1)
        try:
            for _ in range(1000):
                yield b"x" * 65536
        finally:
            sending.clear()

    if request.url.path == "/whole":
        return Response(b"x" * 32 * 1024**2)
    return StreamingResponse(parts())


async def unread(request):
    return PlainTextResponse("no")


@pytest.fixture(scope="module")
def port():
    routes = [Route("/big", big), Route("/whole", big), Route("/unread", unread, methods=["POST"])]
    routes.append(Route("/{path:path}", echo, methods=["GET", "POST", "OPTIONS"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "HEAD_S", 1.0)
        patch.setattr(wire, "SEND_S", 1.0)
        patch.setattr(wire, "MAX_CONNECTIONS", 30)
        patch.setattr(wire, "MAX_OF_ADDRESS", 24)
        with served(Starlette(routes=routes)) as url:
            yield int(url.rsplit(":", 1)[1])


def connected(port):
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)


def answers(port, data):
    """Everything that comes back for bytes and then the end of them."""
    with connected(port) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return everything(sock)


def everything(sock):
    found = b""
    try:
        while part := sock.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


def statuses(answer):
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


@pytest.mark.parametrize(
    "data",
    [
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        POST + b"Content-Length: 5, 5\r\n\r\nhello",
        POST + b"Content-Length: +5\r\n\r\nhello",
        POST + b"Content-Length: -5\r\n\r\nhello",
        POST + b"Content-Length: 0x5\r\n\r\nhello",
        POST + b"Content-Length: 99999999999999999999999\r\n\r\nhello",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"X-A: b\r\n c\r\n\r\n",
        b"GET / HTTP/1.1\r\n X-A: b\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        POST + b"X-A: b\rc\r\n\r\n",
        POST + b"X-A: b\0c\r\n\r\n",
        POST + b"X\0A: b\r\n\r\n",
        POST + b"X-A: b\x01c\r\n\r\n",
        POST + b"X-A : b\r\n\r\n",
        POST + b"X-A\r\n\r\n",
        POST + b": b\r\n\r\n",
        b"GET http://other/x HTTP/1.1\r\n" + HOST + b"\r\n",
        b"CONNECT other:80 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /x#y HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"5\nhello\n0\n\n",
        CHUNKED + b"5;\nxx\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"5\r\nhelloXX0\r\n\r\n",
        CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    ],
    ids=repr,
)
def test_what_two_readers_could_read_in_two_ways_is_refused(port, data):
    answer = answers(port, data + b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n")
    assert statuses(answer) == [400], answer
    assert b"application/problem+json" in answer
    assert b"smuggled" not in answer


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + HOST + b"a:\r\n" * 100 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"a:" + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + HOST + (b"a:" + b"x" * 7000 + b"\r\n") * 10 + b"\r\n", 431),
    ],
    ids=range(4),
)
def test_heads_that_are_too_large_are_refused(port, data, status):
    assert statuses(answers(port, data)) == [status]
    smaller = data.replace(b"x" * 2000, b"").replace(b"a:\r\n" * 9, b"")
    assert statuses(answers(port, smaller)) == [200]


@pytest.mark.parametrize(
    ("head", "unit"),
    [
        (POST + b"X: ", b"x" * 65536),
        (b"GET /", b"x" * 65536),
        (POST, b"ab: c\r\n" * 9000),
        (b"", b"\r\n" * 30_000),
        (b"G", b"E" * 65536),
        (b"GET / HTTP/1.", b"1" * 65536),
        (CHUNKED + b"5;", b"x" * 65536),
        (CHUNKED + b"0\r\n", b"ab: c\r\n" * 9000),
        (CHUNKED, (b"0" * 100 + b"1\r\nx\r\n") * 600),
        (b"", b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n" * 2000),
        (POST.replace(b"/ ", b"/unread ") + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=range(11),
)
def test_what_has_no_end_is_cut(port, head, unit):
    """After a few megabytes at most, which is what the buffers of the two sockets hold."""
    with connected(port) as sock:
        sent = 0
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            sock.sendall(head)
            while sent < 100 * 1024**2:
                sock.sendall(unit)
                sent += len(unit)
        assert sent < 20 * 1024**2


def test_those_that_never_finish_their_head_are_dropped_and_others_answered(port):
    halves = [b"", b"G", b"GET / HTTP/1.1\r\n", POST + b"X-A: b", b"\r\n", POST + b"Content-Le"]
    open_ones = [connected(port) for _ in halves * 2]
    for sock, half in zip(open_ones, halves * 2, strict=True):
        sock.sendall(half)
    assert statuses(answers(port, b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")) == [200]
    for sock, half in zip(open_ones, halves * 2, strict=True):
        with sock:
            assert statuses(everything(sock)) == ([408] if half else [])


def test_a_head_that_comes_a_byte_at_a_time_on_a_used_connection_is_dropped(port):
    with connected(port) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        assert sock.recv(10)
        sock.sendall(b"GET /")
        stop = threading.Event()

        def drip():
            while not stop.wait(0.1):
                try:
                    sock.sendall(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert statuses(b"HTTP/1.1 " + everything(sock).partition(b"HTTP/1.1 ")[2]) == [408]
        finally:
            stop.set()
            thread.join()


def test_connections_that_wait_make_room_for_requests(port):
    waiting = [connected(port) for _ in range(60)]
    try:
        for _ in range(3):
            assert statuses(answers(port, b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")) == [200]
    finally:
        for sock in waiting:
            sock.close()


@pytest.mark.parametrize("path", [b"/big", b"/whole"])
def test_who_does_not_read_the_answer_is_dropped(port, path):
    with connected(port) as sock:
        sock.sendall(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
        if path == b"/big":
            wait_for(lambda: sending, what="the answer to begin")
            wait_for(lambda: not sending, what="the answer to be given up")
        else:
            assert sock.recv(10)
            threading.Event().wait(3.5)
        assert len(everything(sock)) < 20 * 1024**2


def test_trailers_are_no_headers_of_this_request_or_the_next(port):
    trailers = b"0\r\nAuthorization: b\r\nX-Trailer: c\r\n\r\n"
    with connected(port) as sock:
        sock.sendall(CHUNKED + trailers + b"GET /next HTTP/1.1\r\nConnection: close\r\n\r\n")
        answer = everything(sock)
    assert statuses(answer) == [200, 200]
    assert b'["GET","/next",0,{"connection":"close"}]' in answer
    assert b"trailer" not in answer
    assert b"authorization" not in answer


def test_honest_requests_are_answered(port):
    get = b"GET / HTTP/1.1\r\n" + HOST
    chunks = CHUNKED + b'5;a=b;c="d"\r\nhello\r\n0\r\n\r\n'
    assert b'["POST","/",5' in answers(port, chunks)
    assert b'["POST","/",20000' in answers(port, CHUNKED + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n")
    with connected(port) as sock:
        sock.sendall((get + b"\r\n") * 9 + get + b"Connection: close\r\n\r\n")
        assert statuses(everything(sock)) == [200] * 10
    upgrade = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
    assert statuses(answers(port, get + upgrade + b"\r\n")) == [200]  # as some HTTP clients ask
    body = POST + upgrade + b"Content-Length: 5\r\n\r\nhello"
    assert statuses(answers(port, body)) == [400]  # rather than without its body
    assert statuses(answers(port, get.replace(b"1.1", b"1.0") + b"\r\n")) == [200]


def test_proxies_of_ray_serve_keep_to_the_same(monkeypatch):
    monkeypatch.setattr(uvicorn.config, "HTTP_PROTOCOLS", dict(uvicorn.config.HTTP_PROTOCOLS))
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.1")
    name, _, function = PROXY_LIMITS[1].partition(":")
    assert getattr(importlib.import_module(name), function)() == []
    config = uvicorn.Config("starlette.applications:Starlette", factory=True)
    config.load()
    assert config.http_protocol_class is wire.BoundedProtocol
    assert config.forwarded_allow_ips == ""
