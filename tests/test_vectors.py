"""The exact search is the oracle of everything else, so it is held against plain sorting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsearch.errors import InvalidInputError
from clipsearch.vectors import (
    best,
    check_vector,
    check_vectors,
    exact_top_k,
    exact_top_k_many,
    is_in,
    score,
    unit,
)


def plain_top_k(rows, vectors, query, k):
    scores = score(vectors, query)
    order = sorted(range(len(rows)), key=lambda i: (-scores[i], rows[i]))[:k]
    return [int(rows[i]) for i in order], [float(scores[i]) for i in order]


def coarse_vectors(rng, count, dim=4):
    """Vectors on a coarse grid, so that many of them tie."""
    grid = rng.integers(-1, 2, (count, dim)).astype(np.float32)
    grid[np.abs(grid).sum(1) == 0] = 1
    return unit(grid)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 80), st.integers(0, 30), st.integers(1, 5))
def test_exact_top_k_equals_plain_sorting(seed, count, k, parts):
    rng = np.random.default_rng(seed)
    vectors = coarse_vectors(rng, count)
    rows = np.sort(rng.permutation(1000)[:count]).astype(np.int64)
    query = coarse_vectors(rng, 1)[0]
    blocks = list(zip(np.array_split(rows, parts), np.array_split(vectors, parts), strict=True))
    found = exact_top_k(blocks, query, k)
    assert (found[0].tolist(), found[1].tolist()) == plain_top_k(rows, vectors, query, k)
    skip = rows[::3]
    kept = ~is_in(rows, skip)
    found = exact_top_k(blocks, query, k, skip=skip)
    assert found[0].tolist() == plain_top_k(rows[kept], vectors[kept], query, k)[0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 300), st.integers(0, 20), st.integers(1, 9))
def test_many_queries_get_the_answers_that_each_would_get(seed, count, k, queries):
    rng = np.random.default_rng(seed)
    vectors = coarse_vectors(rng, count)
    rows = np.arange(count, dtype=np.int64) * 2 + 1
    asked = coarse_vectors(rng, queries)
    blocks = list(zip(np.array_split(rows, 4), np.array_split(vectors, 4), strict=True))
    for query, found in zip(asked, exact_top_k_many(blocks, asked, k), strict=True):
        one = exact_top_k(blocks, query, k)
        assert found[0].tolist() == one[0].tolist()
    skip = rows[::3]
    for query, found in zip(asked, exact_top_k_many(blocks, asked, k, skip=skip), strict=True):
        one = exact_top_k(blocks, query, k, skip=skip)
        assert (found[0].tolist(), found[1].tolist()) == (one[0].tolist(), one[1].tolist())
        assert found[1].tolist() == one[1].tolist()


def test_a_row_scores_the_same_in_any_company():
    rng = np.random.default_rng(0)
    vectors, query = unit(rng.standard_normal((500, 512))), unit(rng.standard_normal(512))
    together = score(vectors, query)
    alone = np.concatenate([score(vectors[i : i + 1], query) for i in range(500)])
    assert (together == alone).all()
    assert np.allclose(together, vectors.astype(np.float64) @ query, atol=1e-6)


def test_ties_at_the_cut_keep_the_lowest_rows():
    rows = np.array([9, 3, 7, 1, 5], np.int64)
    found = best(rows, np.ones(5, np.float32), 3)
    assert found[0].tolist() == [1, 3, 5]


def test_check_vectors_scales_to_unit_length():
    checked = check_vectors([[3, 4], [0, 2]], 2)
    assert checked.dtype == np.float32
    assert np.allclose(checked, [[0.6, 0.8], [0, 1]])
    assert check_vector([[3.0, 4.0]], 2).shape == (2,)
    assert check_vectors(np.empty((0, 2)), 2).shape == (0, 2)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[1, 2, 3]], r"shape \[n, 2\], got \[1, 3\]"),
        ([1, 2], r"got \[2\]"),
        ([[1, np.nan]], "NaN or infinity, first in row 0"),
        ([[1, 1], [np.inf, 0]], "first in row 1"),
        ([[1, 1], [0, 0]], "zero vector.* row 1"),
        ([["a", "b"]], "must be numbers"),
    ],
)
def test_check_vectors_refuses(vectors, message):
    with pytest.raises(InvalidInputError, match=message):
        check_vectors(vectors, 2)


def test_is_in_finds_members_of_an_ascending_array():
    rows = np.array([5, 1, 9, 2], np.int64)
    assert is_in(rows, np.array([1, 9], np.int64)).tolist() == [False, True, True, False]
    assert not is_in(rows, np.empty(0, np.int64)).any()
