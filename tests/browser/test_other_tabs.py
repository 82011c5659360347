"""Classify, Why, Add photos, Learn."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

from ..ui_support import names, photo

pytestmark = pytest.mark.browser


def test_classify_one_and_many(visit, photos):
    before = _left_behind()
    page = visit("?tab=classify")
    page.set_input_files("#cs-classify-drop input", photo(photos, "chelsea.png"))
    page.wait_for_selector(".cs-bars")
    assert page.locator(".cs-best .cs-barlabel").inner_text() == "cat"
    page.set_input_files(
        "#cs-classify-drop input", [photo(photos, "lion.jpg"), photo(photos, "coffee.png")]
    )
    page.wait_for_selector("#cs-classified table")
    rows = page.locator("#cs-classified tbody tr").all_inner_texts()
    assert "cat" in rows[0]
    assert "lion" in rows[1]
    assert "none of these" in rows[2]
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as CSV").click()
    assert "lion.jpg,lion" in download.value.path().read_text(encoding="utf-8-sig")
    assert _left_behind() == before, "a picture that was given is still on the disk"


def test_a_label_pack_is_learnt_from_examples(visit, photos):
    page = visit("?tab=classify")
    page.get_by_role("button", name="Learn labels from examples").click()
    groups = {"spots": ["cheetah.jpg", "cheetah1.jpg"], "sky": ["rocket.jpg", "tower.jpg"]}
    for label, files in groups.items():
        page.fill("#cs-example-label textarea, #cs-example-label input", label)
        page.set_input_files("#cs-example-drop input", [photo(photos, name) for name in files])
        page.wait_for_selector(f"#cs-learnt .cs-group:has-text('{label}')")
    page.get_by_role("button", name="Learn", exact=True).click()
    page.get_by_text("Cross-validated accuracy").wait_for()
    assert page.get_by_role("link", name="Download the label pack").is_visible()


def test_why_shows_where_from_a_result_and_from_a_picture(visit, photos):
    page = visit("?q=a+cat")
    page.locator(".cs-open").first.click()
    page.get_by_role("button", name="Why this?").click()
    page.wait_for_selector(".cs-heat")
    assert "a cat" in page.locator(".cs-heat").get_attribute("alt")
    page.set_input_files("#cs-why-drop input", photo(photos, "coffee.png"))
    page.fill("#cs-why-texts textarea", "a cup\na spoon")
    page.get_by_role("button", name="Show the regions").click()
    page.wait_for_function("document.querySelectorAll('.cs-heat').length === 2")


_ASKED = {  # where texts are, and what sends them
    "why": ("#cs-why-texts textarea", "Show the regions"),
    "classify": ("#cs-labels textarea", "Classify"),
    "learn": ("#cs-learn-texts textarea", None),  # leaving the field does
}


@pytest.mark.parametrize("tab", _ASKED)
def test_a_picture_counts_with_what_was_asked_while_it_was_on_its_way(visit, photos, tab):
    page = visit(f"?tab={tab}")
    if tab == "learn":
        page.wait_for_selector(".cs-matrix td b")
    held = []

    def hold(route):
        if not held and "pictures" in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page.route("**/gradio_api/**", hold)
    page.set_input_files(f"#cs-{tab}-drop input", photo(photos, "coffee.png"))
    while not held:
        page.wait_for_timeout(20)
    field, go = _ASKED[tab]
    page.fill(field, "a cup\na spoon")
    with page.expect_response("**/gradio_api/**"):
        if go is None:
            page.locator(field).blur()
        else:
            page.get_by_role("button", name=go, exact=True).click()
    held[0].continue_()
    page.wait_for_selector(".cs-heat, .cs-barlabel, .cs-matrix img[alt='coffee.png']")
    found = page.locator(".cs-heats figcaption, .cs-barlabel, .cs-matrix thead").all_inner_texts()
    assert any("a cup" in text for text in found)
    assert any("a spoon" in text for text in found)


def test_learn_says_what_is_wrong_with_a_picture_and_keeps_the_others(visit, tmp_path):
    page = visit("?tab=learn")
    page.wait_for_selector(".cs-matrix td b")
    (tmp_path / "notes.png").write_text("no picture")
    page.set_input_files("#cs-learn-drop input", tmp_path / "notes.png")
    page.locator("#cs-matrix [role=alert]").get_by_text("notes.png").wait_for()
    assert page.locator(".cs-matrix tbody tr").count() == 3


def build(page, name, below=""):
    page.get_by_label("New collection").check()
    page.fill("#cs-build-name textarea, #cs-build-name input", name)
    page.get_by_label("Subfolder or table").fill(below)
    page.get_by_role("button", name="Index", exact=True).click()


def test_build_indexes_a_folder_and_says_what_was_skipped(visit):
    page = visit("?tab=build")
    build(page, "made-here", "few")
    page.locator("#cs-job").get_by_text("made-here is ready").wait_for()
    figures = page.locator(".cs-figures dd").all_inner_texts()
    assert figures[0] == "3"
    assert "images per second" in page.locator("#cs-job").inner_text()
    assert "The bottleneck was" in page.locator("#cs-job").inner_text()
    assert "broken.jpg" in page.locator("#cs-job").inner_text()
    page.get_by_role("link", name="Search it").click()
    page.wait_for_function("document.querySelectorAll('.cs-card').length === 3")
    assert len(names(page)) == 3


def test_build_indexes_a_table_with_its_captions(visit):
    page = visit("?tab=build")
    build(page, "from-table", "table.csv")
    page.locator("#cs-job").get_by_text("from-table is ready").wait_for()
    page.get_by_role("link", name="Search it").click()
    page.wait_for_function("document.querySelectorAll('.cs-card').length === 3")
    assert sorted(names(page)) == ["number 0", "number 1", "number 2"]


def test_build_keeps_pictures_of_the_visitor(visit, photos):
    page = visit("?tab=build")
    page.get_by_label("New collection").check()
    page.fill("#cs-build-name textarea, #cs-build-name input", "uploaded")
    given = [photo(photos, name) for name in ("coffee.png", "lion.jpg")]
    page.set_input_files("#cs-build-drop input[type=file]", given)
    page.get_by_label("Caption of lion.jpg").fill("the king")
    page.get_by_role("button", name="Add 2 images").click()
    page.locator("#cs-job").get_by_text("uploaded is ready").wait_for()
    page.get_by_role("link", name="Search it").click()
    page.wait_for_url(re.compile("index=uploaded$"))
    page.wait_for_function("document.querySelectorAll('.cs-card').length === 2")
    found = sorted(names(page))
    assert found[0].startswith("coffee-")
    assert found[1] == "the king"
    page.locator(".cs-card", has_text="coffee-").locator(".cs-open").click()
    page.get_by_text("600 \N{MULTIPLICATION SIGN} 400").wait_for()


def test_build_cancelled_keeps_what_was_done(visit):
    page = visit("?tab=build")
    build(page, "cut-short", "many")
    page.wait_for_function(
        "Number(document.querySelector('#cs-job progress[value]')?.value ?? 0) > 0",
        timeout=180_000,
    )
    page.get_by_role("button", name="Cancel").click()
    page.locator("#cs-job").get_by_text("Canceled; cut-short keeps what was indexed").wait_for()
    told = page.locator("#cs-job").inner_text()
    kept = int(re.search(r"([\d,]+) new images were kept", told).group(1).replace(",", ""))
    assert 0 < kept < 2000
    visit("?index=cut-short").get_by_text(f"{kept:,} images in cut-short").wait_for()


@pytest.mark.parametrize(
    ("name", "below", "told"),
    [
        ("x", "../", "leads out of the allowed folder"),
        ("x", "nowhere", "There is nothing at nowhere"),
        ("../x", "few", "letters, digits"),
    ],
)
def test_build_stays_within_what_is_allowed(visit, site, name, below, told):
    page = visit("?tab=build")
    build(page, name, below)
    page.locator("#cs-build-problem [role=alert]").get_by_text(told).wait_for()
    assert not (site.home / "x").exists()


def test_learn_shows_the_matrix_and_the_temperature(visit):
    page = visit("?tab=learn")
    page.wait_for_selector(".cs-matrix td b")
    sharp = page.locator(".cs-matrix small").first.inner_text()
    slider = page.locator("input[type=range][max='200']:visible")
    page.get_by_text("This model learned 21").wait_for()  # its logit scale, 21.3
    assert slider.input_value() == "21"
    slider.focus()
    slider.press("Home")
    slider.dispatch_event("pointerup")
    page.wait_for_function(
        "sharp => document.querySelector('.cs-matrix small').textContent !== sharp", arg=sharp
    )


def test_learn_takes_other_texts_and_pictures(visit, photos):
    page = visit("?tab=learn")
    page.wait_for_selector(".cs-matrix td b")
    assert page.locator(".cs-matrix tbody tr").count() == 3
    page.fill("#cs-learn-texts textarea", "a lion\na cat\na rocket")
    page.locator("#cs-learn-texts textarea").blur()
    page.wait_for_function("document.querySelectorAll('.cs-matrix thead th').length === 3")
    page.set_input_files("#cs-learn-drop input", photo(photos, "lion.jpg"))
    page.wait_for_selector(".cs-matrix tbody tr:first-child img[alt='lion.jpg']")
    cosines = [
        float(text) for text in page.locator(".cs-matrix tr:first-child b").all_inner_texts()
    ]
    assert max(cosines) == cosines[0]
    page.get_by_role("button", name="Show chelsea.png").or_(
        page.locator("#cs-learn-pick button").first
    ).first.click()
    page.wait_for_function("document.querySelector('.cs-matrix tbody img').alt !== 'lion.jpg'")
    assert page.locator("#cs-prompts tbody tr").count() == 3


def _left_behind():
    """Files that Gradio keeps of what it is given."""
    return set((Path(tempfile.gettempdir()) / "gradio").rglob("*.*"))
