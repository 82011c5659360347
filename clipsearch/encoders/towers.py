"""Image encoders rearranged to compute the same thing faster."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch.nn.utils.fusion import fuse_conv_bn_weights

__all__ = ["is_convolutional", "without_batch_norms"]

_CONV_WORK = 0.5  # share of the parameters in convolutions from which a tower counts as one


def is_convolutional(tower: torch.nn.Module) -> bool:
    """Whether most weights are in convolutions, which run best with the channels last."""
    total = sum(p.numel() for p in tower.parameters())
    convolutions = (m for m in tower.modules() if isinstance(m, torch.nn.Conv2d))
    return sum(m.weight.numel() for m in convolutions) > _CONV_WORK * total


def without_batch_norms(tower: torch.nn.Module) -> torch.nn.Module | None:
    """A copy whose batch norms are folded into the convolutions before them.

    Pairs are taken in the order of definition, which is that of computation in the usual towers;
    the caller compares outputs before using the copy.

    Returns:
        The copy in channels-last layout, or None where there is nothing to fold.
    """
    tower = copy.deepcopy(tower)
    convolution: torch.nn.Conv2d | None = None
    folded = 0
    for name, module in list(tower.named_modules()):
        if isinstance(module, torch.nn.Conv2d):
            convolution = module
        elif isinstance(module, torch.nn.BatchNorm2d) and convolution is not None:
            if convolution.out_channels == module.num_features and module.running_mean is not None:
                _fold(convolution, module)
                # timm's norms carry their activation
                _replace(tower, name, getattr(module, "act", None) or torch.nn.Identity())
                folded += 1
            convolution = None
    return tower.to(memory_format=torch.channels_last) if folded else None


def _fold(convolution: torch.nn.Conv2d, norm: Any) -> None:
    weight, bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    convolution.weight = torch.nn.Parameter(weight, requires_grad=False)
    convolution.bias = torch.nn.Parameter(bias, requires_grad=False)


def _replace(root: torch.nn.Module, name: str, module: torch.nn.Module) -> None:
    path, _, last = name.rpartition(".")
    setattr(root.get_submodule(path), last, module)
