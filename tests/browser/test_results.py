"""The results and the large view: nothing is lost, dropped or mixed up while a person moves on."""

from __future__ import annotations

import re

import pytest

from ..ui_support import QUERY, more_options, names, photo, search

pytestmark = pytest.mark.browser

_SEEN = """() => [...document.querySelectorAll('.cs-justified .cs-card')].filter((card) => {
  const box = card.getBoundingClientRect();
  return box.bottom > 120 && box.top < innerHeight;
}).map((card) => card.dataset.id)"""


def seen(page):
    """The ids of the cards in the window, and how far it is scrolled."""
    return page.evaluate(_SEEN), page.evaluate("Math.round(scrollY)")


def slow(page):
    """250 ms and 200 KB/s, as on a phone."""
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 250, "downloadThroughput": 200e3, "uploadThroughput": 200e3},
    )


def deep(page):
    """Scroll far down, and wait until the cards are there."""
    page.wait_for_selector(".cs-card")
    page.wait_for_timeout(300)
    page.mouse.move(700, 600)
    for _ in range(4):
        page.mouse.wheel(0, 500)
        page.wait_for_timeout(60)
    settled(page)


def settled(page):
    page.wait_for_timeout(1500)
    page.wait_for_function(
        "!document.querySelector('.cs-emptycard') && !document.querySelector('.cs-asking')"
    )


def test_back_reload_and_refining_keep_the_place(visit):
    page = visit("?index=large&q=a+cat", color_scheme="light")
    deep(page)
    place = seen(page)
    assert place[1] > 1000
    page.reload()
    page.wait_for_selector(".cs-card")
    settled(page)
    assert seen(page) == place
    page.evaluate("cs.go('index=large&q=coffee')")
    page.wait_for_function(
        "document.querySelector('.cs-justified').dataset.link.includes('coffee')"
    )
    assert seen(page)[1] == 0
    page.go_back()
    page.wait_for_url(re.compile(r"q=a\+cat"))
    settled(page)
    assert seen(page) == place
    page.wait_for_function(
        "text => document.querySelector('#cs-query textarea, #cs-query input').value === text",
        arg="a cat",
    )
    middle = place[0][len(place[0]) // 2]
    card = page.locator(f'.cs-card[data-id="{middle}"]')
    card.hover()
    card.locator(".cs-up").click()
    page.wait_for_selector(".cs-refined")
    settled(page)
    assert seen(page)[1] == place[1]
    page.go_back()
    page.wait_for_selector(".cs-refined", state="detached")
    settled(page)
    assert seen(page) == place
    card.locator(".cs-open").click()
    page.get_by_role("button", name="More like this").click()
    page.wait_for_selector(".cs-chip.cs-plus")
    page.get_by_role("button", name="To the best results").click()
    assert page.evaluate("scrollY") == 0
    page.go_back()
    page.wait_for_selector(".cs-chip.cs-plus", state="detached")
    settled(page)
    assert seen(page) == place


def test_an_image_never_stands_under_another_name_and_the_last_search_wins(visit):
    page = visit("?index=large&q=a+cat", color_scheme="light")
    page.wait_for_selector(".cs-card")
    slow(page)
    page.evaluate(
        """() => { window.mixed = 0; const look = () => {
          for (const card of document.querySelectorAll('.cs-justified .cs-card')) {
            const source = card.querySelector('img')?.src;
            if (source && !source.includes(`/${card.dataset.id}/`)) window.mixed += 1;
          }
          requestAnimationFrame(look);
        }; look(); }"""
    )
    before = names(page)
    for text in ("the moon", "coffee", "a lion"):
        page.fill(QUERY, text)
        page.keyboard.press("Enter")
    assert names(page) == before  # they stay until the new ones are there
    page.wait_for_selector(".cs-asking")
    page.wait_for_url(re.compile(r"q=a\+lion"))
    page.wait_for_selector(".cs-asking", state="detached")
    assert names(page)[0] == "lion.jpg"
    page.wait_for_timeout(600)
    assert page.url.count("a+lion")
    assert page.evaluate("window.mixed") == 0
    page.go_back()
    page.wait_for_url(re.compile(r"q=a\+cat"))  # what was overtaken is no place to come back to


def test_an_error_stands_beside_the_results(visit):
    page = visit("?q=a+cat")
    page.wait_for_selector(".cs-card")
    shown = names(page)
    more_options(page)
    page.get_by_label("Filter expression").fill("nonsense ===")
    page.keyboard.press("Enter")
    page.wait_for_selector(".cs-notice [role=alert]")
    assert names(page) == shown
    page.get_by_role("button", name="Close").click()
    page.wait_for_selector(".cs-notice [role=alert]", state="detached")


def test_the_large_view_drops_no_step_and_back_closes_it(visit):
    page = visit("?index=large&q=a+cat", color_scheme="light")
    page.wait_for_selector(".cs-card")
    before = page.url
    page.locator(".cs-open").first.click()
    page.wait_for_selector("dialog[open]")
    assert page.evaluate("document.activeElement.className") == "cs-stage"
    for _ in range(65):  # past what was loaded with the first cards
        page.keyboard.press("ArrowRight")
    page.wait_for_function("history.state.view === 65")
    page.wait_for_function(
        "document.querySelector('.cs-large.cs-there')?.src.includes("
        "`/${document.querySelector('dialog[open]').dataset.item}/`)"
    )
    shown = page.locator("dialog[open]").get_attribute("data-item")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog[open]", state="detached")
    assert page.evaluate("document.activeElement.closest('.cs-card').dataset.id") == shown
    assert page.url == before
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    page.reload()
    page.wait_for_selector("dialog[open]")
    page.go_back()
    page.wait_for_selector("dialog[open]", state="detached")
    assert page.url == before


def test_zoom_by_wheel_and_key_and_the_focus_stays_inside(visit):
    page = visit("?q=a+cat")
    page.locator(".cs-open").first.click()
    page.wait_for_selector(".cs-large.cs-there")
    width = "document.querySelector('.cs-pane').getBoundingClientRect().width"
    whole = page.evaluate(width)
    page.mouse.move(500, 400)
    page.mouse.wheel(0, -300)
    page.wait_for_function(f"{width} > {whole} * 1.3")
    page.keyboard.press("0")
    page.wait_for_function(f"Math.abs({width} - {whole}) < 1")
    for _ in range(25):
        page.keyboard.press("Tab")
        assert page.evaluate("!!document.activeElement.closest('dialog')")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "chelsea.png"


def test_a_part_of_an_image_is_searched_for_by_keyboard(visit):
    page = visit("?q=coffee")
    page.locator(".cs-open").first.click()
    page.wait_for_selector(".cs-large.cs-there")
    page.get_by_role("button", name="Search by a part of the image").click()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_selector('.cs-chip[data-kind="vector"] img')
    assert "part of coffee.png" in page.locator(".cs-chip").inner_text()
    assert names(page)[0] == "coffee.png"


def test_an_image_dropped_anywhere_is_searched_for(visit, photos):
    page = visit("?q=a+cat")
    page.wait_for_selector(".cs-card")
    with open(photo(photos, "coffee.png"), "rb") as file:
        data = list(file.read())
    page.evaluate(
        """bytes => {
          const given = new DataTransfer();
          given.items.add(new File([new Uint8Array(bytes)], 'coffee.png', {type: 'image/png'}));
          const grid = document.querySelector('.cs-justified');
          for (const type of ['dragenter', 'dragover', 'drop'])
            grid.dispatchEvent(new DragEvent(type, {dataTransfer: given, bubbles: true}));
        }""",
        data,
    )
    page.wait_for_selector(".cs-chip img")
    page.get_by_role("button", name="Remove coffee.png").wait_for()


def test_what_may_be_chance_is_told(visit):
    page = visit("?q=a+cat")
    page.wait_for_selector(".cs-line")
    above = page.evaluate("cs.results.shown.above")
    cards = page.evaluate("cs.results.shown.cards.map((card) => card.fit)")
    assert 0 < above < len(cards)
    assert all(fit != "weak" for fit in cards[:above])
    assert all(fit == "weak" for fit in cards[above:])
    assert page.locator(".cs-fit").first.inner_text() in ("strong match", "good match")
    search(page, "zxqv 7731 \N{PILE OF POO}")
    page.get_by_text("Nothing fits well. These are the nearest images.").wait_for()
    assert "nearest first · in" in page.locator(".cs-count").inner_text()


def test_a_phone_shows_results_at_once(visit):
    page = visit("?q=a+cat", width=390, height=844, has_touch=True)
    page.wait_for_selector(".cs-card")
    assert page.locator(".cs-card").first.bounding_box()["y"] <= 200
    for button in page.locator(".cs-tool:visible").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 44
    page.locator(".cs-open").first.tap()
    page.wait_for_selector("dialog[open]")
    for button in page.locator("dialog button:visible, dialog a:visible").all():
        assert button.bounding_box()["height"] >= 44, button.evaluate("one => one.outerHTML")


def test_nothing_moves_while_the_page_loads(visit):
    page = visit("?index=large", color_scheme="light")
    page.wait_for_selector(".cs-card")
    page.evaluate(
        """() => { window.moved = 0; new PerformanceObserver((list) => {
          for (const entry of list.getEntries())
            if (!entry.hadRecentInput) window.moved += entry.value;
        }).observe({type: 'layout-shift', buffered: true}); }"""
    )
    deep(page)
    assert page.evaluate("window.moved") <= 0.02
