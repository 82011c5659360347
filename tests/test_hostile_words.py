"""One hostile text as name, caption, tag, label, camera and column, through every face."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from urllib.parse import quote

import httpx
import pytest
from clipsearch.ui import Library, Settings, create_app
from clipsearch.ui.spec import SearchSpec
from hypothesis import given, strategies
from PIL import Image

from clipsearch import Index, server
from clipsearch.names import shell_word, shown
from clipsearch.server.process import _Lines
from clipsearch.spreadsheet import write_csv

from .test_ui_sessions import event, send
from .ui_support import QUERY, chromium, served

pytestmark = pytest.mark.filterwarnings(
    "ignore:a text of:clipsearch.errors.ClipSearchWarning",
    "ignore:The value passed into gr.Dropdown:UserWarning",  # a filter that no image has
)
TEXT = (
    '=HYPERLINK("http://x","y")\x1b[31m\x1b]0;owned\x07\r\nline\t\x9b2J\u202egnp\u2028\x7f'
    "<img src=x onerror=window.hacked=1>'\"&amp;</title></script><script>window.hacked=1</script>"
    "javascript:alert(1)${window.hacked=1}{{7*7}}[bold]$\\frac$"
)
NAME = TEXT.replace("/", "").replace("&amp;", "&")
CLASS = NAME[:120].replace(":", "").replace(",", "")  # which part a label from its synonyms
# What a terminal acts on; of a line feed, its own lines are made.
HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photos):
    """Photos with the text wherever a photo can have one, and their table."""
    folder = tmp_path_factory.mktemp("hostile")
    for number, photo in enumerate(photos[:4]):
        exif = Image.Exif()
        exif[0x010E] = exif[0x0110] = exif[0x013B] = TEXT
        with Image.open(photo) as opened:
            image = opened.convert("RGB").resize((96, 96))
        path = folder / "pictures" / TEXT.partition("/")[0] / f"{number}{NAME}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, exif=exif)
    shutil.copy(path, path.with_name(f"9{NAME}.jpg"))
    (folder / "pictures" / f"broken{NAME}.jpg").write_bytes(b"\xff\xd8 no picture")
    (folder / "pictures" / f"{NAME[:80]}.x{NAME[:40]}").write_text("no image")
    rows = [
        {"image": str(path.relative_to(folder)), "caption": TEXT, TEXT: TEXT, "number": "-33.858"}
        for path in sorted((folder / "pictures").rglob("[0-9]*.jpg"))
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "table.jsonl").write_text(lines)
    (folder / "labels.json").write_text(json.dumps({TEXT: [TEXT], "cat": ["a cat"]}))
    return folder


@pytest.fixture(scope="module")
def home(folder, encoder):
    """An index of the table and of the folder, tagged."""
    from clipsearch import ZeroShotClassifier
    from clipsearch.tags import tag_index

    home = folder / "indexes"
    with Index.create(home / "table", encoder) as index:
        index.add(folder / "table.jsonl")
        labels = ZeroShotClassifier(encoder, [TEXT, "cat"], templates="none")
        tag_index(index, labels, threshold=0, multi_label=True)
    with Index.create(home / "photos", encoder) as index:
        index.add(folder / "pictures")
    return home


def test_no_command_lets_it_reach_a_terminal_or_a_spreadsheet(
    cli, folder, home, encoder, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "200")
    for name, module in list(sys.modules.items()):  # every command would load the model again
        for load in ("load_encoder", "load_text_encoder"):
            if name.startswith("clipsearch") and hasattr(module, load):
                monkeypatch.setattr(module, load, lambda *_, **__: encoder)

    def harmless(*arguments, expect=0):
        done = cli(*arguments, expect=expect)
        assert not HARMFUL.search(done.stdout.replace("\r\n", "\n")), arguments  # CSV's lines
        assert not HARMFUL.search(done.stderr), arguments
        return done

    monkeypatch.setenv("CLIPSEARCH_INDEXES", str(home))
    table, pictures = ["-i", home / "table"], ["-i", home / "photos"]
    classes = folder / "classes"
    photos = sorted((folder / "pictures").rglob("[0-9]*.jpg"))
    for name, photo in zip((CLASS, "cat", CLASS, "cat"), photos[:4], strict=True):
        (classes / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, classes / name)
    reported = folder / f"report{NAME[:60]}.jsonl"
    harmless("index", folder / "pictures", "-i", "new", "--report", reported, expect=3)
    assert not HARMFUL.search(reported.read_text())
    for output in ("table", "json", "jsonl", "paths"):
        found = harmless("search", TEXT, *table, "-f", output)
    assert len(harmless("search", TEXT, *pictures, "-f", "paths").stdout.splitlines()) == 5
    hits = json.loads(harmless("search", TEXT, *table, "--hybrid", "-f", "json").stdout)
    assert hits["query"] == [{"text": TEXT, "weight": 1.0}]
    assert [hit["caption"] for hit in hits["hits"]] == [TEXT.strip()] * 5
    assert hits["hits"][0]["extra"][TEXT] == TEXT
    for arguments in (
        ["search", "--where", f"tag = '{shown(TEXT)[:5]}'", *table],
        ["search", "--where", "id > 0", *pictures],
        ["info", *table],
        ["info", "--skipped", *pictures],
        ["verify", *table],
        ["tag", *table, "--labels", folder / "labels.json"],
        ["tag", *table, "-l", TEXT, "-l", "cat", "-t", "none", "-f", "json"],
        ["export", folder / f"{NAME[:100]}.parquet", *table],
        ["evaluate", "zeroshot", classes, "-t", "none", "--json", folder / "figures.json"],
        ["fit", classes, "-t", "none", "-o", folder / f"{NAME[:60]}.clip"],
    ):
        harmless(*arguments)
    for arguments in (
        ["search", TEXT, "-i", TEXT],
        ["search", "--where", TEXT, *table],
        ["search", "--image", NAME + ".jpg", *table],
        ["classify", folder / NAME, "-l", "x"],
        ["index", folder / NAME, "-i", "new"],
        ["index", folder / "table.jsonl", "-i", "new", "--captions", TEXT + "x"],
        ["fit", classes, "-o", folder / NAME],
    ):
        harmless(*arguments, expect=None)
    for arguments in (
        ["pairs", *table],
        ["duplicates", *pictures, "--threshold", "0.1"],
        ["classify", *photos, "--labels", folder / "labels.json"],
    ):
        for output in ("table", "json", "csv"):
            found = harmless(*arguments, "-f", output)
        rows = list(csv.reader(io.StringIO(found.stdout)))
        assert len(rows) > 2
        assert all(is_inert(cell) for row in rows for cell in row)


def is_inert(cell):
    """Whether a spreadsheet takes a cell, or a part that it may split off, for no formula."""
    return all(
        re.fullmatch(r"[-+]?[0-9.]+(e[-+][0-9]+)?", part.strip())
        or not part.strip().startswith(tuple("=+-@\uff1d\uff0b\uff0d\uff20"))
        for part in re.split("[;\t\n]", cell)
    )


@given(strategies.text(alphabet="=+-@\uff1d; \t\r\n1.e'\x1b\u202eab", max_size=12))
def test_no_cell_of_a_csv_is_a_formula_and_numbers_stay_numbers(text):
    file = io.StringIO()
    write_csv(file, [[text, -33.858, "-33.858", "+1e-5", None]])
    ((cell, *numbers),) = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert is_inert(cell)
    assert not HARMFUL.search(cell)
    assert cell.replace("'", "") == shown(text, lines=True).replace("'", "")
    assert numbers == ["-33.858", "-33.858", "+1e-5", ""]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_command_to_copy_is_harmless_and_means_the_same(tmp_path):
    for text in (TEXT, "it's plain", "a\\x1b b", "a'\\\x1b", "caf\udce9\n"):
        word = shell_word(text)
        assert not HARMFUL.search(word)
        assert "\n" not in word
        done = subprocess.run(
            ["bash", "-c", f"printf %s {word}"], stdout=subprocess.PIPE, check=True,
            env={"LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        assert done.stdout == text.encode("utf-8", "surrogateescape")
    command, _ = SearchSpec(text=TEXT).command("photos")
    assert not HARMFUL.search(command)
    assert shlex.split(SearchSpec(text="a dog").command("my photos")[0])[2:] == [
        "a dog", "-i", "my photos",
    ]  # fmt: skip


def test_no_text_forges_a_line_of_the_log():
    forged = '\n{"status": 200}\x1b[2K\r'
    try:
        raise ValueError(forged)
    except ValueError:
        record = logging.makeLogRecord(
            {"msg": "request %s failed", "args": (forged,), "exc_info": sys.exc_info()}
        )
    lines = _Lines("%(message)s").format(record).split("\n")
    assert not HARMFUL.search("".join(lines))
    assert all(line.startswith("| ") for line in lines[1:])
    assert lines[0].startswith("request ")


def test_plots_draw_it_as_text(tmp_path):
    from clipsearch import plots

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that the font lacks
        plots.plot_confusions(tmp_path / "a.png", [(TEXT, "$\\frac$", 3)])
        plots.plot_models(tmp_path / "b.png", [("$x_$" + TEXT[:30], 1.0, 0.5)], quality="top-1")
        plots.plot_reliability(tmp_path / "c.png", {"$\\sqrt$": [(0.1, 0.2, 3)]})
    assert plots._label("a$b\n") == r"a\$b\n"


def test_http_answers_with_the_text_itself_as_data_and_headers_hold_none(home, encoder):
    indexes = {"table": home / "table", shown(TEXT)[:40]: home / "photos"}
    with (
        served(server.create_app(encoder, indexes, ui=False)) as url,
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        asked = {"text": TEXT, "k": 4}
        answer = http.post("/v1/indexes/table/search", json=asked)
        (hit, *_) = answer.json()["hits"]
        assert (hit["caption"], hit["extra"][TEXT]) == (TEXT.strip(), TEXT)
        assert "\x1b" not in answer.text
        answers = (
            answer,
            http.get("/v1/indexes"),
            http.post("/v1/indexes/table/search", json={"text": "a", "where": TEXT}),
            http.post("/v1/indexes/table/search", json={TEXT: TEXT}),
            http.get(f"/v1/indexes/{quote(NAME)}"),
            http.get("/v1/indexes/table/items/1/image", headers={"X-Request-ID": NAME[:20]}),
            http.get("/metrics"),
        )
        for answer in answers:
            kind = answer.headers["content-type"].partition(";")[0]
            assert kind in (
                "application/json",
                "application/problem+json",
                "image/jpeg",
                "text/plain",
            )
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert not any(HARMFUL.search(value) for value in answer.headers.values())
            assert answer.status_code < 500


class _Elements(HTMLParser):
    """Elements, attributes and texts of a piece of HTML."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def site(home, encoder):
    shown_ones = [str(home / "table"), str(home / "photos")]
    library = Library(shown_ones, load=lambda name: encoder)
    app = create_app(Settings(language="en", roots=(home.parent,)), library=library)
    with served(app) as url, httpx.Client(base_url=url, timeout=120) as http:
        while library.hub.model_state(encoder.name) != "ready":
            library.hub.prepare(encoder.name)
        yield http
    library.close()


def test_the_page_shows_it_as_text_in_every_tab(site):
    image = _data_url()
    asked = httpx.QueryParams({"index": "table", "q": TEXT, "c": f"1:t:{TEXT}", "camera": TEXT})
    pieces = {
        "search": fetched(site, "results", {"index": "table", "q": "cat"}),
        "asked": fetched(site, "results", asked),
        "photos": fetched(site, "results", {"index": "photos"}),
        "wrong": fetched(site, "results", {"index": NAME, "where": "x"}),
        "item": fetched(site, "items/table/1"),
        "captions": fetched(site, "items/table/1/captions"),
        "curate": fetched(site, "curate", {"index": "table", "where": TEXT}),
        "map": send(site, event(site, "cs-router", "to_map"), "s", "?index=table"),
        "why": send(site, event(site, "cs-router", "to_why"), "s", f"?index=table&item=1&{asked}"),
        **{
            lesson: send(
                site,
                event(site, "cs-router", "to_learn"),
                "s",
                f"?index=table&tab=learn&lesson={lesson}",
            )
            for lesson in ("space", "contrast", "attention")
        },
    }
    given = {"pictures": [{"name": TEXT, "data": image}, {"name": TEXT, "data": "data:,x"}]}
    send(site, event(site, "cs-classify-drop", "given"), "s", None, data=given)
    pieces["classify"] = send(
        site, event(site, "cs-classified", "again"), "s", None, f"{TEXT}\ncat", True, "none"
    )
    assert "HYPERLINK" in str(pieces["classify"])
    for where, values in pieces.items():
        texts = [value for value in values if isinstance(value, str) and "<" in value]
        if where == "why":
            texts = [text for text in texts if text != TEXT.strip()]
        assert texts, where
        for text in texts:
            found = _Elements(text)
            if not text.startswith("<"):
                continue  # the value of a field
            for tag, attributes in found.elements:
                assert tag not in ("script", "iframe", "object", "title"), where
                assert not [name for name in attributes if name.startswith("on")], where
                for link in (attributes.get("src"), attributes.get("href")):
                    assert link is None or link.startswith(("media/", "data:", "?")), (where, link)
                assert not any(HARMFUL.search(value or "") for value in attributes.values()), where
            assert not HARMFUL.search("".join(found.texts)), where


def fetched(site, path, asked=None):
    """What the page's script shows as HTML of an answer."""
    answer = site.get(f"/page/{path}", params=asked).json()
    kinds = ("chips", "summary", "relevance", "share", "notice", "table", "html")
    return [answer[kind] for kind in kinds if answer.get(kind)]


def _data_url():
    import base64

    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


@pytest.mark.browser
def test_nothing_of_it_runs_in_a_browser(site):
    path = chromium()
    if path is None:
        pytest.skip("no Chromium here; on Debian and Ubuntu: apt install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    from .ui_support import FLAGS

    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(60_000)
        spoken = []
        page.on("dialog", lambda dialog: (spoken.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: spoken.append(str(error)))

        def is_calm(where):
            page.wait_for_timeout(300)
            assert page.evaluate("window.hacked === undefined"), where
            assert page.locator("img[src=x], img[onerror]").count() == 0, where
            assert not spoken, where

        asked = httpx.QueryParams({"q": TEXT, "c": f"1:t:{TEXT}", "camera": TEXT, "tag": TEXT})
        for query in (
            "?index=table", "?index=table&q=cat", f"?index=table&{asked}", "?index=photos",
            "?tab=curate", "?tab=map&index=table", "?tab=learn", "?tab=classify",
            f"?tab=why&index=table&item=1&{httpx.QueryParams({'text': TEXT})}",
        ):  # fmt: skip
            page.goto(f"{site.base_url}{query}".replace("//?", "/?"))
            page.wait_for_selector("#cs-tabs")
            page.wait_for_timeout(1500)
            is_calm(query)
        page.goto(f"{site.base_url}?index=table".replace("//?", "/?"))
        page.wait_for_selector(".cs-card")
        page.click(".cs-open >> nth=0")
        page.wait_for_selector("dialog[open]")
        assert "onerror" in page.inner_text("dialog[open]")
        is_calm("dialog")
        page.click("dialog[open] [data-do=more]")
        page.wait_for_selector(".cs-chip")
        is_calm("chip")
        page.locator(".cs-facethead").wait_for()
        is_calm("facets")
        page.fill(QUERY, TEXT)
        page.keyboard.press("Enter")
        is_calm("typed")
        browser.close()
