"""Which copy to keep, which may be deleted because of it, and where two of them differ."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsearch import Index, Item
from clipsearch.deletions import COLUMNS, deletion_lines, deletion_rows, deletions
from clipsearch.engine.keeper import keeper
from clipsearch.explore.difference import difference


def item(id: int, **known) -> Item:  # noqa: A002 - the word of Item.id
    return Item(**{"id": id, "key": f"/{id}", "width": 40, "height": 30, "size_bytes": 9} | known)


@pytest.mark.parametrize(
    ("better", "why"),
    [
        ({"width": 41, "size_bytes": 1}, "pixels"),
        ({"size_bytes": 10}, "size"),
        ({"caption": "a lion"}, "known"),
        ({"albums": ("Trip",)}, "known"),
        ({"path": "/"}, "path"),
    ],
)
def test_the_largest_is_kept_then_the_larger_file_the_better_known_and_the_shorter_path(
    better, why
):
    worse = [item(1, path="/copy of it.jpg"), item(2, path="/copy.jpg")]
    assert keeper([*worse, item(3, **{"path": "/longer/name.jpg"} | better)]) == (2, why)
    assert keeper([item(9, path="/a"), item(4, path="/a")]) == (1, "path")


@pytest.fixture
def folder(photos, tmp_path) -> Path:
    """A photo with copies of all kinds, and one that is like nothing else."""
    folder = tmp_path / "photos"
    folder.mkdir()
    with Image.open(next(photo for photo in photos if photo.name == "coffee.png")) as image:
        image = image.convert("RGB")
    image.save(folder / "coffee.png")
    shutil.copy(folder / "coffee.png", folder / "coffee copy.png")
    image.save(folder / "coffee.bmp.webp", lossless=True)
    image.resize((300, 200)).save(folder / "small.jpg")
    shutil.copy(next(photo for photo in photos if photo.name == "lion.jpg"), folder / "lion.jpg")
    return folder


@pytest.fixture
def index(folder, encoder, tmp_path):
    with Index.create(tmp_path / "index", encoder) as index:
        index.add(folder, on_error="raise")
        yield index


def ids(index) -> dict[str, int]:
    return {os.path.basename(item.path): item.id for item in index.items()}


def said(index, groups, *names):
    """What is said of the named files, by name."""
    known = ids(index)
    marked = [known[name] for name in names] if names else None
    found = deletions(index, groups, marked)
    return {
        os.path.basename(one.item.path): (
            one.reason,
            one.stays and os.path.basename(one.stays.path),
        )
        for one in found.values()
    }


def test_every_copy_is_told_apart_by_the_one_that_stays(index):
    (group,) = groups = index.duplicates()
    assert [(member.keep, Path(member.item.path).name) for member in group if member.keep] == [
        ("path", "coffee.png")
    ]
    assert said(index, groups) == {
        "coffee copy.png": ("bytes", "coffee.png"),
        "coffee.bmp.webp": ("pixels", "coffee.png"),
        "small.jpg": ("looks", "coffee.png"),
    }
    # Another one may stay than the suggested one, and then the pixels are compared again.
    assert said(index, groups, "coffee.png", "coffee copy.png", "small.jpg") == {
        "coffee.png": ("pixels", "coffee.bmp.webp"),
        "coffee copy.png": ("pixels", "coffee.bmp.webp"),
        "small.jpg": ("looks", "coffee.bmp.webp"),
    }


def test_nothing_is_safe_unless_a_copy_stays(index):
    groups = index.duplicates()
    every = [name for name in ids(index) if name != "lion.jpg"]
    assert set(said(index, groups, *every).values()) == {("none_stays", None)}
    assert said(index, groups, "lion.jpg") == {"lion.jpg": ("no_copy", None)}
    big = [name for name in every if name != "small.jpg"]
    assert set(said(index, groups, *big).values()) == {("smaller", "small.jpg")}
    assert deletions(index, groups, [99]) == {}


def test_the_disk_is_looked_at_when_the_list_is_made(index, folder):
    groups = index.duplicates()
    (folder / "coffee.png").unlink()
    assert set(said(index, groups).values()) == {("stays_gone", "coffee.png")}
    assert said(index, groups, "small.jpg") == {"small.jpg": ("looks", "coffee copy.png")}
    (folder / "small.jpg").write_bytes(b"drawn over")
    assert said(index, groups, "small.jpg") == {"small.jpg": ("gone", None)}


def test_links_are_no_copies(folder, encoder, tmp_path):
    (folder / "link.png").symlink_to(folder / "coffee.png")
    os.link(folder / "coffee.png", folder / "name.png")
    with Index.create(tmp_path / "index", encoder) as index:
        index.add(folder)
        groups = index.duplicates(kinds=["bytes"])
        names = {Path(member.item.path).name for group in groups for member in group}
        for name in names & {"link.png", "name.png", "coffee.png"}:
            others = names - {name, "coffee copy.png"}
            marked = [name, "coffee copy.png", *(others - {sorted(others)[0]})]
            assert {reason for reason, _ in said(index, groups, *marked).values()} == {"same_file"}
        assert said(index, groups, "coffee copy.png")["coffee copy.png"][0] == "bytes"


def test_images_in_archives_stay_but_are_never_to_be_deleted(folder, encoder, tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.write(folder / "coffee.png", "coffee.png")
    with Index.create(tmp_path / "index", encoder) as index:
        index.add(tmp_path / "photos.zip")
        index.add(folder / "coffee copy.png")
        (group,) = groups = index.duplicates()
        inside, outside = sorted((m.item for m in group), key=lambda item: item.path is not None)
        found = deletions(index, groups, [inside.id])
        assert found[inside.id].reason == "inside"
        found = deletions(index, groups, [outside.id])
        assert found[outside.id].reason == "bytes"
        assert found[outside.id].stays == inside


def test_the_list_tells_what_only_the_deleted_one_is_known_for(index):
    with index.writer() as writer:
        writer.tag([ids(index)["small.jpg"]], "mug")
    groups = index.duplicates()
    found = deletions(index, groups)
    (row,) = (
        dict(zip(COLUMNS, row, strict=True))
        for row in deletion_rows(groups, found, every=False)
        if "small" in str(row)
    )
    assert row["loses"] == "tag mug"
    assert row["safe"]
    assert row["stays"].endswith("coffee.png")
    assert row["stays_kind"] == "looks"
    assert row["why"].startswith(f"looks like {row['stays']}, which is there: 600 x 400, cosine 0.")
    lines = list(deletion_lines(found))
    assert [line for line in lines if not line.startswith("#")] == [
        member.item.path for member in groups[0] if member.keep is None
    ]
    alone = deletions(index, groups, [ids(index)["lion.jpg"]])
    assert all(line.startswith("#") for line in deletion_lines(alone))


def test_the_command_says_the_same_as_json_and_csv(cli, index):
    done = cli("duplicates", "-i", index.path, "-f", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    (group,) = json.loads(cli("duplicates", "-i", index.path, "-f", "json").stdout)["groups"]
    assert [row["keep"] for row in rows] == [member["keep"] or "" for member in group]
    for row, member in zip(rows, group, strict=True):
        assert row["safe"] == str(member.get("safe", ""))
        assert row["why"] == member.get("why", "")
        assert row["stays"] == member.get("stays", "")
    assert [row["safe"] for row in rows].count("True") == 3
    assert "yes (shortest path)" in cli("duplicates", "-i", index.path).stdout
    where = "format = 'PNG'"
    rows = cli("duplicates", "-i", index.path, "--where", where, "-f", "csv").stdout.splitlines()
    assert len(rows) == 3
    assert (
        "there is no field"
        in cli("duplicates", "--where", "x > 1", "-i", index.path, expect=1).stderr
    )


def test_a_filter_limits_what_is_looked_at_and_progress_can_stop_it(index):
    told = []
    index.duplicates(progress=lambda *said: told.append(said))
    assert {what for what, _, _ in told} == {"vectors", "images"}
    assert told[-1] == ("images", 3, 3)  # equal files count once
    assert index.duplicates(where="format = 'JPEG'") == []
    assert index.pairs(where="id > 0") == []

    def stop(*_):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        index.duplicates(progress=stop)


# --- where they differ ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photo(photos) -> Image.Image:
    with Image.open(next(photo for photo in photos if photo.name == "coffee.png")) as image:
        return image.convert("RGB")


def test_equal_pixels_do_not_differ_and_a_spot_is_where_it_is(photo):
    same = difference(photo, photo.copy(), 1200)
    assert (same.share, same.most, same.is_scaled, same.common) == (0.0, 0, False, 1.0)
    spot = photo.copy()
    spot.paste((0, 0, 255), (100, 50, 160, 80))
    found = difference(photo, spot, 1200)
    assert found.share == pytest.approx(60 * 30 / (600 * 400), rel=0.02)
    red = (found.shown[..., 0] > 200) & (found.shown[..., 2] < 60)
    rows, columns = np.nonzero(red)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (50, 79, 100, 159)


def test_a_small_copy_is_compared_at_its_size_and_a_crop_in_its_place(photo):
    half = difference(photo, photo.resize((300, 200), Image.Resampling.LANCZOS), 1200)
    assert half.one.shape == half.other.shape == half.shown.shape == (200, 300, 3)
    assert half.is_scaled
    assert half.share < 0.01
    crop = difference(photo, photo.crop((0, 0, 552, 368)), 1200)
    assert crop.common == pytest.approx(0.92**2, abs=0.01)
    assert crop.share < 0.05
    assert max(difference(photo, photo, 100).shown.shape) == 100
