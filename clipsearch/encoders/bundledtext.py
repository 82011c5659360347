"""The text encoder of the bundled model, from its weights file alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .texttower import TextTower, TowerFacts
from .weights import Weights

__all__ = ["bundled_text_tower"]

_Floats = npt.NDArray[np.float32]

_BLOCKS = "text.transformer.resblocks."


def bundled_text_tower(weights: Weights, facts: TowerFacts) -> TextTower:
    """The tower; vectors of tokens stay 8-bit floats until a text needs them."""
    layers = len({name.split(".")[3] for name in weights if name.startswith(_BLOCKS)})

    def stacked(name: str) -> _Floats:
        return np.stack([weights.floats(f"{_BLOCKS}{layer}.{name}") for layer in range(layers)])

    def matrices(name: str) -> _Floats:  # as [layers, in, out]
        return stacked(name).swapaxes(1, 2)

    def norms(name: str) -> _Floats:
        return np.stack([stacked(f"{name}.weight"), stacked(f"{name}.bias")], axis=1)

    projection = weights.floats("text.text_projection")
    final = [weights.floats(f"text.ln_final.{name}") for name in ("weight", "bias")]
    arrays = {
        "tokens": weights["text.token_embedding.weight"],
        "positions": weights.floats("text.positional_embedding"),
        "attention_norm": norms("ln_1"),
        "attention_in": matrices("attn.in_proj_weight"),
        "attention_in_bias": stacked("attn.in_proj_bias"),
        "attention_out": matrices("attn.out_proj.weight"),
        "attention_out_bias": stacked("attn.out_proj.bias"),
        "mlp_norm": norms("ln_2"),
        "mlp_in": matrices("mlp.c_fc.weight"),
        "mlp_in_bias": stacked("mlp.c_fc.bias"),
        "mlp_out": matrices("mlp.c_proj.weight"),
        "mlp_out_bias": stacked("mlp.c_proj.bias"),
        "final_norm": np.stack(final),
        "projection": projection,
        "projection_bias": np.zeros(projection.shape[1], np.float32),
    }
    return TextTower(facts, arrays)
