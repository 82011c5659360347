"""A model without torch: what is known of it, its text encoder, its image encoder as a graph.

The graph of the bundled model is built from its own weights file. Every other model is exported by
torch once and kept in the cache under its fingerprint.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..cache import folder_entry, write_folder_entry
from ..images import Preprocessing
from .bundledtext import bundled_text_tower
from .compiled import openvino_failures
from .minigraph import mini_graph
from .texttower import TextTower, TowerFacts
from .weights import Weights

__all__ = [
    "LightModel",
    "ModelFacts",
    "bundled_model",
    "keep_model",
    "kept_model",
    "read_graph",
    "save_graph",
]

_FORMAT = 1
_DOCUMENT = "model.json"
_GRAPH, _GRAPH_WEIGHTS = "image.xml", "image.bin"
_PIECE = 1 << 20  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What an encoder tells of its model."""

    fingerprint: str
    dim: int
    context_length: int
    logit_scale: float
    logit_bias: float | None
    preprocessing: Preprocessing
    bf16: bool = False  # whether image vectors in bfloat16 agree with those in float32


@dataclass(frozen=True, slots=True, kw_only=True)
class LightModel:
    """The parts of a model, each loaded on first use; None for what only torch can compute."""

    facts: ModelFacts
    text: Callable[[], TextTower | None] | None
    image: Callable[[], Any] | None  # an `openvino.Model`
    is_text_only: bool = False  # exported from a GPU, so that its image encoder was not tried


def bundled_model(folder: Path) -> LightModel:
    """The bundled model, from the files of its folder.

    Raises:
        OSError, ValueError, KeyError: The installation is damaged.
    """
    document = json.loads((folder / _DOCUMENT).read_text(encoding="utf-8"))
    facts, text = _facts(document["model"]), TowerFacts(**document["text"])
    weights = Weights(folder / "open_clip_model.safetensors")
    return LightModel(
        facts=facts,
        text=lambda: bundled_text_tower(weights, text),
        image=lambda: mini_graph(weights, facts.preprocessing.size),
    )


def kept_model(fingerprint: str) -> LightModel | None:
    """A model that `keep_model` kept; None where there is none that this version can read.

    A part that was damaged since is found when it is loaded: it is None then as well.
    """
    try:
        folder = folder_entry(_entry_name(fingerprint))  # an index may name anything
        document = json.loads((folder / _DOCUMENT).read_text(encoding="utf-8"))
        facts, sums = _facts(document["model"]), dict(document["sums"])
        if document["format"] != _FORMAT or facts.fingerprint != fingerprint:
            return None
        text = None if document["text"] is None else TowerFacts(**document["text"])
        has_graph, is_text_only = _GRAPH in sums, bool(document["is_text_only"])
    except (OSError, ValueError, TypeError, KeyError):
        return None

    def text_tower() -> TextTower | None:
        if text is not None and _are_whole(folder, sums, ".npy"):
            with contextlib.suppress(OSError, EOFError, ValueError):
                return TextTower.load(folder, text)
        _discard(folder)
        return None

    def graph() -> Any:
        if _are_whole(folder, sums, _GRAPH, _GRAPH_WEIGHTS):
            with contextlib.suppress(*openvino_failures()):
                return read_graph(folder)
        _discard(folder)
        return None

    return LightModel(
        facts=facts,
        text=text_tower if text else None,
        image=graph if has_graph else None,
        is_text_only=is_text_only,
    )


def keep_model(model: LightModel, graph: Path | None) -> bool:
    """Keep a model for later processes.

    Args:
        model: What torch exported.
        graph: A folder with what `save_graph` wrote of its image encoder, if it has any.

    Returns:
        Whether it is kept now; a disk that is full or read-only is no error.
    """

    def fill(folder: Path) -> None:
        tower = None if model.text is None else model.text()
        if tower is not None:
            tower.save(folder)
        if graph is not None:
            for name in (_GRAPH, _GRAPH_WEIGHTS):
                shutil.copyfile(graph / name, folder / name)
        document = {
            "format": _FORMAT,
            "model": asdict(model.facts),
            "text": None if tower is None else asdict(tower.facts),
            "is_text_only": model.is_text_only,
            "sums": {file.name: _sum(file) for file in folder.iterdir()},
        }
        (folder / _DOCUMENT).write_text(json.dumps(document), encoding="utf-8")

    return write_folder_entry(_entry_name(model.facts.fingerprint), fill)


def read_graph(folder: Path) -> Any:
    """The image encoder that `save_graph` wrote into a folder, an `openvino.Model`."""
    import openvino

    return openvino.Core().read_model(folder / _GRAPH, folder / _GRAPH_WEIGHTS)


def save_graph(graph: Any, folder: Path, *, in_half: bool) -> None:
    """Write an image encoder into a folder, its weights in float16 or float32.

    Raises:
        OSError: The disk refused.
    """
    import openvino

    try:
        openvino.save_model(graph, folder / _GRAPH, compress_to_fp16=in_half)
    except RuntimeError as exc:
        raise OSError(f"OpenVINO cannot write {folder / _GRAPH}: {exc}") from exc


def _entry_name(fingerprint: str) -> str:
    return f"models/{fingerprint[:32]}"


def _facts(document: dict[str, Any]) -> ModelFacts:
    """`ModelFacts` from JSON, where tuples have become lists."""
    spec: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in document["preprocessing"].items()
    }
    return ModelFacts(**{**document, "preprocessing": Preprocessing(**spec)})


def _are_whole(folder: Path, sums: dict[str, int], *endings: str) -> bool:
    """Whether the files with these endings are there as they were written."""
    try:
        return all(
            _sum(folder / name) == crc for name, crc in sums.items() if name.endswith(endings)
        )
    except OSError:
        return False


def _discard(folder: Path) -> None:
    """Make a damaged entry unknown, so that it is exported again."""
    with contextlib.suppress(OSError):
        (folder / _DOCUMENT).unlink(missing_ok=True)


def _sum(file: Path) -> int:
    """A checksum against accidents; a cryptographic one would take twice the time or more."""
    found = 0
    with file.open("rb") as data:
        while piece := data.read(_PIECE):
            found = zlib.crc32(piece, found)
    return found
