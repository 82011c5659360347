"""The layout of an ANN file, looked through before FAISS reads it.

FAISS reads whatever kind of index a file names, allocates what it declares, and opens further files
that it names. So only the one kind that clipsearch writes gets there: an inverted file of RaBitQ
codes over a flat quantizer, whose lists lie in the file and are as long as the file is.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["check_layout"]

_INDEX = struct.Struct("<4siqqq?i")  # kind, dimensions, vectors, two of no use, trained, metric
_LISTS = struct.Struct("<QQ")  # number of lists, nprobe
_LENGTH = struct.Struct("<Q")
_CODES = struct.Struct("<BQ QQiQQ?B")  # direct map: kind, length; RaBitQ: see `check_layout`
_STORED = struct.Struct("<4sQQ4sQ")  # kind, lists, bytes of a code, kind of table, its length
_ID_BYTES = 8
_MOST_LISTS = 1 << 16
_INNER_PRODUCT = 0


def check_layout(path: Path, *, dim: int, count: int, bits: int, code_bytes: int) -> None:
    """Check that a file is an inverted file of RaBitQ codes, and as long as it says.

    Args:
        path: The file.
        dim: Length of a vector.
        count: How many vectors it shall have.
        bits: Of a code, a dimension.
        code_bytes: Of a code.

    Raises:
        ValueError: It is something else.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:

        def take(fields: struct.Struct) -> tuple[Any, ...]:
            data = file.read(fields.size)
            if len(data) < fields.size:
                raise ValueError("it ends too early")
            return fields.unpack(data)

        def expect(what: str, found: tuple[object, ...], wanted: tuple[object, ...]) -> None:
            if found != wanted:
                raise ValueError(f"its {what} is {found} instead of {wanted}")

        kind, d, total, _, _, trained, metric = take(_INDEX)
        wanted = (dim, count, True, _INNER_PRODUCT)
        expect("index", (kind, d, total, trained, metric), (b"Iwrr", *wanted))
        lists, _ = take(_LISTS)
        if not 1 <= lists <= _MOST_LISTS:
            raise ValueError(f"it has {lists} lists")
        kind, d, centers, _, _, _, metric = take(_INDEX)
        expect("quantizer", (kind, d, centers, metric), (b"IxFI", dim, lists, _INNER_PRODUCT))
        (numbers,) = take(_LENGTH)
        expect("number of centers", (numbers,), (lists * dim,))
        file.seek(numbers * 4, os.SEEK_CUR)
        mapped, length, d, bytes_, metric, its_bits, again, *_ = take(_CODES)
        expect("map", (mapped, length), (0, 0))
        codes = (d, bytes_, metric, its_bits, again)
        expect("code", codes, (dim, code_bytes, _INNER_PRODUCT, bits, code_bytes))
        kind, stored, bytes_, table, length = take(_STORED)
        expect("storage", (kind, stored, bytes_), (b"ilar", lists, code_bytes))
        sparse = table == b"sprs" and length % 2 == 0 and length <= 2 * lists
        if not sparse and (table, length) != (b"full", lists):
            raise ValueError("its table of lists is damaged")
        # The length of every list, or pairs of a list and its length.
        sizes = np.frombuffer(file.read(length * 8), "<u8")
        if sparse and (sizes[::2] >= lists).any():
            raise ValueError("it names a list that it does not have")
        sizes = np.minimum(sizes[1::2] if sparse else sizes, count + 1)  # no sum is too large
        rest = os.fstat(file.fileno()).st_size - file.tell()
        expect("length", (int(sizes.sum()), rest), (count, count * (code_bytes + _ID_BYTES)))
