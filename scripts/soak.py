"""Memory of the page's server while visitors come and go, a visitor after another.

python scripts/soak.py --minutes 120

A visitor opens the page, searches, filters, asks for more and for similar images, opens a result,
classifies, and looks at the map and at duplicates: each an HTTP event as the page sends it, in a
session of its own. Prints the resident memory as a table, and its slope in MB per 1,000 events over
the second half, in which a server has made what it keeps. Exits with 1 where that is over the bar.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]
BAR_MB = 1.0  # per 1,000 events
_WORDS = ("cat", "rocket", "coffee", "temple", "bus", "moon", "grass", "lion", "cup", "street")
_PLACES = ("", " at night", " on grass", " outside", " from above", " in the snow", " on a table")


class Visitor:
    """One visit to the page: a session of its own, and the events that a browser would send."""

    def __init__(self, http: httpx.Client, config: dict[str, Any]) -> None:
        self._http = http
        self._session = secrets.token_hex(5)
        names = {one["id"]: one["props"].get("elem_id") for one in config["components"]}
        self._kinds = {one["id"]: one["type"] for one in config["components"]}
        self._values = {one["id"]: one["props"].get("value") for one in config["components"]}
        self._events: dict[tuple[str | None, str], dict[str, Any]] = {}
        for event in config["dependencies"]:
            for target, name in event["targets"]:
                self._events.setdefault((names.get(target), name), event)
        self.events = 0

    def send(self, element: str, event: str, *, data: Any = None, **values: Any) -> str:
        """Send an event of an element; `values` are given in the place of inputs of that type."""
        known = self._events[element, event]
        inputs = []
        for id_ in known["inputs"]:
            kind = self._kinds[id_]
            value = None if kind == "state" else self._values[id_]
            inputs.append(values.get(kind, value))
        body = {
            "fn_index": known["id"],
            "data": inputs,
            "event_data": data,
            "session_hash": self._session,
            "trigger_id": known["targets"][0][0],
        }
        answer = self._http.post("/gradio_api/run/predict", json=body)
        answer.raise_for_status()
        self.events += 1
        return answer.text

    def visit(self, words: str, image: str) -> None:
        """Everything that one person does."""
        with self._http.stream("GET", f"/gradio_api/heartbeat/{self._session}"):
            self._http.get("/").raise_for_status()
            self.send("cs-router", "navigate", html="?tab=search")
            self.send("cs-router", "to_search", html="?index=soak")
            found = self.send("cs-router", "to_search", html=f"?index=soak&q={words}")
            if "cs-card" not in found:
                raise RuntimeError(f"the search for {words} shows no images: {found[:300]}")
            self.send("cs-gallery", "act", data={"do": "vote", "id": 3, "way": "up"})
            self.send("cs-chips", "act", data={"do": "add", "text": "red", "weight": 1})
            self.send("cs-gallery", "further", data={"offset": 48, "last": 48})
            self.send("cs-gallery", "open", data={"id": 5})
            self.send("cs-dialog", "act", data={"do": "more", "id": 5})
            self.send("cs-router", "to_search", html=f"?index=soak&q={words}&width=100&where=id>9")
            self.send(
                "cs-classify-drop", "given", data={"pictures": [{"name": "a", "data": image}]}
            )
            self.send("cs-classified", "again")
            self._http.get("/page/curate?index=soak").raise_for_status()
            self.send("cs-router", "to_map", html="?tab=map&index=soak")
            self.send("cs-router", "to_learn")
            for place in range(1, 9):
                self._http.get(f"/media/soak/{place}/thumbnail").raise_for_status()


def main() -> int:
    """Let visitors come for a while, and judge the memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--items", type=int, default=2000, help="in the index")
    parser.add_argument("--rows", type=int, default=20, help="of the table")
    arguments = parser.parse_args()
    from benchmark_page import multiply, page_server

    from clipsearch import Index, load_encoder
    from clipsearch.cli.demo import demo_photos

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "indexes"
        with Index.create(home / "soak", load_encoder(device="cpu")) as index:
            index.add(photos := demo_photos())
            multiply(index, arguments.items)
        photo = next(path for path in photos if path.suffix == ".jpg")
        image = base64.b64encode(photo.read_bytes()).decode()
        with page_server(home, "soak") as (url, pid):
            return _watched(url, pid, f"data:image/jpeg;base64,{image}", arguments)


def _watched(url: str, pid: int, image: str, arguments: argparse.Namespace) -> int:
    """Print the memory as visitors come, and say whether it grows."""
    measured = []
    with httpx.Client(base_url=url, timeout=180) as http:
        config = http.get("/config").json()
        first = Visitor(http, config)
        while "cs-card" not in first.send("cs-router", "to_search", html="?index=soak&q=cat"):
            time.sleep(0.5)  # the model is being loaded
        started = time.monotonic()
        events, every = 0, arguments.minutes * 60 / arguments.rows
        print(f"{'minutes':>8}{'events':>9}{'visitors':>10}{'MB':>9}", flush=True)
        for visits, words in enumerate(_texts(), 1):
            visitor = Visitor(http, config)
            visitor.visit(words, image)
            events += visitor.events
            seconds = time.monotonic() - started
            if seconds >= every * (len(measured) + 1):
                measured.append((events, _resident_mb(pid)))
                row = f"{seconds / 60:8.1f}{events:9,}{visits:10,}{measured[-1][1]:9.0f}"
                print(f"{row}  {'#' * int(measured[-1][1] / 25)}", flush=True)
            if seconds >= arguments.minutes * 60:
                break
    late = np.array(measured[len(measured) // 2 :], dtype=float)
    slope = float(np.polyfit(late[:, 0] / 1000, late[:, 1], 1)[0])
    print(f"second half: {slope:+.1f} MB per 1,000 events, bar {BAR_MB:g}")
    print("MISSED" if slope > BAR_MB else "met")
    return int(slope > BAR_MB)


def _texts() -> Iterator[str]:
    return (w + p for w, p in itertools.cycle(itertools.product(_WORDS, _PLACES)))


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


if __name__ == "__main__":
    sys.exit(main())
