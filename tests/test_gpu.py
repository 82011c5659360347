"""On a CUDA GPU: the same answers as on the processor."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from clipsearch import Index, load_encoder
from clipsearch.cli.demo import demo_photos
from clipsearch.encoder import batch_for
from clipsearch.models import BUNDLED_MODEL

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]


@pytest.fixture(scope="module")
def on_gpu():
    return load_encoder(BUNDLED_MODEL, device="cuda", precision="fp16")


@pytest.fixture(scope="module")
def exact():
    return load_encoder(BUNDLED_MODEL, device="cpu", precision="fp32")


def test_half_precision_gives_the_processors_vectors(on_gpu, exact):
    assert on_gpu.fingerprint == exact.fingerprint
    photos = demo_photos()
    agreement = (on_gpu.encode_images(photos) * exact.encode_images(photos)).sum(1)
    assert agreement.min() > 0.999
    texts = ["a red bus", "two dogs on a beach at night", "una taza de café"] * 100
    agreement = (on_gpu.encode_texts(texts) * exact.encode_texts(texts)).sum(1)
    assert agreement.min() > 0.9999


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.9999), ("auto", 0.999)])
def test_other_precisions(precision, least, exact):
    encoder = load_encoder(BUNDLED_MODEL, device="cuda", precision=precision)
    photos = demo_photos()
    agreement = (encoder.encode_images(photos) * exact.encode_images(photos)).sum(1)
    assert agreement.min() > least


def test_an_index_made_on_a_gpu_is_searched_on_the_processor(on_gpu, exact, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, photo in enumerate(demo_photos()):
        with Image.open(photo) as image:
            image.convert("RGB").save(folder / f"{number}.png")
    with Index.create(tmp_path / "index", on_gpu) as index:
        report = index.add(folder)
        assert report.indexed == report.seen == len(demo_photos())
        theirs = [(hit.item.id, hit.score) for hit in index.search("a cat", k=5)]
    with Index.open(tmp_path / "index", exact) as index:
        ours = [(hit.item.id, hit.score) for hit in index.search("a cat", k=5)]
        again = index.add(folder)
        assert again.unchanged == again.seen
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    assert np.allclose([s for _, s in ours], [s for _, s in theirs], atol=2e-3)


def test_threads_on_streams_of_their_own_get_their_own_vectors(on_gpu):
    rng = np.random.default_rng(0)
    size = (batch_for(on_gpu), *on_gpu.preprocessing.size, 3)
    batches = [rng.integers(0, 256, size, dtype=np.uint8) for _ in range(3)]
    expected = [on_gpu.encode_pixels(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(on_gpu.encode_pixels, batches * 8))
    for number, vectors in enumerate(found):
        assert (vectors * expected[number % 3]).sum(1).min() > 0.9999


@pytest.mark.parametrize("threads", [1, 2])
def test_full_memory_halves_batches_and_loses_nothing(threads):
    encoder = load_encoder(BUNDLED_MODEL, device="cuda")
    pixels = np.random.default_rng(0).integers(
        0, 256, (batch_for(encoder), *encoder.preprocessing.size, 3), dtype=np.uint8
    )
    expected = encoder.encode_pixels(pixels)
    torch.cuda.empty_cache()
    allowed = torch.cuda.memory_reserved() + pixels.size * 4  # the batch alone, in float32
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(allowed / total)
    try:
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(encoder.encode_pixels, [pixels] * threads))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    for vectors in found:
        assert (vectors * expected).sum(1).min() > 0.999
    assert "memory ran out" in encoder.notes[0]
