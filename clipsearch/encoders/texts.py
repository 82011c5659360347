"""What every text encoder asks of its texts."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

from ..errors import ClipSearchWarning, InvalidInputError

__all__ = ["TextTruncatedWarning", "check_texts", "shortened", "warn_truncated"]

# No CLIP model reads further than some 77 tokens, and a token has few characters; without a limit
# a caption of 100 kB without spaces would keep a tokenizer busy for minutes.
_MAX_CHARACTERS = 10_000
_MAX_WORD = 500
_LONG_WORD = re.compile(rf"(\S{{{_MAX_WORD}}})\S+")


class TextTruncatedWarning(ClipSearchWarning):
    """A text was longer than the model's context; its end was not encoded."""


def check_texts(texts: Sequence[str]) -> None:
    """Refuse what cannot be encoded.

    Raises:
        InvalidInputError: A single string instead of a list, or a text that is empty.
    """
    if isinstance(texts, str):
        raise InvalidInputError("encode_texts takes a list of texts; wrap a single one in [ ]")
    for position, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise InvalidInputError(f"text {position} is empty: {text!r}")


def warn_truncated(text: str, tokens: int, context_length: int, *, stacklevel: int) -> None:
    """Say that a text of so many tokens was cut to the model's context."""
    warnings.warn(
        f"a text of {tokens} tokens was cut to the model's {context_length}: {text[:60]!r} ...",
        TextTruncatedWarning,
        stacklevel=stacklevel + 1,
    )


def shortened(text: str) -> str:
    """The part of a text that can matter: its first 10,000 characters, words cut to 500."""
    if len(text) <= _MAX_WORD:
        return text
    return _LONG_WORD.sub(r"\1", text[:_MAX_CHARACTERS])
