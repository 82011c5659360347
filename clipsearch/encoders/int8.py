"""Transformer image encoders with 8-bit matrix products, for CPUs.

Weights are quantised per output channel once, activations per batch as they come; norms,
softmax and everything else stay in float32. torch's own oneDNN kernels do the work, so nothing
has to be exported and no further package is needed.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ..errors import InvalidInputError

__all__ = ["in_8_bits"]

_LEAST_SHARE = 0.5  # of a tower's weights that must end in 8 bits for it to be worth while


def in_8_bits(tower: torch.nn.Module) -> torch.nn.Module:
    """A copy of an image encoder that multiplies in 8 bits.

    Raises:
        InvalidInputError: Most of the tower is no transformer, or torch lacks the kernels.
    """
    if "onednn" not in torch.backends.quantized.supported_engines:
        raise InvalidInputError("--precision int8 needs a torch with oneDNN; use fp32 or auto")
    total = sum(p.numel() for p in tower.parameters())
    tower = copy.deepcopy(tower)
    reduce_range = not _multiplies_bytes_safely()
    with _onednn():
        _convert(tower, reduce_range)
    left = sum(p.numel() for p in tower.parameters())
    if total - left < _LEAST_SHARE * total:
        raise InvalidInputError(
            "--precision int8 speeds up transformer image encoders only, and that of this "
            "model is convolutional; use fp32 or auto"
        )
    return tower


def _convert(module: torch.nn.Module, reduce_range: bool) -> None:
    for name, child in module.named_children():
        if isinstance(child, torch.nn.MultiheadAttention) and child.in_proj_weight is not None:
            setattr(module, name, _Attention(child, reduce_range))
        elif type(child) is torch.nn.Linear:
            setattr(module, name, _Linear(child.weight, child.bias, reduce_range))
        else:
            _convert(child, reduce_range)


class _Linear(torch.nn.Module):
    """A linear layer with int8 weights."""

    int8_original_dtype = torch.float32  # open_clip asks 8-bit layers for it

    def __init__(self, weight: Any, bias: Any, reduce_range: bool) -> None:
        super().__init__()
        weight = weight.detach().float().contiguous()
        scales = (weight.abs().amax(dim=1) / 127).clamp_min(1e-12).double()
        quantised = torch.quantize_per_channel(
            weight, scales, torch.zeros(len(weight), dtype=torch.long), 0, torch.qint8
        )
        bias = torch.zeros(len(weight)) if bias is None else bias.detach().float()
        self._packed = torch.ops.quantized.linear_prepack(quantised, bias)
        self._reduce_range = reduce_range

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.ops.quantized.linear_dynamic(
            x, self._packed, self._reduce_range
        )
        return result


class _Attention(torch.nn.Module):
    """Self-attention with int8 projections, called as `torch.nn.MultiheadAttention` is."""

    def __init__(self, attention: torch.nn.MultiheadAttention, reduce_range: bool) -> None:
        super().__init__()
        self._heads = attention.num_heads
        self._batch_first = attention.batch_first
        out: Any = attention.out_proj
        self._in = _Linear(attention.in_proj_weight, attention.in_proj_bias, reduce_range)
        self._out = _Linear(out.weight, out.bias, reduce_range)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        need_weights: bool = False,
        attn_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, None]:
        if key is not query or value is not query or need_weights:
            raise InvalidInputError("--precision int8 knows self-attention only; use fp32 or auto")
        x = query if self._batch_first else query.transpose(0, 1)
        images, length, width = x.shape
        # [n, t, 3 * width] -> three of [n, heads, t, width / heads]
        mixed = self._in(x).view(images, length, 3, self._heads, width // self._heads)
        q, k, v = mixed.permute(2, 0, 3, 1, 4)
        seen = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        result = self._out(seen.transpose(1, 2).reshape(images, length, width))
        return (result if self._batch_first else result.transpose(0, 1)), None


def _multiplies_bytes_safely() -> bool:
    """Whether byte products are summed in 32 bits; without VNNI they saturate at 16."""
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        return any(flag in flags for flag in ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp"))
    return False


@contextlib.contextmanager
def _onednn() -> Iterator[None]:
    """Pack weights for oneDNN; which engine packs them is a global setting of torch."""
    before = torch.backends.quantized.engine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.backends.quantized.engine = "onednn"
        try:
            yield
        finally:
            torch.backends.quantized.engine = before
