"""Kill -9 at random moments: the index is the old one or the new one, never a mixture.

A child changes an index and writes a line to a journal before and after each commit, so the parent
knows which states the index may be in when the child is killed.
"""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from clipsearch.index import Index
from tests.fakes import DIM, FakeEncoder, fill

ROOT = Path(__file__).resolve().parents[1]
EXACT = 50 * DIM  # so that there is an ANN file to build
WORKS = ("add", "recaption", "remove", "compact", "rebuild", "everything")
SEED = 20260101

# Forks a child for each crash, which spares the child the time to import everything.
NURSERY = """
    import json, os, random, sys
    from clipsearch.engine import ann_builder, compaction, curation, verify
    from clipsearch.index import Index
    from tests.fakes import FakeEncoder, put, record

    compaction.MAX_SEGMENT_ROWS = 100
    path, journal = sys.argv[1], sys.argv[2]

    def work(what, seed):
        rng = random.Random(seed)
        encoder = FakeEncoder()
        index = Index.open(path, encoder, exact_elements=50 * encoder.dim)
        names = {item.key[8:-4]: item.id for item in index.items(limit=100_000)}
        out = open(journal, "a")

        def note(**line):
            out.write(json.dumps(line) + "\\n")
            out.flush()

        def add():
            with index.writer(wait=True) as writer:
                fresh = {}
                for _ in range(rng.randint(1, 20)):
                    name = f"{rng.randrange(400):05}"  # some are new, some updates
                    version = str(rng.random())
                    fresh[name] = writer.put(
                        record(name, caption=version),
                        image=encoder.vector(version), caption=encoder.vector(f"text {version}"),
                    )
                names.update(fresh)
                note(want=sorted(names.values()))
                writer.commit()
            note(have=sorted(names.values()))

        def recaption():
            chosen = rng.sample(sorted(names), rng.randint(1, 20))
            with index.writer(wait=True) as writer:
                for name in chosen:
                    known = writer.lookup([record(name).key])[record(name).key]
                    text = known.caption.partition("#")[0] + f"#{rng.random()}"
                    writer.recaption(known.row, text, encoder.vector(f"text {text}"))
                note(want=sorted(names.values()))
                writer.commit()
            note(have=sorted(names.values()))

        def remove():
            gone = rng.sample(sorted(names), min(len(names), rng.randint(1, 10)))
            rows = [names.pop(name) for name in gone]
            note(want=sorted(names.values()))
            index.remove(rows)
            note(have=sorted(names.values()))

        works = {
            "add": add, "recaption": recaption, "remove": remove, "compact": index.compact,
            "rebuild": lambda: index.build_ann(force=True),
        }
        print("ready", os.getpid(), flush=True)
        for _ in range(100_000):
            step = what if what in works else rng.choice(list(works))
            if step == "remove" and len(names) < 100 or step == "add" and len(names) > 395:
                step = "add" if step == "remove" else "remove"
            if step in ("compact", "rebuild") and what != "everything":
                some = [add, recaption, remove] if len(names) < 350 else [recaption, remove]
                rng.choice(some)()
            works[step]()

    for line in sys.stdin:
        what, seed = line.split()
        pid = os.fork()
        if pid == 0:
            work(what, int(seed))
            os._exit(1)
        print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Nursery:
    """Lets children change an index, and kills them."""

    def __init__(self, path: Path, journal: Path) -> None:
        self._journal = journal
        self._process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(NURSERY), path, journal],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )

    def __enter__(self) -> "Nursery":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def _lines(self) -> int:
        return len(self._journal.read_text().splitlines())

    def crash(self, what: str, seed: int) -> int:
        """Let a child work until it wrote a few lines to the journal, and kill it soon after.

        Returns how many lines it wrote.
        """
        rng = random.Random(seed)
        already = self._lines()
        print(what, seed, file=self._process.stdin, flush=True)
        word, pid = self._process.stdout.readline().split()
        assert word == "ready", "the child failed before it began"
        while self._lines() - already < seed % 6:
            os.kill(int(pid), 0)  # raises when the child is gone
            time.sleep(0.001)
        time.sleep(rng.choice([0.005, 0.02, 0.1]) * rng.random())
        os.kill(int(pid), signal.SIGKILL)
        assert self._process.stdout.readline().split() == ["ended", str(-signal.SIGKILL)]
        return self._lines() - already


def check(path: Path, journal: Path) -> None:
    """The index opens, is one of the states it may be in, and is sound."""
    encoder = FakeEncoder()
    lines = [json.loads(line) for line in journal.read_text().splitlines() if line.endswith("}")]
    allowed = [next(iter(lines[-1].values()))]
    if "want" in lines[-1] and len(lines) > 1:
        allowed.append(next(iter(lines[-2].values())))
    with Index.open(path, encoder, exact_elements=EXACT) as index:
        items = {item.id: item for item in index.items(limit=100_000)}
        assert sorted(items) in allowed
        assert len(index) == len(items)
        assert len({item.key for item in items.values()}) == len(items)
        rows, vectors = [], []
        for some_rows, some_vectors in index.iter_vectors():
            rows.extend(some_rows.tolist())
            vectors.append(some_vectors)
        assert rows == sorted(items)
        for row, vector in zip(rows, np.concatenate(vectors), strict=True):
            if (caption := items[row].caption) is not None:  # whose version is its content
                assert np.allclose(vector, encoder.vector(caption.partition("#")[0]), atol=2e-3)
        rows, vectors = zip(*index.iter_vectors("caption"), strict=True)
        assert np.concatenate(rows).tolist() == sorted(items)
        for row, vector in zip(sorted(items), np.concatenate(vectors), strict=True):
            assert np.allclose(vector, encoder.vector(f"text {items[row].caption}"), atol=2e-3)
        rows = sorted(items)
        for row in rows[:: max(1, len(rows) // 20)]:
            assert index.search(index.vectors([row])[0], k=1, exact=True)[0].item.id == row
        report = index.verify(full=True)
        assert report.ok, report.problems
    journal.write_text(json.dumps({"have": sorted(items)}) + "\n")


def crash_often(tmp_path: Path, times: int) -> None:
    encoder = FakeEncoder()
    path, journal = tmp_path / "index", tmp_path / "journal"
    with Index.create(path, encoder) as index, index.writer() as writer:
        for i in range(200):
            writer.put(
                record_of(i),
                image=encoder.vector(f"v{i}"),
                caption=encoder.vector(f"text v{i}"),
            )
    journal.write_text(json.dumps({"have": list(range(1, 201))}) + "\n")
    steps = 0
    with Nursery(path, journal) as nursery:
        for i in range(times):
            steps += nursery.crash(WORKS[i % len(WORKS)], SEED + i)
            check(path, journal)
    assert steps > times / 4, "the child was killed before it did anything"
    with Index.open(path, encoder, exact_elements=EXACT) as index:
        index.compact()
        fill(index, encoder, 10, first=1000)
        assert index.verify(full=True).ok
        files = {p.name for p in (path / "vectors").iterdir()}
        assert len(files) == 2 * index.info()["segments"], "nothing is left behind"


def record_of(i: int):
    from tests.fakes import record

    return record(f"{i:05}", caption=f"v{i}")


def test_killed_at_random_moments(tmp_path):
    crash_often(tmp_path, 12)


@pytest.mark.slow
def test_killed_at_many_random_moments(tmp_path):
    crash_often(tmp_path, 60)


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(12))
def test_killed_while_an_index_is_created(tmp_path, moment):
    code = """
        import sys
        from clipsearch.index import Index
        from tests.fakes import FakeEncoder
        encoder = FakeEncoder()
        print("ready", flush=True)
        Index.create(sys.argv[1], encoder)
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path / "index"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    child.stdout.readline()
    time.sleep(moment * 0.001)
    child.kill()
    child.communicate()
    with Index.create(tmp_path / "index", FakeEncoder(), exist_ok=True) as index:
        fill(index, FakeEncoder(), 3)
        assert index.verify(full=True).ok
