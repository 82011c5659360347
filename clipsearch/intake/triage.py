"""Triage: which pairs of a source need no decoding, and how these end."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..engine import skipped
from ..engine.catalog import extra_json
from ..engine.skipped import Skipped
from ..names import is_storable
from .log import IngestLog
from .pairs import Pair

if TYPE_CHECKING:
    from ..engine.catalog import Known
    from ..engine.writer import Writer

__all__ = [
    "Candidate",
    "Triage",
    "content_hash",
    "has_columns",
    "is_gone",
    "is_same",
    "is_unchanged",
    "problem",
    "status_of",
]

_HASHERS = 4
_NOT_TRIED_AGAIN = (
    "files that failed in an earlier run and were skipped again (--retry-skipped retries them)"
)


@dataclass(slots=True)
class Candidate:
    """A pair that is to be embedded and stored."""

    pair: Pair
    status: os.stat_result | None = None  # of its file, if it has one
    sha256: str | None = None  # of its image, where the same bytes are stored already
    skipped: Skipped | None = None  # what is remembered of it, if it was skipped before

    @property
    def path(self) -> str | None:
        """Path of its image, if that is a file of its own."""
        return self.pair.image if isinstance(self.pair.image, str) else None


class Triage:
    """Closes the pairs that are refused, unchanged or known as broken; the rest are candidates.

    Args:
        writer: Of the index.
        log: Takes the end of the pairs that end here.
        retry_skipped: Whether files that could not be read before are tried again.
        hash_first: Whether files are hashed before they are decoded, which spares known ones.
    """

    def __init__(
        self, writer: Writer, log: IngestLog, *, retry_skipped: bool, hash_first: bool
    ) -> None:
        self._writer = writer
        self._log = log
        self._retry_skipped = retry_skipped
        self._hash_first = hash_first

    def __call__(self, pairs: Sequence[Pair]) -> list[Candidate]:
        """The candidates among some pairs, in order."""
        self._log.seen += len(pairs)
        for what, example in (note for pair in pairs for note in pair.notes):
            self._log.note(what, example)
        every = [pair.key for pair in pairs if not pair.ignored]
        broken = self._writer.read(lambda conn: skipped.recall(conn, every))
        news: list[Skipped] = []
        mended: list[str] = []  # skipped in a run after the one that stored it
        usable = [pair for pair in pairs if self._is_usable(pair, broken, news)]
        keys = [pair.key for pair in usable]
        known = self._writer.lookup(keys)
        chosen: dict[str, Candidate] = {}
        for pair in usable:
            status, reason = status_of(pair)
            before = known.get(pair.key)
            if reason is not None:
                self._refuse(pair.key, reason, broken, news)
            elif pair.key in chosen:
                self._refuse(pair.key, "the source names it twice", broken, news)
            elif before and is_unchanged(pair, status, before):
                self._log.close(pair.key, "unchanged")
                if pair.key in broken:
                    mended.append(pair.key)
            elif not self._retry_skipped and is_same(pair, status, broken.get(pair.key)):
                self._log.notes[_NOT_TRIED_AGAIN] += 1
                self._log.close(pair.key, "skipped", broken[pair.key].reason, "known")
            else:
                chosen[pair.key] = Candidate(pair, status, skipped=broken.get(pair.key))
        if news:
            self._writer.change(lambda conn: skipped.remember(conn, news))
        if mended:
            self._writer.change(lambda conn: skipped.forget(conn, mended))
        candidates = list(chosen.values())
        if self._hash_first:
            self._hash(candidates)
        return candidates

    def _is_usable(self, pair: Pair, broken: Mapping[str, Skipped], news: list[Skipped]) -> bool:
        reason = pair.refused or problem(pair)
        if reason is None:
            return True
        if pair.ignored:
            self._log.close(pair.key, "skipped", reason, "ignored")
        else:
            self._refuse(pair.key, reason, broken, news)
        return False

    def _refuse(
        self, key: str, reason: str, broken: Mapping[str, Skipped], news: list[Skipped]
    ) -> None:
        """Close a pair that is not even tried; it is no news if it was so before."""
        before = broken.get(key)
        is_known = before is not None and before.reason == reason
        if not is_known and is_storable(key):
            news.append(Skipped(key, None, None, reason))
        self._log.close(key, "skipped", reason, "known" if is_known else None)

    def _hash(self, candidates: Sequence[Candidate]) -> None:
        """Mark those whose bytes are stored."""
        with ThreadPoolExecutor(_HASHERS, thread_name_prefix="hash") as threads:
            hashes = list(threads.map(content_hash, [c.pair.image for c in candidates]))
        stored = self._writer.by_sha256([sha256 for sha256 in hashes if sha256 is not None])
        for candidate, sha256 in zip(candidates, hashes, strict=True):
            if sha256 in stored:
                candidate.sha256 = sha256


def problem(pair: Pair) -> str | None:
    """Why a pair cannot be stored whatever its bytes are, or None."""
    if pair.image is None and not (pair.caption and pair.caption.strip()):
        return "neither an image nor a caption"
    if "\0" in pair.key or (isinstance(pair.image, str) and "\0" in pair.image):
        return "the path contains a NUL character"
    return None if is_storable(pair.key) else "the name is not valid Unicode"


def status_of(pair: Pair) -> tuple[os.stat_result | None, str | None]:
    """The status of a pair's file, or why it cannot be read; neither for one without a file."""
    if not isinstance(pair.image, str):
        return None, None
    try:
        status = os.stat(pair.image)
    except FileNotFoundError:
        return None, "the file is gone"
    except OSError as exc:
        return None, exc.strerror or str(exc)
    if not stat.S_ISREG(status.st_mode):
        return None, "not a regular file"
    return status, None


def is_gone(path: str) -> bool:
    """Whether there is no file of that name; one that cannot be looked at now may be there."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def is_unchanged(pair: Pair, status: os.stat_result | None, before: Known) -> bool:
    """Whether an item was stored from the same file and caption, with the same columns."""
    if pair.caption != before.caption and pair.caption is not None:
        return False
    if not has_columns(pair, before):
        return False
    if status is None:  # bytes are hashed in any case; a caption alone is compared above
        return pair.image is None
    return status.st_size == before.size_bytes and status.st_mtime_ns == before.mtime_ns


def has_columns(pair: Pair, before: Known) -> bool:
    """Whether an item has the extra columns that a pair gives, if it gives any."""
    return not pair.columns or extra_json(pair.columns) == before.extra


def is_same(pair: Pair, status: os.stat_result | None, broken: Skipped | None) -> bool:
    """Whether an image is still as it was when it was skipped."""
    if broken is None:
        return False
    if status is None:
        is_there = bool(pair.image) and broken.sha256 is not None
        return is_there and content_hash(pair.image) == broken.sha256
    same = (status.st_size, status.st_mtime_ns) == (broken.size_bytes, broken.mtime_ns)
    return same and broken.ctime_ns in (None, status.st_ctime_ns)


def content_hash(image: str | bytes | None) -> str | None:
    """SHA-256 of an image's bytes; None where there are none to read (decoding says why)."""
    if image is None:
        return None
    if isinstance(image, bytes):
        return hashlib.sha256(image).hexdigest()
    try:
        with Path(image).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
