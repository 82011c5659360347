"""The image tower of the bundled model, made known to timm and so to open_clip.

An EfficientNet-Lite2 with two heads side by side. *Concepts* is ConSE (Norouzi et al., 2014): the
expectation of the class names' meanings under the tower's own ImageNet probabilities. *Scenes* is
a projection learned from captions. Importing this module is what lets open_clip load the folder
`models/clipsearch-mini`; nothing else is needed.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from timm.models import register_model
from torch import nn
from torch.nn.functional import normalize

__all__ = ["CONCEPT_DIM", "MiniTower", "clipsearch_mini"]

CONCEPT_DIM = 320  # of the joint space; the rest is for scenes
_CLASSES = 1000


class MiniTower(nn.Module):
    """Pixels [n, 3, H, W] to vectors [n, dim]: scenes first, concepts in the last `CONCEPT_DIM`.

    Each part is of a length of its own that does not depend on the picture, so the share of
    either in a cosine is fixed by `balance`.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        body: Any = timm.create_model("tf_efficientnet_lite2", num_classes=0, global_pool="")
        width: int = body.num_features  # 1280
        self.body = body
        self.classes = nn.Linear(width, _CLASSES)  # ImageNet's classifier over its temperature
        self.concepts = nn.Linear(_CLASSES, CONCEPT_DIM, bias=False)
        self.scenes = nn.Linear(2 * width, dim - CONCEPT_DIM)
        self.balance = nn.Parameter(torch.tensor([0.5, 0.5]))  # squared weights of the parts

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.head(self.body(pixels))

    def head(self, maps: torch.Tensor) -> torch.Tensor:
        """Vectors [n, dim] of feature maps [n, 1280, h, w]."""
        mean = maps.mean((2, 3))  # [n, 1280]
        chances = self.classes(mean).softmax(-1)
        scene = normalize(self.scenes(torch.cat([mean, maps.amax((2, 3))], 1)), dim=-1)
        concept = normalize(self.concepts(chances), dim=-1)
        share = self.balance.sqrt()
        return torch.cat([share[0] * scene, share[1] * concept], 1)


@register_model
def clipsearch_mini(
    pretrained: bool = False, *, num_classes: int = 640, global_pool: str = "avg", **_: Any
) -> MiniTower:
    """What timm calls: `num_classes` is open_clip's `embed_dim`; there are no weights to fetch."""
    del pretrained, global_pool
    return MiniTower(num_classes)
