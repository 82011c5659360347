"""Label packs: a trained or calibrated classifier as one small file.

A pack is a safetensors file: arrays, and a JSON document in the header's metadata. Nothing in it
can run, and its size on disk bounds its size in memory.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InvalidInputError
from ..files import check_output, expanded, output_file, read_regular
from ..vectors import Floats
from .heads import Adapter, ClassHead

__all__ = ["PACK_SUFFIX", "LabelPack", "load_pack", "save_pack"]

PACK_SUFFIX = ".clip"
_FORMAT = "clipsearch-labels"
_VERSION = 1
_MAX_HEADER_BYTES = 8 * 1024**2  # names and templates; as objects they take twenty times as much
_MAX_BYTES = 256 * 1024**2  # 40,000 classes of 1,024 numbers, adapter included


@dataclass(frozen=True, slots=True)
class LabelPack:
    """A classifier's head with what it was made from."""

    head: ClassHead
    model: str
    fingerprint: str
    groups: dict[str, list[str]]
    templates: tuple[str, ...]


def save_pack(path: str | os.PathLike[str], pack: LabelPack, *, overwrite: bool = False) -> None:
    """Write a pack; a pack that is there is replaced at once or not at all.

    Args:
        path: The file.
        pack: The pack.
        overwrite: Whether a file that is no pack is replaced, too.

    Raises:
        InvalidInputError: The folder does not exist, or `path` is a folder, or another file.
        StorageError: The file cannot be written.
    """
    from safetensors.numpy import save

    head = pack.head
    arrays = {"weights": head.weights}
    if head.contrast is not None:
        arrays["contrast"] = head.contrast
    if head.adapter is not None:
        arrays |= {"coef": head.adapter.coef, "intercept": head.adapter.intercept}
    document = {
        "model": pack.model,
        "fingerprint": pack.fingerprint,
        "groups": pack.groups,
        "templates": list(pack.templates),
        "logit_scale": head.logit_scale,
        "logit_bias": head.logit_bias,
        "none_margin": head.none_margin,
        "temperature": head.temperature,
        "shift": head.shift,
        "threshold": head.threshold,
        "blend": head.adapter.blend if head.adapter else None,
        "examples": head.adapter.examples if head.adapter else 0,
    }
    data = save(
        {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()},
        metadata={
            "format": _FORMAT,
            "version": str(_VERSION),
            "pack": json.dumps(document, ensure_ascii=False),
        },
    )
    check_output(path, _is_pack, overwrite=overwrite)
    with output_file(path) as part:
        part.write_bytes(data)


def load_pack(source: str | os.PathLike[str] | bytes) -> LabelPack:
    """Read a pack from a file or from its bytes.

    Raises:
        InvalidInputError: It cannot be read, is no pack, is damaged, or is of a newer version.
    """
    name = "the label pack" if isinstance(source, bytes) else str(source)
    data = source if isinstance(source, bytes) else _read(expanded(source), name)
    try:
        arrays, metadata = _parse(data)
        if metadata.get("format") != _FORMAT:
            raise ValueError("it has no labels")
        if int(metadata["version"]) > _VERSION:
            raise InvalidInputError(
                f"{name} is of a newer version ({metadata['version']}); update clipsearch: "
                "pip install -U clipsearch"
            )
        return _pack(arrays, json.loads(metadata["pack"]))
    except InvalidInputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as exc:
        raise InvalidInputError(f"{name} is not a label pack, or is damaged: {exc}") from exc


def _is_pack(path: Path) -> bool:
    try:
        load_pack(path)
    except InvalidInputError:
        return False
    return True


def _read(path: Path, name: str) -> bytes:
    try:
        return read_regular(path, _MAX_BYTES)
    except OSError as exc:
        raise InvalidInputError(f"cannot read {name}: {exc.strerror or exc}") from exc


def _parse(data: bytes) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Arrays and metadata of safetensors bytes; ValueError for anything else."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if len(data) > _MAX_BYTES:
        raise ValueError("it is too large")
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise ValueError("it is cut short")
    if length > _MAX_HEADER_BYTES:
        raise ValueError("its header is too large")
    header = json.loads(data[8 : 8 + length])
    metadata = header.get("__metadata__") or {}
    try:
        arrays = load(data)
    except SafetensorError as exc:
        raise ValueError(str(exc)) from exc
    return arrays, metadata


def _pack(arrays: dict[str, npt.NDArray[Any]], document: dict[str, Any]) -> LabelPack:
    groups = {str(label): [str(n) for n in names] for label, names in document["groups"].items()}
    labels = tuple(groups)
    weights = _matrix(arrays, "weights", rows=len(labels), unit=True)
    dim = weights.shape[1]
    adapter = None
    if document["blend"] is not None:
        intercept = arrays["intercept"]
        if intercept.shape != (len(labels),) or not np.isfinite(intercept).all():
            raise ValueError("the adapter does not fit the labels")
        adapter = Adapter(
            coef=_matrix(arrays, "coef", rows=len(labels), columns=dim),
            intercept=np.asarray(intercept, np.float32),
            blend=_finite(document["blend"]),
            examples=int(document["examples"]),
        )
    bias, threshold = document["logit_bias"], document["threshold"]
    temperature = _finite(document["temperature"])
    if temperature <= 0:
        raise ValueError("its temperature is not positive")
    head = ClassHead(
        labels=labels,
        weights=weights,
        logit_scale=_finite(document["logit_scale"]),
        logit_bias=None if bias is None else _finite(bias),
        contrast=_matrix(arrays, "contrast", columns=dim, unit=True)
        if "contrast" in arrays
        else None,
        none_margin=_finite(document["none_margin"]),
        temperature=temperature,
        shift=_finite(document["shift"]),
        threshold=None if threshold is None else _finite(threshold),
        adapter=adapter,
    )
    return LabelPack(
        head=head,
        model=str(document["model"]),
        fingerprint=str(document["fingerprint"]),
        groups=groups,
        templates=tuple(str(t) for t in document["templates"]),
    )


def _matrix(
    arrays: dict[str, npt.NDArray[Any]],
    name: str,
    *,
    rows: int | None = None,
    columns: int | None = None,
    unit: bool = False,
) -> Floats:
    array = arrays[name]
    if array.dtype != np.float32 or array.ndim != 2 or not array.size:
        raise ValueError(f"{name} is not a float32 matrix")
    if rows not in (None, array.shape[0]) or columns not in (None, array.shape[1]):
        raise ValueError(f"{name} has the wrong shape {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has numbers that are not finite")
    if unit and not np.allclose(np.linalg.norm(array, axis=1), 1, atol=1e-3):
        raise ValueError(f"{name} has vectors that are not of unit length")
    return np.asarray(array, np.float32)


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("a number in it is not finite")
    return number
