"""Values of more than 8 bits keep their picture, and transparent images something to be seen."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from clipsearch import Index
from clipsearch.errors import ImageDecodeError
from clipsearch.explore.thumbnails import thumbnail
from clipsearch.images import RANGE_GUESSED, Preprocessing, load_image, prepare, prepare_with_facts

from .drawn import chunk, encoded, picture, png16, tiff

SPEC = Preprocessing((64, 64), (0.5,) * 3, (0.5,) * 3)
COLOR = np.asarray(picture(), np.float64)  # [H, W, 3], 0..255
GREY = np.asarray(picture().convert("L"), np.float64)
OPAQUE = np.ones((*GREY.shape, 1))
BITS = range(9, 17)


def of_bits(levels: np.ndarray, bits: int) -> np.ndarray:
    """Levels 0..255 as values of so many bits, at the lower end of 16."""
    return np.round(levels / 255 * (2**bits - 1)).astype(np.uint16)


def error(data: bytes, expected: np.ndarray) -> float:
    """Mean difference in levels from what is expected, [H, W] or [H, W, 3]."""
    if expected.ndim == 2:
        expected = expected[..., None].repeat(3, -1)
    return float(np.abs(np.asarray(load_image(data), np.float64) - expected).mean())


def is_guessed(data: bytes) -> bool:
    return prepare_with_facts(data, SPEC).notes == (RANGE_GUESSED,)


@pytest.mark.parametrize("bits", BITS)
def test_few_bits_in_16_are_scaled_to_what_they_are(bits):
    grey, color = of_bits(GREY, bits), of_bits(COLOR, bits)
    clear = of_bits(OPAQUE * 255, bits)
    files = {
        "PNG, grey": (png16(grey), GREY),
        "PNG, RGB": (png16(color), COLOR),
        "PNG, grey and alpha": (png16(np.concatenate([grey[..., None], clear], -1)), GREY),
        "PNG, RGBA": (png16(np.concatenate([color, clear], -1)), COLOR),
        "PNG, alpha of 16 bits": (png16(np.concatenate([color, clear | 65535], -1)), COLOR),
        "TIFF, grey": (tiff(grey), GREY),
        "TIFF, grey, big-endian": (tiff(grey, byteorder=">"), GREY),
        "TIFF, RGB": (tiff(color, "rgb"), COLOR),
        "TIFF, RGB, big-endian": (tiff(color, "rgb", byteorder=">"), COLOR),
        "TIFF, RGB, deflated tiles": (tiff(color, "rgb", tile=(32, 32), compression="zlib"), COLOR),
        "TIFF, RGB in planes": (
            tiff(np.moveaxis(color, -1, 0), "rgb", planarconfig="separate"),
            COLOR,
        ),
        "TIFF, RGB and premultiplied alpha": (
            tiff(np.concatenate([color, clear], -1), "rgb", extrasamples=["assocalpha"]),
            COLOR,
        ),
        "TIFF, grey and alpha": (
            tiff(
                np.concatenate([grey[..., None], clear], -1),
                planarconfig="contig",
                extrasamples=["unassalpha"],
            ),
            GREY,
        ),
        "TIFF, five channels": (
            tiff(np.concatenate([color, grey[..., None], grey[..., None]], -1), "rgb"),
            COLOR,
        ),
        "TIFF, CMYK in planes": (
            tiff(
                np.moveaxis(of_bits(np.concatenate([255 - COLOR, 0 * OPAQUE], -1), bits), -1, 0),
                "separated",
                planarconfig="separate",
            ),
            COLOR,
        ),
        "PPM": (b"P6 96 64 65535\n" + color.astype(">u2").tobytes(), COLOR),
        "32-bit integers": (tiff(grey.astype(np.int32)), GREY),
    }
    for name, (data, expected) in files.items():
        assert error(data, expected) < 3, name
        if "32" not in name:
            assert is_guessed(data) == (bits < 16), name
    assert error(tiff(2**bits - 1 - grey, "miniswhite"), GREY) < 3
    assert error(encoded(Image.fromarray(grey), "TIFF", compression="tiff_lzw"), GREY) < 3


def packed(values: np.ndarray, bits: int) -> bytes:
    """A TIFF of grey values [H, W] that lie bit by bit."""
    shifts = np.arange(bits - 1, -1, -1)
    rows = b"".join(
        np.packbits((row[:, None].astype(int) >> shifts & 1).astype(np.uint8)).tobytes()
        for row in values
    )
    height, width = values.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 0), (277, 1)]
    tags += [(278, height), (279, len(rows))]
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack("<HHII", number, 4, 1, start if number == 273 else value)
        for number, value in tags
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + rows


def test_what_a_file_declares_is_believed():
    for bits in (9, 10, 12, 14):
        top, dark = 2**bits - 1, GREY * 0.3
        values = of_bits(dark, bits)
        sbit = chunk(b"sBIT", bytes([bits]))
        declared = {
            "sBIT": png16(values, sbit),
            "sBIT, at the upper end": png16(of_bits(GREY, bits) << (16 - bits), sbit),
            "SMaxSampleValue": tiff(
                values, extratags=[(340, 3, 1, 0, True), (341, 3, 1, top, True)]
            ),
            "OME": tiff(values, description=f'<OME><Pixels SignificantBits="{bits}"/></OME>'),
            "PGM": b"P5 96 64 %d\n" % top + values.astype(">u2").tobytes(),
        }
        for name, data in declared.items():
            assert error(data, GREY if "upper" in name else dark) < 2, (name, bits)
            assert not is_guessed(data), name
        color = png16(of_bits(COLOR * 0.3, bits), chunk(b"sBIT", bytes([bits] * 3)))
        assert error(color, COLOR * 0.3) < 2
        assert not is_guessed(color)
    assert error(packed(of_bits(GREY * 0.3, 12), 12), GREY * 0.3) < 2
    shown = tiff(of_bits(GREY, 12), description="ImageJ=1.53\nmin=0.0\nmax=8190.0\n")
    assert error(shown, GREY / 2) < 2
    middle = (GREY / 255 * 20_000 + 10_000).astype(np.uint16)
    ends = [(340, 3, 1, 10_000, True), (341, 3, 1, 30_000, True)]
    assert error(tiff(middle, extratags=ends), GREY) < 2
    floats = tiff((GREY / 255).astype(np.float32), extratags=[(341, 11, 1, 2.0, True)])
    assert error(floats, GREY / 2) < 2


def test_a_few_outliers_do_not_make_the_rest_black():
    bright = GREY.astype(np.uint16)
    bright[3, 4] = 256  # one bit more
    assert error(tiff(bright), GREY) < 1
    hot = of_bits(GREY, 12)
    hot[:2, :3] = 65535
    assert error(tiff(hot), GREY) < 4
    assert error(png16(np.stack([hot] * 3, -1)), GREY) < 4
    for kind in (np.float16, np.float32, np.float64):
        values = (GREY / 255).astype(kind)
        for at, odd in enumerate((60_000, np.nan, np.inf, -np.inf, -60_000)):
            values[5, at] = odd
        assert error(tiff(values), GREY) < 3, kind
        assert is_guessed(tiff(values))
    counted = [(340, 11, 1, 0.0, True), (341, 11, 1, 1000.0, True)]  # by a program, hot pixel too
    values = (GREY / 255).astype(np.float32)
    values[9, 9] = 1000
    assert error(tiff(values, extratags=counted), GREY) < 2
    lines = np.zeros((300, 300), np.uint16)
    lines[150, 100:130] = 65535  # so few that they could be taken for outliers
    assert np.asarray(load_image(tiff(lines))).max() == 255


@pytest.mark.parametrize("order", ["<", ">"])
def test_integers_and_floats_of_every_kind_are_scaled(order):
    share, high = GREY / 255, float(2**32 - 1)
    files = {
        "unsigned 32": (share * high).astype(np.uint32),
        "signed 32": (share * high - 2.0**31).astype(np.int32),
        "signed 16": (share * 65535 - 32768).astype(np.int16),
        "signed 16, positive": (share * 32767).astype(np.int16),
        "floats to 1": share.astype(np.float32),
        "half floats": share.astype(np.float16),
        "doubles": share,
        "floats from -1": (share * 2 - 1).astype(np.float32),
        "floats to 255": GREY.astype(np.float32),
        "floats to 65535": (share * 65535).astype(np.float32),
        "degrees": (share * 20 + 280).astype(np.float32),
        "tiny": (share / 1000).astype(np.float32),
    }
    for name, values in files.items():
        data = tiff(values, byteorder=order)
        found = np.asarray(load_image(data), np.float64)[..., 0]
        assert np.corrcoef(found.ravel(), GREY.ravel())[0, 1] > 0.99, name
        assert found.std() > 0.8 * GREY.std(), name
        plain = name in ("unsigned 32", "floats to 1", "half floats", "doubles")
        assert is_guessed(data) != plain, name
    color = tiff((COLOR / 255).astype(np.float32), "rgb", byteorder=order)
    assert error(color, COLOR) < 2
    assert error(tiff((COLOR / 255 * high).astype(np.uint32), "rgb", byteorder=order), COLOR) < 2


def test_what_stands_for_no_value_is_black_and_leaves_the_rest_alone():
    expected = GREY.copy()
    expected[:20] = 0
    heights = (GREY / 255 * 4000 + 10).astype(np.int16)
    for none in (-9999, -32768):
        heights[:20] = none
        assert error(tiff(heights), expected) < 8
        tagged = [(42113, 2, 7, str(none), True)]  # GDAL_NODATA
        assert error(tiff(heights, extratags=tagged), expected) < 8
    for none in (np.nan, -3.4028235e38):
        floats = (GREY / 255).astype(np.float32)
        floats[:20] = none
        assert error(tiff(floats), expected) < 1
    assert np.asarray(load_image(tiff(np.full((9, 9), np.nan, np.float32)))).max() == 0


def test_plain_values_stay_as_they_were():
    full = of_bits(COLOR, 16)
    for data in (png16(full), tiff(full, "rgb")):
        np.testing.assert_array_equal(np.asarray(load_image(data)), full >> 8)
        assert not is_guessed(data)
    for mode in ("L", "P", "1", "CMYK", "LAB"):
        kind = "TIFF" if mode in ("CMYK", "LAB") else "PNG"
        image = Image.new("LAB", (8, 8)) if mode == "LAB" else picture().convert(mode)
        data = encoded(image, kind)
        assert load_image(data).size == image.size
        assert not is_guessed(data)
    assert np.asarray(load_image(tiff(np.zeros((9, 9), np.uint16)))).max() == 0


def test_a_16_bit_color_may_be_the_transparent_one():
    for values, count in ((of_bits(COLOR, 16), 3), (of_bits(GREY, 16), 1)):
        values[:30] = 1000
        clear = chunk(b"tRNS", struct.pack(f">{count}H", *[1000] * count))
        found = np.asarray(load_image(png16(values, clear)))
        assert (found[:30] == 255).all()
        assert error(png16(values), found) > 50


def test_a_tiff_that_needs_another_package_says_so():
    try:
        import imagecodecs  # noqa: F401
    except ImportError:
        with pytest.raises(ImageDecodeError, match=r"14 bits.*clipsearch\[tiff\]"):
            load_image(packed(of_bits(GREY, 14), 14))
    else:
        assert error(packed(of_bits(GREY, 14), 14), GREY) < 2


def test_the_report_counts_the_images_whose_range_was_guessed(encoder, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "12.png").write_bytes(png16(of_bits(GREY, 12)))
    (folder / "10.tif").write_bytes(tiff(of_bits(COLOR, 10), "rgb"))
    picture().convert("L").save(folder / "8.png")
    with Index.create(tmp_path / "index", encoder) as index:
        assert f"{RANGE_GUESSED}: 2" in index.add(folder).notes
        hits = index.search(folder / "8.png")
        assert next(hit.score for hit in hits if hit.item.key.endswith("12.png")) > 0.999


# --- transparency -------------------------------------------------------------------------------


def logo(color: tuple[int, int, int], alpha: int = 255) -> Image.Image:
    image = Image.new("RGBA", (200, 160), (*color, 0))
    draw = ImageDraw.Draw(image)
    draw.ellipse((40, 30, 120, 110), fill=(*color, alpha))
    draw.rectangle((110, 90, 170, 120), fill=(*color, alpha))
    return image


def ground(data: bytes) -> tuple[int, int, int]:
    return load_image(data).getpixel((0, 0))


LIGHT = [(255, 255, 255), (240, 240, 240), (228, 236, 240)]
STRONG = [(0, 0, 0), (48, 48, 48), (220, 30, 30), (255, 220, 0)]


@pytest.mark.parametrize("color", [*LIGHT, *STRONG])
def test_a_logo_can_be_seen_on_its_ground(color):
    image = logo(color)
    black_and_white = image.convert("LA")
    for kind, drawn in (
        ("PNG", image), ("PNG", black_and_white), ("PNG", image.quantize(8)), ("WEBP", image),
        ("TIFF", image), ("GIF", image), ("AVIF", image), ("TGA", image),
        ("PNG", logo(color, alpha=130)),
    ):  # fmt: skip
        data = encoded(drawn, kind)
        levels = np.asarray(load_image(data), np.float64)
        assert levels.std(axis=(0, 1)).max() > 20, (kind, drawn.mode)
        if drawn.mode != "LA":
            assert (ground(data)[0] > 128) == (color in STRONG), (kind, drawn.mode)
    wide = np.asarray(image).astype(np.uint16) * 257
    assert (ground(png16(wide))[0] > 128) == (color in STRONG)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P"])
def test_a_color_that_counts_as_transparent_gets_a_ground_too(mode):
    image = Image.new("L", (200, 160), 0)
    ImageDraw.Draw(image).ellipse((40, 30, 120, 110), fill=255)
    clear = (0, 0, 0) if mode == "RGB" else 0
    data = encoded(image.convert(mode), "PNG", transparency=clear)
    assert ground(data) == (48, 48, 48)
    assert load_image(data).getpixel((80, 70)) == (255, 255, 255)


def test_white_stays_the_ground_where_something_can_be_seen_on_it():
    both = logo((255, 255, 255))
    ImageDraw.Draw(both).rectangle((20, 125, 190, 158), fill=(200, 30, 30, 255))
    ImageDraw.Draw(both).rectangle((5, 5, 190, 28), fill=(30, 30, 200, 255))
    assert ground(encoded(both, "PNG")) == (255, 255, 255)
    shadow = logo((0, 0, 0), alpha=60).filter(ImageFilter.GaussianBlur(4))
    assert ground(encoded(shadow, "PNG")) == (255, 255, 255)
    for mode in ("RGBA", "LA"):  # nothing is drawn at all
        assert ground(encoded(Image.new(mode, (20, 20), 0), "PNG")) == (255, 255, 255)
    snow = Image.new("RGBA", (100, 100), (250, 250, 250, 255))
    snow.putpixel((0, 0), (0, 0, 0, 0))  # a photo with one transparent pixel
    assert ground(encoded(snow, "PNG")) == (255, 255, 255)


def test_vectors_and_thumbnails_have_the_same_ground(encoder, tmp_path):
    folder = tmp_path / "logos"
    folder.mkdir()
    logo((255, 255, 255)).save(folder / "white.png")
    ImageDraw.Draw(other := Image.new("RGBA", (200, 160))).text(
        (20, 30), "ab", fill="white", font_size=90
    )
    other.save(folder / "letters.png")
    other.save(folder / "letters.webp", lossless=True)
    with Index.create(tmp_path / "index", encoder) as index:
        index.add(folder)
        items = {item.key.rsplit("/", 1)[-1]: item for item in index.items()}
        found = index.search(folder / "letters.png")
        scores = {hit.item.key.rsplit("/", 1)[-1]: hit.score for hit in found}
        small = Image.open(io.BytesIO(thumbnail(items["white.png"])))
    assert scores["letters.webp"] > 0.999
    assert scores["white.png"] < 0.95
    assert max(small.getpixel((2, 2))) < 70
    pixels = prepare(folder / "white.png", SPEC)
    assert tuple(pixels[0, 0]) == (48, 48, 48)
