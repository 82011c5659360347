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

from ..errors import ImageDecodeError, SourceError
from ..files import expanded, fresh_file, open_regular, writing
from ..names import json_text, stored
from ..passing import Passing
from ..types import IngestReport, Outcome, Progress, Status
from .left_out import LEFT_OUT

__all__ = ["IngestLog", "is_report"]

_SUFFIX = re.compile(r" \((\.[^()]{1,16}|no suffix)\)$")
_MAX_LISTED_SKIPS = 1000
_MANY = 100  # files that fail from the start, before the rest of a source is given up
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
        self._path = None if path is None else expanded(path)
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
        self.broken = 0  # files that were read and are no images
        self._trouble: Counter[str] = Counter()  # reasons of skips that may pass
        self._in_a_row = 0  # of these, since the last file that could be read

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
        self,
        key: str,
        status: Status,
        reason: str | None = None,
        also: str | None = None,
        passing: Passing | None = None,
    ) -> None:
        """Record the end of one pair.

        Args:
            key: Its key.
            status: How it ended.
            reason: Why.
            also: A sub-count such as "moved".
            passing: Why it was skipped this time, if another time it may not be.
        """
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
        if also != "ignored":
            self._in_a_row = self._in_a_row + 1 if passing == "trouble" else 0
        if status == "skipped" and also != "ignored":
            self.skipped_keys.add(key)
            if passing == "trouble":
                self._trouble[(reason or "").partition(" (")[0]] += 1
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

    @property
    def failed(self) -> int:
        """How many were skipped because a drive, the network, memory or permissions fail."""
        return self._trouble.total()

    def check_source(self, name: str, root: str | None, *, ended: bool = False) -> None:
        """Check that it is not the source that fails, but some of its files at most.

        It is the source if no file could be read so far, or if many in a row could not and its
        folder cannot be listed any more.

        Args:
            name: What is said of the source.
            root: Its folder, if it is one.
            ended: Whether it is read to its end; before that, many must have failed.

        Raises:
            SourceError: A drive, the network, memory or permissions fail.
        """
        failed, read = self.failed, self.broken + sum(self.counts[end] for end in _ENDS[:3])
        if not failed or (read and self._in_a_row < _MANY) or not (ended or failed >= _MANY):
            return
        if read and (root is None or _is_listable(root)):
            return
        reasons = ", ".join(
            f"{reason} ({count:,})" for reason, count in self._trouble.most_common(3)
        )
        raise SourceError(
            f"{name} cannot be read: {failed:,} of {self.seen:,} files failed: {reasons}. They are "
            "tried again in the next run; check the drive, the network, permissions and memory"
        )

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

    def report(
        self, *, workers: int, pruned: int, away: int, unpruned: int, notes: Iterable[str] = ()
    ) -> IngestReport:
        """The report of a finished run.

        Args:
            workers: Decoders, among which their time is shared.
            pruned: Items that were removed because their file is gone.
            away: Items that are kept though their file is gone.
            unpruned: Of these, items that were to be removed.
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
            away=away,
            unpruned=unpruned,
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


def _is_listable(folder: str) -> bool:
    try:
        with os.scandir(folder) as entries:
            next(entries, None)
    except OSError:
        return False
    return True


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
