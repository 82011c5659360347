"""The page for people at the server's `/`: behind the same token, with the operator's settings."""

from __future__ import annotations

import gc

import httpx
from clipsearch.ui import Library, Settings
from clipsearch.ui.context import Context
from clipsearch.ui.jobs import Jobs
from clipsearch.ui.results import Results
from clipsearch.ui.spec import SearchSpec
from clipsearch.ui.strings import Words

from clipsearch import Index
from clipsearch.engine.reader import Reader
from clipsearch.server import ServerSettings, create_app
from clipsearch.server.shared_encoder import SharedEncoder
from tests.fakes import FakeEncoder, put
from tests.ui_support import served

from .conftest import TOKEN

DOORS = ("/", "/config", "/gradio_api/info", "/gradio_api/queue/join", "/media/photos/1/thumbnail")


def test_the_page_is_behind_the_token_and_has_roots_and_language(home, encoder, tmp_path):
    settings = ServerSettings(
        tokens=(TOKEN,), may_build=True, roots=(tmp_path.resolve(),), language="es"
    )
    app = create_app(encoder, {"photos": home / "photos"}, settings=settings)
    with served(app) as url:
        for path in DOORS:
            for method in ("GET", "POST"):
                assert httpx.request(method, url + path).status_code == 401, path
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            config = client.get("/config").text
            assert "csLang='es'" in client.get("/").text
            assert str(tmp_path.resolve()) in config
            assert client.get("/media/photos/1/thumbnail").status_code == 200


def test_serve_refuses_a_root_that_is_not_there(cli, tmp_path):
    done = cli("serve", "--root", tmp_path / "absent", expect=1)
    assert f"--root {tmp_path / 'absent'} is not an existing folder" in done.stderr


def test_the_page_and_the_api_hold_each_index_and_each_model_once(tmp_path):
    encoder = FakeEncoder()
    folder = tmp_path / "photos"
    with Index.create(folder, encoder) as index, index.writer() as writer:
        for n in range(3):
            put(writer, encoder, f"{n}", caption=f"caption {n}")
    loaded = []
    app = create_app(encoder, {"photos": folder}, load=loaded.append)
    with served(app) as url:
        asked = {"text": "caption 1", "target": "caption"}
        answer = httpx.post(f"{url}/v1/indexes/photos/search", json=asked)
        assert answer.json()["hits"][0]["caption"] == "caption 1"
        (library,) = held(Library, lambda library: library.hub is app.state.engine._hub)
        context = Context(library, Settings(), Words("en"), Jobs())
        spec = SearchSpec("photos", "caption 1", target="caption")
        cards = Results(context).first(spec)["cards"]
        assert cards[0]["name"] == "caption 1"
        assert len(held(Reader, lambda reader: reader._folder == folder and not reader.closed)) == 1
        assert len(held(SharedEncoder, lambda shared: shared._encoder is encoder)) == 1
        assert not loaded


def held(kind, condition):
    """Objects that there are in this process."""
    gc.collect()
    return [found for found in gc.get_objects() if type(found) is kind and condition(found)]
