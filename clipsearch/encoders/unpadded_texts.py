"""Text encoders that compute no further than their texts reach.

Tokenizers pad every text to the model's whole context. Where attention is causal and the vector is
taken at the end mark, what follows the mark has no influence, so the padding need not be computed.
"""

from __future__ import annotations

from typing import Any

import torch
from open_clip.transformer import text_global_pool

__all__ = ["CutTextTower", "causal_text_tower"]


def causal_text_tower(model: Any) -> Any | None:
    """The text transformer of an open_clip model, if padding has no influence on its vectors.

    Returns:
        The module that holds the parts (the model itself for `CLIP`), or None for towers of
        transformers, bidirectional attention, a class token, and other pooling than at an end mark.
    """
    text = getattr(model, "text", model)
    mask = getattr(text, "attn_mask", None)
    is_cuttable = (
        hasattr(getattr(text, "transformer", None), "resblocks")
        and _pooling(model, text)[0] in ("argmax", "eos")
        and getattr(text, "cls_emb", None) is None
        and not getattr(text, "use_pad_mask", False)
        and isinstance(mask, torch.Tensor)
        and mask.ndim == 2
        and bool(torch.isneginf(mask[torch.ones_like(mask).triu(1).bool()]).all())
    )
    return text if is_cuttable else None


class CutTextTower:
    """The text side of an open_clip model, on batches that are cut to their longest text.

    It computes as `encode_text` of the model does; the caller compares their vectors before using
    it. It holds no state, so that several threads may call it.

    Args:
        model: The whole model.
        text: Its `causal_text_tower`.
    """

    def __init__(self, model: Any, text: Any) -> None:
        self._text = text
        self._pool, self._end_id = _pooling(model, text)

    def lengths(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens up to and with the end mark, int64 [n], of tokens [n, context]."""
        positions = torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape)
        ends: torch.Tensor = text_global_pool(positions, tokens, self._pool, self._end_id)
        return ends + 1

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Encode tokens [n, length], cut or not, as features [n, dim] that are not normalised."""
        text, length = self._text, tokens.shape[1]
        dtype = text.transformer.get_cast_dtype()
        x = text.token_embedding(tokens).to(dtype)  # [n, length, width]
        x = x + text.positional_embedding[:length].to(dtype)
        x = text.transformer(x, attn_mask=text.attn_mask[:length, :length])
        # [n, width]
        features: torch.Tensor = text_global_pool(
            text.ln_final(x), tokens, self._pool, self._end_id
        )
        projection = text.text_projection
        if projection is not None:
            features = projection(features) if callable(projection) else features @ projection
        return features


def _pooling(model: Any, text: Any) -> tuple[str | None, int | None]:
    """How the vector is taken from the sequence, and the id of the end mark where that counts."""
    if text is model:
        return getattr(model, "text_pool_type", None), getattr(model, "text_eos_id", None)
    return getattr(text, "pool_type", None), getattr(text, "eos_id", None)
