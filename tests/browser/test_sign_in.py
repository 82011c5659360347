"""The form that asks for a token, in a real browser, which decides what Origin it comes with."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from clipsearch.server import ServerSettings
from clipsearch.server.guard import add_guard

from ..ui_support import prefixed, served

pytestmark = pytest.mark.browser

TOKEN = "a-token-for-the-tests-0123456789"


async def home(request):
    return HTMLResponse("<p>inside</p>")


def test_a_browser_signs_in_and_its_address_never_has_the_token(browser):
    app = Starlette(routes=[Route("/", home)])
    add_guard(app, ServerSettings(tokens=(TOKEN,)))
    with served(app) as url, browser.new_context() as context:
        page = context.new_page()
        page.goto(url)
        page.fill("input[name=token]", "wrong")
        page.click("button")
        assert "not a token" in page.text_content("[role=alert]")
        page.fill("input[name=token]", TOKEN)
        page.click("button")
        page.wait_for_selector("text=inside")
        assert page.url == f"{url}/"
        page.goto(f"{url}/?token={TOKEN}")
        assert page.url == f"{url}/"
        (cookie,) = context.cookies()
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert cookie["expires"] > 0
    with served(app) as url, prefixed(url, "/clip") as address, browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{address}/clip/")
        page.fill("input[name=token]", TOKEN)
        page.click("button")
        page.wait_for_selector("text=inside")
        assert page.url == f"{address}/clip/"
