"""Model names understood and loaded through open_clip, exactly as trained or not at all.

Random weights, a QuickGELU mismatch or a guessed preprocessing would give plausible, wrong search
results, so each of them is an error.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import logging
import os
import socket
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import open_clip
import torch
from torch.overrides import TorchFunctionMode

from ..errors import ModelLoadError, ModelNotFoundError
from ..files import expanded
from ..types import Precision
from . import minitower  # noqa: F401  # makes the bundled model's image encoder known to timm
from .openclip import OpenClipEncoder, resolve_device

__all__ = ["open_encoder"]

_HUB_TIMEOUT_S = 5.0
_DRAWING = (
    torch.Tensor.normal_,
    torch.Tensor.uniform_,
    torch.nn.init.normal_,
    torch.nn.init.uniform_,
    torch.nn.init.kaiming_uniform_,
)
_OFFLINE_CHOICES = (
    "offline you can use the bundled 'clipsearch-mini', a checkpoint file "
    "'ViT-B-32:/path/to/weights.safetensors', or an open_clip folder 'local-dir:/path'"
)


@dataclass(frozen=True, slots=True)
class _ModelSpec:
    """What a model name means to open_clip."""

    source: str  # architecture, or open_clip's 'local-dir:...' and 'hf-hub:...'
    pretrained: str | None = None  # tag or checkpoint path
    preprocess: dict[str, Any] | None = None  # forced, for checkpoint files


def open_encoder(
    name: str, *, device: str, precision: Precision, alias: str | None = None
) -> OpenClipEncoder:
    """Load the OpenCLIP model called `name`, known as `alias`; see `clipsearch.load_encoder`."""
    resolved = resolve_device(device)
    if precision == "int8" and (device, resolved) == ("auto", "mps"):
        resolved = "cpu"  # which alone multiplies in 8 bits
    with _quiet(), _hub_in_reach():
        spec = _parse(name)
        try:
            with _NothingDrawn():
                model = open_clip.create_model(
                    spec.source,
                    spec.pretrained,
                    require_pretrained=True,
                    pretrained_text=False,
                    force_preprocess_cfg=spec.preprocess,
                )
            tokenizer = open_clip.get_tokenizer(spec.source)
        except Exception as exc:  # translated once, here: open_clip raises whatever it meets
            raise _load_error(name, exc) from exc
    return OpenClipEncoder(alias or name, model, tokenizer, resolved, precision)


def _parse(name: str) -> _ModelSpec:
    """Understand a model name, refusing whatever would load a model other than as trained."""
    if name.startswith("local-dir:"):
        folder = expanded(name.removeprefix("local-dir:"))
        _check_config(folder / "open_clip_config.json", name)
        return _ModelSpec(f"local-dir:{folder}")
    if name.startswith("hf-hub:"):
        from huggingface_hub import hf_hub_download

        try:
            config = hf_hub_download(name.removeprefix("hf-hub:"), "open_clip_config.json")
        except Exception as exc:
            raise _load_error(name, exc) from exc
        _check_config(Path(config), name)
        return _ModelSpec(name)
    model, colon, file = name.partition(":")
    architecture, slash, tag = model.partition("/")
    if architecture not in open_clip.list_models():
        raise ModelNotFoundError(_unknown(name, architecture))
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if slash and tag not in tags:
        near = difflib.get_close_matches(tag, tags, n=3, cutoff=0.3) or tags[:5]
        raise ModelNotFoundError(
            f"{architecture} has no weights called {tag!r}; there are: {', '.join(near)}"
        )
    if colon:
        return _checkpoint_spec(name, architecture, tag, expanded(file))
    if not slash:
        hint = ", ".join(f"{architecture}/{known}" for known in tags[:4]) or "a checkpoint file"
        raise ModelNotFoundError(
            f"{name!r} names an architecture without weights; choose one of: {hint}"
        )
    _check_quick_gelu(architecture, tag)
    return _ModelSpec(architecture, tag)


def _checkpoint_spec(name: str, architecture: str, tag: str, file: Path) -> _ModelSpec:
    """A local checkpoint of a known architecture, `ARCH:/file` or `ARCH/tag:/file`.

    The file holds no preprocessing, so it comes from the tag, or from all of the architecture's
    published weights where they agree.
    """
    if not file.is_file():
        raise ModelLoadError(f"no checkpoint file at {file}")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if not tag:
        # Longest first, so that laion2b_e16 is not taken for laion2b.
        named = [known for known in sorted(tags, key=len, reverse=True) if known in file.name]
        tag = named[0] if named else ""
    if tag:
        _check_quick_gelu(architecture, tag)
    keys = ("mean", "std", "interpolation", "resize_mode")
    found = {
        json.dumps([open_clip.get_pretrained_cfg(architecture, known).get(key) for key in keys])
        for known in ([tag] if tag else tags)
    }
    if len(found) > 1:
        raise ModelLoadError(
            f"the published weights of {architecture} differ in their preprocessing, so say which "
            f"this file follows: '{architecture}/{tags[0]}:{file}'"
        )
    values = json.loads(found.pop()) if found else [None] * len(keys)
    preprocess = {key: value for key, value in zip(keys, values, strict=True) if value is not None}
    return _ModelSpec(architecture, str(file), preprocess or None)


def _check_quick_gelu(architecture: str, tag: str) -> None:
    trained = bool(open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu"))
    built = bool(open_clip.get_model_config(architecture).get("quick_gelu"))
    if trained == built:
        return
    other = f"{architecture}-quickgelu" if trained else architecture.removesuffix("-quickgelu")
    raise ModelLoadError(
        f"the weights {tag!r} were trained {'with' if trained else 'without'} QuickGELU and "
        f"{architecture} computes {'with' if built else 'without'} it, which gives wrong results; "
        f"use '{other}/{tag}'"
    )


def _check_config(path: Path, name: str) -> None:
    """An open_clip folder must say how images are prepared; open_clip itself would guess."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ModelLoadError(f"{name}: no readable open_clip_config.json at {path}") from exc
    except ValueError as exc:
        raise ModelLoadError(f"{name}: {path} is not valid JSON ({exc})") from exc
    missing = {"mean", "std"} - set(config.get("preprocess_cfg") or {})
    text_config = (config.get("model_cfg") or {}).get("text_cfg") or {}
    if (text_config.get("tokenizer_kwargs") or {}).get("trust_remote_code"):
        raise ModelLoadError(f"{name}: {path.name} wants to run code of its own, which is refused")
    if "model_cfg" not in config or missing:
        raise ModelLoadError(
            f"{name}: {path.name} needs model_cfg and a preprocess_cfg with mean and std; without "
            f"them images would be prepared by guesswork"
        )


def _load_error(name: str, exc: Exception) -> ModelLoadError:
    text = " ".join(str(exc).split())[:300]
    chain = {type(e).__name__ for e in _causes(exc)}
    network = ("Connection", "Timeout", "LocalEntryNotFound", "OfflineMode", "HfHub", "Connect")
    hub = any(word in kind for kind in chain for word in network)
    if hub or "Failed to download" in text or "hf-hub" in text or "LocalEntryNotFound" in text:
        return ModelLoadError(f"cannot fetch {name!r} from the model hub; {_OFFLINE_CHOICES}")
    return ModelLoadError(f"cannot load {name!r} with all of its weights: {text}")


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__


def _unknown(name: str, architecture: str) -> str:
    known = ["clipsearch-mini", *(f"{a}/{t}" for a, t in open_clip.list_pretrained())]
    near = (
        difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        or [
            f"{a}/{t}"
            for a, t in open_clip.list_pretrained()
            if a
            in difflib.get_close_matches(architecture, open_clip.list_models(), n=2, cutoff=0.5)
        ][:3]
    )
    hint = f"did you mean {' or '.join(near)}?" if near else "the bundled one is clipsearch-mini;"
    return f"no model is called {name!r}; {hint} see 'clipsearch models list'"


class _NothingDrawn(TorchFunctionMode):
    """New weights are NaN, not random: that takes no time, and none that a file lacks goes unseen.

    Drawing is 1.7 of 4.2 s of loading ViT-B-32 from a file.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _DRAWING:
            return func(*args, **kwargs)
        with torch.no_grad():
            return (args[0] if args else kwargs["tensor"]).fill_(torch.nan)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip's and the hub's log lines off the user's terminal."""
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextlib.contextmanager
def _hub_in_reach() -> Iterator[None]:
    """Where the hub is out of reach, use its local cache at once instead of trying for minutes."""
    from huggingface_hub import constants

    proxies = any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"))
    offline = constants.HF_HUB_OFFLINE
    if not offline and not proxies:
        host = urlsplit(constants.ENDPOINT)
        try:
            socket.create_connection(
                (host.hostname, host.port or 443), timeout=_HUB_TIMEOUT_S
            ).close()
        except OSError:
            constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
