"""The image encoder of the bundled model as a graph of OpenVINO, from its weights file alone.

It computes what `minitower.MiniTower` does, with the batch norms folded into the convolutions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .weights import Weights

__all__ = ["mini_graph"]

_Floats = npt.NDArray[np.float32]

_STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of the first block of each stage of an EfficientNet
_EPSILON = 1e-3  # of the batch norms
_HEADS = ("scenes", "looks", "concepts")  # in the order of their parts in a vector


def mini_graph(weights: Weights, size: tuple[int, int]) -> Any:
    """The graph, `openvino.Model`: float32 [1, 3, H, W] to [1, dim], not normalised.

    Args:
        weights: The model's file.
        size: Height and width of the images in pixels.
    """
    from openvino import Model
    from openvino import opset13 as ops

    tower = _Tower(weights)
    pixels = ops.parameter([1, 3, *size], np.float32, "pixels")
    x = tower.convolved(pixels, "body.conv_stem", "body.bn1", stride=2, is_active=True)
    for stage, block in tower.blocks():
        stride = _STRIDES[stage] if block == 0 else 1
        x = tower.block(x, f"body.blocks.{stage}.{block}", stride)
    x = tower.convolved(x, "body.conv_head", "body.bn2", stride=1, is_active=True)
    axes = np.array([2, 3])
    mean = ops.reduce_mean(x, axes)  # [1, 1280]
    most = ops.reduce_max(x, axes)
    features = {
        "scenes": tower.linear(ops.concat([mean, most], 1), "scenes"),
        "looks": tower.linear(mean, "looks"),
        "concepts": tower.linear(ops.softmax(tower.linear(mean, "classes"), 1), "concepts"),
    }
    shares = np.sqrt(tower["balance"])
    parts = [
        ops.multiply(ops.normalize_l2(features[name], np.array([1]), 1e-24, "max"), share)
        for name, share in zip(_HEADS, shares, strict=True)
    ]
    return Model([ops.concat(parts, 1)], [pixels], "clipsearch-mini")


class _Tower:
    """The layers, each made from the arrays of its name."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    def __getitem__(self, name: str) -> _Floats:
        return self._weights.floats(f"visual.trunk.{name}")

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Stage and number of every block, in order."""
        found = {
            (int(parts[4]), int(parts[5]))
            for name in self._weights
            if (parts := name.split("."))[:4] == ["visual", "trunk", "body", "blocks"]
        }
        return iter(sorted(found))

    def block(self, x: Any, name: str, stride: int) -> Any:
        """An inverted residual; the first stage has no expansion."""
        from openvino import opset13 as ops

        expands = f"visual.trunk.{name}.conv_pwl.weight" in self._weights
        y, last = x, "conv_pw"
        number = 1
        if expands:
            y = self.convolved(y, f"{name}.conv_pw", f"{name}.bn1", stride=1, is_active=True)
            number, last = 2, "conv_pwl"
        y = self.convolved(
            y, f"{name}.conv_dw", f"{name}.bn{number}", stride=stride, is_active=True
        )
        y = self.convolved(y, f"{name}.{last}", f"{name}.bn{number + 1}", stride=1)
        is_alike = stride == 1 and x.get_output_shape(0) == y.get_output_shape(0)
        return ops.add(y, x) if is_alike else y

    def convolved(
        self, x: Any, layer: str, norm: str, *, stride: int, is_active: bool = False
    ) -> Any:
        """A convolution padded as TensorFlow does, with the norm after it, and ReLU6."""
        from openvino import opset13 as ops

        weight = self[f"{layer}.weight"]  # [out, in, kernel, kernel]
        scale = self[f"{norm}.weight"] / np.sqrt(self[f"{norm}.running_var"] + _EPSILON)
        shift = self[f"{norm}.bias"] - self[f"{norm}.running_mean"] * scale
        weight = weight * scale[:, None, None, None]
        is_depthwise = weight.shape[1] == 1
        convolution = ops.group_convolution if is_depthwise else ops.convolution
        y = convolution(
            x,
            _constant(weight[:, None] if is_depthwise else weight),
            [stride, stride],
            [0, 0],
            [0, 0],
            [1, 1],
            "same_upper",
        )
        y = ops.add(y, _constant(shift[None, :, None, None]))
        return ops.clamp(y, 0.0, 6.0) if is_active else y

    def linear(self, x: Any, layer: str) -> Any:
        """A matrix [out, in] with its bias, if it has one."""
        from openvino import opset13 as ops

        y = ops.matmul(x, _constant(self[f"{layer}.weight"]), False, True)
        bias = f"{layer}.bias"
        has_bias = f"visual.trunk.{bias}" in self._weights
        return ops.add(y, _constant(self[bias][None])) if has_bias else y


def _constant(array: _Floats) -> Any:
    """A constant that keeps the array; the operations themselves would make a list of it."""
    from openvino import opset13 as ops

    return ops.constant(array, shared_memory=True)
