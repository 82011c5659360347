"""The page's routes for selections, albums and saved searches: who may do what, and what comes."""

from __future__ import annotations

import csv
import io
import os
import zipfile
from dataclasses import replace

import pytest
from clipsearch.ui.albumroutes import album_router
from clipsearch.ui.context import Context
from clipsearch.ui.jobs import Jobs
from clipsearch.ui.library import Library
from clipsearch.ui.pickedroutes import picked_router
from clipsearch.ui.settings import Settings
from clipsearch.ui.strings import Words
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from clipsearch import Index, Query
from clipsearch.request import SearchRequest
from clipsearch.server.zipped import _unique, zipped

FORMULA = "=cmd|'/c calc'!A1"


@pytest.fixture
def index(tmp_path, encoder):
    """Four photos, two of one name; one will have changed since it was indexed."""
    for at, name in enumerate(("a/red.png", "b/Red.png", "b/blue.png", "b/late.png")):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40 + at, 30), (60 * at, 10, 10)).save(file)
    with Index.create(tmp_path / "index", encoder) as made:
        made.add(tmp_path / "photos")
        (tmp_path / "photos/b/late.png").write_bytes(b"something else")
        yield made


@pytest.fixture
def client(index, encoder):
    def visited(**decided):
        settings = Settings(**decided)
        library = Library([str(index.path)], load=lambda name: encoder)
        contexts = {"en": Context(library, settings, Words("en"), Jobs())}
        app = FastAPI()
        app.include_router(picked_router(contexts))
        app.include_router(album_router(contexts))
        return TestClient(app)

    return visited


def test_a_zip_has_the_files_under_names_of_their_own_and_says_what_is_missing(index, client):
    ask = client()
    token = ask.post("/page/picked/index/selection", json={"ids": index.ids()}).json()["selection"]
    answer = ask.get("/page/zip/index", params={"selection": token})
    assert answer.headers["content-type"] == "application/zip"
    assert "index.zip" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["red.png", "Red (2).png", "blue.png", "not-included.txt"]
        assert archive.read("not-included.txt").decode().splitlines()[-1] == "late.png"
        for one in archive.infolist():
            assert one.compress_type == zipfile.ZIP_STORED
            assert not one.flag_bits & 0x08  # whose sizes come after it, which some readers refuse
        file = index.path.parent / "photos/a/red.png"
        assert archive.read("red.png") == file.read_bytes()
    for wrong in ("", "0" * 32, "' or 1=1", token[:-1]):
        assert ask.get("/page/zip/index", params={"selection": wrong}).status_code == 422
    assert ask.get("/page/zip/other", params={"selection": token}).status_code == 404


def test_a_zip_holds_one_image_in_memory_and_no_name_leads_out_of_it(index):
    item = index.item(index.ids()[0])
    names = ["../../etc/passwd", "C:\\x\\con.png", "CON", ".hidden", "a\nb.png", "x" * 300 + ".png"]
    items = [replace(item, key=f"/k/{at}", path=None) for at in range(3)]
    parts = [len(part) for part in zipped([item, *items], [str(index.path.parent)])]
    assert max(parts) < item.size_bytes + 500
    for name in names:
        one = _unique(replace(item, path=name), "png", set())
        assert os.path.basename(one) == one
        assert not one.startswith(".")
        assert len(one) < 140
        assert one.split(".")[0].lower() != "con"


def test_images_in_folders_that_are_not_shown_are_left_out_of_a_zip(index, client, monkeypatch):
    monkeypatch.setattr(Index, "indexed_folders", lambda self: ())
    ask = client()
    ids = index.ids()[:2]
    token = ask.post("/page/picked/index/selection", json={"ids": ids}).json()["selection"]
    answer = ask.get("/page/zip/index", params={"selection": token})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["not-included.txt"]
        assert str(index.path.parent) not in archive.read("not-included.txt").decode()
    ask = client(roots=(index.path.parent / "photos" / "a",))
    answer = ask.get("/page/zip/index", params={"selection": token})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["red.png", "not-included.txt"]


def test_a_csv_runs_nothing_and_tells_paths_only_to_the_owner(index, client):
    ids = index.ids()
    with index.writer() as writer:
        writer.tag(ids[:1], FORMULA)
    for shows in (False, True):
        ask = client(shows_paths=shows)
        sent = ask.post("/page/picked/index/selection", json={"ids": ids}).json()
        text = ask.get("/page/csv/index", params=sent).content.decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [int(row["id"]) for row in rows] == ids
        assert rows[0]["tags"] == f"'{FORMULA}"
        assert (str(index.path.parent) in text) is shows
        answer = ask.post("/page/picked/index/paths", json={"ids": ids[::-1]})
        assert answer.status_code == (200 if shows else 403)
    assert answer.json()["text"].splitlines()[-1] == index.item(ids[0]).path


@pytest.mark.parametrize("what", ["tag", "untag", "album", "unalbum", "remove", "restore"])
def test_visitors_who_may_not_build_change_nothing(index, client, what):
    before, state = index.items(), index.commit_id
    ask = client(may_build=False)
    body = {"ids": index.ids(), "name": "x"}
    answer = ask.post(f"/page/picked/index/{what}", json=body)
    assert (answer.status_code, "cannot change" in answer.json()["problem"]) == (403, True)
    for other in ("make", "rename", "delete", "save", "forget"):
        assert ask.post(f"/page/albums/index/{other}", json=body).status_code == 403
    assert ask.get("/page/albums/index").json() == {"albums": [], "searches": []}
    assert (index.items(), index.commit_id) == (before, state)


def test_what_is_no_list_of_ids_is_said_and_changes_nothing(index, client):
    ask, state = client(), index.commit_id
    for wrong in (b"", b"{", b"[]", b'{"ids": "1"}', b'{"ids": [1.5]}', b'{"ids": [true]}'):
        for what in ("tag", "remove", "selection", "marks"):
            answer = ask.post(f"/page/picked/index/{what}", content=wrong)
            assert "problem" in answer.json()
    many = ask.post("/page/picked/index/tag", json={"ids": [1] * 100_001, "name": "x"})
    assert "100000" in many.json()["problem"]
    blank = ask.post("/page/picked/index/tag", json={"ids": index.ids(), "name": " "})
    assert "problem" in blank.json()
    assert ask.post("/page/picked/index/drop", json={"ids": [1]}).status_code == 404
    assert index.commit_id == state


def test_marks_name_what_can_be_given_and_taken(index, client):
    ids = index.ids()
    with index.writer() as writer:
        writer.tag(ids, "all")
        writer.tag(ids[1:2], "one")
        writer.add_to_album("Trip", ids[:3])
        writer.add_to_album("Empty", [])
    found = client().post("/page/picked/index/marks", json={"ids": ids[:1]}).json()
    assert found["untag"] == [{"name": "all", "n": 1}]
    assert {one["name"] for one in found["tag"]} == {"all", "one"}
    assert found["unalbum"] == [{"name": "Trip", "n": 1}]
    assert found["album"] == [{"name": "Empty", "n": 0}, {"name": "Trip", "n": 3}]


def test_saved_searches_go_from_the_page_to_every_face_and_back(index, client):
    ask = client()
    link = "index=index&q=a+cat&c=-0.5%3At%3Adog&c=1%3Ai%3A2&where=width+%3E+20&min=auto"
    saved = ask.post("/page/albums/index/save", json={"name": "Cats", "link": link}).json()
    (one,) = saved["searches"]
    assert one["name"] == "Cats"
    request = index.saved_search("Cats")
    assert (request.where, request.min_score, request.k) == ("width > 20", "auto", 10)
    assert [(t.value, t.weight) for t in request.query.terms] == [
        ("a cat", 1),
        ("dog", -0.5),
        (2, 1),
    ]
    assert one["link"].startswith("index=index&q=a+cat&c=-0.5%3At%3Adog&c=1%3Ai%3A2")
    ask.post("/page/albums/index/save", json={"name": "Again", "link": one["link"]})
    assert index.saved_search("Again") == request
    ask.post("/page/albums/index/save", json={"name": "Wide", "link": "index=index&where=width>41"})
    assert index.saved_search("Wide") == SearchRequest(where="width>41", sort="date")
    with index.writer() as writer:
        many = Query.combine([Query.text(f"word {n}", 0.5) for n in range(30)])
        writer.save_search("Many", SearchRequest(query=many))
    links = {one["name"]: one["link"] for one in ask.get("/page/albums/index").json()["searches"]}
    assert links["Many"] == ""  # the page has no place for so many parts
    assert "where=width%3E41" in links["Wide"]
    assert ask.post("/page/albums/index/make", json={"name": "Trip"}).json()["albums"]
    assert "already" in ask.post("/page/albums/index/make", json={"name": "Trip"}).json()["problem"]


def test_examples_are_words_of_the_index(index, client):
    ask = client()
    assert ask.get("/page/examples/index").json() == {"examples": []}
    with index.writer() as writer:
        writer.tag(index.ids(), "snow")
        writer.recaption(index.ids()[0], "a red wall")
    assert ask.get("/page/examples/index").json()["examples"] == ["snow", "a red wall"]
