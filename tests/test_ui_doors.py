"""What can be had through the page's routes: its own pictures, and nothing else."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import httpx
import pytest
from clipsearch.ui import Library, Settings, create_app

from clipsearch import Index

from .ui_support import served


@pytest.fixture(scope="module")
def site(encoder, photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    pictures = folder / "pictures"
    pictures.mkdir()
    for photo in photos[:4]:
        shutil.copy(photo, pictures / photo.name)
    (folder / "secret.txt").write_text("a secret")
    shutil.copy(photos[5], folder / "secret.png")
    with Index.create(folder / "site", encoder) as index:
        index.add(pictures)
    library = Library([str(folder / "site")], load=lambda name: encoder)
    with served(create_app(Settings(), library=library)) as url:
        yield url, folder
    library.close()


def test_pictures_come_by_id_and_only_as_copies(site):
    url, folder = site
    answer = httpx.get(f"{url}/media/site/1/thumbnail")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.content.startswith(b"\xff\xd8")
    assert answer.headers["cache-control"] == "private, no-cache"
    with Index.open(folder / "site") as index:
        version = (index.item(1).sha256 or "")[:16]
    answer = httpx.get(f"{url}/media/site/1/thumbnail?v={version}")
    assert "immutable" in answer.headers["cache-control"]
    assert httpx.get(f"{url}/media/site/1/thumbnail?v=0123").status_code == 410
    for path in ("/media/site/999/thumbnail", "/media/other/1/thumbnail", "/media/site/1/original"):
        assert httpx.get(url + path).status_code == 404


@pytest.mark.parametrize("name", ["secret.txt", "secret.png", "site/catalog.sqlite"])
@pytest.mark.parametrize(
    "route",
    [
        "/gradio_api/file={path}",
        "/file={path}",
        "/gradio_api/file/{path}",
        "/gradio_api/file=..{path}",
        "/gradio_api/proxy=http://127.0.0.1{path}",
        "/gradio_api/stream/{path}",
        "/static/..%2f..%2f..%2f..{path}",
        "/assets/%2e%2e/%2e%2e/{path}",
        "/custom_component/a/b/c/{path}",
        "/svelte/..{path}",
        "/media/..%2f..{path}/1/thumbnail",
    ],
)
def test_no_route_gives_a_file_of_the_server(site, route, name):
    url, folder = site
    path = folder / name
    answer = httpx.get(url + route.format(path=path))
    assert answer.status_code in (404, 422)
    assert path.read_bytes()[:16] not in answer.content


def test_nothing_can_be_uploaded_to_gradio(site):
    url, _ = site
    answer = httpx.post(f"{url}/gradio_api/upload", files={"files": ("a.png", b"x" * 100)})
    assert answer.status_code == 404


def test_a_file_named_in_an_event_is_not_read(site):
    """Queue data that names a file of the server, in every form that Gradio knows."""
    url, folder = site
    config = httpx.get(f"{url}/config").json()
    secret = {
        "path": str(folder / "secret.txt"),
        "url": f"file://{folder / 'secret.txt'}",
        "meta": {"_type": "gradio.FileData"},
    }
    cache = Path(tempfile.gettempdir()) / "gradio"
    before = set(cache.rglob("secret*")) if cache.is_dir() else set()
    for dependency in config["dependencies"]:
        body = {
            "fn_index": dependency["id"],
            "data": [secret for _ in dependency["inputs"]],
            "event_data": {"name": "x", "data": str(folder / "secret.txt"), "pictures": [secret]},
            "session_hash": "test",
        }
        answer = httpx.post(f"{url}/gradio_api/run/predict", json=body, timeout=30)
        assert b"a secret" not in answer.content, dependency["id"]
        assert "Traceback" not in answer.text
        assert answer.status_code == (400 if dependency["inputs"] else answer.status_code)
    after = set(cache.rglob("secret*")) if cache.is_dir() else set()
    assert after == before, "Gradio copied the file into its cache"


GOOD = {"fn_index": 0, "data": [""], "session_hash": "abc", "event_data": None, "trigger_id": 2}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"1e999",
        b"\xff\xfe{",
        b"[" * 100_000,
        b'{"data":' * 50_000,
        b"{}",
        *(
            json.dumps({**GOOD, **change}).encode()
            for change in (
                {"data": [float("nan")]},
                {"data": ["\ud800"]},
                {"data": None},
                {"data": {}},
                {"data": "x"},
                {"data": []},
                {"data": ["", ""]},
                {"data": [1]},
                {"data": [{}]},
                {"data": [{"path": "/etc/passwd"}]},
                {"data": [{"a": [{"path": "x", "meta": {"_type": "gradio.FileData"}}]}]},
                {"fn_index": -1},
                {"fn_index": 10**6},
                {"fn_index": 10**400},
                {"fn_index": "0"},
                {"fn_index": True},
                {"fn_index": 0.0},
                {"fn_index": None},
                {"session_hash": 1},
                {"session_hash": ""},
                {"session_hash": "../x"},
                {"session_hash": "x" * 65},
                {"session_hash": ["abc"]},
                {"event_data": "x"},
                {"event_data": []},
                {"trigger_id": "x"},
                {"trigger_id": True},
                {"batched": True},
                {"simple_format": True},
            )
        ),
    ],
    ids=lambda body: repr(body[:60]),
)
def test_what_is_no_event_of_the_page_is_refused_in_one_line(site, body, capfd):
    url, _ = site
    answer = httpx.post(f"{url}/gradio_api/run/predict", content=body, timeout=60)
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Traceback" not in capfd.readouterr().err


def test_events_with_nonsense_inside_fail_in_one_line(site, capfd):
    """Every event of the page, with values of every kind and with what no script of it sends."""
    url, _ = site
    config = httpx.get(f"{url}/config").json()
    values = [None, True, -1, 10**30, 1e300, "", "x" * 5000, "\0", [], [[]], {}, {"a": []}]
    odd = [None, -1, 1e300, "x" * 500, []]
    sent = [None, *({"do": do} for do in ("vote", "more", "weight", "picture", "add"))]
    sent += [{"do": "vote", "id": value, "way": value} for value in odd]
    sent += [{"place": value, "id": value, "pictures": value, "value": value} for value in odd]
    events = {}  # one of each kind
    for event in config["dependencies"]:
        if event["backend_fn"]:
            events.setdefault((event["targets"][0][1], len(event["inputs"])), event)
    with httpx.Client(base_url=url, timeout=60) as client:
        for (name, _), event in events.items():
            for n in range(len(sent) if name in ("act", "given", "chosen", "further") else 1):
                body = {
                    "fn_index": event["id"],
                    "data": [values[(n + event["id"]) % len(values)] for _ in event["inputs"]],
                    "event_data": sent[(event["id"] + n) % len(sent)],
                    "session_hash": f"s{event['id']}",
                }
                answer = client.post("/gradio_api/run/predict", json=body)
                assert answer.status_code in (200, 422), (body, answer.text)
        assert client.post("/gradio_api/run/predict", json=GOOD).status_code == 200
    logged = capfd.readouterr().err
    assert "Traceback" not in logged
    assert "xxxx" not in logged


def test_gradios_queue_which_the_page_does_not_use_is_closed(site):
    url, _ = site
    for method, path in (
        ("POST", "/gradio_api/queue/join"),
        ("GET", "/gradio_api/queue/data?session_hash=none"),
        ("POST", "/gradio_api/cancel"),
        ("POST", "/gradio_api/reset"),
        ("GET", "/gradio_api/heartbeat/" + "x" * 65),
    ):
        assert httpx.request(method, url + path, json=GOOD).status_code == 404


def test_a_body_over_the_limit_is_refused(site):
    url, _ = site
    body = b"x" * (33 * 1024**2)
    answer = httpx.post(f"{url}/gradio_api/run/predict", content=body, timeout=60)
    assert answer.status_code == 413


def test_pages_of_other_sites_cannot_use_the_page(site):
    url, _ = site
    event = f"{url}/gradio_api/run/predict"
    for origin in ("http://evil.example", "null"):
        answer = httpx.post(event, json={}, headers={"Origin": origin})
        assert (answer.status_code, answer.json()["code"]) == (403, "wrong_origin")
    assert httpx.get(f"{url}/config", headers={"Origin": url}).status_code == 200


def test_the_page_answers_under_its_own_names_only(site):
    _, folder = site
    library = Library([str(folder / "site")])
    with served(create_app(Settings(allowed_hosts=("localhost",)), library=library)) as url:
        port = url.rsplit(":", 1)[1]
        for path in ("/", "/config", "/media/site/1/thumbnail", "/healthz"):
            assert httpx.get(url + path).status_code == 421
            assert httpx.get(f"http://localhost:{port}{path}").status_code == 200
    library.close()


def test_the_page_calls_no_address_that_a_header_names(site):
    url, _ = site
    for name in ("X-Forwarded-Host", "X-Gradio-Server", "X-Forwarded-Prefix", "Forwarded"):
        for path in ("/", "/config", "/?deep_link=../../x"):
            answer = httpx.get(url + path, headers={name: "http://evil.example/x"})
            assert answer.status_code == 200
            assert "evil.example" not in answer.text


def test_every_answer_has_the_same_security_headers(site):
    url, _ = site
    for path in ("/", "/config", "/media/site/1/thumbnail", "/healthz", "/nothing", "/file=x"):
        headers = httpx.get(url + path).headers
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        (policy,) = headers.get_list("content-security-policy")
        assert "frame-ancestors 'none'" in policy


def test_a_link_with_absurdly_many_fields_opens_the_page(site):
    answer = httpx.get(f"{site[0]}/?{'&'.join(['up=1'] * 2000)}")
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("headers", "query", "word"),
    [
        ({"accept-language": "es-ES,es;q=0.9,en;q=0.5"}, "", "Fotos"),
        ({"accept-language": "de-DE,en;q=0.5"}, "", "Photos"),
        ({"accept-language": "en"}, "?lang=es", "Fotos"),
        ({"accept-language": "en", "cookie": "clipsearch_lang=es"}, "", "Fotos"),
        ({"cookie": "clipsearch_lang=<script>"}, "?lang=xx", "Photos"),
    ],
)
def test_the_page_speaks_the_visitors_language(site, headers, query, word):
    answer = httpx.get(site[0] + "/" + query, headers=headers)
    assert answer.status_code == 200
    labels = [c["props"].get("label") for c in _config(answer.text)["components"]]
    assert word in labels


def test_nothing_is_loaded_from_another_host(site):
    page = httpx.get(site[0] + "/").text
    head = page.split("<script>window.gradio_config")[0]
    assert "connect-src 'self'" in httpx.get(site[0] + "/").headers["content-security-policy"]
    assert "fonts.googleapis" not in page
    assert "cdnjs" not in head


def _config(page):
    text = page.split("window.gradio_config = ", 1)[1].split(";</script>", 1)[0]
    return json.loads(text)
