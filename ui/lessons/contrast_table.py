"""The table of a batch in training: cosines, probabilities, what is pulled and what is pushed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from clipsearch.explore.contrast import BatchLoss

from ..render import escape
from ..strings import Words

__all__ = ["batch_table"]

_LEAST = 0.005  # of a force that is shown
_WIDTH, _HEIGHT = 220, 44  # pixels of the course of the loss


def batch_table(
    words: Words,
    found: BatchLoss,
    captions: Sequence[str],
    thumbs: Sequence[str],
    names: Sequence[str],
    losses: Sequence[float],
    kind: str,
) -> str:
    """A batch and its loss as HTML.

    Args:
        words: The language.
        found: The loss.
        captions: Of each image, in order.
        thumbs: Addresses of the images.
        names: Of the images.
        losses: Of the steps so far; empty before the first.
        kind: "softmax" or "sigmoid".
    """
    heads = "".join(f'<th scope="col"><span>{escape(text)}</span></th>' for text in captions)
    rows = "".join(
        f'<tr><th scope="row"><img src="{thumb}" alt="{escape(name)}"></th>'
        + "".join(_cell(words, found, row, column, kind) for column in range(len(captions)))
        + f'<td class="cs-rowloss">{found.image_losses[row]:.2f}</td></tr>'
        for row, (thumb, name) in enumerate(zip(thumbs, names, strict=True))
    )
    foot = "".join(f"<td>{loss:.2f}</td>" for loss in found.text_losses)
    key = "".join(
        f'<span class="cs-{way}">{_arrows(error)} {words(f"learn.c_{way}")}</span>'
        for way, error in (("pull", -0.8), ("push", 0.8))
    )
    help_ = words(f"learn.c_help_{kind}")
    caption = words(f"learn.c_table_{kind}")
    return (
        f"{_loss(words, found, losses, kind)}"
        f'<div class="cs-tablebox" role="region" aria-label="{caption}" tabindex="0">'
        f'<table class="cs-table cs-batch"><caption>{caption}</caption>'
        f'<thead><tr><td></td>{heads}<th scope="col">{words("learn.c_rowloss")}</th></tr></thead>'
        f'<tbody>{rows}</tbody><tfoot><tr><th scope="row">{words("learn.c_columnloss")}</th>'
        f"{foot}<td></td></tr></tfoot></table></div>"
        f'<p class="cs-hint cs-forcekey">{key}</p><p class="cs-hint">{help_}</p>'
    )


def _cell(words: Words, found: BatchLoss, row: int, column: int, kind: str) -> str:
    error = float(found.errors[row, column])
    way = "pull" if error < 0 else "push"
    by_image, by_text = found.by_image[row, column], found.by_text[row, column]
    chances = (
        f'<span><i aria-hidden="true">→</i><em>{words("learn.c_of_row")}</em> {_percent(by_image)}'
        f'</span><span><i aria-hidden="true">↓</i><em>{words("learn.c_of_column")}</em> '
        f"{_percent(by_text)}</span>"
        if kind == "softmax"
        else f"<span>{_percent(by_image)}</span>"
    )
    return (
        f'<td class="cs-{way}{" cs-pair" if row == column else ""}" '
        f'style="--force:{abs(error):.2f}"><b>{found.cosines[row, column]:.3f}</b>{chances}'
        f"<small>{_arrows(error)}<em>{words(f'learn.c_{way}')}</em> {abs(error):.2f}</small></td>"
    )


def _percent(chance: float) -> str:
    return f"{100 * chance:.0f} %" if chance >= 0.095 else f"{100 * chance:.1f} %"


def _arrows(error: float) -> str:
    """Two arrows, as long as the force: towards each other where it pulls together."""
    if abs(error) < _LEAST:
        return ""
    length = 4 + 12 * min(1.0, abs(error))
    tail, tip = (1.0, length) if error < 0 else (length, 1.0)
    back = tip - 3 if error < 0 else tip + 3
    one = f"M{tail:.1f} 6H{tip:.1f}M{back:.1f} 3L{tip:.1f} 6L{back:.1f} 9"
    width = 2 * length + 4
    return (
        f'<svg class="cs-arrows" viewBox="0 0 {width:.0f} 12" width="{width:.0f}" height="12" '
        f'aria-hidden="true"><path d="{one}"/>'
        f'<path transform="matrix(-1 0 0 1 {width:.0f} 0)" d="{one}"/></svg>'
    )


def _loss(words: Words, found: BatchLoss, losses: Sequence[float], kind: str) -> str:
    size = len(found.cosines)
    parts = (
        words(
            "learn.c_parts",
            images=f"{found.image_losses.mean():.2f}",
            texts=f"{found.text_losses.mean():.2f}",
            n=size,
            chance=f"{math.log(size):.2f}",
        )
        if kind == "softmax"
        else words("learn.c_parts_sigmoid", n=size)
    )
    course = ""
    if losses:
        told = words(
            "learn.c_course", n=len(losses) - 1, first=f"{losses[0]:.2f}", last=f"{losses[-1]:.2f}"
        )
        course = f"<figure>{_course(losses)}<figcaption>{told}</figcaption></figure>"
    return (
        f'<div class="cs-loss"><p role="status"><span>{words("learn.c_loss_now")}</span> '
        f"<b>{found.loss:.2f}</b></p><p>{parts}</p>{course}</div>"
    )


def _course(losses: Sequence[float]) -> str:
    top = max(*losses, 1e-9)
    step = _WIDTH / max(len(losses) - 1, 1)
    points = " ".join(
        f"{place * step:.1f},{2 + (_HEIGHT - 4) * (1 - loss / top):.1f}"
        for place, loss in enumerate(losses)
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'aria-hidden="true"><polyline points="{points}"/></svg>'
    )
