"""Hostile requests: no 5xx, no hang, no path in any answer, and the next good one is right."""

from __future__ import annotations

import base64
import io
import json
import shutil
import socket
import struct
import time
import zlib
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image

from clipsearch import Index
from clipsearch.ingest import ROOTS
from clipsearch.server import ServerSettings, create_app
from tests.ui_support import served

from ..fakes import record
from ..raycluster import wait_for
from .conftest import TOKEN, serving

SEARCH = "/v1/indexes/photos/search"
IN_FILE, IN_ENVIRONMENT = "b" * 20, "c" * 20
EVIL = [
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data/",
    "http://localhost:1/",
    "\\\\host\\share",
    "../../../../etc/passwd",
    "'; DROP TABLE items; --",
    "{{7*7}}${7*7}%s%n",
    "A" * 2000,
    "\u202e\U0001f600 ﷽",
]


def png(width=32, height=32):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, "PNG")
    return buffer.getvalue()


def bomb(side=60_000):
    """A PNG of a few KB that claims 3.6 gigapixels."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1_000_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture
def checked(service, home):
    """Check an answer; afterwards a good request must be answered rightly."""
    folder = str(home.parent)

    def check(answer, *statuses):
        assert answer.status_code < 500, answer.text
        if statuses:
            assert answer.status_code in statuses, answer.text
        assert folder not in answer.text
        assert "/work/" not in answer.text
        assert "Traceback" not in answer.text
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            problem = answer.json()
            assert problem["status"] == answer.status_code
            assert problem["code"]
        return answer

    yield check
    good = service.post(SEARCH, json={"text": "a cat", "k": 1})
    assert good.status_code == 200
    assert len(good.json()["hits"]) == 1


@pytest.mark.parametrize("text", EVIL)
def test_evil_texts_are_only_texts(service, checked, text):
    checked(service.post(SEARCH, json={"text": text, "add": [text], "subtract": ["x"]}), 200)
    checked(service.post(SEARCH, json={"text": "x", "where": text}), 422)
    checked(service.post(SEARCH, json={"text": "x", "where": f"caption = '{text}'"}))
    checked(service.post("/v1/embed", json={"texts": [text]}), 200)
    files = [("images", ("../../x.png", png()))]
    checked(service.post("/v1/classify", files=files, data={"labels": [text, "cat"]}), 200, 422)
    checked(service.post("/v1/classify", files=files, data={"labels": "cat", "template": text}))


@pytest.mark.parametrize(
    "path",
    [
        "/v1/indexes/..%2f..%2fetc/search",
        "/v1/indexes/%2e%2e/items/1",
        "/v1/indexes/photos/items/..%2f..%2f..%2fetc%2fpasswd/image",
        "/v1/indexes/photos/items/1%00/image",
        "/v1/indexes/photos/items/-1/image",
        "/v1/indexes/photos/items/99999999999999999999999/image",
        "/v1/indexes/photos/items/1e9/thumbnail",
        "/v1/indexes/%00/items/1",
        "//etc/passwd",
        "/..%2f..%2fetc/passwd",
    ],
)
def test_traversal_leads_nowhere(service, checked, path):
    checked(service.get(path), 404, 405, 422)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b'{"text": NaN}',
        b'{"text": "x", "min_score": NaN}',
        b'{"text": "x", "min_score": Infinity}',
        b'{"text": "x", "k": 1e400}',
        b'{"text": "x", "k": 0}',
        b'{"text": "x", "k": 1000000}',
        b'{"text": "x", "k": ' + b"9" * 5000 + b"}",
        b'{"text": "\\u0000"}',
        b'{"text": "\\ud800"}',
        b'{"text": "   "}',
        b'{"text": "x", "where": "\\ud800"}',
        b'{"text": "x", "unknown": 1}',
        b'{"text": "\xff\xfe"}',
        b'{"terms": [{"vector": [1, 2, 3]}]}',
        b'{"terms": [{"vector": []}]}',
        b'{"terms": [{"vector": [1e308, 1e308]}]}',
        b'{"terms": [{"text": "x", "item": 1}]}',
        b'{"terms": [{"text": "x", "weight": 0}]}',
        b'{"add": ["x"], "subtract": ["x"]}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        json.dumps({"text": "x", "add": ["y"] * 1000}).encode(),
        json.dumps({"text": "x", "where": "(" * 3000 + "id = 1" + ")" * 900}).encode(),
        json.dumps({"text": "x", "where": " or ".join(["id = 1"] * 390)}).encode(),
    ],
    ids=lambda body: repr(body[:30]),
)
def test_bad_bodies_are_refused(service, checked, body):
    headers = {"Content-Type": "application/json"}
    answer = checked(service.post(SEARCH, content=body, headers=headers))
    if b" or id" not in body:
        assert answer.status_code in (400, 404, 422)


@pytest.mark.parametrize(
    "where",
    [
        "path like '/%'",
        "key = 'x'",
        "not (id > 1 and PATH is null)",
        "name like 'a%'",
        "path in ('/etc/passwd')",
        "\"path\" = 'x'",
        "path between 'a' and 'b'",
    ],
)
def test_paths_cannot_be_asked_about(service, checked, where):
    checked(service.post(SEARCH, json={"text": "x", "where": where}), 422)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/plain", b'{"text": "x"}'),
        ("application/xml", b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>"),
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n\r\n--x--\r\n"),
        ("multipart/form-data; boundary=" + "y" * 5000, b"--y"),
        (
            "multipart/form-data; boundary=x; charset=nonsense",
            b'--x\r\nContent-Disposition: form-data; name="labels"\r\n\r\ncat\r\n--x--\r\n',
        ),
        ("", b"\0\1\2"),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nX: " + b"y" * 4_000_000 + b"\r\n\r\n\r\n--x--\r\n",
        ),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\n" + b"a: b\r\n" * 500_000 + b"\r\n\r\n--x--\r\n",
        ),
    ],
    ids=range(10),
)
def test_wrong_content_types_and_broken_multipart(service, checked, kind, body):
    for path in (SEARCH, "/v1/classify", SEARCH + "/image", "/v1/embed/image"):
        answer = service.post(path, content=body, headers={"Content-Type": kind})
        checked(answer, 400, 415, 422)


def test_bad_images_are_refused(service, checked):
    for bad in (b"", b"no image", bomb(), png()[:40], b"GIF89a" + b"\0" * 50, b"%!PS-Adobe"):
        checked(service.post("/v1/embed/image", files=[("images", ("a", bad))]), 422)
        checked(service.post(SEARCH + "/image", files={"image": ("a", bad)}), 422)
        files = [("images", ("a", png())), ("images", ("b", bad))]
        checked(service.post("/v1/classify", files=files, data={"labels": "cat"}), 422)


def test_limits_of_number_and_length(service, checked):
    image = ("images", ("a", png()))
    thousand = {"labels": [f"label {n}" for n in range(1000)]}
    checked(service.post("/v1/classify", files=[image], data=thousand), 400, 413, 422)
    checked(service.post("/v1/classify", files=[image], data={"labels": "x" * 5000}), 413, 422)
    many = {"labels": [f"label {n}" for n in range(200)], "template": "openai"}
    checked(service.post("/v1/classify", files=[image], data=many), 422)
    checked(service.post("/v1/classify", files=[image] * 33, data={"labels": "x"}), 413)
    checked(service.post("/v1/classify", files=[image], data={"labels": "x", "k": "0"}), 422)
    checked(service.post("/v1/classify", files=[image], data={"labels": ["x", "x"]}), 422)
    checked(service.post("/v1/classify", files=[image]), 422)
    nan = {"labels": "x", "threshold": "nan"}
    checked(service.post("/v1/classify", files=[image], data=nan), 422)
    pack = [image, ("pack", ("p.clip", b"\x80\x04pickle"))]
    checked(service.post("/v1/classify", files=pack), 422)
    checked(service.post("/v1/embed", json={"texts": ["x"] * 1000}), 422)
    checked(service.post("/v1/embed", json={"texts": ["x" * 3000]}), 422)
    checked(service.get("/v1/indexes/photos/items/1" + "?x=" + "y" * 20_000), 200, 404)


def raw(service, data, *, wait=20.0):
    """Send bytes as they are; the answer's first line, with the seconds it took."""
    host, port = service.url.removeprefix("http://").split(":")
    started = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=wait) as sock:
        sock.sendall(data)
        answer = sock.recv(65536).decode("latin-1")
    return answer.split("\r\n")[0], time.monotonic() - started


def test_a_claimed_2_gb_body_is_refused_unread(service, checked):
    head = (
        f"POST {SEARCH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {2 * 1024**3}\r\n\r\n"
    )
    line, seconds = raw(service, head.encode())
    assert " 413 " in line
    assert seconds < 2


def test_a_streamed_body_without_length_is_cut(service, checked):
    def endless():
        for _ in range(80):
            yield b"x" * 1024**2

    try:
        answer = httpx.post(
            service.url + SEARCH, content=endless(), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 413
    except httpx.TransportError:
        pass  # cut while we were still sending, which is the point


def test_nonsense_instead_of_http(service, checked):
    for data in (b"\x16\x03\x01\x02\x00\x01\x00" + b"\0" * 50 + b"\r\n\r\n", b"GET\r\n\r\n"):
        line, _ = raw(service, data)
        assert line == "" or " 400 " in line
    head = f"POST {SEARCH} HTTP/1.1\r\nHost: [::\r\nContent-Length: 0\r\n\r\n"
    assert " 421 " in raw(service, head.encode())[0]


def test_slow_bodies_time_out(home, encoder):
    """With a short limit, in this process: the default is half a minute."""
    import asyncio

    from clipsearch.server import ServerSettings
    from clipsearch.server.guard import GuardMiddleware
    from clipsearch.server.telemetry import Telemetry

    sent = []

    async def receive():
        await asyncio.sleep(10)

    async def send(message):
        sent.append(message)

    async def never(scope, receive, send):
        raise AssertionError

    middleware = GuardMiddleware(never, ServerSettings(body_timeout_s=0.05), Telemetry())
    scope = {"type": "http", "headers": [], "path": "/", "method": "POST", "state": {}}
    asyncio.run(middleware(scope, receive, send))
    assert sent[0]["status"] == 408


def test_pictures_are_served_only_unchanged_and_below_an_indexed_folder(tmp_path, encoder, photos):
    folder, other = tmp_path / "pictures", tmp_path / "other"
    for path in (folder / "best", other):
        path.mkdir(parents=True)
    for photo in photos[:4]:
        shutil.copy(photo, folder / photo.name)
    kept, swapped, changed, gone = sorted(folder.glob("*.*"))
    outside, elsewhere = tmp_path / "outside.png", other / "elsewhere.png"
    Image.new("RGB", (40, 30), "green").save(outside)
    Image.new("RGB", (50, 30), "blue").save(elsewhere)
    inward, outward = folder / "best" / "inward.png", folder / "best" / "outward.png"
    across = folder / "best" / "across.png"
    inward.symlink_to(kept)
    outward.symlink_to(outside)
    across.symlink_to(elsewhere)
    with Index.create(tmp_path / "indexes" / "own", encoder) as index:
        index.add(folder)
        index.add(other)
        assert index.get_meta(ROOTS) == [str(other), str(folder)]
        ids = {item.path: item.id for item in index.items()}
    outside_too = tmp_path / "same.png"
    shutil.move(swapped, outside_too)  # the very bytes, but elsewhere
    swapped.symlink_to(outside_too)
    changed.write_bytes(b"a secret that is no picture")
    gone.unlink()
    with serving(tmp_path / "indexes", "-i", "own", "--no-ui") as running:
        for path in (swapped, outward, changed, gone):
            answer = running.get(f"/v1/indexes/own/items/{ids[str(path)]}/image")
            assert answer.status_code == 404, path
            assert str(tmp_path) not in answer.text
        for path in (swapped, outward):
            address = f"/v1/indexes/own/items/{ids[str(path)]}/thumbnail"
            assert running.get(address).status_code == 404
        for path in (kept, inward, across, elsewhere):
            answer = running.get(f"/v1/indexes/own/items/{ids[str(path)]}/image")
            assert answer.content == path.read_bytes(), path


# --- who may ask --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(home, tmp_path_factory):
    file = tmp_path_factory.mktemp("tokens") / "tokens.txt"
    file.write_text(f"# of the team\n{IN_FILE}\n\n")
    options = ("--token", TOKEN, "--token-file", str(file), "--rate", "40", "--no-ui")
    with serving(home, "-i", "photos", *options, token=f"{IN_ENVIRONMENT},") as running:
        yield running


def test_a_token_is_needed_for_everything_but_health(guarded):
    for path in ("/v1/indexes", "/metrics", "/docs", "/openapi.json", "/", "/nothing"):
        assert guarded.get(path).status_code == 401
    assert guarded.get("/healthz").status_code == 200
    assert guarded.get("/readyz").status_code == 200
    for wrong in ("Bearer wrong", "Basic " + TOKEN, TOKEN, "Bearer", "Bearer \xff"):
        headers = {"Authorization": wrong.encode("latin-1")}
        assert guarded.get("/v1/indexes", headers=headers).status_code == 401
    for token in (TOKEN, IN_FILE, IN_ENVIRONMENT):
        headers = {"Authorization": f"Bearer {token}"}
        assert guarded.get("/v1/indexes", headers=headers).status_code == 200
    assert TOKEN not in "".join(guarded.log)


def test_browsers_get_a_session_by_the_token(guarded):
    page = {"Accept": "text/html"}
    assert "<form" in guarded.get("/", headers=page).text
    answer = guarded.get(f"/?token={TOKEN}", headers=page)
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"]
    assert "httponly" in cookie.lower()
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie
    session = {"Cookie": cookie.split(";")[0]}
    assert guarded.get("/v1/indexes", headers=session).status_code == 200
    assert guarded.get("/v1/indexes", headers={"Cookie": "clipsearch_session=x"}).is_error
    assert guarded.get("/?token=wrong", headers=page).status_code == 401
    assert guarded.get("/?" + "&".join(["token=wrong"] * 400), headers=page).status_code == 401


def test_too_many_requests_are_told_when_to_return(guarded):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=guarded.url, headers=headers) as client:
        answers = [client.get("/v1/indexes") for _ in range(400)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert int(refused[0].headers["retry-after"]) >= 1
    assert refused[0].json()["code"] == "rate_limited"


def test_another_host_needs_a_token(cli):
    done = cli("serve", "--host", "0.0.0.0", "--no-ui", expect=1)
    assert "--no-auth" in done.stderr
    assert "16 characters" in cli("serve", "--token", "short", expect=1).stderr


def test_a_token_file_without_tokens_opens_no_door(cli, tmp_path):
    file = tmp_path / "tokens.txt"
    file.write_text("# none yet\n")
    assert "no token" in cli("serve", "--token-file", str(file), expect=1).stderr
    missing = cli("serve", "--token-file", str(tmp_path / "missing"), expect=1)
    assert "cannot read tokens" in missing.stderr


def test_too_much_work_and_a_lost_index_are_told(tmp_path, encoder, photos):
    with Index.create(tmp_path / "indexes" / "own", encoder) as index:
        index.add(photos[:3])
    with serving(tmp_path / "indexes", "--max-in-flight", "1", "--no-ui") as running:
        assert running.get("/readyz").json() == {"ready": True}
        address = urlsplit(running.url)
        with socket.create_connection((address.hostname, address.port)) as slow:
            slow.sendall(
                f"POST /v1/embed/text HTTP/1.1\r\nHost: {address.netloc}\r\n"
                "Content-Length: 9\r\nExpect: 100-continue\r\n\r\n".encode()
            )
            assert b" 100 " in slow.recv(100)  # its body is waited for
            refused = running.get("/v1/indexes")
            assert refused.status_code == 503
            assert refused.json()["code"] == "overloaded"
            assert int(refused.headers["retry-after"]) >= 1
            assert running.get("/healthz").status_code == 200
        wait_for(lambda: running.get("/v1/indexes").status_code == 200, what="room for a request")
        shutil.rmtree(tmp_path / "indexes" / "own")
        lost = running.get("/readyz")
        assert (lost.status_code, lost.json()) == (503, {"ready": False})
        assert running.get("/healthz").status_code == 200


def test_what_a_route_does_not_know_is_refused(service, checked):
    picture = {"image": ("a", png())}
    for route, data in (
        (SEARCH + "/image", {"colour": "red"}),
        ("/v1/classify", {"labels": "cat", "topk": "3"}),
        ("/v1/embed/image", {"index": "photos"}),
    ):
        files = picture if route.startswith(SEARCH) else {"images": ("a", png())}
        answer = checked(service.post(route, files=files, data=data), 422)
        assert "unknown field" in answer.json()["detail"]
    twice = [("image", ("a", png())), ("image", ("b", png()))]
    answer = checked(service.post(SEARCH + "/image", files=twice), 422)
    assert "image is given twice" in answer.json()["detail"]
    strict = checked(service.post(SEARCH + "/image", files=picture, data={"min_score": "2"}), 422)
    assert "min_score" in strict.json()["detail"]
    none = service.post(SEARCH + "/image", files=picture, data={"min_score": "1", "hybrid": "1"})
    assert none.json()["hits"] == []


def test_a_bad_image_is_named_by_its_place(service, checked):
    files = [("images", ("a", png())), ("images", ("b", b"no image"))]
    answer = checked(service.post("/v1/embed/image", files=files), 422)
    assert "image 2 of 2" in answer.json()["detail"]


def test_terms_of_all_kinds_count_together(service, checked):
    few = {"text": "a", "add": ["b"] * 20, "subtract": ["c"] * 11}
    checked(service.post(SEARCH, json=few), 200)
    answer = checked(service.post(SEARCH, json={**few, "terms": [{"text": "d"}]}), 422)
    assert "33 terms" in answer.json()["detail"]
    both = {"terms": [{"text": "d", "image": base64.b64encode(png()).decode()}]}
    checked(service.post(SEARCH, json=both), 422)
    checked(service.post(SEARCH, json={"terms": [{"image": "no base64!"}]}), 422)
    checked(service.post(SEARCH, json={"terms": [{"image": "AAAA"}]}), 422)


@pytest.mark.parametrize("wrong", [{}, {"weight": 2}, {"text": "d", "item": 1}, {"text": None}])
def test_a_term_of_no_kind_or_two_is_named_by_its_place(service, checked, wrong):
    answer = checked(service.post(SEARCH, json={"terms": [{"text": "a"}, wrong]}), 422)
    assert answer.json()["detail"].startswith("body.terms.1: ")
    assert "exactly one of text, image, item and vector" in answer.json()["detail"]


def test_a_body_that_is_no_json_is_a_bad_request(service, checked):
    for kind, status, code in (
        ("application/json", 400, "bad_request"),
        ("text/plain", 415, "unsupported_media_type"),
    ):
        for path in (SEARCH, "/v1/embed"):
            answer = service.post(path, content=b"{text: x}", headers={"Content-Type": kind})
            assert checked(answer, status).json()["code"] == code


def test_places_of_files_in_columns_are_not_told(tmp_path, encoder):
    """Neither as a value nor by a filter, in whatever form a table has them."""
    places = {
        "a": "/srv/photos/a.jpg",
        "b": " /srv/photos/a.jpg",
        "c": "C:\\photos\\a.jpg",
        "d": "['/srv/photos/a.jpg']",
        "e": '{"file": "~/photos/a.jpg"}',
        "f": "file:///srv/a.jpg",
    }
    plain = {"url": "https://example.org/a/b.jpg", "price": "5/7", "text": "cats and/or dogs"}
    with Index.create(tmp_path / "indexes" / "places", encoder) as index, index.writer() as writer:
        writer.put(record("x", extra={**places, **plain}), image=encoder.encode_texts(["a cat"])[0])
        writer.put(record("y", extra=dict.fromkeys(places, "free")), image=np.ones(encoder.dim))
    settings = ServerSettings()
    app = create_app(encoder, {"places": tmp_path / "indexes" / "places"}, settings=settings)
    with served(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        document = client.get("/v1/indexes/places").json()
        assert plain.keys() <= document["fields"].keys()
        assert not places.keys() & document["fields"].keys()
        hit = client.post("/v1/indexes/places/search", json={"text": "a cat", "k": 1}).json()
        assert hit["hits"][0]["extra"] == plain
        for name in places:
            body = {"text": "a cat", "where": f"{name} like '%s%'"}
            answer = client.post("/v1/indexes/places/search", json=body)
            assert answer.status_code == 422
            assert "cannot be filtered by" in answer.json()["detail"]
        body = {"text": "a cat", "where": "nonsense = 1"}
        detail = client.post("/v1/indexes/places/search", json=body).json()["detail"]
        assert "url" in detail
        assert "path" not in detail
        # With the page at /, what the API does not know is still answered by the API.
        for method, path, status in (
            ("GET", "/v1/indexes/places/search", 405),
            ("DELETE", "/v1/indexes/places", 405),
            ("POST", "/v1/nothing", 404),
            ("POST", "/healthz", 405),
        ):
            answer = client.request(method, path)
            assert answer.status_code == status, path
            assert answer.headers["Content-Type"] == "application/problem+json"
        assert "GET" in client.delete("/v1/indexes/places").headers["Allow"]
        assert client.get("/openapi.json").json()["components"]["securitySchemes"]


def test_an_operator_may_allow_more_pixels(encoder, home):
    for limit, status in ((100, 422), (10_000, 200)):
        settings = ServerSettings(max_pixels=limit)
        app = create_app(encoder, {"photos": home / "photos"}, settings=settings, ui=False)
        with served(app) as url:
            answer = httpx.post(f"{url}/v1/embed/image", files={"images": ("a", png())}, timeout=60)
            assert answer.status_code == status
