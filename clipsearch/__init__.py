"""Search photos by words, by picture or both, and classify them zero-shot.

Public names are loaded on first use, so that `import clipsearch` stays light::

    encoder = clipsearch.load_encoder("clipsearch-mini")
    index = clipsearch.Index.create("indexes/photos", encoder)
    index.add("~/Pictures")
    for hit in index.search("a red bus", k=5):
        print(hit.score, hit.item.path)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from .errors import (
    ClipSearchError,
    EncoderMismatchError,
    ImageDecodeError,
    IndexCorruptError,
    IndexNotFoundError,
    InvalidInputError,
)
from .types import Hit, IngestReport, Item, Prediction

if TYPE_CHECKING:
    from .client import Client
    from .encoder import Encoder
    from .index import Index
    from .models import list_models, load_encoder
    from .query import Query
    from .zeroshot import ZeroShotClassifier

__all__ = [
    "Client",
    "ClipSearchError",
    "Encoder",
    "EncoderMismatchError",
    "Hit",
    "ImageDecodeError",
    "Index",
    "IndexCorruptError",
    "IndexNotFoundError",
    "IngestReport",
    "InvalidInputError",
    "Item",
    "Prediction",
    "Query",
    "ZeroShotClassifier",
    "list_models",
    "load_encoder",
]

_LAZY = {
    "Client": "client",
    "Encoder": "encoder",
    "Index": "index",
    "Query": "query",
    "ZeroShotClassifier": "zeroshot",
    "list_models": "models",
    "load_encoder": "models",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
