"""The one place that chooses what encodes: torch, or OpenVINO and numpy, which start in no time.

Torch encodes on GPUs, in precisions that only it has, the parts of a model that cannot be exported,
and whatever is loaded for the first time. Everything else is light.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..encoder import Encoder
from ..errors import MissingExtraError
from ..types import Precision
from .devices import (
    check_device,
    check_precision,
    has_bfloat16,
    has_openvino,
    has_torch,
    may_have_gpu,
)
from .light import LightEncoder
from .lightmodel import LightModel, bundled_model, kept_model
from .names import known_fingerprint, name_entry, note_fingerprint

if TYPE_CHECKING:
    from .openclip import OpenClipEncoder

__all__ = ["choose_encoder", "keep_for_later"]


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
    torch = _Torch(name, device, precision, bundled, name_entry(name) if bundled is None else None)
    light_images = _encodes_images_lightly(device, precision)
    if bundled is not None:
        model: LightModel | None = bundled_model(bundled)
        is_current = True
    else:
        known = known_fingerprint(torch.entry)
        model = kept_model(fingerprint or known or "")
        is_current = model is not None and model.facts.fingerprint == known
    if model is not None and not (light_images and is_current):
        model = replace(model, image=None)
    if fingerprint is None:  # images are to be expected
        is_light = model is not None and light_images and not model.is_text_only
    else:
        is_light = model is not None
    if model is None or not is_light or (model.text is None and model.image is None):
        return torch.for_the_first_time() if light_images else torch()
    return _light(name, model, torch, precision)


def keep_for_later(encoder: Encoder) -> None:
    """Keep what can be exported of a model in torch, so that a later query needs none."""
    if hasattr(encoder, "image_graph"):
        from .export import keep_exported

        keep_exported(cast("OpenClipEncoder", encoder))


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
            return _light(self.name, model, self, self.precision)
        encoder.settle(self.precision)
        return encoder

    def _loaded(self, precision: Precision) -> OpenClipEncoder:
        if not has_torch():
            raise MissingExtraError(
                f"{self.name} has to be loaded by torch once, which is not installed; "
                "pip install torch open_clip_torch timm, or use the bundled clipsearch-mini"
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


def _light(name: str, model: LightModel, torch: _Torch, precision: Precision) -> LightEncoder:
    half = precision == "bf16" or (precision == "auto" and model.facts.bf16 and has_bfloat16())
    return LightEncoder(name, model, torch, precision="bf16" if half else "fp32")


def _encodes_images_lightly(device: str, precision: Precision) -> bool:
    """Whether OpenVINO may encode images: on CPUs, in the precisions that it has."""
    if precision in ("fp16", "int8") or (precision == "bf16" and not has_bfloat16()):
        return False
    if not has_openvino():
        return False
    if device == "auto" and may_have_gpu() and has_torch():
        from .openclip import resolve_device

        device = resolve_device(device)
    return device in ("auto", "cpu")
