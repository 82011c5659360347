"""The Curate tab: copies told apart, compared, marked and listed; weak pairs and outliers."""

from __future__ import annotations

import csv
import json
import re
import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe
from clipsearch.ui import Library, Settings, create_app
from PIL import Image

from clipsearch import Index

from ..ui_support import photo, served

pytestmark = pytest.mark.browser
LONG = "a cup of coffee on a wooden table beside a spoon, seen from above, " * 6


@pytest.fixture(scope="module")
def copies(browser, photos, encoder, tmp_path_factory):
    """A served folder of photos, three of which have copies; its address and the folder."""
    home = tmp_path_factory.mktemp("copies")
    folder = home / "photos"
    folder.mkdir()
    rows = [("image", "caption")]
    for name in ("coffee.png", "lion.jpg", "rocket.jpg"):
        stem = name.partition(".")[0]
        with Image.open(photo(photos, name)) as opened:
            image = opened.convert("RGB")
        image.save(folder / f"{stem}.png")
        shutil.copy(folder / f"{stem}.png", folder / f"{stem} copy.png")
        image.save(folder / f"{stem}.webp.bmp")
        image.resize((image.width // 2, image.height // 2)).save(folder / f"{stem}_half.jpg")
        rows += [(f"{stem}{end}", LONG) for end in (".png", " copy.png", ".webp.bmp", "_half.jpg")]
    for name in ("moon.png", "horse.png", "coins.png", "tower.jpg"):
        shutil.copy(photo(photos, name), folder)
        rows.append((name, "a photo"))
    with (folder / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with Index.create(home / "copies", encoder) as index, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPSEARCH_CACHE", str(home / "cache"))
        index.add(folder / "rows.csv", on_error="raise")
        library = Library([str(home / "copies")], load=lambda name: encoder)
        with served(create_app(Settings(roots=(folder,)), library=library)) as address:
            yield address, folder
        library.close()


def opened(visit, copies, query="", **options):
    page = visit(f"?tab=curate{query}", at=copies[0], **options)
    page.wait_for_selector(".cs-twin")
    return page


def marked(page):
    return page.locator(".cs-twin input:checked").count()


def test_kinds_are_told_apart_and_marks_survive_a_reload(visit, copies):
    page = opened(visit, copies)
    assert page.get_by_text("3 groups, 9 copies beside the ones to keep").is_visible()
    group = page.locator(".cs-twins").first
    badges = group.locator(".cs-twin").evaluate_all(
        "cards => cards.map((card) => [...card.querySelectorAll('.cs-badge')])"
        ".map((badges) => badges.map((badge) => badge.textContent))"
    )
    assert sum("Leader" in each for each in badges) == 1
    told = sorted(badge for each in badges for badge in each)
    assert told == ["Keep: largest file", "Leader", "Looks alike", "Same bytes", "Same pixels"]
    group.get_by_role("button", name="Mark the others").click()
    assert marked(page) == 3
    assert not group.locator(".cs-twin", has_text="Keep:").get_by_role("checkbox").is_checked()
    page.wait_for_timeout(400)
    page.reload()
    page.wait_for_selector(".cs-marked")
    assert marked(page) == 3
    page.get_by_role("button", name="Mark all but the ones to keep").click()
    page.wait_for_function("document.querySelectorAll('.cs-twin input:checked').length === 9")
    group.locator(".cs-twin input:not(:checked)").check()
    assert group.get_by_text("All are marked: no copy would stay.").is_visible()
    page.get_by_label("Look alike").uncheck()
    page.wait_for_function("document.querySelectorAll('.cs-twin').length === 9")
    assert "kind=bytes&kind=pixels" in page.url
    page.go_back()
    page.wait_for_function("document.querySelectorAll('.cs-twin').length === 12")
    page.evaluate("cs.picked.clear()")
    assert marked(page) == 0


def test_the_list_says_what_may_be_deleted_and_looks_at_the_disk(visit, copies):
    page = opened(visit, copies)
    group = page.locator(".cs-twins", has_text="lion")
    group.get_by_role("button", name="Mark the others").click()

    def listed(form):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"What may be deleted: {form}").click()
        return download.value.path().read_text(encoding="utf-8-sig")

    rows = list(csv.DictReader(listed("CSV").splitlines()))
    assert sorted(row["stays_kind"] for row in rows) == ["looks", "pixels", "pixels"]
    assert {row["safe"] for row in rows} == {"True"}
    assert {row["stays"].rpartition("/")[2] for row in rows} == {"lion.webp.bmp"}
    text = listed("TXT")
    assert len([line for line in text.splitlines() if not line.startswith("#")]) == 3
    (copies[1] / "lion.webp.bmp").rename(copies[1] / "away")
    try:
        rows = list(csv.DictReader(listed("CSV").splitlines()))
        assert {row["safe"] for row in rows} == {"False"}
        assert "is gone or has changed" in rows[0]["why"]
        lines = listed("TXT").splitlines()
        assert all(line.startswith("#") for line in lines)
    finally:
        (copies[1] / "away").rename(copies[1] / "lion.webp.bmp")
    page.evaluate("cs.picked.clear()")


def test_a_copy_is_held_against_its_leader_in_four_ways(visit, copies):
    page = opened(visit, copies)
    half = page.locator(".cs-twin", has_text="coffee_half.jpg")
    half.get_by_role("button", name="Compare").click()
    dialog = page.get_by_role("dialog", name="Compare copies")
    dialog.get_by_text("% of the pixels differ by more than 8").wait_for()
    assert dialog.get_by_text("at the size of the smaller one").is_visible()
    assert dialog.locator(".cs-said").first.text_content() == LONG.strip()
    dialog.get_by_role("button", name="Slider").click()
    slider = dialog.get_by_role("slider")
    slider.focus()
    slider.press("Home")
    assert dialog.locator(".cs-over").evaluate("e => getComputedStyle(e).clipPath").endswith("0%)")
    dialog.get_by_role("button", name="Blink").click()
    over = dialog.locator(".cs-over")
    page.wait_for_function("document.querySelector('.cs-hiddenpart')")
    dialog.get_by_role("button", name="Pause").click()
    dialog.get_by_role("button", name="Play").wait_for()
    assert over.count() == 1
    dialog.get_by_role("button", name="Difference").click()
    dialog.locator("img[alt*='of the pixels differ']").wait_for()
    page.keyboard.press("ArrowRight")
    dialog.get_by_text("All pixels are equal.").wait_for()
    box = dialog.get_by_role("checkbox").last
    box.check()
    assert page.evaluate("cs.picked.size") == 1
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert marked(page) == 1
    assert page.evaluate("document.activeElement.closest('.cs-twin').textContent").count("_half")
    page.evaluate("cs.picked.clear()")


def test_an_image_is_enlarged_with_its_group_and_back_closes_it(visit, copies):
    page = opened(visit, copies)
    page.locator(".cs-twin .cs-open").first.click()
    view = page.locator("dialog.cs-dialog[open]")
    first = view.get_attribute("data-item")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "first => document.querySelector('.cs-dialog').dataset.item !== first", arg=first
    )
    assert view.get_by_role("button", name="Next image").is_disabled()
    page.go_back()
    view.wait_for(state="detached")
    assert "tab=curate" in page.url


def test_nothing_of_a_caption_is_cut(visit, copies):
    for query in ("", "&look=pairs", "&look=outliers"):
        page = opened(visit, copies, query)
        said = page.locator(".cs-said", has_text="a cup of coffee").first
        assert said.text_content() == LONG.strip()
        assert said.evaluate("e => e.scrollHeight <= e.clientHeight + 1")
        page.close()


def test_the_filter_of_the_address_limits_what_is_looked_at(visit, copies):
    page = opened(visit, copies, "&where=width%20%3E%20500")
    assert page.get_by_text("within the current filter").is_visible()
    assert page.locator(".cs-twin", has_text="half").count() == 0
    page = visit("?tab=curate&where=nonsense%20%3E%201", at=copies[0])
    page.get_by_text("there is no field 'nonsense'").wait_for()


def test_a_long_search_shows_how_far_it_is(visit, copies):
    page = visit("?tab=learn", at=copies[0])
    busy = {"index": "copies", "look": "duplicates"}
    busy["busy"] = {"told": "Comparing images: 5 of 10", "share": 0.5}
    page.route(
        re.compile("/page/curate\\?"), lambda route: route.fulfill(body=json.dumps(busy)), times=2
    )
    page.evaluate("cs.go('tab=curate')")
    page.get_by_role("progressbar", name="Comparing images: 5 of 10").wait_for()
    page.wait_for_selector(".cs-twin")
    assert page.get_by_role("progressbar").count() == 0


def test_many_groups_come_part_by_part_and_a_reload_keeps_the_place(visit, site):
    page = visit("?tab=curate&index=large")
    page.wait_for_selector(".cs-twins")
    assert page.locator(".cs-twins").count() == 20
    while page.evaluate("document.querySelectorAll('.cs-twins').length") < 24:
        page.mouse.wheel(0, 2000)
        page.wait_for_timeout(100)
    y = page.evaluate("scrollTo(0, 3000), scrollY")
    page.wait_for_timeout(100)
    page.reload()
    page.wait_for_function("y => Math.abs(scrollY - y) < 400", arg=y)
    assert page.locator(".cs-twins").count() >= 24


def test_outliers_are_marked_and_what_the_bar_removes_is_gone_until_it_is_put_back(visit, copies):
    page = opened(visit, copies)
    page.get_by_role("button", name="Outliers").click()
    page.wait_for_selector(".cs-loose .cs-twin")
    name = page.locator(".cs-file").first.inner_text()
    page.locator(".cs-twin input").first.check()
    bar = page.get_by_role("region", name="Selection")
    assert bar.get_by_text("1 selected").is_visible()
    bar.locator("[data-pick=remove]").click()
    gone = "name => ![...document.querySelectorAll('.cs-file')].some((e) => e.textContent === name)"
    page.wait_for_function(gone, arg=name)
    bar.locator("[data-pick=undo]").click()
    page.wait_for_function(gone.replace("!", "", 1), arg=name)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation_in_groups_and_comparison(visit, copies, scheme):
    page = opened(visit, copies, color_scheme=scheme)
    page.add_style_tag(content="* { transition: none !important; }")
    page.locator(".cs-twin input").first.check()
    found = Axe().run(page).response["violations"]
    page.get_by_role("button", name="Compare").first.click()
    page.wait_for_selector("dialog.cs-comparison .cs-told:not(:empty)")
    found += Axe().run(page).response["violations"]
    assert not [
        (one["id"], one["nodes"][0]["html"][:200])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def test_a_phone_shows_it_all_without_sideways_scrolling(visit, copies):
    page = opened(visit, copies, width=390, height=844, has_touch=True, locale="es-ES")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    small = page.locator(".cs-curate button:visible, .cs-curate input:visible").evaluate_all(
        "all => all.map((e) => (e.closest('label') ?? e).getBoundingClientRect())"
        ".filter((box) => box.height < 43).length"
    )
    assert small == 0
    page.get_by_role("button", name="Comparar").first.click()
    page.wait_for_selector("dialog.cs-comparison .cs-told:not(:empty)")
    assert page.locator("dialog.cs-comparison").evaluate("e => e.scrollWidth") <= 390
