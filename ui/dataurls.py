"""Data as addresses that need no server: images to show, files to download."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence

from clipsearch.spreadsheet import write_csv

__all__ = ["csv_url", "data_url", "jpeg_url"]


def data_url(data: bytes, kind: str) -> str:
    """Bytes of a media type such as "text/plain;charset=utf-8" as an address."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def jpeg_url(data: bytes) -> str:
    """A JPEG file as the address of an image."""
    return data_url(data, "image/jpeg")


def csv_url(rows: Iterable[Sequence[object]]) -> str:
    """A table as the address of a CSV file that spreadsheets open rightly and run nothing of."""
    text = io.StringIO()
    write_csv(text, rows)
    return data_url(text.getvalue().encode("utf-8-sig"), "text/csv;charset=utf-8")
