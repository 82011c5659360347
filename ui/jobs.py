"""Indexing in the background: one job at a time, watched and cancelled from the page."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from clipsearch import ClipSearchError, Index, IngestReport
from clipsearch.types import Progress

__all__ = ["Job", "Jobs"]


class _CancelledError(ClipSearchError):
    """The visitor asked to stop."""


@dataclass(frozen=True, slots=True)
class Job:
    """How far a job has come."""

    name: str  # of the index
    source: str
    state: Literal["running", "done", "cancelled", "failed"] = "running"
    progress: Progress | None = None
    report: IngestReport | None = None
    before: int = 0  # items in the index when it began
    after: int = 0
    problem: str = ""
    started: float = 0.0


class Jobs:
    """Holds the latest job. What was committed when a job is cancelled stays."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._job: Job | None = None
        self._stop = threading.Event()
        self._over = threading.Event()
        self._over.set()

    @property
    def job(self) -> Job | None:
        """The latest job, running or not."""
        return self._job

    @property
    def is_running(self) -> bool:
        """Whether a job is under way."""
        return self._job is not None and self._job.state == "running"

    def start(
        self,
        name: str,
        source: str,
        open_index: Callable[[], Index],
        add: Callable[..., IngestReport],
    ) -> bool:
        """Begin; False when another job is running.

        Args:
            name: Of the index.
            source: What is indexed, for people.
            open_index: Opens or creates the index, with its model; whoever opened it closes it.
            add: Called with the index and a progress callback.
        """
        with self._lock:
            if self.is_running:
                return False
            self._stop.clear()
            self._over.clear()
            self._job = Job(name, source, started=time.monotonic())
        threading.Thread(target=self._run, args=(open_index, add), daemon=True).start()
        return True

    def cancel(self) -> None:
        """Ask the running job to stop at the next chance."""
        self._stop.set()

    def close(self, wait_s: float) -> None:
        """Stop the running job, if there is one, and wait for it for a while."""
        self.cancel()
        self._over.wait(wait_s)

    def _update(self, **changes: Any) -> None:
        if self._job is not None:
            self._job = replace(self._job, **changes)

    def _run(self, open_index: Callable[[], Index], add: Callable[..., IngestReport]) -> None:
        def tell(progress: Progress) -> None:
            self._update(progress=progress)
            if self._stop.is_set():
                raise _CancelledError("cancelled")

        index: Index | None = None
        try:
            index = open_index()
            self._update(before=len(index))
            report = add(index, tell)
            self._update(state="done", report=report, after=len(index))
        except _CancelledError:
            self._update(state="cancelled", after=0 if index is None else len(index))
        except (ClipSearchError, OSError) as exc:
            self._update(state="failed", problem=str(exc))
        finally:
            if self.is_running:  # a defect; threading logs it
                self._update(state="failed", problem="unexpected error; see the server's log")
            self._over.set()
