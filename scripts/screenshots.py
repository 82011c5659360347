"""Take the pictures of the front end that the README shows: `make screenshots`.

Needs Chromium (apt install chromium) and `pip install playwright`; downloads nothing. With
`--benchmark`, measures instead, on 10,000 items: the first load, and from Enter to the gallery.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
DESKTOP, PHONE = (1440, 900), (390, 844)
QUERY = "#cs-query textarea, #cs-query input"
SHOTS = (
    # name, address, what to wait for, size, dark, language
    ("search", "?q=a+wild+animal", ".cs-score", DESKTOP, False, "en-US"),
    ("search-dark", "?q=a+wild+animal", ".cs-score", DESKTOP, True, "en-US"),
    ("search-phone", "?q=a+wild+animal", ".cs-score", PHONE, False, "en-US"),
    ("search-spanish", "?q=a+cat", ".cs-score", DESKTOP, False, "es-ES"),
    ("map", "?tab=map", "canvas", DESKTOP, False, "en-US"),
    ("curate", "?tab=curate", ".cs-markbar", DESKTOP, False, "en-US"),
    ("build", "?tab=build", "#cs-build-name", DESKTOP, False, "en-US"),
    ("learn", "?tab=learn", ".cs-matrix td b", DESKTOP, False, "en-US"),
    ("learn-phone-dark", "?tab=learn", ".cs-matrix td b", PHONE, True, "en-US"),
)
COPIES = 10_000


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "screenshots")
    parser.add_argument("--benchmark", action="store_true")
    options = parser.parse_args()
    from clipsearch.ui import Library, Settings, create_app
    from playwright.sync_api import sync_playwright

    from clipsearch import Index, load_encoder
    from clipsearch.cli.demo import demo_photos
    from tests.ui_support import FLAGS, chromium, served

    path = chromium()
    if path is None:
        print("no Chromium here; on Debian and Ubuntu: apt install chromium", file=sys.stderr)
        return 1
    encoder = load_encoder()
    photos = demo_photos()
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["CLIPSEARCH_CACHE"] = str(home / "cache")
        index = stack.enter_context(Index.create(home / "demo", encoder))
        index.add(photos)
        if options.benchmark:
            multiply(index, COPIES)
        library = Library([str(home / "demo")], load=lambda name: encoder)
        address = stack.enter_context(
            served(create_app(Settings(roots=(photos[0].parent,)), library=library))
        )
        driver = stack.enter_context(sync_playwright())
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        if options.benchmark:
            measure(browser, address)
        else:
            options.out.mkdir(parents=True, exist_ok=True)
            for shot in SHOTS:
                take(browser, address, options.out, *shot)
            with_pictures(browser, address, options.out, photos)
        browser.close()
    return 0


def take(
    browser: Any,
    address: str,
    out: Path,
    name: str,
    query: str,
    wait: str,
    size: tuple[int, int],
    dark: bool,
    locale: str,
) -> None:
    """One screen that an address leads to."""
    page = browser.new_page(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        locale=locale,
    )
    page.goto(address + "/" + query)
    page.wait_for_selector(wait, timeout=60_000)
    page.wait_for_timeout(1500)
    page.screenshot(path=out / f"{name}.png")
    print(name)
    page.close()


def with_pictures(browser: Any, address: str, out: Path, photos: list[Path]) -> None:
    """The screens that need a picture of the visitor's, or a click."""

    def photo(name: str) -> str:
        return str(next(path for path in photos if path.name == name))

    page = browser.new_page(viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
    page.goto(f"{address}/?tab=classify")
    page.set_input_files("#cs-classify-drop input", photo("chelsea.png"))
    page.wait_for_selector(".cs-bars", timeout=60_000)
    page.screenshot(path=out / "classify.png")
    page.goto(f"{address}/?tab=why")
    page.wait_for_timeout(1500)
    page.fill("#cs-why-texts textarea", "a rocket\na city at night")
    page.set_input_files("#cs-why-drop input", photo("rocket.jpg"))
    page.wait_for_selector(".cs-heat", timeout=60_000)
    page.wait_for_timeout(500)
    page.screenshot(path=out / "why.png")
    page.goto(f"{address}/?q=a+cat")
    page.locator(".cs-open").first.click()
    page.wait_for_selector("dialog[open]")
    page.wait_for_timeout(800)
    page.screenshot(path=out / "result.png")
    print("classify why result")
    page.close()


def multiply(index: Any, count: int) -> None:
    """Fill an index with near copies of its items, each with a vector of its own."""
    from dataclasses import fields, replace

    from clipsearch.types import Record

    rng = np.random.default_rng(0)
    items = index.items()
    vectors = index.vectors([item.id for item in items], "image")
    known = [field.name for field in fields(Record)]
    with index.writer() as writer:
        for place in range(count - len(items)):
            item, vector = items[place % len(items)], vectors[place % len(items)]
            record = Record(**{name: getattr(item, name) for name in known})
            moved = vector + rng.normal(scale=0.02, size=vector.shape)
            writer.put(
                replace(record, key=f"{item.key}#{place}"),
                image=(moved / np.linalg.norm(moved)).astype(np.float32),
            )


def measure(browser: Any, address: str) -> None:
    """Print the first load, and the times from Enter to the gallery."""
    page = browser.new_page(viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
    started = time.perf_counter()
    page.goto(address)
    page.wait_for_selector(".cs-card")
    print(f"first load, to the first cards: {time.perf_counter() - started:.2f} s")
    script = """text => new Promise(done => {
      const field = document.querySelector('#cs-query textarea, #cs-query input');
      const started = performance.now();
      const watch = new MutationObserver(() => {
        const grid = document.querySelector('.cs-grid');
        if (grid && new URLSearchParams(grid.dataset.link).get('q') === text) {
          watch.disconnect();
          requestAnimationFrame(() => done(performance.now() - started));
        }
      });
      watch.observe(document.querySelector('#cs-gallery'), {subtree: true, childList: true});
      field.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}));
      field.dispatchEvent(new KeyboardEvent('keypress', {key: 'Enter', bubbles: true}));
    })"""
    texts = ["a cat", "a rocket", "coffee", "a temple", "an animal", "a bus", "the moon", "grass"]
    taken = []
    for text in [*texts, *(f"{text} outside" for text in texts)]:
        page.fill(QUERY, text)
        page.wait_for_timeout(150)
        taken.append(page.evaluate(script, text))
    print(f"{COPIES:,} items, Enter to gallery, {len(taken)} different searches:")
    print(f"median {statistics.median(taken):.0f} ms, slowest {max(taken):.0f} ms")


if __name__ == "__main__":
    sys.exit(main())
