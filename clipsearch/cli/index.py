"""`clipsearch index`: fill an index from folders, tables, shards and lists."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import clipsearch

from ..engine.storage import is_index
from ..errors import IndexNotFoundError, InvalidInputError, SourceError
from ..files import expanded
from ..locations import index_path
from ..models import BUNDLED_MODEL, load_text_encoder
from ..names import shell_word
from ..types import IngestReport, Precision, Progress
from .cluster import Cluster
from .options import BatchSize, Device, ImagePrecision, NewIndexName, TrustModel, Wait, Workers
from .output import EXIT_ERROR, EXIT_SKIPPED, note, short_path
from .trust import may_load

if TYPE_CHECKING:
    from ..index import Index
    from ..ingest import IngestOptions
    from ..intake.pairs import Source

__all__ = ["index", "open_or_create", "progress_bar", "summarise"]


_MOST_KINDS = 6  # of ignored files that are named


def index(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Folders, image files, tables (.csv, .tsv, .jsonl, .json, .parquet), archives "
            "(.tar, .tar.gz, .zip), tar shards ('train-{00..41}.tar'), URLs of these, or - for "
            "paths on stdin."
        ),
    ],
    name: NewIndexName = "photos",
    model: Annotated[
        str | None,
        typer.Option("-m", "--model", help=f"Model to encode with; by default {BUNDLED_MODEL}."),
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="Table column with the path of the image.")
    ] = None,
    captions: Annotated[str | None, typer.Option(help="Table column with the caption.")] = None,
    ids: Annotated[
        str | None, typer.Option(help="Table column with a unique key for each row.")
    ] = None,
    allow_outside: Annotated[
        bool,
        typer.Option(
            "--allow-outside", help="Allow a table to name images outside its own folder."
        ),
    ] = False,
    images_root: Annotated[
        Path | None,
        typer.Option(
            help="Folder that relative image paths of a table start from; by default the table's."
        ),
    ] = None,
    batch_size: BatchSize = None,
    workers: Workers = None,
    device: Device = "auto",
    precision: ImagePrecision = "auto",
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="Skip files whose name or path matches this pattern, e.g. '*.png'. Repeatable. "
            "Remembered for the next runs of the same source; '' forgets it."
        ),
    ] = None,
    all_files: Annotated[
        bool | None,
        typer.Option(
            "--all-files/--no-all-files",
            help="Also take hidden files, and what servers, systems and photo programs leave "
            "(@eaDir, #recycle, previews). Remembered like --exclude.",
            show_default=False,
        ),
    ] = None,
    max_pixels: Annotated[
        int,
        typer.Option(min=1, help="Skip images with more pixels than this, before decoding them."),
    ] = 179_000_000,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first unreadable file.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Remove items whose files no longer exist in the folder, or are left out of it. "
            "Otherwise items whose files are gone are kept and hidden until the files are back.",
        ),
    ] = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            help="With --prune: remove a whole folder or drive, or more than a fifth of the items, "
            "without asking.",
        ),
    ] = False,
    retry_skipped: Annotated[
        bool,
        typer.Option("--retry-skipped", help="Retry files that failed in an earlier run."),
    ] = False,
    rescan: Annotated[
        bool,
        typer.Option(
            "--rescan",
            help="Read metadata and captions of unchanged files again, without encoding images.",
        ),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Keep running and index changes in the folder until Ctrl-C."),
    ] = False,
    trust_model: TrustModel = False,
    wait: Wait = False,
    report: Annotated[
        Path | None,
        typer.Option(help="Write the outcome of every file to this file, as JSON lines."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Let --report replace a file that is no report.")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option("--ray", help="Encode on a Ray cluster: local, auto or HOST:PORT."),
    ] = None,
    num_workers: Annotated[
        int | None, typer.Option(min=1, help="With --ray: number of workers; each holds the model.")
    ] = None,
    gpus_per_worker: Annotated[
        float, typer.Option(min=0, help="With --ray: GPUs per worker.")
    ] = 0.0,
) -> None:
    """Index images: encode those that are new or changed, skip the rest.

    Run it again at any time: an interrupted run resumes where it stopped.

        clipsearch index ~/Pictures -i photos

        clipsearch index ~/Pictures -i photos --prune --watch

        clipsearch index pairs.csv -i pairs --images file --captions text

        clipsearch index annotations/captions_val2017.json -i coco

        find . -name '*.jpg' -print0 | clipsearch index - -i photos

        clipsearch index scans -i scans -m ViT-B-32-256/datacomp_s34b_b86k

        clipsearch index 's3://bucket/train-{0000..0999}.tar' -i web --ray auto --gpus-per-worker 1
    """
    from ..ingest import IngestOptions

    options = IngestOptions(
        on_error="raise" if strict else "skip",
        batch_size=batch_size,
        workers=workers,
        max_pixels=max_pixels,
        exclude=None if exclude is None else tuple(exclude),
        all_files=all_files,
        images=images,
        captions=captions,
        ids=ids,
        allow_outside=allow_outside,
        images_root=images_root,
        prune=prune,
        yes=yes or (_ask if sys.stdin.isatty() and sys.stderr.isatty() else False),
        retry_skipped=retry_skipped,
        rescan=rescan,
        wait=wait,
        report_file=report,
        report_overwrite=force,
    )
    options.check_report(index_path(name), *(one for one in sources if one != "-"))
    if yes and not prune:
        raise InvalidInputError("--yes goes with --prune")
    if watch and (len(sources) != 1 or not expanded(sources[0]).is_dir()):
        raise InvalidInputError("--watch needs exactly one source, a folder")
    folders = _looked_into(sources, name, options)
    if prune and len(sources) > 1 and not all(folder.root for folder in folders):
        raise InvalidInputError("--prune needs folders as its sources, to know what is gone")
    cluster = Cluster(ray, num_workers, gpus_per_worker, device, precision)
    with (
        cluster.joined(),
        open_or_create(name, model, device, precision, trust_model=trust_model) as opened,
    ):
        # A moved file takes its item along from one source to another; and a question needs a line
        # without a progress bar.
        late = prune and (len(sources) > 1 or callable(options.yes))
        reports = _add_all(
            opened, sources, cluster, dataclasses.replace(options, prune=prune and not late)
        )
        unpruned = sum(report.unpruned for report in reports)
        if late:
            unpruned = _prune_all(opened, folders, options)
        away = len(opened.away())
        hidden = f", {away:,} of them away" if away else ""
        note(f"{len(opened):,} items in {short_path(str(opened.path))}{hidden}")
        if len(opened):
            note(f'search them:  clipsearch search "a dog on the beach" -i {shell_word(name)}')
        if watch:
            following = dataclasses.replace(options, report_append=True, rescan=False)
            _follow(opened, sources[0], following)
    if unpruned:
        raise typer.Exit(EXIT_ERROR)
    if any(report.skipped > report.ignored + report.known for report in reports):
        raise typer.Exit(EXIT_SKIPPED)


def _looked_into(sources: list[str], name: str, options: IngestOptions) -> list[Source]:
    """The sources, opened, but for paths on stdin: is there anything to put into an index?

    Of those that have an index, one in which there is nothing is left alone in `sources`, so that
    adding it says that, and what of it is away.
    """
    found: list[Source] = []
    for source in sources.copy():
        if source == "-":
            continue
        try:
            opened = options.opened(source)
            any(not pair.ignored for pair in opened)
        except SourceError:
            if not is_index(index_path(name)):
                raise
            sources[:] = [source]
            return found
        found.append(opened)
    return found


def _add_all(
    opened: Index, sources: Sequence[str], cluster: Cluster, options: IngestOptions
) -> list[IngestReport]:
    reports = []
    for position, source in enumerate(sources):
        each = dataclasses.replace(options, report_append=position > 0)
        with progress_bar() as progress:
            reports.append(cluster.add(opened, source, progress=progress, options=each))
        for line in summarise(reports[-1]):
            note(line)
    return reports


def _prune_all(opened: Index, folders: Sequence[Source], options: IngestOptions) -> int:
    """Prune folders once all are indexed; returns how many items a person has to agree to."""
    from ..ingest import settle_away

    kept = 0
    with opened.writer(wait=options.wait) as writer:
        for folder in folders:
            ended = settle_away(writer, folder, prune=True, yes=options.yes)
            for line in ended.remarks:
                note(line)
            if ended.removed:
                note(f"removed {ended.removed:,} items whose files are gone or left out")
            kept += ended.kept
    return kept


def _ask(question: str) -> bool:
    return typer.confirm(question, err=True)


def _follow(opened: clipsearch.Index, folder: str, options: IngestOptions) -> None:
    """Follow a folder until Ctrl-C and report what has changed."""
    from ..watch import watch

    away = len(opened.away())

    def tell(report: IngestReport) -> None:
        nonlocal away
        before, away = away, len(opened.away())
        stored = report.indexed or report.duplicate or report.updated or report.moved
        failed = report.notes and not report.seen
        if stored or report.pruned or failed or away != before:
            for line in summarise(report):
                note(line)

    ready = f"watching {short_path(str(expanded(folder).resolve()))}; press Ctrl-C to stop"
    with contextlib.suppress(KeyboardInterrupt):
        watch(opened, folder, options=options, on_report=tell, ready=lambda: note(ready))
    note("stopped watching")


def open_or_create(
    name: str,
    model: str | None,
    device: str,
    precision: Precision,
    *,
    dim: int | None = None,
    trust_model: bool = False,
) -> clipsearch.Index:
    """Open an index with its model, or make an empty one.

    Args:
        name: Name or folder of the index.
        model: What the user asked for; None for the index's own, or the bundled one.
        device: Where the model works.
        precision: Of its image encoder.
        dim: Dimensions of the vectors to be added, if known already.
        trust_model: Whether the model that an index names is loaded in any case.
    """
    path = index_path(name)

    def load(known: str, fingerprint: str) -> clipsearch.Encoder:
        if model is None or model == known:  # loaded when there is something new to encode
            trust = may_load(known, trust_model or model == known)
            return load_text_encoder(
                known, fingerprint, device=device, precision=precision, trust=trust
            )
        return clipsearch.load_encoder(model, device=device, precision=precision)

    try:
        existing = clipsearch.Index.open(path, load=load)
    except IndexNotFoundError:
        new = clipsearch.load_encoder(model or BUNDLED_MODEL, device=device, precision=precision)
        if dim is not None and dim != new.dim:
            raise InvalidInputError(
                f"the vectors have {dim} dimensions, but {new.name} makes vectors of {new.dim}; "
                "name the model that made them with -m MODEL"
            ) from None
        # Another command may have made it meanwhile; the lock then tells which one waits.
        return clipsearch.Index.create(path, new, exist_ok=True)
    try:
        _ = existing.encoder  # what is wrong with it is an error now, not at the first image
    except BaseException:
        existing.close()
        raise
    return existing


def summarise(report: IngestReport) -> list[str]:
    """A report as lines for a person."""
    from ..intake.absence import told

    busy = ", ".join(f"{stage} {share:.0%}" for stage, share in report.busy.items())
    encoded = report.indexed - report.recaptioned
    lines = [f"{encoded:,} images in {report.seconds:.1f} s ({report.images_per_s:.1f}/s): {busy}"]
    counts = {  # each file once, so that they add up
        "new": report.indexed - (report.updated - report.refreshed),
        "unchanged": report.unchanged - report.refreshed - report.moved,
        "duplicate": report.duplicate,
        "updated": report.updated,
        "moved": report.moved,
        "skipped": report.skipped,
    }
    ends = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    if ends:
        removed = f"; {report.pruned:,} removed" if report.pruned else ""
        lines.append(f"of {report.seen:,} files: {ends}{removed}")
    elif report.pruned:
        lines.append(f"{report.pruned:,} removed")
    if report.away:
        lines.append(f"  {told(report.away)}")
    reasons = Counter(skip.reason or "" for skip in report.skips)
    for reason, count in reasons.most_common(10):
        example = next(skip.key for skip in report.skips if skip.reason == reason)
        others = f" and {count - 1} more" if count > 1 else ""
        lines.append(f"  skipped {short_path(example)}{others}: {reason}")
    if ignored := sum(report.ignored_as.values()):
        what = "file that is not an image" if ignored == 1 else "files that are not images"
        kinds = [f"{kind}: {count:,}" for kind, count in report.ignored_as.items()]
        more = [f"{len(kinds) - _MOST_KINDS} other kinds"] if len(kinds) > _MOST_KINDS else []
        named = f" ({', '.join(kinds[:_MOST_KINDS] + more)})" if kinds else ""
        lines.append(f"  skipped {ignored:,} {what}{named}")
    if report.known:
        were = "was" if report.known == 1 else "were"
        lines.append(
            f"  {report.known:,} {were} skipped before (clipsearch info --skipped lists all)"
        )
    return [*lines, *report.notes]


@contextlib.contextmanager
def progress_bar(doing: str = "indexing") -> Iterator[Callable[[Progress], None] | None]:
    """A progress bar with images/s and the remaining time, on a terminal only."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn(doing),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f} images/s"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=None, rate=0.0)

        def show(progress: Progress) -> None:
            bar.update(
                task, completed=progress.seen, total=progress.total, rate=progress.images_per_s
            )

        yield show
