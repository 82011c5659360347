"""The Curate tab: near-duplicates, weak pairs and outliers, compared and marked."""

from __future__ import annotations

import gradio as gr

from clipsearch.engine.curation import KINDS

from .context import QUIET, Context, html
from .curated import LOOKS
from .render import attribute
from .scripts import script_url
from .strings import Words

__all__ = ["page"]

_SCRIPTED = (  # words that the script shows
    "all", "auto", "blink", "close", "compare", "compare_title", "difference", "group",
    "leader_help", "mark", "next", "none_left", "open", "pause", "play", "previous", "rest",
    "side", "slide", "slider",
)  # fmt: skip

# The script asks for what the address names.
_TOLD = "() => { window.dispatchEvent(new Event('cs:curate')); return []; }"


def page(context: Context, router: gr.HTML) -> None:
    """Lay out the tab and connect it."""
    html(_frame(context.words), "curate.js", elem_id="cs-curate")
    router.to_curate(None, None, None, js=_TOLD, **QUIET)


def _frame(words: Words) -> str:
    """The controls and the frame that the script fills; its words are with it."""
    data = {
        "script": script_url("curate/tab.js"),
        "words": {key: words(f"curate.{key}") for key in _SCRIPTED},
    }
    looks = "".join(
        f'<button type="button" class="cs-look" data-look="{look}" aria-pressed="false">'
        f"{words(f'curate.{look}')}</button>"
        for look in LOOKS
    )
    kinds = "".join(
        f'<label><input type="checkbox" data-kind="{kind}"> {words(f"curate.kind_{kind}")}</label>'
        for kind in KINDS
    )
    help_ = words("curate.kinds_help")
    return (
        f'<div class="cs-curate" data-curate="{attribute(data)}">'
        '<div class="cs-progress" aria-hidden="true"></div>'
        f'<div class="cs-curatebar"><div class="cs-looks" role="group" '
        f'aria-label="{words("curate.what")}">{looks}</div>'
        f'<fieldset class="cs-kinds" title="{help_}"><legend>{words("curate.kinds")}</legend>'
        f'{kinds}<label class="cs-from">{words("curate.threshold")} '
        '<input type="range" min="0.5" max="1" step="0.01"><output></output></label></fieldset>'
        "</div>"
        '<div class="cs-curatehead"><p class="cs-count" role="status"></p>'
        '<div class="cs-curatetools">'
        f'<button type="button" class="cs-button" data-rest hidden>{words("curate.mark_rest")}'
        f"</button>"
        f'<span class="cs-lists" title="{words("curate.list_help")}" hidden>'
        f"{words('curate.list')} "
        f'<button type="button" class="cs-button" data-list="csv" '
        f'aria-label="{words("curate.list")}: CSV">CSV</button>'
        f'<button type="button" class="cs-button" data-list="txt" '
        f'aria-label="{words("curate.list")}: TXT">TXT</button></span>'
        f'<span class="cs-hint">{words("curate.safe")}</span></div></div>'
        '<div class="cs-curatenotice"></div><div class="cs-curated"></div>'
        '<div class="cs-curatemore" aria-hidden="true"></div></div>'
    )
