"""Image towers compiled by OpenVINO (extra `openvino`), which fuses what torch runs one by one.

It pays where every channel has its own small convolution, as in EfficientNet: there torch waits
for memory, writing each activation and reading it again. The matrix products of transformers and
the full convolutions of a ResNet are about as fast in torch.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..images import Preprocessing

__all__ = ["CompiledTower", "can_compile"]


def can_compile() -> bool:
    """Whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


class CompiledTower:
    """An image tower with its preprocessing in OpenVINO; several threads may call it at a time.

    Args:
        tower: Takes float32 [1, 3, H, W] and returns [1, dim].
        spec: How pixels become the tower's input.
        threads: How many callers are served at the same time, each on one processor core.

    Raises:
        RuntimeError: torch or OpenVINO cannot translate the tower.
    """

    def __init__(self, tower: torch.nn.Module, spec: Preprocessing, threads: int) -> None:
        # OpenVINO reports its use to its maker unless this package is missing: make it so.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino

        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes that become constants, as they should
            example = torch.zeros(1, 3, *spec.size)
            trace: Any = torch.jit.trace
            traced = torch.jit.freeze(trace(tower, example, check_trace=False))
            model = openvino.convert_model(traced, input=list(example.shape))
        self._model = openvino.Core().compile_model(
            _with_preprocessing(openvino, model, spec),
            "CPU",
            {
                "NUM_STREAMS": threads,
                "INFERENCE_NUM_THREADS": threads,
                "INFERENCE_PRECISION_HINT": "f32",
                "ENABLE_CPU_PINNING": False,  # decoders and other processes need the cores too
            },
        )
        self._requests = threading.local()

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Image features [n, dim], not normalised, of uint8 [n, H, W, 3], one after another."""
        if not hasattr(self._requests, "own"):
            self._requests.own = self._model.create_infer_request()
        infer = self._requests.own.infer
        # The result is a view of memory that the next call writes to.
        rows = [infer([pixels[i : i + 1]])[0].copy() for i in range(len(pixels))]
        return np.concatenate(rows)


def _with_preprocessing(openvino: Any, model: Any, spec: Preprocessing) -> Any:
    """The model with input uint8 [1, H, W, 3]."""
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(model)
    image = steps.input()
    image.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    image.model().set_layout(openvino.Layout("NCHW"))
    to_float = image.preprocess().convert_element_type(openvino.Type.f32)
    to_float.mean([255 * value for value in spec.mean]).scale([255 * value for value in spec.std])
    return steps.build()
