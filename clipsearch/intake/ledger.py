"""The account of a run: how every pair of a source ended, and why."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from typing import Literal, TextIO

from ..errors import ImageDecodeError
from ..types import Outcome, Status

__all__ = ["Ledger"]

_MAX_LISTED_SKIPS = 1000


class Ledger:
    """Counts how every pair ended, and keeps the reasons.

    Args:
        file: Takes one JSON line for every pair, or None.
        on_error: "raise" makes the first skip an `ImageDecodeError`.
    """

    def __init__(self, file: TextIO | None, on_error: Literal["skip", "raise"]) -> None:
        self._file = file
        self._on_error = on_error
        self.counts: Counter[str] = Counter()
        self.skips: list[Outcome] = []

    def close_pair(
        self, key: str, status: Status, reason: str | None = None, *, also: str | None = None
    ) -> None:
        """Record the end of one pair; `also` names a sub-count such as "moved"."""
        self.counts[status] += 1
        if also:
            self.counts[also] += 1
        outcome = Outcome(key, status, reason)
        if self._file is not None:
            self._file.write(json.dumps(dataclasses.asdict(outcome)) + "\n")
        if status == "skipped" and also != "ignored":
            if self._on_error == "raise":
                raise ImageDecodeError(f"{key}: {reason}")
            if len(self.skips) < _MAX_LISTED_SKIPS:
                self.skips.append(outcome)

    @property
    def done(self) -> int:
        """Pairs that have ended."""
        return sum(self.counts[s] for s in ("indexed", "unchanged", "duplicate", "skipped"))
