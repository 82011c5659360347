"""Pieces of HTML that several tabs show; whatever comes from outside is escaped here."""

from __future__ import annotations

import html
from pathlib import Path

from clipsearch import Item
from clipsearch.names import json_text, shown

from .library import Library
from .problems import CollectionGoneError, explained
from .strings import Words

__all__ = [
    "IMAGE",
    "attribute",
    "blank",
    "copy_block",
    "escape",
    "header",
    "item_name",
    "message",
    "model_screen",
    "screen",
    "state_screen",
]

_LOGO = (
    '<svg viewBox="0 0 32 32" width="30" height="30" aria-hidden="true"><rect x="3" y="5" '
    'width="20" height="16" rx="4" fill="none" stroke="currentColor" stroke-width="2.4"/><path '
    'd="M6 18l5-6 4 4 3-3 3 4" fill="none" stroke="currentColor" stroke-width="2.2" '
    'stroke-linejoin="round" stroke-linecap="round"/><circle cx="22" cy="21" r="5.4" '
    'fill="var(--cs-page)" stroke="currentColor" stroke-width="2.4"/><path d="M26 25l3.6 3.6" '
    'stroke="currentColor" stroke-width="2.8" stroke-linecap="round"/></svg>'
)
IMAGE = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><rect x="3" y="5" width="18" height="14" rx="2"/>'
    '<path d="M5 17l4-5 3 3 3-3 4 5"/><circle cx="15.5" cy="9" r="1.3"/></svg>'
)
_MOON = (
    '<svg viewBox="0 0 24 24" width="18" height="18" aria-hidden="true"><path fill="none" '
    'stroke="currentColor" stroke-width="1.8" stroke-linejoin="round" d="M20 14.5A8.5 8.5 0 0 1 '
    '9.5 4 8.5 8.5 0 1 0 20 14.5z"/></svg>'
)


def escape(text: object) -> str:
    """Text for HTML, within elements and quoted attributes; nothing in it turns the direction."""
    return html.escape(shown(str(text), lines=True), quote=True)


def attribute(data: object) -> str:
    """JSON for a quoted attribute."""
    return escape(json_text(data))


def header(words: Words) -> str:
    """The top of the page."""
    other = "es" if words.language == "en" else "en"
    return (
        f'<header class="cs-header"><a class="cs-skip" href="#cs-tabs">{words("skip")}</a>'
        f'<a class="cs-brand" href="/">{_LOGO}<h1>clipsearch</h1></a>'
        f'<p class="cs-tagline">{words("tagline")}</p><span class="cs-grow"></span>'
        f'<a class="cs-pill" data-cs-lang="{other}" lang="{other}" href="?lang={other}">'
        f"{words('other_language')}</a>"
        f'<button type="button" class="cs-pill" data-cs-theme aria-label="{words("theme")}" '
        f'title="{words("theme")}">{_MOON}</button></header>'
    )


def message(text: str, *, kind: str = "error") -> str:
    """A short message in place; read out by screen readers when it appears."""
    role = "alert" if kind == "error" else "status"
    return f'<div class="cs-message cs-{kind}" role="{role}">{escape(text)}</div>'


def blank(text: str) -> str:
    """A place where something will appear, and what to do for it."""
    return f'<div class="cs-blank" role="status">{IMAGE}<p>{escape(text)}</p></div>'


def screen(
    title: str,
    text: str,
    *,
    code: str = "",
    button: str = "",
    retry_ms: int = 0,
    busy: bool = False,
) -> str:
    """A friendly screen in place of what cannot be shown.

    Args:
        title: What the matter is.
        text: What to do.
        code: A command to type.
        button: Words of a button that tries again.
        retry_ms: When the page tries again by itself; 0 for never.
        busy: Whether something is going on.
    """
    parts = [f'<div class="cs-screen" role="status" data-retry="{retry_ms}">']
    parts.append('<div class="cs-spinner" aria-hidden="true"></div>' if busy else "")
    parts.append(f"<h2>{escape(title)}</h2><p>{escape(text)}</p>")
    parts.append(f"<pre><code>{escape(code)}</code></pre>" if code else "")
    parts.append(
        f'<button type="button" class="cs-button" data-again>{escape(button)}</button>'
        if button
        else ""
    )
    return "".join(parts) + "</div>"


def state_screen(library: Library, name: str, words: Words, *, model: bool = True) -> str | None:
    """The screen for an index that cannot be searched now; None for one that can.

    Args:
        library: The indexes.
        name: The index.
        words: The language.
        model: Whether the model is needed.

    Raises:
        ClipSearchError: The index is there, but cannot be opened.
    """
    if not library.names():
        return screen(
            words("screen.none_title"),
            words("screen.none_text"),
            code="clipsearch index ~/Pictures -i photos",
        )
    if not name:
        return screen(words("screen.choose_title"), words("screen.gone_text"))
    try:
        index = library.index(name)
    except CollectionGoneError as exc:
        return screen(explained(exc, words), words("screen.gone_text"))
    if not len(index):
        return screen(
            words("screen.empty_title"),
            words("screen.empty_text"),
            code=f"clipsearch index ~/Pictures -i {name}",
        )
    return model_screen(library, index.model_name, words) if model else None


def model_screen(library: Library, model: str, words: Words) -> str | None:
    """The screen for a model that cannot be used yet; None for one that can."""
    state = library.hub.model_state(model)
    if state == "loading":
        return screen(
            words("screen.loading_title"),
            words("screen.loading_text", model=model),
            retry_ms=700,
            busy=True,
        )
    if state == "failed":
        return screen(
            words("screen.failed_title"),
            library.hub.failure_of(model),
            button=words("screen.retry"),
        )
    return None


def item_name(item: Item) -> str:
    """What to call an item: its caption, or the name of its file."""
    if item.caption:
        return item.caption if len(item.caption) <= 120 else item.caption[:117] + "…"
    return shown(Path(item.path or item.key).name)


def copy_block(code: str, label: str) -> str:
    """Lines to copy, with the button that does."""
    return (
        f'<div class="cs-copy"><pre tabindex="0"><code>{escape(code)}</code></pre>'
        f'<button type="button" class="cs-button" data-copy="{escape(code)}">{label}</button></div>'
    )
