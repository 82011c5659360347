"""What the front end is made of, without a browser."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import string
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clipsearch.ui import Settings
from clipsearch.ui.given_images import read_image, read_images
from clipsearch.ui.problems import CollectionGoneError, PageError, explained
from clipsearch.ui.spec import Chip, SearchSpec, from_link, pack_vector, unpack_vector
from clipsearch.ui.strings import LANGUAGES, STRINGS, Words
from PIL import Image

from clipsearch import Index
from clipsearch.errors import InvalidInputError, ItemNotFoundError, ModelLoadError

from .fakes import record

MODEL, OTHER_MODEL = "0123abcd" * 8, "4567cdef" * 8  # fingerprints
UI = Path(__file__).resolve().parents[1] / "ui"


def test_every_word_is_there_in_both_languages_with_the_same_placeholders():
    for key, texts in STRINGS.items():
        assert len(texts) == len(LANGUAGES)
        fields = [{f for _, f, _, _ in string.Formatter().parse(text) if f} for text in texts]
        assert all(text.strip() for text in texts), key
        assert fields[0] == fields[1], key


def test_every_word_that_the_pages_name_is_in_the_table_and_none_is_left_over():
    code = "".join(path.read_text() for path in UI.rglob("*.py") if path.name != "strings.py")
    named = set(re.findall(r"""["']((?:[a-z]+\.)?[a-z_0-9]+)["']""", code))
    stems = set(re.findall(r"""["']((?:[a-z]+\.)[a-z_]*)\{""", code))
    scripts = "".join(path.read_text() for path in (UI / "assets").rglob("*.js"))
    for key in STRINGS:
        by_script = key.startswith("js.") and f"words.{key[3:]}" in scripts
        by_stem = any(key.startswith(stem) for stem in stems)
        if key.startswith(
            ("view.", "item.", "pick.", "album.", "search.up", "search.down", "search.open")
        ):
            last = re.sub(r"^fit_.*", "fit_", key.rpartition(".")[2].removesuffix("_one"))
            by_script = re.search(rf"\b{last}(\b|\$)", scripts) is not None
        assert key in named or by_stem or by_script or key.removesuffix("_one") in named, key
    prefixes = {key.split(".")[0] + "." for key in STRINGS if "." in key}
    for name in named:
        if any(name.startswith(prefix) for prefix in prefixes) and not name.endswith(
            (".js", ".css")
        ):
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
            Chip("vector", pack_vector(vector, MODEL), 2.0),
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
    [
        "?c=x:y:z",
        "?c=1:i:abc",
        "?c=nan:t:x",
        "?min=9",
        "?up=-1&down=x",
        "?width=1e9",
        "?ids=a-b-",
        "?up=9223372036854775808&down=99999999999999999999999&ids=99999999999999999999",
        "?c=1:i:99999999999999999999999",
        "?width=" + "9" * 5000,
    ],
)
def test_what_a_link_says_wrongly_is_left_out_or_made_harmless(link):
    spec = from_link(link, ["demo"])
    assert spec.index == "demo"
    assert spec.min_score is None
    assert spec.liked == spec.unliked == spec.chosen == ()
    assert all(np.isfinite(chip.weight) for chip in spec.chips)
    assert not any(chip.kind == "item" for chip in spec.chips)
    assert spec.min_width == 0


def test_a_link_keeps_the_name_of_a_collection_that_is_not_there():
    assert from_link("?index=deleted&q=cat", ["demo"]).index == "deleted"
    assert from_link("?q=cat", ["demo"]).index == "demo"


def test_a_packed_picture_points_the_same_way():
    vector = np.random.default_rng(1).normal(size=512).astype(np.float32)
    vector /= np.linalg.norm(vector)
    back = unpack_vector(pack_vector(vector, MODEL), MODEL)
    assert float(back @ vector / np.linalg.norm(back)) > 0.999
    for damaged in ("", "ñ"):
        with pytest.raises(PageError, match="damaged"):
            unpack_vector(f"{MODEL[:8]}.{damaged}", MODEL)


def test_a_packed_picture_means_nothing_to_another_model():
    packed = pack_vector(np.ones(64, np.float32), MODEL)
    before = packed.partition(".")[2]  # as links were that named no model
    for value, model in ((packed, OTHER_MODEL), (before, MODEL)):
        with pytest.raises(PageError, match="encoded with a different model"):
            SearchSpec(chips=(Chip("vector", value),)).query(model)


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


def test_words_that_look_like_an_option_are_copied_as_words(cli, tmp_path, encoder):
    folder = tmp_path / "dash"
    with Index.create(folder, encoder) as index, index.writer() as writer:
        writer.put(record("dog"), image=encoder.encode_texts(["a dog"])[0])
    for text in ("-dog", "--help", "it's -k"):
        chips = (Chip("text", "-cat", 0.5), Chip("text", "- dry ^2", -1.0))
        command, exact = SearchSpec(text=text, chips=chips).command(str(folder))
        assert exact
        _, verb, *rest = shlex.split(command)
        done = cli(verb, "-f", "json", *rest)
        terms = json.loads(done.stdout)["query"]
        assert [term["text"] for term in terms] == [text, "-cat", "- dry ^2"]


def test_nothing_but_things_to_avoid_is_no_search():
    avoided = SearchSpec(chips=(Chip("text", "people", -1.0),))
    for spec in (avoided, replace(avoided, unliked=(3,))):
        with pytest.raises(PageError, match="nothing to search for"):
            spec.query(MODEL)


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
    kept = read_image(as_data_url(png(100, 100)), limits, words)
    assert kept.image.size == (100, 100)
    with pytest.raises(PageError, match="cannot be read"):
        read_image(as_data_url(png(101, 100)), limits, words)
    with pytest.raises(PageError, match="larger than"):
        read_image(as_data_url(png(10, 10) + bytes(5_000)), limits, words)
    with pytest.raises(PageError, match="24"):
        read_images([as_data_url(png(10, 10))] * 25, limits, words)
    for odd in (None, {}, {"data": "data:,"}, {"data": 5}, as_data_url(b"GIF89a"), "x"):
        with pytest.raises(PageError):
            read_image(odd, limits, words)


def test_pictures_that_cannot_be_read_are_named_and_the_others_kept():
    given = [
        {**as_data_url(png(9, 9)), "name": "good.png"},
        {**as_data_url(b"words"), "name": "notes.png"},
        {**as_data_url(png(8, 8)), "name": "fine.png"},
        {**as_data_url(png(8, 8) + bytes(2 * 1024**2)), "name": "huge.png"},
    ]
    limits = Settings(max_upload_bytes=1024**2)
    kept, problem = read_images(given, limits, Words("es"))
    assert [picture.name for picture in kept] == ["good.png", "fine.png"]
    assert problem == "notes.png no se puede leer como imagen. huge.png ocupa más de 1 MB."


def test_errors_are_explained_in_the_visitors_language():
    spanish = Words("es")
    gone = CollectionGoneError("photos")
    assert explained(gone, Words("en")) == "There is no collection called “photos” here"
    assert explained(gone, spanish) == "Aquí no hay ninguna colección llamada «photos»"
    assert "palabras o una imagen" in explained(PageError("search.nothing_asked"), spanish)
    assert "/" not in explained(ItemNotFoundError("no item 3 in /srv/photos"), spanish)
    strange = InvalidInputError("strange")
    assert explained(strange, Words("en")) == "strange"
    assert explained(strange, spanish) == "Esto no se puede pedir así. Detalle, en inglés: strange"
    assert explained(ModelLoadError("torn"), spanish).endswith("Detalle, en inglés: torn")
    assert explained(OSError("disk full"), spanish).startswith("No se ha podido hacer")
