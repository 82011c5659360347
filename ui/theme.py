"""The look: colours, type and shapes, in light and dark."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from gradio.themes.utils import colors

__all__ = ["asset", "css", "make_theme"]

_ASSETS = Path(__file__).parent / "assets"
# Fonts of the reader's own system: nothing is fetched from anywhere.
_SANS = ("Inter", "ui-sans-serif", "system-ui", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "DejaVu Sans Mono", "monospace")

_TEAL = colors.Color(
    name="lagoon",
    c50="#effaf8",
    c100="#d5f1ed",
    c200="#abe2db",
    c300="#77cbc3",
    c400="#45aca6",
    c500="#22908c",
    c600="#0f7370",
    c700="#0e5c5b",
    c800="#104a4a",
    c900="#0d3637",
    c950="#072122",
)


def make_theme() -> gr.themes.Base:
    """The theme of the page."""
    return gr.themes.Base(
        primary_hue=_TEAL,
        secondary_hue=_TEAL,
        neutral_hue=colors.stone,
        radius_size=gr.themes.sizes.radius_lg,
        text_size=gr.themes.sizes.text_md,
        spacing_size=gr.themes.sizes.spacing_md,
        font=_SANS,
        font_mono=_MONO,
    ).set(
        body_background_fill="#faf9f7",
        body_background_fill_dark="#131415",
        body_text_color="#1f2124",
        body_text_color_dark="#ecebe8",
        body_text_color_subdued="#5f6063",
        body_text_color_subdued_dark="#a9a8a5",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#1c1e20",
        background_fill_secondary="#f3f1ed",
        background_fill_secondary_dark="#242729",
        block_background_fill="#ffffff",
        block_background_fill_dark="#1c1e20",
        block_border_color="#e4e0d9",
        block_border_color_dark="#34373a",
        block_label_text_color="#5f6063",
        block_label_text_color_dark="#a9a8a5",
        block_title_text_color="#3b3d40",
        block_title_text_color_dark="#d5d3cf",
        block_title_text_weight="600",
        block_info_text_color="#5f6063",
        block_info_text_color_dark="#a9a8a5",
        border_color_primary="#dcd7ce",
        border_color_primary_dark="#3a3e41",
        block_shadow="none",
        block_shadow_dark="none",
        input_background_fill="#ffffff",
        input_background_fill_dark="#242729",
        input_border_width="1px",
        input_border_color="#c9c3b8",
        input_border_color_dark="#4a4f53",
        input_border_color_focus="*primary_600",
        input_border_color_focus_dark="*primary_400",
        input_placeholder_color="#6f6f70",
        input_placeholder_color_dark="#9b9a97",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_hover="#f3f1ed",
        button_secondary_background_fill_dark="#242729",
        button_secondary_background_fill_hover_dark="#2f3336",
        button_secondary_border_color="#c9c3b8",
        button_secondary_border_color_dark="#4a4f53",
        slider_color="*primary_600",
        slider_color_dark="*primary_400",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
        color_accent="*primary_600",
        color_accent_soft="*primary_50",
        color_accent_soft_dark="*primary_900",
    )


def css() -> str:
    """The style sheets."""
    files = (
        "style", "shell", "results", "facets", "view", "map", "picked", "albums", "learn", "curate",
    )  # fmt: skip
    return "\n".join(asset(f"{name}.css") for name in files)


def asset(name: str) -> str:
    """A file of the front end as text."""
    return (_ASSETS / name).read_text(encoding="utf-8")
