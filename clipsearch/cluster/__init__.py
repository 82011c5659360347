"""clipsearch beyond one machine: indexing and serving on a Ray cluster, and planning for it.

Nothing outside this package imports Ray, and this package imports it only when a cluster is asked
for, so that the single-machine path stays free of it. Sharding and planning need no Ray at all::

    shard_index("indexes/photos", 4)                       # sharding
    add_on_cluster(index, "/mnt/photos", cluster=...)      # embedding, on Ray Data
    with serve_shards("indexes/photos", ...) as sharded: ...    # serving, on Ray Serve
    plan(Workload(items=5e9, dim=512), rates, machine)     # planning
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .embedding import ClusterOptions, add_on_cluster
    from .merging import ShardedHits
    from .planning import Machine, Plan, Rates, Workload, plan
    from .serving import ServeOptions, ShardedIndex, serve_shards
    from .sharding import ShardSet, open_shards, shard_index

__all__ = [
    "ClusterOptions",
    "Machine",
    "Plan",
    "Rates",
    "ServeOptions",
    "ShardSet",
    "ShardedHits",
    "ShardedIndex",
    "Workload",
    "add_on_cluster",
    "open_shards",
    "plan",
    "serve_shards",
    "shard_index",
]

_LAZY = {
    "ClusterOptions": "embedding",
    "Machine": "planning",
    "Plan": "planning",
    "Rates": "planning",
    "ServeOptions": "serving",
    "ShardSet": "sharding",
    "ShardedHits": "merging",
    "ShardedIndex": "serving",
    "Workload": "planning",
    "add_on_cluster": "embedding",
    "open_shards": "sharding",
    "plan": "planning",
    "serve_shards": "serving",
    "shard_index": "sharding",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
