# ruff: noqa: RUF001 - captions are written in many alphabets
"""Captions and keywords: within images and beside them, as people and programs leave them there."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from clipsearch import Index
from clipsearch.errors import InvalidInputError
from clipsearch.ingest import IngestOptions
from clipsearch.intake.sidecars import Sidecars, read_beside
from clipsearch.intake.sources import FolderSource, open_source
from clipsearch.standards.exif import describe_exif
from clipsearch.standards.texts import decode, person_text

from .test_dates_places import RIGHT, exif_of, facts, file, iptc, with_app13, xmp
from .test_ingest import PixelEncoder, picture

LAKE = "Grandma at the lake"
DESCRIPTION, USER_COMMENT = 0x10E, 0x9286
XP_TITLE, XP_COMMENT, XP_KEYWORDS = 0x9C9B, 0x9C9C, 0x9C9E
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".heic", ".dng"})


def takeout(title: str, description: str = LAKE, **fields) -> str:
    place = {"latitude": 30.65, "longitude": 104.07, "altitude": 0.0}
    return json.dumps(
        {
            "title": title,
            "description": description,
            "imageViews": "3",
            "creationTime": {"timestamp": "1500000000"},
            "photoTakenTime": {"timestamp": "1478174685", "formatted": "Nov 3, 2016"},
            "geoData": place,
            **fields,
        }
    )


def subjects(*words: str, name: str = "dc:subject", kind: str = "Bag") -> str:
    entries = "".join(f"<rdf:li>{word}</rdf:li>" for word in words)
    return f"<{name}><rdf:{kind}>{entries}</rdf:{kind}></{name}>"


def described(**languages: str) -> str:
    entries = "".join(
        f'<rdf:li xml:lang="{language.replace("_", "-")}">{text}</rdf:li>'
        for language, text in languages.items()
    )
    return f"<dc:description><rdf:Alt>{entries}</rdf:Alt></dc:description>"


def folder_with(folder: Path, files: dict[str, str | bytes]) -> Path:
    """A folder with these sidecars, and a picture for every name of an image."""
    folder.mkdir(exist_ok=True)
    for number, (name, content) in enumerate(files.items()):
        if os.path.splitext(name)[1].lower() in SUFFIXES and not content:
            picture(folder / name, number)
        elif isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            (folder / name).write_text(content, encoding="utf-8")
    return folder


def indexed(folder: Path, **options):
    """The items of a folder by name, and the report."""
    index = Index.create(folder.parent / f"index of {folder.name}", PixelEncoder(), exist_ok=True)
    report = index.add(folder, options=IngestOptions(**options))
    return {Path(item.path).name: item for item in index.items()}, report


def captions(folder: Path) -> dict[str, str | None]:
    return {Path(pair.key).name: pair.caption for pair in FolderSource(folder) if pair.image}


# --- which file belongs to which image ----------------------------------------------------------


def owners(*names: str) -> dict[str, list[str]]:
    """The sidecars of each image among some names."""
    found = Sidecars(sorted(names), SUFFIXES, lambda name, most: b"")
    images = [name for name in names if os.path.splitext(name)[1].lower() in SUFFIXES]
    sidecars = {name for image in images for name in found._of.get(image, ())}
    assert all(found.belongs(name) == (name in sidecars) for name in names)
    return {image: found._of.get(image, []) for image in images}


@pytest.mark.parametrize(
    ("image", "sidecar"),
    [
        ("a.jpg", "a.txt"), ("a.jpg", "a.TXT"), ("A.JPG", "a.txt"), ("a.jpg", "A.Txt"),
        ("a.jpg", "a.jpg.txt"), ("a.jpg", "a.JPG.TXT"), ("a.jpg", "a.caption"),
        ("a.jpg", "a.json"), ("a.jpg", "a.jpg.json"), ("a.JPG", "a.jpg.JSON"),
        ("a.jpg", "a.xmp"), ("a.jpg", "a.jpg.xmp"), ("a.jpg", "a.JPG.XMP"), ("a.dng", "a.xmp"),
        ("a.b.jpg", "a.b.txt"), ("a b.jpg", "a b.txt"), ("é.jpg", "e\u0301.txt"),
        ("a.jpg", "a.jpg.supplemental-metadata.json"), ("a.jpg", "a.jpg.supplemental-met.json"),
        ("a.jpg", "a.jpg.suppl.json"), ("a.jpg", "a.jpg.s.json"), ("a.jpg", "a.jpg..json"),
        ("a(1).jpg", "a.jpg(1).json"), ("a(1).jpg", "a(1).jpg.json"),
        ("a(12).jpg", "a.jpg.supplemental-metadata(12).json"),
        ("a(1).jpg", "a.jpg.supplemen(1).json"),
        ("a-edited.jpg", "a.jpg.json"), ("a-bearbeitet.jpg", "a.jpg.supplemental-metadata.json"),
        ("a-edited.jpg", "a-edited.jpg.json"), ("a-modifié.jpg", "a.jpg.json"),
        ("a-edited(1).jpg", "a.jpg(1).json"), ("a-edited.jpg", "a.HEIC.json"),
        (f"{'n' * 60}.jpg", f"{'n' * 46}.json"), (f"{'n' * 47}.jpg", f"{'n' * 46}.json"),
        (f"{'n' * 38}.jpg", f"{'n' * 38}.jpg.su.json"), (f"{'n' * 42}.jpg", f"{'n' * 42}.jpg.json"),
        (f"{'n' * 47}(1).jpg", f"{'n' * 46}(1).json"), (f"{'n' * 44}-ed.jpg", f"{'n' * 44}.j.json"),
    ],
)  # fmt: skip
def test_a_sidecar_is_found_by_its_name(image, sidecar):
    assert owners(image, sidecar) == {image: [sidecar]}


@pytest.mark.parametrize(
    ("image", "other"),
    [
        ("a.jpg", "b.txt"), ("a.jpg", "a.md"), ("a.jpg", "a.jpg.supplied.json"),
        ("a.jpg", "a.jpg(1).json"), ("a(1).jpg", "a.jpg.json"), ("a(1).jpg", "a.jpg(2).json"),
        ("aa.jpg", "a.json"), ("a.jpg", "aa.json"), ("a.jpg", "metadata.json"), ("a.jpg", "a"),
        ("a.jpg", "a.png.txt"), (f"{'n' * 60}.jpg", f"{'n' * 30}.json"), ("a-x.jpg", "a.jpg.json"),
    ],
)  # fmt: skip
def test_a_file_of_another_name_is_no_sidecar(image, other):
    assert owners(image, other) == {image: []}


def test_the_full_name_counts_before_the_stem_which_all_its_images_share():
    assert owners("a.jpg", "a.png", "a.txt") == {"a.jpg": ["a.txt"], "a.png": ["a.txt"]}
    assert owners("a.jpg", "a.png", "a.jpg.txt") == {"a.jpg": ["a.jpg.txt"], "a.png": []}
    assert owners("a.jpg", "a.txt", "a.jpg.txt") == {"a.jpg": ["a.jpg.txt", "a.txt"]}
    # `a.jpg.txt` is not of the image whose stem is `a.jpg`, as there is one of that name
    assert owners("a.jpg", "a.jpg.png", "a.jpg.txt") == {"a.jpg": ["a.jpg.txt"], "a.jpg.png": []}
    assert owners("a.jpg.png", "a.jpg.txt") == {"a.jpg.png": ["a.jpg.txt"]}
    # where names differ in case alone, those of the same case belong together
    assert owners("a.jpg", "A.JPG", "a.txt", "A.TXT") == {"a.jpg": ["a.txt"], "A.JPG": ["A.TXT"]}


def test_numbered_photos_of_takeout_keep_their_own():
    names = ["a.jpg", "a(1).jpg", "a(1)-edited.jpg", "a.jpg.json", "a.jpg(1).json"]
    assert owners(*names[:2], *names[3:]) == {
        "a.jpg": ["a.jpg.json"],
        "a(1).jpg": ["a.jpg(1).json"],
    }
    cut = "n" * 46
    found = owners(f"{cut}x.jpg", f"{cut}x(1).jpg", f"{cut}.json", f"{cut}(1).json")
    assert found == {f"{cut}x.jpg": [f"{cut}.json"], f"{cut}x(1).jpg": [f"{cut}(1).json"]}


def test_a_cut_name_with_the_title_of_another_image_is_not_taken(tmp_path):
    name = "n" * 46
    folder = folder_with(
        tmp_path / "photos",
        {
            f"{name}ab.jpg": "",
            f"{name}cd.jpg": "",
            f"{name}.json": takeout(f"{name}ab and so on.jpg"),
        },
    )
    items, report = indexed(folder)
    assert items[f"{name}ab.jpg"].caption == LAKE
    assert items[f"{name}cd.jpg"].caption is None
    assert any("the title of another image" in note for note in report.notes)


def test_a_folder_is_listed_once_and_no_name_is_tried(tmp_path, monkeypatch):
    folder = folder_with(tmp_path / "photos", {f"{n}.jpg": "" for n in range(50)})
    (folder / "7.txt").write_text(LAKE)
    opened = []
    monkeypatch.setattr(
        "clipsearch.intake.sidecars.read_beside",
        lambda place: lambda name, most: opened.append(name) or read_beside(place)(name, most),
    )
    monkeypatch.setattr(
        "clipsearch.intake.sources.read_beside",
        lambda place: lambda name, most: opened.append(name) or read_beside(place)(name, most),
    )
    assert sum(pair.caption == LAKE for pair in FolderSource(folder)) == 1
    assert opened == ["7.txt"]
    assert FolderSource(folder).count() == 50  # which reads none
    assert opened == ["7.txt"]


# --- what it says -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Straße in Köln", "utf-8"), ("Straße in Köln", "utf-8-sig"), ("Straße in Köln", "utf-16"),
        ("Straße in Köln", "utf-16-le"), ("Straße in Köln", "utf-16-be"),
        ("Straße in Köln", "utf-32"), ("Straße in Köln", "latin-1"), ("été à la plage", "cp1252"),
        ("“quoted” – 5 €", "cp1252"), ("¿Qué pasó, señor?", "cp1252"), ("café", "cp1252"),
        ("Zażółć gęślą jaźń", "cp1250"), ("İstanbul'da gün batımı", "cp1254"),
        ("Þetta er íslenska", "cp1252"), ("湖のそばの祖母", "shift_jis"),
        ("湖のそばの祖母", "euc_jp"),
        ("湖のそばの祖母", "iso2022_jp"), ("奶奶在湖边", "gb18030"), ("奶奶在湖邊", "big5"),
        ("호수 옆의 할머니", "euc_kr"), ("Бабушка у озера", "cp1251"),
        ("Бабушка у озера", "koi8_r"),
        ("Γιαγιά στη λίμνη", "cp1253"), ("שלום עולם", "cp1255"),
        ("บ้านริมทะเล", "cp874"), ("صورة على البحر", "cp1256"), ("犬と山", "utf-16"),
        ("a", "utf-16-le"),
    ],
)  # fmt: skip
def test_a_text_is_read_whatever_its_encoding(text, encoding):
    found = decode(text.encode(encoding))
    assert found is not None
    assert found.text == text


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff\xe0\0\x10JFIF\0\1",
        bytes(range(256)),
        b"PK\3\4\x14\0\x08\0\xf3\x8f\xd5\x5c\0\x01",
    ],
)
def test_what_is_no_text_is_none(data):
    assert decode(data) is None


def test_takeout_gives_caption_date_place_and_people(tmp_path):
    people = [{"name": "Anna"}, {"name": "Ünal"}]
    folder = folder_with(
        tmp_path / "photos",
        {
            "a.jpg": "", "a.jpg.json": takeout("a.jpg", people=people),
            "b.jpg": "", "b.jpg.suppl.json": takeout("b.jpg", "Tom &amp; Ann&#39;s"),
            "c.jpg": "", "c.jpg.json": takeout("c", "", geoData={"latitude": 0, "longitude": 0}),
            "d.jpg": "", "d.jpg.json": takeout(
                "d.jpg", geoData={"latitude": 0, "longitude": 0}, photoTakenTime={"timestamp": "0"},
                geoDataExif={"latitude": -1.5, "longitude": 2.5},
            ),
        },
    )  # fmt: skip
    items, report = indexed(folder)
    a, b, c, d = (items[f"{name}.jpg"] for name in "abcd")
    assert (a.caption, a.has_caption, a.tags) == (LAKE, True, ("Anna", "Ünal"))
    assert (a.taken_at, a.latitude, a.longitude) == ("2016-11-03T12:04:45", 30.65, 104.07)
    assert b.caption == "Tom & Ann's"
    assert (c.caption, c.latitude, c.longitude) == (None, None, None)  # its title is a file name
    assert (d.taken_at, d.latitude, d.longitude) == (None, -1.5, 2.5)
    assert (report.seen, report.indexed, report.ignored) == (4, 4, 0)


@pytest.mark.parametrize(
    "document",
    [
        {"caption": LAKE}, {"description": LAKE}, {"text": LAKE}, {"title": LAKE},
        {"title": "a.jpg", "description": LAKE}, {"caption": LAKE, "description": "other"},
        {"caption": [LAKE, "another"]}, {"caption": {"de": "Oma", "en": LAKE}},
        {"key": "000", "caption": LAKE, "url": "http://x/y.jpg", "status": "success", "width": 3},
        [{"SourceFile": "a.jpg", "XMP:Description": LAKE}],
        [{"SourceFile": "a.jpg", "IPTC:Caption-Abstract": LAKE}],
        {"Caption": LAKE}, {"caption": "", "text": LAKE},
    ],
)  # fmt: skip
def test_json_of_other_programs_gives_captions(tmp_path, document):
    folder = folder_with(tmp_path / "photos", {"a.jpg": "", "a.json": json.dumps(document)})
    assert captions(folder) == {"a.jpg": LAKE}


@pytest.mark.parametrize(
    "document",
    [{}, [], None, 3, "words", {"caption": ""}, {"caption": None}, {"caption": 4},
     {"title": "a.jpg"}, {"title": "IMG_0042"}, [{"caption": LAKE}, {"caption": "two"}],
     {"shapes": [], "imageData": "x"}],
)  # fmt: skip
def test_json_without_a_caption_gives_none(tmp_path, document):
    folder = folder_with(tmp_path / "photos", {"a.jpg": "", "a.json": json.dumps(document)})
    assert captions(folder) == {"a.jpg": None}


def test_json_may_have_tags_dates_and_places(tmp_path):
    document = {
        "caption": LAKE,
        "tags": ["lake", "grandma"],
        "keywords": "boat, summer",
        "DateTimeOriginal": "2024:07:04 10:00:00",
        "lat": "-33.85",
        "lon": 151.2,
    }
    folder = folder_with(tmp_path / "photos", {"a.jpg": "", "a.json": json.dumps(document)})
    item = indexed(folder)[0]["a.jpg"]
    assert set(item.tags) == {"lake", "grandma", "boat", "summer"}
    assert (item.taken_at, item.latitude, item.longitude) == (RIGHT, -33.85, 151.2)


def test_xmp_sidecars_give_everything(tmp_path):
    packet = xmp(
        'photoshop:DateCreated="2024-07-04T10:00:00" exif:GPSLatitude="33,51.0S" '
        'exif:GPSLongitude="151,12.0E" tiff:Make="Canon" tiff:Model="Canon EOS"',
        described(x_default=LAKE, de="Oma am See")
        + subjects("lake", "grandma")
        + subjects("Places|France|Annecy", name="lr:hierarchicalSubject")
        + subjects("People/Anna", name="digiKam:TagsList", kind="Seq"),
    )
    folder = folder_with(
        tmp_path / "photos", {"a.jpg": "", "a.JPG.XMP": packet, "b.jpg": "", "b.xmp": packet}
    )
    for item in indexed(folder)[0].values():
        assert (item.caption, item.taken_at, item.camera) == (LAKE, RIGHT, "Canon EOS")
        assert (item.latitude, item.longitude) == pytest.approx((-33.85, 151.2))
        assert set(item.tags) == {"lake", "grandma", "Annecy", "Anna"}


@pytest.mark.parametrize(
    ("body", "caption"),
    [
        (described(de="Oma am See", en_US=LAKE), LAKE),
        (described(de="Oma am See"), "Oma am See"),
        (f"<dc:title><rdf:Alt><rdf:li>{LAKE}</rdf:li></rdf:Alt></dc:title>", LAKE),
        (f"<dc:description>{LAKE}</dc:description>", LAKE),
        (f"<photoshop:Headline>{LAKE}</photoshop:Headline>", LAKE),
        ("<dc:title><rdf:Alt><rdf:li>IMG_1234.jpg</rdf:li></rdf:Alt></dc:title>", None),
        (described(x_default=""), None),
        ("", None),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_xmp_has_languages_titles_and_encodings(tmp_path, body, caption, encoding):
    packet = xmp("", body).decode().encode(encoding) + b"\0\0\n"
    folder = folder_with(tmp_path / "photos", {"a.jpg": "", "a.xmp": packet})
    assert captions(folder) == {"a.jpg": caption}


# --- within images ------------------------------------------------------------------------------


def wide(text: str) -> bytes:
    return text.encode("utf-16-le") + b"\0\0"


@pytest.mark.parametrize(
    ("tags", "exif"),
    [
        ({DESCRIPTION: LAKE}, {}),
        ({DESCRIPTION: f"  {LAKE}\0\0"}, {}),
        ({XP_TITLE: wide(LAKE)}, {}),
        ({XP_COMMENT: wide(LAKE)}, {}),
        ({XP_COMMENT: wide(LAKE)[:-2]}, {}),
        ({}, {USER_COMMENT: b"ASCII\0\0\0" + LAKE.encode()}),
        ({}, {USER_COMMENT: b"\0" * 8 + LAKE.encode() + b"   "}),
        ({}, {USER_COMMENT: b"UNICODE\0" + LAKE.encode("utf-16-le")}),
        ({}, {USER_COMMENT: b"UNICODE\0" + LAKE.encode("utf-16-be")}),
        ({}, {USER_COMMENT: b"UNICODE\0" + LAKE.encode()}),
        ({}, {USER_COMMENT: LAKE.encode()}),
        ({DESCRIPTION: "OLYMPUS DIGITAL CAMERA"}, {USER_COMMENT: b"ASCII\0\0\0" + LAKE.encode()}),
        ({DESCRIPTION: "SONY DSC", XP_TITLE: wide(LAKE)}, {}),
    ],
)
def test_exif_has_captions_in_many_fields(tags, exif):
    assert facts(file(exif=exif_of(tags, exif=exif))).caption == LAKE


@pytest.mark.parametrize("text", ["Straße in Köln", "湖のそばの祖母", "Бабушка у озера"])
def test_captions_in_exif_keep_their_letters(text):
    written = text.encode()  # as bytes, as Pillow writes ASCII alone as text
    assert facts(file(exif=exif_of({DESCRIPTION: written}))).caption == text
    assert facts(file(exif=exif_of({XP_COMMENT: wide(text)}))).caption == text
    comment = b"UNICODE\0" + text.encode("utf-16-le")
    assert facts(file(exif=exif_of(exif={USER_COMMENT: comment}))).caption == text


@pytest.mark.parametrize(
    "text",
    [
        "OLYMPUS DIGITAL CAMERA", "SONY DSC", "default", "KONICA MINOLTA DIGITAL CAMERA", "SAMSUNG",
        "Digital Camera", "KODAK DIGITAL STILL CAMERA", "Exif_JPEG_PICTURE", "Minolta DSC", "hdr",
        "MEDION DIGITAL CAMERA   ", "IMG_1234.JPG", "DSC_0042", "P1020304", "oznor",
        "Lens=20.0\nZMin=0\nZMax=0",
        "Created with GIMP", "Kofax PDF Filter - version 3.75.",
        "    ", "\0\0\0", "....", "00000000", "untitled", "Canon EOS 5D",
        "Canon",
        "<KENOX S630  / Samsung S630>", "DCIM\\100MEDIA\\DJI_0001.JPG", "My beautiful picture",
    ],
)  # fmt: skip
def test_what_a_camera_writes_is_no_caption(text):
    tags = {0x10F: "Canon", 0x110: "Canon EOS 5D", DESCRIPTION: text}
    assert facts(file(exif=exif_of(tags))).caption is None


@pytest.mark.parametrize(
    "text",
    [LAKE, "A Sony camera on a table", "Photo 1 of our holiday", "Made in China", "2 dogs", "Köln",
     "My picture of a default", "犬", "The P-51 at Duxford", "S-Bahn", "Created by my daughter"],
)  # fmt: skip
def test_what_a_person_writes_is_a_caption(text):
    assert person_text(text) == text


def test_fields_of_wrong_types_say_nothing():
    for value in (4_000_000_000, -1, 1.5, (1, 2, 300), [None], {}, None, ("a", "b")):
        for tag in (DESCRIPTION, USER_COMMENT, XP_COMMENT, XP_KEYWORDS):
            found = describe_exif({tag: value})
            assert (found.caption, found.keywords) == (None, ())


def test_iptc_has_captions_and_keywords_in_its_encoding():
    utf8 = (1, 90, b"\x1b%G")
    for records in (
        [utf8, (2, 120, "Straße".encode()), (2, 25, "Köln".encode()), (2, 25, b"lake")],
        [(2, 120, "Straße".encode("latin-1")), (2, 25, "Köln".encode()), (2, 25, b"lake")],
        [utf8, (2, 105, "Straße".encode()), (2, 25, "Köln;lake".encode())],
    ):
        found = facts(with_app13(file(), iptc(*records)))
        assert (found.caption, set(found.keywords)) == ("Straße", {"Köln", "lake"})


def test_captions_are_read_from_every_format():
    for kind in ("WEBP", "PNG", "TIFF", "JPEG"):
        assert facts(file(kind, exif=exif_of({DESCRIPTION: LAKE}))).caption == LAKE
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("Description", "Straße")
    assert facts(file("PNG", pnginfo=texts)).caption == "Straße"
    packet = xmp("", described(x_default=LAKE) + subjects("a", "b"))
    assert facts(file("WEBP", xmp=packet)).keywords == ("a", "b")


def test_exif_counts_before_xmp_and_iptc_and_keywords_are_joined():
    packet = xmp("", described(x_default="second") + subjects("b", "a"))
    data = file(exif=exif_of({DESCRIPTION: "first", XP_KEYWORDS: wide("a;c")}), xmp=packet)
    found = facts(with_app13(data, iptc((2, 120, b"third"), (2, 25, b"d"))))
    assert (found.caption, found.keywords) == ("first", ("a", "c", "b", "d"))


def test_captions_within_images_are_searched_as_sidecars_are(tmp_path):
    folder = folder_with(tmp_path / "photos", {"a.jpg": file(exif=exif_of({DESCRIPTION: LAKE}))})
    item = indexed(folder)[0]["a.jpg"]
    assert (item.caption, item.has_caption) == (LAKE, True)
    # a second file with the same bytes has its caption too
    (folder / "b.jpg").write_bytes((folder / "a.jpg").read_bytes())
    items, report = indexed(folder)
    assert (items["b.jpg"].caption, items["b.jpg"].has_caption) == (LAKE, True)
    assert (report.duplicate, report.unchanged) == (1, 1)
    with Index.open(tmp_path / "index of photos", PixelEncoder()) as index:
        (first, *_) = index.search(LAKE, target="caption")
        assert first.score == pytest.approx(1, abs=1e-3)


# --- what counts --------------------------------------------------------------------------------


def test_the_sidecar_a_person_wrote_counts_first(tmp_path):
    within = file(exif=exif_of({DESCRIPTION: "within"}))
    packet = xmp("", described(x_default="from xmp"))
    files = {"a.jpg": within, "a.xmp": packet, "a.json": '{"caption": "json"}', "a.txt": "text"}
    folder = folder_with(tmp_path / "photos", files)
    for name, caption in [
        ("a.txt", "text"),
        ("a.json", "json"),
        ("a.xmp", "from xmp"),
        (None, "within"),
    ]:
        (pair,) = FolderSource(folder)
        found = pair.caption or facts(within).caption
        assert found == caption
        if name:
            (folder / name).write_bytes(b"")  # an empty one says nothing
    table = tmp_path / "photos" / "t.csv"
    table.write_text("image,caption\na.jpg,given\n")
    (pair,) = open_source(table)
    assert pair.caption == "given"


def test_the_date_and_place_of_the_image_count_before_those_beside_it(tmp_path):
    original = exif_of(exif={0x9003: "2024:07:04 10:00:00"})
    edited = exif_of({0x132: "2025:01:01 00:00:00"})
    files = {
        "a.jpg": file(exif=original), "a.jpg.json": takeout("a.jpg"),
        "b.jpg": file(exif=edited), "b.jpg.json": takeout("b.jpg"),
        "c.jpg": file(), "c.jpg.json": takeout("c.jpg"),
        "d.jpg": file(), "d.jpg.json": takeout("d.jpg"),
        "d.xmp": xmp('photoshop:DateCreated="2024-07-04T10:00:00"'),
    }  # fmt: skip
    items, _ = indexed(folder_with(tmp_path / "photos", files))
    assert items["a.jpg"].taken_at == RIGHT
    assert items["b.jpg"].taken_at == "2016-11-03T12:04:45"  # rather than when it was edited
    assert items["d.jpg"].taken_at == RIGHT  # the local time rather than UTC
    assert all(item.latitude == 30.65 for item in items.values())


# --- keywords are tags --------------------------------------------------------------------------


def test_keywords_are_tags_that_filters_find_and_own_tags_stay(tmp_path):
    folder = folder_with(
        tmp_path / "photos", {"a.jpg": file("JPEG", xmp=xmp("", subjects("lake", "été")))}
    )
    picture(folder / "b.jpg", 1)
    items, _ = indexed(folder)
    assert set(items["a.jpg"].tags) == {"lake", "été"}
    with Index.open(tmp_path / "index of photos", PixelEncoder()) as index:
        index.set_tags([items["a.jpg"].id, items["b.jpg"].id], ["mine", "mine"])
        assert [item.id for item in index.items(where="tag = 'lake'")] == [items["a.jpg"].id]
        index.set_tags([items["b.jpg"].id], ["other"])  # the default set, again
        (item,) = index.items(where=f"id = {items['a.jpg'].id}")
        assert set(item.tags) == {"lake", "été"}
        with pytest.raises(InvalidInputError, match="choose another name"):
            index.set_tags([items["a.jpg"].id], ["x"], name="keywords")
        index.set_tags([items["a.jpg"].id], ["mine"], name="own")
    assert set(indexed(folder)[0]["a.jpg"].tags) == {"lake", "été", "mine"}


# --- what was ignored ---------------------------------------------------------------------------


def test_what_was_ignored_is_counted_and_named(tmp_path):
    files = {
        "a.jpg": "", "a.json": "{not json",
        "b.jpg": "", "b.txt": b"\xff\xd8\xff\xe0\0\1\2\3\4",
        "c.jpg": "", "c.txt": "word " * 20_000,
        "d.jpg": "", "d.xmp": "<x:xmpmeta>",
        "e.jpg": "", "e.txt": "0 0.5 0.5 0.25 0.25\n1 0.1 0.2 0.3 0.4\n",
        "f.jpg": "", "f.txt": "Straße".encode("latin-1"),
        "g.jpg": "", "g.txt": "",
        "gone.jpg.json": takeout("gone.jpg"), "lone.txt": "notes", "x.xmp": "",
    }  # fmt: skip
    items, report = indexed(folder_with(tmp_path / "photos", files))
    assert {name: item.caption for name, item in items.items() if item.caption} == {
        "f.jpg": "Straße"
    }
    told = "\n".join(report.notes)
    for name in ("a.json", "b.txt", "c.txt", "d.xmp", "e.txt", "f.txt"):
        assert f"({name})" in told, told
    assert "(gone.jpg.json, lone.txt, x.xmp): 3" in told
    assert (report.seen, report.indexed, report.ignored, report.skipped) == (10, 7, 3, 3)


def test_pipes_and_links_beside_images_cannot_hang_a_run(tmp_path):
    folder = folder_with(tmp_path / "photos", {"a.jpg": "", "b.jpg": "", "c.jpg": ""})
    os.mkfifo(folder / "a.txt")
    (folder / "b.txt").symlink_to(folder / "nowhere")
    (folder / "c.txt").symlink_to(folder / "b.jpg")
    assert captions(folder) == {"a.jpg": None, "b.jpg": None, "c.jpg": None}


def test_deep_and_large_documents_are_bounded(tmp_path):
    files = {
        "a.jpg": "", "a.json": "[" * 100_000,
        "b.jpg": "", "b.xmp": xmp("", "<dc:subject>" + "<rdf:Bag><rdf:li>" * 5000),
        "c.jpg": "", "c.json": '{"caption": "' + "x" * 5_000_000 + '"}',
        "d.jpg": "", "d.xmp": '<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>',
    }  # fmt: skip
    assert set(captions(folder_with(tmp_path / "photos", files)).values()) == {None}


# --- sources ------------------------------------------------------------------------------------


def test_texts_of_shards_may_have_any_encoding(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, data in {
            "a.jpg": file(), "a.txt": "Straße in Köln".encode("latin-1"),
            "b.jpg": file(), "b.txt": LAKE.encode("utf-16"),
        }.items():  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    pairs = list(open_source(tmp_path / "a.tar"))
    assert [pair.caption for pair in pairs] == ["Straße in Köln", LAKE]


def test_single_files_and_lists_of_paths_have_their_sidecars(tmp_path):
    folder = folder_with(tmp_path / "photos", {"a.jpg": "", "a.txt": LAKE, "b.jpg": ""})
    (pair,) = open_source(folder / "a.jpg")
    assert pair.caption == LAKE
    listed = list(open_source([folder / "a.jpg", str(folder / "b.jpg")]))
    assert [pair.caption for pair in listed] == [LAKE, None]
    assert pickle.loads(pickle.dumps(listed)) == listed


def test_remote_folders_have_sidecars_too(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    files = fsspec.filesystem("memory")
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    files.pipe("/side/x/a.jpg", buffer.getvalue())
    files.pipe("/side/x/a.jpg.json", takeout("a.jpg").encode())
    files.pipe("/side/b.jpg", buffer.getvalue())
    files.pipe("/side/b.txt", LAKE.encode("utf-16"))
    files.pipe("/side/other.txt", b"notes")
    pairs = list(open_source("memory://side"))
    assert {pair.key.rpartition("/")[2]: pair.caption for pair in pairs if pair.image} == {
        "a.jpg": LAKE,
        "b.jpg": LAKE,
    }
    assert [pair.key.rpartition("/")[2] for pair in pairs if pair.ignored] == ["other.txt"]


def test_a_pair_tells_a_changed_sidecar_without_a_look_at_its_image(tmp_path):
    folder = folder_with(tmp_path / "photos", {"a.jpg": "", "b.jpg": ""})
    before = [pair.beside for pair in FolderSource(folder)]
    assert before == ["", ""]
    (folder / "a.json").write_text(takeout("a.jpg"))
    first, second = FolderSource(folder)
    assert first.beside
    assert second.beside == ""
    (folder / "a.json").write_text(" " + takeout("a.jpg"))  # written anew, and says the same
    assert next(iter(FolderSource(folder))).beside == first.beside
    (folder / "a.json").write_text(takeout("a.jpg", geoData={"latitude": 1, "longitude": 2}))
    assert next(iter(FolderSource(folder))).beside != first.beside
