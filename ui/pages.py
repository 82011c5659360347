"""The page: header, tabs, and how its address chooses among them."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from . import build, classify, curate, learn, search, why
from . import map as map_page
from .context import QUIET, Context, address
from .render import header

__all__ = ["Context", "assemble"]

Page = Callable[[Context, gr.HTML], None]
TABS: dict[str, Page] = {
    "search": search.page,
    "classify": classify.page,
    "why": why.page,
    "map": map_page.page,
    "curate": curate.page,
    "build": build.page,
    "learn": learn.page,
}

# Tells every tab the address of the page: when it is opened, and when it changes.
_ROUTER = """
const tell = () => trigger('navigate', {search: location.search});
window.addEventListener('cs:navigate', tell);
window.addEventListener('popstate', tell);
tell();
"""


# A tab that was chosen becomes the address, unless the address chose it.
_SELECTED = """() => {{
  const now = new URLSearchParams(location.search);
  if ((now.get('tab') || 'search') !== '{name}') cs.go(new URLSearchParams({{tab: '{name}'}}));
}}"""


def tabs_for(context: Context) -> dict[str, Page]:
    """The tabs that the operator allows."""
    return {
        name: page for name, page in TABS.items() if name != "build" or context.settings.may_build
    }


def assemble(context: Context) -> gr.Blocks:
    """All tabs in one page."""
    words = context.words

    def choose(event: gr.EventData) -> gr.Tabs:
        tab = address(event)[0]
        return gr.Tabs(selected=tab if tab in tabs_for(context) else "search")

    with gr.Blocks(
        analytics_enabled=False,
        title="clipsearch",
        fill_width=True,
        delete_cache=(600, 600),
    ) as blocks:
        gr.HTML(header(words), apply_default_css=False, elem_id="cs-header", js_on_load=None)
        router = gr.HTML("", apply_default_css=False, elem_id="cs-router", js_on_load=_ROUTER)
        with gr.Tabs(elem_id="cs-tabs") as tabs:
            shown = {}
            for name, page in tabs_for(context).items():
                with gr.Tab(words(f"tab.{name}"), id=name) as shown[name]:
                    page(context, router)
        router.navigate(choose, None, tabs, **QUIET)
        for name, tab in shown.items():
            tab.select(None, None, None, js=_SELECTED.format(name=name), **QUIET)
    return blocks  # type: ignore[no-any-return]
