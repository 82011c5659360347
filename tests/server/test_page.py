"""The page for people at the server's `/`: behind the same token, with the operator's settings."""

from __future__ import annotations

import httpx

from clipsearch.server import ServerSettings, create_app
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
            assert "csLang='es'" in config
            assert str(tmp_path.resolve()) in config
            assert client.get("/media/photos/1/thumbnail").status_code == 200


def test_serve_refuses_a_root_that_is_not_there(cli, tmp_path):
    done = cli("serve", "--root", tmp_path / "absent", expect=1)
    assert f"--root {tmp_path / 'absent'} is not an existing folder" in done.stderr
