"""What every tab is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from clipsearch.server.door import query_fields

from .jobs import Jobs
from .library import Library
from .settings import Settings
from .strings import Words
from .theme import asset

__all__ = ["LATEST", "QUIET", "ROUTED", "Context", "address", "drop_zone", "html", "sent"]

# Events answer within a fraction of a second, so they need no queue, and are no public API.
QUIET: Mapping[str, Any] = {
    "queue": False,
    "api_visibility": "private",
    "show_progress": "hidden",
}
# For those whose function needs its inputs alone: one that comes while another is being answered is
# run after it, with the inputs of then. (Gradio drops others; it would run them with old data.)
LATEST: Mapping[str, Any] = {**QUIET, "trigger_mode": "always_last"}
# For those of the router, whose one input is the address that was asked for last.
ROUTED: Mapping[str, Any] = {**LATEST, "js": "() => cs.asked"}


@dataclass(frozen=True, slots=True)
class Context:
    """The library, what the operator decided, the visitor's language, the running job."""

    library: Library
    settings: Settings
    words: Words
    jobs: Jobs


def sent(event: gr.EventData) -> dict[str, Any]:
    """What the page's own script sent with an event."""
    data = event._data
    return dict(data) if isinstance(data, Mapping) else {}


def address(search: str) -> dict[str, list[str]]:
    """The fields of the page's address."""
    return query_fields(search[:20_000].lstrip("?"))


def html(value: str = "", script: str | None = None, **options: Any) -> gr.HTML:
    """A piece of the page's own HTML, with its script from `assets/`."""
    return gr.HTML(
        value, apply_default_css=False, js_on_load=asset(script) if script else None, **options
    )


def drop_zone(
    words: Words, label: str, *, name: str, many: bool, most: int = 24, script: str = "drop.js"
) -> gr.HTML:
    """Where images are dropped, pasted or chosen; sends them with the event `given`."""
    several = " multiple" if many else ""
    zone = (
        f'<label class="cs-drop cs-drop-large" data-most="{most}">'
        f'<input type="file" accept="image/*"{several} '
        f'aria-label="{label}"><strong>{label}</strong></label>'
    )
    return html(zone, script, elem_id=name)
