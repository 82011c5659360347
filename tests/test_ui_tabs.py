"""What the tabs answer, without a browser."""

from __future__ import annotations

import base64
import io
import re
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path

import gradio as gr
import pytest
from clipsearch.ui import Library, Settings, build, classify, why
from clipsearch.ui import map as map_page
from clipsearch.ui.context import Context
from clipsearch.ui.curated import Asked, Curated
from clipsearch.ui.details import chip_of_image
from clipsearch.ui.jobs import Jobs
from clipsearch.ui.lessons import space
from clipsearch.ui.meant import still_meant
from clipsearch.ui.results import Results
from clipsearch.ui.spec import Chip, SearchSpec, from_link
from clipsearch.ui.strings import Words
from PIL import Image

from clipsearch import Index
from clipsearch.engine import away

from .fakes import FakeEncoder, put

ITEMS = 300  # more than the Photos tab counts
ENCODERS = {name: FakeEncoder(name) for name in ("fake", "another")}


@pytest.fixture
def site(tmp_path):
    """The folder and the library of two collections, each with its own model."""
    for name, encoder in zip(("photos", "scans"), ENCODERS.values(), strict=True):
        with Index.create(tmp_path / name, encoder) as index, index.writer() as writer:
            for n in range(ITEMS):
                put(writer, encoder, f"{n:03}", width=n, height=n)
    library = Library(
        [str(tmp_path / name) for name in ("photos", "scans")], load=lambda name: ENCODERS[name]
    )
    for name in ENCODERS:
        library.hub.encoder(name)
    yield tmp_path, library
    library.close()


def context(site, language="en"):
    return Context(site[1], Settings(roots=(Path("/photos"),)), Words(language), Jobs())


def event(**data):
    return gr.EventData(None, data)


def run(site, spec, language="en"):
    """What the page shows for a search: its summary and what stands in place of results."""
    found = Results(context(site, language)).first(spec)
    told = found.get("notice", "") or found.get("told", "")
    return words_of(found.get("summary", "")), words_of(told)


def words_of(html):
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html))).strip()


def picture(name="dog.png"):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    return {"name": name, "data": "data:image/png;base64," + _base64(buffer.getvalue())}


def letter(name="notes.png"):
    return {"name": name, "data": "data:image/png;base64," + _base64(b"Dear John")}


def _base64(data):
    return base64.b64encode(data).decode()


def test_a_picture_is_not_searched_with_among_vectors_of_another_model(site):
    given = context(site)
    chip = chip_of_image(site[1].index("photos"), picture(), given)
    spec = SearchSpec("photos", chips=(Chip("vector", chip["value"]),))
    assert "score" in Results(given).first(spec)["cards"][0]
    _, notice = run(site, SearchSpec("scans", chips=spec.chips))
    assert notice.startswith("The image in this search was encoded with a different model")
    _, notice = run(site, SearchSpec("scans", chips=spec.chips), "es")
    assert notice.startswith("La imagen de esta búsqueda se codificó con un modelo distinto")


@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize("name", ["deleted", "photos"])
def test_a_collection_that_is_gone_is_named_and_nothing_else_is(site, name, language):
    folder, _ = site
    run(site, SearchSpec("photos"))
    shutil.rmtree(folder / "photos")
    given = context(site, language)
    results = Results(given)
    spec = SearchSpec(name, text="a dog")
    answers = [
        results.first(spec)["notice"],
        results.further(spec, 60)["notice"],
        results.shapes(spec, 60)["notice"],
        map_page._Desk(given).show(SearchSpec(name), "cluster"),
        *(
            Curated(given).answer(Asked(SearchSpec(name), look), 0, 0)["notice"]
            for look in ("duplicates", "outliers")
        ),
        why._Desk(given).from_item(name, 1, "a dog")[-1],
        space._Desk(given).picked(space._State(), event(index=name, id=1)).problem,
    ]
    said = {
        "en": f"There is no collection called “{name}” here",
        "es": f"Aquí no hay ninguna colección llamada «{name}»",
    }
    for answer in answers:
        assert said[language] in unescape(answer)
        assert str(folder) not in answer
        assert "scans" not in answer


def test_a_map_without_a_collection_asks_for_one(site):
    shown = map_page._Desk(context(site)).show(SearchSpec(), "cluster")
    assert "No collection is selected" in shown


def test_items_that_are_away_are_counted_apart(site):
    with Index.open(site[0] / "photos", ENCODERS["fake"]) as index, index.writer() as writer:
        writer.change(lambda conn: away.mark(conn, dict.fromkeys(range(1, 39), "/photos")))
    told, _ = run(site, SearchSpec("photos"))
    assert told == "262 images in photos · 38 items are away: their files cannot be found now"
    told, _ = run(site, SearchSpec("photos"), "es")
    assert told.endswith("38 elementos están ausentes: sus archivos no se encuentran ahora")


def test_ids_in_links_and_marks_name_no_other_image_once_a_backup_was_put_back(site):
    folder, library = site
    spec = SearchSpec("photos", text="x", chips=(Chip("item", "3"),), liked=(1, 2), chosen=(2, 4))
    asked, others = still_meant(spec, library.index("photos"))
    assert (asked.ids, others) == ((1, 2, 3, 2, 4), 0)
    restored = folder / "restored"
    with Index.create(restored, ENCODERS["fake"]) as index, index.writer() as writer:
        for name in ("000", "other", "002", "another"):  # the second and the fourth are others
            put(writer, ENCODERS["fake"], name)
    names = ["photos", "restored"]
    library.admit(str(restored))
    opened = from_link(asked.link().replace("photos", "restored"), names)
    told, _ = run(site, opened)
    assert "2 marked or chosen images were left out" in told
    assert still_meant(opened, library.index("restored"))[0].ids == (1, 3)
    # What nobody knows anything about stays: links of older versions, and those written by hand.
    for link in ("index=restored&q=x&up=2", "index=restored&q=x&up=2&of=abc"):
        assert still_meant(from_link(link, names), library.index("restored"))[1] == 0
    _, marked = Curated(context(site)).listed(Asked(SearchSpec("restored")), dict(asked.meant))
    assert sorted(marked) == [1, 3]
    of = dict(asked.meant)[2]
    seen = from_link(f"index=restored&q=x&up=2&of={of}", names)
    assert "1 marked" in run(site, seen)[0]


@pytest.mark.parametrize(("language", "told"), [("en", "--root FOLDER"), ("es", "--root CARPETA")])
def test_images_that_may_not_be_shown_are_left_out_with_what_to_do(site, language, told):
    asked = replace(context(site, language), settings=Settings())
    results = Results(asked)
    found = results.first(SearchSpec("photos"))
    assert told in words_of(found["summary"])
    further = results.further(SearchSpec("photos"), 60)
    assert not any(card["image"] for card in found["cards"] + further["cards"])
    curated = Curated(asked).answer(Asked(SearchSpec("photos"), "outliers"), 0, 0)
    assert told in words_of(curated["summary"])
    assert not any(card["image"] for card in curated["groups"][0]["cards"])


def test_what_is_browsed_is_counted_with_its_filters(site):
    def summary(where):
        return run(site, SearchSpec("photos", where_text=where))[0]

    assert summary("") == "300 images in photos"
    assert summary("width < 15") == "15 of 300 images in photos · 1 filter"
    assert summary("width > 2") == "more than 240 of 300 images in photos · 1 filter"
    told, notice = run(site, SearchSpec("photos", where_text="width > 900"))
    assert told == "0 of 300 images in photos · 1 filter"
    assert notice == "Nothing found No image matches these filters."


def test_nothing_can_be_marked_down_where_nothing_is_asked(site):
    results = Results(context(site))
    found = results.first(SearchSpec("photos", unliked=(3,)))
    assert found["link"] == "index=photos"
    assert not found["asked"]
    assert "cs-refined" not in found["summary"]
    found = results.first(SearchSpec("photos", liked=(4,)))
    assert found["asked"]
    assert "Refined by 1 liked and 0 disliked" in found["summary"]
    found = results.first(SearchSpec("photos", liked=(4,), unliked=(5,)))
    assert "Refined by 1 liked and 1 disliked" in found["summary"]


@pytest.mark.parametrize(
    ("spec", "english", "spanish"),
    [
        (SearchSpec("photos", date_from="May"), "May is not a date", "May no es una fecha"),
        (
            SearchSpec("photos", where_text="wide > 3"),
            "there is no field 'wide'",
            "No se entiende la expresión de filtro. Detalle, en inglés: there is no field 'wide'",
        ),
        (
            SearchSpec("photos", chips=(Chip("item", "999"),)),
            "That image is no longer in this collection",
            "Esa imagen ya no está en esta colección",
        ),
        (
            SearchSpec("photos", chips=(Chip("text", "rain", -1.0),)),
            "There is nothing to search for",
            "No hay nada que buscar",
        ),
    ],
)
def test_what_is_wrong_with_a_search_is_said_in_the_visitors_language(site, spec, english, spanish):
    assert run(site, spec)[1].startswith(english)
    assert run(site, spec, "es")[1].startswith(spanish)


def test_classify_keeps_good_pictures_and_says_every_problem(site):
    desk = classify._Desk(context(site))
    state = desk.add(classify._State(), event(pictures=[letter()]))
    _, shown = desk.classify(state, "cat\ncat", True, "none")
    assert "notes.png cannot be read as an image." in shown
    assert shown.count("cs-error") == 2  # and the label that is there twice
    given = [picture("a.png"), letter(), picture("b.png")]
    state = desk.add(classify._State(), event(pictures=given))
    strip, shown = desk.classify(state, "cat\ndog", True, "none")
    assert [name in strip for name in ("a.png", "notes.png", "b.png")] == [True, False, True]
    assert "notes.png cannot be read as an image." in shown
    assert "cs-table" in shown
    state, shown = desk.add_examples(state, "cat", event(pictures=given))
    assert len(state.examples) == 2
    assert "notes.png cannot be read as an image." in shown


def test_build_keeps_good_pictures_and_says_what_is_wrong_with_others(site, monkeypatch):
    folder, _ = site
    monkeypatch.setenv("CLIPSEARCH_INDEXES", str(folder))
    started = []
    monkeypatch.setattr(Jobs, "start", lambda jobs, name, *_: not started.append(name))
    desk = build.Desk(context(site))
    kept, problem = desk.keep("photos", [letter()])
    assert "notes.png cannot be read as an image." in problem
    assert not kept
    given = [picture("a.png"), letter(), {**picture("b.png"), "caption": " a red square "}]
    kept, problem = desk.keep("photos", given)
    assert "notes.png cannot be read as an image." in problem
    assert kept == 2
    assert not started
    desk.start_kept("photos")
    assert started == ["photos"]
    found = sorted((folder / ".uploads" / "photos").iterdir())
    assert [path.name[:2] + path.suffix for path in found] == ["a-.jpg", "b-.jpg", "b-.txt"]
    assert found[2].read_text() == "a red square"
    assert found[1].stem == found[2].stem


def test_learn_keeps_good_pictures_and_says_what_is_wrong_with_others(site):
    given = [letter(), picture("a.png"), picture("b.png"), picture("c.png")]
    state = space._Desk(context(site)).given(space._State(), event(pictures=given))
    assert [shown.name for shown in state.images] == ["a.png", "b.png", "c.png"]
    assert state.problem == "notes.png cannot be read as an image."


def test_a_collection_that_was_made_anew_is_shown_as_it_is_now(site):
    folder, library = site
    encoder = ENCODERS["fake"]
    before = library.index("photos")
    assert len(library.sample("photos")[0]) == ITEMS
    shutil.rmtree(folder / "photos")
    with Index.create(folder / "photos", encoder) as index:
        while index.generation < before._reader._latest.generation:  # no number tells them apart
            with index.writer() as writer:
                put(writer, encoder, "only one")
    assert len(library.index("photos")) == len(library.sample("photos")[0]) == 1
