"""`clipsearch export` to WebDataset shards: which items, and what is told of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import typer

import clipsearch

from ..errors import InvalidInputError
from ..types import Hits
from .output import EXIT_SKIPPED, note, short_path

__all__ = ["Chosen", "export_shards"]

_SKIPS_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which items are exported."""

    query: str | None
    saved: str | None
    k: int  # hits of these two
    where: str | None
    album: str | None

    def flags(self) -> dict[str, str | None]:
        """The flags that choose, with their values."""
        names = ("query", "saved", "where", "album")
        return {f"--{name}": getattr(self, name) for name in names}

    def of(self, index: clipsearch.Index) -> tuple[Hits | None, str | None]:
        """The hits to export, or else the filter of the items.

        Raises:
            InvalidInputError: There is no such album or saved search, or both searches are given.
        """
        where = self.where
        if self.query is not None and self.saved is not None:
            raise InvalidInputError("give either --query or --saved, not both")
        if self.album is not None:
            if self.album not in {one.name for one in index.albums()}:
                raise InvalidInputError(f"there is no album {self.album!r} in {index.path.name}")
            quoted = self.album.replace("'", "''")
            where = _both(where, f"album = '{quoted}'")
        if self.query is not None:
            return index.search(self.query, self.k, where=where), None
        if self.saved is not None:
            request = index.saved_search(self.saved)
            return index.answer(replace(request, k=self.k, where=_both(request.where, where))), None
        return None, where


def _both(one: str | None, other: str | None) -> str | None:
    return f"({one}) and ({other})" if one and other else one or other


def export_shards(
    index: clipsearch.Index,
    file: Path,
    chosen: Chosen,
    shard_items: int | None,
    shard_mb: int | None,
    *,
    overwrite: bool,
) -> None:
    """Write shards and say what was written; the exit code tells of images that cannot be read."""
    hits, where = chosen.of(index)
    report = index.export_shards(
        file,
        hits,
        where=where,
        shard_items=shard_items,
        shard_bytes=None if shard_mb is None else shard_mb * 1_000_000,
        overwrite=overwrite,
    )
    first = f", first {short_path(report.shards[0])}" if report.shards else ""
    note(f"{report.samples:,} samples written to {len(report.shards):,} shards{first}")
    for one in report.skipped[:_SKIPS_SHOWN]:
        note(f"not exported: {short_path(one.key)}: {one.reason}")
    if len(report.skipped) > _SKIPS_SHOWN:
        note(f"not exported: {len(report.skipped) - _SKIPS_SHOWN:,} more")
    if report.skipped:
        raise typer.Exit(EXIT_SKIPPED)
