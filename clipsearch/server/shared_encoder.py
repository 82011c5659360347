"""An encoder that many requests share: batched model calls, images decoded in child processes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from starlette.concurrency import run_in_threadpool

from ..encoder import Encoder, EncodingProgress, is_on_gpu, runtime_of
from ..encoders.prepared import in_batches
from ..errors import ImageDecodeError, InvalidInputError
from ..images import ImageInput, Preprocessing, prepare
from ..intake.decoders import DecoderPool
from ..query import Query, encode_together
from ..vectors import Floats
from .batcher import Batcher
from .settings import ServerSettings
from .telemetry import Telemetry

__all__ = ["SharedEncoder", "sharing"]


# On a CPU a few images keep every core busy, and while they are encoded the next are decoded.
_CPU_IMAGES = 8


class SharedEncoder:
    """The encoder protocol over one model in memory, safe for any number of threads."""

    def __init__(self, encoder: Encoder, settings: ServerSettings, telemetry: Telemetry) -> None:
        self._encoder = encoder
        self._pool = DecoderPool(
            encoder.preprocessing,
            workers=settings.decoders,
            max_pixels=settings.max_pixels,
            timeout_s=settings.decode_timeout_s,
        )
        self._texts: Batcher[str, Floats] = Batcher(
            lambda texts: list(encoder.encode_texts(texts)),
            max_batch=settings.max_batch,
            wait_ms=settings.batch_wait_ms,
            observe=telemetry.batch_observer("text"),
        )
        self._pixels: Batcher[npt.NDArray[np.uint8], Floats] = Batcher(
            lambda pixels: list(encoder.encode_pixels(np.stack(pixels))),
            max_batch=min(settings.max_batch, most_images(encoder)),
            wait_ms=settings.batch_wait_ms,
            observe=telemetry.batch_observer("image"),
        )
        telemetry.watch_queue("text", lambda: self._texts.waiting)
        telemetry.watch_queue("image", lambda: self._pixels.waiting)

    @property
    def name(self) -> str:
        """The name that `load_encoder` takes."""
        return self._encoder.name

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self._encoder.dim

    @property
    def fingerprint(self) -> str:
        """Hex digest of weights, preprocessing and tokenizer."""
        return self._encoder.fingerprint

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are prepared."""
        return self._encoder.preprocessing

    @property
    def logit_scale(self) -> float:
        """Factor, already exponentiated, that turns cosines into logits."""
        return self._encoder.logit_scale

    @property
    def logit_bias(self) -> float | None:
        """Bias of a sigmoid model."""
        return self._encoder.logit_bias

    @property
    def runtime(self) -> str | None:
        """What encodes images."""
        return runtime_of(self._encoder)

    def encode_texts(
        self,
        texts: Sequence[str],
        *,
        batch_size: int | None = None,
        progress: EncodingProgress | None = None,
    ) -> Floats:
        """Encode texts together with those of other requests, float32 [n, dim]."""
        if any(not text.strip() for text in texts):
            raise InvalidInputError("a text is empty")
        return in_batches(texts, self._encode_texts, batch_size=batch_size, progress=progress)

    def _encode_texts(self, texts: Sequence[str]) -> Floats:
        return np.stack(self._texts(texts)) if texts else np.empty((0, self.dim), np.float32)

    async def encoded(self, query: Query) -> Query:
        """A query with the vectors of its texts and images, encoded with those of others.

        Raises:
            InvalidInputError, ImageDecodeError: As `encode_texts` and `encode_images`.
        """
        if texts := query.unencoded("text"):
            query = query.with_vectors("text", iter(await self._texts.soon(texts)))
        if query.unencoded("image"):  # waits for a decoding process
            (query,) = await run_in_threadpool(encode_together, [query], self)
        return query

    def encode_images(
        self,
        images: Sequence[ImageInput],
        *,
        batch_size: int | None = None,
        progress: EncodingProgress | None = None,
    ) -> Floats:
        """Decode images in child processes and encode them, float32 [n, dim].

        Raises:
            ImageDecodeError: One is no image, is over the limits, or takes too long.
        """
        return in_batches(images, self._encode_images, batch_size=batch_size, progress=progress)

    def _encode_images(self, images: Sequence[ImageInput]) -> Floats:
        waiting = [
            self._pool.submit(bytes(image)) if isinstance(image, bytes) else None
            for image in images
        ]
        pixels = []
        for number, (image, future) in enumerate(zip(images, waiting, strict=True), 1):
            try:
                pixels.append(
                    prepare(image, self.preprocessing)
                    if future is None
                    else future.result().prepared.pixels
                )
            except ImageDecodeError as exc:
                if len(images) == 1:
                    raise
                raise ImageDecodeError(f"image {number} of {len(images)}: {exc}") from exc
        return np.stack(self._pixels(pixels)) if pixels else np.empty((0, self.dim), np.float32)

    def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> Floats:
        """Encode prepared images, uint8 [n, H, W, 3]."""
        if not len(pixels):
            return np.empty((0, self.dim), np.float32)
        return np.stack(self._pixels(list(pixels)))

    def close(self) -> None:
        """Finish what is under way and stop the threads and processes."""
        self._texts.close()
        self._pixels.close()
        self._pool.__exit__(None, None, None)


def sharing(
    load: Callable[[str], Encoder], settings: ServerSettings, telemetry: Telemetry
) -> Callable[[str], Encoder]:
    """A loader of models that many requests share."""
    return lambda name: SharedEncoder(load(name), settings, telemetry)


def most_images(encoder: Encoder) -> int:
    """How many images are worth encoding together."""
    return sys.maxsize if is_on_gpu(encoder) else _CPU_IMAGES
