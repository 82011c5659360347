"""Measures against examples worked by hand and against CLIP_benchmark's definition."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.classification import chances
from clipsearch.classification.metrics import (
    expected_calibration_error,
    positive_ranks,
    ranks_figures,
    top_k_accuracy,
)


def clip_benchmark_recall(scores, positive, k):
    """`recall_at_k(...) > 0`, averaged over queries, as CLIP_benchmark defines it."""
    topk = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    true_positives = np.take_along_axis(positive, topk, axis=1).sum(axis=1)
    return float((true_positives / positive.sum(axis=1) > 0).mean())


def test_retrieval_worked_by_hand():
    # Two images along the axes; captions 0, 1 belong to image 0, captions 2, 3 to image 1.
    images = np.array([[1, 0], [0, 1]], np.float32)
    captions = np.array([[1, 0], [0.6, 0.8], [0.8, 0.6], [0, 1]], np.float32)
    image_of = np.array([0, 0, 1, 1])
    t2i = positive_ranks(captions, images, [np.array([i]) for i in image_of])
    assert t2i.tolist() == [1, 2, 2, 1]  # captions 1 and 2 lean to the other image
    i2t = positive_ranks(images, captions, [np.array([0, 1]), np.array([2, 3])])
    assert i2t.tolist() == [1, 1]  # each image finds one of its two captions first
    figures = ranks_figures(t2i, (1, 2))
    assert figures.recall == {1: 0.5, 2: 1.0}
    assert figures.median_rank == 1.5
    assert figures.mrr == pytest.approx((1 + 0.5 + 0.5 + 1) / 4)


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 3))
def test_retrieval_counts_as_clip_benchmark(seed, images, most):
    rng = np.random.default_rng(seed)
    image_of = np.repeat(np.arange(images), rng.integers(1, most + 1, images))
    i = rng.integers(-2, 3, (images, 3)).astype(np.float32)  # small integers: many ties
    t = rng.integers(-2, 3, (len(image_of), 3)).astype(np.float32)
    positive = image_of[:, None] == np.arange(images)
    t2i = positive_ranks(t, i, [np.array([row]) for row in image_of])
    i2t = positive_ranks(i, t, [np.flatnonzero(image_of == row) for row in range(images)])
    for k in (1, 5, 10):
        recall = ranks_figures(t2i, (k,)).recall[k]
        assert recall == pytest.approx(clip_benchmark_recall(t @ i.T, positive, k))
        recall = ranks_figures(i2t, (k,)).recall[k]
        assert recall == pytest.approx(clip_benchmark_recall(i @ t.T, positive.T, k))


def test_calibration_error_worked_by_hand():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    right = np.array([True, True, True, False, True, False])
    # Two bins: 4/6 of the images are 0.95 sure and 0.75 right, 2/6 are 0.55 sure and 0.5 right.
    expected = 4 / 6 * 0.20 + 2 / 6 * 0.05
    assert expected_calibration_error(confidence, right) == pytest.approx(expected)
    assert expected_calibration_error(np.ones(3), np.ones(3, bool)) == 0


def test_top_k():
    scores = np.array([[0.1, 0.9, 0.5], [0.3, 0.3, 0.1]])
    assert top_k_accuracy(scores, np.array([2, 1]), 1) == 0  # of a tie the earlier class counts
    assert top_k_accuracy(scores, np.array([2, 1]), 2) == 1


def test_chances_are_scipys():
    logits = np.concatenate(
        [np.random.default_rng(0).normal(size=(5, 7)), [[-800, 0, 800] * 2 + [0]]]
    )
    for ours in ("softmax", "log_softmax", "logsumexp"):
        expected = getattr(scipy.special, ours)(logits, axis=1)
        np.testing.assert_allclose(getattr(chances, ours)(logits), expected, rtol=1e-12)
    wide = np.linspace(-700, 700, 1401)
    np.testing.assert_allclose(chances.sigmoid(wide), scipy.special.expit(wide), rtol=1e-12)
