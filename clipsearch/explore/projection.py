"""The whole index on a plane: a place and a cluster for every image."""

from __future__ import annotations

import importlib
import importlib.util
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from ..cache import cached_key, read_entry, write_entry
from ..errors import InvalidInputError
from ..vectors import Floats, Rows

if TYPE_CHECKING:
    from ..index import Index

__all__ = ["IndexMap", "Method", "make_map"]

Method = Literal["pca", "umap"]

_SAMPLE = 5000  # vectors that projection and clusters are fitted on
_MOST_CLUSTERS = 12  # colours that can be told apart
_ROUNDS = 25  # of k-means; its clusters hardly move after a dozen
_STARTS = 5  # of k-means, of which the best counts: one random start may join two groups
_SEED = 0
_BLOCK = 2048  # vectors placed at a time: against a sample of 5000, 40 MB of scores
_NEIGHBOURS = 15  # that UMAP keeps together; its authors' default
_NEAREST = 5  # of the sample, between which any other image is placed
_CENTRAL = 8  # of a cluster, whose captions may name it
_LEVEL = 0.5  # share of rank in a place: spreads crowds out, keeps the order


@dataclass(frozen=True, slots=True)
class IndexMap:
    """A place and a cluster for every image.

    Attributes:
        rows: Ids, int64 [n], ascending.
        places: float32 [n, 2], each in [0, 1].
        clusters: int64 [n]; 0 is the largest cluster.
        centres: float32 [clusters, dim], unit length.
        means: float32 [clusters, dim], the mean of the vectors of each cluster, not normalised.
        central: int64 [clusters, 8], the ids nearest to each centre, nearest first; 0 for none.
    """

    rows: Rows
    places: Floats
    clusters: npt.NDArray[np.int64]
    centres: Floats
    means: Floats
    central: Rows


def make_map(index: Index, *, method: Method | None = None) -> IndexMap:
    """Lay out all images of an index on a plane.

    Clusters, about the square root of half the images and 12 at most, are found by spherical
    k-means on a sample. The plane is fitted on the sample too, and
    then every image is given its place on it. The map is kept on disk until the index changes.

    Args:
        index: The index.
        method: "pca" takes the two principal components of the clusters' centres, which tells the
            clusters apart, in a fraction of a second. "umap" keeps neighbours together and shows
            finer groups; it needs the extra `map` and seconds to minutes. By default UMAP where
            the extra is installed.

    Raises:
        InvalidInputError: There are fewer than three images; or UMAP is asked for
            and is not installed.
    """
    there = importlib.util.find_spec("umap") is not None
    method = method or ("umap" if there else "pca")
    if method == "umap" and not there:
        raise InvalidInputError("UMAP is not installed; run: pip install 'clipsearch[map]'")
    key = cached_key(index.seen_id, method, 6)
    name = f"maps/{key}.npz"
    kept = _load(name)
    if kept is not None:
        return kept
    _, sample = index.sample(_SAMPLE)
    if len(sample) < 3:
        raise InvalidInputError(f"a map needs at least 3 images; there are {len(sample)}")
    count = min(_MOST_CLUSTERS, max(3, round((len(sample) / 2) ** 0.5)))
    centres = _centres(sample, count)
    place = _by_umap(sample) if method == "umap" else _by_components(sample, centres)
    rows, places, groups, nearness = [], [], [], []
    sums = np.zeros(centres.shape, np.float64)
    for ids, vectors in index.iter_vectors("image", away=False):
        scores = vectors @ centres.T
        rows.append(ids)
        places.append(place(vectors))
        groups.append(scores.argmax(axis=1))
        nearness.append(scores.max(axis=1))
        np.add.at(sums, groups[-1], vectors)
    group, all_rows = np.concatenate(groups), np.concatenate(rows)
    sizes = np.bincount(group, minlength=len(centres))
    order = np.argsort(-sizes, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    means = (sums / np.maximum(sizes, 1)[:, None]).astype(np.float32)
    central = _central(all_rows, rank[group], np.concatenate(nearness), len(order))
    made = IndexMap(
        all_rows,
        _spread_out(np.concatenate(places)),
        rank[group],
        centres[order],
        means[order],
        central,
    )
    _save(name, made)
    return made


def _central(rows: Rows, group: npt.NDArray[np.int64], nearness: Floats, count: int) -> Rows:
    """Ids of each group that are nearest to its centre, int64 [count, 8], 0 for none."""
    central = np.zeros((count, _CENTRAL), np.int64)
    for number in range(count):
        members = np.flatnonzero(group == number)
        nearest = members[np.argsort(-nearness[members], kind="stable")[:_CENTRAL]]
        central[number, : len(nearest)] = rows[nearest]
    return central


def _by_components(sample: Floats, centres: Floats) -> Callable[[Floats], Floats]:
    """Vectors [n, dim] onto the plane that tells the centres apart best, float32 [n, 2]."""
    mean = sample.mean(axis=0)
    axes = np.linalg.svd(centres - mean, full_matrices=False)[2][:2]  # [2, dim]
    return lambda vectors: np.asarray((vectors - mean) @ axes.T, np.float32)


def _by_umap(sample: Floats) -> Callable[[Floats], Floats]:
    """The sample laid out by UMAP, and vectors [n, dim] between the nearest of it."""
    umap = importlib.import_module("umap")  # optional, and takes seconds to import
    neighbours = min(_NEIGHBOURS, len(sample) - 1)
    start = "spectral" if len(sample) > 4 * neighbours else "random"  # too few have no spectrum
    laid = np.asarray(
        umap.UMAP(
            n_neighbors=neighbours, metric="cosine", init=start, random_state=_SEED, n_jobs=1
        ).fit_transform(sample),
        np.float32,
    )
    count = min(_NEAREST, len(sample))

    def place(vectors: Floats) -> Floats:
        placed = np.empty((len(vectors), 2), np.float32)
        for begin in range(0, len(vectors), _BLOCK):
            scores = vectors[begin : begin + _BLOCK] @ sample.T  # [block, sample]
            nearest = np.argpartition(-scores, count - 1, axis=1)[:, :count]
            away = 1 - np.take_along_axis(scores, nearest, axis=1)
            weight = 1 / np.maximum(away, 1e-6)  # one of the sample stays where it is
            weight /= weight.sum(axis=1, keepdims=True)
            placed[begin : begin + _BLOCK] = (laid[nearest] * weight[..., None]).sum(axis=1)
        return placed

    return place


def _centres(sample: Floats, count: int) -> Floats:
    """Spherical k-means, float32 [count, dim], unit length."""
    import faiss

    means = faiss.Kmeans(
        sample.shape[1],
        count,
        niter=_ROUNDS,
        nredo=_STARTS,
        spherical=True,
        seed=_SEED,
        min_points_per_centroid=1,  # neither warns of few vectors
        max_points_per_centroid=len(sample),  # nor leaves any out
    )
    means.train(sample)
    return np.asarray(means.centroids, np.float32)


def _spread_out(places: npt.NDArray[np.floating]) -> Floats:
    """Coordinates [n, 2] scaled to [0, 1], crowded regions widened."""
    low, high = places.min(axis=0), places.max(axis=0)
    scaled = (places - low) / np.maximum(high - low, 1e-9)
    ranks = np.argsort(np.argsort(places, axis=0, kind="stable"), axis=0, kind="stable")
    even = ranks / max(len(places) - 1, 1)
    return np.asarray(_LEVEL * even + (1 - _LEVEL) * scaled, np.float32)


def _load(name: str) -> IndexMap | None:
    data = read_entry(name)
    if data is None:
        return None
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as kept:
            return IndexMap(**{field.name: kept[field.name] for field in fields(IndexMap)})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # damaged: made again


def _save(name: str, made: IndexMap) -> None:
    buffer = io.BytesIO()
    arrays = {field.name: getattr(made, field.name) for field in fields(IndexMap)}
    np.savez(buffer, allow_pickle=False, **arrays)
    write_entry(name, buffer.getvalue())
