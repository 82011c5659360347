"""One browser and one page's server for all of these tests."""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest
from clipsearch.ui import Library, Settings, create_app
from PIL import Image

from clipsearch import Index, ZeroShotClassifier
from clipsearch.engine.identity import state_of
from clipsearch.known import remember_folders
from clipsearch.tags import tag_index
from clipsearch.types import Record

from ..ui_support import FLAGS, chromium, served

# Gradio looks every choice up among its own messages, such as the tag "image"; a Chromium without a
# graphics card says of WebGL that reading its pixels takes time.
_HARMLESS = ("svelte-i18n", "GL Driver Message (OpenGL, Performance")
LARGE = 150  # items; three screens of the gallery


@dataclass(frozen=True)
class Site:
    """What is served: its address, the home of indexes, the folder that may be indexed."""

    url: str
    home: Path
    root: Path


@pytest.fixture(scope="package")
def browser():
    path = chromium()
    if path is None:
        pytest.skip("no Chromium here; on Debian and Ubuntu: apt install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="package")
def site(browser, tmp_path_factory, photos, encoder):
    folder = tmp_path_factory.mktemp("page")
    home, root = folder / "indexes", folder / "allowed"
    root.mkdir()
    with Index.create(home / "demo", encoder) as index:
        index.add(photos)
        labels = ZeroShotClassifier(encoder, ["cat", "lion", "cup"])
        tag_index(index, labels, threshold=0.5)
        _enlarged(index, home / "large", encoder)
    Index.create(home / "bare", encoder).close()
    _allowed(root, photos)
    shown = [str(home / name) for name in ("demo", "bare", "large")]
    library = Library(shown, load=lambda name: encoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPSEARCH_INDEXES", str(home))
        patch.setenv("CLIPSEARCH_CACHE", str(folder / "cache"))
        with served(create_app(Settings(roots=(root,)), library=library)) as address:
            yield Site(address, home, root)
    library.close()


def _allowed(root, photos):
    """A folder with photos, a file that is no picture, a captioned table, and many pictures."""
    (root / "few").mkdir()
    for photo in photos[:3]:
        shutil.copy(photo, root / "few" / photo.name)
    (root / "few" / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    with (root / "table.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "caption"])
        rows.writerows([f"few/{photo.name}", f"number {n}"] for n, photo in enumerate(photos[:3]))
    (root / "many").mkdir()
    rng = np.random.default_rng(0)
    for n in range(2000):  # more than can be encoded before a person cancels
        pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "many" / f"{n}.bmp")


def _enlarged(index, folder, encoder):
    """Another index with near copies of the items of this one."""
    rng = np.random.default_rng(0)
    items = index.items()
    vectors = index.vectors([item.id for item in items], "image")
    known = [field.name for field in fields(Record)]
    with Index.create(folder, encoder) as large, large.writer() as writer:
        for place in range(LARGE):
            item, vector = items[place % len(items)], vectors[place % len(items)]
            record = Record(**{name: getattr(item, name) for name in known})
            moved = vector + rng.normal(scale=0.02, size=vector.shape)
            record = replace(
                record,
                key=f"{item.key}#{place}",
                taken_at=f"{2015 + place // 20}-{1 + place % 12:02}-10T12:00:00",
                camera=("Canon", "Nikon", None)[place % 3],
            )
            writer.put(
                record,
                image=(moved / np.linalg.norm(moved)).astype(np.float32),
            )
        index_id = writer.read(state_of).index_id
    remember_folders(index_id, folder, index.indexed_folders())  # `put` opens no file


@pytest.fixture(scope="package")
def _warm(browser):
    """A context whose cache holds the page's scripts already, as that of a second visit does."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    yield context
    context.close()


@pytest.fixture
def visit(browser, site, _warm):
    """Open a page; whatever the console or the page complains of fails the test."""
    problems: list[str] = []
    opened = []

    _warm.clear_cookies()  # such as the language that another test has chosen

    def open_page(query="", *, at=None, width=1440, height=900, **options):
        context = _warm
        if options or width != 1440:
            size = {"width": width, "height": height}
            context = browser.new_context(viewport=size, **options)
        context.set_default_timeout(60_000)
        page = context.new_page()
        opened.append(page if context is _warm else context)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda said: (
                problems.append(said.text)
                if said.type in ("error", "warning") and not any(map(said.text.count, _HARMLESS))
                else None
            ),
        )
        page.goto(f"{at or site.url}/{query}")
        page.wait_for_selector("#cs-tabs")
        return page

    yield open_page
    for what in opened:
        what.close()
    assert not problems
