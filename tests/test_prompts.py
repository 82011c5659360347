"""Templates, against open_clip's own list."""

import pytest

from clipsearch.classification.prompts import SIMPLE_TEMPLATES, fill, resolve_templates
from clipsearch.errors import InvalidInputError


def test_openai_templates_are_open_clips():
    import open_clip

    ours = fill(resolve_templates("openai"), "red bus")
    assert ours == [template("red bus") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]
    assert len(ours) == 80


def test_simple_templates_are_open_clips():
    import open_clip

    ours = set(fill(SIMPLE_TEMPLATES, "cat"))
    assert ours == {template("cat") for template in open_clip.SIMPLE_IMAGENET_TEMPLATES}


def test_own_templates():
    assert resolve_templates("none") == ("{}",)
    assert fill(resolve_templates("una foto de {}."), "un gato") == ["una foto de un gato."]
    assert resolve_templates(["a {}", "the {}"]) == ("a {}", "the {}")


@pytest.mark.parametrize("wrong", ["best", [], ["no slot"], ["{} and {}"], [7]])
def test_bad_templates_are_refused(wrong):
    with pytest.raises(InvalidInputError):
        resolve_templates(wrong)
