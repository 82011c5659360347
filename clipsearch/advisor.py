"""Models compared on one's own data and hardware, to choose one by."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from .classification.labelled import Captioned, Labelled, read_captioned, read_labelled
from .errors import ClipSearchError, ModelLoadError, SourceError
from .models import list_models, load_encoder

__all__ = ["ModelFigures", "compare_models"]

_QUERIES = ("a dog on the beach", "two people at a table", "a red bus", "a city at night") * 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFigures:
    """What one model does on one data set and machine."""

    model: str
    error: str | None = None  # why it could not be measured
    top1: float | None = None  # zero-shot, of a labelled data set
    top5: float | None = None
    text_to_image_r1: float | None = None  # of a captioned data set
    image_to_text_r1: float | None = None
    images_per_s: float | None = None  # decoding included
    query_ms: float | None = None  # median, one text
    memory_mb: float | None = None  # peak of a process with this model alone
    dim: int | None = None
    licence: str = ""


def compare_models(
    names: Sequence[str],
    data: str | Path,
    *,
    device: str = "auto",
    templates: str = "openai",
    progress: Callable[[str], None] = lambda name: None,
) -> list[ModelFigures]:
    """Measure each model in a process of its own, one after another.

    Args:
        names: As `load_encoder` takes them.
        data: A folder of class folders, a table with labels, or a table with captions.
        device: Where the models run.
        templates: For zero-shot classification.
        progress: Called with each name before it is measured.

    Returns:
        Figures in the order given; a model that cannot be loaded says why.

    Raises:
        SourceError: The data cannot be read.
    """
    _read(data)  # before any model is loaded
    context = multiprocessing.get_context("spawn")
    figures = []
    for name in names:
        progress(name)
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            try:
                figures.append(pool.submit(measure, name, str(data), device, templates).result())
            except ClipSearchError as exc:
                figures.append(ModelFigures(model=name, error=str(exc), licence=_licence(name)))
            except OSError as exc:
                raise ModelLoadError(f"cannot start a process to measure {name}: {exc}") from exc
    return figures


def measure(name: str, data: str, device: str, templates: str) -> ModelFigures:
    """Measure one model in this process."""
    from .evaluation import evaluate_retrieval, evaluate_zeroshot
    from .zeroshot import ZeroShotClassifier

    encoder = load_encoder(name, device=device)
    source = _read(data)
    top1 = top5 = t2i = i2t = None
    if isinstance(source, Labelled):
        report = evaluate_zeroshot(
            ZeroShotClassifier(encoder, source.classes, templates=templates), source
        )
        top1, top5, images_per_s = report.top1, report.top5, report.images_per_s
    else:
        started = perf_counter()
        encoder.encode_images(source.images[:64])
        images_per_s = len(source.images[:64]) / (perf_counter() - started)
        retrieval = evaluate_retrieval(encoder, source)
        t2i = retrieval.text_to_image.recall[1]
        i2t = retrieval.image_to_text.recall[1]
    times = []
    for text in _QUERIES:
        started = perf_counter()
        encoder.encode_texts([text])
        times.append(1000 * (perf_counter() - started))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return ModelFigures(
        model=name,
        top1=top1,
        top5=top5,
        text_to_image_r1=t2i,
        image_to_text_r1=i2t,
        images_per_s=images_per_s,
        query_ms=sorted(times)[len(times) // 2],
        memory_mb=peak / 1024 if sys.platform != "darwin" else peak / 1024**2,
        dim=encoder.dim,
        licence=_licence(name),
    )


def _read(data: str | Path) -> Labelled | Captioned:
    """Labelled or captioned data, whichever it is."""
    try:
        return read_labelled(data)
    except SourceError as labelled:
        try:
            return read_captioned(data)
        except SourceError:
            raise labelled from None


def _licence(name: str) -> str:
    return next((m.licence for m in list_models() if m.name == name), "see its model card")
