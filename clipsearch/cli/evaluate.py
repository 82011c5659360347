"""`clipsearch evaluate`: measure a model or an index on your own data."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..files import check_output, output_file, read_regular
from ..limits import MAX_LINE
from ..locations import existing_index
from ..models import BUNDLED_MODEL, load_encoder
from ..names import json_text
from .classify import LabelsFile, Template, build_classifier
from .formats import ReportFormat, ReportOutput
from .options import Device, IndexName
from .output import EXIT_SKIPPED, note, print_json, print_table

if TYPE_CHECKING:
    from ..advisor import ModelFigures
    from ..classification.metrics import RetrievalFigures

__all__ = ["evaluate_app"]

Model = Annotated[str, typer.Option("-m", "--model", help="Model to evaluate.")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Also write the results to this JSON file.")
]
Plot = Annotated[Path | None, typer.Option("--plot", help="Plot the results to this PNG file.")]

evaluate_app = typer.Typer(
    no_args_is_help=True, help="Measure a model or an index on your own data."
)


@evaluate_app.command("zeroshot")
def zeroshot(
    data: Annotated[
        Path,
        typer.Argument(
            help="Folder with one subfolder per class, or a table with the columns image and label."
        ),
    ],
    labels: LabelsFile = None,
    template: Template = None,
    model: Model = BUNDLED_MODEL,
    output: ReportOutput = "table",
    json_file: JsonFile = None,
    plot: Plot = None,
    confusion_plot: Annotated[
        Path | None, typer.Option(help="Plot the most frequent confusions to this PNG file.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Measure classification of labelled images: accuracy, confusions, calibration error.

    clipsearch evaluate zeroshot flowers/ --plot reliability.png
    """
    from ..classification.labelled import read_labelled
    from ..evaluation import evaluate_zeroshot

    examples = read_labelled(data)
    encoder = load_encoder(model, device=device)
    names = None if labels else list(examples.classes)
    report = evaluate_zeroshot(build_classifier(encoder, names, labels, template), examples)
    if plot is not None:
        from ..plots import plot_reliability

        plot_reliability(plot, {report.model: report.bins})
    if confusion_plot is not None:
        from ..plots import plot_confusions

        plot_confusions(confusion_plot, report.confusions)
    if not _emit(asdict(report), output, json_file):
        print_table(
            ["images", "classes", "top-1", "top-5", "mean per class", "calibration error"],
            [
                [
                    f"{report.images:,}",
                    f"{report.classes:,}",
                    f"{report.top1:.1%}",
                    f"{report.top5:.1%}",
                    f"{report.mean_per_class:.1%}",
                    f"{report.ece:.3f}",
                ]
            ],
            title=report.model,
        )
        worst = list(report.per_class.items())[:10]
        print_table(["worst classes", "top-1"], [[name, f"{share:.1%}"] for name, share in worst])
        print_table(
            ["label", "predicted", "images"],
            [[truth, answer, str(count)] for truth, answer, count in report.confusions],
            right=["images"],
        )
    _skips(report.skipped)


@evaluate_app.command("retrieval")
def retrieval(
    data: Annotated[Path, typer.Argument(help="Table with the columns image and caption.")],
    model: Model = BUNDLED_MODEL,
    output: ReportOutput = "table",
    json_file: JsonFile = None,
    device: Device = "auto",
) -> None:
    """Measure retrieval of images by their captions and of captions by their images.

    All captions of an image count as correct, as in CLIP_benchmark.

        clipsearch evaluate retrieval captions.tsv
    """
    from ..classification.labelled import read_captioned
    from ..evaluation import evaluate_retrieval

    captioned = read_captioned(data)
    report = evaluate_retrieval(load_encoder(model, device=device), captioned)
    if not _emit(asdict(report), output, json_file):
        print_table(
            ["", "R@1", "R@5", "R@10", "median rank", "MRR", "queries"],
            [
                _direction("text to image", report.text_to_image),
                _direction("image to text", report.image_to_text),
            ],
            title=f"{report.model}: {report.images:,} images, {report.captions:,} captions",
        )
    _skips(report.skipped)


@evaluate_app.command("index")
def index(
    name: IndexName = None,
    queries: Annotated[int, typer.Option(min=1, help="Number of searches.")] = 200,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of hits to compare.")] = 10,
    output: ReportOutput = "table",
    json_file: JsonFile = None,
) -> None:
    """Compare the search of an index with exact search: recall and latency.

    clipsearch evaluate index -i photos
    """
    from ..evaluation import evaluate_index
    from ..index import Index

    with Index.open(existing_index(name)) as opened:
        report = evaluate_index(opened, queries=queries, k=k)
    if not _emit(asdict(report), output, json_file):
        print_table(
            ["items", "queries", f"recall@{k}", "worst", "search ms", "exact ms", "search is"],
            [
                [
                    f"{report.items:,}",
                    f"{report.queries:,}",
                    f"{report.recall:.4f}",
                    f"{report.worst:.2f}",
                    f"{report.search_ms:.2f}",
                    f"{report.exact_ms:.2f}",
                    "approximate" if report.approximate else "exact",
                ]
            ],
        )


@evaluate_app.command("models")
def models(
    names: Annotated[list[str], typer.Argument(help="Models to compare.")],
    data: Annotated[
        Path, typer.Option("--data", help="Labelled folder or table, or a table with captions.")
    ],
    template: Annotated[
        str, typer.Option("-t", "--template", help="Prompt templates: openai, simple or none.")
    ] = "openai",
    output: ReportOutput = "table",
    json_file: JsonFile = None,
    plot: Plot = None,
    device: Device = "auto",
) -> None:
    """Compare models on your own data and machine.

    clipsearch evaluate models clipsearch-mini ViT-B-32-256/datacomp_s34b_b86k --data flowers/
    """
    from ..advisor import compare_models

    figures = compare_models(
        names,
        data,
        device=device,
        templates=template,
        progress=lambda name: note(f"measuring {name} ..."),
    )
    labelled = any(f.top1 is not None for f in figures)
    if plot is not None:
        from ..plots import plot_models

        points = [
            (f.model, f.images_per_s, value)
            for f in figures
            if (value := f.top1 if labelled else f.text_to_image_r1) is not None
            and f.images_per_s is not None
        ]
        plot_models(plot, points, quality="top-1" if labelled else "text-to-image R@1")
    if not _emit({"models": [asdict(f) for f in figures]}, output, json_file):
        quality = ["top-1", "top-5"] if labelled else ["text>image R@1", "image>text R@1"]
        print_table(
            ["model", *quality, "images/s", "query ms", "memory", "license"],
            [_model_row(f, labelled) for f in figures],
        )
    for f in figures:
        if f.error:
            note(f"{f.model}: {f.error}")
    if all(f.error for f in figures):
        raise typer.Exit(1)
    if any(f.error for f in figures):
        raise typer.Exit(EXIT_SKIPPED)


def _emit(document: dict[str, Any], output: ReportFormat, json_file: Path | None) -> bool:
    """Write the figures where JSON is asked for; whether stdout has them already."""
    if json_file is not None:
        text = json_text(document, indent=2) + "\n"
        check_output(json_file, lambda path: _has_keys(path, document))
        with output_file(json_file) as part:
            part.write_text(text, encoding="utf-8")
    if output == "json":
        print_json(document)
        return True
    return False


def _has_keys(path: Path, document: dict[str, Any]) -> bool:
    """Whether a file holds a document of the same kind, to be replaced."""
    try:
        there = json.loads(read_regular(path, MAX_LINE))
    except ValueError:
        return False
    return isinstance(there, dict) and set(there) == set(document)


def _skips(skipped: tuple[str, ...]) -> None:
    for reason in skipped:
        note(f"skipped {reason}")
    if skipped:
        raise typer.Exit(EXIT_SKIPPED)


def _direction(name: str, figures: RetrievalFigures) -> list[str]:
    recalls = [f"{figures.recall[k]:.1%}" for k in (1, 5, 10)]
    return [
        name,
        *recalls,
        f"{figures.median_rank:g}",
        f"{figures.mrr:.3f}",
        f"{figures.queries:,}",
    ]


def _model_row(figures: ModelFigures, labelled: bool) -> list[str]:
    quality = (
        [figures.top1, figures.top5]
        if labelled
        else [figures.text_to_image_r1, figures.image_to_text_r1]
    )
    return [
        figures.model,
        *("-" if q is None else f"{q:.1%}" for q in quality),
        "-" if figures.images_per_s is None else f"{figures.images_per_s:.1f}",
        "-" if figures.query_ms is None else f"{figures.query_ms:.1f}",
        "-" if figures.memory_mb is None else f"{figures.memory_mb:,.0f} MB",
        figures.licence,
    ]
