"""The runtime without torch: the vectors of torch, from a cache that may be gone or broken."""

from __future__ import annotations

import logging
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from clipsearch import load_encoder
from clipsearch.cache import CACHE_VARIABLE
from clipsearch.encoders.light import LightEncoder
from clipsearch.encoders.loader import open_encoder
from clipsearch.encoders.weights import float8_values
from clipsearch.images import prepare
from clipsearch.models import load_text_encoder

TEXTS = ["a red bus", "two dogs & a CAT, running?", "ein Hund läuft 😀"]


@pytest.fixture(scope="module")
def in_torch(other):
    return open_encoder(other, device="cpu", precision="fp32")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def kept(cache, other):
    """The folder of a model that torch has exported."""
    load_encoder(other, device="cpu", precision="fp32")
    (folder,) = (cache / "models").iterdir()
    return folder


@pytest.fixture
def no_torch(monkeypatch):
    """Whoever loads a model in torch fails."""

    def fail(*_, **__):
        raise AssertionError("torch was loaded")

    monkeypatch.setattr("clipsearch.encoders.loader.open_encoder", fail)


def least_cosine(one, other):
    return (one * other).sum(axis=1).min()


def agrees(encoder, reference, photos) -> bool:
    return bool(
        least_cosine(encoder.encode_images(photos), reference.encode_images(photos)) > 0.9999
        and least_cosine(encoder.encode_texts(TEXTS), reference.encode_texts(TEXTS)) > 0.9999
    )


def test_8_bit_floats_are_read_as_torch_reads_them():
    theirs = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float().numpy()
    np.testing.assert_array_equal(float8_values(), theirs)


def test_a_model_is_exported_once_and_then_needs_no_torch(
    cache, other, in_torch, photos, monkeypatch
):
    first = load_encoder(other, device="cpu", precision="fp32")
    assert (first.runtime, first.device, first.precision) == ("openvino", "cpu", "fp32")
    monkeypatch.setattr("clipsearch.encoders.loader.open_encoder", None)
    later = load_encoder(other, device="cpu", precision="fp32")
    by_index = load_text_encoder(other, in_torch.fingerprint, device="cpu", precision="fp32")
    for light in (first, later, by_index):
        assert isinstance(light, LightEncoder)
        assert agrees(light, in_torch, photos)
        for name in ("name", "dim", "fingerprint", "preprocessing", "logit_bias", "context_length"):
            assert getattr(light, name) == getattr(in_torch, name)
        assert light.logit_scale == pytest.approx(in_torch.logit_scale)
        assert light.encode_images([]).shape == light.encode_texts([]).shape == (0, in_torch.dim)


def test_threads_may_share_it_and_nobody_is_told(encoder, photos):
    root = logging.getLogger()
    before = (root.level, list(root.filters), list(root.handlers))
    light = load_encoder("clipsearch-mini", device="cpu", precision="fp32")
    pixels = [
        np.stack([prepare(p, light.preprocessing) for p in photos[i : i + 5]]) for i in (0, 5)
    ]
    expected = [encoder.encode_pixels(some) for some in pixels]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(light.encode_pixels, pixels * 4))
    for number, vectors in enumerate(found):
        np.testing.assert_allclose(vectors, expected[number % 2], atol=2e-5)
    assert sys.modules["openvino_telemetry"] is None
    assert (root.level, root.filters, root.handlers) == before
