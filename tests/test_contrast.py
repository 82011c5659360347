"""The losses of contrastive training, against torch's own functions and its autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from clipsearch.errors import InvalidInputError
from clipsearch.explore.contrast import pick_batch, sigmoid_loss, softmax_loss, training_step


def batch(seed=0, size=4, dim=16):
    rng = np.random.default_rng(seed)
    images, texts = rng.normal(size=(2, size, dim))
    texts = images + 1.5 * texts
    return tuple(one / np.linalg.norm(one, axis=1, keepdims=True) for one in (images, texts))


def in_torch(images, texts, scale, bias):
    """The loss as the papers' pseudocode has it, of vectors that are normalised first."""
    pair = [torch.tensor(one, requires_grad=True) for one in (images, texts)]
    image, text = (functional.normalize(one, dim=-1) for one in pair)
    logits = scale * image @ text.T
    logits.retain_grad()
    if bias is None:
        labels = torch.arange(len(images))
        loss = functional.cross_entropy(logits, labels) + functional.cross_entropy(logits.T, labels)
        loss = loss / 2
    else:
        signs = 2 * torch.eye(len(images)) - 1
        loss = -functional.logsigmoid(signs * (logits + bias)).sum() / len(images)
    loss.backward()
    return loss.item(), logits.grad.numpy(), [one.grad.numpy() for one in pair]


def ours(images, texts, scale, bias):
    if bias is None:
        return softmax_loss(images, texts, scale)
    return sigmoid_loss(images, texts, scale, bias)


KINDS = pytest.mark.parametrize(("scale", "bias"), [(1, None), (100, None), (10, -10), (112, -16)])


@KINDS
@pytest.mark.parametrize("size", [1, 4, 7])
def test_losses_and_forces_are_those_of_torch(scale, bias, size):
    images, texts = batch(size=size)
    found = ours(images, texts, scale, bias)
    loss, gradient, _ = in_torch(images, texts, scale, bias)
    assert found.loss == pytest.approx(loss, rel=1e-9)
    np.testing.assert_allclose(found.errors / size, gradient, atol=1e-12)
    assert (np.diag(found.errors) <= 0).all()
    assert (found.errors - np.diag(np.diag(found.errors)) >= 0).all()


@KINDS
def test_a_step_goes_against_the_gradient_of_autograd(scale, bias):
    images, texts = batch()
    _, _, gradients = in_torch(images, texts, scale, bias)
    found = ours(images, texts, scale, bias)
    moved = training_step(images, texts, found, scale, 0.05)
    for before, gradient, after in zip((images, texts), gradients, moved, strict=True):
        expected = before - 0.05 * gradient
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(after, expected, atol=1e-12)


@pytest.mark.parametrize(("scale", "bias"), [(5, None), (21, None), (100, None), (100, -10)])
def test_steps_lower_the_loss_even_of_shuffled_captions(scale, bias):
    images, texts = batch(dim=512)
    texts = np.roll(texts, 1, axis=0)
    first = ours(images, texts, scale, bias).loss
    assert first > ours(images, np.roll(texts, -1, axis=0), scale, bias).loss
    losses = [first]
    for _ in range(30):
        images, texts = training_step(images, texts, ours(images, texts, scale, bias), scale, 0.05)
        losses.append(ours(images, texts, scale, bias).loss)
    assert losses[-1] < 0.5 * first
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1)


def test_softmax_adds_up_and_guessing_costs_the_logarithm_of_the_batch():
    images, texts = batch()
    found = softmax_loss(images, texts, 30)
    np.testing.assert_allclose(found.by_image.sum(axis=1), 1)
    np.testing.assert_allclose(found.by_text.sum(axis=0), 1)
    assert softmax_loss(images, np.repeat(texts[:1], 4, axis=0), 30).text_losses.mean() > 0
    assert softmax_loss(images, texts, 1e-9).loss == pytest.approx(np.log(4))


def test_a_batch_of_another_shape_is_refused():
    images, texts = batch()
    for wrong in (texts[:3], texts[:, :5], texts[0]):
        with pytest.raises(InvalidInputError, match="as many texts as images"):
            softmax_loss(images, wrong, 1)


def test_a_batch_is_of_images_that_differ_or_are_alike_and_another_one_for_another_seed():
    rng = np.random.default_rng(0)
    groups = np.eye(8)[np.repeat(np.arange(4), 5)] + rng.normal(scale=0.01, size=(20, 8))
    unlike = [pick_batch(groups, 4, seed, alike=False) for seed in range(5)]
    alike = [pick_batch(groups, 4, seed, alike=True) for seed in range(5)]
    assert all({place // 5 for place in places} == {0, 1, 2, 3} for places in unlike)
    assert all(len({place // 5 for place in places}) == 1 for places in alike)
    assert all(len(set(places)) == 4 for places in alike)
    assert len({tuple(places) for places in unlike}) > 1
    assert sorted(pick_batch(groups[:3], 4, 0, alike=True)) == [0, 1, 2]
    assert pick_batch(groups[:0], 4, 0, alike=False) == []
