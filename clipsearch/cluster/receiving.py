"""The driver's half of an indexing job: what workers made, through the pipeline of one machine.

`pipeline.Run` gets a source whose pairs are decoded and encoded already, a pool that hands out the
finished results, and an encoder that hands out the vectors. So which items there are, their ids,
what counts as moved, unchanged or duplicate, the report and the commits are decided by the same
lines of code on one machine and on many.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..encoder import batch_for
from ..errors import ImageDecodeError
from ..images import Prepared
from ..ingest import IngestOptions
from ..intake.decoding import Decoded
from ..intake.ledger import Ledger
from ..intake.pairs import Pair, Source
from ..intake.pipeline import Run
from ..types import Progress
from ..vectors import Floats
from .worker import Embedded

if TYPE_CHECKING:
    from ..encoder import Encoder
    from ..engine.writer import Writer

__all__ = ["receive"]

_KEPT = 4096  # results that wait to be asked for; the pipeline asks within a few hundred


def receive(
    results: Iterable[list[Embedded]],
    original: Source,
    *,
    writer: Writer,
    folder: Path,
    encoder: Encoder,
    ledger: Ledger,
    options: IngestOptions,
    tell: Callable[[Progress], None],
) -> Run:
    """Store and commit what workers made, as it comes.

    Args:
        results: Slices of results in the order of the source.
        original: The source that the workers read.
        writer: Of the index.
        folder: Of the index.
        encoder: The model, for what no worker was asked for.
        ledger: Takes the end of every pair.
        options: How to work.
        tell: Called now and then with the progress.

    Returns:
        The finished run; `busy["encode"]` are the seconds of all workers' models together.
    """
    source = _EmbeddedSource(results, original)
    batch_size = batch_for(encoder, options.batch_size)
    run = Run(
        writer,
        folder,
        _Received(encoder, source),
        _Finished(source),  # type: ignore[arg-type] # all of a pool that `Run` uses
        ledger,
        batch_size=batch_size,
        ahead=0,  # what comes is finished
        retry_skipped=options.retry_skipped,
        hash_first=False,  # workers hash
        chunk=batch_size,
    )
    run.through(source, tell)
    run.busy["encode"] = source.encode_s
    return run


class _EmbeddedSource(Source):
    """The pairs as they come back, with what the workers made of them kept at hand.

    An image of bytes comes back as a ticket of eight bytes, which `Run` hands to the pool.
    """

    def __init__(self, stream: Iterable[list[Embedded]], original: Source) -> None:
        self._stream = stream
        self.root = original.root
        self.encode_s = 0.0
        self._tickets = 0
        self._images: OrderedDict[str | bytes, Embedded] = OrderedDict()
        self._captions: OrderedDict[str, tuple[Floats, bool]] = OrderedDict()

    def __iter__(self) -> Iterator[Pair]:
        for found in self._stream:
            for embedded in found:
                self.encode_s += embedded.encode_s
                yield self._keep(embedded)

    def _keep(self, embedded: Embedded) -> Pair:
        pair = embedded.pair
        if isinstance(pair.image, bytes):
            self._tickets += 1
            pair = dataclasses.replace(pair, image=self._tickets.to_bytes(8, "big"))
        if pair.image is not None:
            self._images[pair.image] = embedded
            _shorten(self._images)
        if embedded.caption is not None and pair.caption is not None:
            self._captions.pop(pair.caption, None)
            self._captions[pair.caption] = (embedded.caption, embedded.cut)
            _shorten(self._captions)
        return pair

    def image(self, image: str | bytes) -> Embedded | None:
        """What a worker made of an image."""
        return self._images.pop(image, None)

    def caption(self, caption: str) -> tuple[Floats, bool] | None:
        """Vector of a caption, and whether it was cut."""
        return self._captions.get(caption)


def _shorten(kept: OrderedDict[Any, Any]) -> None:
    while len(kept) > _KEPT:
        kept.popitem(last=False)


class _Finished:
    """Stands where one machine has its pool of decoders: everything is decoded already."""

    def __init__(self, embedded: _EmbeddedSource) -> None:
        self._embedded = embedded

    def submit(self, image: str | bytes) -> Future[Decoded]:
        """The finished result of an image, its vector in place of its pixels."""
        future: Future[Decoded] = Future()
        found = self._embedded.image(image)
        if found is None or (found.error is None and found.facts is None):
            future.set_exception(
                ImageDecodeError("the file changed while the job ran; index it again")
            )
        elif found.error is not None:
            future.set_exception(ImageDecodeError(found.error))
        else:
            future.set_result(_decoded(found))
        return future


def _decoded(found: Embedded) -> Decoded:
    # Bytes that are stored under this very key come without a vector: the pipeline takes it from
    # the stored item, and this one, which is no number, can never be stored by mistake.
    vector = found.vector if found.vector is not None else np.full(1, np.nan, np.float32)
    facts = found.facts
    prepared = Prepared(pixels=vector, facts=facts)  # type: ignore[arg-type] # see `_Received`
    return Decoded(prepared, found.sha256 or "", found.size_bytes, found.busy_s)


class _Received:
    """Stands where one machine has its encoder: the vectors are there, in place of pixels.

    Args:
        encoder: The model, for what no worker was asked for.
        embedded: Where the workers' results are.
    """

    def __init__(self, encoder: Encoder, embedded: _EmbeddedSource) -> None:
        self._encoder = encoder
        self._embedded = embedded

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode_pixels(self, pixels: np.ndarray[Any, Any]) -> Floats:
        """Vectors that `_decoded` put in place of pixels, float32 [n, dim]."""
        return np.asarray(pixels, np.float32)

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        """Vectors of captions, float32 [n, dim], as the workers made them."""
        found = [self._embedded.caption(text) for text in texts]
        if any(part is not None and part[1] for part in found):
            warnings.warn("captions were cut", stacklevel=2)
        missing = [text for text, part in zip(texts, found, strict=True) if part is None]
        own = iter(self._encoder.encode_texts(missing)) if missing else iter(())
        return np.stack([next(own) if part is None else part[0] for part in found])
