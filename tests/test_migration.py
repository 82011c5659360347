"""Bringing an index over to another model: equal to a fresh one, never lost, never half."""

from __future__ import annotations

import io
import json
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clipsearch import Index
from clipsearch.engine import vectorsets
from clipsearch.errors import IndexLockedError, IndexMigratedError, InvalidInputError
from clipsearch.images import load_image
from clipsearch.intake.pairs import Pair
from tests.fakes import FakeEncoder, put, record

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ["bus", "camera", "chelsea", "coffee", "coins", "horse", "moon", "page", "rocket", "text"]
CLOSE = 3e-3  # float16, and images that were encoded in other company


@pytest.fixture
def folder(photos, tmp_path) -> Path:
    """Photos: some with captions, two with the same bytes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for photo in photos:
        if photo.stem in PHOTOS:
            shutil.copy(photo, folder)
    (folder / "chelsea.txt").write_text("a cat that lies on a blanket")
    (folder / "rocket.txt").write_text("a rocket before its launch")
    shutil.copy(folder / "coffee.png", folder / "same coffee.png")
    return folder


@pytest.fixture
def index(folder, encoder, tmp_path):
    with Index.create(tmp_path / "indexes" / "photos", encoder) as index:
        index.add(folder)
        index.remove([next(i.id for i in index.items() if i.path.endswith("moon.png"))])
        index.set_tags([index.items()[0].id], ["first"])
        yield index


def images(index) -> dict[str, np.ndarray]:
    """Image vectors by path."""
    items = [item for item in index.items(limit=10_000) if item.has_image]
    vectors = index.vectors([item.id for item in items], "image")
    return {item.key: vector for item, vector in zip(items, vectors, strict=True)}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray], tolerance=CLOSE) -> None:
    assert one.keys() == other.keys()
    for key, vector in one.items():
        np.testing.assert_allclose(vector, other[key], atol=tolerance)


def sound(index) -> None:
    found = index.verify(full=True)
    assert found.ok, found.problems


def test_migrated_is_as_made_with_the_new_model(index, folder, other_encoder, tmp_path):
    before, had = index.items(), images(index)
    report = index.migrate(other_encoder)
    assert (report.switched, report.missing) == (True, ())
    assert report.encoded == report.vectors == len(before) + 2  # two captions
    assert index.items() == before  # ids, captions, tags, metadata
    assert index.dim == other_encoder.dim != len(next(iter(had.values())))
    sound(index)
    (folder / "moon.png").unlink()
    with Index.create(tmp_path / "fresh", other_encoder) as fresh:
        fresh.add(folder)
        same(images(index), images(fresh))
        for query, target in (("a cat", "image"), ("a launch", "caption")):
            found = {hit.item.key: hit for hit in index.search(query, k=99, target=target)}
            expected = {hit.item.key: hit for hit in fresh.search(query, k=99, target=target)}
            assert found.keys() == expected.keys()
            for key, hit in found.items():
                assert hit.score == pytest.approx(expected[key].score, abs=CLOSE)
                assert hit.percentile is not None  # the score distribution is the new model's
    assert index.search("a cat", min_score="auto") is not None
    with Index.open(index.path, other_encoder) as again:
        assert again.add(folder).unchanged == len(before)


def test_there_and_back(index, folder, encoder, other_encoder):
    had = images(index)
    index.migrate(other_encoder)
    had_other = images(index)
    assert [kept.name for kept in index.kept_models()] == ["clipsearch-mini"]
    assert index.info()["kept_models"][0]["fingerprint"] == encoder.fingerprint
    load_image(folder / "coffee.png").rotate(90).save(folder / "new.png")
    assert index.add(folder).indexed == 2  # moon.png, too
    index.remove([next(i.id for i in index.items() if i.path.endswith("page.png"))])
    back = index.migrate(encoder)
    assert (back.switched, back.encoded) == (True, 2)  # nothing but what was added since
    now = images(index)
    added = {str(folder / "new.png"), str(folder / "moon.png")}
    assert now.keys() == (had.keys() | added) - {str(folder / "page.png")}
    same({k: now[k] for k in now.keys() - added}, {k: had[k] for k in now.keys() - added}, 0)
    assert index.search("a cat", k=1)[0].item.path == str(folder / "chelsea.png")
    sound(index)
    again = index.migrate(other_encoder)
    assert again.encoded == 0
    assert images(index).keys() == now.keys()
    kept = had_other.keys() & now.keys()
    same({k: images(index)[k] for k in kept}, {k: had_other[k] for k in kept}, 0)
    sound(index)
    files = len(list((index.path / "vectors").iterdir()))
    assert [kept.name for kept in index.forget_models()] == ["clipsearch-mini"]
    assert index.kept_models() == []
    assert len(list((index.path / "vectors").iterdir())) == 2 * index.info()["segments"] < files
    sound(index)
    with pytest.raises(InvalidInputError, match="already"):
        index.migrate(other_encoder)


def test_missing_sources_are_named_and_keep_the_old_model(index, folder, encoder, other_encoder):
    had = images(index)
    (folder / "rocket.jpg").unlink()
    (folder / "coffee.png").unlink()  # its bytes are in `same coffee.png` too
    load_image(folder / "text.png").rotate(90).save(folder / "text.png")
    report = index.migrate(other_encoder)
    assert not report.switched
    missing = {Path(outcome.key).name: outcome.reason for outcome in report.missing}
    assert missing.keys() == {"rocket.jpg", "text.png"}
    assert "gone" in missing["rocket.jpg"]
    assert "changed since" in missing["text.png"]
    assert index.model_name == encoder.name
    same(images(index), had, 0)
    sound(index)
    items = len(index)
    assert index.search("a cat", k=1)[0].item.path == str(folder / "chelsea.png")
    dropped = index.migrate(other_encoder, drop_missing=True)
    assert (dropped.switched, dropped.dropped, dropped.encoded) == (True, 2, 0)
    assert {Path(outcome.key).name for outcome in dropped.missing} == missing.keys()
    assert len(index) == items - 2
    sound(index)


@pytest.mark.slow
def test_a_file_that_came_back_is_embedded_in_its_place(index, folder, other_encoder, tmp_path):
    """Its row lies between rows whose vectors are stored already."""
    shutil.move(folder / "coins.png", tmp_path / "coins.png")
    assert [Path(o.key).name for o in index.migrate(other_encoder).missing] == ["coins.png"]
    shutil.move(tmp_path / "coins.png", folder / "coins.png")
    report = index.migrate(other_encoder)
    assert (report.switched, report.encoded) == (True, 1)
    sound(index)
    expected = other_encoder.encode_images([folder / "coins.png"])[0]
    np.testing.assert_allclose(images(index)[str(folder / "coins.png")], expected, atol=CLOSE)


def test_others_write_and_search_meanwhile(index, folder, encoder, other_encoder):
    done = []

    def meanwhile(progress) -> None:
        if done:
            return
        done.append(progress)
        with Index.open(index.path, encoder) as user:
            load_image(folder / "camera.png").rotate(90).save(folder / "added.png")
            assert user.add(folder).indexed == 2  # with moon.png, which was removed
            user.remove([next(i.id for i in user.items() if i.path.endswith("bus.png"))])
            assert user.search("a cat", k=1)[0].item.path == str(folder / "chelsea.png")
            with pytest.raises(IndexLockedError, match="migrating"):
                user.migrate(other_encoder)

    with Index.open(index.path, encoder) as bystander:
        assert index.migrate(other_encoder, progress=meanwhile, batch_size=3).switched
        assert done
        for use in (lambda: bystander.search("a cat"), bystander.writer):
            with pytest.raises(IndexMigratedError, match=r"was migrated to .*reopen it"):
                use()
    paths = {Path(item.path).name for item in index.items()}
    assert {"added.png", "moon.png"} <= paths
    assert "bus.png" not in paths
    assert images(index).keys() == {item.path for item in index.items()}
    sound(index)


@pytest.mark.slow
def test_images_within_shards_and_tables(encoder, other_encoder, photos, tmp_path):
    shard, table = tmp_path / "pairs.tar", tmp_path / "pairs.parquet"
    with tarfile.open(shard, "w") as archive:
        for number, photo in enumerate(photos[:4]):
            for suffix, data in ((photo.suffix, photo.read_bytes()), (".txt", b"a photo")):
                member = tarfile.TarInfo(f"{number:03}{suffix}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    columns = {"image": [p.read_bytes() for p in photos[4:7]], "caption": ["one", "two", "three"]}
    pd.DataFrame(columns).to_parquet(table)
    with Index.create(tmp_path / "index", encoder) as index:
        index.add(shard)
        index.add(table)
        index.add([Pair(key="words", caption="a caption alone")])
        with index.writer() as writer:  # as imported embeddings are
            vector = np.ones(encoder.dim)
            writer.put(record("x", key="import#1", path=None), image=vector)
        index.add_images([np.zeros((8, 8, 3), np.uint8)], ids=["a"])
        report = index.migrate(other_encoder)
        assert [(o.key, o.reason) for o in report.missing] == [
            ("import#1", "there is no file that its image could be read from"),
            ("table#a", "its image was in memory alone; add it again"),
        ]
        assert index.migrate(other_encoder, drop_missing=True).switched
        expected = other_encoder.encode_images(photos[:7])
        np.testing.assert_allclose(np.stack(list(images(index).values())), expected, atol=CLOSE)
        assert index.search("a caption alone", target="caption", k=1)[0].item.key == "words"
        sound(index)


CHILD = """
    import sys
    from clipsearch import Index, load_encoder, migration
    migration._PART_ROWS = 1
    def tell(progress):
        print(progress.seen, flush=True)
        if progress.seen >= 6:
            sys.stdin.read()  # until it is killed
    encoder = load_encoder("clipsearch-mini", device="cpu", precision="fp32")
    with Index.open(sys.argv[1], encoder) as index:
        index.migrate(load_encoder(sys.argv[2], device="cpu"), progress=tell, batch_size=2)
"""


# Killed when the switch is committed.
KILLED = """
    import os, signal
    from clipsearch.cli.app import main
    from clipsearch.index import Index
    Index.build_ann = lambda self, **options: os.kill(os.getpid(), signal.SIGKILL)
    main()
"""


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_an_interrupted_migration_goes_on(index, folder, encoder, other, other_encoder, how):
    had = images(index)
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), index.path, other],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while (line := child.stdout.readline()) and int(line) < 6:
        pass
    assert line, child.stderr.read()
    assert index.search("a cat", k=1)[0].item.path == str(folder / "chelsea.png")
    load_image(folder / "camera.png").rotate(90).save(folder / "added.png")
    assert index.add(folder).indexed == 2  # while the other process migrates
    child.send_signal(how)
    child.communicate()
    assert child.returncode
    assert index.model_name == encoder.name
    same({key: images(index)[key] for key in had}, had, 0)
    sound(index)
    report = index.migrate(other_encoder)
    assert report.switched
    assert 0 < report.encoded <= report.vectors - 4  # the last batch was on its way
    same(images(index), {i.path: other_encoder.encode_images([i.path])[0] for i in index.items()})
    sound(index)


def test_commands(cli, folder, other):
    cli("index", folder, "-i", "photos")
    refused = cli("index", folder, "-i", "photos", "-m", other, expect=1).stderr
    assert f"clipsearch migrate -i photos -m {other}" in refused
    assert len(refused.splitlines()) == 1
    for arguments, says in (
        ([], "give exactly one of -m MODEL, --back and --forget-old"),
        (["-m", other, "--back"], "give exactly one of"),
        (["--back"], "keeps no vectors of a previous model"),
    ):
        told = cli("migrate", "-i", "photos", *arguments, expect=1).stderr
        assert says in told
        assert len(told.splitlines()) == 1
    told = cli("migrate", "-i", "photos", "-m", "clipsearch-mini").stderr
    assert told == "photos uses clipsearch-mini already; there is nothing to migrate\n"
    photo = (folder / "rocket.jpg").read_bytes()
    (folder / "rocket.jpg").unlink()
    report = folder.parent / "missing.jsonl"
    told = cli("migrate", "-i", "photos", "-m", other, "--report", report, expect=1).stderr
    assert "missing photos" not in told
    assert "rocket.jpg: the file is gone" in told
    assert "error: 1 items cannot be encoded, so photos still uses clipsearch-mini" in told
    assert [json.loads(line)["key"] for line in report.read_text().splitlines()] == [
        str(folder / "rocket.jpg")
    ]
    (folder / "rocket.jpg").write_bytes(photo)
    assert f"photos now uses {other}" in cli("migrate", "-i", "photos", "-m", other).stderr
    assert json.loads(cli("info", "-f", "json").stdout)["model"]["name"] == other
    assert "kept model" in cli("info").stdout
    assert "unchanged" in cli("index", folder, "-i", "photos", "-m", other).stderr
    cli("verify", "--full")
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), "migrate", "-i", "photos", "--back"],
        stderr=subprocess.PIPE,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    for _ in range(2):
        told = cli("migrate", "-i", "photos", "--back").stderr
        assert f"photos uses clipsearch-mini already: it was switched back from {other}" in told
    assert f"now uses {other}" in cli("migrate", "-i", "photos", "-m", other).stderr
    assert "now uses clipsearch-mini" in cli("migrate", "-i", "photos", "--back").stderr
    found = cli("search", "a cat", "-k", 1, "-f", "paths").stdout
    assert found == f"{folder / 'chelsea.png'}\n"
    assert other in cli("migrate", "--forget-old").stderr
    assert "no vectors of previous models" in cli("migrate", "--forget-old").stderr
    cli("verify", "--full")


# --- the engine alone, with made-up vectors ------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_pieces_in_any_order_become_the_index(tmp_path, seed, monkeypatch):
    monkeypatch.setattr(vectorsets, "_MOST_SMALL", 3)
    rng = random.Random(seed)
    old, new = FakeEncoder("old"), FakeEncoder("new", dim=24)
    with Index.create(tmp_path / "index", old) as index:
        with index.writer() as writer:
            rows = [put(writer, old, f"{n:03}", caption=str(n)) for n in range(60)]
        names = {row: index.item(row).key for row in rows}
        alive = set(rows)
        pieces = rows.copy()
        rng.shuffle(pieces)
        for start in range(0, 60, 7):
            part = np.array(pieces[start : start + 7])
            with index.writer() as writer:
                writer.change(lambda conn: vectorsets.register(conn, new))
                for modality in ("image", "caption"):
                    vectors = np.stack([new.vector(f"{modality} {names[r]}") for r in part])
                    args = (index.path, new.fingerprint, modality, part, vectors)
                    writer.change(lambda conn, args=args: vectorsets.store(conn, *args))
            gone = rng.sample(sorted(alive), 2)
            index.remove(gone)
            alive -= set(gone)
        with index.writer() as writer:
            writer.change(lambda conn: vectorsets.switch(conn, index.path, new.fingerprint, []))
        with Index.open(index.path, new) as switched:
            for modality in ("image", "caption"):
                found = {
                    row: vector
                    for some, vectors in switched.iter_vectors(modality)
                    for row, vector in zip(some.tolist(), vectors, strict=True)
                }
                assert found.keys() == alive
                for row, vector in found.items():
                    np.testing.assert_allclose(
                        vector, new.vector(f"{modality} {names[row]}"), atol=2e-3
                    )
            sound(switched)


def test_a_switch_that_would_lose_items_is_refused(tmp_path):
    old, new = FakeEncoder("old"), FakeEncoder("new")
    with Index.create(tmp_path / "index", old) as index:
        with index.writer() as writer:
            put(writer, old, "a")
        with index.writer() as writer:
            writer.change(lambda conn: vectorsets.register(conn, new))
            with pytest.raises(InvalidInputError, match="lacks image vectors"):
                writer.change(lambda conn: vectorsets.switch(conn, index.path, new.fingerprint, []))
        assert index.search("x", k=1)[0].item.key == "/photos/a.jpg"
        sound(index)


def test_the_model_used_last_is_the_one_left_last_whatever_the_clock_says(tmp_path):
    models = [FakeEncoder(name) for name in ("one", "two", "three", "four")]
    with Index.create(tmp_path / "index", models[0]) as index:
        index.migrate(models[1])
        with index.writer() as writer:  # then the clock was set back by years
            later = "UPDATE models SET left_at = '2999-01-01T00:00:00+00:00' WHERE name = 'one'"
            writer.change(lambda conn: conn.execute(later))
        index.migrate(models[2])
        index.migrate(models[3])
        assert [kept.name for kept in index.kept_models()] == ["three", "two", "one"]


def test_the_page_goes_on_with_the_new_model(index, encoder, other_encoder):
    from clipsearch.ui.library import Library

    models = {one.name: one for one in (encoder, other_encoder)}
    library, name = Library([str(index.path)], load=models.__getitem__), index.path.name
    before = library.index(name)
    assert before is library.index(name)
    assert len(before.search("a cat", k=3)) == 3
    index.migrate(other_encoder)
    now = library.index(name)
    found, expected = now.search("a cat", k=3), index.search("a cat", k=3)
    assert [hit.item.id for hit in found] == [hit.item.id for hit in expected]
    assert library.model() == other_encoder.name
    before.close()
    now.close()


SWITCHER = """
    import itertools, random, sys
    from clipsearch import migration
    from clipsearch.index import Index
    from clipsearch.intake.pairs import Pair
    from tests.fakes import FakeEncoder
    migration._CHUNK = migration._PART_ROWS = 16
    print("ready", flush=True)
    for step in itertools.count(int(sys.argv[2])):
        with Index.open(sys.argv[1]) as index:
            name = "one" if index.model_name == "two" else "two"
            index.migrate(FakeEncoder(name, dim=len(name) + 20))
            print(step, flush=True)
            if step % 3 == 2:
                index.forget_models()
"""


def test_killed_at_random_moments_there_is_one_model_or_the_other(tmp_path):
    """Captions alone, so that the model costs no time and most kills hit a commit.

    The child is killed so many steps on, not so much time: a slow machine gets as far.
    """
    encoders = {name: FakeEncoder(name, dim=len(name) + 20) for name in ("one", "two")}
    path = tmp_path / "index"
    with Index.create(path, encoders["one"]) as index, index.writer() as writer:
        for n in range(100):
            put(writer, encoders["one"], f"{n}", caption=f"caption {n}", image=False)
    steps, used = 0, set()
    for seed in range(40):
        if seed >= 8 and len(used) == 2:
            break
        rng = random.Random(seed)
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SWITCHER), path, str(seed)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stdout.readline() == "ready\n"
        for step in range(seed % 4):
            assert child.stdout.readline() == f"{seed + step}\n"
            steps += 1
        time.sleep(0.1 * rng.random())
        child.kill()
        _, err = child.communicate()
        assert child.returncode == -signal.SIGKILL, err
        with Index.open(path) as index:
            encoder = encoders[index.model_name]
            used.add(encoder.name)
            for rows, vectors in index.iter_vectors("caption"):
                for row, vector in zip(rows.tolist(), vectors, strict=True):
                    expected = encoder.vector(f"text {index.item(row).caption}")
                    np.testing.assert_allclose(vector, expected, atol=2e-3)
            assert len(index) == 100
            sound(index)
    assert steps
    assert used == {"one", "two"}
