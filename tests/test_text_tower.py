"""Texts without torch: the same tokens and vectors, from a cache that may be gone or broken."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clipsearch import load_encoder
from clipsearch.cache import CACHE_VARIABLE
from clipsearch.encoders.textencoder import LightTextEncoder, keep_text_tower
from clipsearch.encoders.texts import TextTruncatedWarning, shortened
from clipsearch.encoders.texttower import TextTower
from clipsearch.encoders.tokenizer import BytePairTokenizer
from clipsearch.errors import EncoderMismatchError, InvalidInputError
from clipsearch.models import load_text_encoder

TEXTS = [
    "a red bus",
    "two dogs & a CAT, running?",
    "ein Hund läuft 😀",
    "x",
    "it's 1,234 &lt;b&gt;",
]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "text"


@pytest.fixture(scope="module")
def tokenizers():
    from open_clip.tokenizer import SimpleTokenizer

    return {
        clean: (SimpleTokenizer(context_length=48, clean=clean), BytePairTokenizer(48, clean))
        for clean in ("lower", "canonicalize", "whitespace")
    }


# Whatever cleaning treats in a way of its own.
ODD = "aZß9'’ \t\n\r\x00\x1b&;<>_-!?.ſİıéñ漢字😀👨‍👩‍👧\u200b\ufeff\x85ﬁÀ²½Ⅷ‘“‽٣"  # noqa: RUF001


@settings(max_examples=300, deadline=None)
@given(text=st.one_of(st.text(max_size=80), st.text(ODD, max_size=80)))
@example("&amp;lt; don't I'LL it'ſ <start_of_text> <END_OF_TEXT> x")  # noqa: RUF001
@example("a " * 100)
@example("w" * 300)
@example("!!! ... ???")
@example("\ud800 half a surrogate")
def test_tokens_are_open_clips(tokenizers, text):
    text = text.encode("utf-8", "replace").decode()  # open_clip cannot encode half surrogates
    for theirs, ours in tokenizers.values():
        np.testing.assert_array_equal(ours([text]), theirs([text]).numpy())


def test_vectors_are_the_models(encoder, cache):
    assert keep_text_tower(encoder)
    light = load_text_encoder("clipsearch-mini", encoder.fingerprint, device="cpu")
    assert isinstance(light, LightTextEncoder)
    vectors = light.encode_texts(TEXTS * 30)
    reference = encoder.encode_texts(TEXTS * 30)
    assert (vectors * reference).sum(axis=1).min() > 0.99999
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for name in ("name", "dim", "fingerprint", "preprocessing", "logit_bias", "context_length"):
        assert getattr(light, name) == getattr(encoder, name)
    assert light.logit_scale == pytest.approx(encoder.logit_scale)
    assert light.encode_texts([]).shape == (0, encoder.dim)


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_towers_of_other_shapes_agree_too(quick_gelu):
    import open_clip
    import torch

    from clipsearch.encoders.textexport import export_text_tower

    torch.manual_seed(0)
    text = {"context_length": 20, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 3}
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    model = open_clip.CLIP(32, vision, text, quick_gelu=quick_gelu).eval()
    tower = export_text_tower(
        model, clean="lower", logit_bias=None, logit_scale=1.0, preprocessing={}
    )
    tokens = BytePairTokenizer(20)(TEXTS)
    with torch.inference_mode():
        reference = model.encode_text(torch.from_numpy(tokens), normalize=True).numpy()
    np.testing.assert_allclose(tower.encode(tokens), reference, atol=1e-5)


def test_a_bidirectional_tower_is_not_taken_for_a_causal_one():
    import open_clip

    from clipsearch.encoders.textexport import export_text_tower

    text = {"context_length": 8, "width": 64, "heads": 2, "layers": 1, "no_causal_mask": True}
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    model = open_clip.CustomTextCLIP(32, vision, text)
    kept = export_text_tower(
        model, clean="lower", logit_bias=None, logit_scale=1.0, preprocessing={}
    )
    assert kept is None


def test_images_load_the_whole_model_and_only_that_one(encoder, cache, photos):
    keep_text_tower(encoder)
    loaded = []

    def load():
        loaded.append(1)
        return encoder

    tower = TextTower.load(next(cache.iterdir()))
    light = LightTextEncoder("clipsearch-mini", encoder.fingerprint, tower, load)
    light.encode_texts(["a dog"])
    assert not loaded
    np.testing.assert_array_equal(
        light.encode_images(photos[:2]), encoder.encode_images(photos[:2])
    )
    light.encode_images(photos[:1])
    assert loaded == [1]
    other = LightTextEncoder("clipsearch-mini", "another", tower, load)
    with pytest.raises(EncoderMismatchError, match="weights have changed"):
        other.encode_images(photos[:1])


def test_a_broken_cache_is_made_again(encoder, cache):
    keep_text_tower(encoder)
    (folder,) = cache.iterdir()
    for left in (b"cut short", b""):
        (folder / "mlp_in.npy").write_bytes(left)
        assert TextTower.load(folder) is None
    whole = load_text_encoder("clipsearch-mini", encoder.fingerprint, device="cpu")
    assert not isinstance(whole, LightTextEncoder)
    again = load_text_encoder("clipsearch-mini", encoder.fingerprint, device="cpu")
    assert isinstance(again, LightTextEncoder)


def test_a_cache_that_cannot_be_written_is_no_error(encoder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    assert not keep_text_tower(encoder)


def test_bad_and_long_texts(encoder, cache):
    keep_text_tower(encoder)
    light = load_text_encoder("clipsearch-mini", encoder.fingerprint)
    for bad in ([""], ["  "], "a single string", [None]):
        with pytest.raises(InvalidInputError):
            light.encode_texts(bad)
    with pytest.warns(TextTruncatedWarning, match="cut to the model's 48"):
        light.encode_texts(["a dog and " * 40])
    with pytest.warns(TextTruncatedWarning):
        light.encode_texts(["y" * 100_000 + " and words" * 10_000])  # in no time
    assert shortened("a " * 6000) == ("a " * 6000)[:10_000]
    assert shortened("b" * 600 + " c") == "b" * 500 + " c"


def test_a_query_in_a_new_process_needs_no_torch(encoder, cache):
    keep_text_tower(encoder)
    code = (
        "import sys; from clipsearch.models import load_text_encoder\n"
        f"e = load_text_encoder('clipsearch-mini', {encoder.fingerprint!r})\n"
        "print(e.encode_texts(['a red bus']).shape)\n"
        "heavy = {'torch', 'open_clip', 'pandas', 'faiss', 'PIL.JpegImagePlugin'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == [f"(1, {encoder.dim})", "[]"]


def test_the_bundled_model_is_loaded_again_to_the_same_fingerprint(encoder):
    assert load_encoder("clipsearch-mini", device="cpu").fingerprint == encoder.fingerprint
