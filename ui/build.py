"""The dialog that adds images: of a folder or table below an allowed root, or from the browser."""

from __future__ import annotations

import re
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from clipsearch import ClipSearchError, Index, IngestReport
from clipsearch.files import expanded
from clipsearch.locations import home, index_path
from clipsearch.models import BUNDLED_MODEL
from clipsearch.names import shown

from .context import QUIET, ROUTED, Context, html
from .given_images import read_images
from .jobs import Job
from .problems import PageError, explained
from .render import escape, message
from .spec import from_link
from .strings import Words

__all__ = ["Desk", "allowed_source", "page"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_THIS, _NEW = "this", "new"  # collections to add to
_FIRST = "photos"  # the name of the first one, unless another is typed
_UPLOADS = ".uploads"  # beside the indexes; hidden, so that it is never taken for one
_QUALITY = 93
_SHOWN_REASONS = 8
_STAGES = ("decode", "encode", "write", "read")  # that have a name in every language


def page(context: Context, router: gr.HTML) -> None:
    """Lay out the tab and connect it."""
    words, settings = context.words, context.settings
    desk = Desk(context)
    html(f'<p class="cs-lead">{words("build.lead")}</p>')
    goal = gr.Radio([], label=words("build.goal"), elem_id="cs-add-goal")
    name = gr.Textbox(
        label=words("build.name"),
        info=words("build.name_info"),
        max_lines=1,
        elem_id="cs-build-name",
    )
    with gr.Row(elem_classes="cs-two"):
        with gr.Column(min_width=300):
            html(f'<h2 class="cs-h">{words("build.from_server")}</h2>')
            if settings.roots:
                root = gr.Dropdown(
                    [(str(path), str(path)) for path in settings.roots],
                    value=str(settings.roots[0]),
                    label=words("build.root"),
                )
                below = gr.Textbox(
                    label=words("build.below"), info=words("build.below_info"), max_lines=1
                )
                start = gr.Button(words("build.start"), variant="primary")
            else:
                html(message(words("build.no_roots"), kind="info"))
        with gr.Column(min_width=300):
            html(f'<h2 class="cs-h">{words("build.from_browser")}</h2>')
            drop = html(_uploads(words), "uploads.js", elem_id="cs-build-drop")
            html(f'<p class="cs-hint">{words("build.drop_info")}</p>')
    problem = html(elem_id="cs-build-problem")
    status = html(elem_id="cs-job")
    # Not within the status, which is redrawn while it may be clicked.
    cancel = gr.Button(words("build.cancel"), visible=False, elem_id="cs-build-cancel")
    timer = gr.Timer(0.7, active=False)
    shown = [status, cancel, timer]
    outputs = [problem, *shown]

    router.to_build(desk.opened, router, [goal, name, *shown], **ROUTED)
    goal.input(desk.choose, [goal, router], name, **QUIET)
    timer.tick(desk.show, None, shown, **QUIET)
    if settings.roots:
        begun = start.click(desk.start, [name, root, below], outputs, **QUIET)
        begun.then(None, None, None, js="() => { cs.job.ask(); return []; }", **QUIET)
    drop.given(desk.show, None, shown, **QUIET)
    cancel.click(desk.cancel, None, shown, **QUIET)


def allowed_source(roots: tuple[Path, ...], root: str, below: str) -> Path:
    """A path below one of the allowed roots, links followed.

    Raises:
        PageError: The root is not allowed, or the path leads out of it.
    """
    base = next((path for path in roots if str(path) == root), None)
    if base is None or "\0" in below:
        raise PageError("build.not_allowed")
    base = expanded(base).resolve()
    path = (base / below.strip().lstrip("/")).resolve()
    if not path.is_relative_to(base):
        raise PageError("build.leads_out")
    return path


class Desk:
    """Starts jobs and shows the latest."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._words = context.words
        self._jobs = context.jobs

    def opened(self, search: str) -> Any:
        """Add to the collection that the address names, or make the first one."""
        names = self._context.library.names()
        index = from_link(search[:20_000], names).index
        new = (self._words("build.goal_new"), _NEW)
        if index not in names:
            first = gr.Textbox("" if names else _FIRST, visible=True)
            return gr.Radio([new], value=_NEW), first, *self.show()
        this = (self._words("build.goal_this", name=shown(index)), _THIS)
        return (
            gr.Radio([this, new], value=_THIS),
            gr.Textbox(index, visible=False),
            *self.show(),
        )

    def choose(self, goal: str, search: str) -> gr.Textbox:
        """Ask for the name of a new collection."""
        index = from_link(search[:20_000], self._context.library.names()).index
        return gr.Textbox("" if goal == _NEW else index, visible=goal == _NEW)

    def start(self, name: str, root: str, below: str) -> Any:
        """Index a folder or table of the server's."""
        try:
            source = allowed_source(self._context.settings.roots, root, below or "")
            if not source.exists():
                raise PageError("build.nothing_there", path=below or root)
            self._launch(name, source)
        except ClipSearchError as exc:
            return message(explained(exc, self._words)), gr.skip(), gr.skip(), gr.skip()
        return ("", *self.show())

    def keep(self, name: str, pictures: Sequence[Any]) -> tuple[int, str]:
        """Keep images of the visitor beside the indexes, to be indexed by `start_kept`.

        Returns:
            How many could be read, and what is wrong with the others, in words.

        Raises:
            PageError: The name is none, there are too many images, or another job is running.
            OSError: They cannot be stored.
        """
        self._check_name(name)
        if self._jobs.is_running:  # before anything is kept that would be sent again
            raise PageError("build.busy")
        images, problem = read_images(pictures, self._context.settings, self._words)
        if images:
            self._kept(name).mkdir(parents=True, exist_ok=True)
        for image in images:
            stem = re.sub(r"[^\w-]+", "_", Path(image.name).stem)[:60] or "picture"
            path = self._kept(name) / f"{stem}-{secrets.token_hex(3)}.jpg"
            if image.caption:  # before the image, with which it is read
                path.with_suffix(".txt").write_text(image.caption, encoding="utf-8")
            image.image.save(path, "JPEG", quality=_QUALITY)
        return len(images), problem

    def start_kept(self, name: str) -> None:
        """Index what `keep` has kept.

        Raises:
            PageError: The name is none, nothing is kept, or another job is running.
        """
        self._check_name(name)
        if not self._kept(name).is_dir():
            raise PageError("build.nothing_there", path=name)
        self._launch(name, self._kept(name))

    def _kept(self, name: str) -> Path:
        return home() / _UPLOADS / name.strip()

    def _check_name(self, name: str) -> None:
        if not _NAME.fullmatch(name.strip()):
            raise PageError("build.bad_name")

    def _launch(self, name: str, source: Path) -> None:
        self._check_name(name)
        library, name = self._context.library, name.strip()

        def open_index() -> Index:
            if name not in library.names():
                model = library.hub.encoder(BUNDLED_MODEL)
                Index.create(index_path(name), model, exist_ok=True).close()
                library.admit(name)
            return library.index(name)

        started = self._jobs.start(
            name, source.name, open_index, lambda index, tell: index.add(source, progress=tell)
        )
        if not started:
            raise PageError("build.busy")

    def cancel(self) -> Any:
        """Stop the running job; what was committed stays."""
        self._jobs.cancel()
        return self.show()

    def show(self) -> tuple[str, gr.Button, gr.Timer]:
        """The latest job, whether it can be cancelled, and whether to look again soon."""
        job = self._jobs.job
        running = self._jobs.is_running
        shown = "" if job is None else _job(job, self._words)
        return shown, gr.Button(visible=running), gr.Timer(active=running)


def _uploads(words: Words) -> str:
    """Where images are dropped or chosen, and get captions before they are sent."""
    label = words("build.drop")
    return (
        f'<label class="cs-drop cs-drop-large"><input type="file" accept="image/*" multiple '
        f'aria-label="{label}"><strong>{label}</strong></label><ul class="cs-uploads"></ul>'
        f'<button type="button" class="cs-button cs-primary" data-send hidden></button>'
    )


def _job(job: Job, words: Words) -> str:
    """One job: a bar while it runs, what it did when it is over."""
    head = f"<h2 class='cs-h'>{escape(words(f'build.state_{job.state}', name=job.name))}</h2>"
    parts = ['<div class="cs-job" role="status">', head]
    progress = job.progress
    if job.state == "running":
        seconds = time.monotonic() - job.started
        if progress is None:
            parts.append(f'<p class="cs-hint">{words("build.preparing")}</p><progress></progress>')
        else:
            total = progress.total
            limits = f' max="{total}" value="{progress.seen}"' if total else ""
            told = words(
                "build.rate",
                seen=words.number(progress.seen),
                total=words.number(total) if total else "?",
                rate=f"{progress.images_per_s:.1f}",
                seconds=f"{seconds:.0f}",
            )
            parts.append(f'<progress aria-label="{words("build.progress")}"{limits}></progress>')
            parts.append(f"<p>{told}</p>")
    if job.state == "failed":
        parts.append(message(job.problem))
    if job.state == "cancelled":
        parts.append(f"<p>{words('build.kept', n=words.number(job.after - job.before))}</p>")
    if job.report is not None:
        parts.append(_report(job.report, job.name, words))
    return "".join(parts) + "</div>"


def _report(report: IngestReport, name: str, words: Words) -> str:
    """What a job did."""
    counts = {
        "indexed": report.indexed,
        "unchanged": report.unchanged,
        "duplicate": report.duplicate,
        "skipped": report.skipped,
        **({"away": report.away} if report.away else {}),
    }
    figures = "".join(
        f"<div><dt>{words(f'build.{key}')}</dt><dd>{words.number(n)}</dd></div>"
        for key, n in counts.items()
    )
    parts = [f'<dl class="cs-figures">{figures}</dl>']
    rate, seconds = f"{report.images_per_s:.1f}", f"{report.seconds:.1f}"
    parts.append(f"<p>{words('build.speed', rate=rate, seconds=seconds)}")
    if report.busy:
        stage, share = max(report.busy.items(), key=lambda entry: entry[1])
        said = words(f"build.stage_{stage}") if stage in _STAGES else stage
        parts.append(" " + words("build.bottleneck", stage=said, share=f"{share:.0%}"))
    parts.append("</p>")
    reasons = Counter(skip.reason or "" for skip in report.skips)
    if reasons:
        examples = {
            skip.reason or "": shown(Path(skip.key).name) for skip in reversed(report.skips)
        }
        rows = "".join(
            f"<li>{words.number(n)} × {escape(reason)} "
            f"<small>({escape(examples[reason])})</small></li>"
            for reason, n in reasons.most_common(_SHOWN_REASONS)
        )
        parts.append(f"<h3>{words('build.reasons')}</h3><ul>{rows}</ul>")
    parts.append(f'<a class="cs-button" href="?index={quote(name)}">{words("build.search_it")}</a>')
    return "".join(parts)
