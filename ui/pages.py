"""The page: header, tabs, and how its address chooses among them."""

from __future__ import annotations

import json
from collections.abc import Callable

import gradio as gr

from . import build, classify, curate, learn, search, why
from . import map as map_page
from .context import QUIET, ROUTED, Context, address
from .events import Page
from .render import header

__all__ = ["Context", "assemble"]

Tab = Callable[[Context, gr.HTML], None]
TABS: dict[str, Tab] = {
    "search": search.page,
    "classify": classify.page,
    "why": why.page,
    "map": map_page.page,
    "curate": curate.page,
    "build": build.page,
    "learn": learn.page,
}

# Tells the page which tab its address names, and that tab the whole address: when the page is
# opened, and when the address changes.
_ROUTER = """
const events = {events};
const tell = () => {{
  cs.asked = location.search;
  const asked = new URLSearchParams(cs.asked).get('tab');
  trigger('navigate');
  trigger(events[asked in events ? asked : 'search']);
}};
window.addEventListener('cs:navigate', tell);
window.addEventListener('popstate', () => {{ if (location.search !== cs.asked) tell(); }});
window.addEventListener('cs:fill', () => {{ cs.asked = location.search; trigger(events.search); }});
tell();
"""


# A tab that was chosen becomes the address, unless the address chose it.
_SELECTED = "() => cs.selected('{name}')"


def tabs_for(context: Context) -> dict[str, Tab]:
    """The tabs that the operator allows."""
    return {
        name: page for name, page in TABS.items() if name != "build" or context.settings.may_build
    }


def assemble(context: Context) -> gr.Blocks:
    """All tabs in one page."""
    words = context.words

    chosen = tabs_for(context)
    script = _ROUTER.format(events=json.dumps({name: f"to_{name}" for name in chosen}))

    def choose(search: str) -> gr.Tabs:
        asked = address(search).get("tab", [""])[0]
        return gr.Tabs(selected=asked if asked in chosen else "search")

    blocks = Page(
        analytics_enabled=False,
        title="clipsearch",
        fill_width=True,
        delete_cache=(600, 600),  # seconds: how often, and how old, of what Gradio keeps
    )
    with blocks:
        gr.HTML(header(words), apply_default_css=False, elem_id="cs-header", js_on_load=None)
        router = gr.HTML("", apply_default_css=False, elem_id="cs-router", js_on_load=script)
        with gr.Tabs(elem_id="cs-tabs") as tabs:
            router.navigate(choose, router, tabs, **ROUTED)
            shown = {}
            for name, page in chosen.items():
                with gr.Tab(words(f"tab.{name}"), id=name) as shown[name]:
                    page(context, router)
        for name, tab in shown.items():
            tab.select(None, None, None, js=_SELECTED.format(name=name), **QUIET)
    return blocks
