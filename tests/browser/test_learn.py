"""The Learn tab: its lessons, one at a time, and what a student does in them."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from clipsearch.ui import Library, Settings, create_app

from clipsearch import Index, load_encoder
from clipsearch.explore.attention import image_attention, toy_attention
from clipsearch.explore.thumbnails import reduced
from clipsearch.images import load_image

from ..ui_support import photo, served

pytestmark = pytest.mark.browser


def loss_of(page):
    return float(page.locator(".cs-loss b").first.inner_text())


def changes(page, act):
    """The loss after something was done that changes it."""
    before = page.locator(".cs-loss b").first.inner_text()
    act()
    page.wait_for_function(
        "before => { const now = document.querySelector('.cs-loss b');"
        " return now && now.textContent !== before; }",
        arg=before,
    )
    return loss_of(page)


def test_lessons_are_links_that_become_the_address_and_keep_the_search(visit):
    page = visit("?tab=learn&q=a+cat&index=demo")
    page.wait_for_selector(".cs-matrix td b")
    page.get_by_role("link", name="Contrastive training").first.click()
    page.wait_for_selector(".cs-batch td b")
    assert "lesson=contrast" in page.url
    assert "q=a+cat" in page.url
    assert page.evaluate("document.activeElement.dataset.lesson") == "contrast"
    assert not page.locator("#cs-matrix").is_visible()
    page.locator("#cs-lesson-contrast").get_by_role("link", name="Self-attention").click()
    page.wait_for_selector(".cs-looks table")
    page.go_back()
    page.wait_for_selector(".cs-batch td b")
    page.go_back()
    page.wait_for_selector(".cs-matrix td b")


def test_shuffled_captions_cost_more_and_steps_lower_the_loss(visit):
    page = visit("?tab=learn&lesson=contrast&index=demo")
    page.wait_for_selector(".cs-batch td b")
    assert page.locator(".cs-batch tbody tr").count() == 4
    assert page.locator(".cs-batch tbody .cs-pull").count() == 4  # the pairs
    start = changes(page, page.get_by_text("different", exact=True).click)
    captions = page.input_value("#cs-contrast-captions textarea").splitlines()
    shuffled = changes(page, page.get_by_role("button", name="Shuffle captions").click)
    assert shuffled > start + 1
    turned = page.input_value("#cs-contrast-captions textarea").splitlines()
    assert turned == [captions[-1], *captions[:-1]]
    step = page.get_by_role("button", name="One training step")
    losses = [shuffled] + [changes(page, step.click) for _ in range(3)]
    assert losses == sorted(losses, reverse=True)
    page.get_by_text(f"Steps: 3. The loss went from {shuffled:.2f} to {losses[-1]:.2f}.").wait_for()
    over = changes(page, page.get_by_role("button", name="Start over").click)
    assert over == start


def test_the_scale_and_the_kind_of_loss_are_chosen_with_the_keyboard(visit):
    page = visit("?tab=learn&lesson=contrast&index=demo")
    page.wait_for_selector(".cs-batch td b")
    slider = page.locator("#cs-contrast-scale input[type=range]")
    assert slider.input_value() == "21"  # what the model learned
    slider.focus()
    assert changes(page, lambda: slider.press("Home")) == pytest.approx(1.3, abs=0.12)  # near ln 4
    changes(page, lambda: slider.press("End"))
    page.locator("#cs-contrast-kind input").last.focus()
    changes(page, lambda: page.keyboard.press("Space"))
    page.get_by_text("yes-or-no questions").wait_for()
    page.get_by_text("Added to every logit").wait_for()


def test_captions_can_be_written_and_each_image_needs_one(visit):
    page = visit("?tab=learn&lesson=contrast&index=demo")
    page.wait_for_selector(".cs-batch td b")
    page.get_by_text("the model chose a word for each of them").wait_for()
    field = page.locator("#cs-contrast-captions textarea")
    field.fill("one\ntwo")
    field.blur()
    page.get_by_role("alert").get_by_text("4 images needs 4 captions").wait_for()
    field.fill("a dog\na dog\na dog\na dog")
    field.blur()
    page.locator(".cs-batch thead").get_by_text("a dog").nth(3).wait_for()
    page.get_by_text("images → texts (1.39)").wait_for()  # equal captions cannot be told apart


def test_an_index_with_few_images_says_what_the_lesson_needs(visit):
    page = visit("?tab=learn&lesson=contrast&index=bare")
    page.get_by_role("heading", name="This collection is empty").filter(visible=True).wait_for()
    page = visit("?tab=learn&lesson=attention&index=bare")
    page.get_by_text("Pick an image of the collection").wait_for()


def seen(path):
    """An image as the page keeps it."""
    return reduced(load_image(path), 640, quality=90)


def top_of(page):
    """The places that the chosen patch looks at, in order, with its shares."""
    cells = page.locator(".cs-looks tbody tr").all()
    return [row.locator("td").all_inner_texts() for row in cells]


def shares_of(page):
    return [float(row[-1].rstrip(" %")) for row in top_of(page)]


def best(looks):
    """The four greatest shares of the class token, in percent."""
    return sorted(100 * looks[-1, 1:], reverse=True)[:4]


def test_the_toy_says_that_it_is_one_and_shows_where_a_patch_looks(visit, photos):
    page = visit("?tab=learn&lesson=attention&index=demo")
    page.wait_for_selector(".cs-looks table")
    page.get_by_text("is a convolutional network").wait_for()
    page.get_by_text("clipsearch index FOLDER -i vit -m ViT-B-32").wait_for()
    path = photo(photos, "coffee.png")
    page.set_input_files("#cs-attention-drop input", path)
    page.wait_for_selector(".cs-patches[aria-label^='coffee.png']")
    area = page.locator(".cs-patches")
    area.focus()
    page.locator(".cs-looks [role=status]").get_by_text("row 4, col. 4 looks at").wait_for()
    box = area.bounding_box()
    area.click(position={"x": box["width"] * 1.5 / 7, "y": box["height"] * 2.5 / 7})
    toy = toy_attention(seen(path), 12)
    patch = 2 * 7 + 1
    shares = sorted(100 * toy.attention.view(0, 0)[patch], reverse=True)
    assert shares_of(page) == pytest.approx(shares[:4], abs=0.6)
    assert float(top_of(page)[0][2]) == pytest.approx(toy.scores[0][patch].max(), abs=0.01)
    page.keyboard.press("ArrowDown")
    page.locator(".cs-looks [role=status]").get_by_text("row 4, col. 2 looks at").wait_for()


def test_a_vision_transformer_is_looked_into_once_that_is_asked_for(
    visit, site, other, other_encoder, photos, tmp_path
):
    with Index.create(tmp_path / "vit", other_encoder) as index:
        index.add(photos[:4])
    library = Library([str(tmp_path / "vit")], load=lambda name: load_encoder(other, device="cpu"))
    with served(create_app(Settings(roots=(tmp_path,)), library=library)) as address:
        page = visit("?tab=learn&lesson=attention", at=address)
        page.wait_for_selector(".cs-looks table")
        page.get_by_text("What you see first is a toy").wait_for()
        page.get_by_role("button", name="own attention").click()
        page.get_by_text("These are the attention weights of").wait_for()
        page.set_input_files("#cs-attention-drop input", str(photos[1]))
        page.wait_for_selector(f".cs-patches[aria-label^='{photos[1].name}']")
        page.get_by_role("button", name="What becomes the image vector").click()
        found = image_attention(other_encoder, seen(photos[1]))
        assert shares_of(page) == pytest.approx(best(found.looks(1)), abs=0.1)
        page.get_by_label("All layers up to this one (rollout)").check()
        flow = best(found.looks(1, through=True))
        page.locator(".cs-looks").get_by_text(f"{flow[0]:.1f} %").first.wait_for()
        assert shares_of(page) == pytest.approx(flow, abs=0.1)
        assert page.locator("#cs-attention-layer input[type=range]").get_attribute("max") == "2"
        serious = [
            violation["id"]
            for violation in Axe().run(page).response["violations"]
            if violation["impact"] in ("serious", "critical")
        ]
        assert not serious
        page.close()
    library.close()


def test_the_lessons_speak_spanish(visit):
    page = visit("?tab=learn&lesson=contrast&index=demo", locale="es-ES")
    page.get_by_role("heading", name="Entrenamiento contrastivo: acercar y alejar").wait_for()
    page.get_by_role("link", name="Autoatención").first.click()
    page.get_by_role("heading", name="Autoatención: cómo hablan los parches").wait_for()
    page.locator(".cs-looks").get_by_text("mira a").wait_for()
