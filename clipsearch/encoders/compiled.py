"""Image encoders compiled by OpenVINO, which fuses what torch runs one by one.

It pays most where every channel has its own small convolution, as in EfficientNet: there torch
waits for memory, writing each activation and reading it again. Transformers and full convolutions
gain a tenth to a quarter on a CPU whose widest instructions torch uses as well.
"""

from __future__ import annotations

import sys
import threading
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import ModelLoadError
from ..images import Preprocessing

__all__ = ["CompiledTower", "openvino_failures"]

# OpenVINO reports its use to its maker unless this package is missing: make it so.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


class CompiledTower:
    """An image encoder with its preprocessing in OpenVINO; several threads may call it at a time.

    Args:
        graph: An `openvino.Model` from float32 [batch, 3, H, W] to [batch, dim].
        spec: How pixels become its input.
        threads: CPU cores that it uses.
        streams: How many callers are served at the same time; they share the cores.
        precision: Of the products of matrices; a CPU without bfloat16 takes float32.

    Raises:
        ModelLoadError: OpenVINO cannot compile the graph.
    """

    def __init__(
        self,
        graph: Any,
        spec: Preprocessing,
        threads: int,
        *,
        streams: int,
        precision: Literal["f32", "bf16"] = "f32",
    ) -> None:
        try:
            model = _with_preprocessing(graph, spec)
            self._model = _compiled(model, threads, streams, precision)
        except openvino_failures() as exc:
            reason = " ".join(str(exc).split())  # one line
            raise ModelLoadError(f"OpenVINO cannot compile the image encoder: {reason}") from exc
        self._requests = threading.local()
        self.batch = int(graph.input(0).shape[0])

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Image features [n, dim], not normalised, of uint8 [n, H, W, 3]."""
        if not hasattr(self._requests, "own"):
            self._requests.own = self._model.create_infer_request()
        infer = self._requests.own.infer
        missing = -len(pixels) % self.batch
        whole = np.pad(pixels, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else pixels
        # The result is a view of memory that the next call writes to.
        parts = [
            infer([whole[i : i + self.batch]])[0].copy() for i in range(0, len(whole), self.batch)
        ]
        return np.concatenate(parts)[: len(pixels)]


def openvino_failures() -> tuple[type[Exception], ...]:
    """What OpenVINO raises on a model that it cannot translate or compile; torch the first."""
    from openvino import frontend

    return (
        RuntimeError,
        frontend.GeneralFailure,
        frontend.InitializationFailure,
        frontend.NotImplementedFailure,
        frontend.OpConversionFailure,
        frontend.OpValidationFailure,
    )


def _with_preprocessing(model: Any, spec: Preprocessing) -> Any:
    """The model with input uint8 [batch, H, W, 3]."""
    import openvino
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(model)
    image = steps.input()
    image.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    image.model().set_layout(openvino.Layout("NCHW"))
    to_float = image.preprocess().convert_element_type(openvino.Type.f32)
    to_float.mean([255 * value for value in spec.mean]).scale([255 * value for value in spec.std])
    return steps.build()


def _compiled(model: Any, threads: int, streams: int, precision: str) -> Any:
    """The model ready to run."""
    import openvino

    return openvino.Core().compile_model(
        model,
        "CPU",
        {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": precision,
            "ENABLE_CPU_PINNING": False,  # decoders and other processes need the cores too
        },
    )
