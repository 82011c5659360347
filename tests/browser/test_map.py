"""The Map tab: zoom, selections of any size, names of groups, scores."""

from __future__ import annotations

import re

import pytest

from ..ui_support import QUERY, names, search
from .conftest import LARGE

pytestmark = pytest.mark.browser

_MARK = ".cs-mapmark:not([hidden]), .cs-mapthumb.cs-marked"
_PLOT = "document.querySelector('.cs-canvasbox').csPlot"
# Where the first point that no other hides is on the screen.
_POINT = f"""() => {{
  const plot = {_PLOT};
  const box = plot.canvas.getBoundingClientRect();
  for (let i = 0; i < plot.count; i++) {{
    const [x, y] = plot.view.toScreen(plot.places[2 * i], plot.places[2 * i + 1]);
    if (plot.at([x, y]) === i && y > 90) return [box.left + x, box.top + y, plot.ids[i]];
  }}
}}"""
# Pairs of labels, and of labels and tools, that lie over each other.
_OVERLAPS = """() => {
  const shown = [...document.querySelectorAll('.cs-maplabel:not(.cs-off), .cs-maptools > div')]
    .map(one => one.getBoundingClientRect());
  return shown.flatMap((a, i) => shown.slice(i + 1).filter(b =>
    a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)).length;
}"""


def the_map(visit, query="", **options):
    page = visit(f"?tab=map{query}", **options)
    page.wait_for_selector("[data-ready]")
    page.locator(".cs-canvasbox canvas").scroll_into_view_if_needed()
    return page


def look(page, what):
    return page.evaluate(f"{_PLOT}.{what}")


def picked(page):
    """How many are selected; the bar and the map say the same."""
    count = page.evaluate("cs.picked.size")
    told = page.locator("#cs-pickedbar strong")
    assert not count or told.inner_text() == f"{count:,} selected"
    assert len(look(page, "picked")) == count
    return count


def only_these(page):
    page.locator("#cs-pickedbar [data-pick=only]").click()
    page.wait_for_url(re.compile(r"selection=[0-9a-f]{32}$"))
    page.wait_for_selector("#cs-gallery .cs-card")


def test_the_map_names_its_groups_and_a_part_of_it_becomes_a_filter(visit):
    page = the_map(visit)
    assert page.locator("[data-group]").count() >= 3
    labels = page.eval_on_selector_all(
        "[data-group]", "all => all.map(one => one.childNodes[1].textContent.trim())"
    )
    assert len(set(labels)) == len(labels), "two groups have the same name"
    assert any("lion" in label for label in labels)
    assert page.locator(".cs-maplabel").count() == len(labels)
    assert page.locator(".cs-maplabel:visible").count() >= 3
    assert not page.evaluate(_OVERLAPS)
    x, y, _ = page.evaluate(_POINT)
    page.mouse.move(x, y)
    page.wait_for_function(
        "document.querySelector('.cs-hover:not([hidden]) img')?.naturalWidth > 0"
    )
    page.wait_for_function("document.querySelector('.cs-hover span').textContent.includes('.')")
    page.get_by_role("button", name="Rectangle").click()
    page.mouse.move(x - 45, y - 45)
    page.mouse.down()
    page.mouse.move(x + 45, y + 45, steps=4)
    page.mouse.up()
    count = picked(page)
    only_these(page)
    assert len(names(page)) == count > 0
    search(page, "a cat")  # the search stays within what was chosen
    assert len(names(page)) == count


def test_a_selection_too_large_for_a_link_is_searched_whole_and_again_after_a_reload(visit):
    page = the_map(visit, "&index=large")
    page.get_by_role("button", name="Lasso").click()
    box = page.locator(".cs-canvasbox canvas").bounding_box()
    left, top, width, height = (box[key] for key in ("x", "y", "width", "height"))
    page.mouse.move(left + 2, top + 60)
    page.mouse.down()
    for x, y in ((2, height - 3), (width - 3, height - 3), (width - 3, 60)):
        page.mouse.move(left + x, top + y, steps=3)
    page.mouse.up()
    assert picked(page) == LARGE
    only_these(page)
    for _ in range(2):
        page.get_by_text(f"{LARGE} of {LARGE} images in large").wait_for()
        page.reload()
    search(page, "a cat")
    assert f"{LARGE} results" in page.locator(".cs-count").inner_text()
    address = page.url
    page.goto(re.sub("index=large", "index=demo", address))
    page.get_by_text("That selection was made in another collection.").wait_for()
    page.goto(re.sub("selection=[0-9a-f]+", f"selection={'0' * 32}", address))
    page.get_by_text("That selection is no longer kept.").wait_for()


def test_the_map_is_coloured_by_group_tag_or_score(visit):
    page = the_map(visit)
    page.get_by_label("match with the search", exact=True).check()
    page.get_by_text("Search for something above").wait_for()
    page.fill(QUERY, "a cat")
    page.keyboard.press("Enter")
    page.wait_for_selector(".cs-mapside .cs-scale")
    assert page.locator(".cs-mapside [data-group]").count() == 0
    assert re.search(r"better than chance", page.locator(".cs-mapside").inner_text())
    page.wait_for_selector("[data-ready]")
    page.get_by_role("button", name="Select those that fit").click()
    fitting = picked(page)
    assert 0 < fitting < 10
    page.fill(QUERY, "a submarine")
    page.keyboard.press("Enter")
    page.get_by_text("No image fits this text better than chance").wait_for()
    page.wait_for_selector("[data-ready]")
    assert max(look(page, "codes")) < 200, "nothing fits, and something glows"
    assert picked(page) == fitting, "a selection lasts while colors change"
    page.get_by_label("tag", exact=True).check()
    page.wait_for_selector(".cs-mapside [data-group]:has-text('no tag')")
    assert "lion" in page.locator(".cs-mapside").inner_text()


def test_the_map_is_zoomed_and_moved_by_wheel_drag_and_keys_and_shows_images_when_near(visit):
    page = the_map(visit, "&index=large")
    before = look(page, "thumbnails.count")
    x, y, _ = page.evaluate(_POINT)
    page.mouse.move(x, y)
    for _ in range(6):
        page.mouse.wheel(0, -120)
    page.wait_for_function(f"{_PLOT}.view.scale > 3")
    page.wait_for_function(f"{_PLOT}.thumbnails.count > 0")
    page.wait_for_function("document.querySelector('.cs-mapthumb').naturalWidth > 0")
    assert look(page, "thumbnails.count") != before
    middle = look(page, "view.x")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 120, y, steps=3)
    page.mouse.up()
    assert look(page, "view.x") < middle
    page.locator(".cs-canvasbox canvas").focus()
    middle, scale = look(page, "view.x"), look(page, "view.scale")
    page.keyboard.press("ArrowRight")
    assert look(page, "view.x") > middle
    page.keyboard.press("-")
    assert look(page, "view.scale") < scale
    page.keyboard.press("0")
    assert look(page, "view.scale") == 1
    page.keyboard.press("+")
    assert look(page, "view.scale") > 1


def test_a_tap_opens_an_image_and_the_large_view_shows_where_it_is(visit):
    page = the_map(visit)
    x, y, id_ = page.evaluate(_POINT)
    address = page.url
    page.mouse.click(x, y)
    page.wait_for_selector(f".cs-dialog[open][data-item='{id_}']")
    assert page.locator(".cs-prev").is_disabled()
    page.wait_for_selector(".cs-dialog dd")
    page.keyboard.press("ArrowRight")  # the nearest one
    page.wait_for_selector(f".cs-dialog:not([data-item='{id_}'])")
    other = page.locator(".cs-dialog").get_attribute("data-item")
    assert int(other) in page.evaluate(
        f"id => {_PLOT}.around({_PLOT}.ids.indexOf(id), 3).map(i => {_PLOT}.ids[i])", id_
    )
    page.reload()
    page.wait_for_selector(f".cs-dialog[open][data-item='{other}']")
    page.go_back()
    page.wait_for_selector(".cs-dialog", state="hidden")
    assert page.url == address
    page.wait_for_selector("[data-ready]")
    page.locator(".cs-canvasbox canvas").focus()
    page.evaluate("id => { cs.go(`tab=map&index=demo&item=${id}`); }", id_)
    page.wait_for_selector(_MARK)
    page.keyboard.press("Enter")
    page.wait_for_selector(f".cs-dialog[open][data-item='{id_}']")
    page.get_by_role("button", name="Show on the map").click()
    page.wait_for_selector(".cs-dialog", state="hidden")
    page.goto(f"{address.split('?')[0]}?q=a+cat")
    page.locator(".cs-card .cs-open").first.click()
    cat = page.locator(".cs-dialog[open]").get_attribute("data-item")
    page.get_by_role("button", name="Show on the map").click()
    page.wait_for_selector(_MARK)
    assert look(page, "view.scale") >= 12
    assert page.evaluate(f"{_PLOT}.ids[{_PLOT}.at({_PLOT}.view.middle)]") == int(cat)


def test_a_hundred_thousand_points_are_selected_at_once_and_shown_as_selected(visit):
    page = the_map(visit)
    page.evaluate(
        f"""count => {{
        const plot = {_PLOT}, {{palette, source}} = plot;
        const ids = Float64Array.from({{length: count}}, (_, i) => i + 1);
        const places = Float32Array.from({{length: 2 * count}}, (_, i) => (i * 0.618033) % 1);
        const codes = Uint8Array.from({{length: count}}, (_, i) => i % 12);
        plot.show({{ids, places, codes, byCode: false, palette, source, groups: []}});
    }}""",
        100_000,
    )
    page.get_by_role("button", name="Select what is in view").click()
    assert picked(page) == 100_000
    page.mouse.click(5, 5)
    page.keyboard.press("Escape")
    assert picked(page) == 0


def test_two_fingers_enlarge_the_map_on_a_phone(visit):
    page = the_map(visit, width=390, height=844, has_touch=True)
    assert not page.evaluate(_OVERLAPS)
    box = page.locator(".cs-canvasbox canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + 250
    fingers = page.context.new_cdp_session(page)
    for kind, apart in (("touchStart", 30), ("touchMove", 60), ("touchMove", 110)):
        points = [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_function(f"{_PLOT}.view.scale > 2")


def test_with_and_without_a_graphics_card_the_map_looks_the_same(visit, site):
    page = visit()
    page.add_init_script("WebGL2RenderingContext.prototype.getParameter = () => 'a graphics card';")
    page.goto(f"{site.url}/?tab=map")
    page.wait_for_selector("[data-ready]")
    assert look(page, "points.constructor.name") == "WebglPoints"
    alike = page.evaluate(
        f"""async () => {{
        const plot = {_PLOT}, {{canvas}} = plot, {{width, height}} = canvas;
        const script = JSON.parse(document.querySelector('[data-map]').dataset.map).script;
        const {{CanvasPoints}} = await import(
          new URL(script.replace('tab.js', 'canvas2d.js'), document.baseURI));
        const box = Object.assign(document.createElement('div'), {{style: 'background: #000'}});
        const other = Object.assign(document.createElement('canvas'), {{width, height}});
        box.append(other);
        document.body.append(box);
        const points = CanvasPoints.on(other);
        points.set(plot.points.data);
        points.draw(plot.view, 6, plot.ratio);
        const plain = points.pen.getImageData(0, 0, width, height).data;
        plot.points.draw(plot.view, 6, plot.ratio);
        const drawn = new Uint8Array(4 * width * height);
        plot.points.gl.readPixels(0, 0, width, height, 6408, 5121, drawn);
        let both = 0, either = 0;
        for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {{
          const one = 4 * (y * width + x), two = 4 * ((height - 1 - y) * width + x);
          const lit = plain[one] + plain[one + 1] + plain[one + 2] > 60;
          const shone = drawn[two] + drawn[two + 1] + drawn[two + 2] > 60;
          if (lit || shone) either++;
          const near = [0, 1, 2].every((b) => Math.abs(plain[one + b] - drawn[two + b]) < 90);
          if (lit && shone && near) both++;
        }}
        return both / either;
    }}"""
    )
    assert alike > 0.8
    page.add_init_script(
        "const get = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
        "  return kind === 'webgl2' ? null : get.call(this, kind, ...rest); };"
    )
    page.reload()
    page.wait_for_selector("[data-ready]")
    assert look(page, "points.constructor.name") == "CanvasPoints"
