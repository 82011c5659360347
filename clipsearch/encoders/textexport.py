"""The text encoder of an OpenCLIP model, taken out of torch for `texttower`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .texttower import Activation, TextTower, TowerFacts
from .tokenizer import Cleaning
from .unpadded_texts import causal_text_tower

__all__ = ["export_text_tower"]

_BLOCK = {"ln_1", "attn", "ls_1", "ln_2", "mlp", "ls_2"}  # the parts of a plain CLIP block


def export_text_tower(model: Any, *, clean: Cleaning) -> TextTower | None:
    """Take the text side of an open_clip model out of torch.

    Args:
        model: An open_clip `CLIP` or `CustomTextCLIP`.
        clean: How the model's tokenizer cleans texts.

    Returns:
        The tower with float32 weights, or None where the architecture is another one (a tower of
        transformers, bidirectional attention, layer scale, a class token). The caller compares
        its vectors with the model's before it trusts it.
    """
    text = causal_text_tower(model)
    if text is None or not _is_plain(text):
        return None
    blocks = text.transformer.resblocks
    activation = _activation(blocks[0])
    if activation is None:
        return None
    facts = TowerFacts(
        heads=int(blocks[0].attn.num_heads),
        activation=activation,
        epsilon=float(text.ln_final.eps),
        context_length=int(text.context_length),
        clean=clean,
    )
    return TextTower(facts, _weights(text, blocks))


def _is_plain(text: Any) -> bool:
    # The pooling is that of the end mark, which for CLIP's tokenizer has the greatest id.
    return text.text_projection is not None and all(
        {name for name, _ in block.named_children()} <= _BLOCK
        and type(block.attn).__name__ == "MultiheadAttention"
        and all(type(getattr(block, ls)).__name__ == "Identity" for ls in ("ls_1", "ls_2"))
        for block in text.transformer.resblocks
    )


def _activation(block: Any) -> Activation | None:
    layer = block.mlp.gelu
    if type(layer).__name__ == "QuickGELU":
        return "quick_gelu"
    plain = type(layer).__name__ == "GELU" and getattr(layer, "approximate", "none") == "none"
    return "gelu" if plain else None


def _weights(text: Any, blocks: Any) -> dict[str, npt.NDArray[np.float32]]:
    projection = text.text_projection
    if hasattr(projection, "weight"):  # a linear layer, [dim, width]
        matrix = _array(projection.weight).T
        bias = _array(projection.bias) if projection.bias is not None else None
    else:
        matrix, bias = _array(projection), None
    return {
        "tokens": _array(text.token_embedding.weight),
        "positions": _array(text.positional_embedding),
        "attention_norm": np.stack([_norm(block.ln_1) for block in blocks]),
        "attention_in": np.stack([_array(block.attn.in_proj_weight).T for block in blocks]),
        "attention_in_bias": np.stack([_array(block.attn.in_proj_bias) for block in blocks]),
        "attention_out": np.stack([_array(block.attn.out_proj.weight).T for block in blocks]),
        "attention_out_bias": np.stack([_array(block.attn.out_proj.bias) for block in blocks]),
        "mlp_norm": np.stack([_norm(block.ln_2) for block in blocks]),
        "mlp_in": np.stack([_array(block.mlp.c_fc.weight).T for block in blocks]),
        "mlp_in_bias": np.stack([_array(block.mlp.c_fc.bias) for block in blocks]),
        "mlp_out": np.stack([_array(block.mlp.c_proj.weight).T for block in blocks]),
        "mlp_out_bias": np.stack([_array(block.mlp.c_proj.bias) for block in blocks]),
        "final_norm": _norm(text.ln_final),
        "projection": np.ascontiguousarray(matrix),
        "projection_bias": np.zeros(matrix.shape[1], np.float32) if bias is None else bias,
    }


def _norm(layer: Any) -> npt.NDArray[np.float32]:
    return np.stack([_array(layer.weight), _array(layer.bias)])


def _array(tensor: Any) -> npt.NDArray[np.float32]:
    return np.asarray(tensor.detach().float().cpu().numpy(), np.float32)
