"""Selecting many: on the cards, by keys and touch, and what the bar does with them."""

from __future__ import annotations

import pytest

from .conftest import LARGE

pytestmark = pytest.mark.browser


def picked(page):
    return page.evaluate("[...cs.picked.ids].map(Number)")


def card(page, place):
    return page.locator(f'.cs-card[data-place="{place}"]')


def bar(page):
    return page.get_by_role("region", name="Selection")


def test_the_checkbox_and_shift_select_also_what_is_not_loaded(visit):
    page = visit("?index=large&q=a+cat")
    page.wait_for_selector(".cs-card")
    card(page, 1).hover()
    card(page, 1).get_by_role("checkbox").click()
    assert len(picked(page)) == 1
    assert bar(page).get_by_role("status").text_content() == "1 selected"
    page.keyboard.press("Escape")
    assert not picked(page)
    card(page, 1).locator(".cs-open").click(modifiers=["Control"])
    first = picked(page)
    page.evaluate("cs.grid.reveal(140)")
    page.wait_for_selector('.cs-card[data-place="140"]')
    page.evaluate("cs.results.shown.cards.fill(undefined, 30, 90)")  # as if never loaded
    card(page, 140).locator(".cs-open").click(modifiers=["Shift"])
    page.wait_for_function("cs.picked.size === 140")
    asked = "cs.results.ask('ids', new URLSearchParams(cs.results.link + '&offset=1&count=140'))"
    assert picked(page) == page.evaluate(asked)["ids"]
    assert picked(page)[:1] == first
    page.wait_for_timeout(400)
    page.reload()
    page.wait_for_selector(".cs-card")
    assert len(picked(page)) == 140
    page.evaluate("cs.go('index=demo')")
    page.wait_for_function("cs.picked.size === 0")
    assert not bar(page).is_visible()


def test_keys_select_all_extend_and_clear(visit):
    page = visit("?index=large")
    page.wait_for_selector(".cs-card")
    card(page, 2).locator(".cs-open").focus()
    page.keyboard.press("Space")
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    assert len(picked(page)) == 4
    page.keyboard.press("Shift+ArrowLeft")
    assert len(picked(page)) == 3
    assert not page.locator("dialog[open]").count()
    page.keyboard.press("Control+a")
    page.wait_for_function(f"cs.picked.size === {LARGE}")
    page.keyboard.press("Escape")
    assert not picked(page)
    page.focus("#cs-query textarea, #cs-query input")
    page.keyboard.press("Control+a")
    page.wait_for_timeout(300)
    assert not picked(page)


def test_a_long_press_selects_and_taps_go_on(visit):
    page = visit("?index=large", width=390, height=844, has_touch=True, is_mobile=True)
    page.wait_for_selector(".cs-card")
    box = card(page, 1).bounding_box()
    at = {"x": box["x"] + 30, "y": box["y"] + 40}
    touch = page.context.new_cdp_session(page)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
    page.wait_for_function("cs.picked.size === 1")
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(100)
    assert len(picked(page)) == 1
    card(page, 2).locator(".cs-open").tap()
    assert len(picked(page)) == 2
    assert not page.locator("dialog[open]").count()
    page.get_by_role("button", name="Clear the selection").tap()
    card(page, 2).locator(".cs-open").tap()
    page.wait_for_selector("dialog[open]")


def test_only_what_is_selected_is_shown_under_a_short_address(visit):
    page = visit("?index=large")
    page.wait_for_selector(".cs-card")
    page.keyboard.press("Control+a")
    page.wait_for_function(f"cs.picked.size === {LARGE}")
    bar(page).get_by_role("button", name="Show only these").click()
    page.wait_for_url("**selection=*")
    page.wait_for_function(f"cs.results.shown.total === {LARGE}")
    assert len(page.url) < 200
