"""What stands around the results of a search, as HTML: chips, summary, histogram."""

from __future__ import annotations

import math
from collections.abc import Sequence

from clipsearch.explore.score_histogram import ScoreSpread

from .filters import label
from .media import thumb_url
from .render import copy_block, escape
from .spec import Chip, SearchSpec, facet_field
from .strings import Words

__all__ = ["asked_for", "chip_label", "chips_row", "histogram", "share", "summary"]


_STEPS = (0.01, 0.02, 0.05)  # of the slider for the least score
_MOST_STEPS = 40  # from one end to the other


def chips_row(spec: SearchSpec, words: Words) -> str:
    """The added and subtracted parts, and the field for further ones."""
    parts = ['<div class="cs-chips">']
    for place, chip in enumerate(spec.chips):
        label = escape(chip_label(chip, words))
        sign = "+" if chip.weight > 0 else "\N{MINUS SIGN}"
        flip = words("search.chip_flip" if chip.weight > 0 else "search.chip_unflip", label=label)
        image = ""
        if chip.kind == "item":
            image = f'<img src="{escape(thumb_url(spec.index, int(chip.value)))}" alt="">'
        parts.append(
            f'<span class="cs-chip cs-{"plus" if chip.weight > 0 else "minus"}" '
            f'data-place="{place}" data-kind="{chip.kind}" data-value="{escape(chip.value)}">'
            f'<button type="button" data-flip aria-label="{flip}">{sign}</button>{image}'
            f'<span class="cs-label">{label}</span>'
            f'<input type="number" min="0.1" max="4" step="0.1" value="{abs(chip.weight):g}" '
            f'aria-label="{words("search.chip_weight", label=label)}">'
            f'<button type="button" data-remove aria-label="'
            f'{words("search.chip_remove", label=label)}">×</button></span>'
        )
    parts += [_filter_chip(words, *one) for one in _filters(spec, words)]
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


def asked_for(spec: SearchSpec, words: Words) -> str:
    """The search in a few words."""
    parts = [spec.text] if spec.text else []
    for chip in spec.chips:
        sign = ("+ " if parts else "") if chip.weight > 0 else "\N{MINUS SIGN} "
        parts.append(f"{sign}{chip_label(chip, words)}")
    if spec.liked or spec.unliked:
        parts.append(words("search.refined", up=len(spec.liked), down=len(spec.unliked)))
    return " ".join(parts)


def _filters(spec: SearchSpec, words: Words) -> list[tuple[str, str, str]]:
    """The filters: the field of the address, its value, and what it says."""
    found = [
        ("f", facet_field(name, value), f"{words(f'facet.{name}')}: {label(name, value, words)}")
        for name, value in spec.facets
    ]
    said = (
        ("from", spec.date_from, "facet.since"),
        ("to", spec.date_to, "facet.until"),
        ("width", str(spec.min_width or ""), "facet.wide"),
        ("where", spec.where_text.strip(), "facet.where"),
        *(("tag", tag, "facet.has_tag") for tag in spec.tags),
        ("camera", spec.camera, "facet.has_camera"),
        ("ids", "-".join(map(str, spec.chosen)), "facet.selection"),
        ("selection", spec.selection, "facet.selection"),
    )
    return [*found, *((name, value, words(key, value=value)) for name, value, key in said if value)]


def _filter_chip(words: Words, field: str, value: str, text: str) -> str:
    return (
        f'<span class="cs-filterchip"><span class="cs-label">{escape(text)}</span><button '
        f'type="button" data-unfilter="{field}" data-value="{escape(value)}" aria-label="'
        f'{escape(words("search.chip_remove", label=text))}">×</button></span>'
    )


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
    notes: Sequence[str] = (),
) -> str:
    """How many results in what time, and how marks refined them.

    Args:
        spec: The search.
        count: How many results, in words.
        took_ms: Its time; None for no search.
        words: The language.
        notes: What else there is to say.
    """
    told = [f"<strong>{escape(count)}</strong>"]
    if took_ms is not None:
        took = words("search.took", ms=f"{took_ms:.0f}" if took_ms >= 1 else "<1")
        told[0] += f'<span class="cs-took"> · {escape(took)}</span>'
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
    return f"{line}</p>"


def share(command: str, python: str, words: Words, *, exact: bool) -> str:
    """Lines to copy that search the same elsewhere.

    Args:
        command: The command.
        python: The Python.
        words: The language.
        exact: Whether the command is exactly the same search.
    """
    inexact = "" if exact else f'<p class="cs-hint">{words("search.inexact")}</p>'
    return (
        f'<div class="cs-share"><button type="button" class="cs-button" data-copy-link>'
        f"{words('search.copy_link')}</button>{copy_block(command, words('search.copy_command'))}"
        f"{inexact}{copy_block(python, words('search.copy_python'))}</div>"
    )


def histogram(spread: ScoreSpread, spec: SearchSpec, words: Words) -> str:
    """The spread of scores over a slider for the least score."""
    top = max(spread.counts, default=0) or 1
    least = spec.min_score
    width = spread.high - spread.low
    step = next(step for step in _STEPS if width / step <= _MOST_STEPS)
    low, high = math.floor(spread.low / step) * step, math.ceil(spread.high / step) * step
    value = low if not isinstance(least, float) else least
    bar = width / len(spread.counts)
    bars = "".join(
        f'<rect x="{place}" width="0.82" y="{28 - 28 * (count / top) ** 0.5:.2f}" '
        f'height="{28 * (count / top) ** 0.5:.2f}" '
        f'class="{"cs-in" if spread.low + (place + 1) * bar > value else "cs-out"}"/>'
        for place, count in enumerate(spread.counts)
        if count
    )
    auto = spec.min_score == "auto"
    left = sum(
        count
        for place, count in enumerate(spread.counts)
        if spread.low + (place + 0.5) * bar >= value
    )
    share, figure = "", ""
    if least is not None and not auto:
        share = f"≈ {100 * left / max(1, spread.sampled):.2g} %"
        figure = f" ≥ {value:.2f}"
    return (
        f'<div class="cs-relevance"><div class="cs-relhead"><label for="cs-least">'
        f"{words('search.relevance')}</label><output><span>{share}</span>"
        f'<span class="cs-figure">{figure}</span></output>'
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
        f'min="{low:.2f}" max="{high:.2f}" step="{step}" value="{value:.3f}" '
        f'data-low="{spread.low}" data-bar="{bar}" '
        f'data-counts="{" ".join(map(str, spread.counts))}" '
        f'title="{escape(words("search.relevance_help", n=words.number(spread.sampled)))}"></div>'
    )
