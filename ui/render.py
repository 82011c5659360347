"""Pieces of HTML that several tabs show; whatever comes from outside is escaped here."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch import Item
from clipsearch.names import json_text, shown

from .library import Library
from .problems import CollectionGoneError, explained
from .strings import Words

if TYPE_CHECKING:  # it loads Gradio
    from .context import Context

__all__ = [
    "IMAGE",
    "attribute",
    "blank",
    "copy_block",
    "escape",
    "icon",
    "item_name",
    "message",
    "model_screen",
    "screen",
    "state_screen",
]

IMAGE = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><rect x="3" y="5" width="18" height="14" rx="2"/>'
    '<path d="M5 17l4-5 3 3 3-3 4 5"/><circle cx="15.5" cy="9" r="1.3"/></svg>'
)


def icon(path: str) -> str:
    """A drawing in lines, of 24 units on a side."""
    return f'<svg class="cs-icon" viewBox="0 0 24 24" aria-hidden="true"><path d="{path}"/></svg>'


def escape(text: object) -> str:
    """Text for HTML, within elements and quoted attributes; nothing in it turns the direction."""
    return html.escape(shown(str(text), lines=True), quote=True)


def attribute(data: object) -> str:
    """JSON for a quoted attribute."""
    return escape(json_text(data))


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
    add: str = "",
    retry_ms: int = 0,
    busy: bool = False,
) -> str:
    """A friendly screen in place of what cannot be shown.

    Args:
        title: What the matter is.
        text: What to do.
        code: A command to type.
        button: Words of a button that tries again.
        add: Words of a button that adds images.
        retry_ms: When the page tries again by itself; 0 for never.
        busy: Whether something is going on.
    """
    parts = [f'<div class="cs-screen" role="status" data-retry="{retry_ms}">']
    parts.append('<div class="cs-spinner" aria-hidden="true"></div>' if busy else "")
    parts.append(f"<h2>{escape(title)}</h2><p>{escape(text)}</p>")
    parts.append(f"<pre><code>{escape(code)}</code></pre>" if code else "")
    if add:
        parts.append(
            f'<button type="button" class="cs-button cs-primary" data-add>{escape(add)}</button>'
        )
    parts.append(
        f'<button type="button" class="cs-button" data-again>{escape(button)}</button>'
        if button
        else ""
    )
    return "".join(parts) + "</div>"


def state_screen(context: Context, name: str, *, model: bool = True) -> str | None:
    """The screen for an index that cannot be searched now; None for one that can.

    Args:
        context: The indexes and the language.
        name: The index.
        model: Whether the model is needed.

    Raises:
        ClipSearchError: The index is there, but cannot be opened.
    """
    library, words = context.library, context.words
    add = words("add.open") if context.settings.may_build else ""
    if not library.names():
        return screen(
            words("screen.none_title"),
            words("screen.none_text" if add else "screen.none_command"),
            code="clipsearch index ~/Pictures -i photos",
            add=add,
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
            add=add,
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
