"""Images are turned upright once, whatever format says how, and for every use alike."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from clipsearch import Index
from clipsearch.explore.explain import explain
from clipsearch.explore.thumbnails import thumbnail
from clipsearch.images import Preprocessing, load_image, prepare_with_facts, read_facts

from .drawn import ORIENTATIONS, chunk, encoded, picture, png_with, stored, tiff

UPRIGHT = picture()
SPEC = Preprocessing((64, 64), (0.5,) * 3, (0.5,) * 3)
TAG = 0x0112
XMP = [
    b'<rdf:Description tiff:Orientation="%d"/>',
    b"<rdf:Description tiff:Orientation='%d'/>",
    b"<rdf:Description><tiff:Orientation>%d</tiff:Orientation></rdf:Description>",
]


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[TAG] = orientation
    return exif


def raw_exif(kind: int, count: int, value: bytes) -> bytes:
    """EXIF whose orientation has a type and a value that Pillow would not write."""
    entry = struct.pack(">HHI", TAG, kind, count) + value.ljust(4, b"\0")
    return b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)


def assert_upright(data: bytes, case: object, *, tolerance: float = 6, grey: bool = False) -> None:
    """The pixels, the facts and the facts of the header alone are those of `UPRIGHT`."""
    expected = np.asarray(UPRIGHT.convert("L").convert("RGB") if grey else UPRIGHT, np.float64)
    found = load_image(data)
    assert found.size == UPRIGHT.size, case
    assert np.abs(np.asarray(found, np.float64) - expected).mean() < tolerance, case
    for facts in (prepare_with_facts(data, SPEC).facts, read_facts(io.BytesIO(data))):
        assert (facts.width, facts.height) == UPRIGHT.size, case


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_format_that_carries_an_orientation_is_turned_once(orientation):
    image = stored(UPRIGHT, orientation)
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        assert_upright(encoded(image, kind, exif=exif_of(orientation), quality=95), kind)
    options = {"exif": exif_of(orientation), "quality": 95, "append_images": [image]}
    pair = encoded(image, "MPO", save_all=True, **options)
    assert_upright(pair, "MPO")


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_tiffs_of_every_compression_and_layout_are_turned_once(orientation):
    image = stored(UPRIGHT, orientation)
    for how in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        for big in (False, True):
            data = encoded(
                image, "TIFF", compression=how, tiffinfo={TAG: orientation}, big_tiff=big
            )
            assert_upright(data, (how, big))
    colors = np.asarray(image)
    grey = np.asarray(image.convert("L"))
    tag = [(TAG, 3, 1, orientation, True)]
    layouts = [
        {"tile": (16, 16)}, {"tile": (32, 32), "compression": "zlib"}, {"rowsperstrip": 7},
        {"bigtiff": True}, {"byteorder": ">"},
    ]  # fmt: skip
    for layout in layouts:
        for levels in (1, 257):  # 8 and 16 bits
            kind = np.uint8 if levels == 1 else np.uint16
            data = tiff(colors.astype(kind) * kind(levels), "rgb", extratags=tag, **layout)
            assert_upright(data, (layout, levels))
            data = tiff(grey.astype(kind) * kind(levels), extratags=tag, **layout)
            assert_upright(data, (layout, levels), grey=True)
        assert_upright(
            tiff((colors / 255).astype(np.float32), "rgb", extratags=tag, **layout), layout
        )
    for kind in (np.uint8, np.uint16):
        planes = np.moveaxis(colors.astype(kind) * kind(257 if kind is np.uint16 else 1), -1, 0)
        data = tiff(planes, "rgb", planarconfig="separate", extratags=tag)
        assert_upright(data, ("planes", kind))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_page_has_an_orientation_of_its_own(orientation):
    import tifffile

    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for pixels, tag in (
            (np.zeros((50, 50, 3), np.uint8), 3),
            (np.asarray(stored(UPRIGHT, orientation)), orientation),
        ):
            writer.write(
                pixels, photometric="rgb", metadata=None, extratags=[(TAG, 3, 1, tag, True)]
            )
    assert_upright(buffer.getvalue(), orientation)


@pytest.mark.parametrize("orientation", [3, 6])
def test_exif_anywhere_in_a_png_is_found(orientation):
    data = encoded(stored(UPRIGHT, orientation), "PNG")
    exif = exif_of(orientation).tobytes()
    assert_upright(png_with(data, chunk(b"eXIf", exif[6:]), late=True), "after the pixels")
    text = b"\nexif\n%8d\n%s\n" % (len(exif), exif.hex().encode())
    for name in (b"Raw profile type exif", b"Raw profile type APP1"):
        for late in (False, True):
            plain = chunk(b"tEXt", name + b"\0" + text)
            packed = chunk(b"zTXt", name + b"\0\0" + zlib.compress(text))
            assert_upright(png_with(data, plain, late=late), (name, late))
            assert_upright(png_with(data, packed, late=late), (name, late))


@pytest.mark.parametrize("orientation", [2, 6])
@pytest.mark.parametrize("xmp", XMP)
def test_xmp_counts_where_exif_says_nothing(orientation, xmp):
    image = stored(UPRIGHT, orientation)
    text = xmp % orientation
    for kind in ("JPEG", "WEBP"):
        assert_upright(encoded(image, kind, xmp=text, quality=95), kind)
    assert_upright(encoded(image, "TIFF", tiffinfo={700: text}), "TIFF")
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", text.decode())
    assert_upright(encoded(image, "PNG", pnginfo=info), "PNG")
    late = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text)
    assert_upright(png_with(encoded(image, "PNG"), late, late=True), "late")
    both = encoded(image, "JPEG", exif=exif_of(orientation), xmp=xmp % 3, quality=95)
    assert_upright(both, "EXIF comes first")


def test_the_container_of_avif_and_heic_decides_alone():
    for orientation in ORIENTATIONS:
        assert_upright(encoded(UPRIGHT, "AVIF", xmp=XMP[2] % orientation, quality=95), "XMP")
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra heif")
    pillow_heif.register_heif_opener()
    for orientation in ORIENTATIONS:
        image = stored(UPRIGHT, orientation).copy()
        image.info["exif"] = exif_of(orientation).tobytes()  # becomes irot and imir
        assert_upright(encoded(image, "HEIF", quality=95), orientation)


@pytest.mark.parametrize(
    ("kind", "count", "value"),
    [(3, 1, b"\0\0"), (3, 1, b"\0\x09"), (3, 1, b"\xff\xff"), (2, 2, b"6\0"), (7, 1, b"\6")],
    ids=["0", "9", "65535", "text", "bytes"],
)
def test_a_value_that_is_no_orientation_counts_as_upright(kind, count, value):
    exif = raw_exif(kind, count, value)
    for name in ("JPEG", "PNG", "WEBP"):
        assert_upright(encoded(UPRIGHT, name, exif=exif, quality=95), name)
    assert_upright(encoded(UPRIGHT, "TIFF", tiffinfo={TAG: 9}), "TIFF")


def test_an_image_that_was_opened_or_loaded_before_is_turned_once():
    for kind in ("JPEG", "PNG", "TIFF"):
        data = encoded(stored(UPRIGHT, 6), kind, exif=exif_of(6), quality=95)
        opened = Image.open(io.BytesIO(data))
        loaded = Image.open(io.BytesIO(data))
        loaded.load()
        for image in (opened, loaded):
            assert load_image(image).size == UPRIGHT.size, kind
            assert load_image(load_image(image)).size == UPRIGHT.size, kind


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_decode_at_a_fraction_of_the_size_tells_the_full_size(orientation):
    large = picture((1600, 1200))
    exif = exif_of(orientation)
    data = encoded(stored(large, orientation), "JPEG", exif=exif)
    small = Preprocessing((32, 32), (0.5,) * 3, (0.5,) * 3)
    for facts in (prepare_with_facts(data, small).facts, read_facts(io.BytesIO(data))):
        assert (facts.width, facts.height) == large.size
    options = {"exif": exif_of(orientation), "save_all": True}
    pair = encoded(stored(large, orientation), "MPO", append_images=[large], **options)
    for facts in (prepare_with_facts(pair, small).facts, read_facts(io.BytesIO(pair))):
        assert (facts.width, facts.height, facts.frame) == (*large.size, 0)


def test_items_thumbnails_and_heat_maps_are_upright_alike(encoder, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    UPRIGHT.save(folder / "1.png")
    for orientation in (6, 7):
        image = stored(UPRIGHT, orientation)
        image.save(folder / f"{orientation}.tif", tiffinfo={TAG: orientation})
    with Index.create(tmp_path / "index", encoder) as index:
        index.add(folder)
        items = index.items()
        assert {(item.width, item.height) for item in items} == {UPRIGHT.size}
        for item in items:
            small = np.asarray(Image.open(io.BytesIO(thumbnail(item))), np.float64)
            assert np.abs(small - np.asarray(UPRIGHT, np.float64)).mean() < 8
    seen = [explain(encoder, path, "a circle").image for path in sorted(folder.iterdir())]
    for image in seen[1:]:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(seen[0]))
