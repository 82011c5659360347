"""The Photos tab: the results that the page's script shows."""

from __future__ import annotations

import gradio as gr

from .context import QUIET, Context, html
from .render import attribute, icon
from .spec import SORTS
from .strings import STRINGS, Words

__all__ = ["page"]

_FILLED = "() => cs.search.filled()"


def page(context: Context, router: gr.HTML) -> None:
    """Lay out the tab and connect it."""
    html(_results(context.words), "gallery.js", elem_id="cs-gallery")
    router.to_search(None, None, None, js=_FILLED, **QUIET)


def _results(words: Words) -> str:
    """The frame that the script fills; its words are with it."""
    texts = {
        key.removeprefix("view."): words(key)
        for key in STRINGS
        if key.startswith(("view.", "item.", "facet.", "search.up", "search.down", "search.open"))
    }
    tools = "".join(
        f'<button type="button" class="cs-tool" data-panel="{panel}" aria-expanded="false" '
        f'aria-controls="{target}" aria-label="{words(key)}" title="{words(key)}">{icon}'
        f"<span>{words(key)}</span></button>"
        for panel, target, key, icon in (
            ("filters", "cs-facets", "search.filters", _FILTER),
            ("relevance", "cs-relevance", "search.relevance", _BARS),
            ("share", "cs-share", "search.share", _SHARE),
        )
    )
    return (
        f'<div class="cs-withfacets"><aside id="cs-facets" aria-label="{words("search.filters")}">'
        '<div class="cs-facetbody"></div></aside>'
        f'<div class="cs-results" data-words="{attribute(texts)}">'
        '<div class="cs-progress" aria-hidden="true"></div>'
        '<div id="cs-chips"></div>'
        '<div class="cs-bar"><div id="cs-summary"><p class="cs-count" role="status"></p></div>'
        f'<div class="cs-tools">{_sorts(words)}{tools}<button type="button" class="cs-tool" '
        f'data-numbers aria-pressed="false" aria-label="{words("search.numbers")}" '
        f'title="{words("search.numbers")}">{_NUMBERS}</button>'
        f'<label class="cs-size">{_SIZE}<input type="range" min="90" max="420" step="10" '
        f'aria-label="{words("search.size")}" title="{words("search.size")}"></label></div></div>'
        '<div id="cs-relevance" hidden></div><div id="cs-share" hidden></div>'
        '<div class="cs-notice"></div>'
        f'<ul class="cs-justified" aria-label="{words("search.gallery")}"></ul>'
        f'<button type="button" class="cs-button cs-totop" hidden>{words("search.to_top")}</button>'
        '</div><div id="cs-timeline" hidden></div></div>'
    )


def _sorts(words: Words) -> str:
    """The orders; the first is by relevance, or newest first where nothing is asked."""
    options = "".join(f'<option value="{name}">{words(f"facet.{name}")}</option>' for name in SORTS)
    return (
        f'<label class="cs-sort"><span>{words("facet.sort")}</span><select>'
        f'<option value="">{words("facet.best")}</option>{options}</select></label>'
    )


_FILTER = icon("M4 6h16M7 12h10M10 18h4")
_BARS = icon("M5 20v-5M10 20V9M15 20v-8M20 20V4")
_SHARE = icon("M9 12h6M8 8H6a4 4 0 0 0 0 8h2M16 8h2a4 4 0 0 1 0 8h-2")
_NUMBERS = icon("M5 9h14M5 15h14M10 4L8 20M16 4l-2 16")
_SIZE = icon("M4 4h7v7H4zM14 4h6v7h-6zM4 14h5v6H4zM12 14h8v6h-8z")
