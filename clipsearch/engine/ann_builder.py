"""Building, extending and tuning ANN files, while searches and a writer go on."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import IndexCorruptError
from ..files import sync
from ..types import Modality
from ..vectors import Floats, Rows, exact_top_k_many, is_in
from . import ann, catalog
from .ann import Trained, ann_file
from .database import CATALOG, translated
from .file_facts import AnnEntry, facts_of
from .garbage import BUILD_LOCK_FILE
from .lock import WriterLock
from .reader import Reader
from .refresh import probe_vectors
from .snapshot import MODALITIES, VectorStore
from .writer import Writer

__all__ = ["TARGET_RECALL", "build", "needed"]

TARGET_RECALL = 0.98  # recall@10 against exact search, on texts
# Tuned on one half of the sample queries to a little more, so that the other half, which measures,
# and texts that nobody thought of, do not fall short.
_TUNED_RECALL = 0.985
_K = 10
_TIES = 64  # rows that may share the tenth place
_MOST_QUERIES = 400
_REFINE = (30, 50, 100, 200, 300, 500, 1000)
# What scoring a candidate again costs, in codes scanned: about 3 us against 70 ns.
_REFINE_COST = 40
# Vectors beyond the ANN file are searched exactly; above this share of what is searched exactly
# anyway they are added to the file, and a file that grew this much is trained anew.
_TAIL_SHARE = 0.5
_RETRAIN_GROWTH = 2.0
_DELETED_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class _Tuning:
    nprobe: int
    refine: int
    recall: float


def needed(store: VectorStore, entry: AnnEntry | None, *, can_tune_on_texts: bool) -> str | None:
    """What an ANN file needs: "train", "extend", "drop", or None when it is fine as it is."""
    if len(store) <= store.exact_limit:
        return "drop" if entry is not None else None
    if entry is None or store.ann is None:  # there is none, or it cannot be read
        return "train"
    if entry.parameters.get("tuned_on") != "texts" and can_tune_on_texts:
        return "extend"  # which tunes it anew
    tail = store.tail_count()
    deleted = entry.count - (store.stored - tail) + int((store.deleted <= entry.covered_to).sum())
    trained = int(entry.parameters.get("trained_on", entry.count))
    if len(store) > trained * _RETRAIN_GROWTH or deleted > entry.count * _DELETED_SHARE:
        return "train"
    return "extend" if tail > store.exact_limit * _TAIL_SHARE else None


def build(
    folder: Path, reader: Reader, *, force: bool = False, wait: bool | float = True
) -> dict[Modality, str | None]:
    """Build or extend the ANN files that need it.

    Building works on one committed state and holds no writer lock; only putting the new file in
    place does, for a moment.

    Args:
        folder: The folder of the index.
        reader: Reads it.
        force: Whether to train anew in any case, however few vectors there are.
        wait: How long to wait for the writer lock at the end.

    Returns:
        What was done by modality: "train", "extend", "drop" or None.

    Raises:
        IndexLockedError: Another process is building, or writing longer than `wait`.
        StorageError: The disk refused.
    """
    done: dict[Modality, str | None] = {}
    with WriterLock(folder / "ann" / BUILD_LOCK_FILE, purpose="building an ANN file of").acquire():
        for modality in MODALITIES:
            done[modality] = _build(folder, reader, modality, force=force, wait=wait)
    return done


def _build(
    folder: Path, reader: Reader, modality: Modality, *, force: bool, wait: bool | float
) -> str | None:
    snapshot, entry, probes = reader.run(
        lambda conn, now: (now, catalog.ann_entries(conn).get(modality), catalog.probes(conn))
    )
    store, captions = snapshot.store(modality), snapshot.store("caption")
    what = needed(store, entry, can_tune_on_texts=bool(probes) or len(captions) > 0)
    if force:
        what = "train" if len(store) else ("drop" if entry is not None else None)
    if what is None:
        return None
    if what == "drop":
        with Writer(folder, wait=wait, opened=reader.opened) as writer:
            writer.change(lambda conn: catalog.delete_ann(conn, modality))
        return what
    path = ann_file(folder, f"{modality}-{secrets.token_hex(8)}")
    beside = path.with_suffix(".tmp")
    try:
        with translated(folder / CATALOG):
            trained = _filled(folder, store, entry, what)
            trained.write(beside)
            queries, tuned_on = _queries(store, captions, probes)
            tuning = _tune(trained, store, queries)
            facts, head = facts_of(beside), trained.head(beside)
        parameters = {
            "nprobe": tuning.nprobe,
            "refine": tuning.refine,
            "nlist": int(trained.index.nlist),
            "tuned_on": tuned_on,
            "trained_on": (
                entry.parameters.get("trained_on", entry.count)
                if what == "extend" and entry is not None
                else trained.count
            ),
        }
        new = AnnEntry(
            modality,
            path.stem,
            f"IVF{trained.index.nlist},RaBitQ{ann.BITS}",
            trained.covered_to,
            trained.count,
            facts,
            parameters,
            tuning.recall,
            datetime.now(UTC).isoformat(timespec="seconds"),
            head,
        )
        del trained
        with (
            Writer(folder, wait=wait, opened=reader.opened) as writer,
            translated(folder / CATALOG),
        ):
            beside.rename(path)
            sync(path.parent)
            writer.change(lambda conn: catalog.set_ann(conn, new))
    finally:
        with contextlib.suppress(OSError):  # the next writer deletes it
            beside.unlink()
    return what


def _filled(folder: Path, store: VectorStore, entry: AnnEntry | None, what: str) -> Trained:
    """An ANN file in memory with every live vector of the state."""
    if what == "extend" and entry is not None:
        try:
            trained = ann.extend(folder, entry, store.dim)
        except IndexCorruptError:
            pass  # train anew
        else:
            trained.add(store.live_as_stored(after=entry.covered_to))
            return trained
    lists = ann.list_count(len(store))
    _, sample = store.sample(lists * ann.TRAIN_PER_LIST, np.random.default_rng(0))
    trained = ann.train(sample, min(lists, len(sample)))
    trained.add(store.live_as_stored())
    return trained


def _queries(
    store: VectorStore, captions: VectorStore, probes: Mapping[str, bytes]
) -> tuple[Floats, str]:
    """Sample queries, float32 [m, dim]: generic texts and captions of the index; and their name.

    Texts lie off the distribution of images, and what finds the neighbours of an image in a few
    lists misses many of a text. Only an index that has no text at all is tuned on its own vectors.
    """
    rng = np.random.default_rng(1)
    _, own = captions.sample(_MOST_QUERIES // 2, rng)
    texts = np.concatenate([probe_vectors(probes, store.dim), own])
    if len(texts) == 0:
        return store.sample(_MOST_QUERIES, rng)[1], "stored vectors"
    return texts[rng.permutation(len(texts))[:_MOST_QUERIES]], "texts"


def _tune(trained: Trained, store: VectorStore, queries: Floats) -> _Tuning:
    """Find the cheapest settings that reach the target, and measure them on other queries."""
    exact = exact_top_k_many(store.live_as_stored(), queries, _TIES)
    wanted = [_within_ten(rows, scores) for rows, scores in exact]
    half = len(queries) // 2 or len(queries)
    lists = int(trained.index.nlist)
    length = trained.count / lists
    deepest = min(_REFINE[-1], trained.count)
    depths = [refine for refine in _REFINE if refine < deepest] + [deepest]
    choices: list[tuple[float, _Tuning]] = []
    last = _Tuning(lists, deepest, 0.0)
    for nprobe in _probe_steps(lists):
        if choices and nprobe * length >= min(cost for cost, _ in choices):
            break  # anything further costs more
        found = ann.search(trained.index, queries, deepest, nprobe)
        shares = np.stack([_shares(found[q], *wanted[q], depths) for q in range(len(queries))])
        for depth, of_depth in zip(depths, shares.T, strict=True):  # [depths, queries]
            measured = float(np.mean(of_depth[half:] if half < len(queries) else of_depth))
            last = _Tuning(nprobe, depth, measured)
            if np.mean(of_depth[:half]) >= _TUNED_RECALL and measured >= TARGET_RECALL:
                choices.append((nprobe * length + depth * _REFINE_COST, last))
                break  # more candidates of these lists cost more
    return min(choices, key=lambda choice: choice[0])[1] if choices else last


def _probe_steps(lists: int) -> Iterator[int]:
    """Numbers of lists to try, each about a third more than the one before."""
    step = 2.0
    last = 0
    while last < lists:
        now = min(round(step), lists)
        if now > last:
            yield now
        last = now
        step *= 1.3


def _within_ten(rows: Rows, scores: Floats) -> tuple[Rows, int]:
    """The rows that may be among the ten best, and how many of them are."""
    if rows.size == 0:
        return rows, 0
    count = min(_K, rows.size)
    return np.sort(rows[scores >= scores[count - 1]]), count


def _shares(found: Rows, wanted: Rows, count: int, depths: list[int]) -> npt.NDArray[np.float64]:
    """Recall of one query at several depths: the share of its ten best among the first found."""
    if count == 0:
        return np.ones(len(depths))
    hits = np.cumsum(is_in(found, wanted))  # ties of the tenth count as one
    shares: npt.NDArray[np.float64] = np.minimum(hits[np.asarray(depths) - 1], count) / count
    return shares
