"""Texts without torch: the same tokens and vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clipsearch import load_encoder
from clipsearch.encoders.loader import open_encoder
from clipsearch.encoders.texts import TextTruncatedWarning, shortened
from clipsearch.encoders.tokenizer import BytePairTokenizer
from clipsearch.errors import InvalidInputError
from clipsearch.models import _BUNDLED_FOLDER

TEXTS = [
    "a red bus",
    "two dogs & a CAT, running?",
    "ein Hund läuft 😀",
    "x",
    "it's 1,234 &lt;b&gt;",
]


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


@pytest.fixture(scope="module")
def in_torch():
    return open_encoder(
        f"local-dir:{_BUNDLED_FOLDER}", device="cpu", precision="fp32", alias="clipsearch-mini"
    )


def test_vectors_are_the_models(encoder, in_torch):
    vectors = encoder.encode_texts(TEXTS * 30)
    reference = in_torch.encode_texts(TEXTS * 30)
    assert (vectors * reference).sum(axis=1).min() > 0.99999
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for name in ("name", "dim", "fingerprint", "preprocessing", "logit_bias", "context_length"):
        assert getattr(encoder, name) == getattr(in_torch, name)
    assert encoder.logit_scale == pytest.approx(in_torch.logit_scale)
    assert encoder.encode_texts([]).shape == (0, in_torch.dim)


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_towers_of_other_shapes_agree_too(quick_gelu):
    import open_clip
    import torch

    from clipsearch.encoders.textexport import export_text_tower

    torch.manual_seed(0)
    text = {"context_length": 20, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 3}
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    model = open_clip.CLIP(32, vision, text, quick_gelu=quick_gelu).eval()
    tower = export_text_tower(model, clean="lower")
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
    assert export_text_tower(model, clean="lower") is None


def test_bad_and_long_texts(encoder):
    for bad in ([""], ["  "], "a single string", [None]):
        with pytest.raises(InvalidInputError):
            encoder.encode_texts(bad)
    with pytest.warns(TextTruncatedWarning, match="cut to the model's 48"):
        encoder.encode_texts(["a dog and " * 40])
    with pytest.warns(TextTruncatedWarning):
        encoder.encode_texts(["y" * 100_000 + " and words" * 10_000])  # in no time
    assert shortened("a " * 6000) == ("a " * 6000)[:10_000]
    assert shortened("b" * 600 + " c") == "b" * 500 + " c"


def test_the_bundled_model_is_loaded_again_to_the_same_fingerprint(encoder):
    assert load_encoder("clipsearch-mini", device="cpu").fingerprint == encoder.fingerprint
