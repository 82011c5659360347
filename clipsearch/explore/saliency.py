"""The inside of an image encoder, looked at for the regions that a text speaks of.

With `torch_attention`, the only module besides `openclip` that touches a model's layers. A vision
transformer's patches are projected into the joint space through the values of its last attention,
without mixing them; any other tower is judged by the gradient at its last feature map.

Source: Zhou, Loy, Dai, "Extract Free Dense Labels from CLIP" (2022), section 3.2 (values of the
last attention); Draelos, Carin, "Use HiResCAM instead of Grad-CAM" (2020), equation 3.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..encoders.streams import streams_of
from ..images import Preprocessing
from ..vectors import Floats

__all__ = ["region_scores"]


def region_scores(encoder: Any, pixels: npt.NDArray[np.uint8], direction: Floats) -> Floats | None:
    """How much each region of an image moves its vector in a direction.

    Args:
        encoder: An `OpenClipEncoder`.
        pixels: uint8 [H, W, 3], prepared for the model.
        direction: float32 [dim]: a text vector, or the difference of two.

    Returns:
        float32 [rows, columns] in no particular unit, or None where this tower cannot be looked
        into: another kind of encoder, or one in 8 bits.
    """
    tower = getattr(getattr(encoder, "_model", None), "visual", None)
    if not isinstance(tower, torch.nn.Module) or getattr(encoder, "precision", "") == "int8":
        return None
    weight = next(tower.parameters())
    with streams_of(weight.device).turn():
        batch = _batch(pixels, encoder.preprocessing).to(weight.device, weight.dtype)
        towards = torch.from_numpy(direction).to(weight.device)
        if hasattr(tower, "transformer") and hasattr(tower, "ln_post"):
            return _patch_scores(tower, batch, towards)
        return _gradient_scores(tower, batch, towards)


def _batch(pixels: npt.NDArray[np.uint8], spec: Preprocessing) -> torch.Tensor:
    return torch.from_numpy(spec.normalise(pixels[None]))  # [1, 3, H, W]


def _in_this_thread(hook: Callable[..., Any]) -> Callable[..., Any]:
    """The hook for calls of this thread alone: others encode with the same tower meanwhile."""
    here = threading.get_ident()
    return lambda *given: hook(*given) if threading.get_ident() == here else None


def _patch_scores(tower: Any, batch: torch.Tensor, towards: torch.Tensor) -> Floats | None:
    """For open_clip's own vision transformers: each patch's value as if it were the image."""
    block = tower.transformer.resblocks[-1]
    attention = getattr(block, "attn", None)
    if not isinstance(attention, torch.nn.MultiheadAttention) or attention.in_proj_weight is None:
        return None
    seen: list[torch.Tensor] = []
    note = _in_this_thread(lambda _module, given: seen.append(given[0]))
    handle = block.register_forward_pre_hook(note)
    try:
        with torch.inference_mode():
            tower(batch)
            tokens = block.ln_1(seen[0])  # [1, 1 + patches, width], or the first two swapped
            if not attention.batch_first and tokens.shape[1] == 1:
                tokens = tokens.transpose(0, 1)
            width = attention.embed_dim
            bias = None if attention.in_proj_bias is None else attention.in_proj_bias[2 * width :]
            values = torch.nn.functional.linear(tokens, attention.in_proj_weight[2 * width :], bias)
            patches = tower.ln_post(attention.out_proj(values))[0, 1:]  # [patches, width]
            if tower.proj is not None:
                patches = patches @ tower.proj
            patches = torch.nn.functional.normalize(patches.float(), dim=-1)
            scores = (patches @ towards).cpu().numpy()
    finally:
        handle.remove()
    rows, columns = tower.grid_size
    return np.asarray(scores, np.float32).reshape(rows, columns)


def _gradient_scores(
    tower: torch.nn.Module, batch: torch.Tensor, towards: torch.Tensor
) -> Floats | None:
    """For every other tower: activation times gradient at the last feature map."""
    last: list[torch.nn.Module] = []
    maps: list[torch.Tensor] = []

    def note(module: Any, _given: Any, made: Any) -> None:
        if isinstance(made, torch.Tensor) and made.dim() == 4 and min(made.shape[2:]) > 1:
            last.append(module)

    def start_here(_module: Any, _given: Any, made: torch.Tensor) -> torch.Tensor:
        maps.append(made.detach().clone().requires_grad_(True))
        return maps[-1]

    leaves = [module for module in tower.modules() if not list(module.children())]
    handles = [module.register_forward_hook(_in_this_thread(note)) for module in leaves]
    try:
        with torch.inference_mode():
            tower(batch)
    finally:
        for handle in handles:
            handle.remove()
    if not last:
        return None
    handle = last[-1].register_forward_hook(_in_this_thread(start_here))
    try:
        with torch.enable_grad():
            vector = torch.nn.functional.normalize(tower(batch).float(), dim=-1)[0]
            (gradient,) = torch.autograd.grad(vector @ towards, maps[-1])
    finally:
        handle.remove()
    scores = (gradient * maps[-1]).sum(dim=1)[0]  # [rows, columns]
    return np.asarray(scores.detach().float().cpu().numpy(), np.float32)
