"""Words in captions and filters: scripts without spaces, case, accents, and Unicode's forms."""

import shutil
import sqlite3
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.engine.database import CATALOG
from clipsearch.errors import ClipSearchError, InvalidInputError
from clipsearch.files import as_on_disk
from clipsearch.folding import fold, like
from clipsearch.index import Index
from clipsearch.locations import existing_index
from tests.fakes import FakeEncoder, put

CAPTIONS = {
    "kyoto": "京都の赤い鳥居と桜",
    "shanghai": "上海外滩的夜景",
    "sea": "海上的日出",
    "seoul": "서울의 남산타워 야경",
    "phuket": "ภาพทะเลที่ภูเก็ต",
    "vientiane": "ພະທາດຫຼວງໃນວຽງຈັນ",
    "angkor": "ប្រាសាទអង្គរវត្តនៅសៀមរាប",
    "yangon": "ရန်ကုန်မြို့ရှိဘုရား",
    "tower": "東京tower2024の夜",
    "camera": "ｶﾒﾗと三脚",
    "wide": "ＮＩＫＯＮ　Ｚ６で撮影",
    "break": "東京。都会の朝",
    "paris": "un café à Zürich",
    "istanbul": "İstanbul boğazı",
    "street": "Die Straße in Gießen, ÉTÉ",
    "order": "order #AB-123/45 50% off, don't panic",
    "dots": "a dog on the beach",
}


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    encoder = FakeEncoder()
    index = Index.create(tmp_path_factory.mktemp("words") / "index", encoder)
    with index.writer() as writer:
        for name, caption in CAPTIONS.items():
            put(writer, encoder, name, caption=caption)
        for n in range(30):  # so that no word is in half of the captions
            put(writer, encoder, f"plain{n}", caption=f"filler number {n}")
    index.refresh_baseline(encoder)
    yield index
    index.close()


def assert_found(index, words: str, *names: str) -> None:
    """Assert that keywords lift the items of these names to the top, and leave the others alone."""
    plain = [name_of(hit) for hit in index.search(words, k=100)]
    hybrid = [name_of(hit) for hit in index.search(words, k=100, hybrid=True)]
    others = [name for name in plain if name not in names]
    assert set(hybrid[: len(names)]) == set(names), words
    assert hybrid[len(names) :] == others, words


def name_of(hit) -> str:
    return hit.item.path.rpartition("/")[2].removesuffix(".jpg")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("鳥居", ["kyoto"]),
        ("桜", ["kyoto"]),
        ("京都", ["kyoto"]),  # not 東京。都会, where the two characters only meet
        ("赤い鳥居", ["kyoto"]),
        ("海", ["sea", "shanghai"]),
        ("上海", ["shanghai"]),
        ("海上", ["sea"]),
        ("夜景", ["shanghai"]),
        ("東京 桜", ["kyoto", "tower", "break"]),
        ("서울", ["seoul"]),
        ("타워", ["seoul"]),
        ("남산타워", ["seoul"]),
        ("남산 타워", ["seoul"]),
        (unicodedata.normalize("NFD", "서울"), ["seoul"]),
        ("ภูเก็ต", ["phuket"]),
        ("ทะเล", ["phuket"]),
        ("ທາດ", ["vientiane"]),
        ("វត្ត", ["angkor"]),
        ("ဘုရား", ["yangon"]),
        ("東京tower", ["tower", "break"]),
        ("tower", ["tower"]),
        ("2024", ["tower"]),
        ("tower2024", ["tower"]),
        ("TOWER２０２４", ["tower"]),
        ("カメラ", ["camera"]),
        ("かめら", ["camera"]),
        ("ｶﾒﾗ", ["camera"]),
        ("nikon", ["wide"]),
        ("ｚ６", ["wide"]),
        ("ZURICH", ["paris"]),
        ("cafe\u0301", ["paris"]),
        ("istanbul", ["istanbul"]),
        ("BOĞAZI", ["istanbul"]),
        ("strasse", ["street"]),
        ("GIESSEN", ["street"]),
        ("ete", ["street"]),
        ("AB-123/45", ["order"]),
        ("don't", ["order"]),
        ("beach", ["dots"]),
        ("each", []),
        ("都京", []),
        ("'\" OR * NEAR(", []),
        ("。、", []),
    ],
)
def test_keywords_find_words_of_every_script(index, words, names):
    assert_found(index, words, *names)


def test_a_query_without_spaces_finds_its_parts_best_match_first(tmp_path):
    encoder = FakeEncoder()
    captions = [
        "東京の夜景",
        "京都の夜景",
        "大阪の朝",
        "ทะเลที่ภูเก็ต",
        "ภูเขา",
        "서울 야경",
        "부산 야시장",
    ]
    with Index.create(tmp_path / "index", encoder) as index:
        with index.writer() as writer:
            for n, caption in enumerate(captions):
                put(writer, encoder, f"c{n}", caption=caption, image=False)
            for n in range(30):
                put(writer, encoder, f"plain{n}", caption=f"filler {n}", image=False)
        for words, best in (
            ("京都の美しい夜景", "京都の夜景"),
            ("大阪城", "大阪の朝"),
            ("ภาพทะเลภูเก็ต", "ทะเลที่ภูเก็ต"),
            ("서울의 야경을", "서울 야경"),
        ):
            hits = index.search(words, hybrid=True, target="caption", k=3)
            assert best in [hit.item.caption for hit in hits][:2], words


def test_changed_captions_are_found_by_their_new_words_alone(tmp_path):
    encoder = FakeEncoder()
    with Index.create(tmp_path / "index", encoder) as index:
        with index.writer() as writer:
            row = put(writer, encoder, "a", caption="京都の桜")
            for n in range(10):
                put(writer, encoder, f"f{n}", caption=f"filler {n}")
        from clipsearch.engine import catalog

        for caption, words, gone in (
            ("東京の夜", "東京", "京都"),
            ("a plain cat", "cat", "東京"),
            ("ÉTÉ", "ete", "cat"),
        ):
            with index.writer() as writer:
                writer.change(
                    lambda conn, text=caption: catalog.update_item(conn, row, {"caption": text})
                )
            assert index.item(row).caption == caption
            assert_found(index, words, "a")
            assert_found(index, gone)
        with index.writer() as writer:
            writer.change(lambda conn: catalog.update_item(conn, row, {"caption": None}))
        assert_found(index, "ete")
        assert index.verify(full=True).problems == ()


def test_an_index_of_format_4_learns_its_words(tmp_path):
    encoder = FakeEncoder()
    folder = tmp_path / "index"
    with Index.create(folder, encoder) as index, index.writer() as writer:
        for name, caption in {
            **CAPTIONS,
            **{f"plain{n}": f"filler {n}" for n in range(30)},
        }.items():
            put(writer, encoder, name, caption=caption)
        put(writer, encoder, "silent")
    older = sqlite3.connect(folder / CATALOG)  # the keyword index as version 4 had it
    older.executescript(
        """
        DROP TRIGGER words_insert; DROP TRIGGER words_delete; DROP TRIGGER words_update;
        DROP TABLE words; DROP VIEW captions; DROP TABLE thumbprints;
        ALTER TABLE items DROP COLUMN caption_words;
        ALTER TABLE items DROP COLUMN ctime_ns; ALTER TABLE items DROP COLUMN inode;
        CREATE VIRTUAL TABLE words USING fts5 (
            caption, content = 'items', content_rowid = 'row',
            tokenize = 'unicode61 remove_diacritics 2'
        );
        CREATE TRIGGER words_insert AFTER INSERT ON items WHEN new.caption IS NOT NULL BEGIN
            INSERT INTO words (rowid, caption) VALUES (new.row, new.caption);
        END;
        CREATE TRIGGER words_delete AFTER DELETE ON items WHEN old.caption IS NOT NULL BEGIN
            INSERT INTO words (words, rowid, caption) VALUES ('delete', old.row, old.caption);
        END;
        INSERT INTO words (rowid, caption)
        SELECT row, caption FROM items WHERE caption IS NOT NULL;
        PRAGMA user_version = 4;
        """
    )
    older.close()
    with Index.open(folder, encoder) as index:
        assert_found(index, "鳥居", "kyoto")
        assert_found(index, "beach", "dots")
        assert index.verify(full=True).problems == ()
        with index.writer() as writer:
            writer.remove([1])
        assert_found(index, "鳥居")
        assert index.verify(full=True).problems == ()


def test_the_catalog_can_be_written_by_plain_sqlite(tmp_path):
    encoder = FakeEncoder()
    folder = tmp_path / "index"
    with Index.create(folder, encoder) as index, index.writer() as writer:
        put(writer, encoder, "a", caption="京都の桜")
    other = sqlite3.connect(folder / CATALOG)
    other.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
    with other:
        other.execute("DELETE FROM items")
    assert other.execute("SELECT count(*) FROM words_docsize").fetchone() == (0,)
    other.close()


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("caption like '%été%'", ["street"]),
        ("caption like '%ETE%'", ["street"]),
        ("caption like '%E\u0301te\u0301%'", ["street"]),
        ("caption like '%STRASSE%'", ["street"]),
        ("caption like '%stra_e%'", ["street"]),  # one character, ß
        ("caption like '%stra__e%'", ["street"]),  # ss
        ("caption like '%ISTANBUL BOGAZI'", ["istanbul"]),
        ("caption like '%ıstanbul%'", ["istanbul"]),
        ("caption like '%zurich%'", ["paris"]),
        ("caption like 'UN%CAFÉ%'", ["paris"]),
        ("caption like 'un café à zürich'", ["paris"]),
        ("caption like 'un caf_ _ z_rich'", ["paris"]),
        ("caption like 'café'", []),
        ("caption like '%nikon%'", ["wide"]),
        ("caption like '%ｄｏｇ%'", ["dots"]),
        ("caption like '%カメラ%'", ["camera"]),
        ("caption like '%海%'", ["shanghai", "sea"]),
        ("caption like '%50!%%' escape '!'", ["order"]),
        ("caption like '%50é%%' escape 'é'", ["order"]),
        ("caption like '%#AB-___/%'", ["order"]),
        ("caption like 'a_dog%'", ["dots"]),
        ("caption like 'A DOG ON THE BEACH'", ["dots"]),
        ("caption like '%don''t%'", ["order"]),
        ("not caption not like '%été%'", ["street"]),
        ("name like 'STRÉET%'", ["street"]),
        ("path like '%/STREET.%'", ["street"]),
    ],
)
def test_like_folds_case_and_accents(index, where, names):
    assert [name_of_item(item) for item in index.items(where)] == names


def name_of_item(item) -> str:
    return item.path.rpartition("/")[2].removesuffix(".jpg")


def test_like_folds_tags_and_columns_of_tables(tmp_path):
    encoder = FakeEncoder()
    with Index.create(tmp_path / "index", encoder) as index:
        with index.writer() as writer:
            rows = [put(writer, encoder, "a", extra={"größe": "ÉTÉ", "city": "Łódź"})]
            put(writer, encoder, "b", extra={"größe": "hiver", "city": None})
            writer.set_tags(rows, ["Niño"])
        for where in (
            "tag like 'nino'",
            "tag like 'NIN\u0303O'",
            "city like 'lodz'",
            "größe like 'été'",
            "GRÖSSE like 'ete'",
            "gro\u0308ße = 'E\u0301TE\u0301'",
        ):
            assert [item.id for item in index.items(where)] == rows, where
        for where in ("größe = 'été'", "tag = 'nino'", "city not like 'lodz'"):
            assert index.items(where) == [], where


def test_an_accent_is_the_same_in_mixed_forms(tmp_path):
    encoder = FakeEncoder()
    mixed = unicodedata.normalize("NFC", "é") + unicodedata.normalize("NFD", "é")
    with Index.create(tmp_path / "index", encoder) as index:
        with index.writer() as writer:
            put(writer, encoder, mixed, caption=mixed)
        for form in ("NFC", "NFD"):
            text = unicodedata.normalize(form, mixed)
            for where in (f"caption = '{text}'", f"name = '{text}.jpg'", f"caption >= '{text}'"):
                assert len(index.items(where)) == 1, where
            assert index.items(f"caption != '{text}'") == []
        assert index.item(1).path == f"/photos/{mixed}.jpg"


@given(st.text())
def test_folding_twice_is_folding_once(text):
    assert fold(fold(text)) == fold(text)
    for form in ("NFC", "NFD"):
        assert fold(unicodedata.normalize(form, text)) == fold(text)


@given(st.text("aéßs%_!東", max_size=8), st.text("aéßs東", max_size=12))
def test_a_text_is_like_itself_with_its_signs_escaped(pattern, text):
    plain = "".join(f"!{c}" if c in "!%_" else c for c in pattern)
    assert like(pattern, plain, "!")
    assert like(text + pattern + text, f"%{plain}%", "!")
    assert like(text, "_" * len(text))


def test_patterns_take_linear_time():
    assert not like("a" * 5000, "%a" * 100 + "b")


@pytest.mark.parametrize("count", [44, 100, 2000])
@pytest.mark.parametrize(
    "make",
    [
        lambda n: "not " * n + "width is null",
        lambda n: "not (" * n + "width is null" + ")" * n,
        lambda n: "(" * n + "width is null" + ")" * n,
        lambda n: " and ".join(["width is null"] * n),
        lambda n: " or ".join(["width is null"] * n),
        lambda n: "(width is null or (caption like '%x%' and " * n + "id > 0" + "))" * n,
        lambda n: "(" * n + "id > 0" + " or id = 1) and id > 0" * n,
        lambda n: "id in (" + ", ".join(map(str, range(n))) + ")",
    ],
)
def test_deep_filters_are_answered_or_refused_in_one_line(index, make, count):
    try:
        index.items(make(count))
    except ClipSearchError as exc:
        assert isinstance(exc, InvalidInputError)
        assert "\n" not in str(exc)
        assert count > 20


def test_forty_four_nots_are_answered(index):
    everything = len(index.items(limit=1000))
    assert len(index.items("not " * 44 + "id > 0", limit=1000)) == everything
    assert index.items("not " * 45 + "id > 0") == []
    deep = "(id = 3 or (id > 1 and " * 8 + "caption like '%a%'" + "))" * 8
    assert index.items(f"not not ({deep})") == index.items(deep) != []


def test_a_name_typed_in_another_form_finds_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPSEARCH_INDEXES", str(tmp_path))
    forms = [unicodedata.normalize(form, "fotos de España") for form in ("NFC", "NFD")]
    for stored, typed in (forms, forms[::-1]):
        Index.create(tmp_path / stored, FakeEncoder()).close()
        assert existing_index(typed) == tmp_path / stored  # byte for byte as it is
        shutil.rmtree(tmp_path / stored)
    assert as_on_disk(tmp_path / "é" / "é") == tmp_path / "é" / "é"
