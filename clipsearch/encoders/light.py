"""The encoder of every day: images in OpenVINO, texts in numpy, and no torch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..encoder import Encoder, EncodingProgress
from ..errors import EncoderMismatchError, ModelLoadError
from ..images import ImageInput, Preprocessing
from .compiled import CompiledTower
from .cores import Cores, usable_cores
from .lightmodel import LightModel
from .prepared import check_pixels, encode_prepared, in_batches, unit
from .texts import check_texts, shortened, warn_truncated
from .texttower import TextTower
from .tokenizer import BytePairTokenizer

__all__ = ["LightEncoder"]

_log = logging.getLogger("clipsearch")

# In bfloat16 matrices are multiplied so much faster that larger blocks are worth the memory
# (ViT-B-32 with AMX: 130 images/s with 8, 153 with 16, 139 with 32).
_BF16_BATCH = 16


class LightEncoder:
    """A model whose image and text encoders are each made ready on first use.

    Another encoder takes the place of one that is missing or damaged.

    Args:
        name: The name that `load_encoder` takes.
        model: Its parts.
        load: Loads that other encoder.
        in_torch: Loads the model in torch.
        device: Where images are encoded.
        precision: Of the image encoder.
    """

    def __init__(
        self,
        name: str,
        model: LightModel,
        load: Callable[[], Encoder],
        *,
        in_torch: Callable[[], Encoder],
        device: str = "cpu",
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        self._name = name
        self._model = model
        self._load = load
        self._load_torch = in_torch
        self._device = device
        self._precision = precision
        self._cores = Cores(usable_cores())
        # Texts need not wait until images can be encoded, nor either of them for torch.
        self._lock, self._text_lock, self._image_lock = (threading.Lock() for _ in range(3))
        self._whole: Encoder | None = None
        self._in_torch: Encoder | None = None
        self._text: tuple[TextTower, BytePairTokenizer] | None = None
        # By the images of a block, and the blocks that are encoded at a time.
        self._images: dict[tuple[int, int], CompiledTower] = {}

    @property
    def name(self) -> str:
        """The name that `load_encoder` takes."""
        return self._name

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self._model.facts.dim

    @property
    def fingerprint(self) -> str:
        """Hex digest (64 characters) of weights, preprocessing and tokenizer."""
        return self._model.facts.fingerprint

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are prepared for `encode_pixels`."""
        return self._model.facts.preprocessing

    @property
    def logit_scale(self) -> float:
        """Factor, already exponentiated, that turns cosines into logits."""
        return self._model.facts.logit_scale

    @property
    def logit_bias(self) -> float | None:
        """Bias of a sigmoid (SigLIP) model; None for softmax models."""
        return self._model.facts.logit_bias

    @property
    def context_length(self) -> int:
        """Tokens that a text may have, start and end marks included."""
        return self._model.facts.context_length

    @property
    def device(self) -> str:
        """Where images are encoded; before torch is asked, where it may be."""
        return str(getattr(self._whole, "device", self._device))

    @property
    def precision(self) -> str:
        """Number format of the image encoder: "fp32", "bf16", or as torch chose it."""
        return str(getattr(self._whole, "precision", self._precision))

    @property
    def runtime(self) -> str:
        """What encodes images: "openvino" or "torch"."""
        missing = "torch" if self._model.image is None else "openvino"
        return str(getattr(self._whole, "runtime", missing))

    @property
    def notes(self) -> list[str]:
        """Warnings to show after encoding many images."""
        return list(getattr(self._whole, "notes", ()))

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
            self.preprocessing,
            self.encode_pixels,
            batch_size=batch_size,
            progress=progress,
        )

    def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Encode prepared images, uint8 [n, H, W, 3], as float32 [n, dim], unit length.

        Raises:
            InvalidInputError: Another shape.
            ModelLoadError: A vector is no direction.
        """
        check_pixels(pixels, self.preprocessing)
        if not len(pixels):
            return np.empty((0, self.dim), np.float32)
        tower = self._image_tower(len(pixels))
        if tower is None:
            return self._other().encode_pixels(pixels)
        size = tower.batch
        blocks = [pixels[i : i + size] for i in range(0, len(pixels), size)]
        return unit(np.concatenate(self._cores.map(tower, blocks)), "image")

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
            ModelLoadError: A vector is no direction.
        """
        check_texts(texts)
        return in_batches(texts, self._encode_texts, batch_size=batch_size, progress=progress)

    def _encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        with self._text_lock:
            if self._text is None:
                self._text = self._text_tower()
        if self._text is None:
            return self._other().encode_texts(texts)
        tower, tokenizer = self._text
        texts = [shortened(text) for text in texts]
        tokens = tokenizer(texts)
        for text, row in zip(texts, tokens, strict=True):
            if row[-1]:  # full, so perhaps cut
                count = len(tokenizer.encode(text)) + 2
                if count > self.context_length:
                    warn_truncated(text, count, self.context_length, stacklevel=4)
        return unit(tower.encode(tokens, self._cores), "text")

    @property
    def is_in_torch(self) -> bool:
        """Whether `in_torch` has it already."""
        return self._in_torch is not None

    def in_torch(self) -> Encoder:
        """The model in torch, loaded on first need, for those who look into its layers.

        Raises:
            ModelNotFoundError, ModelLoadError: It cannot be loaded.
            MissingExtraError: Torch is not installed.
            EncoderMismatchError: The model's weights have changed.
        """
        with self._lock:
            if self._in_torch is None:
                self._in_torch = self._checked(self._load_torch())
            return self._in_torch

    def _other(self) -> Encoder:
        """What encodes in the place of a part, loaded on first need."""
        with self._lock:
            if self._whole is None:
                self._whole = self._checked(self._load())
            return self._whole

    def _checked(self, loaded: Encoder) -> Encoder:
        if loaded.fingerprint != self.fingerprint:
            raise EncoderMismatchError(
                f"the model {self._name} (fingerprint {loaded.fingerprint[:12]}) is not the one "
                f"that made the index ({self.fingerprint[:12]}); its weights have changed. "
                f"Re-encode the index with them: clipsearch migrate -i NAME -m {self._name}"
            )
        return loaded

    def _text_tower(self) -> tuple[TextTower, BytePairTokenizer] | None:
        tower = None if self._model.text is None else self._model.text()
        if tower is None:
            return None
        return tower, BytePairTokenizer(tower.facts.context_length, tower.facts.clean)

    def _image_tower(self, images: int) -> CompiledTower | None:
        """The image encoder for so many images; None where another one must encode them."""
        largest = _BF16_BATCH if self._precision == "bf16" else 1
        # An image a core is the most images a second; a few are encoded one by one on all cores.
        streams = 1 if images < self._cores.count // 2 else self._cores.count
        wanted = (largest if images >= largest else 1, streams)
        many = (largest, self._cores.count)
        with self._image_lock:
            if wanted not in self._images and many in self._images and 4 * images >= largest:
                wanted = many  # what is left of many images is not worth compiling for
            if wanted not in self._images and self._model.image is not None:
                compiled = self._compiled(self._model.image(), *wanted)
                if compiled is None:
                    self._model = replace(self._model, image=None)
                else:
                    self._images[wanted] = compiled
            return self._images.get(wanted)

    def _compiled(self, graph: Any, batch: int, streams: int) -> CompiledTower | None:
        """The graph for blocks of so many images; None where it is damaged, or cannot be used."""
        if graph is None:
            return None
        try:
            graph.reshape([batch, 3, *self.preprocessing.size])
            return CompiledTower(
                graph,
                self.preprocessing,
                self._cores.count,
                streams=streams,
                precision="bf16" if self._precision == "bf16" else "f32",
            )
        except (ModelLoadError, RuntimeError) as exc:
            _log.warning("%s; torch is used instead", exc)
            return None
