"""Triage: which pairs of a source need no decoding, and how these end."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..engine import away, skipped
from ..engine.catalog import extra_json
from ..engine.file_state import FileState
from ..engine.skipped import Skipped
from ..errors import ImageDecodeError
from ..files import open_regular
from ..folding import caseless
from ..limits import MAX_FILE_BYTES
from ..names import is_storable
from ..passing import Passing, passing_of
from .inside import Lacks, file_around
from .log import IngestLog
from .pairs import Pair

if TYPE_CHECKING:
    from ..engine.catalog import Known
    from ..engine.writer import Writer

__all__ = [
    "Candidate",
    "Triage",
    "candidate_of",
    "content_hash",
    "has_columns",
    "has_left",
    "is_gone",
    "is_same",
    "is_unchanged",
    "problem",
    "status_of",
]

_HASHERS = 4
_TRIALS = 64  # files of one file system that are read because of new numbers alone
_NOT_TRIED_AGAIN = (
    "files that failed in an earlier run and were skipped again (--retry-skipped retries them)"
)
_RENUMBERED = (
    "files of which nothing but the inode changed, which were not read again because others of "
    "their file system had the same bytes as before"
)


@dataclass(slots=True)
class Candidate:
    """A pair that is to be embedded and stored."""

    pair: Pair
    status: os.stat_result | None = None  # of its file, if it has one
    sha256: str | None = None  # of its image, where the same bytes are stored already
    skipped: Skipped | None = None  # what is remembered of it, if it was skipped before
    caption: str | None = None  # that is stored with its vector, and need not be encoded again
    reads_facts: bool = False  # whether its facts are read even though its bytes are stored

    @property
    def path(self) -> str | None:
        """Path of its image, if that is a file of its own."""
        return self.pair.image if isinstance(self.pair.image, str) else None

    @property
    def state(self) -> FileState | None:
        """State of its file, if it has one."""
        return None if self.status is None else FileState.of(self.status)


class Triage:
    """Closes the pairs that are refused, unchanged or known as broken; the rest are candidates.

    Args:
        writer: Of the index.
        log: Takes the end of the pairs that end here.
        retry_skipped: Whether files that could not be read before are tried again.
        hash_first: Whether files are hashed before they are decoded, which spares known ones.
        rescan: Whether unchanged pairs are candidates too, so that their facts are read again.
    """

    def __init__(
        self,
        writer: Writer,
        log: IngestLog,
        *,
        retry_skipped: bool,
        hash_first: bool,
        rescan: bool = False,
    ) -> None:
        self._writer = writer
        self._log = log
        self._retry_skipped = retry_skipped
        self._hash_first = hash_first
        self._rescan = rescan
        self._inodes = _Inodes()
        self._away = writer.read(away.marks).keys()
        self.gone: dict[int, str] = {}  # files of items that are not where they were, by row
        self.back: set[int] = set()  # rows of items that were away, and whose file is there

    def __call__(self, pairs: Sequence[Pair]) -> list[Candidate]:
        """The candidates among some pairs, in order."""
        self._log.seen += len(pairs)
        for what, example in (note for pair in pairs for note in pair.notes):
            self._log.note(what, example)
        every = [pair.key for pair in pairs if not pair.ignored]
        broken = self._writer.read(lambda conn: skipped.recall(conn, every))
        news: list[Skipped] = []
        usable = [pair for pair in pairs if self._is_usable(pair, broken, news)]
        known = self._writer.lookup([pair.key for pair in usable])
        chosen: dict[str, Candidate] = {}
        states: dict[int, FileState] = {}  # of unchanged files, where more is known of them now
        mended: list[str] = []  # skipped in a run after the one that stored it
        for pair in usable:
            status, error = status_of(pair)
            reason, passing = (str(error), error.passing) if error else (None, None)
            if reason is None and pair.key in chosen:
                reason = "the source names it twice"
            if (before := known.get(pair.key)) is not None:
                self._note_presence(pair, before, passing)
                if reason is None and self._rescan and pair.passing:
                    reason = "a file beside it cannot be read now, so nothing was changed"
            if reason is not None:
                self._refuse(pair.key, reason, broken, news, passing)
            elif self._is_unchanged(pair, status, known, states):
                self._log.close(pair.key, "unchanged")
                mended.append(pair.key)
            elif not self._retry_skipped and is_same(pair, status, broken.get(pair.key)):
                self._log.notes[_NOT_TRIED_AGAIN] += 1
                self._log.close(pair.key, "skipped", broken[pair.key].reason, "known")
            else:
                candidate = candidate_of(pair, status, before, rescan=self._rescan)
                candidate.skipped = broken.get(pair.key)
                chosen[pair.key] = candidate
        self._note(states, news, [key for key in mended if key in broken])
        candidates = list(chosen.values())
        if self._hash_first:
            self._hash([one for one in candidates if one.sha256 is None], known)
        return candidates

    def _is_unchanged(
        self,
        pair: Pair,
        status: os.stat_result | None,
        known: dict[str, Known],
        states: dict[int, FileState],
    ) -> bool:
        """Whether nothing is to be done for a pair but, maybe, to note the state of its file."""
        before = known.get(pair.key)
        if before is None:
            return False
        if status is not None and self._is_renumbered(status, before):
            self._log.notes[_RENUMBERED] += 1
            states[before.row] = FileState.of(status)
            before = known[pair.key] = replace(before, state=states[before.row])
        if self._rescan or not is_unchanged(pair, status, before):
            return False
        if status is not None and (now := FileState.of(status)) != before.state:
            states[before.row] = now
        return True

    def _note_presence(self, pair: Pair, before: Known, passing: Passing | None) -> None:
        """Note whether the file of an item is where it was."""
        if passing == "gone" and isinstance(pair.image, str) and before.path == pair.image:
            self.gone[before.row] = pair.image
        elif passing is None and before.row in self._away:
            self.back.add(before.row)

    def _note(
        self, states: dict[int, FileState], news: Sequence[Skipped], mended: Sequence[str]
    ) -> None:
        if states:
            self._writer.note_states(states)
        if news:
            self._writer.change(lambda conn: skipped.remember(conn, news))
        if mended:
            self._writer.change(lambda conn: skipped.forget(conn, mended))

    def _is_usable(self, pair: Pair, broken: Mapping[str, Skipped], news: list[Skipped]) -> bool:
        reason = pair.refused or problem(pair)
        if reason is None:
            return True
        if pair.ignored:
            self._log.close(pair.key, "skipped", reason, "ignored")
        else:
            self._refuse(pair.key, reason, broken, news, pair.passing)
        return False

    def _refuse(
        self,
        key: str,
        reason: str,
        broken: Mapping[str, Skipped],
        news: list[Skipped],
        passing: Passing | None,
    ) -> None:
        """Close a pair that is not even tried; it is no news if it was so before."""
        before = broken.get(key)
        is_known = before is not None and before.reason == reason
        if not is_known and is_storable(key):
            news.append(Skipped(key, None, None, reason))
        self._log.close(key, "skipped", reason, "known" if is_known else None, passing)

    def _is_renumbered(self, status: os.stat_result, before: Known) -> bool:
        """Whether nothing but the inode changed, on a file system where that means nothing."""
        return (
            self._hash_first
            and FileState.of(status).is_renumbered(before.state)
            and self._inodes.mean_nothing(status.st_dev)
        )

    def _hash(self, candidates: Sequence[Candidate], known: dict[str, Known]) -> None:
        """Mark those whose bytes are stored."""
        with ThreadPoolExecutor(_HASHERS, thread_name_prefix="hash") as threads:
            hashes = list(threads.map(content_hash, [c.pair.image for c in candidates]))
        stored = self._writer.by_sha256([sha256 for sha256 in hashes if sha256 is not None])
        for candidate, sha256 in zip(candidates, hashes, strict=True):
            twin = None if sha256 is None else stored.get(sha256)
            if twin is not None:
                candidate.sha256 = sha256
                own = known.get(candidate.pair.key)  # of another's copy, what is within it is new
                candidate.reads_facts |= own is None or own.sha256 != sha256
                if twin.has_caption and twin.caption == candidate.pair.caption:
                    candidate.caption = twin.caption
            before, status = known.get(candidate.pair.key), candidate.status
            if before is None or status is None:
                continue
            if FileState.of(status).is_renumbered(before.state):
                self._inodes.learn(status.st_dev, same=sha256 == before.sha256)


class _Inodes:
    """Learns on which file systems a new inode means nothing.

    FAT, and many that come over a network, number their files anew whenever they are mounted.
    """

    def __init__(self) -> None:
        self._same: Counter[int] = Counter()  # device -> files whose inode alone had changed
        self._telling: set[int] = set()  # devices where another inode was another content

    def learn(self, device: int, *, same: bool) -> None:
        """Take down whether a file had the same bytes under its new inode."""
        self._same[device] += same
        if not same:
            self._telling.add(device)

    def mean_nothing(self, device: int) -> bool:
        """Whether enough files had the same bytes, and all of them."""
        return self._same[device] >= _TRIALS and device not in self._telling


def problem(pair: Pair) -> str | None:
    """Why a pair cannot be stored whatever its bytes are, or None."""
    if pair.image is None and not (pair.caption and pair.caption.strip()):
        return "neither an image nor a caption"
    if "\0" in pair.key or (isinstance(pair.image, str) and "\0" in pair.image):
        return "the path contains a NUL character"
    return None if is_storable(pair.key) else "the name is not valid Unicode"


def status_of(pair: Pair) -> tuple[os.stat_result | None, ImageDecodeError | None]:
    """The status of a pair's file, or why it cannot be read; neither for one without a file."""
    if not isinstance(pair.image, str):
        return None, None
    try:
        status = os.stat(pair.image)
    except OSError as exc:
        passing = passing_of(exc)
        reason = "the file is gone" if passing == "gone" else exc.strerror or str(exc)
        return None, ImageDecodeError(reason, passing=passing)
    if not stat.S_ISREG(status.st_mode):
        return None, ImageDecodeError("not a regular file")
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


def has_left(before: Known, path: str | None, lacks: Lacks | None = None) -> bool:
    """Whether the file of an item is no longer where it was, now that its bytes are at `path`.

    It is gone, or the table or archive that held it is, or no longer has it; or another spelling of
    its name leads to it, where upper and lower case are the same; or another file has taken its
    place.
    """
    if before.path is None:
        if before.place is None:
            return False
        return is_gone(file_around(before.place)) or bool(lacks and lacks(before.place))
    if before.path == path:
        return False
    try:
        status = os.stat(before.path)
    except (FileNotFoundError, NotADirectoryError):
        return is_gone(before.path)
    except OSError:
        return False
    if path is not None and _is_spelled_anew(before.path, path):
        return True
    if FileState.of(status).fits(before.state) or not stat.S_ISREG(status.st_mode):
        return False
    now = content_hash(before.path)
    return now is not None and now != before.sha256


def _is_spelled_anew(old: str, new: str) -> bool:
    """Whether two names differ in case or the form of accents, and there is only the new one."""
    if caseless(old) != caseless(new):
        return False
    try:
        names = os.listdir(os.path.dirname(old))
        return os.path.samefile(old, new) and os.path.basename(old) not in names
    except OSError:
        return False


def candidate_of(
    pair: Pair, status: os.stat_result | None, before: Known | None, *, rescan: bool
) -> Candidate:
    """A pair with what need not be done for it again.

    Args:
        pair: It.
        status: Of its file, if it has one.
        before: The item that is stored under its key.
        rescan: Whether its facts are read again in any case.
    """
    candidate = Candidate(pair, status, reads_facts=rescan)
    if before is None:
        return candidate
    if before.has_image and status is not None and _has_same_file(pair, status, before):
        candidate.sha256 = before.sha256
    if before.has_caption:
        candidate.caption = before.caption
    candidate.reads_facts |= bool(pair.beside) and pair.beside != before.beside
    return candidate


def is_unchanged(pair: Pair, status: os.stat_result | None, before: Known) -> bool:
    """Whether an item was stored from the same file and caption, with the same columns."""
    if pair.caption and pair.caption != before.caption:
        return False
    if pair.beside and pair.beside != before.beside:
        return False
    if not has_columns(pair, before):
        return False
    if status is None:  # bytes are hashed in any case; a caption alone is compared above
        return pair.image is None
    return _has_same_file(pair, status, before)


def _has_same_file(pair: Pair, status: os.stat_result, before: Known) -> bool:
    return before.path == pair.image and FileState.of(status).fits(before.state)


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
    return FileState.of(status).fits(broken.state)


def content_hash(image: str | bytes | None) -> str | None:
    """SHA-256 of an image's bytes; None where there are none to read (decoding says why)."""
    if image is None:
        return None
    if isinstance(image, bytes):
        return hashlib.sha256(image).hexdigest()
    try:
        with open_regular(image) as file:
            if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                return None
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
