"""Sigmoid models, by a real one of open_clip: tiny, untrained, made as SigLIP's towers are."""

from __future__ import annotations

import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from clipsearch import Index, ZeroShotClassifier, load_encoder
from clipsearch.classification.heads import NONE_LABEL

CONFIG = {
    "embed_dim": 32,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32},
    "text_cfg": {
        "context_length": 32,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 2,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "tokenizer_kwargs": {"clean": "canonicalize"},
    },
}
LABELS = ["cat", "rocket", "cup of coffee"]


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    """The name of a model folder, and the model as open_clip made it."""
    folder = tmp_path_factory.mktemp("siglip")
    model_cfg = {key: value for key, value in CONFIG.items() if key != "custom_text"}
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(**model_cfg).eval()
    with torch.no_grad():
        model.logit_bias.fill_(-1.5)  # so that some probabilities are not next to 0
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    document = {
        "model_cfg": CONFIG,
        "preprocess_cfg": {
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }
    (folder / "open_clip_config.json").write_text(json.dumps(document), encoding="utf-8")
    return f"local-dir:{folder}", model


@pytest.fixture(scope="module")
def sigmoid_encoder(siglip):
    return load_encoder(siglip[0], device="cpu", precision="fp32")


def test_probabilities_are_those_of_open_clip(siglip, sigmoid_encoder, photos):
    name, model = siglip
    _, _, preprocess = open_clip.create_model_and_transforms(name)
    pictures = []
    for path in photos[:6]:  # as RGB, since open_clip treats palettes and transparency otherwise
        with Image.open(path) as picture:
            pictures.append(picture.convert("RGB"))
    images = torch.stack([preprocess(picture) for picture in pictures])
    tokens = open_clip.get_tokenizer(name)(LABELS)
    with torch.inference_mode():
        image = model.encode_image(images, normalize=True)
        text = model.encode_text(tokens, normalize=True)
        # As open_clip's README has it for SigLIP models.
        expected = torch.sigmoid(image @ text.T * model.logit_scale.exp() + model.logit_bias)
    assert sigmoid_encoder.logit_bias == -1.5
    classifier = ZeroShotClassifier(sigmoid_encoder, LABELS, templates="none")
    vectors = sigmoid_encoder.encode_images(pictures)
    probabilities = classifier.probabilities(vectors)
    np.testing.assert_allclose(probabilities, expected, atol=2e-4)
    np.testing.assert_array_equal(
        classifier.probabilities(vectors, multi_label=True), probabilities
    )
    assert (abs(probabilities.sum(axis=1) - 1) > 0.01).any()  # each label for itself


def test_none_calibration_and_packs_keep_the_bias(sigmoid_encoder, photos, tmp_path):
    classifier = ZeroShotClassifier(sigmoid_encoder, LABELS, templates="none")
    vectors = sigmoid_encoder.encode_images(photos[:15])
    with_none = classifier.probabilities(vectors, none_of_these=True)
    np.testing.assert_allclose(with_none.sum(axis=1), 1)
    assert classifier.predict_vectors(vectors[:1], k=9, none_of_these=True)[0][0].label in (
        *LABELS,
        NONE_LABEL,
    )
    truth = [LABELS[n % 3] for n in range(15)]
    report = classifier.calibrate(vectors, truth)
    assert report.shift != 0  # the bias itself was corrected, not the scale alone
    classifier.save(tmp_path / "own.clip")
    again = ZeroShotClassifier.load(tmp_path / "own.clip", sigmoid_encoder)
    assert again.head.logit_bias == -1.5
    np.testing.assert_array_equal(again.probabilities(vectors), classifier.probabilities(vectors))


def test_an_index_of_a_sigmoid_model_is_searched(sigmoid_encoder, photos, tmp_path):
    with Index.create(tmp_path / "index", sigmoid_encoder) as index:
        index.add(photos[:4])
        found = index.search("a cat", k=4)
        vectors = index.vectors([hit.item.id for hit in found])
        text = sigmoid_encoder.encode_texts(["a cat"])[0]
        np.testing.assert_allclose([hit.score for hit in found], vectors @ text, atol=1e-5)
