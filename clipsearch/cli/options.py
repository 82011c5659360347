"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from ..types import Precision

__all__ = [
    "BatchSize",
    "Device",
    "ImagePrecision",
    "IndexName",
    "NewIndexName",
    "TrustModel",
    "Wait",
    "Workers",
]

_INDEX = typer.Option("-i", "--index", help="Name or folder of the index.")

IndexName = Annotated[str | None, _INDEX]
NewIndexName = Annotated[str, _INDEX]
Device = Annotated[
    str, typer.Option(help="Device to compute on: auto, cpu, cuda, or mps (Apple GPU).")
]
ImagePrecision = Annotated[Precision, typer.Option(help="Numeric precision of the image encoder.")]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Images encoded together; by default 32, or 256 on a GPU.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, help="Decoder processes; by default one per core, or two fewer with a GPU."
    ),
]
TrustModel = Annotated[
    bool,
    typer.Option(
        "--trust-model",
        help="Load the model that the index names even if this machine never used it.",
    ),
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait while another process writes to the index.")
]
