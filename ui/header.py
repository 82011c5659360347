"""The top of the page: the collection, the line of search, and the way to add images."""

from __future__ import annotations

import gradio as gr

from .context import Context
from .render import icon

__all__ = ["header"]

_LOGO = (
    '<svg viewBox="0 0 32 32" width="30" height="30" aria-hidden="true"><rect x="3" y="5" '
    'width="20" height="16" rx="4" fill="none" stroke="currentColor" stroke-width="2.4"/><path '
    'd="M6 18l5-6 4 4 3-3 3 4" fill="none" stroke="currentColor" stroke-width="2.2" '
    'stroke-linejoin="round" stroke-linecap="round"/><circle cx="22" cy="21" r="5.4" '
    'fill="var(--cs-page)" stroke="currentColor" stroke-width="2.4"/><path d="M26 25l3.6 3.6" '
    'stroke="currentColor" stroke-width="2.8" stroke-linecap="round"/></svg>'
)
_MOON = icon("M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z")
_CAMERA = icon(
    "M4 8h3l2-3h6l2 3h3a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V9a1 1 0 0 1 1-1z"
    "M12 10a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7z"
)
_LENS = icon("M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l5 5")
_PLUS = icon("M12 5v14M5 12h14")


def header(context: Context) -> gr.HTML:
    """Lay it out; its script fills it with what the address says."""
    words = context.words
    other = "es" if words.language == "en" else "en"
    add = (
        f'<button type="button" class="cs-button cs-primary" id="cs-add" data-add>{_PLUS}'
        f"<span>{words('add.open')}</span></button>"
        if context.settings.may_build
        else ""
    )
    return gr.HTML(
        f'<header class="cs-header"><a class="cs-skip" href="#cs-tabs">{words("skip")}</a>'
        f'<a class="cs-brand" href="./">{_LOGO}<h1>clipsearch</h1></a>'
        f'<span id="cs-index" hidden><select aria-label="{words("search.index")}"></select></span>'
        '<div class="cs-searchline"><form id="cs-query" role="search">'
        '<input type="search" enterkeyhint="search" '
        f'autocomplete="off" maxlength="500" aria-label="{words("search.label")}" '
        f'placeholder="{words("search.placeholder")}">'
        f'<button type="submit" class="cs-tool" id="cs-go" '
        f'aria-label="{words("search.go")}" title="{words("search.go")}">{_LENS}</button></form>'
        f'<span id="cs-picture"><label class="cs-tool cs-drop" title="{words("search.picture")}">'
        f'<input type="file" accept="image/*" aria-label="{words("search.picture")}">{_CAMERA}'
        "</label></span></div>"
        f'<button type="button" id="cs-working" data-add hidden><i></i><span></span></button>{add}'
        f'<a class="cs-pill" data-cs-lang="{other}" lang="{other}" href="?lang={other}" '
        f'aria-label="{words("other_language")}" title="{words("other_language")}">'
        f'{other.upper()}</a><button type="button" class="cs-pill" data-cs-theme '
        f'aria-label="{words("theme")}" title="{words("theme")}">{_MOON}</button></header>',
        apply_default_css=False,
        elem_id="cs-header",
        js_on_load="cs.header.mount(element);",
    )
