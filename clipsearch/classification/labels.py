"""Labels as people write them: names, groups of synonyms, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InvalidInputError
from ..files import expanded, read_given
from ..limits import MAX_TEXT_BYTES

__all__ = ["Groups", "label_groups", "parse_labels", "read_labels"]

Groups = Mapping[str, Sequence[str]]  # from the name of a class to every name it goes by


def label_groups(labels: Sequence[str] | Groups) -> dict[str, list[str]]:
    """Any form of labels as a mapping from a class to its names, in the order given.

    Args:
        labels: "name" or "name: synonym, synonym"; or a mapping from each name to its synonyms
            (the name itself then counts only if it is among them).

    Raises:
        InvalidInputError: There are none, one is empty, or one comes twice.
    """
    if isinstance(labels, Mapping):
        groups = {name: list(names) for name, names in labels.items()}
        for name, names in groups.items():
            if not name.strip() or not names or not all(n.strip() for n in names):
                raise InvalidInputError(
                    f"the label {name!r} has an empty list of names, or an empty name"
                )
    else:
        groups = parse_labels(labels)
    if not groups:
        raise InvalidInputError("the list of labels is empty; give at least one label")
    return groups


def parse_labels(labels: Sequence[str]) -> dict[str, list[str]]:
    """Read "name" and "name: synonym, synonym" into a mapping from a name to all its names.

    Raises:
        InvalidInputError: A label is empty or comes twice.
    """
    if isinstance(labels, str):
        raise InvalidInputError("labels must be a list, got a string; for one label write ['name']")
    groups: dict[str, list[str]] = {}
    for label in labels:
        name, _, synonyms = label.partition(":")
        name = name.strip()
        if not name:
            raise InvalidInputError(f"a label is empty: {label!r}")
        if name in groups:
            raise InvalidInputError(f"the label {name!r} is given twice")
        groups[name] = [name, *(s.strip() for s in synonyms.split(",") if s.strip())]
    return groups


def read_labels(path: str | Path) -> list[str]:
    """Labels from a text file, one per line; empty lines and lines from `#` on are left out.

    Raises:
        InvalidInputError: The file cannot be read or has no labels.
    """
    try:
        text = read_given(expanded(path), MAX_TEXT_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidInputError(f"cannot read labels from {path}: {exc}") from exc
    lines = [line.strip() for line in text.splitlines()]
    labels = [line for line in lines if line and not line.startswith("#")]
    if not labels:
        raise InvalidInputError(f"{path} contains no labels; write one label per line")
    return labels
