"""What a page's server keeps of its visitors: bounded in number, bytes and time."""

from __future__ import annotations

import base64
import io

import httpx
import numpy as np
import pytest
from clipsearch.ui import Library, Settings, create_app, sessions
from PIL import Image

from .ui_support import served


@pytest.fixture(scope="module")
def site():
    library = Library([])
    app = create_app(Settings(language="en"), library=library)
    guard = next(route.app for route in app.routes if getattr(route, "path", None) == "")
    with served(app) as url, httpx.Client(base_url=url, timeout=60) as http:
        yield http, guard._apps["en"].routes[-1].app.state_holder
    library.close()


def event(http, element, name):
    """The number of an event of an element of the page, as its configuration has it."""
    config = http.get("/config").json()
    (target,) = [
        one["id"] for one in config["components"] if one["props"].get("elem_id") == element
    ]
    found = [one["id"] for one in config["dependencies"] if [target, name] in one["targets"]]
    return found[-1]  # a dialog is shown first, and then filled


def send(http, number, session, *values, data=None):
    body = {
        "fn_index": number, "data": values, "event_data": data, "session_hash": session
    }  # fmt: skip
    answer = http.post("/gradio_api/run/predict", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def give(http, visitor):
    """A visitor gives an image, of which the Classify tab keeps a small copy."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    data = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    number = event(http, "cs-classify-drop", "given")
    send(http, number, visitor, None, data={"pictures": [{"name": "noise.png", "data": data}]})


def test_the_number_of_sessions_is_bounded(site, monkeypatch):
    http, held = site
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 20)
    search = event(http, "cs-router", "navigate")
    for visitor in range(50):
        send(http, search, f"visitor-{visitor}", "?q=cat")
    assert list(held.session_data) == [f"visitor-{visitor}" for visitor in range(30, 50)]


def test_a_session_holds_nothing_that_is_shown(site):
    http, held = site
    give(http, "one")
    kept = held.session_data["one"]
    assert not kept.config_values
    assert 400 < kept.size < 30_000


def test_what_visitors_give_is_bounded_together_and_closed_pages_go_first(site, monkeypatch):
    http, held = site
    held.session_data.clear()
    for visitor in ("a", "b", "c"):
        give(http, visitor)
    held.session_data["b"].is_closed = True
    monkeypatch.setattr(sessions, "MOST_BYTES", int(held.session_data["a"].size * 3.5))
    give(http, "d")
    held.delete_all_expired_state()
    assert list(held.session_data) == ["a", "c", "d"]


def test_visitors_that_have_gone_are_forgotten(site, monkeypatch):
    http, held = site
    search = event(http, "cs-router", "navigate")
    held.session_data.clear()
    for visitor in ("open", "closed", "back"):
        send(http, search, visitor, "?q=cat")
    for visitor in ("closed", "back"):
        held.session_data[visitor].is_closed = True
    now = sessions.monotonic()
    monkeypatch.setattr(sessions, "monotonic", lambda: now + 3500)
    send(http, search, "back", "?q=cat")
    monkeypatch.setattr(sessions, "monotonic", lambda: now + 3700)
    held.delete_all_expired_state()
    assert list(held.session_data) == ["open", "back"]
    monkeypatch.setattr(sessions, "monotonic", lambda: now + 24 * 3600 + 1)
    held.delete_all_expired_state()
    assert list(held.session_data) == ["back"]


def test_a_closed_page_is_told_by_its_heartbeat(site):
    http, held = site
    send(http, event(http, "cs-router", "navigate"), "leaves", "?q=cat")
    with http.stream("GET", "/gradio_api/heartbeat/leaves") as beat:
        beats = beat.iter_raw()  # closes the connection with itself
        next(beats)
        assert not held.session_data["leaves"].is_closed
    for _ in range(100):
        if held.session_data["leaves"].is_closed:
            break
        http.get("/healthz")
    assert held.session_data["leaves"].is_closed
