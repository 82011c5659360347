"""What the Search tab shows, as HTML: cards, chips, summary, histogram, one result in full."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from clipsearch import Hit, Item
from clipsearch.engine.columns import as_text
from clipsearch.explore.score_histogram import ScoreSpread
from clipsearch.names import shown

from .meant import letters
from .media import preview_url, thumb_url
from .render import IMAGE, attribute, copy_block, escape, item_name
from .spec import Chip, SearchSpec
from .strings import Words

__all__ = [
    "appended",
    "captions",
    "cards",
    "chip_label",
    "chips_row",
    "detail",
    "gallery",
    "histogram",
    "in_place",
    "summary",
]

_UP = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M7 11v9H3.5v-9zM7 11l4-8c1.7 0 2.6 1 2.3 2.8L12.8 9H19a2 2 0 0 1 2 2.4l-1.4 7A2 2 0 0 1 17.600 20H7" /></svg>'  # noqa: E501 - one drawing


def cards(
    spec: SearchSpec,
    found: Sequence[Hit] | Sequence[Item],
    words: Words,
    hidden: Collection[int] = (),
) -> str:
    """List entries of a gallery; images of `hidden` ids are left out.

    When the collection is only shown, its items have no score, and none can be marked down: what
    is less like something is not yet what anybody looks for.
    """
    parts = []
    ways = (("up", spec.liked), ("down", spec.unliked))[: 1 if spec.is_empty else 2]
    for entry in found:
        item = entry.item if isinstance(entry, Hit) else entry
        name = escape(item_name(item))
        score = ""
        if isinstance(entry, Hit):
            told = (
                words("search.score", score=f"{entry.score:.3f}")
                if entry.percentile is None
                else words(
                    "search.score_share",
                    score=f"{entry.score:.3f}",
                    percent=f"{entry.percentile:.1f}",
                )
            )
            score = f'<span class="cs-score" title="{escape(told)}">{entry.score:.2f}</span>'
        marks = "".join(
            f'<button type="button" class="cs-thumb cs-{way}" data-vote="{way}" '
            f'aria-pressed="{str(item.id in ids).lower()}" '
            f'aria-label="{escape(words(f"search.{way}", name=item_name(item)))}">{_UP}</button>'
            for way, ids in ways
        )
        parts.append(
            f'<li class="cs-card" data-id="{item.id}" data-meant="{letters(item)}">'
            f'<button type="button" class="cs-open" '
            f'aria-label="{escape(words("search.open", name=item_name(item)))}">'
            f"{_image(spec.index, item, hidden)}</button>"
            f'<div class="cs-under"><span class="cs-name" title="{name}">{name}</span>{score}'
            f"{marks}</div></li>"
        )
    return "".join(parts)


def _image(index: str, item: Item, hidden: Collection[int]) -> str:
    if not item.has_original or item.id in hidden:
        return f'<span class="cs-nopicture">{IMAGE}</span>'
    source = thumb_url(index, item.id, item.sha256)
    return f'<img src="{source}" alt="" loading="lazy" decoding="async">'


def gallery(spec: SearchSpec, html: str, words: Words, *, more: bool) -> str:
    """The list of results, with a button for more where there are more."""
    button = (
        f'<button type="button" class="cs-button cs-more">{words("search.show_more")}</button>'
        if more
        else ""
    )
    return (
        f'<ul class="cs-grid" aria-label="{words("search.gallery")}" '
        f'data-link="{escape(spec.link())}">{html}</ul>{button}'
    )


def in_place(spec: SearchSpec, html: str) -> str:
    """A screen or message where the list of results would be, of a search that has a link too."""
    return f'<div data-link="{escape(spec.link())}">{html}</div>'


def chips_row(spec: SearchSpec, words: Words) -> str:
    """The added and subtracted parts, and the field for further ones."""
    parts = ['<div class="cs-chips">']
    for place, chip in enumerate(spec.chips):
        label = escape(chip_label(chip, words))
        sign = "+" if chip.weight > 0 else "\N{MINUS SIGN}"
        flip = words("search.chip_flip" if chip.weight > 0 else "search.chip_unflip", label=label)
        image = chip.thumb
        if chip.kind == "item":
            image = thumb_url(spec.index, int(chip.value))
        image = f'<img src="{escape(image)}" alt="">' if image else ""
        parts.append(
            f'<span class="cs-chip cs-{"plus" if chip.weight > 0 else "minus"}" '
            f'data-place="{place}">'
            f'<button type="button" data-flip aria-label="{flip}">{sign}</button>{image}'
            f'<span class="cs-label">{label}</span>'
            f'<input type="number" min="0.1" max="4" step="0.1" value="{abs(chip.weight):g}" '
            f'aria-label="{words("search.chip_weight", label=label)}">'
            f'<button type="button" data-remove aria-label="'
            f'{words("search.chip_remove", label=label)}">×</button></span>'
        )
    parts.append(
        f'<span class="cs-addchip"><input type="text" maxlength="300" '
        f'aria-label="{words("search.refine_label")}" '
        f'placeholder="{words("search.refine_label")}">'
        f'<button type="button" data-plus>+ {words("search.add")}</button>'
        f'<button type="button" data-minus>\N{MINUS SIGN} {words("search.avoid")}</button></span>'
    )
    if not spec.is_empty or spec.filters:
        parts.append(
            f'<button type="button" class="cs-link" data-clear>{words("search.clear")}</button>'
        )
    return "".join(parts) + "</div>"


def chip_label(chip: Chip, words: Words) -> str:
    """What a chip says."""
    if chip.kind == "text":
        return chip.value
    if chip.kind == "item":
        return chip.label or words("search.chip_item", id=chip.value)
    return chip.label or words("search.chip_picture")


def summary(
    spec: SearchSpec,
    count: str,
    took_ms: float | None,
    words: Words,
    *,
    lines: tuple[str, bool, str] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """How many results in what time, how marks refined them, and lines to copy.

    Args:
        spec: The search.
        count: How many results, in words.
        took_ms: Its time; None for no search.
        words: The language.
        lines: The command, whether it is exactly the same search, and the Python.
        notes: What else there is to say.
    """
    told = [f"<strong>{escape(count)}</strong>"]
    if took_ms is not None:
        told.append(escape(words("search.took", ms=f"{took_ms:.0f}" if took_ms >= 1 else "<1")))
    if spec.filters:
        told.append(escape(words.count("search.filtered", spec.filters)))
    told += map(escape, notes)
    line = f'<p class="cs-count" role="status">{" · ".join(told)}'
    if spec.liked or spec.unliked:
        marks = words("search.refined", up=len(spec.liked), down=len(spec.unliked))
        line += (
            f' · <span class="cs-refined">{marks}</span> '
            f'<button type="button" class="cs-link" data-undo>{words("search.undo")}</button>'
        )
    if lines is None:
        return f'<div class="cs-summary">{line}</p></div>'
    command, exact, python = lines
    inexact = "" if exact else f'<p class="cs-hint">{words("search.inexact")}</p>'
    share = (
        f'<details class="cs-share"><summary>{words("search.share")}</summary><div>'
        f'<button type="button" class="cs-button" data-copy-link>{words("search.copy_link")}'
        f"</button>{copy_block(command, words('search.copy_command'))}{inexact}"
        f"{copy_block(python, words('search.copy_python'))}</div></details>"
    )
    return f'<div class="cs-summary">{line}</p>{share}</div>'


def histogram(spread: ScoreSpread, spec: SearchSpec, words: Words) -> str:
    """The spread of scores over a slider for the least score."""
    top = max(spread.counts, default=0) or 1
    least = spec.min_score
    value = spread.low if not isinstance(least, float) else least
    width = spread.high - spread.low
    step = width / len(spread.counts)
    bars = "".join(
        f'<rect x="{place}" width="0.82" y="{28 - 28 * (count / top) ** 0.5:.2f}" '
        f'height="{28 * (count / top) ** 0.5:.2f}" '
        f'class="{"cs-in" if spread.low + (place + 1) * step > value else "cs-out"}"/>'
        for place, count in enumerate(spread.counts)
        if count
    )
    auto = spec.min_score == "auto"
    shown = "" if least is None or auto else f"≥ {value:.2f}"
    return (
        f'<div class="cs-relevance"><div class="cs-relhead"><label for="cs-least">'
        f"{words('search.relevance')}</label><output>{shown}</output>"
        f'<button type="button" class="cs-link" data-auto aria-pressed="{str(auto).lower()}">'
        f"{words('search.relevance_auto')}</button>"
        + (
            f'<button type="button" class="cs-link" data-off>{words("search.relevance_off")}'
            "</button>"
            if least is not None
            else ""
        )
        + f'</div><svg viewBox="0 0 {len(spread.counts)} 28" preserveAspectRatio="none" '
        f'aria-hidden="true">{bars}</svg><input id="cs-least" type="range" '
        f'min="{spread.low:.3f}" max="{spread.high:.3f}" step="0.001" value="{value:.3f}" '
        f'title="{escape(words("search.relevance_help", n=words.number(spread.sampled)))}"></div>'
    )


def detail(
    spec: SearchSpec,
    item: Item,
    score: float | None,
    words: Words,
    *,
    hidden: bool = False,
    extra: str = "",
) -> str:
    """One result in full, with what can be done from here."""
    rows = [(words("item.score"), f"{score:.3f}" if score is not None else "")]
    path = Path(item.path) if item.path else None
    size = f"{item.width} × {item.height}" if item.width else ""
    if item.size_bytes:
        size += f" · {item.size_bytes / 1024:,.0f} KB"
    place = ""
    if item.latitude is not None and item.longitude is not None:
        place = f"{item.latitude:.4f}, {item.longitude:.4f}"
    rows += [
        (words("item.file"), shown(path.name if path else item.key)),
        (words("item.path"), shown(str(path.parent)) if path else ""),
        (words("item.size"), size),
        (words("item.taken"), (item.taken_at or "").replace("T", " ")),
        (words("item.camera"), item.camera or ""),
        (words("item.place"), place),
        (words("item.tags"), ", ".join(item.tags)),
        (words("item.id"), str(item.id)),
        *((str(key), as_text(value) or "") for key, value in list(item.extra.items())[:12]),
    ]
    table = "".join(
        f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>" for key, value in rows if value
    )
    without = words("search.hidden", index=spec.index) if hidden else words("item.picture_gone")
    source = preview_url(spec.index, item.id, item.sha256)
    image = (
        f'<img src="{source}" alt="{escape(item_name(item))}">'
        if item.has_original and not hidden
        else f'<p class="cs-hint">{escape(without)}</p>'
    )
    actions = "".join(
        f'<button type="button" class="cs-button" data-do="{do}">{words(f"item.{do}")}</button>'
        for do in ("more", "less", "caption", "why")
    )
    name = escape(item_name(item))
    return (
        f'<dialog class="cs-dialog" aria-label="{name}" data-item="{item.id}">'
        f'<div class="cs-stage">{image}'
        f'<button type="button" class="cs-prev" data-step="-1" '
        f'aria-label="{words("item.previous")}">‹</button>'
        f'<button type="button" class="cs-next" data-step="1" '
        f'aria-label="{words("item.next")}">›</button></div>'
        f'<div class="cs-side"><h2>{name}</h2><div class="cs-actions">{actions}</div>'
        f'<div class="cs-extra" role="status">{extra}</div><dl>{table}</dl></div>'
        f'<button type="button" class="cs-closer" data-close aria-label="{words("item.close")}">×'
        "</button></dialog>"
    )


def captions(found: Sequence[tuple[str, float]], words: Words, *, from_index: bool) -> str:
    """Captions or words that fit an image, best first."""
    title = words("item.captions_found" if from_index else "item.words_found")
    entries = "".join(
        f"<li><span>{escape(text)}</span> <span class='cs-score'>{score:.2f}</span></li>"
        for text, score in found
    )
    return f"<h3>{title}</h3><ol>{entries}</ol>"


def appended(html: str, link: str, *, more: bool) -> str:
    """A further page of results for the script that appends it."""
    return f'<div data-page="{attribute({"html": html, "link": link, "more": more})}"></div>'
