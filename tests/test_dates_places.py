"""Dates, places and cameras: from every field that has them, in any form, and only real ones."""

from __future__ import annotations

import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from PIL.TiffImagePlugin import IFDRational

from clipsearch import Index
from clipsearch.images import Preprocessing, prepare_with_facts, read_facts
from clipsearch.standards.coordinates import place_of_texts
from clipsearch.standards.dates import parse_date, utc_of_timestamp
from clipsearch.standards.description import camera_of

from .test_images import dng
from .test_ingest import PixelEncoder

SPEC = Preprocessing(size=(16, 16), mean=(0, 0, 0), std=(1, 1, 1))
RIGHT = "2024-07-04T10:00:00"
ORIGINAL, DIGITIZED, MODIFIED, GPS = 0x9003, 0x9004, 0x0132, 0x8825
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NAMESPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
}


def xmp(attributes: str = "", body: str = "") -> bytes:
    """An XMP packet with properties as attributes and as elements."""
    names = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about="" {names} {attributes}>{body}'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def iptc(*fields: tuple[int, int, bytes]) -> bytes:
    """IPTC-IIM records."""
    return b"".join(
        b"\x1c" + bytes([record, number]) + struct.pack(">H", len(value)) + value
        for record, number, value in fields
    )


def with_app13(jpeg: bytes, records: bytes) -> bytes:
    """A JPEG with IPTC records in Photoshop's segment."""
    padded = records + b"\0" * (len(records) % 2)
    body = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(records)) + padded
    return jpeg[:2] + b"\xff\xed" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def exif_of(tags: dict | None = None, *, exif: dict | None = None, gps: dict | None = None):
    made = Image.Exif()
    made.update(tags or {})
    made.get_ifd(0x8769).update(exif or {})
    made.get_ifd(GPS).update(gps or {})
    return made


def file(kind: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    if isinstance(options.get("exif"), Image.Exif):
        options["exif"] = options["exif"].tobytes()
    Image.radial_gradient("L").resize((20, 16)).convert("RGB").save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def facts(data: bytes):
    """What decoding says, which the header alone says too."""
    decoded = prepare_with_facts(data, SPEC).facts
    assert read_facts(io.BytesIO(data)) == decoded
    return decoded


# --- dates --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        "2024:07:04 10:00:00", "2024-07-04T10:00:00", "2024/07/04 10:00:00", "2024.07.04 10.00.00",
        "2024: 7: 4 10: 0: 0", "2024:7:4 10:0:0", "2024:07:04 10:00", "2024:07:04 10:00:60",
        "2024:07:04 10:00:00.123", "2024-07-04T10:00:00.5+02:00", "2024:07:04 10:00:00Z",
        "2024:07:04 10:00:00 +0200", "2024:07:04 10:00:00 AM", "2024:07:04 오전 10:00:00",
        " 2024:07:04 10:00:00 ", "2024:07:04 10:00:00\0\0", b"2024:07:04 10:00:00\0",
        "2024:07:04\x0010:00:00", "20240704T100000", "20240704 100000", "20240704_100000",
        "2024:07:04:10:00:00", "2024-07-04 10-00-00", "2024年7月4日 10:00:00",
        "Thu, 04 Jul 2024 10:00:00 +0200", "Thu Jul  4 10:00:00 2024", ("2024:07:04 10:00:00",),
    ],
)  # fmt: skip
def test_a_date_is_read_in_any_form(written):
    assert parse_date(written) == RIGHT


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2024:07:04", "2024-07-04"),
        ("20240704", "2024-07-04"),
        ("2024:07:04   :  :  ", "2024-07-04"),
        ("2024:07:04 ??:??:??", "2024-07-04"),
        ("2024:07:04 25:00:00", "2024-07-04"),  # the day is said all the same
        ("2024:07", "2024-07"),
        ("2024-07", "2024-07"),
        ("2024", "2024"),
        ("2024:07:04 10:00:00 pm", "2024-07-04T22:00:00"),
        ("2024:07:04 12:05:00 am", "2024-07-04T00:05:00"),
        ("2024:07:04 下午3:00:00", "2024-07-04T15:00:00"),
        ("2024:02:29 10:00:00", "2024-02-29T10:00:00"),
    ],
)
def test_a_date_says_no_more_than_is_written(written, read):
    assert parse_date(written) == read


@pytest.mark.parametrize(
    "written",
    [
        None, "", " ", "\0\0\0", "    :  :     :  :  ", "0000:00:00 00:00:00", "0000-00-00",
        "2024:00:00 00:00:00", "2024:07:00 00:00:00", "2024:02:30 10:00:00", "2023:02:29",
        "2024:13:01 10:00:00", "2024:13", "0001:01:01 00:00:00", "9999:99:99 99:99:99",
        "04/07/2024 10:00", "24:07:04 10:00:00", "????:??:?? ??:??:??", "yesterday", 1720087200,
        "1720087200", b"\xff\xfe\xfd", "2024-W27", "x" * 1000, (1, 2, 3), object(),
    ],
)  # fmt: skip
def test_what_is_no_date_is_none(written):
    assert parse_date(written) is None


@pytest.mark.parametrize(
    ("tags", "read"),
    [
        ({ORIGINAL: "2024:07:04 10:00:00", DIGITIZED: "2025:01:01 00:00:00"}, RIGHT),
        ({DIGITIZED: "2024:07:04 10:00:00", MODIFIED: "2025:01:01 00:00:00"}, RIGHT),
        ({ORIGINAL: "    :  :     :  :  ", DIGITIZED: "2024:07:04 10:00:00"}, RIGHT),
        ({ORIGINAL: "0000:00:00 00:00:00", MODIFIED: "2024:07:04 10:00:00"}, RIGHT),
        ({ORIGINAL: "2024:02:30 10:00:00", MODIFIED: "2024:07:04 10:00:00"}, RIGHT),
        ({MODIFIED: "2024:07:04 10:00:00"}, RIGHT),
        ({}, None),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_original_date_counts_before_those_of_the_file(kind, tags, read):
    modified = {tag: value for tag, value in tags.items() if tag == MODIFIED}
    others = {tag: value for tag, value in tags.items() if tag != MODIFIED}
    assert facts(file(kind, exif=exif_of(modified, exif=others))).taken_at == read


def test_offsets_and_parts_of_seconds_leave_the_local_time():
    offsets = {ORIGINAL: "2024:07:04 10:00:00", 0x9011: "+09:00", 0x9291: "123"}
    assert facts(file(exif=exif_of(exif=offsets))).taken_at == RIGHT


@pytest.mark.parametrize(
    "attributes",
    [
        'exif:DateTimeOriginal="2024-07-04T10:00:00.25+02:00" xmp:CreateDate="2025-01-01"',
        'photoshop:DateCreated="2024-07-04T10:00:00" xmp:CreateDate="2025-01-01T00:00:00"',
        'xmp:CreateDate="2024-07-04T10:00:00Z" xmp:ModifyDate="2025-01-01T00:00:00"',
        'xmp:ModifyDate="2024-07-04T10:00:00"',
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_xmp_has_dates_in_the_same_order(kind, attributes):
    if kind == "PNG":
        texts = PngImagePlugin.PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", xmp(attributes).decode())
        data = file(kind, pnginfo=texts)
    else:
        data = file(kind, xmp=xmp(attributes))
    assert facts(data).taken_at == RIGHT
    elements = xmp("", "<photoshop:DateCreated>2024-07-04T10:00:00</photoshop:DateCreated>")
    assert facts(file("WEBP", xmp=elements)).taken_at == RIGHT


@pytest.mark.parametrize(
    ("records", "read"),
    [
        (((2, 55, b"20240704"), (2, 60, b"100000+0200")), RIGHT),
        (((2, 55, b"20240704"), (2, 60, b"100000")), RIGHT),
        (((2, 62, b"20240704"), (2, 63, b"100000+0000")), RIGHT),
        (((2, 55, b"20240704"),), "2024-07-04"),
        (((2, 55, b"20240700"),), "2024-07"),  # IPTC's way to leave the day open
        (((2, 55, b"20240000"),), "2024"),
        (((2, 55, b"00000000"),), None),
        (((2, 55, b"20241399"),), None),
    ],
)
def test_iptc_has_dates_in_two_fields(records, read):
    assert facts(with_app13(file(), iptc(*records))).taken_at == read


def test_exif_counts_before_xmp_and_iptc_but_an_edit_counts_last():
    photoshop = xmp('photoshop:DateCreated="2024-07-04T10:00:00"')
    assert facts(file(exif=exif_of({MODIFIED: "2025:01:01 00:00:00"}), xmp=photoshop)).taken_at == (
        RIGHT
    )
    other = xmp('photoshop:DateCreated="2023-01-01T00:00:00"')
    original = exif_of(exif={ORIGINAL: "2024:07:04 10:00:00"})
    assert facts(file(exif=original, xmp=other)).taken_at == RIGHT


def test_png_has_a_creation_time_and_hidden_profiles():
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Creation Time", "Thu, 04 Jul 2024 10:00:00 GMT", zip=True)
    assert facts(file("PNG", pnginfo=texts)).taken_at == RIGHT
    made = exif_of(exif={ORIGINAL: "2024:07:04 10:00:00"}).tobytes()
    for name, data in {
        "exif": made,
        "xmp": xmp('xmp:CreateDate="2024-07-04T10:00:00"'),
        "iptc": iptc((2, 55, b"20240704"), (2, 60, b"100000")),
    }.items():
        texts = PngImagePlugin.PngInfo()
        texts.add_text(f"Raw profile type {name}", f"\n{name}\n {len(data):8}\n{data.hex()}\n")
        assert facts(file("PNG", pnginfo=texts)).taken_at == RIGHT, name


def test_heic_and_avif_have_exif_and_xmp():
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    made = exif_of(exif={ORIGINAL: "2024:07:04 10:00:00"})
    for kind in ("HEIF", "AVIF"):
        assert facts(file(kind, exif=made.tobytes())).taken_at == RIGHT
        packet = xmp('photoshop:DateCreated="2024-07-04T10:00:00"')
        assert facts(file(kind, xmp=packet)).taken_at == RIGHT


def test_a_timestamp_is_a_time_in_utc():
    assert utc_of_timestamp("1478174685") == "2016-11-03T12:04:45"
    assert utc_of_timestamp(-86400) == "1969-12-31T00:00:00"
    assert utc_of_timestamp("1478174685000") == "2016-11-03T12:04:45"
    assert not any(map(utc_of_timestamp, ("0", 0, None, "", "x", float("nan"), 1e300, [])))


def test_a_date_that_is_cut_short_is_found_by_filters(tmp_path):
    index = Index.create(tmp_path / "index", PixelEncoder())
    for number, day in enumerate(["2024:07:04 10:00:00", "2024:07:04", "2024:07", "2024", None]):
        made = exif_of(
            exif={ORIGINAL: day} if day else {}, tags={0x10E: f"the lake, part {number}"}
        )
        (tmp_path / f"{number}.jpg").write_bytes(file(exif=made))
    index.add([tmp_path / f"{number}.jpg" for number in range(5)])
    found = {
        where: [int(item.path[-5]) for item in index.items(where=where)]
        for where in (
            "taken_at = '2024'",
            "taken_at = '2024-07'",
            "taken_at = '2024-07-04'",
            "taken_at < '2024-07-04'",
            "taken_at is null",
        )
    }
    assert list(found.values()) == [[0, 1, 2, 3], [0, 1, 2], [0, 1], [2, 3], [4]]


# --- places -------------------------------------------------------------------------------------

LATITUDE, LONGITUDE = (33.0, 51.0, 30.0), (151.0, 12.0, 30.0)
PLACE = (-(33 + 51 / 60 + 30 / 3600), 151 + 12 / 60 + 30 / 3600)


def place(latitude, longitude, ns: object = "S", ew: object = "E", kind: str = "JPEG"):
    fields = {1: ns, 2: latitude, 3: ew, 4: longitude}
    gps = {tag: value for tag, value in fields.items() if value is not None}
    found = facts(file(kind, exif=exif_of(gps=gps)))
    return None if found.latitude is None else (found.latitude, found.longitude)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_place_is_read_from_every_format(kind):
    assert place(LATITUDE, LONGITUDE, kind=kind) == pytest.approx(PLACE)


@pytest.mark.parametrize(
    ("ns", "ew"),
    [("s", "e"), ("S\0\0", "E\0\0"), (" S ", " E"), ("South", "East"), ("SOUTH", "est")],
)
def test_a_hemisphere_may_be_sloppy(ns, ew):
    assert place(LATITUDE, LONGITUDE, ns, ew) == pytest.approx(PLACE)


@pytest.mark.parametrize(
    ("ns", "ew"),
    [(None, "E"), ("S", None), (None, None), ("", "E"), ("E", "S"), ("X", "E"), ("S", "O")],
)
def test_without_a_hemisphere_there_is_no_place(ns, ew):
    assert place(LATITUDE, LONGITUDE, ns, ew) is None


NONE = IFDRational(0, 0)


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [
        ((33.0, 51.5, 0.0), (151.0, 12.5, 0.0)),
        ((33.0, 51.5), (151.0, 12.5)),  # two parts
        ((33.85833333, 0.0, 0.0), (151.20833333, 0.0, 0.0)),
        ((33.85833333,), (151.20833333,)),  # decimal degrees
        (33.85833333, 151.20833333),
        ((33.85833333, NONE, NONE), (151.20833333, NONE, NONE)),
        ((33.0, 51.5, NONE), (151.0, 12.5, NONE)),  # seconds that are not known
    ],
)
def test_an_angle_may_have_fewer_parts(latitude, longitude):
    assert place(latitude, longitude) == pytest.approx(PLACE, abs=1e-6)


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((NONE, NONE, NONE), (NONE, NONE, NONE)),
        ((33.0, NONE, NONE), (151.0, NONE, NONE)),  # off by up to a hundred kilometers
        ((120.0, 0.0, 0.0), LONGITUDE),
        ((90.0, 0.0, 1.0), LONGITUDE),
        (LATITUDE, (180.0, 0.0, 1.0)),
        (LATITUDE, (200.0, 0.0, 0.0)),
        ((33.0, 61.0, 0.0), LONGITUDE),
        ((33.0, 51.0, 90.0), LONGITUDE),
        (LATITUDE, None),
        (None, LONGITUDE),
    ],
)
def test_what_is_no_place_is_none(latitude, longitude):
    assert place(latitude, longitude) is None


def test_the_equator_the_meridian_and_the_poles_are_places():
    assert place((0.0, 0.0, 0.0), LONGITUDE) == pytest.approx((0.0, PLACE[1]))
    assert place(LATITUDE, (0.0, 0.0, 0.0)) == pytest.approx((PLACE[0], 0.0))
    assert place((90.0, 0.0, 0.0), (180.0, 0.0, 0.0), "N", "W") == (90.0, -180.0)


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [
        ("33,51.5S", "151,12.5E"),
        ("33,51,30S", "151,12,30E"),
        ("33,51,30 s", "151,12,30 e"),
        ("-33.8583333", "151.2083333"),
        ("33.8583333S", "151.2083333E"),
        ("33.8583333 S", "E151.2083333"),
        ("33 deg 51' 30.00\" S", "151 deg 12' 30.00\" E"),
        ("33°51'30\"S", "151°12'30\"E"),
    ],
)
def test_xmp_has_the_letter_in_the_value(latitude, longitude):
    assert place_of_texts(latitude, longitude) == pytest.approx(PLACE, abs=1e-6)
    body = f"<exif:GPSLatitude>{latitude}</exif:GPSLatitude>"
    body += f"<exif:GPSLongitude>{longitude}</exif:GPSLongitude>"
    found = facts(file("WEBP", xmp=xmp("", body)))
    assert (found.latitude, found.longitude) == pytest.approx(PLACE, abs=1e-6)


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [
        ("0,0N", "0,0E"), ("33,51.5", "151,12.5E"), ("33,51.5S", ""), ("91,0N", "0,1E"),
        ("-33.8N", "151E"), ("x", "y"), ("nan", "nan"), ("33,51.5E", "151,12.5S"), (None, None),
    ],
)  # fmt: skip
def test_xmp_places_are_checked_as_well(latitude, longitude):
    assert place_of_texts(latitude, longitude) is None


# --- cameras ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("NIKON", "COOLPIX P900", "NIKON COOLPIX P900"),
        ("Apple", "iPhone 12", "Apple iPhone 12"),
        ("OLYMPUS IMAGING CORP.  ", "E-M10", "OLYMPUS IMAGING CORP. E-M10"),
        ("SONY\0\0\0", "DSC-RX100  \0", "SONY DSC-RX100"),
        ("samsung", "SAMSUNG ST65", "SAMSUNG ST65"),
        ("HUAWEI", "", "HUAWEI"),
        ("", "Pixel 7", "Pixel 7"),
        ("\0", "  ", None),
        (b"Canon\0", b"EOS\0", "Canon EOS"),
    ],
)
def test_a_camera_is_named_once_and_without_padding(make, model, camera):
    tags = {0x10F: make, 0x110: model}
    made = exif_of({tag: value for tag, value in tags.items() if value})
    assert facts(file(exif=made)).camera == camera


def test_a_camera_is_read_from_xmp_as_well():
    packet = xmp('tiff:Make="Canon" tiff:Model="Canon EOS 5D"')
    assert facts(file("WEBP", xmp=packet)).camera == "Canon EOS 5D"
    assert camera_of(None, None) is None


# --- broken and hostile -------------------------------------------------------------------------


def png_with(*chunks: bytes) -> bytes:
    data = file("PNG")
    return data[:33] + b"".join(chunks) + data[33:]


@pytest.mark.parametrize(
    "data",
    [
        png_with(chunk(b"zTXt", b"x\0\0" + zlib.compress(b"a" * 40_000_000))),
        png_with(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"a" * 3_000_000))),
        png_with(*[chunk(b"zTXt", b"x\0\0" + zlib.compress(b"a" * 900_000))] * 80),
        png_with(chunk(b"iCCP", b"icc\0\0" + zlib.compress(b"a" * 5_000_000))),
        png_with(chunk(b"tEXt", b"a\0b")[:-1] + b"?"),
        png_with(chunk(b"pHYs", b"1"), chunk(b"gAMA", b"1"), chunk(b"eXIf", b"junk")),
        png_with(chunk(b"tEXt", b"Raw profile type exif\0\nq\n1\nzz")),
        file(exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
        file(exif=b"Exif\0\0junk"),
        with_app13(file(), b"\x1c\x02\x78\xff\xff"),
        file("WEBP", xmp=b"<x:xmpmeta"),
        file("WEBP", xmp=b"<a>" * 100_000),
        file("WEBP", xmp=b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>'),
        file("WEBP", xmp=b"\xff\xfe\x00"),
    ],
    ids=range(14),
)  # fmt: skip
def test_broken_metadata_leaves_the_image_readable(data):
    found = facts(data)
    assert (found.width, found.height, found.taken_at, found.caption) == (20, 16, None, None)


def test_what_is_whole_in_a_broken_png_is_read():
    time = chunk(b"tEXt", b"Creation Time\x002024-07-04T10:00:00")
    bomb = chunk(b"zTXt", b"x\0\0" + zlib.compress(b"a" * 40_000_000))
    assert facts(png_with(time, bomb)).taken_at == RIGHT


def test_avif_with_exif_that_is_none_is_readable():
    if "AVIF" not in Image.registered_extensions().values():
        pytest.skip("this Pillow cannot write AVIF")
    data = file("AVIF", exif=exif_of(exif={ORIGINAL: "2024:07:04 10:00:00"}).tobytes())
    start = max(data.find(b"II*\0"), data.find(b"MM\0*"))
    broken = data[:start] + b"junk" + data[start + 4 :]
    assert facts(data).taken_at == RIGHT
    assert (facts(broken).width, facts(broken).taken_at) == (20, None)


def test_broken_gps_costs_the_place_alone():
    made = exif_of({0x10F: "Canon"}, exif={ORIGINAL: "2024:07:04 10:00:00"})
    made[GPS] = 4_000_000_000  # which leads nowhere
    found = facts(file(exif=made))
    assert (found.camera, found.taken_at, found.latitude) == ("Canon", RIGHT, None)


# --- to the user --------------------------------------------------------------------------------


def test_the_command_line_shows_dates_places_and_cameras(cli, tmp_path):
    made = exif_of(
        {0x10F: "NIKON CORPORATION", 0x110: "NIKON D90"},
        exif={ORIGINAL: "2024:07:04 10:00:00"},
        gps={1: "S\0", 2: LATITUDE, 3: "e", 4: LONGITUDE},
    )
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(file(exif=made))
    cli("index", tmp_path / "photos", "-i", "dated")
    found = json.loads(cli("search", "a circle", "-i", "dated", "-f", "json").stdout)
    (hit,) = found["hits"] if isinstance(found, dict) else found
    assert (hit["taken_at"], hit["camera"]) == (RIGHT, "NIKON D90")
    assert (hit["latitude"], hit["longitude"]) == pytest.approx(PLACE)


def test_camera_raw_names_its_camera_and_is_turned_once():
    pytest.importorskip("rawpy", reason="needs the extra raw")
    data = dng(np.full((60, 80), 2000), orientation=6)
    found = prepare_with_facts(data, SPEC, name="a.dng").facts
    assert (found.format, found.camera) == ("RAW", "Maker Camera")
    assert (found.width, found.height) == (60, 80)
