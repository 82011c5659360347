"""Data as addresses that need no server: images to show, files to download."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterable, Sequence

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
    csv.writer(text).writerows([_inert(str(cell)) for cell in row] for row in rows)
    return data_url(text.getvalue().encode("utf-8-sig"), "text/csv;charset=utf-8")


def _inert(text: str) -> str:
    """A cell that no spreadsheet takes for a formula; numbers stay as they are."""
    if not text.startswith(("=", "+", "-", "@", "\t", "\r")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
