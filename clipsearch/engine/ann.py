"""Approximate search: an inverted file of FAISS, derived from the vectors of one modality.

Vectors are gathered around `nlist` centres; a search looks into the `nprobe` lists whose centres
score best, estimates scores from codes of a few bits a dimension (RaBitQ), and hands on the best
candidates, which the caller scores again from the stored vectors. So the file decides which rows
are looked at, and never what they score.

The file is memory-mapped: processes that serve one index share it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import IndexCorruptError, InvalidInputError
from ..files import open_regular
from ..vectors import Block, Floats, Rows
from .ann_layout import check_layout
from .deferred import Deferred
from .file_facts import AnnEntry, FileHead, check_file, head_of
from .selection import Selection

if TYPE_CHECKING:
    import faiss  # its stubs lack much of what its wrappers add
else:
    faiss = Deferred("faiss")  # small indexes are searched exactly, and need none of it

__all__ = [
    "ANN_REMEDY",
    "MOST_ON_GPU",
    "Ann",
    "GpuVectors",
    "Trained",
    "ann_file",
    "extend",
    "gpu_count",
    "is_flat",
    "list_count",
    "open_ann",
    "train",
    "write_flat",
]

ANN_REMEDY = "It is derived from the vectors: `clipsearch compact` builds it again."

_FLAT_MARK = b"clipsearch export\n"  # after the vectors of an export; FAISS does not read it
BITS = 2  # a dimension; docs/benchmarks.md has what was compared, and why this was chosen
QUERY_BITS = 8
TRAIN_PER_LIST = 32  # training vectors a centre; more did not raise recall
_TRAIN_ROUNDS = 8
_MIN_LISTS, _MAX_LISTS = 16, 16_384
_ADD_ROWS = 16_384
MOST_ON_GPU = 2048  # FAISS's limit on k on a GPU
_GROWTH = 4  # how much more is asked for when removed rows took places
# A filter leaves matches thinner in every list, so more lists are looked into.
_MAX_FILTER_FACTOR = 64
# To ask of a code whether it is selected costs a tenth of what it costs to score it. Where a filter
# leaves less than a part in so many, most of the time goes into that, and what it leaves is copied.
_THIN = 32
_MOST_COPIED_BYTES = 32 << 20


def gpu_count() -> int:
    """How many CUDA devices FAISS can use."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "get_num_gpus") else 0


def ann_file(folder: Path, name: str) -> Path:
    """Path of an ANN file."""
    return folder / "ann" / f"{name}.faiss"


def list_count(count: int) -> int:
    """How many lists suit a number of vectors: about twice its square root.

    Four times as many search no faster (the centres are scanned as well) and take twice as long
    to build.
    """
    wanted = 2.0 * float(np.sqrt(max(count, 1)))
    return int(np.clip(2 ** round(np.log2(wanted)), _MIN_LISTS, _MAX_LISTS))


@dataclass(slots=True)
class Trained:
    """An inverted file in memory, being built.

    Attributes:
        index: FAISS's index.
        count: How many vectors it holds.
        covered_to: The last row that was added; rows are added in ascending order.
    """

    index: Any
    count: int = 0
    covered_to: int = 0

    def add(self, blocks: Iterable[Block]) -> None:
        """Add vectors with their rows, in ascending order."""
        nearest = _nearest_centre(faiss.downcast_index(self.index.quantizer))
        for rows, vectors in _pieces(blocks):
            chosen = np.ascontiguousarray(nearest.search(vectors, 1)[1][:, 0])
            # the arrays must outlive the call, which takes bare pointers
            self.index.add_core(
                rows.size, faiss.swig_ptr(vectors), faiss.swig_ptr(rows), faiss.swig_ptr(chosen)
            )
            self.count += rows.size
            self.covered_to = int(rows[-1])

    def write(self, path: Path) -> None:
        """Write the file; the caller syncs it."""
        _write(self.index, path)

    def head(self, path: Path) -> FileHead:
        """What the file that was written begins with: everything but codes and rows."""
        lists = self.count * (self.index.code_size + np.dtype(np.int64).itemsize)
        return head_of(path, path.stat().st_size - lists)


def _pieces(blocks: Iterable[Block]) -> Iterator[Block]:
    for rows, vectors in blocks:
        for start in range(0, rows.size, _ADD_ROWS):
            stop = start + _ADD_ROWS
            yield np.ascontiguousarray(rows[start:stop]), np.ascontiguousarray(vectors[start:stop])


def train(sample: Floats, lists: int, *, use_gpu: bool | None = None) -> Trained:
    """Train an inverted file.

    Args:
        sample: float32 [n, dim] unit vectors, at least as many as lists.
        lists: How many centres.
        use_gpu: Whether a CUDA device trains; None for whether there is one.
    """
    dim = sample.shape[1]
    # Centres of unit length: for texts, which lie off the distribution of the images, they rank
    # the lists far better than means do.
    clustering = faiss.Clustering(dim, lists)
    clustering.niter = _TRAIN_ROUNDS
    clustering.spherical = True
    clustering.seed = 1
    clustering.min_points_per_centroid = 1
    clustering.max_points_per_centroid = TRAIN_PER_LIST
    clustering.train(np.ascontiguousarray(sample), _flat(dim, use_gpu))
    centres = faiss.vector_to_array(clustering.centroids).reshape(lists, dim)
    quantizer = faiss.IndexFlatIP(dim)
    quantizer.add(centres)
    index = faiss.IndexIVFRaBitQ(quantizer, dim, lists, faiss.METRIC_INNER_PRODUCT, True, BITS)
    index.own_fields = True
    quantizer.this.disown()  # type: ignore[attr-defined,unused-ignore]
    index.train(np.ascontiguousarray(sample))
    return Trained(index)


def _flat(dim: int, use_gpu: bool | None) -> Any:
    """An empty index for exact search, on a GPU if one is to be used."""
    wanted = gpu_count() > 0 if use_gpu is None else use_gpu
    if not wanted:
        return faiss.IndexFlatIP(dim)
    if gpu_count() == 0:
        raise InvalidInputError("FAISS finds no CUDA device; leave out the device or use 'cpu'")
    return faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), dim)


def _nearest_centre(quantizer: Any) -> Any:
    """The quantizer, on a GPU if there is one."""
    if gpu_count() == 0:
        return quantizer
    flat = _flat(quantizer.d, True)
    flat.add(quantizer.reconstruct_n(0, quantizer.ntotal))
    return flat


def extend(folder: Path, entry: AnnEntry, dim: int) -> Trained:
    """Read an ANN file into memory, to add to it.

    Raises:
        IndexCorruptError: The file is missing or damaged.
    """
    path = ann_file(folder, entry.name)
    check_file(path, entry.facts, full=True, remedy=ANN_REMEDY)
    return Trained(_read(path, 0, entry, dim), entry.count, entry.covered_to)


class Ann:
    """An open ANN file. Safe for threads: settings go with each search.

    Args:
        index: FAISS's index.
        entry: What the catalog says of it.
    """

    def __init__(self, index: Any, entry: AnnEntry) -> None:
        self.entry = entry
        self._index = index
        self._nprobe = int(entry.parameters["nprobe"])
        self._refine = int(entry.parameters["refine"])

    def candidates(self, k: int) -> int:
        """How many candidates to score again for an answer of k; tuned for 10."""
        return self._refine if k <= 10 else self._refine + 2 * k

    def search(
        self, query: Floats, count: int, *, k: int, allowed: Selection | None, total: int
    ) -> tuple[Rows, bool]:
        """Find candidates.

        Args:
            query: float32 [dim], unit length.
            count: How many candidates.
            k: How long the answer will be.
            allowed: The only rows that may be found; None for all.
            total: How many rows the file covers.

        Returns:
            Rows, int64 [n], in no particular order, and whether there are no more to be had.
        """
        nprobe = self._nprobe
        if k > 10:  # neighbours further away lie in more lists
            nprobe = int(nprobe * (1.0 + 0.5 * np.log2(k / 10)))
        if allowed is not None and allowed.size:
            thinness = min(total / allowed.size, _MAX_FILTER_FACTOR)
            nprobe = int(nprobe * thinness)
        copied = None if allowed is None else self._copied(allowed, total)
        if copied is not None:
            rows = search(copied, query[None, :], count, nprobe)[0]
        else:
            rows = search(self._index, query[None, :], count, nprobe, allowed)[0]
        found = rows[rows >= 0]  # FAISS pads with -1
        return found, found.size < count

    def _copied(self, allowed: Selection, total: int) -> Any | None:
        """The codes of few rows by themselves, from their second search on; None for many rows."""
        if allowed.codes is None and allowed.is_used and allowed.size * _THIN <= total:
            size = allowed.size * (self._index.code_size + np.dtype(np.int64).itemsize)
            if size <= _MOST_COPIED_BYTES:  # two threads may both copy; either will do
                allowed.codes, allowed.codes_bytes = _copy(self._index, allowed), size
        allowed.is_used = True
        return allowed.codes

    def search_many(self, queries: Floats, count: int) -> Rows:
        """Candidates of several queries, int64 [m, count], padded with -1, best first."""
        return search(self._index, queries, count, self._nprobe)


def search(
    index: Any, queries: Floats, count: int, nprobe: int, allowed: Selection | None = None
) -> Rows:
    """Find candidates of several queries, int64 [m, count], padded with -1, best first."""
    selector = None
    if allowed is not None:
        selector = faiss.IDSelectorBitmap(allowed.bits)  # type: ignore[call-arg,arg-type,unused-ignore]
    parameters = faiss.IVFRaBitQSearchParameters()
    parameters.nprobe = min(max(nprobe, 1), index.nlist)
    if selector is not None:
        parameters.sel = selector  # kept alive by the local name until the search is over
    parameters.qb = QUERY_BITS
    found: Rows = index.search(np.ascontiguousarray(queries), count, params=parameters)[1]
    return found


def _copy(index: Any, selection: Selection) -> Any:
    """An inverted file in memory, around the same centres, with the codes of some rows."""
    copy: Any = faiss.IndexIVFRaBitQ(
        index.quantizer, index.d, index.nlist, faiss.METRIC_INNER_PRODUCT, True, BITS
    )
    copy.is_trained = True
    lists = index.invlists
    for number in range(index.nlist):
        size = lists.list_size(number)
        if size == 0:
            continue
        every = faiss.rev_swig_ptr(lists.get_ids(number), size)
        which = np.flatnonzero(selection.holds(every))
        if which.size == 0:
            continue
        codes = faiss.rev_swig_ptr(lists.get_codes(number), size * index.code_size)
        # the arrays must outlive the call, which takes bare pointers
        rows, of_rows = every[which], codes.reshape(size, index.code_size)[which]
        copy.invlists.add_entries(number, which.size, faiss.swig_ptr(rows), faiss.swig_ptr(of_rows))
        copy.ntotal += which.size
    return copy


def open_ann(folder: Path, entry: AnnEntry, dim: int) -> Ann:
    """Open an ANN file, memory-mapped.

    FAISS believes what it reads, and may crash where that was altered. So everything but the lists
    is hashed first: what is wrong in these leads to other candidates, whose scores are right.

    Raises:
        IndexCorruptError: The file is missing, damaged, or made for something else.
    """
    path = ann_file(folder, entry.name)
    check_file(path, entry.facts, full=entry.head is None, remedy=ANN_REMEDY)
    if entry.head is not None and head_of(path, entry.head.size_bytes) != entry.head:
        raise IndexCorruptError(f"{path} is damaged: its content was altered. {ANN_REMEDY}")
    index = _read(path, faiss.IO_FLAG_MMAP, entry, dim)
    if not {"nprobe", "refine"} <= entry.parameters.keys():
        raise IndexCorruptError(f"{path} has no settings. {ANN_REMEDY}")
    return Ann(index, entry)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[str]:
    """The name of a file for FAISS, which takes only UTF-8: else by its folder, which is open."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{folder}/{path.name}"
        finally:
            os.close(folder)
    else:
        yield str(path)


def _read(path: Path, flags: int, entry: AnnEntry, dim: int) -> Any:
    code_bytes = faiss.RaBitQuantizer(dim, faiss.METRIC_INNER_PRODUCT, BITS).code_size  # type: ignore[call-arg,unused-ignore]
    try:
        check_layout(path, dim=dim, count=entry.count, bits=BITS, code_bytes=code_bytes)
    except (ValueError, OSError) as exc:
        raise IndexCorruptError(f"{path} is damaged: {exc}. {ANN_REMEDY}") from exc
    try:
        with _named(path) as name:
            index = faiss.read_index(name, flags)
    except (RuntimeError, MemoryError) as exc:
        raise IndexCorruptError(f"{path} is damaged: it cannot be read. {ANN_REMEDY}") from exc
    return index


class GpuVectors:
    """Vectors kept on a GPU as float16 for exact search there. Safe for threads.

    Args:
        blocks: Rows with unit vectors, ascending.
        dim: Length of a vector.
    """

    def __init__(self, blocks: Iterable[Block], dim: int) -> None:
        if gpu_count() == 0:
            raise InvalidInputError("FAISS finds no CUDA device; leave out the device or use 'cpu'")
        config = faiss.GpuIndexFlatConfig()
        config.useFloat16 = True
        self._resources = faiss.StandardGpuResources()
        self._index = faiss.GpuIndexFlatIP(self._resources, dim, config)
        self._lock = threading.Lock()  # FAISS's GPU indexes are not safe for threads
        rows: list[Rows] = [np.empty(0, np.int64)]
        for block_rows, vectors in _pieces(blocks):
            self._index.add(vectors)
            rows.append(block_rows)
        self.rows: npt.NDArray[np.int64] = np.concatenate(rows)

    def candidates(self, query: Floats, count: int) -> Rows:
        """The best rows, int64 [n], in no particular order; to be scored again by the caller.

        Args:
            query: float32 [dim], unit length.
            count: How many at most, up to `MOST_ON_GPU`.
        """
        with self._lock:
            found = self._index.search(query[None, :], min(count, self._index.ntotal))[1][0]
        rows: Rows = self.rows[found[found >= 0]]
        return rows


def write_flat(path: Path, blocks: Iterable[Block], dim: int) -> int:
    """Write vectors as a plain FAISS file: `IndexIDMap2` over `IndexFlatIP`, ids are item ids.

    Holds all vectors as float32 in memory while it does.

    Returns:
        How many vectors were written.
    """
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(dim))
    for rows, vectors in _pieces(blocks):
        index.add_with_ids(vectors, rows)
    _write(index, path)
    with path.open("ab") as file:
        file.write(_FLAT_MARK)
    return int(index.ntotal)


def is_flat(path: Path) -> bool:
    """Whether a file is what `write_flat` writes."""
    with open_regular(path) as file:
        file.seek(-min(len(_FLAT_MARK), os.fstat(file.fileno()).st_size), os.SEEK_END)
        return file.read() == _FLAT_MARK


def _write(index: Any, path: Path) -> None:
    try:
        with _named(path) as name:
            faiss.write_index(index, name)
    except RuntimeError as exc:  # with the system's words within C++
        number = next((n for n in errno.errorcode if os.strerror(n) in str(exc)), errno.EIO)
        raise OSError(number, os.strerror(number), str(path)) from exc
