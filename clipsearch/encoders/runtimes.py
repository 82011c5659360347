"""The one place that chooses what encodes: torch, or OpenVINO and numpy, which start in no time.

Torch encodes on GPUs, in precisions that only it has, the parts of a model that cannot be exported,
and whatever is loaded for the first time. Everything else is light.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..encoder import Encoder
from ..errors import MissingExtraError
from ..types import Precision
from .devices import (
    check_device,
    check_precision,
    has_bfloat16,
    has_openvino,
    has_torch,
    likely_device,
)
from .light import LightEncoder
from .lightmodel import LightModel, bundled_model, kept_model
from .names import known_fingerprint, name_entry, note_fingerprint

if TYPE_CHECKING:
    from .openclip import OpenClipEncoder

__all__ = ["choose_encoder", "expected_runtime"]


def choose_encoder(
    name: str,
    *,
    device: str,
    precision: Precision,
    bundled: Path | None = None,
    fingerprint: str | None = None,
) -> Encoder:
    """The encoder of a model that starts soonest among those that do what is asked.

    Args:
        name: As for `clipsearch.load_encoder`.
        device: The same.
        precision: The same.
        bundled: The folder of the model, if it comes with clipsearch.
        fingerprint: Of the model that an index was made with, for its queries: texts are then
            encoded without torch wherever that is possible.

    Raises:
        ModelNotFoundError, ModelLoadError, InvalidInputError: As `clipsearch.load_encoder`.
        MissingExtraError: The model needs torch, which is not installed.
    """
    check_precision(precision)
    check_device(device)
    entry = name_entry(name) if bundled is None else None
    torch = _Torch(name, device, precision, bundled, entry)
    where = _torch_device(device, precision, certain=fingerprint is None)
    if bundled is not None:
        model: LightModel | None = bundled_model(bundled)
        is_current = True
    else:
        known = known_fingerprint(entry)
        model = kept_model(fingerprint or known or "")
        is_current = model is not None and model.facts.fingerprint == known
    if fingerprint is None:
        if where is not None:
            return torch()
        is_light = model is not None and not model.is_text_only
        if model is None or not is_light or (model.text is None and model.image is None):
            return torch.for_the_first_time()
        return torch.light(model)
    again = partial(choose_encoder, name, device=device, precision=precision, bundled=bundled)
    if where is None and is_current and model is not None and model.image is not None:
        return torch.light(model)
    if model is None or model.text is None:
        return again()
    return torch.light(replace(model, image=None), load=again, device=where or "cpu")


def expected_runtime(name: str, fingerprint: str, *, is_bundled: bool) -> str:
    """What would encode images on "auto", found without loading anything."""
    if _torch_device("auto", "auto", certain=False) is not None:
        return "torch"
    if is_bundled:
        return "openvino"
    model = kept_model(fingerprint)
    is_current = known_fingerprint(name_entry(name)) == fingerprint
    return "openvino" if is_current and model is not None and model.image else "torch"


@dataclass(frozen=True, slots=True)
class _Torch:
    """Loads a model in torch, and keeps what later processes use instead."""

    name: str
    device: str
    precision: Precision
    bundled: Path | None
    entry: str | None

    def __call__(self) -> OpenClipEncoder:
        encoder = self._loaded(self.precision)
        self._keep(encoder)
        return encoder

    def for_the_first_time(self) -> Encoder:
        """The light encoder, once torch has exported the model; torch's where it could not."""
        encoder = self._loaded("fp32")
        model = self._keep(encoder)
        if model is not None and model.image is not None:
            return self.light(model)
        encoder.settle(self.precision)
        return encoder

    def light(
        self, model: LightModel, *, load: Callable[[], Encoder] | None = None, device: str = "cpu"
    ) -> LightEncoder:
        """The light encoder.

        Args:
            model: Its parts.
            load: What encodes in the place of the parts that are missing; torch, if not given.
            device: Where that does it.
        """
        bf16 = self.precision == "auto" and model.facts.bf16 and has_bfloat16()
        return LightEncoder(
            self.name,
            model,
            load or self,
            in_torch=self,
            device=device,
            precision="bf16" if bf16 or self.precision == "bf16" else "fp32",
        )

    def _loaded(self, precision: Precision) -> OpenClipEncoder:
        if not has_torch():
            asked = _torch_device(self.device, self.precision, certain=False)
            raise MissingExtraError(
                f"{self.name} has to be loaded by torch once, which is not installed; "
                "pip install torch open_clip_torch timm, or use the bundled clipsearch-mini"
                if asked is None
                else f"--device {self.device} with --precision {self.precision} needs torch, which "
                "is not installed; pip install torch open_clip_torch timm, or leave them out"
            )
        from .loader import open_encoder

        if self.bundled is None:
            return open_encoder(self.name, device=self.device, precision=precision)
        return open_encoder(
            f"local-dir:{self.bundled}", device=self.device, precision=precision, alias=self.name
        )

    def _keep(self, encoder: OpenClipEncoder) -> LightModel | None:
        if self.bundled is not None:
            return None
        from .export import keep_exported

        model = keep_exported(encoder)
        note_fingerprint(self.entry, encoder.fingerprint)
        return model


def _torch_device(device: str, precision: Precision, *, certain: bool) -> str | None:
    """Where torch is to encode images; None where OpenVINO is.

    Args:
        device: As for `clipsearch.load_encoder`.
        precision: The same.
        certain: Whether torch is asked; else a GPU that may be there is taken to be.
    """
    if device == "auto":
        device = likely_device() if has_torch() else "cpu"
        if device != "cpu" and certain:
            from .openclip import resolve_device

            device = resolve_device("auto")
    has_precision = precision in ("auto", "fp32") or (precision == "bf16" and has_bfloat16())
    return None if device == "cpu" and has_precision and has_openvino() else device
