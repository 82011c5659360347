"""What every tab is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import gradio as gr

from .jobs import Jobs
from .library import Library
from .strings import Words
from .theme import asset

if TYPE_CHECKING:
    from .app import Settings

__all__ = ["QUIET", "Context", "address", "drop_zone", "html", "sent"]

# Events answer within a fraction of a second, so they need no queue, and are no public API.
QUIET: Mapping[str, Any] = {
    "queue": False,
    "api_visibility": "private",
    "show_progress": "hidden",
}


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


def address(event: gr.EventData) -> dict[str, list[str]]:
    """The fields of the page's address, of an event of the router."""
    query = str(sent(event).get("search", ""))[:20_000].lstrip("?")
    return parse_qs(query, max_num_fields=300)


def html(value: str = "", script: str | None = None, **options: Any) -> gr.HTML:
    """A piece of the page's own HTML, with its script from `assets/`."""
    return gr.HTML(
        value, apply_default_css=False, js_on_load=asset(script) if script else None, **options
    )


def drop_zone(words: Words, label: str, *, name: str, many: bool) -> gr.HTML:
    """Where pictures are dropped, pasted or chosen; sends them with the event `given`."""
    several = " multiple" if many else ""
    zone = (
        f'<label class="cs-drop cs-drop-large"><input type="file" accept="image/*"{several} '
        f'aria-label="{label}"><strong>{label}</strong></label>'
    )
    return html(zone, "drop.js", elem_id=name)
