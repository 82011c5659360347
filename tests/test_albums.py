"""Albums and tags that people give by hand: what keeps them, and every face that shows them."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from PIL import Image

from clipsearch import Index, InvalidInputError, Query
from clipsearch.engine.verify import verify
from clipsearch.request import SearchRequest


@pytest.fixture(scope="module")
def made(encoder, tmp_path_factory):
    """An index of six plain photos in a folder of their own."""
    root = tmp_path_factory.mktemp("albums")
    folder = root / "photos"
    folder.mkdir()
    for at, color in enumerate(("red", "green", "blue", "white", "black", "yellow")):
        Image.new("RGB", (40 + at, 30), color).save(folder / f"{color}.png")
    with Index.create(root / "index", encoder) as index:
        index.add(folder)
    return root


@pytest.fixture
def index(made, tmp_path, encoder):
    folder = tmp_path / "photos"
    shutil.copytree(made / "photos", folder)
    with Index.create(tmp_path / "index", encoder) as opened:
        opened.add(folder)
        yield opened


def ids(index: Index) -> dict[str, int]:
    return {os.path.basename(item.key).split(".")[0]: item.id for item in index.items()}


def names(index: Index, where: str) -> set[str]:
    return {os.path.basename(index.item(row).key).split(".")[0] for row in index.ids(where)}


def test_filters_know_albums_as_they_know_tags(index):
    of = ids(index)
    with index.writer() as writer:
        assert writer.add_to_album("Trip to Zürich", [of["red"], of["blue"], 999]) == 2
        assert writer.add_to_album("Trip to Zürich", [of["red"], of["white"]]) == 1
        assert writer.add_to_album("Best", [of["red"]]) == 1
    assert names(index, "album = 'Trip to Zürich'") == {"red", "blue", "white"}
    assert names(index, "'Best' in albums") == {"red"}
    assert names(index, "album like '%zurich'") == {"red", "blue", "white"}
    assert names(index, "album is null") == {"green", "black", "yellow"}
    assert names(index, "album != 'Best' and album is not null") == {"blue", "white"}
    assert index.item(of["red"]).albums == ("Best", "Trip to Zürich")
    hit = index.search("a color", where="album in ('Best')")[0]
    assert hit.item.id == of["red"]
    assert [(a.name, a.items, a.away) for a in index.albums()] == [
        ("Best", 1, 0),
        ("Trip to Zürich", 3, 0),
    ]


def test_albums_are_renamed_emptied_and_deleted_and_their_items_stay(index):
    of = ids(index)
    with index.writer() as writer:
        writer.add_to_album("A", [of["red"], of["blue"]])
        writer.add_to_album("B", [of["red"]])
        with pytest.raises(InvalidInputError, match="already"):
            writer.rename_album("A", "B")
        with pytest.raises(InvalidInputError, match="the albums are: A, B"):
            writer.remove_from_album("C", [1])
        assert writer.remove_from_album("A", [of["red"], of["green"]]) == 1
        writer.rename_album("A", "Å")
        writer.delete_album("B")
    assert [album.name for album in index.albums()] == ["Å"]
    assert names(index, "album = 'A\u030a'") == {"blue"}
    assert len(index) == 6
    assert not verify(index.path, full=True).problems


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 201, "\ud800"])
def test_a_name_that_cannot_be_shown_is_refused(index, name):
    with index.writer() as writer:
        for change in (writer.add_to_album, lambda label, rows: writer.tag(rows, label)):
            with pytest.raises(InvalidInputError, match="name of a"):
                change(name, [1])
    assert not index.albums()


def test_tags_by_hand_stand_beside_those_of_a_classifier(index):
    of = ids(index)
    index.set_tags([of["red"], of["blue"]], ["warm", "cold"])
    with index.writer() as writer:
        assert writer.tag([of["red"], of["white"], of["red"]], "warm") == 2
        assert writer.tag([of["white"]], "warm") == 1
        assert writer.untag([of["blue"], of["green"]], "cold") == 1
    assert names(index, "tag = 'warm'") == {"red", "white"}
    index.set_tags([], [])
    assert names(index, "tag = 'warm'") == {"red", "white"}
    assert not verify(index.path, full=True).problems


def test_an_edited_photo_keeps_albums_and_tags_by_hand(index, tmp_path):
    of = ids(index)
    index.set_tags([of["red"]], ["guessed"])
    with index.writer() as writer:
        writer.add_to_album("Trip", [of["red"], of["blue"]])
        writer.tag([of["red"]], "mine")
    for color in ("red", "blue"):
        Image.new("RGB", (50, 50), "orange").save(tmp_path / "photos" / f"{color}.png")
    index.add(tmp_path / "photos")
    assert ids(index)["red"] != of["red"]
    assert names(index, "album = 'Trip'") == {"red", "blue"}
    assert names(index, "tag = 'mine'") == {"red"}
    assert names(index, "tag = 'guessed'") == set()
    assert not verify(index.path, full=True).problems


def test_photos_that_swap_their_names_take_their_albums_along(index, tmp_path):
    of, folder = ids(index), tmp_path / "photos"
    with index.writer() as writer:
        writer.add_to_album("Trip", [of["red"]])
    os.rename(folder / "red.png", folder / "x.png")
    os.rename(folder / "blue.png", folder / "red.png")
    os.rename(folder / "x.png", folder / "blue.png")
    index.add(folder)
    assert index.ids("album = 'Trip'") == [of["red"]]
    assert names(index, "album = 'Trip'") == {"blue"}


def test_items_that_are_away_keep_their_places(index, tmp_path):
    of, folder = ids(index), tmp_path / "photos"
    with index.writer() as writer:
        writer.add_to_album("Trip", [of["red"], of["blue"]])
    os.rename(folder / "red.png", tmp_path / "red.png")
    index.add(folder)
    assert [(a.items, a.away) for a in index.albums()] == [(2, 1)]
    assert names(index, "album = 'Trip'") == {"blue"}
    os.rename(tmp_path / "red.png", folder / "red.png")
    index.add(folder)
    assert names(index, "album = 'Trip'") == {"red", "blue"}
    index.remove([of["red"]])
    assert [(a.items, a.away) for a in index.albums()] == [(1, 0)]
    assert not verify(index.path, full=True).problems


def test_exports_and_imports_keep_albums(index, tmp_path, encoder):
    of = ids(index)
    with index.writer() as writer:
        writer.add_to_album("Trip", [of["red"], of["blue"]])
        writer.add_to_album("Empty", [of["red"]])
        writer.remove_from_album("Empty", [of["red"]])
        writer.save_search("warm", SearchRequest(query=Query.of("warm"), hybrid=True))
        writer.save_search("like red", SearchRequest(query=Query.item(of["red"])))
    index.export(tmp_path / "out.parquet")
    with Index.create(tmp_path / "copy", encoder) as copy:
        copy.import_embeddings(tmp_path / "out.parquet")
        assert names(copy, "album = 'Trip'") == {"red", "blue"}
        assert copy.albums() == index.albums()
        assert [one.name for one in copy.saved_searches()] == ["warm"]


def test_the_command_line_makes_lists_and_searches_albums(cli, index):
    of, at = ids(index), index.path
    done = cli("album", "add", "Trip", of["red"], of["blue"], 999, "-i", at)
    assert "added 2 of 3 items" in done.stderr
    cli("album", "add", "Trip", "--where", "width >= 45", "-i", at)
    listed = json.loads(cli("album", "list", "-i", at, "-f", "json").stdout)
    assert [(one["name"], one["items"]) for one in listed["albums"]] == [("Trip", 3)]
    assert "Trip" in cli("album", "list", "-i", at).stdout
    found = cli("search", "-i", at, "--where", "album = 'Trip'", "-f", "json").stdout
    assert {hit["id"] for hit in json.loads(found)["hits"]} == {of["red"], of["blue"], of["yellow"]}
    cli("album", "remove", "Trip", of["red"], "-i", at)
    cli("album", "rename", "Trip", "Oslo", "-i", at)
    assert "there is no album" in cli("album", "delete", "Trip", "-i", at, expect=1).stderr
    assert "either" in cli("album", "add", "Trip", "-i", at, expect=1).stderr
    cli("tag", "-i", at, "--item", of["red"], "--label", "mine")
    assert names(index, "tag = 'mine'") == {"red"}
    cli("tag", "-i", at, "--item", of["red"], "--label", "mine", "--remove")
    assert names(index, "tag = 'mine'") == set()
    assert "--label" in cli("tag", "-i", at, "--item", 1, expect=1).stderr


def test_the_command_line_counts_what_its_filters_find(cli, index):
    of, at = ids(index), index.path
    cli("album", "add", "Trip", of["red"], of["blue"], "-i", at)
    told = json.loads(cli("facets", "-i", at, "--where", "width >= 41", "-f", "json").stdout)
    assert told["items"] == 5
    (trip, none) = told["by"]["album"]["values"]
    assert (trip["value"], trip["count"], none["value"], none["count"]) == ("Trip", 1, None, 4)
    found = cli("search", "-i", at, "--where", trip["where"], "-f", "json").stdout
    assert {hit["id"] for hit in json.loads(found)["hits"]} == {of["red"], of["blue"]}
    folder = os.path.join(os.path.dirname(at), "photos")
    (row,) = cli("facets", "-i", at, "--folder", folder + "/", "--by", "folder").stdout.split("\n")[
        3:4
    ]
    assert row.split()[:3] == ["folder", folder, "6"]
    csv = cli("facets", "-i", at, "--by", "orientation", "--by", "caption", "-f", "csv").stdout
    assert csv.splitlines()[1:] == [
        "orientation,landscape,6,orientation = 'landscape'",
        "caption,no,6,caption is null",
    ]
    cut = cli("facets", "-i", at, "--by", "album", "--limit", 1)
    assert "note" not in cut.stderr
    assert "not one of folder" in cli("facets", "-i", at, "--by", "color", expect=2).stderr
    assert "no item of the index" in cli("facets", "-i", at, "--folder", "/x", expect=1).stderr


def test_a_search_is_kept_and_asked_again(cli, index):
    at = index.path
    first = cli(
        *("search", "red", "--subtract", "dark", "--where", "width >= 41", "-k", 3, "-i", at),
        *("--save", "Balc\u00f3n  ", "-f", "json"),
    )
    assert "--saved" in first.stderr
    again = json.loads(
        cli("search", "--saved", "Balco\u0301n", "-k", 3, "-i", at, "-f", "json").stdout
    )
    assert again["hits"] == json.loads(first.stdout)["hits"]
    (kept,) = index.saved_searches()
    assert SearchRequest.from_dict(kept.request).to_dict() == kept.request
    assert "red, -dark, where: width >= 41" in cli("saved", "list", "-i", at).stdout
    assert "they are: Balcón" in cli("search", "--saved", "x", "-i", at, expect=1).stderr
    assert "alone" in cli("search", "red", "--saved", "Balcón", "-i", at, expect=1).stderr
    image = index.path.parent / "photos" / "red.png"
    refused = cli("search", "--image", image, "--save", "x", "-i", at, expect=1)
    assert "image cannot be" in refused.stderr
    cli("saved", "delete", "Balcón", "-i", at)
    assert "no saved search" in cli("saved", "delete", "Balcón", "-i", at, expect=1).stderr
