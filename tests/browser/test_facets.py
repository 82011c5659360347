"""Facets beside the results, dates, the timeline, and the order of results."""

from __future__ import annotations

import re

import pytest

from clipsearch import Index

from ..ui_support import names
from .conftest import LARGE

pytestmark = pytest.mark.browser


def facet(page, name):
    return page.locator("#cs-facets, .cs-drawer").get_by_role(
        "checkbox", name=re.compile(f"^{re.escape(name)} ")
    )


def counted(page, name):
    """What stands beside a value: its count under the filters, and that in the collection."""
    text = facet(page, name).locator("xpath=..").locator(".cs-facetcount").inner_text()
    return [int(part) for part in text.split("/")]


def chips(page):
    return page.locator(".cs-filterchip .cs-label").all_inner_texts()


def test_values_of_one_facet_are_alternatives_and_those_of_several_all_hold(visit, site, encoder):
    page = visit("?index=large")
    facet(page, "Canon").check()
    page.wait_for_url(re.compile("f=camera%3ACanon"))
    page.locator(".cs-filterchip", has_text="Camera: Canon").wait_for()
    page.wait_for_function(
        "document.querySelector('#cs-facets [role=status]').textContent[0] === '5'"
    )
    assert counted(page, "Nikon") == [LARGE // 3]  # what one more would add
    with Index.open(site.home / "large", encoder) as index:
        both = len(index.ids("camera = 'Canon' and taken_at = '2016'"))
        either = len(index.ids("camera in ('Canon', 'Nikon') and taken_at = '2016'"))
    assert counted(page, "2016") == [both, 20]
    assert page.evaluate("document.activeElement.dataset.f") == "camera:Canon"
    facet(page, "2016").check()
    page.locator(".cs-filterchip", has_text="Year: 2016").wait_for()
    facet(page, "Nikon").check()
    page.locator(".cs-filterchip", has_text="Camera: Nikon").wait_for()
    page.locator("#cs-facets [role=status]", has_text=f"{either} of {LARGE}").wait_for()
    assert page.locator("#cs-gallery .cs-card").count() == either
    page.get_by_role("button", name="Open 2016").click()
    facet(page, "May").check()  # narrows the year
    page.locator(".cs-filterchip", has_text="Month: 2016-05").wait_for()
    assert chips(page) == ["Camera: Canon", "Camera: Nikon", "Month: 2016-05"]
    again = visit(page.url[page.url.index("?") :])
    again.wait_for_selector(".cs-card")
    assert names(again) == names(page)
    page.get_by_role("button", name="Remove Month: 2016-05").click()
    page.wait_for_function("document.querySelectorAll('.cs-filterchip').length === 2")
    page.go_back()
    page.locator(".cs-filterchip", has_text="Month: 2016-05").wait_for()
    page.get_by_role("button", name="Clear filters").click()
    page.locator("#cs-facets [role=status]", has_text=re.compile(f"^{LARGE} images$")).wait_for()


def test_filters_of_older_links_still_hold(visit):
    page = visit("?index=demo&q=an+animal&tag=lion&width=100")
    page.wait_for_selector(".cs-score")
    assert "lion.jpg" in names(page)
    assert chips(page) == ["Tag: lion", "At least 100 pixels wide"]
    assert facet(page, "lion").is_checked()
    page.get_by_role("button", name="Remove At least 100").click()
    page.wait_for_function("!location.search.includes('width')")
    assert "tag%3Alion" in page.url
    page.goto(page.url.split("?")[0] + "?index=large&camera=Canon&from=2016&to=2016-06")
    page.locator(".cs-filterchip", has_text="Since 2016").wait_for()
    page.wait_for_selector("#cs-facets input[type=date]")
    assert page.get_by_label("From", exact=True).input_value() == "2016-01-01"
    assert page.get_by_label("To", exact=True).input_value() == "2016-06-30"


def test_a_date_is_picked_and_one_that_is_none_is_told_beside_the_results(visit):
    page = visit("?index=large&q=a+cat&from=soon")
    page.wait_for_selector(".cs-card")
    told = page.locator(".cs-notice [role=alert]")
    assert "soon is not a date" in told.inner_text()
    assert "soon" not in page.url
    page.get_by_label("From", exact=True).fill("2021-06-01")
    page.wait_for_url(re.compile("from=2021-06-01"))
    page.locator(".cs-filterchip", has_text="Since 2021-06-01").wait_for()
    assert "results" in page.locator(".cs-count").inner_text()
    assert not told.count()


def test_the_timeline_goes_to_a_month_by_key_and_pointer(visit):
    page = visit("?index=large")
    line = page.get_by_role("slider", name="Timeline")
    line.wait_for()
    assert line.get_attribute("aria-valuetext") == "December 2022"
    line.focus()
    page.keyboard.press("End")
    page.wait_for_function("scrollY > 1000")
    assert line.get_attribute("aria-valuetext") == "January 2015"
    page.keyboard.press("PageUp")
    assert line.get_attribute("aria-valuetext") == "December 2016"
    box = line.bounding_box()
    page.mouse.click(box["x"] + 20, box["y"] + 2)
    page.wait_for_function("scrollY < 400")
    page.mouse.wheel(0, 900)
    page.wait_for_selector("#cs-timeline.cs-moving")
    assert page.evaluate("document.querySelector('.cs-now span').textContent").split()[-1] >= "2020"
    page.goto(page.url + "&q=a+cat")
    page.wait_for_selector(".cs-score")
    page.wait_for_timeout(300)
    assert not page.locator("#cs-timeline").is_visible()


def test_results_are_sorted_by_date_and_size(visit, site, encoder):
    page = visit("?index=large")
    page.wait_for_selector(".cs-card")
    order = page.get_by_label("Sort by")
    order.select_option(label="Oldest first")
    page.wait_for_url(re.compile("sort=oldest"))
    first = "document.querySelector('.cs-card').dataset.id"
    page.wait_for_function(f"{first} === '1'")
    order.select_option(label="Largest files first")
    page.wait_for_url(re.compile("sort=largest"))
    with Index.open(site.home / "large", encoder) as index:
        largest = index.search(where="id > 0", sort="size", k=1).hits[0].item.id
        newest = index.search("a cat", sort="date", k=500)
    page.wait_for_function(f"{first} === '{largest}'")
    page.goto(f"{site.url}/?index=large&q=a+cat&sort=newest")
    page.wait_for_selector(".cs-score")
    shown = page.eval_on_selector_all(
        ".cs-card", "all => all.map((card) => Number(card.dataset.id))"
    )
    assert shown == [hit.item.id for hit in newest][: len(shown)]


def test_on_a_phone_the_filters_are_a_drawer(visit):
    page = visit("?index=large", width=390, height=844, has_touch=True, color_scheme="light")
    page.wait_for_selector(".cs-card")
    assert not page.locator(".cs-facetbody").is_visible()
    page.get_by_role("button", name="Filters and options").tap()
    facet(page, "Canon").wait_for()
    for row in page.locator(".cs-drawer label:visible, .cs-drawer button:visible").all():
        assert row.bounding_box()["height"] >= 44
    facet(page, "Canon").tap()
    page.locator(".cs-drawer [role=status]", has_text="50 of 150").wait_for()
    assert facet(page, "Canon").is_checked()
    page.get_by_role("button", name="Show results").tap()
    page.wait_for_selector(".cs-drawer[open]", state="detached")
    assert page.locator("#cs-gallery .cs-card").count()
    assert chips(page) == ["Camera: Canon"]


def test_the_panel_stays_as_it_was_left(visit):
    page = visit("?index=demo", color_scheme="light")
    page.wait_for_selector("#cs-facets details")
    assert page.locator("#cs-facets").is_visible()
    page.get_by_role("button", name="Filters and options").click()
    assert not page.locator("#cs-facets").is_visible()
    page.reload()
    page.wait_for_selector(".cs-card")
    assert not page.locator("#cs-facets").is_visible()
