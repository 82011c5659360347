"""Images that lie inside another file, a table or an archive: where they are, and their bytes.

A place is a JSON object with `file`, the path of the file around it, and either `column` and `row`
(of a Parquet file, from 0), or `member` of a tar or zip archive, for an uncompressed tar with `at`
and `size`, the position and length of its bytes. Names are written as `names.stored` does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import IO, Any

from ..errors import ImageDecodeError
from ..files import open_regular
from ..limits import MAX_IMAGE_BYTES
from ..names import actual, stored
from ..rawfiles import named
from .members import members_of
from .parquet_cells import value_at

__all__ = ["Lacks", "cell_place", "file_around", "lies_in", "member_place", "read_inside"]

# Tells whether what was at a place is not there now; None if it cannot tell.
Lacks = Callable[[str], bool | None]
_NAMES = ("file", "member")  # which may hold bytes that are no UTF-8


def cell_place(file: str, column: str, row: int) -> str:
    """The place of an image in a cell of a Parquet file; rows count from 0."""
    return _written({"file": file, "column": column, "row": row})


def member_place(file: str, member: str, at: int | None = None, size: int | None = None) -> str:
    """The place of an image that is a member of an archive.

    Args:
        file: Path of the archive.
        member: Name of the member.
        at: Position of its first byte in the archive, if it is stored there as it is.
        size: How many bytes it has.
    """
    known = {} if at is None or size is None else {"at": at, "size": size}
    return _written({"file": file, "member": member, **known})


def file_around(place: str) -> str:
    """Path of the file that a place is in."""
    return str(_known(place)["file"])


def lies_in(place: str) -> tuple[str, str | None]:
    """Path of the file that a place is in, and the member of it, if that is an archive."""
    known = _known(place)
    return str(known["file"]), known.get("member")


def read_inside(place: str, file: IO[bytes] | None = None) -> bytes:
    """The bytes of the image at a place, as they are now.

    Args:
        place: As `cell_place` or `member_place` wrote it.
        file: The file around it, if it is open already.

    Raises:
        ImageDecodeError: The file is gone, or nothing is at that place any more.
    """
    known = _known(place)
    name = os.path.basename(known["file"])
    try:
        if file is None:
            with open_regular(known["file"]) as opened:
                return _read(known, opened)
        return _read(known, file)
    except OSError as exc:
        raise ImageDecodeError(f"{name} is gone or cannot be read") from exc
    except Exception as exc:  # a file that was replaced is read by code that may raise anything
        raise ImageDecodeError(f"{name} has changed since it was indexed") from exc


def _read(known: dict[str, Any], file: IO[bytes]) -> bytes:
    if "column" in known:
        return _cell(file, known["column"], known["row"])
    if "at" in known:
        file.seek(known["at"])
        return named(file.read(min(known["size"], MAX_IMAGE_BYTES)), known["member"])
    for member in members_of(file, known["file"])[1]:  # by the names that it was indexed by
        if member.name == known["member"] and member.link is None:
            return named(member.read(MAX_IMAGE_BYTES), member.name)
    raise KeyError(known["member"])


def _cell(file: IO[bytes], column: str, row: int) -> bytes:
    import pyarrow.parquet as pq

    table = pq.ParquetFile(file, pre_buffer=False)
    for group in range(table.num_row_groups):
        rows = table.metadata.row_group(group).num_rows
        if row < rows:
            value = value_at(table, group, column, row, file)
            data = value.get("bytes") if isinstance(value, dict) else value
            if isinstance(data, bytes):
                return data
            break
        row -= rows
    raise KeyError(column)


def _written(known: dict[str, Any]) -> str:
    names = {name: stored(known[name]) for name in _NAMES if name in known}
    return json.dumps({**known, **names}, ensure_ascii=False)


def _known(place: str) -> dict[str, Any]:
    """What `_written` wrote.

    Raises:
        ImageDecodeError: It is something else.
    """
    try:
        known: dict[str, Any] = json.loads(place)
        names = {name: actual(known[name]) for name in _NAMES if name in known}
        numbers = [known[name] for name in ("at", "size", "row") if name in known]
        if not isinstance(names["file"], str) or not all(0 <= int(n) < 2**63 for n in numbers):
            raise ValueError(place)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise ImageDecodeError("what the index says of the image's place is damaged") from exc
    return {**known, **names}
