"""Image encoders compiled by OpenVINO, which fuses what torch runs one by one.

It pays most where every channel has its own small convolution, as in EfficientNet: there torch
waits for memory, writing each activation and reading it again. Transformers and full convolutions
gain a tenth to a quarter on a CPU whose widest instructions torch uses as well.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from ..errors import ModelLoadError
from ..images import Preprocessing

__all__ = ["CompiledLater", "CompiledTower"]

_log = logging.getLogger("clipsearch")


class CompiledTower:
    """An image encoder with its preprocessing in OpenVINO; several threads may call it at a time.

    Args:
        tower: Takes float32 [n, 3, H, W] and returns [n, dim].
        spec: How pixels become the tower's input.
        threads: How many callers are served at the same time, each on one CPU core.
        batch: Images computed together.
        precision: Of the products of matrices; a CPU without bfloat16 takes float32.

    Raises:
        ModelLoadError: torch or OpenVINO cannot translate the tower.
    """

    def __init__(
        self,
        tower: torch.nn.Module,
        spec: Preprocessing,
        threads: int,
        *,
        batch: int = 1,
        precision: Literal["f32", "bf16"] = "f32",
    ) -> None:
        # OpenVINO reports its use to its maker unless this package is missing: make it so.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        try:
            model = _with_preprocessing(_translated(tower, spec, batch), spec)
            self._model = _compiled(model, threads, precision)
        except _failures() as exc:
            reason = " ".join(str(exc).split())  # one line
            raise ModelLoadError(f"OpenVINO cannot compile the image encoder: {reason}") from exc
        self._requests = threading.local()
        self._batch = batch

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Image features [n, dim], not normalised, of uint8 [n, H, W, 3]."""
        if not hasattr(self._requests, "own"):
            self._requests.own = self._model.create_infer_request()
        infer = self._requests.own.infer
        missing = -len(pixels) % self._batch
        whole = np.pad(pixels, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else pixels
        # The result is a view of memory that the next call writes to.
        parts = [
            infer([whole[i : i + self._batch]])[0].copy() for i in range(0, len(whole), self._batch)
        ]
        return np.concatenate(parts)[: len(pixels)]


class CompiledLater:
    """Compiles a tower in the background once many images have come; meanwhile torch goes on.

    Args:
        build: Makes the tower; None where its vectors are not those of the model.
        after: Images that have to come first.
    """

    def __init__(self, build: Callable[[], CompiledTower | None], *, after: int) -> None:
        self._build = build
        self._left = after
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._tower: CompiledTower | None = None

    def tower(self, images: int) -> CompiledTower | None:
        """The compiled tower, once it is there, for so many more images."""
        with self._lock:
            self._left -= images
            if self._left <= 0 and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="compile")
                self._thread.start()
        return self._tower

    def wait(self) -> None:
        """Until it is compiled, if that has begun."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._tower = self._build()
        except (ModelLoadError, ImportError) as exc:
            _log.warning("%s; torch is used instead", exc)
        except RuntimeError:
            if threading.main_thread().is_alive():
                raise
            # The program is ending: its pools take no more work, and nobody needs the tower.


def _failures() -> tuple[type[Exception], ...]:
    """What torch and OpenVINO raise on a model that they cannot translate or compile."""
    from openvino import frontend

    return (
        RuntimeError,
        frontend.GeneralFailure,
        frontend.InitializationFailure,
        frontend.NotImplementedFailure,
        frontend.OpConversionFailure,
        frontend.OpValidationFailure,
    )


def _translated(tower: torch.nn.Module, spec: Preprocessing, batch: int) -> Any:
    """The tower as OpenVINO's model, input float32 [batch, 3, H, W].

    `openvino.convert_model` would do the same in more time, and set the level and the filters of
    Python's root logger for the rest of the process.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes that become constants, as they should
        example = torch.zeros(batch, 3, *spec.size)
        trace: Any = torch.jit.trace
        traced = torch.jit.freeze(trace(tower, example, check_trace=False))
        decoder = TorchScriptPythonDecoder(traced)  # must live until the model is converted
    front = FrontEndManager().load_by_framework("pytorch")
    loaded = front.load(decoder)
    model = front.convert(loaded)
    model.reshape(list(example.shape))
    return model


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


def _compiled(model: Any, threads: int, precision: str) -> Any:
    """The model ready to run."""
    import openvino

    return openvino.Core().compile_model(
        model,
        "CPU",
        {
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": precision,
            "ENABLE_CPU_PINNING": False,  # decoders and other processes need the cores too
        },
    )
