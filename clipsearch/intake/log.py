"""The log of a run: how every pair of a source ended, and where the time went."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, Literal, Self, TextIO

from ..errors import ImageDecodeError
from ..files import fresh_file, open_regular, writing
from ..names import json_text, stored
from ..types import IngestReport, Outcome, Progress, Status
from .left_out import LEFT_OUT

__all__ = ["IngestLog", "is_report"]

_SUFFIX = re.compile(r" \((\.[^()]{1,16}|no suffix)\)$")
_MAX_LISTED_SKIPS = 1000
_MAX_EXAMPLES = 3  # of the files that a note is about
_MOST_LINE = 65_536  # bytes of the first line of a report
_ENDS = ("indexed", "unchanged", "duplicate", "skipped")
_SUB_COUNTS = ("updated", "refreshed", "recaptioned", "moved", "ignored", "known")


class IngestLog:
    """Counts how every pair ended, and keeps the reasons; a context manager for its file.

    Args:
        path: A file that takes one JSON line for every pair, or None.
        append: Whether the file is added to.
        on_error: "raise" makes the first skip an `ImageDecodeError`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        append: bool = False,
        on_error: Literal["skip", "raise"] = "skip",
    ) -> None:
        self._path = None if path is None else Path(path).expanduser()
        self._append = append
        self._on_error = on_error
        self._file: TextIO | None = None
        self._started = monotonic()
        self._clock = threading.Lock()
        self._at_work: Counter[str] = Counter()  # stage -> threads
        self._since: dict[str, float] = {}  # stage -> when the first of them began
        self.counts: Counter[str] = Counter()
        self.skips: list[Outcome] = []
        self.notes: Counter[str] = Counter()
        self._examples: defaultdict[str, list[str]] = defaultdict(list)  # note -> names of files
        self.remarks: list[str] = []  # of the source as a whole
        self.ignored_as: Counter[str] = Counter()
        self.skipped_keys: set[str] = set()  # without those that are ignored
        self.busy: defaultdict[str, float] = defaultdict(float)  # stage -> seconds
        self.seen = 0

    def __enter__(self) -> Self:
        if self._path is not None:
            with writing(self._path):
                self._file = (
                    self._path.open("a", encoding="utf-8")
                    if self._append
                    else fresh_file(self._path)
                )
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with writing(Path(self._file.name)):
                self._file.close()

    def close(
        self, key: str, status: Status, reason: str | None = None, also: str | None = None
    ) -> None:
        """Record the end of one pair; `also` names a sub-count such as "moved"."""
        self.counts[status] += 1
        if also:
            self.counts[also] += 1
        if (status, also) == ("unchanged", "updated"):
            self.counts["refreshed"] += 1
        if self._file is not None:
            line = {"key": stored(key), "status": status, "reason": reason}
            with writing(Path(self._file.name)):
                self._file.write(json_text(line) + "\n")
        if also == "ignored" and not (reason or "").startswith(LEFT_OUT):  # which is told by itself
            self.ignored_as[_kind(reason or "")] += 1
        elif status == "skipped" and also != "ignored":
            self.skipped_keys.add(key)
            if self._on_error == "raise":
                raise ImageDecodeError(f"{key}: {reason}")
            if len(self.skips) < _MAX_LISTED_SKIPS:
                self.skips.append(Outcome(key, status, reason))

    def note(self, what: str, example: str) -> None:
        """Count what was ignored; the first of the files where it was are named."""
        self.notes[what] += 1
        if len(self._examples[what]) < _MAX_EXAMPLES:
            self._examples[what].append(example)

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the time during which at least one thread is at work on a stage."""
        with self._clock:
            if not self._at_work[stage]:
                self._since[stage] = perf_counter()
            self._at_work[stage] += 1
        try:
            yield
        finally:
            with self._clock:
                self._at_work[stage] -= 1
                if not self._at_work[stage]:
                    self.busy[stage] += perf_counter() - self._since[stage]

    def progress(self, total: int | None) -> Progress:
        """How far the run has come."""
        seconds = max(monotonic() - self._started, 1e-6)
        return Progress(
            seen=sum(self.counts[end] for end in _ENDS),
            total=total,
            indexed=self.counts["indexed"],
            skipped=self.counts["skipped"],
            images_per_s=self.counts["indexed"] / seconds,
        )

    def report(self, *, workers: int, pruned: int = 0, notes: Iterable[str] = ()) -> IngestReport:
        """The report of a finished run.

        Args:
            workers: Decoders, among which their time is shared.
            pruned: Items that were removed because their file is gone.
            notes: What the source and the encoder have to say of the run.
        """
        seconds = monotonic() - self._started
        busy = {**self.busy, "decode": self.busy["decode"] / workers}
        counts: dict[str, Any] = {name: self.counts[name] for name in (*_ENDS, *_SUB_COUNTS)}
        return IngestReport(
            seen=self.seen,
            **counts,
            ignored_as=dict(self.ignored_as.most_common()),
            pruned=pruned,
            skips=tuple(self.skips),
            seconds=seconds,
            busy={
                stage: min(1.0, busy.get(stage, 0.0) / max(seconds, 1e-6))
                for stage in ("encode", "decode", "write")
            },
            notes=(
                *(self._told(note, count) for note, count in self.notes.items() if count),
                *self.remarks,
                *notes,
            ),
        )

    def _told(self, note: str, count: int) -> str:
        examples = self._examples.get(note, [])
        more = ", ..." if examples and count > len(examples) else ""
        named = f" ({', '.join(examples)}{more})" if examples else ""
        return f"{note}{named}: {count:,}"


def _first_line(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.readline(_MOST_LINE)


def is_report(path: Path) -> bool:
    """Whether a file is a report of `index` or `migrate`, by its first line."""
    try:
        first = json.loads(_first_line(path))
    except ValueError:
        return False
    return isinstance(first, dict) and set(first) - {"status"} == {"key", "reason"}


def _kind(reason: str) -> str:
    """What an ignored file is, in a word: its suffix, or what is said of it."""
    found = _SUFFIX.search(reason)
    if found:
        return found[1]
    return "a link" if reason.startswith("a link to ") else reason.partition(",")[0]
