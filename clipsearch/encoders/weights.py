"""A safetensors file read with numpy alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Weights", "float8_values"]

_DTYPES = {"F32": np.float32, "F16": np.float16, "F8_E4M3": np.uint8, "I64": np.int64}


class Weights:
    """The arrays of a file by name, memory-mapped; E4M3 as the bytes that they are.

    `safetensors` itself refuses to hand 8-bit floats to numpy.
    """

    def __init__(self, path: Path) -> None:
        self._data = np.memmap(path, np.uint8, "r").view(np.ndarray)
        start = 8 + int(self._data[:8].view(np.uint64)[0])
        self._header: dict[str, Any] = json.loads(self._data[8:start].tobytes())
        self._header.pop("__metadata__", None)
        self._start = start

    def __iter__(self) -> Iterator[str]:
        return iter(self._header)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        entry = self._header[name]
        first, end = (self._start + offset for offset in entry["data_offsets"])
        array: npt.NDArray[Any] = self._data[first:end].view(_DTYPES[entry["dtype"]])
        return array.reshape(entry["shape"])

    def floats(self, name: str) -> npt.NDArray[np.float32]:
        """An array as float32."""
        return np.asarray(self[name], np.float32)


def float8_values() -> npt.NDArray[np.float32]:
    """What each of the 256 bytes is as a float of 4 exponent and 3 mantissa bits (E4M3)."""
    bits = np.arange(256)
    exponent, mantissa = bits >> 3 & 15, bits & 7
    normal = np.ldexp(1 + mantissa / 8, exponent - 7)
    values = np.where(exponent == 0, np.ldexp(mantissa / 8, -6), normal)
    values[bits & 127 == 127] = np.nan
    return np.where(bits < 128, values, -values).astype(np.float32)
