"""Prompt templates that turn a class name into sentences for the text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ..errors import InvalidInputError

__all__ = ["SIMPLE_TEMPLATES", "fill", "resolve_templates"]

_OPENAI_TEMPLATES = Path(__file__).parents[1] / "openai_clip/templates.txt"
# The seven best of the 80, chosen by forward selection in the CLIP authors' own notebook
# ("Prompt_Engineering_for_ImageNet").
SIMPLE_TEMPLATES = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)


def resolve_templates(templates: str | Sequence[str]) -> tuple[str, ...]:
    """The template sentences behind a name or a list.

    Args:
        templates: "openai" (the 80 of the CLIP paper), "simple" (7),
            "none" (the bare label), or sentences with one `{}` for the label.

    Raises:
        InvalidInputError: An unknown name, or a sentence without exactly one `{}`.
    """
    if isinstance(templates, str):
        if templates == "openai":
            return _openai_templates()
        if templates == "simple":
            return SIMPLE_TEMPLATES
        if templates == "none":
            return ("{}",)
        if "{}" not in templates:
            raise InvalidInputError(
                f"unknown templates {templates!r}; choose openai, simple or none, or give a "
                f"sentence with {{}} for the label, such as 'a photo of a {{}}.'"
            )
        templates = (templates,)
    for sentence in templates:
        if not isinstance(sentence, str) or sentence.count("{}") != 1:
            raise InvalidInputError(
                f"a template needs exactly one {{}} for the label: {sentence!r}"
            )
    if not templates:
        raise InvalidInputError("the list of templates is empty; use 'none' for the bare label")
    return tuple(templates)


def fill(templates: Sequence[str], label: str) -> list[str]:
    """Put one label into every template."""
    return [sentence.replace("{}", label) for sentence in templates]


@cache
def _openai_templates() -> tuple[str, ...]:
    """OPENAI_IMAGENET_TEMPLATES of open_clip."""
    return tuple(_OPENAI_TEMPLATES.read_text(encoding="utf-8").splitlines())
