"""Of an animation or a file of several pages, the first frame that shows something is indexed."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from clipsearch import Index
from clipsearch.documents import hit_document, public_item
from clipsearch.explore.explain import explain
from clipsearch.explore.thumbnails import thumbnail
from clipsearch.images import Preprocessing, load_image, prepare, prepare_with_facts, read_facts
from clipsearch.pixels import frames
from clipsearch.types import Hit

from .drawn import animated, encoded, picture, tiff

SHOWN = picture()
BLACK = Image.new("RGB", SHOWN.size)
WHITE = Image.new("RGB", SHOWN.size, "white")
SPEC = Preprocessing((64, 64), (0.5,) * 3, (0.5,) * 3)
KINDS = ["GIF", "WEBP", "PNG", "TIFF", "AVIF", "MPO"]


def nearly(frame: Image.Image, number: int) -> Image.Image:
    """A frame that differs from another too little to be seen."""
    shades = np.asarray(frame, np.int16) + (number % 3) * np.array([1, -1, 1], np.int16)
    return Image.fromarray(np.clip(shades, 0, 255).astype(np.uint8))


def chosen(data: bytes) -> int | None:
    """The frame of the facts, which the header and the pixels must agree on."""
    facts = prepare_with_facts(data, SPEC).facts
    assert read_facts(io.BytesIO(data)).frame == facts.frame
    return facts.frame


def difference(image: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(image, np.float64) - np.asarray(other, np.float64)).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_first_frame_is_passed_over(kind):
    for empty in (BLACK, WHITE, Image.new("RGB", SHOWN.size, (40, 80, 120))):
        data = animated([empty.copy(), SHOWN.copy(), WHITE.copy()], kind)
        assert chosen(data) == 1
        assert difference(load_image(data), SHOWN) < 12


@pytest.mark.parametrize("kind", KINDS)
def test_an_ordinary_animation_is_its_first_frame(kind):
    data = animated([SHOWN.copy(), WHITE.copy(), picture().rotate(180)], kind)
    assert chosen(data) == 0
    assert difference(load_image(data), SHOWN) < 12


def test_a_single_image_has_no_frame():
    for kind in ("GIF", "WEBP", "PNG", "TIFF", "JPEG"):
        assert chosen(encoded(SHOWN, kind)) is None
        assert chosen(encoded(BLACK, kind)) is None


def test_a_film_of_nothing_is_its_first_frame():
    data = animated([nearly(BLACK, n) for n in range(4)], "PNG")
    assert chosen(data) == 0


def test_a_fade_in_is_a_frame_that_can_be_made_out():
    steps = [SHOWN.point(lambda level, n=n: level * n // 10) for n in range(11)]
    for kind in ("GIF", "WEBP", "PNG"):
        frame = chosen(animated(steps, kind))
        assert frame is not None
        assert 2 <= frame <= 5


def test_noise_is_nothing_and_a_line_of_text_is_something():
    noise = np.random.default_rng(0).integers(0, 12, (*SHOWN.size[::-1], 3)).astype(np.uint8)
    assert chosen(animated([Image.fromarray(noise), SHOWN.copy()], "PNG")) == 1
    page = Image.new("L", (1200, 1600), 255)
    ImageDraw.Draw(page).text((200, 300), "Title of the report", fill=0, font_size=40)
    other = Image.new("L", (1200, 1600), 0)
    assert chosen(animated([page, other], "TIFF")) == 0


def test_at_most_twenty_frames_are_looked_at(monkeypatch):
    for empty, frame in ((19, 19), (20, 0)):
        data = animated([nearly(BLACK, n) for n in range(empty)] + [SHOWN.copy()], "PNG")
        assert chosen(data) == frame
    data = animated([nearly(BLACK, n) for n in range(9)] + [SHOWN.copy()], "PNG")
    monkeypatch.setattr(frames, "MAX_FRAME_PIXELS", 5 * SHOWN.width * SHOWN.height)
    assert chosen(data) == 0


def test_a_broken_frame_ends_the_search():
    data = animated([nearly(BLACK, 0), nearly(BLACK, 1), SHOWN.copy()], "GIF")
    assert load_image(data[: len(data) // 2]).size == SHOWN.size


def test_reduced_copies_and_masks_are_no_pages():
    import tifffile

    for kind in (1, 4):
        buffer = io.BytesIO()
        with tifffile.TiffWriter(buffer) as writer:
            for pixels, subfile in ((BLACK, 0), (picture(), kind), (SHOWN, 0)):
                values = np.asarray(pixels) if kind == 1 else np.asarray(pixels.convert("1"))
                how = "rgb" if kind == 1 else "minisblack"
                writer.write(values, photometric=how, metadata=None, subfiletype=subfile)
        assert chosen(buffer.getvalue()) == 2


def test_pages_may_have_other_sizes_and_depths():
    page = np.linspace(0, 4095, 200 * 100).reshape(100, 200).astype(np.uint16)
    import tifffile

    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(np.zeros((50, 60), np.uint16), photometric="minisblack", metadata=None)
        writer.write(page, photometric="minisblack", metadata=None)
    facts = prepare_with_facts(buffer.getvalue(), SPEC).facts
    assert (facts.frame, facts.width, facts.height) == (1, 200, 100)
    assert np.asarray(load_image(buffer.getvalue())).max() == 255
    assert chosen(tiff(page)) is None


def test_the_frame_that_a_program_has_moved_to_is_taken():
    image = Image.open(io.BytesIO(animated([BLACK.copy(), SHOWN.copy(), WHITE.copy()], "GIF")))
    image.seek(2)
    assert load_image(image).getpixel((0, 0)) == (255, 255, 255)


def test_vectors_thumbnails_and_heat_maps_show_the_frame_that_the_index_names(encoder, tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    data = animated([BLACK.copy(), BLACK.copy(), SHOWN.copy()], "PNG")
    (folder / "fade.png").write_bytes(data)
    (folder / "twin.png").write_bytes(data)
    SHOWN.save(folder / "still.png")
    with Index.create(tmp_path / "index", encoder) as index:
        index.add(folder)
        items = {item.key.rsplit("/", 1)[-1]: item for item in index.items()}
        assert {name: item.frame for name, item in items.items()} == {
            "fade.png": 2, "twin.png": 2, "still.png": None,
        }  # fmt: skip
        assert [item.id for item in index.items(where="frame = 2")] == sorted(
            items[name].id for name in ("fade.png", "twin.png")
        )
        small = Image.open(io.BytesIO(thumbnail(items["fade.png"])))
        assert difference(small, SHOWN) < 12
        hit = Hit(item=items["fade.png"], score=0.5)
        assert json.loads(json.dumps(hit_document(hit)))["frame"] == 2
        assert public_item(items["fade.png"])["frame"] == 2
        assert "frame" not in hit_document(Hit(item=items["still.png"], score=0.5))
    np.testing.assert_array_equal(prepare(data, SPEC), prepare(SHOWN, SPEC))
    seen = explain(encoder, folder / "fade.png", "a circle").image
    still = explain(encoder, folder / "still.png", "a circle").image
    np.testing.assert_array_equal(np.asarray(seen), np.asarray(still))
