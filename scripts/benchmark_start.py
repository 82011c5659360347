"""What a command costs that starts, does a little and ends: seconds, and memory with its children.

    python scripts/benchmark.py start --work /tmp/start
    python scripts/benchmark.py start --work /tmp/start --rclip VENV

Every command is a process of its own. Each round runs all of them in turn, so that other work on
the machine slows them alike; the medians are given, and times also as ratios to the text query.
Memory is the proportional set size, in which shared pages count once, of a process with all its
children, looked at 20 times a second; for `serve` and `index` also what the process alone holds.

Beside rclip 4.0.8, in a virtual environment of its own (see `benchmark.py embed`), both with a
ViT-B-32-256 of the same random weights on the same files. rclip indexes as part of a query, so that
the rows of indexing are `clipsearch index` and a text query against one command of rclip.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import numpy as np
from benchmark_embed import MINI, SMALL, VIT_256, export_for_rclip, make_image, named

TEXT = "a photo of a dog"
FEW = 4
LABELS = ("cat", "dog", "bus", "flower", "rocket")
TIME_BARS = {"search --image": 2.0, "index, 4 new": 3.0, "classify, 4": 3.0, "serve, ready": 5.0}
MEMORY_BARS = {"serve": 450.0, "index": 350.0}  # MB of the process without its children
_LOOK_S = 0.05
_WAIT_S = 300.0


@dataclass(frozen=True)
class Cost:
    """What a command took."""

    seconds: float
    own_mb: float  # the most of the process itself, resident
    whole_mb: float  # the most of it and its children, proportional


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `start`."""
    parser.add_argument("--work", type=Path, required=True, help="scratch folder, kept")
    parser.add_argument("--photos", type=Path, help="folder of JPEGs; the demo's by default")
    parser.add_argument("--python", default=sys.executable, help="of the environment measured")
    parser.add_argument("--model", default=MINI)
    parser.add_argument("--images", type=int, default=400, help="files of 640 x 480")
    parser.add_argument("--items", type=int, default=10_000, help="made-up items that are served")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rclip", type=Path, help="virtual environment of 4.0.8")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the tables, and return 1 when a bar is missed."""
    work: Path = arguments.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    for name in ("CACHE", "STATE", "INDEXES"):
        os.environ[f"CLIPSEARCH_{name}"] = str(work / name.lower())
    photos = make_photos(arguments, work)
    with Commands(arguments.python, work, photos, arguments.model) as commands:
        fill(work / "indexes/large", arguments.model, arguments.items)
        failed = against_text_query(commands, arguments.rounds)
    if arguments.rclip is None:
        print("rclip 4.0.8: left out, no virtual environment given")
        return int(failed)
    model = named(VIT_256, work)
    if not export_for_rclip(work / f"{VIT_256}.pt", work / "rclip_data"):
        print("rclip 4.0.8: left out, exporting its models needs: pip install onnx")
        return int(failed)
    with Commands(arguments.python, work, photos, model) as commands:
        peer = Rclip(arguments.rclip, work, photos)
        return int(beside_rclip(commands, peer, arguments.rounds) or failed)


def make_photos(arguments: argparse.Namespace, work: Path) -> Path:
    """A folder of distinct JPEGs from real photos."""
    from clipsearch.cli.demo import demo_photos

    photos = demo_photos()
    if arguments.photos:
        photos = [f for f in sorted(arguments.photos.rglob("*")) if f.suffix.lower()[:3] == ".jp"]
    folder = work / f"photos-{arguments.images}"
    if not folder.is_dir():
        folder.mkdir()
        for number in range(arguments.images):
            make_image(photos, SMALL, folder, number)
        few = work / "few"
        shutil.rmtree(few, ignore_errors=True)
        few.mkdir()
        for number in range(FEW):
            make_image(photos, SMALL, few, arguments.images + number)
    return folder


def fill(folder: Path, model: str, items: int) -> None:
    """An index of made-up vectors."""
    from clipsearch import Index, load_encoder
    from clipsearch.types import Record

    if folder.is_dir():
        return
    encoder = load_encoder(model, device="cpu")
    rng = np.random.default_rng(0)
    with Index.create(folder, encoder) as index, index.writer() as writer:
        for n, vector in enumerate(rng.normal(size=(items, encoder.dim)).astype(np.float32)):
            writer.put(Record(key=f"item {n}"), image=vector)


# --- commands -------------------------------------------------------------------------------------


class Commands:
    """The commands of clipsearch over an index of photos.

    Args:
        python: Of the environment that they run in.
        work: Scratch folder.
        photos: Folder that is indexed.
        model: By name.
    """

    def __init__(self, python: str, work: Path, photos: Path, model: str) -> None:
        self._start = [python, "-m", "clipsearch"]
        self._work = work
        self._model = model
        self.photos = photos
        self.few = work / "few"

    def __enter__(self) -> Commands:
        shutil.rmtree(self._work / "indexes/photos", ignore_errors=True)
        self.run("index", self.photos, "-i", "photos", "-m", self._model)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._work / "indexes/new", ignore_errors=True)

    def run(self, *arguments: object) -> Cost:
        """What one command costs."""
        return cost([*self._start, *map(str, arguments)])

    def text(self) -> Cost:
        """A text query."""
        return self.run("search", TEXT, "-i", "photos")

    def image(self) -> Cost:
        """A query by an image that is not in the index."""
        return self.run("search", "--image", next(self.few.iterdir()), "-i", "photos")

    def add_few(self) -> Cost:
        """Four new photos, into the index of the others."""
        indexes = self._work / "indexes"
        shutil.rmtree(indexes / "new", ignore_errors=True)
        shutil.copytree(indexes / "photos", indexes / "new")
        return self.run("index", self.few, "-i", "new")

    def index(self, folder: Path) -> Cost:
        """A folder, into an index of its own."""
        shutil.rmtree(self._work / "indexes/new", ignore_errors=True)
        return self.run("index", folder, "-i", "new", "-m", self._model)

    def classify(self) -> Cost:
        """Four photos."""
        labels = [word for label in LABELS for word in ("-l", label)]
        return self.run("classify", *sorted(self.few.iterdir()), *labels, "-m", self._model)

    def serve(self) -> dict[str, Cost]:
        """The service with its page: until it says so, and after requests with texts and images."""
        command = [*self._start, "serve", "-i", "large", "--port", "0"]
        costs = {}
        picture = next(self.few.iterdir()).read_bytes()
        started = time.perf_counter()
        with (
            subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process,
            watched(process.pid) as most,
        ):
            said = []
            for line in process.stderr or ():
                said.append(line)
                if " at http://" in line:
                    break
            else:
                raise SystemExit(f"serve did not start: {''.join(said)}")
            ready_s = time.perf_counter() - started
            costs["serve, ready"] = Cost(ready_s, resident_mb(process.pid), most[0])
            url = f"{said[-1].split()[-1]}/v1/indexes/large/search"
            with httpx.Client(timeout=_WAIT_S) as http:
                http.post(url, json={"text": TEXT}).raise_for_status()
                seconds = time.perf_counter() - started
                costs["serve, a text answered"] = Cost(seconds, resident_mb(process.pid), most[0])
                http.post(f"{url}/image", files={"image": picture}).raise_for_status()
                seconds = time.perf_counter() - started
            costs["serve, an image answered"] = Cost(seconds, resident_mb(process.pid), most[0])
            process.terminate()
            process.wait(_WAIT_S)
        return costs


class Rclip:
    """rclip over the same photos.

    Args:
        venv: Its virtual environment.
        work: Scratch folder with its models.
        photos: Folder that is indexed.
    """

    def __init__(self, venv: Path, work: Path, photos: Path) -> None:
        self._command = str(venv.absolute() / "bin/rclip")
        self._work = work
        self._photos = photos
        self.index(photos, "rclip-kept")

    def index(self, folder: Path, data: str = "rclip-new") -> Cost:
        """A folder from nothing, and a text query."""
        shutil.rmtree(self._work / data, ignore_errors=True)
        (self._work / data).mkdir()
        for entry in (self._work / "rclip_data").iterdir():
            if not entry.name.startswith("db."):
                (self._work / data / entry.name).symlink_to(entry)
        return self._run(folder, data, TEXT)

    def text(self) -> Cost:
        """A text query."""
        return self._run(self._photos, "rclip-kept", "--no-indexing", TEXT)

    def image(self) -> Cost:
        """A query by an image that is not in the index."""
        picture = next((self._work / "few").iterdir())
        return self._run(self._photos, "rclip-kept", "--no-indexing", str(picture))

    def _run(self, folder: Path, data: str, *arguments: str) -> Cost:
        offline = {"RCLIP_DATADIR": str(self._work / data), "HF_HUB_OFFLINE": "1"}
        return cost([self._command, *arguments], folder, offline)


def cost(
    command: list[str], folder: Path | None = None, extra: dict[str, str] | None = None
) -> Cost:
    """Run a command to its end."""
    started = time.perf_counter()
    with (
        subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=folder,
            env={**os.environ, **(extra or {})},
        ) as process,
        watched(process.pid) as most,
    ):
        said = b"" if process.stderr is None else process.stderr.read()
        process.wait()
        seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {said.decode(errors='replace')}")
    return Cost(seconds, most[1], most[0])


@contextmanager
def watched(pid: int) -> Iterator[list[float]]:
    """The most memory so far, in MB, of a process with its children and of it alone.

    The system's own figure (`ru_maxrss`) would begin with what this process holds, as of the fork.
    """
    most = [0.0, 0.0]
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_S):
            most[0] = max(most[0], sum(map(proportional_mb, family(pid))))
            most[1] = max(most[1], _kib(Path(f"/proc/{pid}/status"), "VmHWM:"))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:  # it has ended
                continue
    return found


def proportional_mb(pid: int) -> float:
    """Memory of a process, of pages that it shares its part."""
    return _kib(Path(f"/proc/{pid}/smaps_rollup"), "Pss:")


def resident_mb(pid: int) -> float:
    """Memory that a process holds now."""
    return _kib(Path(f"/proc/{pid}/status"), "VmRSS:")


def _kib(file: Path, field: str) -> float:
    try:
        lines = file.read_text().splitlines()
    except OSError:  # it has ended
        return 0.0
    return sum(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(field))


# --- tables ---------------------------------------------------------------------------------------


def against_text_query(commands: Commands, rounds: int) -> bool:
    """Print what each command costs; whether a bar was missed."""
    singles: dict[str, Callable[[], Cost]] = {
        "text query": commands.text,
        "search --image": commands.image,
        "index, 4 new": commands.add_few,
        "classify, 4": commands.classify,
    }
    found: dict[str, list[Cost]] = {}
    for turn in range(rounds + 1):
        costs = {name: command() for name, command in singles.items()} | commands.serve()
        for name, one in costs.items():
            if turn:  # the first round warms up
                found.setdefault(name, []).append(one)
    medians = {name: middle(costs) for name, costs in found.items()}
    missed = False
    print(f"{'':28}{'s':>8}{'times':>8}{'bar':>6}{'own MB':>9}{'bar':>6}{'with children MB':>18}")
    for name, one in medians.items():
        times, bar = one.seconds / medians["text query"].seconds, TIME_BARS.get(name)
        memory = MEMORY_BARS.get(name.partition(",")[0])
        missed |= (bar is not None and times > bar) or (memory is not None and one.own_mb > memory)
        print(
            f"{name:28}{one.seconds:8.2f}{times:8.2f}{_bar(bar):>6}{one.own_mb:9.0f}"
            f"{_bar(memory):>6}{one.whole_mb:18.0f}"
        )
    print("MISSED" if missed else "met")
    return missed


def beside_rclip(commands: Commands, peer: Rclip, rounds: int) -> bool:
    """Print what both cost; whether rclip was ahead anywhere."""

    def index(folder: Path) -> Cost:
        one, query = commands.index(folder), commands.text()
        most = max(one.own_mb, query.own_mb), max(one.whole_mb, query.whole_mb)
        return Cost(one.seconds + query.seconds, *most)

    count = sum(1 for _ in commands.photos.iterdir())
    kinds: dict[str, tuple[Callable[[], Cost], Callable[[], Cost], int]] = {
        "text query": (commands.text, peer.text, rounds),
        "image query": (commands.image, peer.image, rounds),
        f"index of {FEW} and a query": (
            partial(index, commands.few),
            partial(peer.index, commands.few),
            rounds,
        ),
        f"index of {count} and a query": (
            partial(index, commands.photos),
            partial(peer.index, commands.photos),
            max(1, rounds // 2),
        ),
    }
    behind = False
    print(f"\n{VIT_256:28}{'s':>8}{'rclip s':>10}{'ratio':>8}{'MB':>8}{'rclip MB':>10}")
    for name, (ours, its, turns) in kinds.items():
        pairs = [(ours(), its()) for _ in range(turns + 1)][1:]
        mine, other = (middle(list(side)) for side in zip(*pairs, strict=True))
        behind |= mine.seconds >= other.seconds
        print(
            f"{name:28}{mine.seconds:8.2f}{other.seconds:10.2f}{mine.seconds / other.seconds:8.2f}"
            f"{mine.whole_mb:8.0f}{other.whole_mb:10.0f}"
        )
    print("BEHIND" if behind else "ahead in each")
    return behind


def middle(costs: list[Cost]) -> Cost:
    """The median of each figure."""
    return Cost(
        statistics.median(one.seconds for one in costs),
        statistics.median(one.own_mb for one in costs),
        statistics.median(one.whole_mb for one in costs),
    )


def _bar(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
