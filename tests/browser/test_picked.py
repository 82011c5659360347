"""Selecting many: on the cards, by keys and touch, and what the bar does with them."""

from __future__ import annotations

import csv
import hashlib
import zipfile
from pathlib import Path

import pytest

from clipsearch import Index

from ..ui_support import QUERY, names, search
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
    page.mouse.move(5, 5)
    opacity = (
        "node => new Promise(done => setTimeout(() => done(getComputedStyle(node).opacity), 300))"
    )
    assert card(page, 1).get_by_role("checkbox").evaluate(opacity) == "1"  # seen without hovering
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
    bar(page).get_by_role("button", name="Show only").click()
    page.wait_for_url("**selection=*")
    page.wait_for_function(f"cs.results.shown.total === {LARGE}")
    assert len(page.url) < 200


def chosen(page, *places):
    page.wait_for_selector(".cs-card")
    for place in places:
        card(page, place).locator(".cs-open").click(modifiers=["Control"])
    page.wait_for_function(f"cs.picked.size === {len(places)}")
    return picked(page)


def act(page, name):
    bar(page).get_by_role("button", name=name, exact=True).click()


def test_tags_and_albums_by_hand(visit, site):
    page = visit("?index=demo")
    ids = chosen(page, 0, 2, 3)
    act(page, "Tag")
    page.get_by_role("textbox", name="Tag").fill("=mine")
    page.get_by_role("button", name="OK").click()
    page.get_by_text("3 images are tagged “=mine”").wait_for()
    act(page, "Add to album")
    page.get_by_role("textbox", name="Album").fill("Trip to 'Oslo'")
    page.keyboard.press("Enter")
    page.get_by_text("3 images were added").wait_for()
    with Index.open(site.home / "demo") as index:
        assert index.ids("tag = '=mine'") == sorted(ids)
        assert index.ids("album = 'Trip to ''Oslo'''") == sorted(ids)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Albums").click()
    page.get_by_role("button", name="Trip to 'Oslo' 3").click()
    page.wait_for_url("**f=album*")
    page.wait_for_function("cs.results.shown.total === 3")
    page.keyboard.press("Control+a")
    page.wait_for_function("cs.picked.size === 3")
    with page.expect_download() as download:
        act(page, "CSV")
    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    table = list(csv.DictReader(text.splitlines()))
    assert [int(row["id"]) for row in table] == sorted(ids)
    assert all("=mine" in row["tags"] and row["tags"][0] != "=" for row in table)
    assert "path" not in table[0]
    act(page, "Untag")
    page.get_by_role("button", name="=mine").click()
    page.get_by_text("is gone from 3 images").wait_for()
    act(page, "Take out of album")
    page.locator(".cs-ask").get_by_role("button", name="Trip to 'Oslo'").click()
    page.get_by_text("were taken out").wait_for()
    page.get_by_role("button", name="Albums").click()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete the album Trip to 'Oslo'").click()
    page.wait_for_function("!cs.results.link.includes('f=album')")
    with Index.open(site.home / "demo") as index:
        assert not index.albums()
        assert not index.ids("tag = '=mine'")


def test_a_zip_holds_the_files_and_removing_can_be_undone(visit, site):
    page = visit("?index=large")
    ids = chosen(page, 0, 1, 25)
    with page.expect_download() as download:
        act(page, "Download")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len({name.lower() for name in names}) == 3
        hashes = {hashlib.sha256(archive.read(name)).hexdigest() for name in names}
        assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_STORED}
    with Index.open(site.home / "large") as index:
        before = [index.item(row) for row in ids]
        assert hashes == {item.sha256 for item in before}
        act(page, "Remove")
        page.get_by_text("3 images were removed").first.wait_for()
        page.wait_for_function(f"cs.results.shown.total === {LARGE - 3}")
        assert len(index) == LARGE - 3
        page.reload()
        page.get_by_role("button", name="Undo").click()
        page.get_by_text("3 images are back").wait_for()
        assert [index.item(row) for row in ids] == before
    page.wait_for_function(f"cs.results.shown.total === {LARGE}")
    assert not bar(page).is_visible()


def test_images_side_by_side_zoom_together(visit):
    page = visit("?index=large")
    chosen(page, 0, 1, 2)
    act(page, "Compare")
    dialog = page.locator(".cs-compare")
    images = "[...document.querySelectorAll('.cs-compare img')]"
    page.wait_for_function(f"{images}.every((image) => image.naturalWidth > 100)")
    dialog.locator(".cs-stage").nth(1).hover()
    page.mouse.wheel(0, -400)
    moved = (
        "[...document.querySelectorAll('.cs-compare .cs-pane')].map((pane) => pane.style.transform)"
    )
    page.wait_for_function(f"{moved}[2].includes('scale')")
    assert len(set(page.evaluate(moved))) == 1
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert len(picked(page)) == 3  # Escape has closed the dialog only


def test_a_search_is_saved_and_recent_ones_are_offered(visit, site):
    page = visit("?index=demo&q=dogs&c=-1:t:dog&width=200")
    search(page, "a cat")
    shown = names(page)
    page.get_by_role("button", name="Albums").click()
    page.get_by_role("button", name="Save this search").click()
    page.get_by_role("textbox", name="Name").fill("Cats")
    page.keyboard.press("Enter")
    page.get_by_text("The search “Cats” is saved").wait_for()
    with Index.open(site.home / "demo") as index:
        saved = index.saved_search("Cats")
    assert saved.where == "width >= 200"
    assert [(term.value, term.weight) for term in saved.query.terms] == [("a cat", 1), ("dog", -1)]
    page.goto(f"{site.url}/?index=demo")
    page.wait_for_selector(".cs-card")
    page.get_by_role("button", name="Albums").click()
    page.get_by_role("button", name="Cats", exact=True).click()
    page.wait_for_url("**q=a+cat**")
    page.wait_for_function("list => cs.results.shown.cards[0].name === list[0]", arg=shown)
    assert names(page) == shown
    page.get_by_role("button", name="Albums").click()
    page.get_by_role("button", name="Forget the search Cats").click()
    page.get_by_text("No search is saved yet").wait_for()
    page.goto(f"{site.url}/?index=demo")
    page.wait_for_selector(".cs-card")
    page.locator(QUERY).click()
    page.locator(".cs-examples").get_by_role("button", name="cat", exact=True).wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=a+cat**")
    assert not page.locator(".cs-suggest").is_visible()
