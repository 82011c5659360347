"""Decoding and preprocessing, against open_clip's own transform and files made here."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from clipsearch.errors import ImageDecodeError, InvalidInputError
from clipsearch.images import Preprocessing, load_image, prepare, prepare_with_facts

CLIP = {
    "size": (224, 224),
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
    "interpolation": "bicubic",
}


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    idat = b"IDAT" + zlib.compress(b"")
    chunks = [
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (ihdr, idat)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("size", [(224, 224), (192, 256)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_prepare_equals_open_clips_transform(photos, mode, size, interpolation):
    from open_clip.transform import PreprocessCfg, image_transform_v2

    config = {**CLIP, "size": size, "resize_mode": mode, "interpolation": interpolation}
    if mode == "shortest" and size[0] != size[1]:
        config["interpolation"] = "bicubic"  # open_clip ignores the setting there
    reference = image_transform_v2(PreprocessCfg(**config), is_train=False)
    spec = Preprocessing.from_open_clip(config)
    for photo in photos[::4]:
        image = load_image(photo)
        ours = spec.normalise(prepare(image, spec))
        np.testing.assert_allclose(ours, reference(image).numpy(), atol=1e-6)


def test_prepare_equals_the_published_golden_tensor(shared_data):
    golden = np.load(shared_data / "golden" / "expected_preprocessed_image.npy")
    spec = Preprocessing.from_open_clip(CLIP)
    ours = spec.normalise(prepare(shared_data / "golden" / "franz-kafka.jpg", spec))
    np.testing.assert_allclose(ours[None], golden, atol=1e-5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(photos, orientation):
    upright = load_image(photos[0]).resize((300, 200))
    undo = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = upright
    for step in undo[orientation]:
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = load_image(encoded(stored, "PNG", exif=exif))
    np.testing.assert_array_equal(np.asarray(turned), np.asarray(upright))
    for again in (load_image(turned), load_image(encoded(turned, "PNG"))):
        np.testing.assert_array_equal(np.asarray(again), np.asarray(upright))
    data = encoded(stored, "JPEG", exif=exif)
    spec = Preprocessing.from_open_clip(CLIP)
    np.testing.assert_array_equal(
        prepare(load_image(data), spec), prepare(data, spec, scaled_decode=False)
    )


def test_facts_come_from_exif():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F], exif[0x0110] = "Canon", "Canon EOS R5"
    exif.get_ifd(0x8769)[0x9003] = "2024:05:01 12:30:00"
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2], gps[3], gps[4] = "S", (33.0, 30.0, 0.0), "E", (151.0, 15.0, 0.0)
    data = encoded(Image.new("RGB", (300, 200)), "JPEG", exif=exif)
    facts = prepare_with_facts(data, Preprocessing.from_open_clip(CLIP)).facts
    assert (facts.width, facts.height, facts.format) == (200, 300, "JPEG")
    assert facts.taken_at == "2024-05-01T12:30:00"
    assert facts.camera == "Canon EOS R5"
    assert (facts.latitude, facts.longitude) == (-33.5, 151.25)


def test_transparency_is_laid_over_white():
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert load_image(encoded(clear)).getpixel((0, 0)) == (255, 255, 255)
    palette = clear.convert("P")
    palette.info["transparency"] = palette.getpixel((0, 0))
    again = encoded(palette, "PNG", transparency=palette.getpixel((0, 0)))
    assert load_image(again).getpixel((0, 0)) == (255, 255, 255)


def test_16_bit_grey_keeps_its_range():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None, :].repeat(4, 0)
    row = np.asarray(load_image(encoded(Image.fromarray(ramp))))[0, :, 0]
    np.testing.assert_allclose(row, np.arange(256), atol=1)


def test_cmyk_becomes_rgb():
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    red, green, blue = load_image(encoded(cyan, "JPEG")).getpixel((4, 4))
    assert red < 40
    assert min(green, blue) > 200


def test_an_animation_is_its_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert load_image(data).getpixel((4, 4)) == (255, 0, 0), kind


def test_palettes_become_their_colours():
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 10, 200, 30])
    assert load_image(encoded(palette)).getpixel((0, 0)) == (10, 200, 30)


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_heic_and_avif_are_read(photos, tmp_path, kind):
    pytest.importorskip("pillow_heif", reason="needs the extra heif")
    from clipsearch.images import image_suffixes

    assert {".heic", ".avif"} <= image_suffixes()
    photo = load_image(photos[0]).resize((320, 240))
    file = tmp_path / ("a.heic" if kind == "HEIF" else "a.avif")
    photo.save(file, kind, quality=95)
    facts = prepare_with_facts(file.read_bytes(), Preprocessing.from_open_clip(CLIP)).facts
    assert (facts.width, facts.height, facts.format) == (320, 240, kind)
    again = np.asarray(load_image(file), np.float32)
    assert np.abs(again - np.asarray(photo, np.float32)).mean() < 8


def dng(bayer: np.ndarray, orientation: int = 1) -> bytes:
    """A camera RAW file: the bare values behind a red, green, green, blue mosaic, [H, W]."""
    pixels = bayer.astype("<u2").tobytes()
    height, width = bayer.shape
    unit = b"".join(struct.pack("<ii", int(i % 4 == 0), 1) for i in range(9))
    tags: list[tuple[int, int, bytes]] = [  # number, type, value
        (254, 4, struct.pack("<I", 0)), (256, 4, struct.pack("<I", width)),
        (257, 4, struct.pack("<I", height)), (258, 3, struct.pack("<H", 16)),
        (259, 3, struct.pack("<H", 1)), (262, 3, struct.pack("<H", 32803)),
        (271, 2, b"Maker\0"), (272, 2, b"Camera\0"), (273, 4, b"????"),
        (274, 3, struct.pack("<H", orientation)), (277, 3, struct.pack("<H", 1)),
        (278, 4, struct.pack("<I", height)), (279, 4, struct.pack("<I", len(pixels))),
        (33421, 3, struct.pack("<HH", 2, 2)), (33422, 1, bytes([0, 1, 1, 2])),
        (50706, 1, bytes([1, 4, 0, 0])), (50708, 2, b"Camera\0"),
        (50717, 4, struct.pack("<I", 65535)), (50721, 10, unit),
        (50728, 5, struct.pack("<6I", *[1] * 6)), (50778, 3, struct.pack("<H", 21)),
    ]  # fmt: skip
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 10: 8}
    start = 8 + 2 + 12 * len(tags) + 4
    long = b"".join(value + b"\0" * (len(value) % 2) for _, _, value in tags if len(value) > 4)
    entries, at = b"", start
    for number, kind, value in tags:
        entries += struct.pack("<HHI", number, kind, len(value) // sizes[kind])
        if number == 273:
            entries += struct.pack("<I", start + len(long))
        elif len(value) > 4:
            entries += struct.pack("<I", at)
            at += len(value) + len(value) % 2
        else:
            entries += value.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + long + pixels


def test_camera_raw_is_developed(tmp_path):
    pytest.importorskip("rawpy", reason="needs the extra raw")
    from clipsearch.images import image_suffixes
    from clipsearch.intake.decoders import DecoderPool

    assert ".dng" in image_suffixes()
    red = np.full((600, 800), 2000)
    red[0::2, 0:400:2] = 60_000  # the left half is red
    file = tmp_path / "a.DNG"
    file.write_bytes(dng(red))
    image = load_image(file)
    assert image.size == (800, 600)
    assert image.getpixel((100, 300))[0] > 200
    assert max(image.getpixel((700, 300))) < 100
    file.write_bytes(dng(red, orientation=6))  # a quarter turn: left becomes top
    turned = load_image(file)
    assert turned.size == (600, 800)
    assert turned.getpixel((300, 100))[0] > 200
    spec = Preprocessing.from_open_clip({**CLIP, "size": 64})
    with DecoderPool(spec, workers=1) as pool:  # there it is bytes with a name
        decoded = pool.submit(str(file)).result().prepared
    assert (decoded.facts.width, decoded.facts.height, decoded.facts.format) == (600, 800, "RAW")
    assert decoded.pixels[8, 32, 0] > 200
    assert decoded.pixels[56, 32].max() < 100
    file.write_bytes(dng(red)[:5000])
    with pytest.raises(ImageDecodeError, match=r"a\.DNG"):
        load_image(file)


def test_scaled_jpeg_decoding_keeps_the_embedding(encoder, photos):
    """Large JPEGs decode at a fraction of their size; the vectors hardly move."""
    spec = encoder.preprocessing
    large = [encoded(load_image(p).resize((2016, 1512)), "JPEG", quality=92) for p in photos[:8]]
    fast = encoder.encode_pixels(np.stack([prepare(data, spec) for data in large]))
    full = encoder.encode_pixels(
        np.stack([prepare(data, spec, scaled_decode=False) for data in large])
    )
    assert (fast * full).sum(axis=1).min() >= 0.998


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no bytes"),
        (b"this is a text that calls itself a photo", "not an image"),
        (png_header(60_000, 60_000), "over the limit"),
        (png_header(30_000, 10_000), "--max-pixels"),
        (encoded(Image.new("RGB", (200, 200)), "JPEG")[:400], "broken image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    ],
    ids=["empty", "text", "bomb", "large", "truncated", "eps"],
)
def test_bad_bytes_are_refused_with_a_reason(data, says):
    with pytest.raises(ImageDecodeError, match=says):
        load_image(data)


def test_bad_paths_are_refused_with_a_reason(tmp_path):
    with pytest.raises(ImageDecodeError, match="gone"):
        load_image(tmp_path / "absent.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageDecodeError, match="empty"):
        load_image(tmp_path / "empty.jpg")
    with pytest.raises(ImageDecodeError, match="folder"):
        load_image(tmp_path)


def test_a_raised_limit_lets_a_large_image_through():
    data = encoded(Image.new("1", (20_000, 10_000)))
    with pytest.raises(ImageDecodeError, match="200000000 pixels"):
        load_image(data)
    assert load_image(data, max_pixels=200_000_000).size == (20_000, 10_000)


@pytest.mark.parametrize("wrong", [np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), 7, None])
def test_wrong_types_are_refused(wrong):
    with pytest.raises(InvalidInputError):
        load_image(wrong)


def test_odd_files_never_do_more_than_fail(shared_data):
    spec = Preprocessing.from_open_clip(CLIP)
    good = bad = 0
    for path in sorted((shared_data / "odd").rglob("*")):
        if path.is_file():
            try:
                assert prepare(path, spec).shape == (224, 224, 3)
                good += 1
            except ImageDecodeError as exc:
                assert path.name in str(exc)
                bad += 1
    assert good > 400
    assert bad > 50


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2024:05:01 12:30:00", "2024-05-01T12:30:00"),
        ("2024:05:01", "2024-05-01"),
        ("2024:05:01 12:30:00+02:00", "2024-05-01T12:30:00"),  # local time, as cameras mean it
        ("2024:13:45 99:00:00", None),
        ("2024:02:30 10:00:00", None),
        ("0000:00:00 00:00:00", None),
        ("    :  :     :  :  ", None),
        ("yesterday", None),
    ],
)
def test_a_date_that_no_calendar_has_is_none(written, read):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = written
    data = encoded(Image.new("RGB", (30, 20)), "JPEG", exif=exif)
    assert prepare_with_facts(data, Preprocessing.from_open_clip(CLIP)).facts.taken_at == read


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"restart_marker_blocks": 4}, {"subsampling": 0, "optimize": True}],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_data_of_a_smaller_image_are_a_truncated_one(mode, options):
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    for lower in (noise, np.full_like(noise, 128)):  # the last are grey, as what is missing is
        file = io.BytesIO()
        picture = Image.fromarray(np.concatenate([noise, lower])).convert(mode)
        picture.save(file, "JPEG", **options)
        whole = file.getvalue()
        assert load_image(whole).size == (80, 120)
        at = whole.index(b"\xff\xc2" if "progressive" in options else b"\xff\xc0") + 5
        for size in (b"\x00\xf0\x00\x50", b"\x03\x00\x04\x00"):  # height and width
            with pytest.raises(ImageDecodeError, match="truncated"):
                load_image(whole[:at] + size + whole[at + 4 :])


def test_a_png_with_too_few_rows_is_a_truncated_one():
    for interlaced in (0, 1):
        file = io.BytesIO()
        Image.new("RGB", (40, 30)).save(file, "PNG")
        whole = file.getvalue()
        assert load_image(whole).size == (40, 30)
        header = bytearray(whole[12:29])
        header[8:12], header[16] = (60).to_bytes(4, "big"), interlaced
        header += zlib.crc32(header).to_bytes(4, "big")
        with pytest.raises(ImageDecodeError, match="truncated"):
            load_image(whole[:12] + bytes(header) + whole[33:])


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpegs_of_a_tiff_that_have_too_few_rows_are_truncated(mode):
    """A tag of the height is set to twice that of the pixels."""
    image = Image.effect_noise((96, 64), 60).convert(mode)

    def data(rows: int) -> bytes:
        file = io.BytesIO()
        image.save(file, "TIFF", compression="jpeg", tiffinfo={278: 64})
        whole = bytearray(file.getvalue())
        (start,) = struct.unpack_from("<I", whole, 4)
        (tags,) = struct.unpack_from("<H", whole, start)
        for at in range(start + 2, start + 2 + 12 * tags, 12):
            if struct.unpack_from("<H", whole, at)[0] in (257, 278):
                struct.pack_into("<HII", whole, at + 2, 4, 1, rows)
        return bytes(whole)

    assert load_image(data(64)).size == (96, 64)
    with pytest.raises(ImageDecodeError, match="truncated"):
        load_image(data(128))
