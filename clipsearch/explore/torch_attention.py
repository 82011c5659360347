"""The attention weights of a vision transformer, taken while torch computes with them.

Torch's two functions of attention are replaced, for one call in one thread, by the same arithmetic
with the weights written out. So any transformer over patches can be looked into (open_clip's own,
timm's, with positions that turn queries and keys), and none of its parts is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ..encoders.streams import streams_of

__all__ = ["attention"]

Weights = npt.NDArray[np.float16]

_AGREEMENT = 0.999  # cosine of the vector that the weights lead to with the model's own


class _Written(TorchFunctionMode):
    """Computes attention with weights that it keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[torch.Tensor] = []  # [heads, queries, keys] each

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func is functional.multi_head_attention_forward:
            given |= {"need_weights": True, "average_attn_weights": False}
            out, weights = func(*args, **given)
            self._keep(weights)
            return out, weights
        if func is functional.scaled_dot_product_attention and len(args) == 3:
            query, key, value = args
            scale = given.get("scale") or query.shape[-1] ** -0.5
            mask = given.get("attn_mask")
            scores = (query * scale) @ key.transpose(-2, -1)
            if mask is not None and mask.is_floating_point():
                scores = scores + mask
            weights = scores.softmax(dim=-1)
            self._keep(weights)
            return weights @ value
        return func(*args, **given)

    def _keep(self, weights: torch.Tensor | None) -> None:
        if (
            weights is not None and weights.dim() == 4 and len(weights) == 1
        ):  # else windows of an image
            self.weights.append(weights[0].detach().half().cpu())


def attention(
    encoder: Any, pixels: npt.NDArray[np.uint8]
) -> tuple[Weights, Weights | None, tuple[int, int]] | None:
    """The attention of every layer of an image encoder.

    Args:
        encoder: An `OpenClipEncoder`.
        pixels: uint8 [H, W, 3], prepared for the model.

    Returns:
        Of the layers, [layers, heads, tokens, tokens]; of a last pooling over all tokens, [heads,
        tokens], or None; rows and columns of patches. None where the encoder has no self-attention
        over patches, cannot be looked into, or computes something else than these weights lead to.
    """
    tower = getattr(getattr(encoder, "_model", None), "visual", None)
    if not isinstance(tower, torch.nn.Module) or getattr(encoder, "precision", "") == "int8":
        return None
    grid = _grid(tower)
    if grid is None:
        return None
    weight = next(tower.parameters())
    batch = torch.from_numpy(encoder.preprocessing.normalise(pixels[None]))  # [1, 3, H, W]
    with streams_of(weight.device).turn(), torch.inference_mode(), _Written() as written:
        image = batch.to(weight.device, weight.dtype)
        vector = encoder._model.encode_image(image).float().cpu().numpy()
    own = encoder.encode_pixels(pixels[None])
    if float((vector / np.linalg.norm(vector) * own).sum()) < _AGREEMENT:
        return None
    layers = [one for one in written.weights if one.shape[1] == one.shape[2]]
    tokens = {tuple(one.shape) for one in layers}
    if len(tokens) != 1 or layers[0].shape[1] < grid[0] * grid[1]:
        return None
    last = written.weights[-1]
    pooling = last[:, 0].numpy() if last.shape[1:] == (1, layers[0].shape[2]) else None
    return torch.stack(layers).numpy(), pooling, grid


def _grid(tower: Any) -> tuple[int, int] | None:
    """Rows and columns of patches; None for an image encoder without patches."""
    patches = getattr(getattr(tower, "trunk", None), "patch_embed", None)
    grid = getattr(tower, "grid_size", None) or getattr(patches, "grid_size", None)
    return None if grid is None else (int(grid[0]), int(grid[1]))
