"""A model taken out of torch, so that later processes need none."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ..errors import ModelLoadError
from ..temporary import private_folder
from .compiled import CompiledTower
from .devices import has_bfloat16
from .lightmodel import LightModel, ModelFacts, keep_model, kept_model, read_graph, save_graph
from .openclip import OpenClipEncoder
from .prepared import unit
from .probe import probe_pixels

__all__ = ["facts_of", "keep_exported"]

_log = logging.getLogger("clipsearch")

_AGREEMENT = 0.9999  # least cosine of image vectors with those of torch
_BF16_AGREEMENT = 0.999  # the same in bfloat16, as for torch's own


def keep_exported(encoder: OpenClipEncoder) -> LightModel:
    """Export a model into the cache, unless it is there already.

    Returns:
        The model with the parts that could be exported. Where the cache cannot be written to, it
        serves this process only.
    """
    kept = kept_model(encoder.fingerprint)
    has_images = encoder.device == "cpu" and encoder.precision == "fp32"
    if kept is not None and not (kept.is_text_only and has_images):
        return kept
    text, facts = encoder.text_tower(), facts_of(encoder)
    left = {} if text else {"texts": "its tokenizer or text encoder is of another kind"}
    with private_folder("clipsearch-export-") as folder:
        if has_images and (reason := _export_images(encoder, folder)):
            left["images"] = reason
        is_exported = has_images and "images" not in left
        graph = read_graph(folder) if is_exported else None
        model = LightModel(
            facts=replace(facts, bf16=is_exported and _agrees_in_bf16(encoder, folder)),
            text=None if text is None else lambda: text,
            image=None if graph is None else lambda: graph.clone(),
            is_text_only=not has_images,
        )
        is_kept = keep_model(model, folder if is_exported else None)
    if has_images and left:
        why = " and ".join(f"{what} ({reason})" for what, reason in left.items())
        _log.warning("%s needs torch for %s", encoder.name, why)
    return (kept_model(encoder.fingerprint) if is_kept else None) or model


def facts_of(encoder: OpenClipEncoder) -> ModelFacts:
    """What its model's light encoder has to know."""
    return ModelFacts(
        fingerprint=encoder.fingerprint,
        dim=encoder.dim,
        context_length=encoder.context_length,
        logit_scale=encoder.logit_scale,
        logit_bias=encoder.logit_bias,
        preprocessing=encoder.preprocessing,
    )


def _export_images(encoder: OpenClipEncoder, folder: Path) -> str | None:
    """Write the image encoder into a folder, in as few bits as keep its vectors.

    Returns:
        None, or the reason why there is none.
    """
    try:
        graph = encoder.image_graph()
        if graph is None:
            return "its image encoder is too large"
        for in_half in (True, False):
            save_graph(graph, folder, in_half=in_half)
            agreement = _agreement(encoder, folder, "f32", batch=1)
            if agreement > _AGREEMENT:
                return None
    except (ModelLoadError, OSError) as exc:
        return str(exc)
    return f"a cosine with torch's of {agreement:.5f} only"


def _agrees_in_bf16(encoder: OpenClipEncoder, folder: Path) -> bool:
    if not has_bfloat16():
        return False
    try:
        return _agreement(encoder, folder, "bf16", batch=2) > _BF16_AGREEMENT
    except ModelLoadError:
        return False


def _agreement(
    encoder: OpenClipEncoder, folder: Path, precision: Literal["f32", "bf16"], *, batch: int
) -> float:
    """Least cosine of what a folder holds with torch, on images with the statistics of photos."""
    graph, spec = read_graph(folder), encoder.preprocessing
    probe = probe_pixels(spec.size)
    graph.reshape([batch, 3, *spec.size])
    found = CompiledTower(graph, spec, 1, streams=1, precision=precision)(probe)
    return float((unit(found, "image") * encoder.encode_pixels(probe)).sum(axis=1).min())
