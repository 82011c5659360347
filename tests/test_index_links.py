"""Links and other people's files in an index folder: nothing outside is changed, nothing theirs."""

import shutil

import pytest

from clipsearch.cluster.index_shards import shard_index, shards_folder
from clipsearch.engine.verify import verify
from clipsearch.errors import IndexCorruptError
from clipsearch.index import Index
from tests.fakes import FakeEncoder, fill


@pytest.fixture
def encoder():
    return FakeEncoder()


@pytest.fixture
def path(tmp_path, encoder):
    with Index.create(tmp_path / "index", encoder) as index:
        fill(index, encoder, 40, commits=2, captions=True)
    return tmp_path / "index"


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("part", ["vectors", "ann"])
def test_a_write_deletes_nothing_where_a_linked_folder_points(path, encoder, tmp_path, part):
    """What tar, rsync and git make of `index/vectors -> /home/me/Pictures`."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "holiday.jpg").write_bytes(b"mine")
    for name in ("image-0123456789abcdef.npy", "image-0123456789abcdef.faiss"):
        (mine / name).write_bytes(b"named as the index names its files")
    before = contents(mine)
    shutil.rmtree(path / part)
    (path / part).symlink_to(mine)
    for attempt in (
        lambda: Index.open(path, encoder),
        lambda: Index.create(path, encoder, exist_ok=True),
    ):
        with pytest.raises(IndexCorruptError, match=rf"{part} is a symbolic link.*copy"):
            attempt()
    report = verify(path, full=True)
    assert not report.ok
    assert "symbolic link" in report.problems[0]
    assert contents(mine) == before


@pytest.mark.parametrize("part", ["vectors", "ann"])
def test_a_folder_that_becomes_a_link_under_an_open_index_is_not_swept(
    path, encoder, tmp_path, part
):
    mine = tmp_path / "mine"
    shutil.copytree(path / part, mine)
    (mine / "image-0123456789abcdef.npy").write_bytes(b"mine")
    (mine / "image-0123456789abcdef.faiss").write_bytes(b"mine")
    before = contents(mine)
    with Index.open(path, encoder) as index:
        writer = index.writer()
        shutil.rmtree(path / part)
        (path / part).symlink_to(mine)
        writer.remove([1])
        writer.commit()
        writer.close()
        with pytest.raises(IndexCorruptError, match="symbolic link"):
            index.writer()
    assert contents(mine) == before


@pytest.mark.parametrize(
    "part", ["writer.lock", "migration.lock", "ann/build.lock", "catalog.sqlite-wal"]
)
def test_a_link_in_place_of_a_file_is_refused_and_what_it_points_to_is_kept(
    path, encoder, tmp_path, part
):
    mine = tmp_path / "thesis.txt"
    mine.write_text("years of work")
    (path / part).unlink(missing_ok=True)
    (path / part).symlink_to(mine)
    with pytest.raises(IndexCorruptError, match="symbolic link"):
        Index.open(path, encoder)
    assert mine.read_text() == "years of work"


def test_a_lock_that_becomes_a_link_under_an_open_index_is_not_written_through(
    path, encoder, tmp_path
):
    mine = tmp_path / "thesis.txt"
    mine.write_text("years of work")
    with Index.open(path, encoder) as index:
        (path / "writer.lock").unlink()
        (path / "writer.lock").symlink_to(mine)
        with pytest.raises(IndexCorruptError, match=r"writer\.lock is a symbolic link"):
            index.writer()
    assert mine.read_text() == "years of work"


def test_a_linked_segment_is_refused(path, tmp_path):
    segment = next((path / "vectors").glob("image-*[0-9a-f].npy"))
    segment.rename(tmp_path / "elsewhere.npy")
    segment.symlink_to(tmp_path / "elsewhere.npy")
    with pytest.raises(IndexCorruptError, match="symbolic link"):
        Index.open(path)
    assert "symbolic link" in verify(path).problems[0]


def test_an_index_folder_may_itself_be_reached_through_a_link(path, encoder, tmp_path):
    (tmp_path / "link").symlink_to(path)
    with Index.open(tmp_path / "link", encoder) as index:
        fill(index, encoder, 5, first=40)
        index.compact()
        assert len(index) == 45


def test_a_file_of_the_users_own_is_kept_and_verify_names_it(path, encoder):
    theirs = [path / "vectors" / "notes.txt", path / "ann" / "image-old.faiss"]
    left_over = path / "vectors" / "image-0123456789abcdef.rows.npy"  # by a killed writer
    for file in (*theirs, left_over):
        file.write_bytes(b"kept")
    with Index.open(path, encoder) as index:
        fill(index, encoder, 5, first=40)
        index.compact()
    assert [file.read_bytes() for file in theirs] == [b"kept", b"kept"]
    assert not left_over.exists()
    report = verify(path, full=True)
    assert report.ok
    assert [note for note in report.notes if "does not belong" in note] == [
        f"{file} does not belong to the index and is left alone" for file in sorted(theirs)
    ]


def test_splitting_into_shards_deletes_only_what_it_made(path, tmp_path):
    home = shards_folder(path)
    home.mkdir()
    (home / "my photos").mkdir()
    (home / "my photos" / "a.jpg").write_bytes(b"mine")
    for _ in range(3):
        shard_index(path, 2)
    assert (home / "my photos" / "a.jpg").read_bytes() == b"mine"
    shutil.move(home, tmp_path / "elsewhere")
    home.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IndexCorruptError, match="symbolic link"):
        shard_index(path, 2)
