"""Duplicates: same bytes, same pixels, look-alikes, and what is merely similar, told apart."""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
from pathlib import Path

import benchmark_duplicates as drawn
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from clipsearch import Index, InvalidInputError
from clipsearch.engine import thumbprints
from clipsearch.intake.sights import pixel_hash
from clipsearch.likeness import SIDES, Sight, place_in
from clipsearch.thumbprint import standardized, thumbprint

PHOTOS = ("astronaut.png", "china.jpg", "coffee.png")


def name_of(member) -> str:
    return Path(member.item.path).name


def pictures(groups) -> list[set[str]]:
    """The pictures in each group; the name of a file says which picture it shows."""
    return [{name_of(member).split("_")[0] for member in group} for group in groups]


def crop(image: Image.Image, share: float, left: float = 0.5, top: float = 0.5) -> Image.Image:
    width, height = round(image.width * share), round(image.height * share)
    x, y = round((image.width - width) * left), round((image.height - height) * top)
    return image.crop((x, y, x + width, y + height))


def moved_subject(image: Image.Image) -> Image.Image:
    """The next photo of a burst: a hand that shook, a subject that moved, other noise."""
    width, height = image.size
    later = image.rotate(0.8, Image.Resampling.BICUBIC, translate=(width // 60, height // 80))
    box = (width // 3, height // 4, 2 * width // 3, 3 * height // 4)
    later.paste(later.crop(box), (box[0] + width // 14, box[1]))
    later = crop(later, 0.95).resize((width, height), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(0).normal(0, 5, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(later) + noise, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def library(photos, tmp_path_factory) -> Path:
    """Photos with copies, and drawings of which no two are the same."""
    folder = tmp_path_factory.mktemp("library")
    named = {photo.name: photo for photo in photos}
    for name in PHOTOS:
        with Image.open(named[name]) as opened:
            image = opened.convert("RGB")
        image.thumbnail((640, 640))
        stem = Path(name).stem
        image.save(folder / f"{stem}_original.jpg", quality=95)
        image.resize((image.width // 2, image.height // 2)).save(folder / f"{stem}_half.jpg")
        image.save(folder / f"{stem}_q40.jpg", quality=40)
        crop(image, 0.92, 0, 1).save(folder / f"{stem}_crop.jpg", quality=88)
        ImageEnhance.Brightness(image).enhance(1.25).save(folder / f"{stem}_bright.jpg")
        if name == "coffee.png":
            image.save(folder / f"{stem}_lossless.png")
            image.save(folder / f"{stem}_lossless.webp", lossless=True)
            image.convert("L").save(folder / f"{stem}_gray.jpg")
            exif = Image.Exif()
            exif[0x0112] = 6
            turned = image.transpose(Image.Transpose.ROTATE_90)
            turned.save(folder / f"{stem}_turned.jpg", quality=95, exif=exif)
            shutil.copy(folder / f"{stem}_original.jpg", folder / f"{stem}_same.jpg")
            ImageOps.mirror(image).save(folder / "mirror_coffee.jpg")
            moved_subject(image).save(folder / "burst_coffee.jpg", quality=95)
    rng = random.Random(3)
    for number in range(3):
        drawn.receipt(rng).save(folder / f"receipt{number}_.png")
        drawn.page(rng).save(folder / f"page{number}_.png")
        drawn.slide(rng).save(folder / f"slide{number}_.png")
        drawn.screenshot(rng, 0).save(folder / f"screen{number}_.png")
        drawn.logo(rng, (10, 10, 10)).save(folder / f"logo{number}_.png")
        drawn.line_art(rng).save(folder / f"lines{number}_.png")
    with Image.open(folder / "page0_.png") as page:
        crop(page, 0.92).save(folder / "page0_crop.jpg", quality=60)
    for color in ("red", "blue"):
        image = Image.new("RGB", (300, 300), "white")
        ImageDraw.Draw(image).ellipse((60, 60, 240, 240), fill=color)
        image.save(folder / f"{color}dot_.png")
    for color in ("white", "black", "gray"):
        Image.new("RGB", (320, 240), color).save(folder / f"{color}_.png")
    return folder


@pytest.fixture(scope="module")
def index(library, encoder, tmp_path_factory):
    with Index.create(tmp_path_factory.mktemp("index") / "library", encoder) as index:
        index.add(library, on_error="raise")
        yield index


@pytest.fixture(scope="module")
def groups(index):
    return index.duplicates()


def test_copies_are_found_and_nothing_else_is(groups, library):
    assert all(len(shown) == 1 for shown in pictures(groups)), pictures(groups)
    assert all(member.checked for group in groups for member in group)
    together = {name_of(member) for group in groups for member in group}
    copies = {
        path.name
        for path in library.iterdir()
        if path.name.split("_")[0] in {Path(photo).stem for photo in PHOTOS}
    }
    assert together == copies | {"page0_.png", "page0_crop.jpg"}
    assert len(groups) == len(PHOTOS) + 1


def test_the_kinds_are_told_apart(groups):
    (coffee,) = (group for group in groups if name_of(group[0]).startswith("coffee"))
    kinds = {name_of(member): member.kind for member in coffee}
    assert kinds.pop("coffee_original.jpg") in ("leader", "looks")
    assert kinds.pop("coffee_same.jpg") in ("bytes", "looks")
    assert {name for name, kind in kinds.items() if kind == "pixels"} <= {
        "coffee_lossless.png",
        "coffee_lossless.webp",
    }
    assert coffee[0].kind == "leader"
    assert coffee[0].score == 1
    order = ["leader", "bytes", "pixels", "looks"]
    assert [m.kind for m in coffee] == sorted((m.kind for m in coffee), key=order.index)
    assert "Duplicate(" in repr(coffee[1])
    for item, score in coffee:
        assert score <= 1
        assert item.sha256
        assert item.size_bytes


def test_one_kind_can_be_asked_for(index):
    def named(*kinds):
        return [[name_of(m) for m in group] for group in index.duplicates(kinds=kinds)]

    assert named("bytes") == [["coffee_original.jpg", "coffee_same.jpg"]]
    assert sorted(*named("pixels")) == ["coffee_lossless.png", "coffee_lossless.webp"]
    both = named("bytes", "pixels")
    assert sorted(map(sorted, both)) == [
        ["coffee_lossless.png", "coffee_lossless.webp"],
        ["coffee_original.jpg", "coffee_same.jpg"],
    ]
    looks = index.duplicates(kinds=["looks"])
    assert {m.kind for group in looks for m in group} == {"leader", "looks"}
    for wrong in ("same", [], ["bytes", "hash"]):
        with pytest.raises(InvalidInputError, match="kinds of duplicates are bytes, pixels, looks"):
            index.duplicates(kinds=wrong)


def test_the_largest_image_leads_and_of_equally_large_ones_the_first(groups):
    for group in groups:
        areas = [member.item.width * member.item.height for member in group]
        ids = [m.item.id for m, area in zip(group, areas, strict=True) if area == max(areas)]
        assert areas[0] == max(areas)
        assert group[0].item.id == min(ids)


def test_a_low_threshold_does_not_group_what_looks_different(index):
    assert all(len(shown) == 1 for shown in pictures(index.duplicates(0.3)))


def test_every_format_has_kind_hash_and_size(cli, index):
    command = ["duplicates", "-i", index.path, "--kind", "bytes"]
    (group,) = json.loads(cli(*command, "-f", "json").stdout)["groups"]
    assert [member["kind"] for member in group] == ["leader", "bytes"]
    assert group[0]["sha256"] == group[1]["sha256"]
    assert group[1]["size_bytes"] == Path(group[1]["path"]).stat().st_size
    rows = list(csv.DictReader(io.StringIO(cli(*command, "-f", "csv").stdout)))
    assert [row["kind"] for row in rows] == ["leader", "bytes"]
    assert rows[0]["sha256"] == group[0]["sha256"]
    assert int(rows[0]["size_bytes"]) == group[0]["size_bytes"]
    table = cli(*command).stdout
    assert "bytes" in table
    assert group[0]["sha256"][:12] in table
    assert (
        "no near-duplicates of kind pixels"
        in cli("duplicates", "-i", index.path, "--kind", "pixels", "--threshold", "1").stderr
        or "pixels" in table
    )
    assert "'same'" in cli("duplicates", "-i", index.path, "--kind", "same", expect=2).stderr


def test_where_files_are_away_embeddings_decide_and_it_is_said(cli, photos, encoder, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    with Image.open(next(photo for photo in photos if photo.name == "chelsea.png")) as cat:
        cat.save(folder / "cat.png")
        cat.resize((cat.width // 2, cat.height // 2)).save(folder / "small.png")
        cat.save(folder / "cat.webp", lossless=True)
    shutil.copy(folder / "cat.png", folder / "copy.png")
    with Index.create(tmp_path / "index", encoder) as index:
        index.add(folder)
        shutil.rmtree(folder)
        (group,) = index.duplicates()
        ends = {name_of(member): (member.kind, member.checked) for member in group[1:]}
        assert ends["cat.webp"] == ("looks", False)
        assert "small.png" not in ends or not ends["small.png"][1]
        assert ("bytes", True) in ends.values()  # which the index knows by itself
    done = cli("duplicates", "-i", tmp_path / "index")
    assert "not checked: " in done.stderr
    assert "looks (not checked)" in done.stdout


def test_a_file_that_was_replaced_is_not_compared(photos, encoder, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    with Image.open(next(photo for photo in photos if photo.name == "rocket.jpg")) as image:
        image.save(folder / "a.png")
        image.save(folder / "b.jpg", quality=90)
    with Index.create(tmp_path / "index", encoder) as index:
        index.add(folder)
        assert [m.checked for m in index.duplicates()[0]] == [True, True]
        shutil.copy(folder / "b.jpg", folder / "a.png")
        assert [m.checked for m in index.duplicates()[0]] == [True, False]


# --- what it is made of ---------------------------------------------------------------------------


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_equal_pixels_are_equal_in_any_format_and_one_level_is_not():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 60, 3), np.uint8)
    image = Image.fromarray(pixels)
    png = pixel_hash(saved(image, "PNG"))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = image.transpose(Image.Transpose.ROTATE_90)
    for same in (
        saved(image, "BMP"),
        saved(image, "TIFF"),
        saved(image, "WEBP", lossless=True),
        saved(image.convert("RGBA"), "PNG"),
        saved(turned, "PNG", exif=exif),
    ):
        assert pixel_hash(same) == png
    pixels[7, 7, 0] ^= 1
    assert pixel_hash(saved(Image.fromarray(pixels), "PNG")) != png
    assert pixel_hash(saved(image.resize((30, 80)), "PNG")) != png


def test_transparency_and_depth_count_and_hidden_colors_do_not():
    rng = np.random.default_rng(1)
    layers = rng.integers(0, 256, (32, 32, 4), np.uint8)
    layers[:16, :, 3] = 0
    hidden = layers.copy()
    hidden[:16, :, :3] = 77
    image = pixel_hash(saved(Image.fromarray(layers), "PNG"))
    assert pixel_hash(saved(Image.fromarray(hidden), "PNG")) == image
    layers[20, 20, 3] ^= 128
    assert pixel_hash(saved(Image.fromarray(layers), "PNG")) != image
    white = [Image.new("RGBA", (32, 32), (255, 255, 255, alpha)) for alpha in (255, 100)]
    assert len({pixel_hash(saved(one, "PNG")) for one in white}) == 2
    deep = rng.integers(0, 65536, (32, 32)).astype(np.uint16)
    first = pixel_hash(saved(Image.fromarray(deep), "PNG"))
    assert pixel_hash(saved(Image.fromarray(deep), "TIFF")) == first
    deep[3, 3] ^= 1
    assert pixel_hash(saved(Image.fromarray(deep), "PNG")) != first


def test_an_animation_is_only_equal_to_its_own_bytes():
    frames = [Image.new("RGB", (20, 20), (n * 80, 0, 0)) for n in range(3)]
    assert pixel_hash(saved(frames[0], "GIF", save_all=True, append_images=frames[1:])) is None
    assert pixel_hash(saved(frames[0], "GIF")) is not None


def sight(image: Image.Image) -> Sight:
    small = image.convert("RGB").resize((SIDES[0], SIDES[0]), Image.Resampling.BICUBIC)
    return Sight.of(np.asarray(small), *image.size)


@pytest.fixture(scope="module")
def photo(photos) -> Image.Image:
    with Image.open(next(photo for photo in photos if photo.name == "coffee.png")) as image:
        return image.convert("RGB")


def sepia(image: Image.Image) -> Image.Image:
    return ImageOps.colorize(image.convert("L"), (40, 20, 0), (255, 240, 200))


def marked(image: Image.Image) -> Image.Image:
    image = image.copy()
    text = "(c) somebody"
    ImageDraw.Draw(image).text((20, image.height - 40), text, fill="white", font=drawn._font(22))
    return image


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.resize((image.width // 4, image.height // 4)),
        lambda image: image.resize((400, 400)),
        lambda image: crop(image, 0.92),
        lambda image: crop(image, 0.92, 0, 0),
        lambda image: crop(image, 0.92, 1, 0.3),
        lambda image: ImageOps.expand(image, 16, "white"),
        lambda image: ImageOps.expand(image, 16, "black"),
        lambda image: ImageEnhance.Brightness(image).enhance(0.6),
        lambda image: ImageEnhance.Contrast(image).enhance(1.4),
        lambda image: image.point([round(255 * (v / 255) ** 0.7) for v in range(256)] * 3),
        lambda image: image.convert("L"),
        sepia,
        marked,
    ],
)
def test_edits_of_a_photo_show_the_same_picture(photo, change):
    assert place_in(sight(photo), sight(change(photo))) is not None
    assert place_in(sight(change(photo)), sight(photo)) is not None


@pytest.mark.parametrize(
    "change",
    [
        ImageOps.mirror,
        ImageOps.flip,
        ImageOps.invert,
        moved_subject,
        lambda image: crop(image, 0.6),
        lambda image: image.rotate(90),
        lambda image: Image.new("RGB", image.size, "white"),
    ],
)
def test_other_pictures_of_the_same_things_are_others(photo, change):
    assert place_in(sight(photo), sight(change(photo))) is None
    assert place_in(sight(change(photo)), sight(photo)) is None


def test_a_thumbprint_survives_copying_and_tells_others_apart(photo):
    prints = [
        thumbprint(image)
        for image in (
            photo,
            photo.resize((photo.width // 2, photo.height // 2)),
            ImageOps.mirror(photo),
            Image.new("RGB", (50, 50), "red"),
        )
    ]
    vectors = standardized(np.array([np.frombuffer(one, np.uint8) for one in prints]))
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > 0.99
    assert likeness[0, 2] < 0.9
    assert not vectors[3].any()


def test_thumbprints_are_kept_once_for_equal_bytes_and_go_with_the_last_item(
    photo, encoder, tmp_path
):
    folder = tmp_path / "photos"
    folder.mkdir()
    photo.save(folder / "a.jpg")
    shutil.copy(folder / "a.jpg", folder / "b.jpg")
    photo.convert("L").save(folder / "c.jpg")

    def kept(index) -> int:
        count = "SELECT count(*) FROM thumbprints"
        return index._reader.run(lambda conn, snapshot: conn.execute(count).fetchone()[0])

    with Index.create(tmp_path / "index", encoder) as index:
        index.add(folder)
        rows = np.array(sorted(item.id for item in index.items()), np.int64)
        _, there = index._reader.run(lambda conn, snapshot: thumbprints.of_rows(conn, rows))
        assert there.all()
        assert kept(index) == 2
        index.remove([item.id for item in index.items() if item.path.endswith("c.jpg")])
        index.compact()
        assert kept(index) == 1
