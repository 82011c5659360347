"""Options that several commands take, in the same words."""

from __future__ import annotations

from typing import Annotated

import typer

from ..types import Precision

__all__ = ["BatchSize", "Device", "IndexName", "NewIndexName", "TowerPrecision", "Wait", "Workers"]

_INDEX = typer.Option("-i", "--index", help="Name or folder of the index.")

IndexName = Annotated[str | None, _INDEX]
NewIndexName = Annotated[str, _INDEX]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
TowerPrecision = Annotated[Precision, typer.Option(help="Of the image tower.")]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Images encoded together; 32 by default, on a GPU 256.")
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Decoder processes; by default one a core, for a GPU two fewer."),
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait for another process that writes to the index.")
]
