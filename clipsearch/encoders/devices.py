"""What this machine computes with, found out without torch."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from ..errors import InvalidInputError
from ..types import Precision

__all__ = [
    "check_device",
    "check_precision",
    "has_bfloat16",
    "has_openvino",
    "has_torch",
    "likely_device",
    "may_have_gpu",
]

# Of drivers: NVIDIA's, AMD's, and either one below Windows' Linux.
_GPU_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")


def check_precision(precision: str) -> None:
    """Raise `InvalidInputError` on a precision that there is not."""
    known = get_args(Precision)
    if precision not in known:
        *some, last = known
        choices = f"{', '.join(some)} or {last}"
        raise InvalidInputError(f"unknown precision {precision!r}; choose {choices}")


def check_device(device: str) -> None:
    """Raise `InvalidInputError` on a kind of device that there is not."""
    if device.partition(":")[0] not in ("auto", "cpu", "cuda", "mps"):
        raise InvalidInputError(f"unknown device {device!r}; choose auto, cpu, cuda or mps")


def likely_device() -> str:
    """What "auto" may mean to torch: "cuda", "mps", or "cpu" where it is that for certain."""
    if sys.platform == "darwin":  # torch has no packages for Intel's Macs
        return "mps" if platform.machine() == "arm64" else "cpu"
    return "cuda" if may_have_gpu() else "cpu"


def may_have_gpu() -> bool:
    """Whether torch should be asked for a CUDA GPU; False only where there is none for certain."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return False
    return sys.platform != "linux" or any(map(os.path.exists, _GPU_FILES))


def has_torch() -> bool:
    """Whether torch is installed, and what loads models with it."""
    return all(find_spec(name) is not None for name in ("torch", "open_clip", "timm"))


def has_openvino() -> bool:
    """Whether OpenVINO is installed; not every system has a package of it."""
    return find_spec("openvino") is not None


@functools.cache
def has_bfloat16() -> bool:
    """Whether the CPU multiplies matrices in bfloat16."""
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False
