"""clipsearch beyond one machine: indexing and serving on a Ray cluster.

Nothing outside this package imports Ray, and this package imports it only when a cluster is asked
for, so that the single-machine path stays free of it. Sharding needs no Ray at all::

    shard_index("indexes/photos", 4)                       # sharding
    add_on_cluster(index, "/mnt/photos", cluster=...)      # embedding, on Ray Data
    with serve_shards("indexes/photos", ...) as sharded: ...    # serving, on Ray Serve
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .deployment import ServeOptions, ShardedIndex, serve_shards
    from .index_job import ClusterOptions, add_on_cluster
    from .index_shards import ShardSet, open_shards, shard_index

__all__ = [
    "ClusterOptions",
    "ServeOptions",
    "ShardSet",
    "ShardedIndex",
    "add_on_cluster",
    "open_shards",
    "serve_shards",
    "shard_index",
]

_LAZY = {
    "ClusterOptions": "index_job",
    "ServeOptions": "deployment",
    "ShardSet": "index_shards",
    "ShardedIndex": "deployment",
    "add_on_cluster": "index_job",
    "open_shards": "index_shards",
    "serve_shards": "deployment",
    "shard_index": "index_shards",
}


if not TYPE_CHECKING:  # or a wrong name would be an object to a type checker, and no error

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
