"""The OpenCLIP encoder: rearranged for speed, with the vectors of the model as it was trained."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from clipsearch import load_encoder
from clipsearch.encoders import loader, openclip, streams
from clipsearch.encoders.int8 import in_8_bits
from clipsearch.encoders.loader import open_encoder
from clipsearch.encoders.openclip import OpenClipEncoder
from clipsearch.errors import InvalidInputError, ModelLoadError, ModelNotFoundError
from clipsearch.images import load_image
from clipsearch.models import _BUNDLED_FOLDER

BUNDLED = f"local-dir:{_BUNDLED_FOLDER}"


@pytest.fixture(scope="module")
def in_torch():
    return open_encoder(BUNDLED, device="cpu", precision="fp32", alias="clipsearch-mini")


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """Seeded random weights of a small transformer, as a checkpoint file."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.create_model("ViT-S-32-alt", pretrained=None)
    file = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file(model.state_dict(), file)
    return f"ViT-S-32-alt:{file}"


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_vectors_are_open_clips_own(encoder, in_torch, photos, runtime):
    import open_clip

    model, transform = open_clip.create_model_from_pretrained(BUNDLED)
    with torch.inference_mode():
        pixels = torch.stack([transform(load_image(photo)) for photo in photos[:12]])
        reference = model.eval().encode_image(pixels, normalize=True).numpy()
    chosen = in_torch if runtime == "torch" else encoder
    assert chosen.runtime == runtime
    ours = chosen.encode_images([load_image(photo) for photo in photos[:12]])
    assert (ours * reference).sum(axis=1).min() > 0.99999


def test_new_weights_are_nothing_until_a_file_fills_them():
    with loader._NothingDrawn():
        layers = [
            torch.nn.Linear(3, 4),
            torch.nn.Conv2d(3, 4, 2),
            torch.nn.Embedding(3, 4),
            torch.nn.MultiheadAttention(4, 2),
        ]
    weights = [w for layer in layers for w in layer.parameters() if w.ndim > 1]
    assert len(weights) == 5
    assert all(torch.isnan(weight).all() for weight in weights)
    assert torch.isfinite(torch.nn.Linear(3, 4).weight).all()


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_a_vector_does_not_depend_on_its_batch(encoder, in_torch, photos, runtime):
    encoder = in_torch if runtime == "torch" else encoder
    together = encoder.encode_images(photos[:7])
    alone = np.concatenate([encoder.encode_images([photo]) for photo in photos[:7]])
    np.testing.assert_allclose(together, alone, atol=2e-5)


def test_padding_of_texts_is_left_out(in_torch, monkeypatch):
    """Vectors are those of padded texts, in any mix of lengths and in the order given."""
    texts = ["x", *("a red bus and a blue car " * n for n in range(1, 7)), "two dogs 😀"] * 9
    seen = []
    watch = in_torch._model.text.transformer.register_forward_pre_hook(
        lambda _, arguments: seen.append(tuple(arguments[0].shape[:2]))
    )
    cut = in_torch.encode_texts(texts)
    watch.remove()
    assert sum(rows * length for rows, length in seen) < 0.7 * len(texts) * in_torch.context_length
    monkeypatch.setattr(in_torch, "_cut", None)
    whole = in_torch.encode_texts(texts)
    assert (cut * whole).sum(axis=1).min() > 0.99999
    np.testing.assert_allclose(cut[:8], cut[8:16], atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "cuttable"),
    [
        ({}, True),
        ({"pool_type": "eos", "eos_id": 49407}, True),
        ({"proj_bias": True}, True),
        ({"pool_type": "last"}, False),
        ({"no_causal_mask": True}, False),
        ({"embed_cls": True}, False),
    ],
)
def test_only_towers_without_a_view_of_the_padding_are_cut(settings, cuttable):
    import open_clip

    from clipsearch.encoders.unpadded_texts import CutTextTower, causal_text_tower

    torch.manual_seed(0)
    text = {"context_length": 12, "width": 64, "heads": 2, "layers": 2, **settings}
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    model = open_clip.CustomTextCLIP(32, vision, text).eval()
    tower = causal_text_tower(model)
    assert (tower is not None) == cuttable
    if tower is None:
        return
    tokens = open_clip.get_tokenizer("ViT-B-32", context_length=12)(["a dog", "a red bus"])
    with torch.inference_mode():
        whole = model.encode_text(tokens)
        cut = CutTextTower(model, tower)
        assert cut.lengths(tokens).tolist() == [4, 5]
        torch.testing.assert_close(cut(tokens[:, :5]), whole)


def test_batch_norms_are_folded(in_torch):
    norms = [m for m in in_torch._model.visual.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not norms


def test_threads_are_as_they_were(in_torch, photos):
    before = torch.get_num_threads()
    in_torch.encode_images(photos[:7])
    assert torch.get_num_threads() == before


def test_8_bits_stay_close_to_float32(vit, photos):
    exact = open_encoder(vit, device="cpu", precision="fp32")
    quantised = open_encoder(vit, device="cpu", precision="int8")
    assert quantised.precision == "int8"
    assert quantised.fingerprint == exact.fingerprint
    close = (quantised.encode_images(photos[:8]) * exact.encode_images(photos[:8])).sum(axis=1)
    assert close.min() > 0.99


def test_8_bits_are_refused_where_they_do_not_help(in_torch):
    with pytest.raises(InvalidInputError, match="transformer image encoders only"):
        in_8_bits(in_torch._model.visual)


def test_batches_are_halved_when_memory_runs_out(vit, photos):
    encoder = open_encoder(vit, device="cpu", precision="fp32")
    expected = encoder.encode_images(photos[:12])
    assert not encoder.notes

    def full(module, arguments):
        if len(arguments[0]) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")

    hook = encoder._model.visual.register_forward_pre_hook(full)
    np.testing.assert_allclose(encoder.encode_images(photos[:12]), expected, atol=2e-5)
    assert encoder.notes == ["memory ran out: images were encoded 2 at a time"]
    hook.remove()

    def never(module, arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    encoder._model.visual.register_forward_pre_hook(never)
    with pytest.raises(ModelLoadError, match="out of memory encoding a single image"):
        encoder.encode_images(photos[:4])


def test_other_errors_are_not_taken_for_lack_of_memory(vit, photos):
    encoder = open_encoder(vit, device="cpu", precision="fp32")

    def broken(module, arguments):
        raise RuntimeError("shape mismatch")

    encoder._model.visual.register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        encoder.encode_images(photos[:4])


def at_once(encoder, some, threads=6):
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(encoder.encode_pixels, [some] * threads))


@pytest.fixture
def like_a_gpu(other, monkeypatch):
    """Encodes a batch a thread on the CPU, as on a GPU: the same code, streams that do nothing."""
    encoder = open_encoder(other, device="cpu", precision="fp32")
    monkeypatch.setitem(streams._AT_ONCE, "cpu", 2)
    encoder._streams = streams.Streams(torch.device("cpu"))
    encoder._cores = encoder._block = None
    return encoder


@pytest.fixture(scope="module")
def other_in_torch(other):
    return open_encoder(other, device="cpu", precision="fp32")


def probe(encoder, most=12):
    size = encoder.preprocessing.size
    return np.random.default_rng(0).integers(0, 256, (most, *size, 3), dtype=np.uint8)


def test_threads_take_turns_on_the_streams_of_a_device(like_a_gpu, other_in_torch):
    inside, most = [], []

    def enter(module, given):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.02)

    like_a_gpu._model.visual.register_forward_pre_hook(enter)
    like_a_gpu._model.visual.register_forward_hook(
        lambda module, given, made: inside.pop() and None
    )
    expected = other_in_torch.encode_pixels(probe(like_a_gpu))
    for vectors in at_once(like_a_gpu, probe(like_a_gpu)):
        np.testing.assert_allclose(vectors, expected, atol=2e-5)
    assert max(most) == 2
    assert len(like_a_gpu._streams._idle) == 2  # two streams, used again and again
    texts = ["a red bus", "two dogs"]
    expected = other_in_torch.encode_texts(texts)
    np.testing.assert_allclose(like_a_gpu.encode_texts(texts), expected, atol=2e-5)


@pytest.mark.parametrize(
    "says", ["MPS backend out of memory (MPS allocated: 9 GB)", "CUBLAS_STATUS_ALLOC_FAILED when"]
)
def test_memory_that_runs_out_in_several_threads_loses_nothing(like_a_gpu, other_in_torch, says):
    expected = other_in_torch.encode_pixels(probe(like_a_gpu))

    def full(module, given):
        if len(given[0]) > 3:
            raise RuntimeError(says)

    like_a_gpu._model.visual.register_forward_pre_hook(full)
    for vectors in at_once(like_a_gpu, probe(like_a_gpu)):
        np.testing.assert_allclose(vectors, expected, atol=2e-5)
    assert "memory ran out" in like_a_gpu.notes[0]
    assert like_a_gpu._streams.permits._value == 2


def on_an_untrusted(monkeypatch, device, model):
    monkeypatch.setattr(loader, "resolve_device", lambda asked: device)
    return open_encoder(model, device="auto", precision="fp32")


def test_a_device_without_an_operator_gives_way_to_the_processor(
    other, other_in_torch, photos, monkeypatch
):
    encoder = on_an_untrusted(monkeypatch, "meta", other)  # torch's device without any values
    assert (encoder.device, encoder.fingerprint) == ("cpu", other_in_torch.fingerprint)
    (note,) = encoder.notes
    assert "run on the CPU, because meta cannot be used: Cannot copy out of meta tensor" in note
    for mine, theirs in (
        (encoder.encode_images(photos[:9]), other_in_torch.encode_images(photos[:9])),
        (encoder.encode_texts(["a red bus"]), other_in_torch.encode_texts(["a red bus"])),
    ):
        np.testing.assert_allclose(mine, theirs, atol=2e-5)


@pytest.mark.parametrize("strays", [False, True])
def test_a_device_is_used_only_if_its_vectors_are_those_of_the_processor(
    other, other_in_torch, photos, monkeypatch, strays
):
    place = OpenClipEncoder._place

    def placed(encoder, device):
        place(encoder, device)
        if strays and device.index == 0:  # as on a device that gets a layer wrong
            encoder._model.visual.ln_post.weight.mul_(torch.linspace(0, 2, 128))

    monkeypatch.setattr(OpenClipEncoder, "_place", placed)
    monkeypatch.setattr(openclip, "_TRUSTED", ("cuda",))
    encoder = on_an_untrusted(monkeypatch, "cpu:0", other)
    assert encoder.device == ("cpu" if strays else "cpu:0")
    assert [("to a cosine of 0." in note) for note in encoder.notes] == [True] * strays
    np.testing.assert_allclose(
        encoder.encode_images(photos[:4]), other_in_torch.encode_images(photos[:4]), atol=2e-5
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.backends.mps.is_available(), reason="torch finds no Apple GPU")
def test_an_apple_gpu_gives_the_processors_vectors_to_several_threads(other_encoder, other):
    encoder = load_encoder(other, device="auto")
    assert (encoder.device, encoder.notes) == ("mps", [])
    expected = other_encoder.encode_pixels(probe(encoder))
    for vectors in at_once(encoder, probe(encoder)):
        assert (vectors * expected).sum(axis=1).min() > 0.9999


def test_half_precision_on_a_processor_agrees(vit, photos):
    exact = open_encoder(vit, device="cpu", precision="fp32")
    half = open_encoder(vit, device="cpu", precision="bf16")
    close = (half.encode_images(photos[:2]) * exact.encode_images(photos[:2])).sum(axis=1)
    assert close.min() > 0.99


@pytest.fixture
def passes(monkeypatch):
    """Seconds that passes through the image encoder are said to take, where bfloat16 is tried."""
    seconds = []
    monkeypatch.setattr(openclip, "_fast_precision", lambda device: "bf16")
    monkeypatch.setattr(openclip, "_timed", lambda encode, px: (encode(px), seconds.pop(0)))
    return seconds


def test_a_precision_in_which_photos_stray_is_not_chosen(in_torch, photos, passes):
    """The bundled model in bfloat16 passes on white noise and not on photos."""
    passes += [1, 1, 0, 0]
    half = open_encoder(BUNDLED, device="cpu", precision="bf16")
    exact = in_torch.encode_images(photos)
    assert (half.encode_images(photos) * exact).sum(axis=1).min() < 0.999
    auto = open_encoder(BUNDLED, device="cpu", precision="auto")
    assert auto.precision == "fp32"
    # with the weights as they were, not rounded and back
    assert np.allclose(auto.encode_images(photos), exact, atol=1e-5)


def test_a_faster_precision_is_chosen_where_vectors_agree(vit, passes):
    passes += [1, 1, 2, 0]
    assert open_encoder(vit, device="cpu", precision="auto").precision == "bf16"
    passes += [1, 1, 2, 2]
    assert open_encoder(vit, device="cpu", precision="auto").precision == "fp32"


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("clipsearch-mni", ModelNotFoundError, "clipsearch-mini"),
        ("ViT-B-32/laion", ModelNotFoundError, "no weights called"),
        ("ViT-B-32", ModelNotFoundError, "without weights"),
        ("ViT-B-32:/nowhere.safetensors", ModelLoadError, "no checkpoint file"),
        ("local-dir:/nowhere", ModelLoadError, "no readable open_clip_config"),
        ("ViT-B-32/openai", ModelLoadError, "QuickGELU"),
    ],
)
def test_a_model_that_cannot_be_had_says_why(name, error, says):
    with pytest.raises(error, match=says):
        load_encoder(name, device="cpu")


def test_unknown_settings_are_refused(encoder):
    with pytest.raises(InvalidInputError, match="unknown precision"):
        load_encoder(precision="fp8")
    with pytest.raises(InvalidInputError, match="unknown device"):
        load_encoder(device="abacus")
    if not torch.backends.mps.is_available():
        with pytest.raises(InvalidInputError, match="no Apple GPU"):
            load_encoder(device="mps")
    with pytest.raises(InvalidInputError, match="prepared images must be"):
        encoder.encode_pixels(np.zeros((1, 8, 8, 3), np.uint8))


def test_a_single_image_is_asked_for_in_a_list(encoder, photos):
    for single in (photos[0], str(photos[0]), photos[0].read_bytes(), load_image(photos[0])):
        with pytest.raises(InvalidInputError, match=r"wrap a single one in \[ \]"):
            encoder.encode_images(single)
