r"""Names of files as they are, as they are stored, and as a person reads them.

A file name is bytes. Python gives a byte that is no UTF-8 as a lone surrogate, which neither SQLite
nor JSON for other programs can hold. There it is written `\xHH`, two lowercase hexadecimal digits,
and the backslash of a name that holds such characters literally is written `\x5c`. Every other name
is stored as it is, and every stored name stands for one name only.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from typing import Any

__all__ = [
    "actual",
    "is_storable",
    "json_text",
    "shell_word",
    "shown",
    "stored",
    "suffix_of",
    "without_bytes",
]

_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_LITERAL = re.compile(r"\\(?=x[0-9a-f]{2})")
_BYTE = re.compile("[\udc80-\udcff]")
# What acts on a terminal, a line or the direction of text: control characters, line separators,
# marks of direction and annotation, half surrogates. What is unseen and belongs to a script or an
# emoji stays: joiners, non-joiners, zero-width spaces, selectors of variants.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def stored(name: str) -> str:
    r"""A name as the catalog, JSON and Parquet hold it: bytes that are no UTF-8 as `\xHH`."""
    if name.isascii() and "\\x" not in name:
        return name
    return _BYTE.sub(_escaped_byte, _LITERAL.sub(r"\\x5c", name))


def actual(name: str) -> str:
    """The name that `stored` wrote, as Python opens it."""
    if "\\x" not in name:
        return name
    return _ESCAPE.sub(lambda found: _character(int(found[1], 16)), name)


def is_storable(name: str) -> bool:
    """Whether a name can be the name of a file, and so be stored and read back."""
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return "\0" not in name


def shown(text: str, *, lines: bool = False) -> str:
    r"""A text as a person may read it, in which nothing moves the cursor or turns the direction.

    Args:
        text: A name, or a message that holds names.
        lines: Whether line feeds and tabs stay as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return _UNSEEN.sub(lambda found: _escaped(found[0], lines), text)


def shell_word(text: str) -> str:
    r"""A text as one word of a command to copy, in which nothing acts on a terminal.

    A shell (bash, zsh) reads what `shown` escapes within `$'...'` as what it stands for.
    """
    plain = shown(text)
    if plain == text:
        return shlex.quote(text)
    return "$'" + shown(text.replace("\\", r"\\").replace("'", r"\'")) + "'"


def json_text(document: Any, *, indent: int | None = None) -> str:
    r"""A document as JSON that every program and terminal can read.

    Stray bytes of names are written as `\xHH`, and what a terminal would act on as `\uHHHH`.
    """
    text = json.dumps(document, ensure_ascii=False, indent=indent, default=str)
    if text.isascii() and "\x7f" not in text:
        return text
    text = _BYTE.sub(lambda found: "\\" + _escaped_byte(found), text)
    return _UNSEEN.sub(lambda found: found[0] if found[0] == "\n" else _as_unicode(found), text)


def suffix_of(name: str) -> str:
    """The suffix of a name in lower case, as `Path` has it, in a tenth of its time."""
    suffix = os.path.splitext(name)[1].lower()
    return "" if suffix == "." else suffix


def without_bytes(text: str) -> str:
    r"""A text that may hold names, with bytes that are no UTF-8 as `\xHH`."""
    return text if text.isascii() else _BYTE.sub(_escaped_byte, text)


def _character(byte: int) -> str:
    return chr(byte) if byte < 0x80 else chr(0xDC00 + byte)


def _escaped_byte(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]) - 0xDC00:02x}"


def _as_unicode(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _escaped(character: str, lines: bool) -> str:
    if character in _SHORT:
        return character if lines and character != "\r" else _SHORT[character]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"
