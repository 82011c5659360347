"""The Learn tab: lessons on how a joint embedding works, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from .context import ROUTED, Context, address, html
from .lessons import attention, contrast, space
from .lessons.lesson import Lesson
from .strings import Words

__all__ = ["page"]

LESSONS: Mapping[str, Callable[[Context], Lesson]] = {
    "space": space.page,
    "contrast": contrast.page,
    "attention": attention.page,
}


def page(context: Context, router: gr.HTML) -> None:
    """Lay out the tab and connect it."""
    words, library = context.words, context.library
    first = next(iter(LESSONS))
    nav = html(_nav(words, first), "lessons.js", elem_id="cs-lessons")
    lessons = {}
    names = list(LESSONS)
    for place, (name, lesson) in enumerate(LESSONS.items()):
        with gr.Column(elem_id=f"cs-lesson-{name}", elem_classes="cs-lesson"):
            lessons[name] = lesson(context)
            if place + 1 < len(names):
                html(f'<p class="cs-nextlesson">{_link(words, names[place + 1], "→")}</p>')

    def navigated(search: str) -> Any:
        fields = address(search)
        asked = fields.get("lesson", [""])[0]
        asked = asked if asked in lessons else first
        index = fields.get("index", [""])[0] or next(iter(library.names()), "")
        answer: list[Any] = [_nav(words, asked)]
        for name, lesson in lessons.items():
            answer += lesson.open(index) if name == asked else [gr.skip()] * len(lesson.outputs)
        return tuple(answer)

    outputs = [nav, *(output for lesson in lessons.values() for output in lesson.outputs)]
    router.to_learn(navigated, router, outputs, **ROUTED)


def _nav(words: Words, shown: str) -> str:
    entries = "".join(
        f"<li>{_link(words, name, f'{number}', current=name == shown)}</li>"
        for number, name in enumerate(LESSONS, 1)
    )
    return f'<nav aria-label="{words("learn.lessons")}"><ol class="cs-lessons">{entries}</ol></nav>'


def _link(words: Words, name: str, mark: str, *, current: bool = False) -> str:
    here = ' aria-current="page"' if current else ""
    return (
        f'<a href="?tab=learn&amp;lesson={name}" data-lesson="{name}"{here}>'
        f'<i aria-hidden="true">{mark}</i>{words(f"learn.lesson_{name}")}</a>'
    )
