"""The Photos tab."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from clipsearch import Index

from ..ui_support import QUERY, more_options, names, photo, search
from .conftest import LARGE

pytestmark = pytest.mark.browser


def test_search_by_words_open_a_result_and_ask_for_more_and_less_like_it(visit):
    page = visit()
    search(page, "a cat")
    assert names(page)[0] == "chelsea.png"
    assert "27 results" in page.locator(".cs-count").first.inner_text()
    page.wait_for_function(
        "[...document.querySelectorAll('.cs-open img')].slice(0, 4).every(i => i.naturalWidth > 0)"
    )
    page.locator(".cs-open").first.click()
    page.wait_for_selector("dialog[open] .cs-stage img")
    assert "451 \N{MULTIPLICATION SIGN} 300" in page.locator("dialog dl").inner_text()
    page.get_by_role("button", name="Find its caption").click()
    page.wait_for_selector(".cs-extra ol")
    assert page.locator(".cs-extra ol").inner_text().strip()
    page.get_by_role("button", name="Less like this").click()
    page.wait_for_selector(".cs-chip.cs-minus")
    page.wait_for_function("document.querySelector('.cs-name').textContent !== 'chelsea.png'")
    page.get_by_role("button", name="Remove chelsea.png").click()
    page.wait_for_function("document.querySelector('.cs-name').textContent === 'chelsea.png'")


def test_words_are_added_and_avoided_with_weights(visit):
    page = visit("?q=an+animal")
    page.wait_for_selector(".cs-score")
    page.get_by_placeholder("Add or avoid").fill("- lion")
    page.keyboard.press("Enter")
    page.wait_for_selector(".cs-chip.cs-minus")
    assert "c=-1%3At%3Alion" in page.url
    page.get_by_label("Weight of lion").fill("2")
    page.keyboard.press("Tab")
    page.wait_for_url(re.compile("c=-2%3At%3Alion"))
    page.get_by_role("button", name=re.compile("avoided")).click()
    page.wait_for_url(re.compile("c=2%3At%3Alion"))
    page.wait_for_function("document.querySelector('.cs-name').textContent === 'lion.jpg'")


def test_a_picture_finds_itself_and_its_link_brings_it_back(visit, photos):
    page = visit()
    page.wait_for_selector(".cs-card")
    page.set_input_files("#cs-picture input", photo(photos, "coffee.png"))
    page.wait_for_selector(".cs-chip img")
    page.wait_for_function("document.querySelector('.cs-name').textContent === 'coffee.png'")
    again = visit(page.url[page.url.index("?") :])
    again.wait_for_selector(".cs-score")
    assert names(again)[0] == "coffee.png"


def test_thumbs_refine_and_say_so(visit):
    page = visit("?q=an+animal")
    page.wait_for_selector(".cs-score")
    page.get_by_role("button", name="More like lion.jpg", exact=True).click()
    page.wait_for_selector(".cs-refined")
    assert "1 liked" in page.locator(".cs-refined").inner_text()
    assert names(page)[0] == "lion.jpg"
    page.get_by_role("button", name="undo").click()
    page.wait_for_selector(".cs-refined", state="detached")


def test_a_search_that_comes_before_the_last_is_answered_is_not_lost(visit):
    page = visit()
    page.evaluate("cs.go('q=a+cat'); cs.go('q=a+lion'); cs.go('q=a+cup+of+coffee')")
    page.wait_for_function(
        "new URLSearchParams(document.querySelector('.cs-justified')?.dataset.link ?? '').get('q')"
        " === 'a cup of coffee'"
    )
    assert names(page)[0] == "coffee.png"


def test_the_least_relevance_hides_the_rest_and_filters_work(visit, site, encoder):
    with Index.open(site.home / "demo", encoder) as index:
        best, second = (hit.score for hit in index.search("a cat", 2))
    page = visit(f"?q=a+cat&min={(best + second) / 2:.6f}")
    page.wait_for_selector(".cs-score")
    assert names(page) == ["chelsea.png"]
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function("document.querySelectorAll('.cs-card').length > 5")
    more_options(page)
    page.get_by_label("Filter expression").fill("name like '%.jpg'")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('.cs-count').textContent.includes('1 filter')")
    with Index.open(site.home / "demo", encoder) as index:
        found = index.items("name like '%.jpg'", limit=999)
    labels = {item.caption or Path(item.path).name for item in found}
    assert names(page)
    assert set(names(page)) <= labels
    page.get_by_label("Filter expression").fill("nonsense ===")
    page.keyboard.press("Enter")
    page.wait_for_selector("#cs-gallery .cs-message[role=alert]")
    assert "Traceback" not in page.inner_text("body")


@pytest.mark.parametrize(
    "link",
    [
        "q=a+cat",
        "q=an+animal&c=-0.5:t:lion&c=0.7:t:spots&c=1.5:i:2&where=width+>+300&min=-0.5",
    ],
)
def test_the_copied_lines_find_the_same(visit, site, cli, link, monkeypatch):
    page = visit("?" + link)
    page.wait_for_selector(".cs-score")
    page.get_by_role("button", name="Use this search elsewhere").click()
    command, code = page.locator(".cs-share code").all_inner_texts()
    shown = names(page)[:20]
    found: dict = {}
    exec(code, found)
    assert [hit.item.caption or Path(hit.item.path).name for hit in found["hits"]] == shown[
        : len(found["hits"])
    ]
    monkeypatch.setenv("CLIPSEARCH_INDEXES", str(site.home))
    done = cli(*shlex.split(command)[1:], "-f", "json", "-k", 20)
    hits = json.loads(done.stdout)["hits"]
    assert [hit.get("caption") or Path(hit["path"]).name for hit in hits] == shown[: len(hits)]
    assert len(hits) == len(found["hits"]) > 5


def test_python_keeps_what_the_command_cannot_say(visit):
    page = visit("?q=an+animal&c=0.5:t:spots&up=2")
    page.wait_for_selector(".cs-score")
    page.get_by_role("button", name="Use this search elsewhere").click()
    assert "leaves out thumbs up and down" in page.locator(".cs-share").inner_text()
    found: dict = {}
    exec(page.locator(".cs-share code").nth(1).inner_text(), found)
    assert [hit.item.caption or Path(hit.item.path).name for hit in found["hits"]] == names(page)[
        :20
    ]


def test_scrolling_brings_further_results_from_thumbnails_alone(visit, site):
    page = visit("?index=large&tab=learn")
    page.goto("about:blank")  # ends what Learn is still asking for
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{site.url}/?index=large&q=a+cat")
    page.wait_for_selector(".cs-score")
    found = {}
    while len(found) < LARGE:
        cards = page.eval_on_selector_all(
            "#cs-gallery .cs-card",
            "all => all.map(c => [c.dataset.place, c.dataset.id,"
            " c.querySelector('.cs-figure').textContent])",
        )
        found |= {int(place): (item, float(score)) for place, item, score in cards}
        page.mouse.wheel(0, 500)
        page.wait_for_timeout(100)
    assert sorted(found) == list(range(LARGE))
    assert len({item for item, _ in found.values()}) == LARGE
    scores = [found[place][1] for place in range(LARGE)]
    assert scores == sorted(scores, reverse=True)
    assert page.locator("#cs-gallery .cs-card").count() < LARGE
    pictures = [url for url in asked if "/media/" in url]
    assert len(pictures) > 48
    others = [
        url
        for url in pictures
        if not re.search(r"/media/large/\d+/thumbnail\?v=[0-9a-f]{16}$", url)
    ]
    assert not others


def choose_collection(page, name):
    page.get_by_label("Collection").select_option(name)
    page.wait_for_url(re.compile(f"index={name}"))


def test_another_collection_is_shown_without_the_filters_of_the_first(visit):
    page = visit("?index=large&q=a+cat&c=0.5:t:spots&where=width>400")
    page.wait_for_selector(".cs-score")
    more_options(page)
    box = page.get_by_label("Filter expression")
    assert box.input_value() == "width>400"
    choose_collection(page, "demo")
    page.locator(".cs-count", has_text="27 results").wait_for()
    assert box.input_value() == ""
    page.locator("#cs-facets").get_by_role("checkbox", name="lion").wait_for()
    page.get_by_role("button", name="Remove spots").wait_for()
    box.fill("width > 9000")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Nothing found").wait_for()
    page.wait_for_url(re.compile("where=width"))


def test_a_collection_that_is_not_there_is_named_and_another_can_be_chosen(visit):
    page = visit("?index=deleted&q=a+cat")
    page.get_by_role("heading", name="There is no collection called “deleted” here").wait_for()
    assert "index=deleted&q=a+cat" in page.url
    page.locator(QUERY).press("Enter")
    page.get_by_role("heading", name="There is no collection called “deleted” here").wait_for()
    choose_collection(page, "demo")
    assert names(page)[0] == "chelsea.png"
    page = visit("?index=deleted&tab=map")
    page.get_by_role("heading", name="There is no collection called “deleted” here").wait_for()


def test_the_slider_shows_the_spread_of_scores_and_hides_what_is_below(visit):
    page = visit("?q=a+cat")
    page.wait_for_selector(".cs-score")
    assert page.locator(".cs-relevance rect").count() > 3
    page.get_by_role("button", name="Minimum relevance").click()
    slider = page.get_by_role("slider", name="Minimum relevance")
    page.get_by_role("button", name="Show scores as numbers").click()
    best = float(page.locator(".cs-score").first.inner_text())
    page.get_by_role("button", name="Show scores as numbers").click()
    begun = float(slider.input_value())
    slider.focus()
    for _ in range(100):
        if float(slider.input_value()) >= best - 0.06:
            break
        page.keyboard.press("ArrowRight")
    assert float(slider.input_value()) > begun + 0.1
    page.wait_for_url(re.compile("min="))
    assert page.evaluate("document.activeElement.id") == "cs-least"
    page.wait_for_function("document.querySelectorAll('.cs-card').length < 10")
    assert names(page)[0] == "chelsea.png"
    assert page.locator(".cs-relevance .cs-out").count() > 0
    page.get_by_role("button", name="Better than chance").click()
    page.wait_for_url(re.compile("min=auto"))
    assert names(page)[0] == "chelsea.png"


def test_a_file_that_is_no_picture_is_said_in_place(visit, tmp_path):
    (tmp_path / "letter.png").write_bytes(b"no picture at all")
    page = visit()
    page.wait_for_selector(".cs-card")
    page.set_input_files("#cs-picture input", str(tmp_path / "letter.png"))
    page.get_by_text("letter.png cannot be read as an image").first.wait_for()
    assert "Traceback" not in page.inner_text("body")
