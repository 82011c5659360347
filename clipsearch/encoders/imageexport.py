"""The image encoder of a torch model translated for OpenVINO."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from ..errors import ModelLoadError
from ..images import Preprocessing
from .compiled import openvino_failures

__all__ = ["export_image_graph"]

_EXAMPLES = 2  # not 1, which would be taken for the size that any batch has


def export_image_graph(tower: torch.nn.Module, spec: Preprocessing) -> Any:
    """The tower as OpenVINO's model, input float32 [any, 3, H, W].

    `openvino.convert_model` would do the same in more time, and set the level and the filters of
    Python's root logger for the rest of the process.

    Args:
        tower: Takes float32 [n, 3, H, W] and returns [n, dim].
        spec: Of its images.

    Raises:
        ModelLoadError: torch or OpenVINO cannot translate the tower.
    """
    failures = openvino_failures()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
    from openvino.passes import ConstantFolding, Manager

    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes that become constants, as they should
            example = torch.zeros(_EXAMPLES, 3, *spec.size)
            trace: Any = torch.jit.trace
            traced = torch.jit.freeze(trace(tower, example, check_trace=False))
            decoder = TorchScriptPythonDecoder(traced)  # must live until the model is converted
        front = FrontEndManager().load_by_framework("pytorch")
        model = front.convert(front.load(decoder))
        model.reshape([-1, 3, *spec.size])
        # What depends on weights alone, such as their slices for q, k and v, is computed here once
        # and not by every process that compiles the model: a third of its CPU time (ViT-B-32).
        folding = Manager()
        folding.register_pass(ConstantFolding())
        folding.run_passes(model)
    except failures as exc:
        reason = " ".join(str(exc).split())  # one line
        raise ModelLoadError(f"OpenVINO cannot translate the image encoder: {reason}") from exc
    return model
