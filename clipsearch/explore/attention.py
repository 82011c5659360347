"""Self-attention over the patches of an image: a vision transformer's own, and a toy's.

Source: Vaswani et al., "Attention Is All You Need" (2017), equation 1; Abnar, Zuidema, "Quantifying
Attention Flow in Transformers" (2020), section 3 (rollout).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from ..classification.chances import softmax
from ..encoder import Encoder
from ..errors import InvalidInputError
from ..images import ImageInput, load_image, prepare
from .layers import in_torch

__all__ = ["Attention", "ToyAttention", "image_attention", "toy_attention"]

Doubles = npt.NDArray[np.float64]
Weights = npt.NDArray[np.floating]

_TOY_SIDE = 7  # patches, as ViT-B-32 has
_TOY_PIXELS = 64  # of a patch


@dataclass(frozen=True, slots=True)
class Attention:
    """Where the tokens of an image look.

    Attributes:
        weights: [layers, heads, tokens, tokens]; a row is a token that looks, and sums to 1. First
            come the tokens that are no patches, such as the class token, then the patches row by
            row.
        grid: Rows and columns of patches.
        image: The part of the image that the model sees, upright RGB.
        pooling: [heads, tokens], where the image vector is read from in models that have no class
            token for it; None in those that have one.
    """

    weights: Weights
    grid: tuple[int, int]
    image: Image.Image
    pooling: Weights | None = None

    @property
    def layers(self) -> int:
        """How many layers there are."""
        return len(self.weights)

    @property
    def heads(self) -> int:
        """How many heads each layer has."""
        return len(self.weights[0])

    @property
    def before(self) -> int:
        """How many tokens come before the patches."""
        return len(self.weights[0, 0]) - self.grid[0] * self.grid[1]

    def view(self, layer: int, head: int | None = None) -> Doubles:
        """The weights of one layer, float64 [tokens, tokens].

        Args:
            layer: From 0.
            head: From 0; None for the mean of all heads.

        Raises:
            InvalidInputError: There is no such layer or head.
        """
        if not 0 <= layer < self.layers or not 0 <= (head or 0) < self.heads:
            raise InvalidInputError(
                f"there are {self.layers} layers of {self.heads} heads, counted from 0; not layer "
                f"{layer}, head {head}"
            )
        heads = self.weights[layer].astype(np.float64)
        return np.asarray(heads.mean(axis=0) if head is None else heads[head])

    def rollout(self, layer: int) -> Doubles:
        """How much of each token has come to each token by the end of a layer.

        A layer adds what it reads to what was there, so half of a token stays itself.

        Args:
            layer: The last layer that is counted, from 0.

        Returns:
            float64 [tokens, tokens]; rows sum to 1.
        """
        itself = np.eye(len(self.weights[0, 0]))
        flow = itself
        for place in range(layer + 1):
            flow = (self.view(place) + itself) / 2 @ flow
        return flow

    def looks(self, layer: int, head: int | None = None, *, through: bool = False) -> Doubles:
        """Where the patches look, and what becomes the vector of the image.

        Args:
            layer: From 0.
            head: From 0; None for the mean of all heads. Without effect if `through`.
            through: Count all layers up to this one (`rollout`).

        Returns:
            float64 [patches + 1, tokens]; rows sum to 1. The last row is the class token, or the
            pooling at the end in a model that has none; 0 where there is neither.
        """
        all_ = self.rollout(layer) if through else self.view(layer, head)
        if self.before:
            summary = all_[0]
        elif self.pooling is None:
            summary = np.zeros(len(all_))
        else:
            pooling = self.pooling.astype(np.float64).mean(axis=0)
            summary = pooling @ all_ if through else pooling
        return np.concatenate([all_[self.before :], summary[None]])


@dataclass(frozen=True, slots=True)
class ToyAttention:
    """A layer of two heads whose queries and keys can be read: colour, and place.

    Attributes:
        attention: One layer; head 0 compares colours, head 1 places.
        keys: Of each head, float64 [patches, d]: unit vectors, what a patch is compared by.
        sharpness: Queries are keys times this.
        scores: Of each head, float64 [patches, patches]: q . k / sqrt(d), before the softmax.
        values: float64 [patches, 3], the mean colour of each patch, 0 to 1.
    """

    attention: Attention
    keys: tuple[Doubles, Doubles]
    sharpness: float
    scores: tuple[Doubles, Doubles]
    values: Doubles

    def mixed(self, head: int | None = None) -> Doubles:
        """What each patch has read: the values in its weights' proportions, float64 [patches, 3].

        Args:
            head: From 0; None for the mean of both.
        """
        return np.asarray(self.attention.view(0, head) @ self.values)


def image_attention(encoder: Encoder, image: ImageInput) -> Attention | None:
    """Where a vision transformer's tokens look in an image.

    The model is loaded in torch, if it is not there yet.

    Args:
        encoder: The model.
        image: As for `load_encoder(...).encode_images`.

    Returns:
        Weights in float16; None where the image encoder has no self-attention over patches
        (a convolutional one), or cannot be looked into (another kind of encoder, or one in 8 bits).

    Raises:
        MissingExtraError: Torch is not installed.
        ImageDecodeError: The image cannot be decoded.
        ClipSearchError: The model cannot be loaded in torch.
    """
    pixels = np.array(prepare(load_image(image), encoder.preprocessing))  # uint8 [H, W, 3]
    inner = in_torch(encoder)
    seen = importlib.import_module("clipsearch.explore.torch_attention").attention(inner, pixels)
    if seen is None:
        return None
    weights, pooling, grid = seen
    return Attention(weights, grid, Image.fromarray(pixels), pooling)


def toy_attention(image: ImageInput, sharpness: float) -> ToyAttention:
    """Attention without anything learned, small enough to follow by hand: 7 x 7 patches.

    One head compares what colour patches have beside the image's mean colour, the other one where
    they are, as points on two circles (a position embedding of one frequency).

    Args:
        image: As for `load_encoder(...).encode_images`.
        sharpness: How much longer queries are than keys; above 0.

    Raises:
        ImageDecodeError: The image cannot be decoded.
    """
    side = _TOY_SIDE
    whole = ImageOps.fit(load_image(image).convert("RGB"), (side * _TOY_PIXELS,) * 2)
    cells = np.asarray(whole, np.float64).reshape(side, _TOY_PIXELS, side, _TOY_PIXELS, 3) / 255
    values = cells.mean(axis=(1, 3)).reshape(-1, 3)  # [patches, 3]
    colors = _unit(values - values.mean(axis=0))
    angles = np.linspace(0, np.pi / 2, side)
    rows, columns = (at.ravel() for at in np.meshgrid(angles, angles, indexing="ij"))
    places = _unit(np.stack([np.cos(rows), np.sin(rows), np.cos(columns), np.sin(columns)], axis=1))
    keys = colors, places
    scores = _scores(colors, sharpness), _scores(places, sharpness)
    weights = np.stack([softmax(one) for one in scores])[None]  # [1, 2, patches, patches]
    return ToyAttention(Attention(weights, (side, side), whole), keys, sharpness, scores, values)


def _unit(vectors: Doubles) -> Doubles:
    """Unit vectors; those of no length stay what they are."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 1e-6, lengths, 1))


def _scores(keys: Doubles, sharpness: float) -> Doubles:
    return np.asarray((sharpness * keys) @ keys.T / np.sqrt(keys.shape[1]))
