"""Plots as PNG files, where people would rather look than read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import MissingExtraError
from .files import check_output, open_regular, output_file
from .names import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["is_plot", "plot_confusions", "plot_models", "plot_reliability"]

Bins = Sequence[tuple[float, float, int]]
_INCH = (5.0, 4.5)
_MARK = "clipsearch"  # in the metadata of a plot
_HEAD = 4096  # bytes, within which it is


def plot_reliability(path: str | os.PathLike[str], series: dict[str, Bins]) -> None:
    """Accuracy against probability; an honest classifier lies on the diagonal.

    Args:
        path: The PNG file.
        series: Name, with mean probability, accuracy and count of each bin.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InvalidInputError: The folder does not exist, or `path` is a folder.
        StorageError: The file cannot be written.
    """
    figure, axes = _figure()
    axes.plot([0, 1], [0, 1], linestyle="--", color="grey", label="honest")
    for name, bins in series.items():
        axes.plot([b[0] for b in bins], [b[1] for b in bins], marker="o", label=_label(name))
        total = sum(b[2] for b in bins)
        sizes = [400 * b[2] / max(1, total) for b in bins]
        axes.scatter([b[0] for b in bins], [b[1] for b in bins], s=sizes, alpha=0.3)
    axes.set(xlabel="probability", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    _save(figure, path)


def plot_confusions(
    path: str | os.PathLike[str], confusions: Sequence[tuple[str, str, int]]
) -> None:
    """The most frequent confusions as bars; raises as `plot_reliability`."""
    figure, axes = _figure()
    names = [_label(f"{truth} taken for {answer}") for truth, answer, _ in confusions]
    axes.barh(names[::-1], [count for *_, count in confusions][::-1])
    axes.set(xlabel="images")
    _save(figure, path)


def plot_models(
    path: str | os.PathLike[str], points: Sequence[tuple[str, float, float]], *, quality: str
) -> None:
    """Quality against images a second, a point for each model; raises as `plot_reliability`."""
    figure, axes = _figure()
    for name, speed, value in points:
        axes.scatter(speed, value, label=_label(name))
    axes.set(xlabel="images a second", ylabel=quality)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1))  # names are long: above the plot
    _save(figure, path)


def is_plot(path: Path) -> bool:
    """Whether a file is one of these plots."""
    with open_regular(path) as file:
        return f"Software\0{_MARK}".encode() in file.read(_HEAD)


def _label(text: str) -> str:
    """A text as matplotlib draws it: in one line, and not as a formula."""
    return shown(text).replace("$", r"\$")


def _figure() -> tuple[Figure, Any]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise MissingExtraError("plots need matplotlib: pip install 'clipsearch[plots]'") from exc
    figure = Figure(figsize=_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    check_output(path, is_plot)
    with output_file(path) as part:
        figure.savefig(part, dpi=120, format="png", metadata={"Software": _MARK})
