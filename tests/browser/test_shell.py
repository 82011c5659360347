"""One library: the header, tabs that share a search, dialogs, a phone, the page's weight."""

from __future__ import annotations

import gzip
import re

import httpx
import pytest
from clipsearch.ui import Library, Settings, create_app

from ..ui_support import QUERY, names, photo, prefixed, search, served

pytestmark = pytest.mark.browser


def tab(page, name):
    page.get_by_role("tab", name=name).click()


def test_the_search_the_filter_and_the_collection_are_the_same_in_all_tabs(visit):
    page = visit("?index=demo&where=width>300")
    page.wait_for_selector(".cs-card")
    some = len(names(page))
    search(page, "a cat")
    tab(page, "Map")
    page.wait_for_url(re.compile("tab=map&index=demo&q=a.cat&where=width"))
    page.wait_for_selector("[data-ready]")
    page.get_by_text(f"{some} of 27 images in demo").wait_for()
    inside = page.evaluate(
        "document.querySelector('.cs-canvasbox').csPlot.chosen.reduce((sum, one) => sum + one, 0)"
    )
    assert inside == some, "what the filter leaves out is dimmed"
    page.fill(QUERY, "a lion")  # asked on the map, it colors the map
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Score for “a lion”").wait_for()
    assert "tab=map" in page.url
    page.get_by_label("Collection").select_option("large")
    page.wait_for_url(re.compile("tab=map&.*index=large"))
    page.wait_for_selector(".cs-mapside .cs-scale")
    assert "where" not in page.url  # filters are of the other collection
    tab(page, "Classify")
    page.wait_for_url(re.compile("tab=classify&index=large&q=a.lion"))
    tab(page, "Photos")
    page.wait_for_function("document.querySelector('.cs-justified').dataset.link?.includes('lion')")
    assert re.search(r"\?index=large&q=a\+lion$", page.url)
    assert page.input_value(QUERY) == "a lion"
    tab(page, "Learn")
    page.fill(QUERY, "coffee")  # asked where no search is shown, it is shown
    page.keyboard.press("Enter")
    page.get_by_role("tab", name="Photos", selected=True).wait_for()
    page.wait_for_function(
        "document.querySelector('.cs-justified').dataset.link.includes('coffee')"
    )


def test_photos_keeps_its_place_while_other_tabs_are_looked_at(visit):
    page = visit("?index=large&q=a+cat", color_scheme="light")
    page.wait_for_selector(".cs-card")
    page.wait_for_function("scrollTo(0, 900) ?? scrollY > 500")
    page.wait_for_timeout(600)
    place = page.evaluate("Math.round(scrollY)")
    tab(page, "Learn")
    page.wait_for_url(re.compile("tab=learn"))
    tab(page, "Photos")
    page.wait_for_function(f"Math.abs(scrollY - {place}) < 3")


def test_why_lies_over_the_large_view_and_back_closes_one_after_the_other(visit):
    page = visit("?q=a+cat")
    page.locator(".cs-open").first.click()
    page.wait_for_selector(".cs-dialog[open]")
    page.get_by_role("button", name="Why this?").click()
    page.wait_for_selector("#cs-dialog-why .cs-heat")
    link = page.url
    assert "tab=why" in link
    page.keyboard.press("Escape")
    page.wait_for_selector("#cs-dialog-why:not([open])", state="attached")
    assert page.locator(".cs-dialog[open]").is_visible()
    page.go_back()
    page.wait_for_selector(".cs-dialog[open]", state="detached")
    other = visit(link[link.index("?") :])
    other.wait_for_selector("#cs-dialog-why .cs-heat")
    other.get_by_role("dialog").get_by_role("button", name="Close").click()
    other.wait_for_selector(".cs-score")
    assert "tab=" not in other.url
    assert names(other)[0] == "chelsea.png"


def test_classify_shows_why(visit, photos):
    page = visit("?tab=classify")
    page.set_input_files("#cs-classify-drop input", photo(photos, "chelsea.png"))
    page.get_by_role("button", name="Why this label for chelsea.png?").click()
    page.wait_for_selector("#cs-dialog-why .cs-heat")
    assert "cat" in page.locator("#cs-dialog-why figcaption").inner_text()
    page.keyboard.press("Escape")
    page.wait_for_selector("#cs-dialog-why:not([open])", state="attached")
    page.get_by_role("tab", name="Classify", selected=True).wait_for()
    assert page.locator(".cs-bars").is_visible()


def test_adding_goes_on_while_the_dialog_is_closed_and_after_a_reload(visit):
    page = visit("?index=demo")
    page.wait_for_selector(".cs-card")
    page.get_by_role("button", name="Add photos").click()
    page.wait_for_selector("#cs-add-goal input")
    assert page.get_by_label("Add to “demo”").is_checked()
    page.get_by_label("New collection").check()
    page.fill("#cs-build-name textarea, #cs-build-name input", "in-the-background")
    page.get_by_label("Subfolder or table").fill("many")
    page.get_by_role("button", name="Index", exact=True).click()
    page.wait_for_selector("#cs-working:not([hidden])", state="attached")
    page.keyboard.press("Escape")
    page.wait_for_selector("#cs-dialog-build:not([open])", state="attached")
    working = page.get_by_role("button", name="Building in-the-background")
    working.wait_for()
    page.reload()
    working.wait_for()
    working.click()
    page.get_by_role("button", name="Cancel").click()
    page.locator("#cs-working").wait_for(state="hidden")
    assert "in-the-background" in page.locator("#cs-index option").all_inner_texts()


def test_an_empty_library_starts_with_a_button(visit, site, encoder):
    library = Library([], load=lambda name: encoder)
    with served(create_app(Settings(roots=(site.root,)), library=library)) as address:
        page = visit(at=address)
        page.get_by_role("heading", name="No collection yet").wait_for()
        page.locator(".cs-screen [data-add]").click()
        page.wait_for_function(  # it is filled once it is there
            "document.querySelector('#cs-build-name :is(input, textarea)')?.value === 'photos'"
        )
        page.close()
    library.close()


def test_an_image_is_pasted_on_any_tab_that_searches(visit, photos):
    page = visit("?tab=map")
    page.wait_for_selector("[data-ready]")
    with open(photo(photos, "coffee.png"), "rb") as file:
        data = list(file.read())
    page.evaluate(
        """bytes => {
          const given = new DataTransfer();
          given.items.add(new File([new Uint8Array(bytes)], 'coffee.png', {type: 'image/png'}));
          window.dispatchEvent(new ClipboardEvent('paste', {clipboardData: given}));
        }""",
        data,
    )
    page.get_by_role("heading", name="Score for “image”").wait_for()  # the map, colored by it
    tab(page, "Photos")
    page.wait_for_selector(".cs-chip img")
    assert names(page)[0] == "coffee.png"


@pytest.mark.parametrize("locale", ["en-US", "es-ES"])
def test_a_phone_shows_photos_at_once_and_every_tab_at_the_thumb(visit, locale):
    page = visit("?q=a+cat", width=390, height=844, has_touch=True, locale=locale)
    page.wait_for_selector(".cs-card")
    assert page.locator(".cs-card").first.bounding_box()["y"] <= 200
    assert page.evaluate("document.activeElement === document.body")
    tabs = page.get_by_role("tab").all()
    assert len(tabs) == 5
    for one in tabs:
        box = one.bounding_box()
        assert min(box["width"], box["height"]) >= 44
        assert box["y"] + box["height"] <= 844
        assert one.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    for target in page.locator("#cs-header button:visible, #cs-header a:visible, select").all():
        box = target.bounding_box()
        if box and box["x"] >= 0:
            assert box["height"] >= 44, target.get_attribute("id")
    size = page.evaluate(
        f"parseFloat(getComputedStyle(document.querySelector('{QUERY}')).fontSize)"
    )
    assert size >= 16  # or phones zoom in on it
    tabs[-1].tap()
    page.wait_for_url(re.compile("tab=learn"))


def test_the_page_is_light_and_brings_its_first_results(site, encoder):
    link = f"{site.url}/?index=large&q=a+cat"
    answer = httpx.get(link, headers={"Accept-Encoding": "identity"})
    sent = httpx.get(link, headers={"Accept-Encoding": "gzip"})
    assert sent.headers["content-encoding"] == "gzip"
    assert len(gzip.compress(answer.content, 6)) < 40_000
    assert '"cards":[{"id":' in answer.text.partition("csStart.give(")[2]
    assert "cards" not in httpx.get(f"{site.url}/?tab=map").text.partition("csStart.give(")[2]


def test_no_results_are_asked_for_again_and_nothing_moves(visit, site):
    page = visit("?tab=learn&index=large", color_scheme="light")
    page.goto("about:blank")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.add_init_script(
        "window.moved = 0; new PerformanceObserver((list) => { for (const entry of"
        " list.getEntries()) if (!entry.hadRecentInput) window.moved += entry.value;"
        " }).observe({type: 'layout-shift', buffered: true});"
    )
    page.goto(f"{site.url}/?index=large&q=a+cat")
    page.wait_for_selector(".cs-card img.cs-there")
    page.wait_for_timeout(1500)
    assert not [url for url in asked if "/page/results" in url and "offset" not in url]
    assert page.evaluate("window.moved") <= 0.02


def test_behind_a_path_prefix_the_page_finds_its_own_parts(visit, site):
    with prefixed(site.url, "/clip") as address:
        page = visit("?q=a+cat", at=f"{address}/clip")
        page.wait_for_selector(".cs-card img.cs-there")
        assert names(page)[0] == "chelsea.png"
        page.locator(".cs-open").first.click()
        page.wait_for_selector(".cs-large.cs-there")
        page.keyboard.press("Escape")
        tab(page, "Map")
        page.wait_for_selector("[data-ready]")
        assert "/clip/?" in page.url
        tab(page, "Classify")
        page.get_by_role("button", name="Classify", exact=True).click()
        page.wait_for_selector("#cs-classified .cs-blank")
        page.get_by_role("link", name="Español").click()
        page.get_by_role("tab", name="Clasificar").wait_for()
        assert "/clip/?" in page.url
