"""The OpenCLIP model behind the encoder protocol.

Its towers are rearranged for speed (batch norms folded, channels last, a lower precision, texts not
padded), each change kept only after its vectors were compared with those of the model as it was
trained.
"""

from __future__ import annotations

import copy
import hashlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import open_clip
import torch

from ..encoder import EncodingProgress
from ..errors import InvalidInputError, ModelLoadError
from ..images import ImageInput, Preprocessing
from ..types import Precision
from .devices import check_device, has_bfloat16
from .imageexport import export_image_graph
from .int8 import in_8_bits
from .prepared import check_pixels, encode_prepared, in_batches, unit
from .probe import probe_pixels
from .streams import streams_of
from .textexport import export_text_tower
from .texts import TextTruncatedWarning, check_texts, shortened, warn_truncated
from .texttower import TextTower
from .tokenizer import BytePairTokenizer, Cleaning
from .torchcores import TorchCores
from .towers import is_convolutional, without_batch_norms
from .unpadded_texts import CutTextTower, causal_text_tower

__all__ = [
    "OpenClipEncoder",
    "TextTruncatedWarning",
    "resolve_device",
]

_Encode = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
_Settled = Literal["fp32", "bf16", "fp16", "int8"]

_PRECISION_AGREEMENT = 0.999  # cosine that a precision chosen by "auto" must keep with float32
_INT8_AGREEMENT = 0.99  # the same for int8, which only the user chooses
_FOLDED_AGREEMENT = 0.99999
_CUT_AGREEMENT = 0.99999  # of texts that are not padded
_DEVICE_AGREEMENT = 0.9999  # of a device that is not trusted with the CPU
_TEXT_AGREEMENT = 0.9999  # of the text encoder without torch
_TEXT_BATCH = 256  # on a GPU
# On a CPU core; texts are sorted by length first, so that small blocks pad less.
_LEAST_CORE_TEXTS, _CORE_TEXTS = 4, 32
# Images that one CPU core encodes together. Larger blocks are no faster, and those of
# convolutional towers are: their activations then stay under the 32 MB from which glibc asks
# the system for every block anew (EfficientNet-Lite2: 34 images/s a core with 4, 18 with 32).
# In bfloat16 matrices are multiplied so much faster that larger ones are worth the memory
# (ViT-B-32 with AMX: 130 images/s with 8, 153 with 16, 139 with 32).
_CORE_BATCH, _CONV_CORE_BATCH, _BF16_CORE_BATCH = 8, 4, 16
_MOST_EXPORTED = 2 << 30  # bytes of float32 weights, of which OpenVINO's compiler keeps copies
_TRUSTED = ("cpu", "cuda")  # MPS lacks operators, and some gave wrong values without an error
_GPU_RACE = 64  # images with which precisions are raced on a GPU
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# In torch's errors: of MPS and CUDA's driver, of cuBLAS and cuDNN, and of the CPU.
_NO_MEMORY = (
    *("out of memory", "ALLOC_FAILED"),
    *("can't allocate memory", "not enough memory", "bad_alloc"),
)
_CLEANINGS: dict[str, Cleaning] = {
    "_clean_lower": "lower",
    "_clean_canonicalize": "canonicalize",
    "_clean_whitespace": "whitespace",
}
_PROBE_TEXTS = ["a photo", "a red bus in the street, seen from above", "два кота 😀 &amp; 1 dog"]


class OpenClipEncoder:
    """An OpenCLIP model that turns images and texts into unit vectors.

    Built by `load_encoder`. Calls are safe from several threads, but share one CPU or GPU.
    """

    def __init__(
        self, name: str, model: torch.nn.Module, tokenizer: Any, device: str, precision: Precision
    ) -> None:
        self._name = name
        model.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._preprocessing = Preprocessing.from_open_clip(
            open_clip.get_model_preprocess_cfg(model)
        )
        self._fingerprint = _fingerprint(model, self._preprocessing, tokenizer)
        weights: Any = model
        self._logit_scale = float(weights.logit_scale.detach().exp())
        bias = getattr(model, "logit_bias", None)
        self._logit_bias = None if bias is None else float(bias.detach())
        self._model: Any = model
        self._lock = threading.Lock()
        self._is_convolutional = is_convolutional(self._model.get_submodule("visual"))
        self._layout = torch.channels_last if self._is_convolutional else torch.contiguous_format
        self._out_of_memory = False
        self._block: int | None = None  # images that one call of the model takes
        self._cut: CutTextTower | None = None
        self._precision: _Settled = "fp32"
        wanted = torch.device(device)
        is_trusted = wanted.type in _TRUSTED
        self._place(wanted if is_trusted else torch.device("cpu"))
        self._dim = self._cut_texts()
        self._fold_batch_norms()
        self._refusal = None if is_trusted else self._try(wanted)
        self.settle(precision)

    @property
    def name(self) -> str:
        """The name that `load_encoder` takes."""
        return self._name

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self._dim

    @property
    def fingerprint(self) -> str:
        """Hex digest (64 characters) of weights, preprocessing and tokenizer."""
        return self._fingerprint

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are prepared for `encode_pixels`."""
        return self._preprocessing

    @property
    def logit_scale(self) -> float:
        """Factor, already exponentiated, that turns cosines into logits."""
        return self._logit_scale

    @property
    def logit_bias(self) -> float | None:
        """Bias of a sigmoid (SigLIP) model; None for softmax models."""
        return self._logit_bias

    @property
    def context_length(self) -> int:
        """Tokens that a text may have, start and end marks included."""
        return int(self._tokenizer.context_length)

    @property
    def device(self) -> str:
        """Where the model runs: "cpu", "cuda", ..."""
        return str(self._device)

    @property
    def precision(self) -> str:
        """Number format of the image encoder: "fp32", "bf16", "fp16" or "int8"."""
        return self._precision

    @property
    def runtime(self) -> str:
        """What encodes images: "torch"."""
        return "torch"

    @property
    def notes(self) -> list[str]:
        """Warnings to show after encoding many images."""
        notes = [] if self._refusal is None else [self._refusal]
        if self._out_of_memory:
            notes.append(f"memory ran out: images were encoded {self._block} at a time")
        return notes

    def encode_images(
        self,
        images: Sequence[ImageInput],
        *,
        batch_size: int | None = None,
        progress: EncodingProgress | None = None,
    ) -> npt.NDArray[np.float32]:
        """Encode images.

        Args:
            images: Paths, bytes, Pillow images or uint8 arrays [H, W, 3], in any mix.
            batch_size: How many are prepared and encoded together; None for 32.
            progress: Called after each batch with how many are encoded, and of how many.

        Returns:
            float32 [n, dim], unit length, in the order given.

        Raises:
            ImageDecodeError: One cannot be decoded; nothing is returned.
            InvalidInputError: One is of another type, a single one is not in a list, or
                `batch_size` is below 1.
        """
        return encode_prepared(
            images,
            self._preprocessing,
            self.encode_pixels,
            batch_size=batch_size,
            progress=progress,
        )

    def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Encode prepared images in one batch.

        Where memory runs out, the batch is halved, as often as needed, and stays so.

        Args:
            pixels: uint8 [n, H, W, 3] of `preprocessing.size`, as `images.prepare` returns them.

        Returns:
            float32 [n, dim], unit length.

        Raises:
            InvalidInputError: Another shape.
            ModelLoadError: Memory does not even suffice for one image, or a vector is no
                direction.
        """
        check_pixels(pixels, self._preprocessing)
        if not len(pixels):
            return np.empty((0, self._dim), np.float32)
        while True:
            size = min(self._block or len(pixels), len(pixels))
            try:
                return self._encode_blocks(pixels, size)
            except (RuntimeError, MemoryError) as exc:
                if not _ran_out_of_memory(exc):
                    raise
                self._halve(size, exc)

    def _encode_blocks(self, pixels: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.float32]:
        blocks = [pixels[i : i + size] for i in range(0, len(pixels), size)]
        if self._cores is None or len(blocks) == 1:  # a single one is shared by all cores
            return np.concatenate([self._encode_block(block) for block in blocks])
        return np.concatenate(self._cores.map(self._encode_block, blocks))

    def _encode_block(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        dtype = _DTYPES.get(self._precision, torch.float32)
        with self._streams.turn(), torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(pixels))
            if self._device.type == "cuda":  # into pinned memory, which torch keeps and reuses
                batch = batch.pin_memory().to(self._device, non_blocking=True)
            else:  # MPS would read what is freed or overwritten by then (pytorch#189690)
                batch = batch.to(self._device)
            batch = batch.permute(0, 3, 1, 2).float().div_(255)  # [n, 3, H, W], channels last
            batch = batch.sub_(self._mean).div_(self._std)
            batch = batch.to(dtype).contiguous(memory_format=self._layout)
            return unit(self._model.encode_image(batch).float().cpu().numpy(), "image")

    def _halve(self, block: int, exc: BaseException) -> None:
        """Encode half of so many images together, unless another thread has seen to that."""
        if block == 1:
            raise ModelLoadError(
                f"out of memory encoding a single image with {self._name}; choose a smaller "
                "model, or --device cpu"
            ) from exc
        with self._lock:
            self._block = min(self._block or block, block // 2)
            self._out_of_memory = True
        self._streams.free_memory()

    def encode_texts(
        self,
        texts: Sequence[str],
        *,
        batch_size: int | None = None,
        progress: EncodingProgress | None = None,
    ) -> npt.NDArray[np.float32]:
        """Encode texts.

        Args:
            texts: Non-empty strings. One that is longer than `context_length` is cut there, and
                a `TextTruncatedWarning` says so.
            batch_size: How many are encoded together; None for all, or 1,024 with `progress`.
            progress: Called after each batch with how many are encoded, and of how many.

        Returns:
            float32 [n, dim], unit length, in the order given.

        Raises:
            InvalidInputError: A text is empty or not a string, or `batch_size` is below 1.
        """
        check_texts(texts)
        return in_batches(texts, self._encode_texts, batch_size=batch_size, progress=progress)

    def _encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        texts = [shortened(text) for text in texts]
        self._warn_truncated(texts)
        if not texts:
            return np.empty((0, self._dim), np.float32)
        tokens = self._tokenizer(list(texts))  # [n, context]
        if self._cut is None:
            lengths = torch.full((len(tokens),), tokens.shape[1])
        else:
            lengths = self._cut.lengths(tokens)
        order = lengths.argsort(stable=True)
        size = self._text_block(len(texts))
        rows = [order[i : i + size] for i in range(0, len(order), size)]
        blocks = [tokens[some, : int(lengths[some].max())] for some in rows]
        encode: Any = map if self._cores is None else self._cores.map
        vectors = np.concatenate(list(encode(self._encode_tokens, blocks)))
        result = np.empty_like(vectors)
        result[order.numpy()] = vectors
        return result

    def _text_block(self, texts: int) -> int:
        """Texts encoded together: some for each core, and little padding among them."""
        if self._cores is None:
            return _TEXT_BATCH
        each = -(-texts // self._cores.count)
        return min(_CORE_TEXTS, max(_LEAST_CORE_TEXTS, each))

    def _encode_tokens(self, tokens: torch.Tensor) -> npt.NDArray[np.float32]:
        with self._streams.turn(), torch.inference_mode():
            encode = self._cut or self._model.encode_text
            return unit(encode(tokens.to(self._device)).float().cpu().numpy(), "text")

    def text_tower(self) -> TextTower | None:
        """The text side as arrays that need no torch, or None where that is not possible.

        It is possible for CLIP's own text transformer with its own tokenizer; the vectors of
        some texts are compared with the model's (cosine over 0.9999) before it is returned.
        """
        function = getattr(getattr(self._tokenizer, "clean_fn", None), "__name__", "")
        clean = _CLEANINGS.get(function)
        if type(self._tokenizer).__name__ != "SimpleTokenizer" or clean is None:
            return None
        with self._streams.permits:
            tower = export_text_tower(self._model, clean=clean)
        if tower is None:
            return None
        tokens = BytePairTokenizer(self.context_length, clean)(_PROBE_TEXTS)
        agreement = (tower.encode(tokens) * self.encode_texts(_PROBE_TEXTS)).sum(axis=1)
        return tower if float(agreement.min()) > _TEXT_AGREEMENT else None

    def image_graph(self) -> Any | None:
        """The image encoder as an `openvino.Model` for any batch of float32 [n, 3, H, W].

        None on a GPU, in another precision than float32, and for one too large to compile. The
        caller compares its vectors with the model's before it trusts it.

        Raises:
            ModelLoadError: It cannot be translated.
        """
        tower: torch.nn.Module = self._model.visual
        size = 4 * sum(weight.numel() for weight in tower.parameters())
        if self.device != "cpu" or self._precision != "fp32" or size > _MOST_EXPORTED:
            return None
        return export_image_graph(tower, self._preprocessing)

    def settle(self, precision: Precision) -> None:
        """Choose the number format of the image encoder, which is still in float32.

        Raises:
            InvalidInputError, ModelLoadError: It cannot be had, or its vectors would stray.
        """
        self._precision = self._choose_precision(precision)
        if self._block == _CORE_BATCH and self._precision == "bf16":
            self._block = _BF16_CORE_BATCH

    def _place(self, device: torch.device) -> None:
        """Move the model to a device, and encode there."""
        is_cpu = device.type == "cpu"
        block = _CONV_CORE_BATCH if self._is_convolutional else _CORE_BATCH
        spec = self._preprocessing
        self._device, self._streams = device, streams_of(device)
        self._cores = TorchCores() if is_cpu else None
        self._block = block if is_cpu else None
        with self._streams.permits:
            self._model.to(device)
            self._mean, self._std = (
                torch.tensor(values, device=device).view(1, 3, 1, 1)
                for values in (spec.mean, spec.std)
            )

    def _try(self, device: torch.device) -> str | None:
        """Move to a device if its vectors are those of the CPU; else stay here.

        Returns:
            None, or why the CPU encodes.
        """
        probe = self._probe()
        exact = self.encode_pixels(probe), self.encode_texts(_PROBE_TEXTS)
        here = self._model, self._cut
        self._model, self._cut = copy.deepcopy(here)
        try:
            self._place(device)
            found = self.encode_pixels(probe), self.encode_texts(_PROBE_TEXTS)
            pairs = zip(found, exact, strict=True)
            agreement = min(float((one * other).sum(axis=1).min()) for one, other in pairs)
            if agreement > _DEVICE_AGREEMENT:
                return None
            why = f"its vectors agree with the CPU's to a cosine of {agreement:.4f} only"
        except (RuntimeError, TypeError, MemoryError) as exc:  # a missing operator or number format
            why = (str(exc).strip() or type(exc).__name__).splitlines()[0].partition(". ")[0]
        self._model, self._cut = here
        self._out_of_memory = False
        self._place(torch.device("cpu"))
        return f"{self._name} was run on the CPU, because {device.type} cannot be used: {why}"

    def _warn_truncated(self, texts: Sequence[str]) -> None:
        for text in texts:
            if len(text) < self.context_length - 2:  # a token has at least one character
                continue
            count = _count_tokens(self._tokenizer, text)
            if count is not None and count > self.context_length:
                warn_truncated(text, count, self.context_length, stacklevel=5)

    def _probe(self, least: int = 1) -> npt.NDArray[np.uint8]:
        """Images to compare image encoders with, repeated until there are as many."""
        probe = probe_pixels(self._preprocessing.size)
        return np.tile(probe, (-(-least // len(probe)), 1, 1, 1))

    def _cut_texts(self) -> int:
        """Leave out the padding of texts, if the vectors stay what they are; returns their size."""
        whole = self.encode_texts(_PROBE_TEXTS)
        text = causal_text_tower(self._model)
        if text is not None:
            self._cut = CutTextTower(self._model, text)
            if float((self.encode_texts(_PROBE_TEXTS) * whole).sum(axis=1).min()) < _CUT_AGREEMENT:
                self._cut = None
        return int(whole.shape[1])

    def _fold_batch_norms(self) -> None:
        """Fold batch norms into convolutions, if the vectors stay what they are."""
        if self._layout is not torch.channels_last:
            return
        as_trained = self._model.visual
        folded = without_batch_norms(as_trained)
        if folded is None:
            self._model.visual = as_trained.to(memory_format=torch.channels_last)
        elif self._agreement(folded) > _FOLDED_AGREEMENT:
            self._model.visual = folded

    def _agreement(self, tower: torch.nn.Module) -> float:
        """Least cosine between the vectors of the tower in use and those of another one."""
        probe = self._probe()
        vectors = self.encode_pixels(probe)
        before, self._model.visual = self._model.visual, tower
        try:
            return float((self.encode_pixels(probe) * vectors).sum(axis=1).min())
        finally:
            self._model.visual = before

    def _choose_precision(self, asked: Precision) -> _Settled:
        """Settle on a precision; "auto" keeps a reduced one only if embeddings agree."""
        if asked == "int8":
            return self._to_int8()
        candidate = _fast_precision(self._device) if asked == "auto" else asked
        if candidate == "fp32":
            return "fp32"
        if asked != "auto":
            with self._streams.permits:
                self._model.visual.to(_DTYPES[candidate])
            self._precision = candidate
            self.encode_pixels(self._probe())  # what overflows in it is refused at once
            return candidate
        # With only a few, a GPU waits for the CPU.
        probe = self._probe(_GPU_RACE if self._device.type == "cuda" else 1)
        reference, slow_s = _best_of_two(self.encode_pixels, probe)
        exact: torch.nn.Module = self._model.visual
        with self._streams.permits:
            self._model.visual = copy.deepcopy(exact).to(_DTYPES[candidate])
        self._precision = candidate
        vectors, fast_s = _best_of_two(self.encode_pixels, probe)
        agreement = float((vectors * reference).sum(axis=1).min())
        if agreement > _PRECISION_AGREEMENT and fast_s < slow_s:
            return candidate
        self._model.visual = exact
        return "fp32"

    def _to_int8(self) -> _Settled:
        if self._device.type != "cpu":
            raise InvalidInputError("--precision int8 is for CPUs; on a GPU use auto or fp16")
        tower = in_8_bits(self._model.visual)
        agreement = self._agreement(tower)
        if agreement < _INT8_AGREEMENT:
            raise ModelLoadError(
                f"8-bit image vectors of {self._name} would agree with float32 to a cosine of "
                f"{agreement:.3f} only; use --precision auto"
            )
        self._model.visual = tower
        return "int8"


def _timed(encode: _Encode, pixels: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], float]:
    """What an encoder makes of prepared images, and the seconds that it took."""
    started = time.perf_counter()
    return encode(pixels), time.perf_counter() - started


def _best_of_two(
    encode: _Encode, pixels: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float32], float]:
    """The same, of the faster of two passes; the first one warms up."""
    return min((_timed(encode, pixels) for _ in range(2)), key=lambda timed: timed[1])


def resolve_device(device: str) -> str:
    """The torch device that "auto" or a name means; `InvalidInputError` where there is none."""
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    check_device(device)
    kind = device.partition(":")[0]
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InvalidInputError("torch finds no Apple GPU (MPS) here; use --device cpu")
    if kind == "cuda" and not torch.cuda.is_available():
        raise InvalidInputError("no CUDA device is usable here; use --device cpu")
    return device


def _fast_precision(device: torch.device) -> Literal["fp32", "bf16", "fp16"]:
    """Half precision where the hardware multiplies in it, float32 elsewhere."""
    if device.type == "cuda":
        return "fp16"
    if device.type != "cpu":
        return "fp32"
    return "bf16" if has_bfloat16() else "fp32"


def _count_tokens(tokenizer: Any, text: str) -> int | None:
    """Tokens of the whole text with start and end marks; None where the tokenizer cannot tell."""
    if hasattr(tokenizer, "encode"):
        return len(tokenizer.encode(text)) + 2
    if hasattr(tokenizer, "tokenizer"):
        return len(tokenizer.tokenizer(text)["input_ids"])
    return None


def _fingerprint(model: torch.nn.Module, spec: Preprocessing, tokenizer: Any) -> str:
    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(f"{key}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    clean = getattr(getattr(tokenizer, "clean_fn", None), "__name__", "")
    vocabulary = getattr(tokenizer, "vocab_size", None) or getattr(tokenizer, "tokenizer_name", "")
    described = {
        "preprocessing": asdict(spec),
        "tokenizer": [type(tokenizer).__name__, tokenizer.context_length, clean, str(vocabulary)],
    }
    digest.update(json.dumps(described, sort_keys=True).encode())
    return digest.hexdigest()


def _ran_out_of_memory(exc: BaseException) -> bool:
    """Whether torch's error means that an allocation failed, on a GPU or the CPU."""
    if isinstance(exc, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(says in str(exc) for says in _NO_MEMORY)
