"""The image encoder of the bundled model, made known to timm and so to open_clip.

An EfficientNet-Lite2 with three heads side by side. *Scenes* is a projection learned from captions.
*Looks* are the features along the main axes of the tower's own ImageNet classifier. *Concepts* is
ConSE (Norouzi et al., 2014): the expectation of the class names' meanings under its probabilities.
Importing this module is what lets open_clip load the folder `models/clipsearch-mini`; nothing else
is needed.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from timm.models import register_model
from torch import nn
from torch.nn.functional import normalize

__all__ = ["CONCEPT_DIM", "LOOKS_DIM", "MiniTower", "clipsearch_mini"]

LOOKS_DIM = CONCEPT_DIM = 256  # of the joint space; the rest is for scenes
_CLASSES = 1000


class MiniTower(nn.Module):
    """Pixels [n, 3, H, W] to vectors [n, dim]: scenes, looks, concepts in the last `CONCEPT_DIM`.

    Each part is of a length of its own that does not depend on the image, so the share of
    each in a cosine is fixed by `balance`.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        body: Any = timm.create_model("tf_efficientnet_lite2", num_classes=0, global_pool="")
        width: int = body.num_features  # 1280
        self.body = body
        self.classes = nn.Linear(width, _CLASSES)  # ImageNet's classifier over its temperature
        self.concepts = nn.Linear(_CLASSES, CONCEPT_DIM, bias=False)
        self.looks = nn.Linear(width, LOOKS_DIM)
        self.scenes = nn.Linear(2 * width, dim - LOOKS_DIM - CONCEPT_DIM)
        self.balance = nn.Parameter(torch.full((3,), 1 / 3))  # squared weights of the parts

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.head(self.body(pixels))

    def head(self, maps: torch.Tensor) -> torch.Tensor:
        """Vectors [n, dim] of feature maps [n, 1280, h, w]."""
        mean = maps.mean((2, 3))  # [n, 1280]
        chances = self.classes(mean).softmax(-1)
        scenes = self.scenes(torch.cat([mean, maps.amax((2, 3))], 1))
        parts = (scenes, self.looks(mean), self.concepts(chances))
        shares = self.balance.sqrt()
        return torch.cat([s * normalize(x, dim=-1) for s, x in zip(shares, parts, strict=True)], 1)


@register_model
def clipsearch_mini(
    pretrained: bool = False, *, num_classes: int = 768, global_pool: str = "avg", **_: Any
) -> MiniTower:
    """What timm calls: `num_classes` is open_clip's `embed_dim`; there are no weights to fetch."""
    del pretrained, global_pool
    return MiniTower(num_classes)
