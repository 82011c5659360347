"""A person at the page, in real Chromium."""

from __future__ import annotations

import re
import threading
import time

import pytest
from clipsearch.ui import Library, Settings, create_app

from clipsearch import Index

from .ui_support import FLAGS, axe_script, chromium, served

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
QUERY = "#cs-query textarea, #cs-query input"


@pytest.fixture(scope="module")
def browser():
    path = chromium()
    if path is None:
        pytest.skip("no Chromium here; on Debian and Ubuntu: apt install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photos, encoder):
    home = tmp_path_factory.mktemp("page")
    with Index.create(home / "demo", encoder) as index:
        index.add(photos)
    Index.create(home / "bare", encoder).close()
    return home


@pytest.fixture(scope="module")
def url(folder, encoder, photos):
    settings = Settings(roots=(photos[0].parent,))
    library = Library([str(folder / "demo"), str(folder / "bare")], load=lambda name: encoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPSEARCH_INDEXES", str(folder / "home"))
        with served(create_app(settings, library=library)) as address:
            yield address
    library.close()


@pytest.fixture
def visit(browser, url):
    """Open a page; whatever the console or the page complains of fails the test."""
    problems: list[str] = []
    contexts = []

    def open_page(query="", *, at=None, width=1440, height=900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda said: problems.append(said.text) if said.type in ("error", "warning") else None,
        )
        page.goto(f"{at or url}/{query}")
        page.wait_for_selector("#cs-tabs")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems


def search(page, text):
    page.wait_for_selector(".cs-card")
    page.fill(QUERY, text)
    page.keyboard.press("Enter")
    page.wait_for_function(
        "text => new URLSearchParams(document.querySelector('.cs-grid')?.dataset.link ?? '')"
        ".get('q') === text",
        arg=text,
    )


def names(page):
    return page.locator("#cs-gallery .cs-name").all_inner_texts()


def photo(photos, name):
    return str(next(path for path in photos if path.name == name))


def tab(page, name):
    page.get_by_role("tab", name=name, exact=True).click()


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
    assert page.locator(".cs-extra li").first.inner_text().startswith("cat")
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


def test_the_least_relevance_hides_the_rest_and_filters_work(visit):
    page = visit("?q=a+cat&min=0.4")
    page.wait_for_selector(".cs-score")
    assert names(page) == ["chelsea.png"]
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function("document.querySelectorAll('.cs-card').length > 5")
    page.get_by_role("button", name="Filters and options").click()
    page.get_by_label("Filter expression").fill("name like '%.jpg'")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('.cs-count').textContent.includes('1 filter')")
    assert all(name.endswith(".jpg") for name in names(page))
    page.get_by_label("Filter expression").fill("nonsense ===")
    page.keyboard.press("Enter")
    page.wait_for_selector("#cs-gallery .cs-message[role=alert]")
    assert "Traceback" not in page.inner_text("body")


def test_the_copied_lines_are_there(visit):
    page = visit("?q=a+cat")
    page.wait_for_selector(".cs-score")
    page.get_by_text("The same search elsewhere").click()
    text = page.locator(".cs-share").inner_text()
    assert "clipsearch search 'a cat' -i demo" in text
    assert "index.search('a cat', k=20)" in text


def test_classify_one_and_many(visit, photos):
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


def test_a_part_of_the_map_becomes_a_filter(visit):
    page = visit("?tab=map")
    page.wait_for_selector("canvas")
    page.locator("[data-group]").first.click()
    page.get_by_role("button", name="Search in these").click()
    page.wait_for_selector("#cs-gallery .cs-card")
    assert "ids=" in page.url
    assert 0 < len(names(page)) < 27


def test_curate_marks_and_exports(visit):
    page = visit("?tab=curate")
    page.wait_for_selector(".cs-markbar")
    page.get_by_text("outliers", exact=True).click()
    page.wait_for_selector("#cs-curated input[type=checkbox]")
    page.locator("#cs-curated input[type=checkbox]").first.check()
    page.get_by_text("1 marked").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="List of paths").click()
    assert download.value.path().read_text().strip().endswith((".png", ".jpg", ".jpeg"))


def test_build_indexes_a_folder_and_pictures_of_the_visitor(visit, photos):
    page = visit("?tab=build")
    page.fill("#cs-build-name textarea, #cs-build-name input", "made-here")
    page.get_by_role("button", name="Index", exact=True).click()
    page.get_by_text("made-here is ready").wait_for(timeout=120_000)
    page.set_input_files("#cs-build-drop input", photo(photos, "coffee.png"))
    page.wait_for_function(
        "document.querySelector('.cs-figures dd')?.textContent === '1'", timeout=120_000
    )
    page.get_by_role("link", name="Search it").click()
    page.wait_for_selector(".cs-card")
    assert any(name.startswith("coffee-") for name in names(page))


def test_learn_shows_the_matrix_and_the_temperature(visit):
    page = visit("?tab=learn")
    page.wait_for_selector(".cs-matrix td b")
    sharp = page.locator(".cs-matrix small").first.inner_text()
    slider = page.locator("input[type=range][max='200']")
    slider.focus()
    slider.press("Home")
    slider.dispatch_event("pointerup")
    page.wait_for_function(
        "sharp => document.querySelector('.cs-matrix small').textContent !== sharp", arg=sharp
    )


def test_spanish_by_the_browser_and_by_choice(visit):
    page = visit(locale="es-ES")
    page.get_by_role("tab", name="Clasificar").wait_for()
    assert page.evaluate("document.documentElement.lang") == "es"
    page.get_by_role("link", name="English").click()
    page.get_by_role("tab", name="Classify").wait_for()


def test_a_phone_has_no_sideways_scrolling_and_a_dark_page_is_dark(visit):
    page = visit("?q=a+cat", width=390, height=844, color_scheme="dark", has_touch=True)
    page.wait_for_selector(".cs-score")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", colour)[:3])) < 60
    page.get_by_role("button", name="Switch between light and dark").click()
    page.wait_for_function("!document.body.classList.contains('dark')")


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


def test_no_index_has_a_friendly_screen(visit, encoder):
    library = Library([], load=lambda name: encoder)
    with served(create_app(Settings(), library=library)) as address:
        visit(at=address).get_by_role("heading", name="No collection yet").wait_for()


def test_a_loading_model_says_so_and_the_search_starts_by_itself(visit, folder, encoder):
    ready = threading.Event()

    def load(name):
        ready.wait(60)
        return encoder

    library = Library([str(folder / "demo")], load=load)
    with served(create_app(Settings(), library=library)) as address:
        page = visit("?q=a+cat", at=address)
        page.get_by_role("heading", name="Loading the model").wait_for()
        ready.set()
        page.wait_for_selector(".cs-score")
        assert names(page)[0] == "chelsea.png"
    library.close()


def test_a_lost_server_is_told(browser, folder, encoder):
    library = Library([str(folder / "demo")], load=lambda name: encoder)
    with served(create_app(Settings(), library=library)) as address:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector(".cs-card")
    page.fill(QUERY, "a cat")
    page.keyboard.press("Enter")
    page.get_by_text("The connection to the server is lost").wait_for()
    page.close()
    library.close()


_SETTLED = {
    "search": ".cs-card",
    "search&q=a+cat": ".cs-score",
    "classify": ".cs-message",
    "why": "#cs-heat .cs-message",
    "map": "canvas",
    "curate": "#cs-marks .cs-markbar",
    "build": "#cs-build-name",
    "learn": ".cs-matrix td b",
}


@pytest.mark.parametrize("name", _SETTLED)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(visit, name, scheme):
    script = axe_script()
    if script is None:
        pytest.skip("axe-core is not installed; run: npm install --no-save axe-core")
    page = visit(f"?tab={name}", color_scheme=scheme)
    page.wait_for_selector(_SETTLED[name])
    time.sleep(0.3)
    page.add_script_tag(path=str(script))
    found = page.evaluate("axe.run()")["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    assert not serious, [(v["id"], v["nodes"][0]["html"][:200]) for v in serious]
