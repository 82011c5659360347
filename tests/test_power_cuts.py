"""The power fails, or the disk refuses: the index is the old or the new one, and it is said which.

A preloaded shim records what a process does to the files of an index; `powercut/disk.py` makes what
a power cut would leave at some point of the record. The same shim lets a call fail.
"""

import bisect
import ctypes
import errno
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clipsearch.errors import ClipSearchError, IndexNotFoundError
from clipsearch.index import Index
from clipsearch.intake.pairs import Pair
from tests.fakes import DIM, FakeEncoder, fill, put
from tests.powercut.disk import Disk, Record, records

ROOT = Path(__file__).resolve().parents[1]
SEED = 20260101
POINTS = 300
PATHS = {"images": "made/with it/images", "captions": "captions"}
ENCODERS = {encoder.name: encoder for encoder in (FakeEncoder(), FakeEncoder("new", dim=24))}

# A mark says which states there have been: each operation between two of them has one commit that
# its user sees.
WORK = """
    import ctypes, json, sys
    from pathlib import Path
    from clipsearch.engine import compaction
    from clipsearch.index import Index
    from clipsearch.intake.pairs import Pair
    from tests.fakes import FakeEncoder, fill
    from tests.test_power_cuts import PATHS, state

    compaction.MAX_SEGMENT_ROWS = 100
    old, new = FakeEncoder(), FakeEncoder("new", dim=24)
    shim = ctypes.CDLL(None)

    def mark(index):
        name = index.path.name
        shim.shim_mark(json.dumps([name, state(index)]).encode())

    def images(path):
        with Index.create(path, old) as index:
            mark(index)
        with Index.open(path, old, exact_elements=20 * old.dim) as index:
            fill(index, old, 60, captions=True)
            mark(index)
            index.build_ann()
            for first in range(60, 130, 7):
                fill(index, old, 7, first=first, captions=True)
                mark(index)
            with index.writer() as writer:
                for row in range(3, 90, 3):
                    writer.recaption(row, f"new {row}", old.vector(f"text new {row}"))
            mark(index)
            index.remove(range(1, 40))
            mark(index)
            index.set_tags([50, 51], ["dog", "cat"])
            mark(index)
            index.compact()
            mark(index)
            index.build_ann(force=True)
            mark(index)

    def captions(path):
        with Index.create(path, old) as index:
            mark(index)
        with Index.open(path, old) as index:
            for part in range(3):
                index.add([Pair(key=f"{part} {n}", caption=f"{part} {n}") for n in range(30)])
                mark(index)
            index.remove([7])
            mark(index)
            for encoder in (new, old):
                index.migrate(encoder)
                mark(index)
                index.add([Pair(key=encoder.name, caption=encoder.name)])
                mark(index)
            index.forget_models()
            mark(index)

    root = Path(sys.argv[1])
    images(root / PATHS["images"])
    captions(root / PATHS["captions"])
"""


def state(index: Index) -> list:
    """What users can lose, and the model."""
    items = [[item.id, item.key, item.caption, *item.tags] for item in index.items(limit=10_000)]
    return [index.model_name, items]


@pytest.fixture(scope="module")
def shim(tmp_path_factory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler (cc)")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    source = Path(__file__).parent / "powercut" / "shim.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def preloaded(shim: Path, root: Path, code: str, *arguments: object, **variables: str) -> str:
    """Run Python with the shim, which looks at the files below a folder; returns what it prints."""
    variables = {"LD_PRELOAD": str(shim), "SHIM_ROOT": str(root), **variables}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), root, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **variables, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def recorded(shim, tmp_path_factory) -> tuple[Path, list[Record]]:
    """The folder and the record of everything that was done to it."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "root").mkdir()
    preloaded(shim, folder / "root", WORK, SHIM_LOG=str(folder / "log"))
    return folder / "root", list(records(folder / "log"))


@pytest.fixture
def scratch():
    """A folder in memory, where there is one: a sync of what is thrown away costs nothing there."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def test_the_record_is_complete(recorded, scratch):
    """Replayed without a power cut, it gives the same files."""
    root, done = recorded
    disk = Disk(root)
    for record in done:
        disk.apply(record)
    disk.write(scratch / "all", None)

    def files(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and not path.name.endswith("-shm")  # which is mapped, not written
        }

    assert files(scratch / "all") == files(root)
    kinds = Counter(record.kind for record in done)
    assert all(kinds[kind] > 5 for kind in "OWSRUM"), kinds


def cut(recorded, scratch: Path, points: int, syncs=lambda path: True) -> Iterator[str]:
    """Cut the power at some points of a record; yields what is wrong with what is left."""
    root, done = recorded
    dice = random.Random(SEED)
    marks = [(at, *json.loads(r.text)) for at, r in enumerate(done) if r.kind == "M"]
    disk, at = Disk(root, syncs=syncs), 0
    for point in sorted(dice.sample(range(marks[-1][0] + 1), points)):
        for record in done[at:point]:
            disk.apply(record)
        at = point
        disk.write(scratch / str(point), random.Random(SEED + point))
        index = next(name for mark, name, _ in marks if mark >= point)  # that is being changed
        states = [(mark, seen) for mark, name, seen in marks if name == index]
        passed = bisect.bisect([mark for mark, _ in states], point)
        # those that may be there, and None for no index
        allowed = [None, *(seen for _, seen in states)][passed : passed + 2]
        try:
            check(scratch / str(point) / PATHS[index], allowed)
        except Exception as exc:  # whatever it is, it is wrong
            yield f"point {point}: {type(exc).__name__} {str(exc)[:300]}"
        shutil.rmtree(scratch / str(point))


def check(path: Path, allowed: list) -> None:
    """The index is in an allowed state, sound, and can be changed."""
    try:
        index = Index.open(path, exact_elements=20 * DIM)
    except IndexNotFoundError:
        assert allowed[0] is None, "a committed index is gone"
        index = Index.create(path, ENCODERS["fake"])
    else:
        assert state(index) in allowed, "another state"
    with index:
        found = index.verify(full=True)
        assert found.ok, found.problems
        encoder = ENCODERS[index.model_name]
        with index.writer() as writer:
            put(writer, encoder, "after", caption="after")
        hit = index.search(encoder.vector("text after"), k=1, target="caption")[0]
        assert (hit.item.caption, hit.score > 0.99) == ("after", True)
        assert index.verify(full=True).ok


@pytest.mark.slow
def test_after_a_power_cut_nothing_committed_is_missing(recorded, scratch):
    assert list(cut(recorded, scratch, POINTS)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "forgotten",
    [
        lambda path: not path.endswith(("vectors", "ann")),
        lambda path: not path.endswith((".npy", ".rows.npy")),
        lambda path: not path.endswith(".part"),
        lambda path: not path.endswith(("-wal", "catalog.sqlite")),
    ],
    ids=["folders", "vectors", "new catalog", "catalog"],
)
def test_what_is_not_synced_is_noticed(recorded, scratch, forgotten):
    """So the test above would notice if the engine synced less."""
    assert any(cut(recorded, scratch, POINTS, forgotten))


# --- a disk that refuses --------------------------------------------------------------------------

ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EACCES)
CHANGES: dict[str, Callable[[Index], object]] = {
    "add": lambda index: index.add([Pair(key=f"new {n}", caption=f"{n}") for n in range(9)]),
    "fill": lambda index: fill(index, ENCODERS["fake"], 10, captions=True),
    "remove": lambda index: index.remove(range(20, 60)),
    "compact": lambda index: index.compact(),
    "build": lambda index: index.build_ann(force=True),
    "migrate": lambda index: index.migrate(ENCODERS["new"]),
}
REFUSED = """
    import sys
    from pathlib import Path
    from tests.test_power_cuts import refuse
    for line in refuse(Path(sys.argv[1]), int(sys.argv[2])):
        print(line)
"""


def opened(path: Path) -> Index:
    return Index.open(path, lambda: ENCODERS["fake"], exact_elements=20 * DIM)


def change(
    path: Path, what: str, nth: int, error: int, *, always: bool = False, only: str = ""
) -> dict[str, Any]:
    """Refuse a call of a change, in a child: what it is told, and what is left to count.

    Args:
        path: The index.
        what: The change.
        nth: Which call is refused.
        error: How.
        always: Whether all after it are refused as well.
        only: Count and refuse only calls of this kind, as the shim names them.
    """
    shim = ctypes.CDLL(None)
    shim.shim_left.restype = ctypes.c_long
    readable, writable = os.pipe()
    if (child := os.fork()) == 0:
        told: dict[str, Any] = {}
        try:
            shim.shim_refuse(nth, error, always, ctypes.c_char(only.encode() or b"\0"))
            CHANGES[what](opened(path))
        except ClipSearchError as exc:
            told["error"] = str(exc)
        except BaseException as exc:
            told["raw"] = repr(exc)
        os.write(writable, json.dumps({**told, "left": shim.shim_left()}).encode())
        os._exit(0)
    os.close(writable)
    with open(readable, "rb") as pipe:
        told = json.loads(pipe.read())
    os.waitpid(child, 0)
    return told


def refuse(root: Path, cases: int) -> Iterator[str]:
    """Refuse some calls of some changes; yields what is wrong then. Needs the shim."""
    with Index.create(root / "base", ENCODERS["fake"]) as index:
        index.add([Pair(key=f"{n}", caption=f"{n}") for n in range(60)])
        for part in range(6):
            index.add([Pair(key=f"{part} {n}", caption=f"{part} {n}") for n in range(8)])
        index.remove(range(1, 20))
        before = state(index)

    def fresh() -> str:
        shutil.rmtree(root / "index", ignore_errors=True)
        shutil.copytree(root / "base", root / "index")
        with opened(root / "index") as index:
            return index.commit_id

    dice = random.Random(SEED)
    calls, after = {}, {}
    for what in CHANGES:
        for only in "", "S":
            fresh()
            left = change(root / "index", what, 10_000, 0, only=only)["left"]
            calls[what, only] = 10_000 - left
        with opened(root / "index") as index:
            after[what] = state(index)
    for case in range(cases):
        what = list(CHANGES)[case % len(CHANGES)]
        commit = fresh()
        only = dice.choice(("", "S"))  # a failed sync leaves what other programs may see
        nth, error = dice.randint(1, calls[what, only]), dice.choice(ERRORS)
        reader = opened(root / "index") if dice.random() < 0.5 else None  # keeps the log in use
        always = dice.random() < 0.5
        told = change(root / "index", what, nth, error, always=always, only=only)
        if reader is not None:
            reader.close()
        try:
            assert "raw" not in told
            assert "\n" not in told.get("error", "")
            with opened(root / "index") as index:
                assert state(index) in ([before, after[what]] if "error" in told else [after[what]])
                if "as it was before" in told.get("error", ""):
                    assert index.commit_id == commit, "it is not as it was"
                assert index.verify(full=True).ok
                if state(index) == before:
                    CHANGES[what](index)
                assert state(index) == after[what], "it does not go on"
                assert index.verify(full=True).ok
        except Exception as exc:
            call = f"{what}, call {nth} of {calls[what, only]} {only}, {errno.errorcode[error]}"
            yield f"{type(exc).__name__} {str(exc)[:300]}: {call}: {told}"


@pytest.mark.parametrize("cases", [12, pytest.param(120, marks=pytest.mark.slow)])
def test_a_refusal_loses_nothing_and_is_told_truly(shim, scratch, cases):
    assert preloaded(shim, scratch, REFUSED, cases) == ""
