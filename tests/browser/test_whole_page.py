"""What holds for every tab: language, size, light and dark, keyboard, screens, axe-core."""

from __future__ import annotations

import re
import shutil
import threading

import pytest
from axe_playwright_python.sync_playwright import Axe
from clipsearch.ui import Library, Settings, create_app

from clipsearch import ClipSearchError

from ..ui_support import QUERY, names, served

pytestmark = pytest.mark.browser


def test_spanish_by_the_browser_and_by_choice(visit):
    page = visit(locale="es-ES")
    page.get_by_role("tab", name="Clasificar").wait_for()
    assert page.evaluate("document.documentElement.lang") == "es"
    page.get_by_role("link", name="English").click()
    page.get_by_role("tab", name="Classify").wait_for()


def test_a_dark_page_is_dark_and_can_be_made_light(visit):
    page = visit("?q=a+cat", color_scheme="dark")
    page.wait_for_selector(".cs-score")
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", colour)[:3])) < 60
    page.get_by_role("button", name="Switch between light and dark").click()
    page.wait_for_function("!document.body.classList.contains('dark')")


# Every tab, and what is there once it has settled.
_SETTLED = {
    "search": ".cs-card",
    "search&q=a+cat": ".cs-justified[data-link*='q=a+cat'] .cs-card",
    "classify": "#cs-classified .cs-blank",
    "why": "#cs-heat .cs-blank",
    "map": ".cs-mapbox canvas",
    "curate": "#cs-curate .cs-message, #cs-curate .cs-twin",
    "build": "#cs-add-goal input",
    "learn": ".cs-matrix td b",
    "learn&lesson=contrast": ".cs-batch td b",
    "learn&lesson=attention": ".cs-looks table",
}


def _go(page, name):
    page.evaluate("query => cs.go(query)", f"tab={name}" if name != "search" else "")
    page.wait_for_selector(_SETTLED[name])


def test_a_tab_that_is_clicked_becomes_the_address(visit):
    page = visit("?tab=map")
    page.get_by_role("tab", name="Learn").click()
    page.wait_for_url(re.compile("tab=learn"))
    page.go_back()
    page.wait_for_url(re.compile("tab=map"))
    page.get_by_role("tab", name="Map", selected=True).wait_for()


def test_a_phone_has_no_sideways_scrolling_on_any_tab(visit):
    page = visit(width=390, height=844, has_touch=True)
    for name in _SETTLED:
        _go(page, name)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name


def test_buttons_of_chips_stay_on_one_line_on_a_narrow_phone(visit):
    page = visit(width=375, height=812, has_touch=True, locale="es-ES")
    page.wait_for_selector(".cs-card")
    page.get_by_role("button", name="Filtros y opciones").click()
    for name in ("+ Añadir", "\N{MINUS SIGN} Evitar"):
        button = page.get_by_role("button", name=name)
        assert button.bounding_box()["height"] < 36  # of two lines: over 40
    assert page.locator(".cs-addchip").bounding_box()["height"] < 44
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation_on_any_tab(visit, scheme):
    axe = Axe()
    page = visit(color_scheme=scheme)
    page.add_style_tag(content="* { transition: none !important; }")  # colours as they stay
    found = {}
    for name in _SETTLED:
        _go(page, name)
        found[name] = axe.run(page).response["violations"]
    _go(page, "search&q=a+cat")
    page.get_by_role("button", name="Filters and options").click()
    page.locator(".cs-open").first.click()
    page.wait_for_selector("dialog[open]")
    found["one result"] = axe.run(page).response["violations"]
    serious = [
        (name, violation["id"], violation["nodes"][0]["html"][:200])
        for name, violations in found.items()
        for violation in violations
        if violation["impact"] in ("serious", "critical")
    ]
    assert not serious


def test_the_keyboard_alone_is_enough(visit):
    page = visit("?q=a+cat")
    page.wait_for_selector(".cs-score")
    page.locator(".cs-open").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.closest('.cs-card').dataset.id") == page.locator(
        ".cs-card"
    ).nth(1).get_attribute("data-id")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog[open]", state="detached")


def test_an_empty_index_has_a_friendly_screen(visit):
    page = visit("?index=bare")
    page.get_by_role("heading", name="This collection is empty").wait_for()
    page = visit("?tab=map&index=bare")
    page.get_by_role("heading", name="This collection is empty").wait_for()


def test_no_index_has_a_friendly_screen(visit, encoder):
    library = Library([], load=lambda name: encoder)
    with served(create_app(Settings(), library=library)) as address:
        page = visit(at=address)
        for tab in ("search", "map", "curate"):
            page.evaluate("query => cs.go(query)", f"tab={tab}")
            panel = page.get_by_role("tabpanel").filter(visible=True)
            panel.get_by_role("heading", name="No collection yet").wait_for()
        page.evaluate("cs.go('tab=learn')")
        page.get_by_text("Type at least one text and add at least one image").wait_for()
        page.close()
    library.close()


def test_an_index_that_was_removed_is_told_on_every_tab_that_shows_it(visit, site, encoder):
    shutil.copytree(site.home / "demo", site.home / "removed")
    shown = [str(site.home / name) for name in ("removed", "demo")]
    library = Library(shown, load=lambda name: encoder)
    with served(create_app(Settings(), library=library)) as address:
        library.index("removed")
        shutil.rmtree(site.home / "removed")
        for tab in ("search", "map", "curate"):
            page = visit(f"?index=removed&q=a+cat&tab={tab}", at=address)
            panel = page.get_by_role("tabpanel").filter(visible=True)
            panel.get_by_role("heading", name="no collection called “removed”").wait_for()
            assert str(site.home) not in page.inner_text("body")
            page.close()
    library.close()


def test_a_loading_model_says_so_and_the_search_starts_by_itself(visit, site, encoder):
    ready = threading.Event()

    def load(name):
        ready.wait(60)
        return encoder

    library = Library([str(site.home / "demo")], load=load)
    with served(create_app(Settings(), library=library)) as address:
        page = visit("?q=a+cat", at=address)
        page.get_by_role("heading", name="Loading the model").wait_for()
        ready.set()
        page.wait_for_selector(".cs-score")
        assert names(page)[0] == "chelsea.png"
        page.close()
    library.close()


def test_a_model_that_cannot_be_loaded_says_why_and_can_be_tried_again(visit, site, encoder):
    reasons = [ClipSearchError("the disk of the models is not mounted")]

    def load(name):
        if reasons:
            raise reasons[0]
        return encoder

    library = Library([str(site.home / "demo")], load=load)
    with served(create_app(Settings(), library=library)) as address:
        page = visit("?q=a+cat", at=address)
        page.get_by_text("the disk of the models is not mounted").wait_for()
        reasons.clear()
        page.get_by_role("button", name="Try again").click()
        page.wait_for_selector(".cs-score")
        page.close()
    library.close()


def test_a_lost_server_is_told_and_its_return_too(browser, site, encoder):
    library = Library([str(site.home / "demo")], load=lambda name: encoder)
    app = create_app(Settings(), library=library)
    with served(app) as address:
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.goto(address)
        page.wait_for_selector(".cs-card")
    page.fill(QUERY, "a cat")
    page.keyboard.press("Enter")
    page.get_by_text("The connection to the server is lost").wait_for()
    assert page.get_by_text(re.compile("connection", re.I)).count() == 1  # said once
    page.fill(QUERY, "a cat on a mat")
    again = Library([str(site.home / "demo")], load=lambda name: encoder)
    with served(create_app(Settings(), library=again), port=int(address.rsplit(":", 1)[1])):
        page.wait_for_selector("body:not(.cs-lost) .cs-card")
        assert page.input_value(QUERY) == "a cat on a mat"
        page.close()
    library.close()
    again.close()


def test_a_page_whose_session_is_forgotten_shows_its_address_again(browser, site, encoder):
    library = Library([str(site.home / "demo")], load=lambda name: encoder)
    app = create_app(Settings(), library=library)
    guard = next(route.app for route in app.routes if getattr(route, "path", None) == "")
    with served(app) as address:
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{address}/?q=a+cat")
        page.wait_for_selector(".cs-score")
        for session in guard._sessions.values():
            session.session_data.clear()
        page.locator(".cs-chips input[type=text]").fill("red")
        page.keyboard.press("Enter")
        page.wait_for_selector(".cs-chip")  # a search needs no session
        assert page.input_value(QUERY) == "a cat"
        page.locator(".cs-card [data-vote=up]").first.click()
        page.wait_for_selector(".cs-refined")
        # A proxy says that the server is gone, and that the token ran out once it is back.
        events = "**/page/results**"
        page.route(events, lambda route: route.fulfill(status=502), times=1)
        page.locator(".cs-card [data-vote=up]").last.click()
        page.get_by_text("The connection to the server is lost").wait_for()
        page.wait_for_selector("body:not(.cs-lost) .cs-refined")
        page.route(events, lambda route: route.fulfill(status=401), times=1)
        with page.expect_navigation():
            page.locator(".cs-card [data-vote=up]").last.click()
        page.close()
    library.close()
