"""Image files to vectors in batches, the bad ones told apart."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from ..encoder import Encoder, batch_for
from ..errors import ImageDecodeError
from ..images import ImageInput, prepare
from ..vectors import Floats

__all__ = ["EncodedFiles", "encode_files", "iter_encoded"]

_AHEAD = 2  # batches decoded while one is encoded


def iter_encoded(
    images: Iterable[ImageInput],
    encoder: Encoder,
    *,
    on_skip: Callable[[int, str], None] | None = None,
) -> Iterator[tuple[list[int], Floats]]:
    """Encode images as they come, decoding ahead in threads; memory stays bounded.

    Args:
        images: Paths or anything else that `images.prepare` takes.
        encoder: The model.
        on_skip: Called with position and reason of an image that cannot be decoded; without it
            the first such image raises.

    Yields:
        Positions in `images`, ascending, with float32 [n, dim] unit vectors.

    Raises:
        ImageDecodeError: An image cannot be decoded, and there is no `on_skip`.
    """
    source, batch = enumerate(images), batch_for(encoder)
    waiting: deque[tuple[int, Future[npt.NDArray[np.uint8]]]] = deque()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="decode") as pool:

        def refill() -> None:
            for position, image in islice(source, max(0, batch * (1 + _AHEAD) - len(waiting))):
                waiting.append((position, pool.submit(prepare, image, encoder.preprocessing)))

        refill()
        while waiting:
            positions: list[int] = []
            pixels: list[npt.NDArray[np.uint8]] = []
            while waiting and len(positions) < batch:
                position, future = waiting.popleft()
                try:
                    pixels.append(future.result())
                    positions.append(position)
                except ImageDecodeError as exc:
                    if on_skip is None:
                        raise
                    on_skip(position, str(exc))
            refill()
            if positions:
                yield positions, encoder.encode_pixels(np.stack(pixels))


@dataclass(frozen=True, slots=True)
class EncodedFiles:
    """Vectors of the files that could be decoded, and the reasons for the others."""

    kept: npt.NDArray[np.int64]  # positions of the files that have a vector, [n]
    vectors: Floats  # [n, dim]
    skipped: tuple[tuple[int, str], ...]  # position and reason


def encode_files(images: Sequence[ImageInput], encoder: Encoder) -> EncodedFiles:
    """All of `images` at once; what cannot be decoded is in `skipped`."""
    skipped: list[tuple[int, str]] = []
    kept: list[int] = []
    parts = [np.empty((0, encoder.dim), np.float32)]
    for positions, vectors in iter_encoded(
        images, encoder, on_skip=lambda at, why: skipped.append((at, why))
    ):
        kept += positions
        parts.append(vectors)
    return EncodedFiles(np.array(kept, np.int64), np.concatenate(parts), tuple(skipped))
