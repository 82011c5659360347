"""Searches during many commits: no error, and every answer is one committed state.

A writer adds, updates and removes so that each state can be told from its generation alone: state
g holds the items that `expected(g)` says, and nothing else.
"""

import json
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from clipsearch.errors import IndexMigratedError, IndexNotFoundError
from clipsearch.index import Index
from tests.fakes import DIM, FakeEncoder, record

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 12  # a state holds this many items, of which each commit replaces one


def state(generation: int) -> set[tuple[int, int]]:
    """(width, height) of the items after a number of commits: slot and version."""
    return {
        (slot, (generation - 1 - slot) // WIDTH) for slot in range(WIDTH) if generation - 1 >= slot
    }


def advance(index: Index, commits: int, *, compact_every: int = 40) -> None:
    """Make commits, each of which adds or replaces one item."""
    encoder = FakeEncoder()
    made = 0
    while made < commits:
        with index.writer(wait=True) as writer:
            for _ in range(min(compact_every, commits - made)):
                # compaction commits too, so count on from what there is
                at = index.get_meta("at") or 0
                slot, version = at % WIDTH, at // WIDTH
                writer.put(
                    record(f"{slot}", width=slot, height=version),
                    image=encoder.vector(f"{slot} {version}"),
                )
                writer.set_meta("at", at + 1)
                writer.commit()
                made += 1
        index.compact()


def look(index: Index, query: np.ndarray) -> None:
    """Search everything and hold it against the states there can be."""
    hits = index.search(query, k=100)
    found = one_state(hits, WIDTH)
    encoder = FakeEncoder()
    for hit in hits:
        content = f"{hit.item.width} {hit.item.height}"
        exact = float(encoder.vector(content).astype(np.float16).astype(np.float32) @ query)
        assert abs(hit.score - exact) < 1e-5, "the score of another version"
    few = index.search(query, k=100, where="width < 4")
    assert few.generation >= hits.generation
    assert few.generation > hits.generation or one_state(few, 4) <= found
    one_state(few, 4)


def one_state(hits, slots: int) -> set[tuple[int, int]]:
    """The items of an answer, which are those of one state in so many slots."""
    found = {(hit.item.width, hit.item.height) for hit in hits}
    assert len(found) == len(hits), "an item came twice"
    newest = max((v * WIDTH + s + 1 for s, v in found), default=0)
    expected = {(slot, version) for slot, version in state(newest) if slot < slots}
    assert found == expected, f"a mixture: {sorted(found)}"
    return found


READER = """
    import os, sys, time
    import numpy as np
    from clipsearch.index import Index
    from tests.fakes import DIM
    from tests.test_index_readers import look
    index = Index.open(sys.argv[1])
    query = np.ones(DIM, np.float32) / DIM ** 0.5
    print("ready", flush=True)
    looks, last = 0, 0
    while not looks or not os.path.exists(sys.argv[2]):
        look(index, query)
        generation = index.search(query).generation
        assert generation >= last
        last, looks = generation, looks + 1
        time.sleep(0.03)
    print(looks)
"""


def search_during_commits(tmp_path: Path, commits: int, threads: int, processes: int) -> None:
    index = Index.create(tmp_path / "index", FakeEncoder())
    stop_file = tmp_path / "stop"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(READER), index.path, stop_file],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for child in children:
        child.stdout.readline()
    query = np.ones(DIM, np.float32) / DIM**0.5
    errors: list[BaseException] = []
    looks = [0] * threads
    stop = threading.Event()

    def read(which: int) -> None:
        try:
            last = 0
            while not stop.is_set():
                look(index, query)
                generation = index.search(query).generation
                assert generation >= last
                last = generation
                looks[which] += 1
                time.sleep(0.01 * threads)  # leaves the writer its turn
        except BaseException as exc:
            errors.append(exc)

    readers = [threading.Thread(target=read, args=(i,)) for i in range(threads)]
    for reader in readers:
        reader.start()
    try:
        advance(index, commits)
        while not errors and min(looks, default=1) == 0:  # on a busy machine
            time.sleep(0.01)
    finally:
        stop.set()
        stop_file.touch()
        for reader in readers:
            reader.join()
        outcomes = [child.communicate(timeout=60) for child in children]
    assert not errors, errors[0]
    assert all(child.returncode == 0 for child in children), outcomes
    assert min(looks, default=1) > 0
    assert all(int(out) > 0 for out, _ in outcomes)
    assert index.get_meta("at") == commits
    look(index, query)
    report = index.verify(full=True)
    assert report.ok, report.problems
    index.close()


def test_searches_during_commits(tmp_path):
    search_during_commits(tmp_path, commits=60, threads=4, processes=1)


@pytest.mark.slow
def test_eight_threads_and_two_processes_search_during_a_thousand_commits(tmp_path):
    search_during_commits(tmp_path, commits=1000, threads=8, processes=2)


def test_an_answer_stays_of_one_state_while_it_is_made(tmp_path):
    """A state that is being read outlives the deletion of its files."""
    encoder = FakeEncoder()
    with Index.create(tmp_path / "index", encoder) as index:
        advance(index, 30)
        batches = index.iter_vectors(batch=2)
        first = next(batches)
        with index.writer() as writer:
            writer.remove([item.id for item in index.items()])
        index.compact()
        assert len(index) == 0
        assert len(first[0]) + sum(len(rows) for rows, _ in batches) == WIDTH


def test_indexes_can_be_used_after_a_fork(tmp_path):
    code = """
        import json, os, sys
        import numpy as np
        from clipsearch.index import Index
        index = Index.open(sys.argv[1])
        query = np.ones(16, np.float32)
        ids = [h.item.id for h in index.search(query)]
        pid = os.fork()
        again = [h.item.id for h in index.search(query)]
        index.close()
        if pid == 0:
            os._exit(0 if again == ids else 1)
        print(json.dumps([again == ids, os.waitpid(pid, 0)[1]]))
    """
    with Index.create(tmp_path / "index", FakeEncoder()) as index:
        advance(index, 20)
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), index.path],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert json.loads(done.stdout) == [True, 0]


def test_an_index_that_is_gone_or_another_one_is_not_answered_for(tmp_path):
    encoder = FakeEncoder()

    def make(items):
        with Index.create(tmp_path / "index", encoder) as made, made.writer() as writer:
            for number in range(items):
                writer.put(record(f"{number}"), image=encoder.vector(f"{number}"))

    make(3)
    with Index.open(tmp_path / "index", encoder) as opened:
        assert len(opened.search("a dog")) == 3
        shutil.move(tmp_path / "index", tmp_path / "moved")
        for ask in (lambda: opened.search("a dog"), lambda: len(opened), lambda: opened.remove(1)):
            with pytest.raises(IndexNotFoundError, match="index is gone"):
                ask()
        make(5)
        for ask in (lambda: opened.search("a dog"), lambda: len(opened), lambda: opened.remove(1)):
            with pytest.raises(
                IndexMigratedError, match="index was replaced after it was opened; reopen it"
            ):
                ask()
    with Index.open(tmp_path / "index", encoder) as opened:
        assert len(opened.search("a dog")) == 5
