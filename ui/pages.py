"""The page: header, tabs and dialogs, and how its address chooses among them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gradio as gr

from . import build, classify, curate, learn, search, why
from . import map as map_page
from .context import LATEST, QUIET, ROUTED, Context, address
from .events import Page
from .header import header

__all__ = ["Context", "assemble"]

Tab = Callable[[Context, gr.HTML], None]
TABS: dict[str, Tab] = {
    "search": search.page,
    "map": map_page.page,
    "curate": curate.page,
    "classify": classify.page,
    "learn": learn.page,
}
DIALOGS: dict[str, Tab] = {"why": why.page, "build": build.page}  # over whichever tab is shown

# Tells the page which tab its address names, and that tab and its dialog the whole address: when
# the page is opened, and when the address changes.
_ROUTER = """
const events = {events};
let told = '';
const tell = () => {{
  cs.asked = location.search;
  const {{tab, dialog}} = cs.at();
  trigger('navigate');
  if (!dialog || told !== tab) trigger(events[told = tab]);
  if (dialog in events) trigger(events[dialog]);
}};
window.addEventListener('cs:navigate', tell);
window.addEventListener('popstate', () => {{ if (location.search !== cs.asked) tell(); }});
window.addEventListener('cs:fill', () => {{ cs.asked = location.search; trigger(events.search); }});
tell();
"""


# A tab that was chosen becomes the address, unless the address chose it.
_SELECTED = "() => cs.selected('{name}')"


def dialogs_for(context: Context) -> dict[str, Tab]:
    """The dialogs that the operator allows."""
    allowed = context.settings.may_build
    return {name: page for name, page in DIALOGS.items() if name != "build" or allowed}


def assemble(context: Context) -> gr.Blocks:
    """All tabs in one page."""
    words = context.words
    dialogs = dialogs_for(context)
    events = {name: f"to_{name}" for name in (*TABS, *dialogs)}
    script = _ROUTER.format(events=json.dumps(events))

    def choose(search: str) -> Any:
        asked = address(search).get("tab", [""])[0]
        if asked in DIALOGS:
            return gr.skip()
        return gr.Tabs(selected=asked if asked in TABS else "search")

    blocks = Page(
        analytics_enabled=False,
        title="clipsearch",
        fill_width=True,
        delete_cache=(600, 600),  # seconds: how often, and how old, of what Gradio keeps
    )
    with blocks:
        header(context)
        router = gr.HTML("", apply_default_css=False, elem_id="cs-router", js_on_load=script)
        with gr.Tabs(elem_id="cs-tabs", overflow_behavior="wrap") as tabs:
            router.navigate(choose, router, tabs, **ROUTED)
            shown = {}
            for name, page in TABS.items():
                with gr.Tab(words(f"tab.{name}"), id=name) as shown[name]:
                    page(context, router)
        for name, tab in shown.items():
            tab.select(None, None, None, js=_SELECTED.format(name=name), **QUIET)
        for name, page in dialogs.items():
            column = gr.Column(visible=False)  # made when it is asked for, before what it shows
            getattr(router, events[name])(lambda: gr.Column(visible=True), None, column, **LATEST)
            with column:
                adopt = f"cs.dialogs.adopt('{name}', element);"
                gr.HTML("", apply_default_css=False, js_on_load=adopt)
                page(context, router)
    return blocks
