"""What `predict` was asked for before it gave labels alone, as in scikit-learn."""

from __future__ import annotations

import warnings
from typing import Any

__all__ = ["asked_of_classify"]


def asked_of_classify(**options: Any) -> dict[str, Any]:
    """The options that were given, with a warning if any was: `classify` takes them now."""
    given = {name: value for name, value in options.items() if value is not None}
    if given:
        told = ", ".join(f"{name}={value!r}" for name, value in given.items())
        warnings.warn(
            f"predict(images, {told}) is classify(images, {told}) now; predict gives the likeliest "
            "label of each image",
            DeprecationWarning,
            stacklevel=3,
        )
    return given
