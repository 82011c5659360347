"""Requests to the HTTP API, good and bad, and what two servers must answer alike."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOKEN = "a-token-for-the-tests-0123456789"
NAME = "photos"
SEARCH = f"/v1/indexes/{NAME}/search"
MAX_BODY_MB = 1

# Those that we set; the others are the business of the HTTP server.
HEADERS = (
    "allow",
    "cache-control",
    "content-security-policy",
    "content-type",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "location",
    "referrer-policy",
    "retry-after",
    "www-authenticate",
    "x-content-type-options",
    "x-frame-options",
)
OF_ONE_ANSWER = ("took_ms", "request_id", "away")  # or known of a plain index alone
OF_SHARDS = ("partial", "shards", "missing_shards")


@dataclass(frozen=True)
class Ask:
    """One request, and the status that the ordinary server is known to give."""

    what: str
    status: int
    method: str
    path: str
    options: dict[str, Any] = field(default_factory=dict)
    token: str | None = TOKEN
    body_counts: bool = True  # whether the bodies of the answers are compared


def search(what: str, status: int, **body: Any) -> Ask:
    return Ask(what, status, "POST", SEARCH, {"json": body})


def requests(photo: Path, items: list[int], lost: int, dim: int) -> list[Ask]:
    """More than forty requests to a server with a token, in which few succeed twice the same way.

    Args:
        photo: An image file.
        items: Ids of items that are there, and whose files are.
        lost: Id of an item whose file is gone.
        dim: Length of the vectors.
    """
    data = photo.read_bytes()
    upload = {"image": ("photo.png", data, "image/png")}
    item = f"/v1/indexes/{NAME}/items/{items[0]}"
    vector = [math.sin(n) for n in range(dim)]
    return [
        # --- searching
        search("words", 200, text="a cat", k=5),
        search("words added and subtracted", 200, text="a cat", add=["night"], subtract=["people"]),
        search("an item and words", 200, terms=[{"item": items[3]}, {"text": "x", "weight": -0.5}]),
        search("a vector", 200, terms=[{"vector": vector}], k=3),
        search("an image among terms", 200, terms=[{"image": base64.b64encode(data).decode()}]),
        search("a filter", 200, text="a face", where="width >= 400 and format = 'PNG'", offset=2),
        search("what nothing fits", 200, text="a face", where="width > 100000"),
        search("no better than chance", 200, text="a rocket", min_score="auto"),
        search("keywords", 200, text="a rocket", hybrid=True, exact=True),
        search("captions, of which there are none", 200, text="a rocket", target="caption"),
        search("a filter that cannot be read", 422, text="a", where="width >="),
        search("a filter by an unknown field", 422, text="a", where="nonsense = 3"),
        search("a filter by a hidden field", 422, text="a", where="path like '/home/%'"),
        search("too large a k", 422, text="a", k=10**9),
        search("a wrong type", 422, text="a", k="many"),
        search("a field that is not known", 422, text="a", colour="red"),
        search("nothing to look for", 422, k=5),
        search("an empty text", 422, text=" "),
        search("a vector of another length", 422, terms=[{"vector": [1.0, 2.0]}]),
        search("terms that cancel each other out", 422, text="a dog", subtract=["a dog"]),
        search("an unknown item among terms", 404, terms=[{"item": 10**6}]),
        search("an image among terms that is none", 422, terms=[{"image": "bm90IGFuIGltYWdl"}]),
        Ask("a text in place of an object", 422, "POST", SEARCH, {"json": "a cat"}),
        Ask("no JSON", 400, "POST", SEARCH,
            {"content": b"{", "headers": {"Content-Type": "application/json"}}),
        Ask("another type of content", 415, "POST", SEARCH,
            {"content": b"a cat", "headers": {"Content-Type": "text/plain"}}),
        Ask("too large a body", 413, "POST", SEARCH,
            {"content": b" " * (MAX_BODY_MB * 1024**2 + 1)}),
        Ask("an unknown index", 404, "POST", "/v1/indexes/other/search", {"json": {"text": "a"}}),
        Ask("a wrong method", 405, "GET", SEARCH),
        Ask("by an image", 200, "POST", f"{SEARCH}/image", {"files": upload, "data": {"k": "4"}}),
        Ask("by an image that is none", 422, "POST", f"{SEARCH}/image",
            {"files": {"image": ("x.png", b"not an image", "image/png")}}),
        Ask("by an empty image", 422, "POST", f"{SEARCH}/image",
            {"files": {"image": ("x.png", b"", "image/png")}}),
        Ask("by an image, with an unknown field", 422, "POST", f"{SEARCH}/image",
            {"files": upload, "data": {"colour": "red"}}),
        # --- items
        Ask("an item", 200, "GET", item),
        Ask("an unknown item", 404, "GET", f"/v1/indexes/{NAME}/items/1000000"),
        Ask("an item that is no number", 422, "GET", f"/v1/indexes/{NAME}/items/first"),
        Ask("an item's image", 200, "GET", f"{item}/image"),
        Ask("an item's thumbnail", 200, "GET", f"{item}/thumbnail"),
        Ask("an image whose file is gone", 404, "GET", f"/v1/indexes/{NAME}/items/{lost}/image"),
        Ask("a thumbnail whose file is gone", 404, "GET",
            f"/v1/indexes/{NAME}/items/{lost}/thumbnail"),
        Ask("the indexes", 200, "GET", "/v1/indexes"),
        Ask("the index", 200, "GET", f"/v1/indexes/{NAME}"),
        # --- the model
        Ask("classify", 200, "POST", "/v1/classify", {
            "files": {"images": upload["image"]},
            "data": {"labels": ["cat", "rocket"], "none_of_these": "true"},
        }),
        Ask("classify by nothing", 422, "POST", "/v1/classify",
            {"files": {"images": upload["image"]}}),
        Ask("embed", 200, "POST", "/v1/embed", {"json": {"texts": ["a red bus", "a blue car"]}}),
        Ask("embed nothing", 422, "POST", "/v1/embed", {"json": {"texts": []}}),
        Ask("embed an image", 200, "POST", "/v1/embed/image",
            {"files": {"images": upload["image"]}}),
        Ask("the models", 200, "GET", "/v1/models"),
        # --- the server
        Ask("health", 200, "GET", "/healthz", token=None),
        Ask("readiness", 200, "GET", "/readyz", token=None),
        Ask("the reference", 200, "GET", "/docs"),
        Ask("the schema", 200, "GET", "/openapi.json"),
        Ask("metrics", 200, "GET", "/metrics", body_counts=False),
        Ask("home", 307, "GET", "/"),
        Ask("an unknown path", 404, "GET", "/v2/nothing"),
        Ask("HEAD", 405, "HEAD", "/v1/indexes"),
        Ask("OPTIONS", 405, "OPTIONS", SEARCH),
        # --- who may ask
        Ask("no token", 401, "POST", SEARCH, {"json": {"text": "a cat"}}, token=None),
        Ask("a wrong token", 401, "GET", "/v1/models", token="wrong" * 5),
        Ask("a browser without a token", 401, "GET", "/", {"headers": {"Accept": "text/html"}},
            token=None),
        Ask("a page of another site", 403, "POST", SEARCH,
            {"json": {"text": "a cat"}, "headers": {"Origin": "https://example.org"}}),
    ]  # fmt: skip


def open_requests() -> list[Ask]:
    """Requests to a server on this machine without a token."""
    other_host = {"headers": {"Host": "example.org"}}
    return [
        Ask("words", 200, "POST", SEARCH, {"json": {"text": "a cat"}}, token=None),
        Ask("another host", 421, "POST", SEARCH, {"json": {"text": "a"}, **other_host}, token=None),
        Ask("another host's health", 421, "GET", "/healthz", other_host, token=None),
        Ask("a needless token", 200, "GET", "/v1/indexes"),
    ]


def send(client: Any, url: str, ask: Ask) -> Any:
    """One request, by an `httpx.Client` or what has its methods."""
    options = dict(ask.options)
    headers = {**options.pop("headers", {}), "X-Request-ID": "contract"}
    if ask.token:
        headers["Authorization"] = f"Bearer {ask.token}"
    return client.request(
        ask.method, url + ask.path, headers=headers, follow_redirects=False, **options
    )


def compare(ask: Ask, plain: Any, sharded: Any) -> None:
    """Assert that two answers agree in all that a client may rely on."""
    assert plain.status_code == ask.status, (ask.what, plain.text)
    assert sharded.status_code == plain.status_code, (ask.what, sharded.text)
    for answer in (plain, sharded):
        assert answer.headers["X-Request-ID"] == "contract"
    ours, theirs = (
        {name: answer.headers.get(name) for name in HEADERS} for answer in (plain, sharded)
    )
    assert ours == theirs, ask.what
    if not ask.body_counts:
        return
    if not plain.content or "json" not in plain.headers.get("Content-Type", ""):
        assert sharded.content == plain.content, ask.what
        return
    one, other = json.loads(plain.content), json.loads(sharded.content)
    if plain.status_code >= 400:
        assert other.pop("request_id") == one.pop("request_id") == "contract"
    same(one, other, ask.what)


def same(one: Any, other: Any, where: str) -> None:
    """Assert that documents agree; the model's last bits depend on a process's threads."""
    if isinstance(one, dict):
        assert isinstance(other, dict), where
        added = set(other) - set(one)
        assert added <= set(OF_SHARDS), (where, added)
        assert not any(other[name] for name in added - {"shards"}), (where, other)
        assert set(one) <= set(other), where
        for name in set(one) - set(OF_ONE_ANSWER):
            same(one[name], other[name], f"{where}: {name}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for n, (a, b) in enumerate(zip(one, other, strict=True)):
            same(a, b, f"{where}: {n}")
    elif isinstance(one, float):
        assert math.isclose(one, other, abs_tol=1e-3 if "percentile" in where else 1e-5), where
    else:
        assert one == other, where
