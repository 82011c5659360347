"""An image in patches, with where each of them looks, as data for the script that shows it."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt

from clipsearch.explore.attention import Attention, ToyAttention

from ..dataurls import jpeg_url
from ..render import attribute, escape
from ..scripts import script_url
from ..strings import Words

__all__ = ["stage"]

_TOP = 4  # patches that are named
_WORDS = (
    "query",
    "key",
    "sum",
    "itself",
    "rest",
    "patch",
    "at",
    "looks",
    "summary",
    "score",
    "share",
    "reads",
)


def stage(
    words: Words,
    found: Attention,
    looks: npt.NDArray[np.float64],
    name: str,
    *,
    toy: ToyAttention | None = None,
    head: int | None = None,
) -> str:
    """The image as HTML.

    Args:
        words: The language.
        found: What was looked into.
        looks: As `found.looks` gives them.
        name: Of the image.
        toy: The toy that this is of, if it is one.
        head: Its head, from 0; None for the mean of both.
    """
    rows, columns = found.grid
    patches = looks[:, found.before :]  # [patches + 1, patches]
    peaks = patches.max(axis=1, keepdims=True)
    heat = np.round(255 * patches / np.where(peaks > 0, peaks, 1)).astype(np.uint8)
    top = np.argsort(-patches, axis=1, kind="stable")[:, :_TOP]
    shares = np.take_along_axis(patches, top, axis=1)
    data: dict[str, Any] = {
        "script": script_url("learn/attention.js"),
        "rows": rows,
        "columns": columns,
        "heat": base64.b64encode(heat.tobytes()).decode(),
        "top": top.tolist(),
        "shares": shares.round(4).tolist(),
        "rest": looks[:, : found.before].sum(axis=1).round(4).tolist() if found.before else None,
        "words": {key: words(f"learn.a_{key}") for key in _WORDS},
    }
    if toy is not None:
        if head is not None:
            scores = np.take_along_axis(toy.scores[head], top[:-1], axis=1)
            keys = toy.keys[head]
            data["scores"] = scores.round(2).tolist()
            data["keys"] = [_vector(key) for key in keys]
            data["queries"] = [_vector(toy.sharpness * key) for key in keys]
            data["sums"] = [_amount(total) for total in np.exp(toy.scores[head]).sum(axis=1)]
        data["colors"] = _colors(toy.values)
        data["mixed"] = _colors(toy.mixed(head))
    has_summary = bool(looks[-1].any())
    summary = (
        f'<button type="button" class="cs-button" data-summary aria-pressed="false">'
        f"{words('learn.a_summary_go')}</button>"
        if has_summary
        else ""
    )
    alt = words("learn.a_alt", name=escape(name), rows=rows, columns=columns)
    return (
        f'<div class="cs-attention" data-attention="{attribute(data)}">'
        f'<div class="cs-patches" role="application" tabindex="0" aria-label="{alt}">'
        f'<img src="{_url(found)}" alt=""><canvas aria-hidden="true"></canvas>'
        '<i aria-hidden="true"></i></div>'
        f'<div class="cs-looks"><p class="cs-hint">{words("learn.a_how")}</p>{summary}'
        '<div role="status"></div>'
        f'<div class="cs-legend" aria-hidden="true"><span>{words("learn.a_less")}</span><i></i>'
        f"<span>{words('learn.a_more')}</span></div></div></div>"
    )


def _vector(values: npt.NDArray[np.float64]) -> str:
    """A vector to read, as a tuple of rounded numbers."""
    told = "; ".join(f"{value:.2f}" for value in values + 0.0)
    return f"({told})".replace("-", "\N{MINUS SIGN}")


def _amount(total: float) -> str:
    """A number above 0 with about four digits."""
    if total < 1e5:
        return f"{total:.0f}" if total >= 1000 else f"{total:.1f}"
    digits, _, power = f"{total:.2e}".partition("e")
    return f"{digits} × 10^{int(power)}"


def _colors(values: npt.NDArray[np.float64]) -> list[str]:
    return ["#" + bytes(color).hex() for color in np.round(255 * values).astype(np.uint8)]


def _url(found: Attention) -> str:
    buffer = io.BytesIO()
    found.image.save(buffer, "JPEG", quality=86)
    return jpeg_url(buffer.getvalue())
