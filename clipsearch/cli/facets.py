"""The command `facets`: how many items have each value."""

from __future__ import annotations

import os
from typing import Annotated

import typer

import clipsearch

from ..documents import facets_document
from ..engine.facets import FACETS, MOST_VALUES
from ..locations import existing_index
from ..names import stored
from .formats import RowsOutput, print_csv
from .options import IndexName
from .output import note, print_json, print_table

__all__ = ["facets"]

_COLUMNS = ["facet", "value", "items", "filter"]


def _known(by: list[str] | None) -> list[str] | None:
    for name in by or ():
        if name not in FACETS:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(FACETS)}")
    return by


def facets(
    name: IndexName = None,
    where: Annotated[
        str | None, typer.Option(help="Count only items that satisfy this filter.")
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            callback=_known,
            help=f"What to count by: {', '.join(FACETS)}. Repeatable; default: all.",
        ),
    ] = None,
    folder: Annotated[
        str | None,
        typer.Option(help="Count the folders in this folder; default: in the one that has all."),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Maximum number of values of each facet.")
    ] = MOST_VALUES,
    output: RowsOutput = "table",
) -> None:
    """Count items by folder, date, camera, tag, album, format, orientation, size and caption.

    Each value comes with the filter that finds its items, which search and album take as --where.

    clipsearch facets -i photos --by year --by camera

    clipsearch facets -i photos --by tag --where "taken_at = '2024'" -f json

    clipsearch facets -i photos --by folder --folder /home/me/photos
    """
    if folder is not None and os.path.exists(folder):
        folder = stored(os.path.abspath(folder))
    with clipsearch.Index.open(existing_index(name)) as index:
        found = index.facets(where, by=by or None, folder=folder, limit=limit)
    if output == "json":
        print_json(facets_document(found))
        return
    rows = [
        (facet, _shown(value.value), value.count, value.where)
        for facet, of in found.by.items()
        for value in of.values
    ]
    if output == "csv":
        print_csv(_COLUMNS, rows)
        return
    if rows:
        print_table(
            _COLUMNS,
            [[*map(str, row[:2]), f"{row[2]:,}", str(row[3])] for row in rows],
            right=["items"],
        )
    note(f"{found.items:,} items")
    for facet, of in found.by.items():
        named = sum(value.value is not None for value in of.values)
        if of.distinct > named:
            note(f"note: {facet} has {of.distinct:,} values; --limit shows more than {named:,}")


def _shown(value: str | bool | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "(none)" if value is None else value
