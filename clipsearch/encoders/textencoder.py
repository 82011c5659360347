"""An encoder whose texts need neither torch nor open_clip, kept in a cache by fingerprint."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..cache import folder_entry, write_folder_entry
from ..encoder import Encoder
from ..errors import EncoderMismatchError, ModelLoadError
from ..images import ImageInput, Preprocessing
from .texts import check_texts, shortened, warn_truncated
from .texttower import TextTower
from .tokenizer import BytePairTokenizer

__all__ = ["LightTextEncoder", "cached_text_encoder", "keep_text_tower"]

_FEW = 4  # texts up to which numpy is as quick as torch


class LightTextEncoder:
    """Encodes texts at once, and loads the whole model when images come.

    Args:
        name: The name that `load_encoder` takes.
        fingerprint: Of the model that the tower was taken from.
        tower: Its text side.
        load: Loads the whole model.

    Raises:
        ModelLoadError: The vocabulary file of open_clip is missing.
    """

    def __init__(
        self, name: str, fingerprint: str, tower: TextTower, load: Callable[[], Encoder]
    ) -> None:
        self._name = name
        self._fingerprint = fingerprint
        self._tower = tower
        self._tokenizer = BytePairTokenizer(tower.facts.context_length, tower.facts.clean)
        self._preprocessing = _preprocessing(tower.facts.preprocessing)
        self._load = load
        self._whole: Encoder | None = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The name that `load_encoder` takes."""
        return self._name

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self._tower.dim

    @property
    def fingerprint(self) -> str:
        """Hex digest of the whole model."""
        return self._fingerprint

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are prepared for `encode_pixels`."""
        return self._preprocessing

    @property
    def logit_scale(self) -> float:
        """Factor, already exponentiated, that turns cosines into logits."""
        return self._tower.facts.logit_scale

    @property
    def logit_bias(self) -> float | None:
        """Bias of a sigmoid (SigLIP) model; None for softmax models."""
        return self._tower.facts.logit_bias

    @property
    def context_length(self) -> int:
        """Tokens that a text may have, start and end marks included."""
        return self._tower.facts.context_length

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode texts, float32 [n, dim], unit length, in order.

        Raises:
            InvalidInputError: A text is empty or not a string.
            ModelLoadError: A vector is no direction.
        """
        if self._whole is not None and len(texts) > _FEW:
            return self._whole.encode_texts(texts)
        check_texts(texts)
        texts = [shortened(text) for text in texts]
        tokens = self._tokenizer(texts)
        for text, row in zip(texts, tokens, strict=True):
            if row[-1]:  # full, so perhaps cut
                count = len(self._tokenizer.encode(text)) + 2
                if count > self.context_length:
                    warn_truncated(text, count, self.context_length, stacklevel=2)
        vectors = self._tower.encode(tokens)
        if not np.isfinite(vectors).all():
            raise ModelLoadError("the model returned a zero or non-finite text vector")
        return vectors

    def encode_images(self, images: Sequence[ImageInput]) -> npt.NDArray[np.float32]:
        """Encode images, float32 [n, dim], unit length, in order; loads the whole model."""
        return self._full().encode_images(images)

    def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Encode prepared images, uint8 [n, H, W, 3]; loads the whole model."""
        return self._full().encode_pixels(pixels)

    @property
    def notes(self) -> list[str]:
        """Warnings to show after encoding many images."""
        return list(getattr(self._whole, "notes", ()))

    def _full(self) -> Encoder:
        with self._lock:
            if self._whole is None:
                whole = self._load()
                if whole.fingerprint != self._fingerprint:
                    raise EncoderMismatchError(
                        f"the model {self._name} (fingerprint {whole.fingerprint[:12]}) is not "
                        f"the one that made the index ({self._fingerprint[:12]}); its weights "
                        f"have changed. Re-encode the index with them: "
                        f"clipsearch migrate -i NAME -m {self._name}"
                    )
                self._whole = whole
            return self._whole


def cached_text_encoder(
    name: str, fingerprint: str, load: Callable[[], Encoder]
) -> LightTextEncoder | None:
    """The light encoder of a model whose text encoder was kept, or None."""
    tower = TextTower.load(folder_entry(_entry_name(fingerprint)))
    if tower is None:
        return None
    with contextlib.suppress(ModelLoadError, TypeError):  # as good as none
        return LightTextEncoder(name, fingerprint, tower, load)
    return None


def keep_text_tower(encoder: Any) -> bool:
    """Keep the text side of a model, so that a later query need not load it.

    Returns:
        Whether it is kept now. A model that has no such tower, or a disk that refuses, is no
        error: queries then load the whole model.
    """
    export = getattr(encoder, "text_tower", None)
    if export is None:
        return False
    name = _entry_name(encoder.fingerprint)
    if TextTower.load(folder_entry(name)) is not None:
        return True
    tower: TextTower | None = export()
    return tower is not None and write_folder_entry(name, tower.save)


def _entry_name(fingerprint: str) -> str:
    return f"text/{fingerprint[:32]}"


def _preprocessing(document: dict[str, Any]) -> Preprocessing:
    """`Preprocessing` from JSON, where tuples have become lists."""
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
    }
    return Preprocessing(**fields)
