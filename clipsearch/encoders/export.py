"""A model taken out of torch, so that later processes need none."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ..errors import ModelLoadError
from .compiled import CompiledTower
from .devices import has_bfloat16
from .lightmodel import LightModel, ModelFacts, keep_model, kept_model, read_graph, save_graph
from .openclip import OpenClipEncoder
from .prepared import unit
from .probe import probe_pixels

__all__ = ["keep_exported"]

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
    text = encoder.text_tower()
    facts = ModelFacts(
        fingerprint=encoder.fingerprint,
        dim=encoder.dim,
        context_length=encoder.context_length,
        logit_scale=encoder.logit_scale,
        logit_bias=encoder.logit_bias,
        preprocessing=encoder.preprocessing,
    )
    folder = tempfile.TemporaryDirectory(prefix="clipsearch-")  # as long as anything refers to it
    graph = Path(folder.name)
    is_exported = has_images and _export_images(encoder, graph)
    if is_exported:
        facts = replace(facts, bf16=_agrees_in_bf16(encoder, graph))
    model = LightModel(
        facts=facts,
        text=None if text is None else lambda: text,
        image=(lambda: read_graph(Path(folder.name))) if is_exported else None,
        is_text_only=not has_images,
    )
    if keep_model(model, graph if is_exported else None):
        folder.cleanup()
        return kept_model(encoder.fingerprint) or model
    return model


def _export_images(encoder: OpenClipEncoder, folder: Path) -> bool:
    """Write the image encoder into a folder, in as few bits as keep its vectors.

    Returns:
        Whether there is one that does.
    """
    try:
        graph = encoder.image_graph()
        for in_half in (True, False) if graph is not None else ():
            save_graph(graph, folder, in_half=in_half)
            if _agreement(encoder, folder, "f32", batch=1) > _AGREEMENT:
                return True
    except (ModelLoadError, OSError) as exc:
        _log.info("%s", exc)
    return False


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
    found = CompiledTower(graph, spec, 1, precision=precision)(probe)
    return float((unit(found, "image") * encoder.encode_pixels(probe)).sum(axis=1).min())
