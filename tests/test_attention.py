"""Attention weights, against an image encoder computed again with nothing but them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from clipsearch import load_encoder
from clipsearch.errors import InvalidInputError, MissingExtraError
from clipsearch.explore.attention import Attention, image_attention, toy_attention
from clipsearch.explore.layers import is_in_torch
from clipsearch.images import Preprocessing, load_image, prepare


@pytest.fixture(scope="module")
def look(other_encoder, photos):
    """A small transformer of open_clip, with the photo that it sees."""
    photo = photos[0]
    pixels = np.array(prepare(load_image(photo), other_encoder.preprocessing))
    return image_attention(other_encoder, photo), pixels


def again(tower, batch, weights):
    """The vector of open_clip's transformer, its attention replaced by weights that are given."""
    tokens = tower._embeds(batch)
    for block, heads in zip(tower.transformer.resblocks, weights, strict=True):
        inner, width = block.ln_1(tokens), tokens.shape[-1]
        bias = block.attn.in_proj_bias[2 * width :]
        values = inner @ block.attn.in_proj_weight[2 * width :].T + bias
        values = values[0].reshape(len(values[0]), len(heads), -1).transpose(0, 1)
        read = (heads @ values).transpose(0, 1).reshape(1, -1, width)
        tokens = tokens + block.attn.out_proj(read)
        tokens = tokens + block.mlp(block.ln_2(tokens))
    pooled, _ = tower._pool(tokens)
    return torch.nn.functional.normalize(pooled @ tower.proj, dim=-1)


def test_the_vector_of_an_image_follows_from_the_weights(look, other_encoder):
    found, pixels = look
    assert found.weights.shape == (2, 2, 50, 50)
    assert (found.grid, found.before, found.pooling) == ((7, 7), 1, None)
    np.testing.assert_allclose(found.weights.astype(float).sum(axis=-1), 1, atol=2e-3)
    tower = other_encoder.in_torch()._model.visual
    batch = torch.from_numpy(other_encoder.preprocessing.normalise(pixels[None]))
    weights = torch.from_numpy(found.weights.astype(np.float32))
    own = other_encoder.encode_pixels(pixels[None])
    with torch.inference_mode():
        np.testing.assert_allclose(again(tower, batch, weights).numpy(), own, atol=1e-3)
        wrong = again(tower, batch, weights.flip(-1)).numpy()
    assert np.abs(wrong - own).max() > 1e-2  # so that the test can tell


class InTorch:
    """An image encoder of open_clip, with random weights."""

    precision = "fp32"

    def __init__(self, tower, size):
        self.name = "random"
        self.preprocessing = Preprocessing((size, size), (0.5,) * 3, (0.5,) * 3)
        self._model = type("Model", (), {"visual": tower, "encode_image": tower.forward})

    def encode_pixels(self, pixels):
        batch = torch.from_numpy(self.preprocessing.normalise(pixels))
        with torch.inference_mode():
            return torch.nn.functional.normalize(self._model.visual(batch), dim=-1).numpy()


def of_timm(name, **settings):
    from open_clip.timm_model import TimmModel

    torch.manual_seed(0)
    return TimmModel(name, 32, image_size=64, proj="linear", **settings).eval()


def test_a_model_without_a_class_token_shows_what_it_pools():
    """As SigLIP's image encoders are."""
    import timm

    tower = of_timm("vit_tiny_patch16_224", pool="")
    tower.trunk = timm.create_model(
        "vit_tiny_patch16_224", img_size=64, depth=2, class_token=False, global_pool="map",
        num_classes=0,
    ).eval()  # fmt: skip
    found = image_attention(InTorch(tower, 64), Image.new("RGB", (64, 64), "red"))
    assert found.weights.shape == (2, 3, 16, 16)
    assert found.pooling.shape == (3, 16)
    assert found.before == 0
    looks = found.looks(1)
    np.testing.assert_allclose(looks[-1], found.pooling.astype(float).mean(axis=0))


def test_a_convolutional_encoder_has_no_attention_to_show(encoder, photos):
    assert image_attention(encoder, photos[0]) is None


def test_weights_that_do_not_lead_to_the_models_vector_are_not_shown():
    from open_clip.transformer import VisionTransformer

    torch.manual_seed(0)
    tower = VisionTransformer(
        image_size=64, patch_size=16, width=64, layers=2, heads=4, mlp_ratio=2, output_dim=32
    ).eval()
    inner = InTorch(tower, 64)
    assert image_attention(inner, np.zeros((64, 64, 3), np.uint8)) is not None
    inner.encode_pixels = lambda pixels: np.eye(32, dtype=np.float32)[:1]
    assert image_attention(inner, np.zeros((64, 64, 3), np.uint8)) is None


def test_without_torch_it_is_said_what_is_missing(encoder, photos, monkeypatch):
    monkeypatch.setattr("clipsearch.explore.layers.has_torch", lambda: False)
    with pytest.raises(MissingExtraError, match="pip install torch open_clip_torch timm"):
        image_attention(encoder, photos[0])


def test_the_toy_needs_no_torch():
    code = (
        "import sys\nfrom PIL import Image\n"
        "from clipsearch.explore.attention import toy_attention\n"
        "toy_attention(Image.new('RGB', (50, 70), 'red'), 8)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_model_is_loaded_in_torch_only_when_its_layers_are_asked_for(other, photos, look):
    encoder = load_encoder(other, device="cpu", precision="fp32")
    if not hasattr(encoder, "in_torch"):
        pytest.skip("torch encodes here")
    assert not is_in_torch(encoder)
    image_attention(encoder, photos[0])
    assert is_in_torch(encoder)


def three_tokens():
    first = [[0.5, 0.25, 0.25], [0.1, 0.9, 0.0], [0.2, 0.2, 0.6]]
    second = [[0.0, 1.0, 0.0], [0.5, 0.5, 0.0], [0.3, 0.3, 0.4]]
    weights = np.array([[first, second], [second, second]])
    return Attention(weights, (1, 2), Image.new("RGB", (2, 1)))


def test_views_are_of_one_head_or_the_mean_and_rollout_multiplies_the_layers():
    """Against Abnar and Zuidema's formula, written out."""
    found = three_tokens()
    np.testing.assert_allclose(found.view(0, 1), found.weights[0, 1])
    np.testing.assert_allclose(found.view(0), (found.weights[0, 0] + found.weights[0, 1]) / 2)
    one, two = (0.5 * found.view(layer) + 0.5 * np.eye(3) for layer in (0, 1))
    np.testing.assert_allclose(found.rollout(0), one)
    np.testing.assert_allclose(found.rollout(1), two @ one)
    looks = found.looks(1, through=True)
    np.testing.assert_allclose(looks, np.stack([*(two @ one)[1:], (two @ one)[0]]))
    for layer, head in ((2, 0), (-1, 0), (0, 2)):
        with pytest.raises(InvalidInputError, match="2 layers of 2 heads"):
            found.view(layer, head)


def test_the_toys_shares_are_the_softmax_of_its_scores():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)).resize((448, 448), 0)
    toy = toy_attention(image, 6)
    color = np.asarray(image)[::64, ::64].reshape(49, 3) / 255
    np.testing.assert_allclose(toy.values, color)
    for head, keys in enumerate(toy.keys):
        scores = torch.tensor(6 * keys) @ torch.tensor(keys).T / keys.shape[1] ** 0.5
        np.testing.assert_allclose(toy.scores[head], scores)
        shares = scores.softmax(dim=-1).numpy()
        np.testing.assert_allclose(toy.attention.weights[0, head], shares)
        np.testing.assert_allclose(toy.mixed(head), shares @ color)
    own = toy.attention.weights[0].diagonal(axis1=1, axis2=2)
    np.testing.assert_allclose(own, toy.attention.weights[0].max(axis=-1))  # all look at their like
    near, far = toy.attention.weights[0, 1, 0, 1], toy.attention.weights[0, 1, 0, 48]
    assert near > 2 * far


def test_the_toy_takes_an_image_of_one_color():
    toy = toy_attention(Image.new("RGB", (30, 90), "teal"), 20)
    np.testing.assert_allclose(toy.attention.weights[0, 0], 1 / 49)


def test_timms_and_open_clips_own_kinds_of_attention_are_read():
    found = image_attention(
        InTorch(of_timm("vit_tiny_patch16_224", pool="token"), 224), Image.new("RGB", (224, 224))
    )
    assert found.weights.shape == (12, 3, 197, 197)
    assert found.before == 1
