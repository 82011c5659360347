"""Search photos by words, by image or both, and classify them zero-shot.

Public names are loaded on first use, so that `import clipsearch` stays light::

    encoder = clipsearch.load_encoder("clipsearch-mini")
    index = clipsearch.Index.create("indexes/photos", encoder)
    index.add("~/Pictures")
    for hit in index.search("a red bus", k=5):
        print(hit.score, hit.item.path)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import (
    ClipSearchError,
    ClipSearchWarning,
    ClusterError,
    EncoderMismatchError,
    ImageDecodeError,
    IndexCorruptError,
    IndexExistsError,
    IndexLockedError,
    IndexMigratedError,
    IndexNotFoundError,
    IndexVersionError,
    InvalidInputError,
    ItemNotFoundError,
    MissingExtraError,
    ModelLoadError,
    ModelNotFoundError,
    PartialAnswerError,
    ServiceError,
    SourceError,
    StorageError,
)
from .types import (
    Album,
    Duplicate,
    Facet,
    Facets,
    FacetValue,
    Hit,
    Hits,
    IngestReport,
    Item,
    MigrationReport,
    Outcome,
    Prediction,
    Progress,
    Record,
    SavedSearch,
    ShardReport,
)

if TYPE_CHECKING:
    from .asyncclient import AsyncClient, AsyncRemoteClassifier, AsyncRemoteIndex
    from .client import Client, RemoteClassifier, RemoteIndex
    from .encoder import Encoder
    from .encoders.texts import TextTruncatedWarning
    from .engine.vectorsets import KeptModel
    from .engine.verify import Verification
    from .index import Index
    from .ingest import IngestOptions
    from .intake.pairs import Pair
    from .models import ModelInfo, list_models, load_encoder
    from .query import Query
    from .zeroshot import ZeroShotClassifier

    __version__: str

__all__ = [
    "Album",
    "AsyncClient",
    "AsyncRemoteClassifier",
    "AsyncRemoteIndex",
    "Client",
    "ClipSearchError",
    "ClipSearchWarning",
    "ClusterError",
    "Duplicate",
    "Encoder",
    "EncoderMismatchError",
    "Facet",
    "FacetValue",
    "Facets",
    "Hit",
    "Hits",
    "ImageDecodeError",
    "Index",
    "IndexCorruptError",
    "IndexExistsError",
    "IndexLockedError",
    "IndexMigratedError",
    "IndexNotFoundError",
    "IndexVersionError",
    "IngestOptions",
    "IngestReport",
    "InvalidInputError",
    "Item",
    "ItemNotFoundError",
    "KeptModel",
    "MigrationReport",
    "MissingExtraError",
    "ModelInfo",
    "ModelLoadError",
    "ModelNotFoundError",
    "Outcome",
    "Pair",
    "PartialAnswerError",
    "Prediction",
    "Progress",
    "Query",
    "Record",
    "RemoteClassifier",
    "RemoteIndex",
    "SavedSearch",
    "ServiceError",
    "ShardReport",
    "SourceError",
    "StorageError",
    "TextTruncatedWarning",
    "Verification",
    "ZeroShotClassifier",
    "__version__",
    "list_models",
    "load_encoder",
]

_LAZY = {
    "AsyncClient": "asyncclient",
    "AsyncRemoteClassifier": "asyncclient",
    "AsyncRemoteIndex": "asyncclient",
    "Client": "client",
    "Encoder": "encoder",
    "Index": "index",
    "IngestOptions": "ingest",
    "KeptModel": "engine.vectorsets",
    "ModelInfo": "models",
    "Pair": "intake.pairs",
    "Query": "query",
    "RemoteClassifier": "client",
    "RemoteIndex": "client",
    "TextTruncatedWarning": "encoders.texts",
    "Verification": "engine.verify",
    "ZeroShotClassifier": "zeroshot",
    "list_models": "models",
    "load_encoder": "models",
}

if not TYPE_CHECKING:  # or a wrong name would be an object to a type checker, and no error

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version

            value = version("clipsearch")
        elif name in _LAZY:
            from importlib import import_module

            value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
