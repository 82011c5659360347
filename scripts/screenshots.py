"""Take the pictures of the front end that the README shows: `make screenshots`.

Needs Chromium (apt install chromium); downloads nothing. The demo's photos are what is shown.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
DESKTOP, PHONE = (1440, 900), (390, 844)
QUERY = "#cs-query textarea, #cs-query input"
SHOTS = (
    # name, address, what to wait for, size, dark, language
    ("search", "?q=a+cat", ".cs-score", DESKTOP, False, "en-US"),
    ("search-dark", "?q=a+cat", ".cs-score", DESKTOP, True, "en-US"),
    ("search-phone", "?q=a+cat", ".cs-score", PHONE, False, "en-US"),
    ("search-spanish", "?q=una+taza+de+caf%C3%A9", ".cs-score", DESKTOP, False, "es-ES"),
    ("map", "?tab=map", "canvas", DESKTOP, False, "en-US"),
    ("curate", "?tab=curate", ".cs-twin, #cs-curate .cs-message", DESKTOP, False, "en-US"),
    ("build", "?tab=build", "#cs-add-goal input", DESKTOP, False, "en-US"),
    ("learn", "?tab=learn", ".cs-matrix td b", DESKTOP, False, "en-US"),
    ("learn-contrast", "?tab=learn&lesson=contrast", ".cs-batch td b", DESKTOP, False, "en-US"),
    ("learn-attention", "?tab=learn&lesson=attention", ".cs-looks table", DESKTOP, False, "es-ES"),
    ("learn-phone-dark", "?tab=learn", ".cs-matrix td b", PHONE, True, "en-US"),
)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "screenshots")
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
        library = Library([str(home / "demo")], load=lambda name: encoder)
        address = stack.enter_context(
            served(create_app(Settings(roots=(photos[0].parent,)), library=library))
        )
        driver = stack.enter_context(sync_playwright())
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
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
    keep(page, out / f"{name}.png")
    page.close()


def keep(page: Any, path: Path) -> None:
    """What the page shows, in 128 colours: a repository keeps every version of a picture."""
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    image.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} kB")


def with_pictures(browser: Any, address: str, out: Path, photos: list[Path]) -> None:
    """The screens that need a picture of the visitor's, or a click."""

    def photo(name: str) -> str:
        return str(next(path for path in photos if path.name == name))

    page = browser.new_page(viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
    page.goto(f"{address}/?tab=classify")
    page.set_input_files("#cs-classify-drop input", photo("chelsea.png"))
    page.wait_for_selector(".cs-bars", timeout=60_000)
    keep(page, out / "classify.png")
    page.goto(f"{address}/?tab=why")
    page.wait_for_timeout(1500)
    page.fill("#cs-why-texts textarea", "a rocket\na city at night")
    page.set_input_files("#cs-why-drop input", photo("rocket.jpg"))
    page.wait_for_selector(".cs-heat", timeout=60_000)
    page.wait_for_timeout(500)
    keep(page, out / "why.png")
    page.goto(f"{address}/?q=a+cat")
    page.locator(".cs-open").first.click()
    page.wait_for_selector("dialog[open]")
    page.wait_for_timeout(800)
    keep(page, out / "result.png")
    page.close()


if __name__ == "__main__":
    sys.exit(main())
