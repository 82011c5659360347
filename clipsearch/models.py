"""The models that clipsearch knows by name, loaded on demand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InvalidInputError, ModelLoadError
from .known import is_model_known, remember_model

if TYPE_CHECKING:
    from .encoder import Encoder
    from .types import Precision

__all__ = [
    "BUNDLED_MODEL",
    "ModelInfo",
    "check_trusted",
    "list_models",
    "load_encoder",
    "load_index_encoder",
    "load_text_encoder",
    "runtime_of_images",
]

BUNDLED_MODEL = "clipsearch-mini"
_BUNDLED_FOLDER = Path(__file__).parent / "models" / BUNDLED_MODEL


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A model worth choosing, with its published figures.

    Figures of the OpenCLIP models are from open_clip's `openclip_results.csv` and
    `openclip_retrieval_results.csv`, those of SigLIP2 from big_vision's `README_siglip2.md`.
    """

    name: str
    params_m: int  # millions
    size_mb: int  # on disk or to download: a float32 checkpoint, half precision if bundled
    bundled: bool = False
    licence: str
    imagenet: float | None  # zero-shot top-1, %; None for the bundled one, which learned the names
    coco_t2i: float | None  # text-to-image R@1 among 5,000 photos, %
    languages: str
    advice: str


_BUNDLED = ModelInfo(
    name=BUNDLED_MODEL,
    params_m=23,
    size_mb=47,
    bundled=True,
    licence="Apache-2.0",
    imagenet=None,
    coco_t2i=None,
    languages="English, some Spanish nouns",
    advice="a first look, tests, closed networks: it is here already",
)

_PUBLISHED = (
    ModelInfo(
        name="ViT-B-32-256/datacomp_s34b_b86k",
        params_m=151,
        size_mb=605,
        licence="MIT",
        imagenet=72.8,
        coco_t2i=39.9,
        languages="English",
        advice="the usual choice, quick on a CPU",
    ),
    ModelInfo(
        name="ViT-B-16-SigLIP2/webli",
        params_m=375,
        size_mb=1500,
        licence="Apache-2.0",
        imagenet=78.2,
        coco_t2i=52.1,
        languages="many, Spanish among them",
        advice="better, and in many languages; 3 GB of memory, slower on a CPU",
    ),
    ModelInfo(
        name="ViT-L-14/datacomp_xl_s13b_b90k",
        params_m=428,
        size_mb=1710,
        licence="MIT",
        imagenet=79.2,
        coco_t2i=45.7,
        languages="English",
        advice="many images to name, with a GPU",
    ),
    ModelInfo(
        name="ViT-SO400M-14-SigLIP-384/webli",
        params_m=878,
        size_mb=3510,
        licence="Apache-2.0",
        imagenet=83.1,
        coco_t2i=54.2,
        languages="English",
        advice="the best quality, with a large GPU",
    ),
    ModelInfo(
        name="xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k",
        params_m=366,
        size_mb=1465,
        licence="MIT",
        imagenet=62.4,
        coco_t2i=37.8,
        languages="100, Spanish among them",
        advice="queries in 100 languages, quick on a CPU",
    ),
    ModelInfo(
        name="xlm-roberta-large-ViT-H-14/frozen_laion5b_s13b_b90k",
        params_m=1193,
        size_mb=4770,
        licence="MIT",
        imagenet=77.0,
        coco_t2i=49.2,
        languages="100, Spanish among them",
        advice="queries in 100 languages, with a GPU",
    ),
)


def list_models() -> tuple[ModelInfo, ...]:
    """The recommended models, the bundled one first. Any other OpenCLIP model loads as well."""
    return (_BUNDLED, *_PUBLISHED)


def load_encoder(
    name: str = BUNDLED_MODEL,
    *,
    device: str = "auto",
    precision: Precision = "auto",
) -> Encoder:
    """Load a model exactly as it was trained.

    Args:
        name: `clipsearch-mini` (bundled), `ViT-B-32/laion2b_s34b_b79k` (any OpenCLIP
            architecture and weights, fetched from the hub once), `hf-hub:org/name`,
            `local-dir:/folder` in open_clip's format, or `ViT-B-32:/file.safetensors` (a local
            checkpoint; `ViT-L-14/laion2b_s32b_b82k:/file` where weights of one architecture
            differ in preprocessing).
        device: "auto" (CUDA or an Apple GPU where there is one), "cpu", "cuda", "cuda:1" or "mps".
            An Apple GPU is compared with the CPU when the model is loaded. Where vectors differ or
            an operator is missing, the CPU encodes, and the encoder's `notes` say why.
        precision: Numeric precision of the image encoder. "auto" is half precision where the
            hardware has it and the embeddings agree with float32 to a cosine over 0.999, "int8"
            multiplies in 8 bits on a CPU (transformers only; refused under a cosine of 0.99).

    Raises:
        ModelNotFoundError: No model has that name; the message suggests near ones.
        ModelLoadError: Weights are missing, incomplete or do not fit, or the hub is out of reach.
        InvalidInputError: Unknown device or precision.
    """
    if not name or not name.strip():
        raise InvalidInputError("the model's name is empty; the bundled one is clipsearch-mini")
    return _chosen(name, device=device, precision=precision)


def check_trusted(name: str, *, trust: bool = False) -> None:
    """Check that a model that an index names was used on this machine before.

    An index may come from anybody, and its model's name may mean any file or any repository of the
    hub. The bundled model is always fine, and so is one that `load_encoder` has loaded here.

    Args:
        name: As the index has it.
        trust: Whether the user allows it.

    Raises:
        ModelLoadError: It was not.
    """
    if not (trust or name == BUNDLED_MODEL or is_model_known(name)):
        raise ModelLoadError(
            f"the index names the model {name!r}, which was never used on this machine, so it is "
            "not loaded. If you trust where the index comes from, allow it once with --trust-model "
            "(in Python: clipsearch.load_encoder with that name)"
        )


def load_index_encoder(
    name: str, *, device: str = "auto", precision: Precision = "auto", trust: bool = False
) -> Encoder:
    """`load_encoder` for a model that an index names, rather than the user.

    Raises:
        ModelNotFoundError, InvalidInputError: As `load_encoder`.
        ModelLoadError: As `load_encoder`, and as `check_trusted`.
    """
    check_trusted(name, trust=trust)
    return load_encoder(name, device=device, precision=precision)


def load_text_encoder(
    name: str,
    fingerprint: str,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    trust: bool = False,
) -> Encoder:
    """`load_index_encoder` of the very model that an index was made with.

    Texts then never wait for the image encoder, not even where that is on a GPU.

    Args:
        name: As for `load_encoder`.
        fingerprint: Of the model that the index was made with.
        device: For images.
        precision: The same.
        trust: As for `check_trusted`.

    Raises:
        ModelNotFoundError, ModelLoadError, InvalidInputError: As `load_index_encoder`.
    """
    check_trusted(name, trust=trust)
    return _chosen(name, device=device, precision=precision, fingerprint=fingerprint)


def runtime_of_images(name: str, fingerprint: str) -> str:
    """What encodes images with an index's model here by default: "openvino" or "torch"."""
    from .encoders.runtimes import expected_runtime

    return expected_runtime(name, fingerprint, is_bundled=name == BUNDLED_MODEL)


def _chosen(
    name: str, *, device: str, precision: Precision, fingerprint: str | None = None
) -> Encoder:
    from .encoders.runtimes import choose_encoder

    bundled = _BUNDLED_FOLDER if name == BUNDLED_MODEL else None
    chosen = choose_encoder(
        name, device=device, precision=precision, bundled=bundled, fingerprint=fingerprint
    )
    if bundled is None:
        remember_model(name)
    return chosen
