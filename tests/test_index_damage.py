"""Damage that no checksum of the disk finds: what is called sound answers as the original does."""

import collections
import contextlib
import os
import random
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from clipsearch.engine import digests, skipped, thumbprints
from clipsearch.engine.database import CATALOG, translated
from clipsearch.engine.verify import verify
from clipsearch.errors import IndexCorruptError, InvalidInputError, StorageError
from clipsearch.index import Index
from tests.fakes import DIM, FakeEncoder, fill, put

CAPTIONS = ("a dog on the beach", "un été à la plage", "京都の鳥居", "two dogs", "a red bicycle")
CATALOG_SHARE = 0.64  # of the flips; the others are spread over all other files


def make(folder: Path) -> None:
    """An index that has something of everything."""
    encoder = FakeEncoder()
    with Index.create(folder, encoder) as index:
        with index.writer() as writer:
            for n in range(90):
                put(
                    writer,
                    encoder,
                    f"{n:03}",
                    image=n % 9 != 0,
                    caption=f"{CAPTIONS[n % 5]} {n}" if n % 3 == 0 else None,
                    extra={"price": n / 8, "shop": f"shop {n % 4}", "n": n},
                    tags=(f"k{n % 3}",),
                    width=100 + n,
                    height=90,
                    camera="Canon",
                    taken_at=f"2024-05-{n % 28 + 1:02}T10:00:00",
                    latitude=48.5,
                    longitude=-0.0,
                )
            prints = {f"sha-{n:03}": bytes([n]) * 144 for n in range(90)}
            writer.change(lambda conn: thumbprints.remember(conn, prints))
            gone = skipped.Skipped("/photos/broken.jpg", 5, 6, "truncated image")
            writer.change(lambda conn: skipped.remember(conn, [gone]))
            writer.set_meta("roots", ["/photos"])
        index.migrate(FakeEncoder("other"))  # which stays beside, as the images are gone
        with index.writer() as writer:
            writer.set_tags([1, 2, 3], ["cat", "dog", "cat"], [0.5, None, 0.25])
            writer.remove([7, 8])
            writer.recaption(4, "a new caption", encoder.vector("text a new caption"))
        index.refresh_baseline(force=True)
        index.build_ann(force=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """That index, whose last commit is in the log, as a program that was killed leaves it."""
    place = tmp_path_factory.mktemp("whole")
    make(place / "made")
    with contextlib.closing(sqlite3.connect(place / "made" / CATALOG)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM meta").fetchall()
        with Index.open(place / "made") as index:
            index.set_tags([10, 11], ["bird", "bird"], [0.5, 0.25], name="second")
        shutil.copytree(place / "made", place / "whole")
    (place / "whole" / f"{CATALOG}-shm").unlink()
    assert (place / "whole" / f"{CATALOG}-wal").stat().st_size > 0
    return place / "whole"


@pytest.fixture
def broken(whole, tmp_path):
    """A copy to break."""
    shutil.copytree(whole, tmp_path / "broken")
    return tmp_path / "broken"


def answers(folder: Path) -> list:
    """Whatever an index says by its own interfaces."""
    with Index.open(folder, FakeEncoder(), exact_elements=20 * DIM) as index:
        info = index.info()
        for name in ("path", "size_bytes", "name"):
            del info[name]
        items = index.items()
        queries = [
            ("a dog", {}),
            ("a dog", {"k": 1}),
            ("a dog", {"exact": True}),
            ("鳥居", {"hybrid": True}),
        ]
        queries += [("dog beach", {"hybrid": True, "target": "caption", "min_score": "auto"})]
        queries += [("x", {"where": f}) for f in ("price > 5", "tag = 'cat'", "width < 150")]
        vectors = [
            (ids.tolist(), block.tobytes())
            for modality in ("image", "caption")
            for ids, block in index.iter_vectors(modality)
        ]
        index.export(folder.parent / "all.parquet")
        return [
            info,
            items,
            vectors,
            *(
                [(h.item.id, h.score) for h in index.search(q, **{"k": 20, **o})]
                for q, o in queries
            ),
            index.skipped(),
            index.fields(),
            index.facets(),
            index.get_meta("roots"),
            [[(m.item.id, m.score, m.kind) for m in group] for group in index.duplicates()],
            [(hit.item.id, hit.score) for hit in index.pairs()],
        ]


def rows(folder: Path) -> dict:
    """All rows of all tables, whether an interface shows them or not, and what words find."""
    with contextlib.closing(sqlite3.connect(folder / CATALOG)) as conn:
        query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'words*'"
        names = [name for (name,) in conn.execute(query)]
        found = {name: sorted(conn.execute(f"SELECT * FROM {name}"), key=repr) for name in names}
        query = "SELECT rowid, bm25(words) FROM words WHERE words MATCH ? ORDER BY rowid"
        for word in ("dog", "dogs", "plage", "鳥 居", "a", "caption", *map(str, range(0, 90, 3))):
            found[f"word {word}"] = conn.execute(query, (f'"{word}"',)).fetchall()
        found["schema"] = conn.execute("SELECT * FROM sqlite_schema").fetchall()
        return found


def flip(path: Path, bit: int) -> None:
    """As a failing disk does: the file's size and times stay."""
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def outcome(folder: Path, original: tuple) -> str:
    """What becomes of a damaged index; whatever else it raises fails the test."""
    try:
        found = answers(folder)
    except IndexCorruptError:
        return "refused" if not verify(folder, full=True).ok else "REFUSED, BUT CALLED SOUND"
    if not verify(folder).ok:
        return "found by verify"
    if not verify(folder, full=True).ok:
        return "found by verify --full"
    return "harmless" if (found, rows(folder)) == original else "WRONG, BUT CALLED SOUND"


@pytest.mark.parametrize("count", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_flipped_bit_is_found_or_changes_nothing(whole, tmp_path, count):
    broken = tmp_path / "broken"
    shutil.copytree(whole, broken)
    original = answers(broken), rows(broken)
    rng = random.Random(1)
    files = sorted(p.relative_to(whole) for p in whole.rglob("*") if p.is_file())
    files = [path for path in files if (whole / path).stat().st_size]
    others = [path for path in files if path.name != CATALOG]
    counts = collections.Counter()
    for _ in range(count):
        shutil.rmtree(broken)
        shutil.copytree(whole, broken)
        path = Path(CATALOG) if rng.random() < CATALOG_SHARE else rng.choice(others)
        size = (whole / path).stat().st_size
        # A tenth of them is in the header, where most depends on a bit.
        at = rng.randrange(min(size, 256) if rng.random() < 0.1 else size)
        bit = at * 8 + rng.randrange(8)
        flip(broken / path, bit)
        try:
            said = outcome(broken, original)
        except Exception as exc:
            raise AssertionError(f"bit {bit} of {path}") from exc
        assert not said.isupper(), (said, path, bit)
        counts[said] += 1
    assert counts["refused"]
    assert counts["found by verify --full"]
    (tmp_path / "figures.txt").write_text(str(dict(counts)))  # for indexes/README.md


def test_verify_says_where_the_damage_is_and_what_it_did_not_look_at(broken):
    with contextlib.closing(sqlite3.connect(broken / CATALOG)) as conn:
        conn.execute("UPDATE items SET camera = 'Nikon' WHERE row = 5")
        conn.commit()
    quick, full = verify(broken), verify(broken, full=True)
    assert quick.ok
    assert "without --full, the content of items, captions, tags" in quick.notes[0]
    (problem,) = full.problems
    assert "the table items is not as it was written between the rows 0 and 1023" in problem
    assert "Restore the index from a backup" in problem
    assert full.notes != quick.notes


def test_every_bit_of_the_header_of_an_array_counts(broken):
    path = next(p for p in (broken / "vectors").glob("image-*.npy") if ".rows" not in p.name)
    for bit in range(3, 128 * 8, 7):
        flip(path, bit)
        with pytest.raises(IndexCorruptError, match="header was altered"):
            Index.open(broken)
        flip(path, bit)
    Index.open(broken).close()


def test_an_altered_ann_file_never_reaches_faiss(broken):
    (path,) = (broken / "ann").glob("image-*.faiss")
    for bit in range(0, 1200 * 8, 487):
        flip(path, bit)
        with Index.open(broken, FakeEncoder(), exact_elements=DIM) as index:
            assert not index.search("x", k=1).approximate
            assert "its content was altered" in index.info()["notes"][0]
        flip(path, bit)


@pytest.mark.parametrize("bit", [0, 1, 2, 3, 30])
def test_a_flipped_bit_of_the_format_version_is_no_other_version(broken, bit):
    """A catalog that says 4 would be migrated, and lose what a migration writes again."""
    with contextlib.closing(sqlite3.connect(broken / CATALOG)) as conn:
        conn.execute(f"PRAGMA user_version = {5 ^ (1 << bit)}")
    with pytest.raises(IndexCorruptError, match="format version"):
        Index.open(broken)
    assert not verify(broken).ok


@pytest.mark.parametrize("how", ["gone", "cut", "altered"])
def test_commits_that_the_log_has_lost_are_missed(broken, how):
    log = broken / f"{CATALOG}-wal"
    if how == "gone":
        log.unlink()
    elif how == "cut":
        os.truncate(log, 40)
    else:
        flip(log, 100)
    (problem,) = verify(broken).problems
    assert "the end of catalog.sqlite-wal is damaged or was left behind" in problem
    with Index.open(broken) as index:
        index.remove([1])
    assert verify(broken, full=True).ok


def test_a_keyword_index_that_does_not_fit_the_captions_is_found(broken):
    with contextlib.closing(sqlite3.connect(broken / CATALOG)) as conn:
        conn.execute("INSERT INTO words (words, rowid, caption) VALUES ('delete', 1, 'a dog')")
        conn.execute("INSERT INTO words (rowid, caption) VALUES (1, 'a cat')")
        conn.commit()
    assert "the keyword index does not fit the captions" in " ".join(
        verify(broken, full=True).problems
    )


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE items SET extra = '{' WHERE row = 5", "the table items"),
        ("UPDATE items SET key = CAST(x'ff' AS TEXT) WHERE row = 5", "not decode"),
        ("UPDATE extra_fields SET type = 'text' WHERE name = 'n'", "the table extra_fields"),
        ("UPDATE meta SET value = 2 WHERE key = 'next_row'", "the table meta"),
        ("UPDATE models SET dim = 9223372036854775807", "the table models"),
        ("UPDATE segments SET count = count * 1000000000", "the table segments"),
        ("UPDATE backgrounds SET json = '[' || json", "the table backgrounds"),
        ("UPDATE ann SET parameters = 'x'", "the table ann"),
    ],
)
def test_what_cannot_have_been_written_is_damage_and_no_traceback(broken, statement, what):
    with contextlib.closing(sqlite3.connect(broken / CATALOG)) as conn:
        conn.execute(statement)
        conn.commit()
    with pytest.raises(IndexCorruptError, match=what):
        answers(broken)
    assert not verify(broken, full=True).ok


def test_digests_keep_up_with_every_kind_of_change(tmp_path):
    make(tmp_path / "index")
    with Index.open(tmp_path / "index", FakeEncoder()) as index:
        with index.writer() as writer:
            for row in (10, 11, 12):
                writer.touch(row, key=f"/moved/{row}.jpg", facts={"latitude": 1, "longitude": -0.0})
            put(writer, FakeEncoder(), "010")  # replaces none: its key was moved
            put(writer, FakeEncoder(), "020")
            writer.set_keywords(20, ["a", "b", "a"])
            writer.set_tags([1, 1, 2], ["x", "x", "y"], [0.5, 1, None], name="new")
            with pytest.raises(InvalidInputError):
                writer.touch(13, facts={"width": "wide"})
            writer.change(lambda conn: thumbprints.remember(conn, {"sha-001": b"1" * 144}))
        index.compact()
        index.forget_models()
    with contextlib.closing(sqlite3.connect(tmp_path / "index" / CATALOG)) as conn:
        assert list(digests.altered(conn)) == []
        kept = {name for (name,) in conn.execute("SELECT DISTINCT name FROM digests")}
        query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'words*'"
        tables = {name for (name,) in conn.execute(query)}
        assert {"items", "tags", "thumbprints", "skipped_files", "sqlite_schema"} <= kept
        assert kept - {"sqlite_schema"} <= tables


# --- what is no damage ----------------------------------------------------------------------------


def test_errors_of_sqlite_are_told_apart_by_their_codes(broken):
    with contextlib.closing(sqlite3.connect(broken / CATALOG)) as conn:
        for code, error in {
            sqlite3.SQLITE_ERROR: InvalidInputError,
            sqlite3.SQLITE_TOOBIG: InvalidInputError,
            sqlite3.SQLITE_FULL: StorageError,
            sqlite3.SQLITE_READONLY: StorageError,
            sqlite3.SQLITE_CANTOPEN: StorageError,
            sqlite3.SQLITE_IOERR: StorageError,
            sqlite3.SQLITE_CORRUPT: IndexCorruptError,
            sqlite3.SQLITE_CORRUPT | 1 << 8: IndexCorruptError,
            sqlite3.SQLITE_NOTADB: IndexCorruptError,
        }.items():
            raised = sqlite3.OperationalError("no")
            raised.sqlite_errorcode = code
            with pytest.raises(error), translated(broken / CATALOG, conn):
                raise raised
        with pytest.raises(KeyError), translated(broken / CATALOG, conn):
            raise KeyError("a mistake of ours")


@pytest.mark.parametrize(
    "where",
    [
        "n" + " and n" * 0 + ".a" * 70 + " = 1",
        "n" + ".a" * 300 + " = 1",
        "(n in (1) and " * 60 + "n = 1" + ")" * 60,
        "(not (" * 45 + "n = 1" + "))" * 45,
        "shop = 'half \ud800'",
        "shop like '%\ud800%'",
        "width > " + "9" * 5000,
        "width in (" + ", ".join(map(str, range(100_000))) + ")",
    ],
)
def test_a_filter_that_is_too_much_is_refused_in_one_line(whole, tmp_path, where):
    shutil.copytree(whole, tmp_path / "index")
    with (
        Index.open(tmp_path / "index") as index,
        pytest.raises(InvalidInputError, match=r"^[^\n]+$"),
    ):
        index.search(np.ones(DIM), where=where)


# --- paths ----------------------------------------------------------------------------------------


def long_path(root: Path, size: int) -> Path:
    """A folder whose path has so many bytes."""
    path = str(root)
    while len(path) < size - 201:
        path += "/" + "d" * 200
    return Path(path + "/" + "e" * (size - len(path) - 1))


@pytest.mark.parametrize("size", [471, 500, 1000, 4090, 6000])
def test_a_path_that_sqlite_cannot_open_is_refused_before_anything_is_made(tmp_path, size):
    path = long_path(tmp_path, size)
    with pytest.raises(InvalidInputError, match=r"bytes, and SQLite opens|too long"):
        Index.create(path, FakeEncoder())
    assert list(tmp_path.iterdir()) == []


def test_the_longest_path_works_and_a_longer_one_loses_nothing(tmp_path):
    path = long_path(tmp_path, 470)
    with Index.create(path, FakeEncoder()) as index:
        fill(index, FakeEncoder(), 20)
    moved = path.with_name(path.name + "x" * 30)
    path.rename(moved)
    with pytest.raises(InvalidInputError, match="has 500 bytes, and SQLite opens an index there"):
        Index.open(moved)
    moved.rename(path)
    assert verify(path, full=True).ok


@pytest.mark.parametrize(
    "name",
    ["a?mode=ro", "a#b", "a%00%41", "a\nb", os.fsdecode(b"a\xe9"), " a ", "file:a", "n" * 255],
    ids=ascii,
)
def test_any_name_works(tmp_path, name):
    with Index.create(tmp_path / name, FakeEncoder()) as index:
        fill(index, FakeEncoder(), 60, captions=True)
        index.build_ann(force=True)
    assert os.listdir(tmp_path) == [name]
    with Index.open(tmp_path / name, FakeEncoder(), exact_elements=DIM) as index:
        assert index.search("x", k=1).approximate
        (tmp_path / "out" / name).mkdir(parents=True)
        assert index.export(tmp_path / "out" / name / "x.faiss", "faiss") == 60
        report = index.verify(full=True)
        assert report.ok, report.problems


@pytest.mark.parametrize("name", ["n" * 256, "a\0b", "half \ud800"])
def test_a_name_that_the_system_does_not_have_is_refused(tmp_path, name):
    for attempt in (
        lambda: Index.create(tmp_path / name, FakeEncoder()),
        lambda: Index.open(tmp_path / name),
    ):
        with pytest.raises(InvalidInputError, match="cannot be the folder of an index"):
            attempt()
    assert list(tmp_path.iterdir()) == []
