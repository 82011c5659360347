"""What the front end is made of, without a browser."""

from __future__ import annotations

import base64
import io
import re
import string
from pathlib import Path

import numpy as np
import pytest
from clipsearch.ui import Settings
from clipsearch.ui.pictures import read_pictures
from clipsearch.ui.spec import Chip, SearchSpec, from_link, pack_vector, unpack_vector
from clipsearch.ui.strings import LANGUAGES, STRINGS, Words
from PIL import Image

from clipsearch.errors import ImageDecodeError, InvalidInputError

UI = Path(__file__).resolve().parents[1] / "ui"


def test_every_word_is_there_in_both_languages_with_the_same_placeholders():
    for key, texts in STRINGS.items():
        assert len(texts) == len(LANGUAGES)
        fields = [{f for _, f, _, _ in string.Formatter().parse(text) if f} for text in texts]
        assert all(text.strip() for text in texts), key
        assert fields[0] == fields[1], key


def test_every_word_that_the_pages_name_is_in_the_table_and_none_is_left_over():
    code = "".join(path.read_text() for path in UI.glob("*.py") if path.name != "strings.py")
    named = set(re.findall(r"""["']((?:[a-z]+\.)?[a-z_0-9]+)["']""", code))
    stems = set(re.findall(r"""["']((?:[a-z]+\.)[a-z_]*)\{""", code))
    scripts = (UI / "assets" / "page.js").read_text()
    for key in STRINGS:
        by_script = key.startswith("js.") and f"words.{key[3:]}" in scripts
        by_stem = any(key.startswith(stem) for stem in stems)
        assert key in named or by_stem or by_script or key.removesuffix("_one") in named, key
    prefixes = {key.split(".")[0] + "." for key in STRINGS if "." in key}
    for name in named:
        if any(name.startswith(prefix) for prefix in prefixes) and not name.endswith(".js"):
            assert name in STRINGS, name


def test_numbers_follow_the_language():
    assert Words("en").number(12345) == "12,345"
    assert Words("es").number(12345) == "12.345"
    assert Words("es").count("search.count", 1) == "1 resultado"


def test_a_link_brings_back_the_very_search():
    vector = np.random.default_rng(0).normal(size=64).astype(np.float32)
    spec = SearchSpec(
        index="demo",
        text="a cat & a dog?",
        chips=(
            Chip("text", "at night: in rain", -0.5),
            Chip("item", "17", 1.0),
            Chip("vector", pack_vector(vector), 2.0),
        ),
        liked=(3, 4),
        unliked=(5,),
        date_from="2024-01-01",
        min_width=1024,
        camera="Canon “X”",
        tags=("dog", "beach"),
        where_text="path like '%x%'",
        target="caption",
        min_score=0.25,
        hybrid=True,
        chosen=(1, 2, 9),
    )
    assert from_link("?" + spec.link(), ["other", "demo"]) == spec
    assert from_link("?min=auto&q=x", ["demo"]).min_score == "auto"


@pytest.mark.parametrize(
    "link",
    ["?c=x:y:z", "?c=1:i:abc", "?c=nan:t:x", "?min=9", "?up=-1&down=x", "?width=1e9", "?ids=a-b-"],
)
def test_what_a_link_says_wrongly_is_left_out_or_made_harmless(link):
    spec = from_link(link, ["demo"])
    assert spec.index == "demo"
    assert spec.min_score is None
    assert spec.liked == spec.unliked == spec.chosen == ()
    assert all(np.isfinite(chip.weight) for chip in spec.chips)


def test_a_packed_picture_points_the_same_way():
    vector = np.random.default_rng(1).normal(size=512).astype(np.float32)
    vector /= np.linalg.norm(vector)
    back = unpack_vector(pack_vector(vector))
    assert float(back @ vector / np.linalg.norm(back)) > 0.999
    with pytest.raises(InvalidInputError):
        unpack_vector("ñ")


def test_filters_are_quoted():
    spec = SearchSpec(camera="O'Hara", tags=("a' or 1=1 --",))
    assert spec.where == "camera = 'O''Hara' and tag = 'a'' or 1=1 --'"
    assert SearchSpec().where is None


def test_the_copied_lines_say_the_same_search():
    spec = SearchSpec(index="demo", text="a beach", chips=(Chip("text", "people", -1.0),))
    command, exact = spec.command("demo")
    assert command == "clipsearch search 'a beach' -s people -i demo"
    assert exact
    code = spec.python("/indexes/demo", "clipsearch-mini")
    assert "Query.text('a beach') + Query.text('people', -1)" in code
    compile(code, "copied", "exec")
    marked = SearchSpec(index="demo", text="a beach", liked=(3,))
    assert not marked.command("demo")[1]
    assert "refine(Query.text('a beach'), liked=[3], unliked=[])" in marked.python("x", "m")
    compile(marked.python("x", "m"), "copied", "exec")


def test_nothing_but_things_to_avoid_is_no_search():
    with pytest.raises(InvalidInputError, match="nothing to look for"):
        _ = SearchSpec(chips=(Chip("text", "people", -1.0),)).query


def test_the_build_tab_stays_below_the_allowed_folders(tmp_path):
    from clipsearch.ui.build import allowed_source

    root = tmp_path / "allowed"
    (root / "inside").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (root / "link").symlink_to(tmp_path / "secret")
    roots = (root,)
    assert allowed_source(roots, str(root), "inside") == root / "inside"
    assert allowed_source(roots, str(root), "/inside") == root / "inside"
    for below in ("..", "../secret", "link", "inside/../../secret", "x\0"):
        with pytest.raises(InvalidInputError):
            allowed_source(roots, str(root), below)
    for other in (str(tmp_path), "/", ""):
        with pytest.raises(InvalidInputError):
            allowed_source(roots, other, "")


def as_data_url(data):
    return {"name": "a.png", "data": "data:image/png;base64," + base64.b64encode(data).decode()}


def png(width, height):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def test_pictures_that_are_given_are_limited_in_size_pixels_and_number():
    limits = Settings(max_pixels=10_000, max_upload_bytes=5_000)
    words = Words("en")
    kept = read_pictures([as_data_url(png(100, 100))], limits, words)[0]
    assert kept.image.size == (100, 100)
    with pytest.raises(ImageDecodeError, match="cannot be read"):
        read_pictures([as_data_url(png(101, 100))], limits, words)
    with pytest.raises(InvalidInputError, match="larger than"):
        read_pictures([as_data_url(png(10, 10) + bytes(5_000))], limits, words)
    with pytest.raises(InvalidInputError, match="24"):
        read_pictures([as_data_url(png(10, 10))] * 25, limits, words)
    for odd in (None, {}, {"data": "data:,"}, {"data": 5}, as_data_url(b"GIF89a"), "x"):
        with pytest.raises(ImageDecodeError):
            read_pictures([odd], limits, words)
