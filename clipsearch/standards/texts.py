"""Texts in metadata and sidecars: their encoding, and whether a person wrote them."""

from __future__ import annotations

import codecs
import contextlib
import itertools
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = [
    "MAX_TEXT",
    "DecodedText",
    "clean_keywords",
    "clean_text",
    "decode",
    "field_text",
    "person_text",
    "whole_characters",
]

MAX_TEXT = 65_536  # characters of a caption; what is longer is a document
_MAX_KEYWORD = 200  # characters
_MAX_KEYWORDS = 500
_MOST_NESTED = 100  # levels of a JSON document; SQLite and Python end at 1,000
_SAMPLE = 65_536  # bytes by which an encoding is told
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_MOST_CONTROL = 0.05  # share of control characters above which it is no text
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class DecodedText:
    """Bytes as text."""

    text: str
    encoding: str  # as Python names it
    guessed: bool  # whether other encodings are possible


def clean_text(text: str) -> str | None:
    """A caption without what cannot be stored (NUL, half surrogates); None for an empty one."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode().strip() or None


def whole_characters(document: Any, written: str | bytes) -> Any:
    r"""A JSON document in which a question mark stands for each half surrogate.

    Args:
        document: It.
        written: Its text, in which such a half is an escape, as `\ud83d` alone is.

    Raises:
        ValueError: It is nested over `_MOST_NESTED` levels deep.
    """
    text = written if isinstance(written, str) else written.decode("latin-1")
    if text.count("[") + text.count("{") > _MOST_NESTED:
        _check_depth(document)
    return _whole(document) if "\\ud" in text or "\\uD" in text else document


def _check_depth(document: Any) -> None:
    level = [document] if isinstance(document, dict | list) else []
    for _ in range(_MOST_NESTED + 1):
        inner = (one.values() if isinstance(one, dict) else one for one in level)
        level = [one for some in inner for one in some if isinstance(one, dict | list)]
        if not level:
            return
    raise ValueError(f"nested over {_MOST_NESTED} levels deep")


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_whole(name): _whole(one) for name, one in value.items()}
    return [_whole(one) for one in value] if isinstance(value, list) else value


def clean_keywords(values: Iterable[Any]) -> tuple[str, ...]:
    """Keywords as tags: one line each, each once, in their order."""
    found: dict[str, None] = {}
    for value in values:
        text = clean_text(value) if isinstance(value, str) else None
        if text is not None and len(text) <= _MAX_KEYWORD:
            found.setdefault(" ".join(text.split()))
        if len(found) >= _MAX_KEYWORDS:
            break
    return tuple(found)


# --- encodings ----------------------------------------------------------------------------------


def decode(data: bytes) -> DecodedText | None:
    """Bytes of a text file or field as text, by their mark, their pattern or their letters.

    Args:
        data: All of it.

    Returns:
        The text without a byte-order mark, or None for what is no text.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _as_text(data, encoding, guessed=False, errors="replace")
    if wide := _utf16_of(data):
        return _as_text(data[: len(data) // 2 * 2], wide, guessed=False)
    if b"\x1b$" in data or b"\x1b(J" in data:
        with contextlib.suppress(UnicodeDecodeError):
            return DecodedText(data.decode("iso2022_jp"), "iso2022_jp", False)
    with contextlib.suppress(UnicodeDecodeError):
        return _as_text(data, "utf-8", guessed=False, strict=True)
    if _is_cut_utf8(data):
        return _as_text(data, "utf-8", guessed=False, errors="ignore")
    if _CONTROL.search(data.rstrip(b"\0").decode("latin-1")):
        return None
    return _guessed(data)


def field_text(value: Any) -> str | None:
    """A field of EXIF or IPTC as text, without padding; None for what has none."""
    if isinstance(value, tuple | list):
        value = value[0] if len(value) == 1 else _as_bytes(value)
    if isinstance(value, str):
        if value.isascii():
            return value.replace("\0", " ").strip() or None
        try:
            value = value.encode("latin-1")  # as Pillow has read it, whatever it is
        except UnicodeEncodeError:
            return clean_text(value)
    if not isinstance(value, bytes):
        return None
    found = decode(value.rstrip(b"\0 "))
    return clean_text(found.text) if found is not None else None


def _as_bytes(values: Iterable[Any]) -> bytes | None:
    try:
        return bytes(values)
    except (TypeError, ValueError):
        return None


def _as_text(
    data: bytes, encoding: str, *, guessed: bool, errors: str = "strict", strict: bool = False
) -> DecodedText | None:
    try:
        text = data.decode(encoding, errors)
    except UnicodeDecodeError:
        if strict:
            raise
        return None
    if len(_CONTROL.findall(text.rstrip("\0"))) > _MOST_CONTROL * len(text) + 1:
        return None
    return DecodedText(text, encoding, guessed)


def _utf16_of(data: bytes) -> str | None:
    """UTF-16 without a mark, by the zero bytes of its blanks and Latin letters."""
    sample = data[: min(len(data), _SAMPLE) // 2 * 2]
    zeros = (sample[0::2].count(0), sample[1::2].count(0))
    most = max(zeros)
    share = most / max(1, len(sample) / 2)
    if most < 8 * min(zeros) or share < 0.05 or (share < 0.3 and _is_utf8(data)):
        return None
    encoding = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    try:
        text = sample.decode(encoding)
    except UnicodeDecodeError:
        return None
    return encoding if sum(c.isalnum() or c.isspace() for c in text) > len(text) / 2 else None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_cut_utf8(data: bytes) -> bool:
    """Whether it is UTF-8 but for a last character that a limit of the field has cut."""
    try:
        data.decode()
    except UnicodeDecodeError as exc:
        return (
            exc.reason == "unexpected end of data"
            and exc.start > 3
            and not data.isascii()
            and (any(byte > 127 for byte in data[: exc.start]) or exc.start > 20)
        )
    return True


def _guessed(data: bytes) -> DecodedText | None:
    """Text in an older encoding: that in which its letters are common ones."""
    sample = data[:_SAMPLE]
    high = sum(byte > 127 for byte in sample)
    letters = sum(chr(byte).isalpha() for byte in sample if byte < 128)
    scored = (
        [(_score(sample, encoding), encoding) for encoding in _HOMES] if high >= letters else []
    )
    best, encoding = max(scored, default=(0.0, ""))
    if best > 0.5:
        return _as_text(data, encoding, guessed=True, errors="replace")
    if western := _western(data):  # single accents among Latin letters
        return western
    import charset_normalizer

    found = charset_normalizer.from_bytes(sample, cp_isolation=_EUROPEAN).best()
    encoding = found.encoding if found is not None else "cp1252"
    return _as_text(data, encoding, guessed=True, errors="replace")


_EUROPEAN = ["cp1250", "cp1252", "cp1254", "cp1257", "cp1258", "cp850", "cp852", "mac_roman"]
# Signs of Windows-1252 within or before words, where letters of another encoding must be.
_SIGNS = (
    "\u00a1-\u00a9\u00ab-\u00b6\u00b8\u00b9\u00bb-\u00bf\u00d7\u00f7"
    "\u201c\u201d\u201e\u2020-\u2022\u2030\u2039\u203a\u2122\u02c6\u02dc"
)
_SIGNS_BEFORE = "\u00a2-\u00a6\u00a8\u00ac\u00ae-\u00b4\u00b6\u00b8\u00b9\u00bc-\u00be\u02c6\u02dc"
_ODD_IN_WORDS = re.compile(
    f"[^\\W\\d_][{_SIGNS}][^\\W\\d_]|[{_SIGNS_BEFORE}][^\\W\\d_]|[^\\W\\d_][\u00b9\u00bf](?!\\w)"
)


def _western(data: bytes) -> DecodedText | None:
    """Windows-1252, which nearly all Latin-1 is, or its Turkish sister; None if words look odd."""
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        return None
    if _ODD_IN_WORDS.search(text):
        return None
    there = set(text)
    if there & set("ðýþÐÝÞ") and not there & set("áéíóúæÁÉÍÓÚÆ"):  # Turkish, not Icelandic
        return DecodedText(data.decode("cp1254", "replace"), "cp1254", True)
    return DecodedText(text, "cp1252", True)


# The most frequent letters of the languages that are written in an encoding.
_COMMON = {
    "cp1251": "оеаинтсрвлкмдпуОЕАИНТСРВЛКМДПУ",
    "koi8_r": "оеаинтсрвлкмдпу",
    "cp866": "оеаинтсрвлкмдпу",
    "cp1253": "αοιετσνηυρπκμλςίόάέ",
    "cp1255": "יוהלאמרתבשנעםןח",
    "cp1256": "اليمونرتبةعدسفهك",
    "cp874": "านรอกเงมยลวดทสตะปบคหแจ่้ัีิ",
}
_HEBREW_END = re.compile(
    "[\u05da\u05dd\u05df\u05e3\u05e5]\\w"
)  # letters that end a word, within one
_HOMES = ("cp932", "euc_jp", "gb18030", "big5", "cp949", *_COMMON)


def _score(data: bytes, encoding: str) -> float:
    """How common the characters beyond ASCII would be in an encoding, about 0 to 1."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as exc:
        if exc.start < max(len(data) - 3, 40):
            return 0.0
        text = data[: exc.start].decode(encoding)
    beyond = [c for c in text if c > "\x7f"]
    if not beyond:
        return 0.0
    if encoding in _COMMON:
        common = set(_COMMON[encoding])
        share = sum(c in common for c in beyond) / len(beyond)
        inside = [b for a, b in itertools.pairwise(text) if a.isalpha()]  # of words
        if any(b.isascii() != a.isascii() for a, b in itertools.pairwise(text) if _letters(a, b)):
            return 0.0
        if encoding == "cp1255" and _HEBREW_END.search(text):
            return 0.0
        return share - 0.5 * sum(c.isupper() for c in inside) / len(beyond)
    weighed = sum(_weight(c, encoding) for c in beyond) / len(beyond)
    if encoding == "cp949" and len(beyond) > 6 and " " not in text:
        weighed -= 0.1
    return weighed


def _letters(*chars: str) -> bool:
    return all(char.isalpha() or unicodedata.category(char)[0] == "M" for char in chars)


def _weight(char: str, encoding: str) -> float:
    """How much one character speaks for an East Asian encoding."""
    if "\u3001" <= char <= "\u3011" or "\uff01" <= char <= "\uff5e":
        return 0.8  # punctuation of all of them
    kana = "\u3041" <= char <= "\u30ff"
    lead = char.encode(encoding)[0]
    if encoding in ("cp932", "euc_jp"):
        if kana:
            return 1.0
        usual = 0x88 <= lead <= 0x98 if encoding == "cp932" else 0xB0 <= lead <= 0xCF
        return 0.8 if usual and char > "\u4e00" else 0.1
    if encoding == "cp949":
        return 0.95 if "\uac00" <= char <= "\ud7a3" and 0xB0 <= lead <= 0xC8 else 0.1
    if encoding == "gb18030":
        known = len(char.encode(encoding)) == 2 and char.encode(encoding)[1] >= 0xA1
        return 0.9 if known and 0xB0 <= lead <= 0xD7 else 0.25
    return 0.88 if 0xA4 <= lead <= 0xC6 else 0.2


# --- what cameras and programs write ------------------------------------------------------------

_MACHINE = re.compile(
    r"""
    (?: [\w.,&<>/\ -]*\bdigital\ (?:still\ )?(?:video\ )?camera\b.{0,20}  # OLYMPUS DIGITAL CAMERA
      | (?:sony|minolta|konica|konica\ minolta)\ dsc
      | default | untitled | unknown | none | null | n/?a | image | photo | picture | description
      | ascii | jpeg | comment | user\ comments? | caption | title | test | xmp | digital\ image
      | dcim(?:[\\/].*)? | exif[_ ]?jpeg(?:[_ ]picture)? | jpeg\ picture | lead\ technologies.*
      | samsung(?:\ (?:camera|techwin|electronics).*)? | casio\ computer.* | kodak.*camera
      | <?\ ?kenox.* | <?digimax.* | my\ beautiful\ picture | applemark | mms | jpegmini.*
      | (?:created|generated|made|edited|processed|optimi[sz]ed|compressed)\ (?:with|by|in|using)\b
          .*(?:gimp|adobe|photoshop|lightroom|picasa|paint|magick|snapseed|canva|ezgif|acdsee|
              irfanview|jpeg|pixelmator|affinity|\d\.\d).*
      | file\ written\ by.* | .{0,60}\bversion\ \d[\d.]*
      | creator:.* | file\ source:.* | software:.* | acd\ systems.* | adobe\ .*
      | (?:[a-z0-9]{2,6}_)?(?:hdr|hdrpl|rhdr|nor|cof|sdr|edf|mde|fbt|fptbty|oznor|oznorco|dav|ptr
          |tru|rpt|btf|rbt|qrf|vhdr|hdrnr|snor)
          (?:[_;].*)?
      | (?:img|dsc[nf_]?|pict?|p|pxl|mvi|gopr?|gx|dji|sam|cimg|hpim|imag|photo|image|scan|wp
          |vid|stphoto|kic|s|dcp|mg|_mg|_dsc|_img)?[-_ ]?\d[\w()-]*(?:\.\w{2,4})?
      | screenshot(?:[-_ ].*\d.*)? | whatsapp\ image\ \d.*
      | [\s!-@\[-`{-~]+
      | [0-9a-f]{16,} | [0-9a-f-]{36}
      | \{.*\} | <\?xml.*
    )
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_SETTING = re.compile(r"[\w.\[\] -]{1,60}=")  # which microscopes and renderers write by the dozen
_EXTENSION = re.compile(
    r"\.(?:jpe?g|png|tiff?|gif|bmp|webp|hei[cf]|avif|nef|cr[23]|arw|dng|raf)\Z", re.I
)


def person_text(text: str | None, *, not_like: Iterable[str | None] = ()) -> str | None:
    """A text that describes its image, or None: names of files and defaults of cameras do not.

    Args:
        text: What a field says.
        not_like: What it must not repeat: the camera, the software, the file's own name.
    """
    text = clean_text(text) if text else None
    if text is None or len(text) > MAX_TEXT:
        return None
    if _CONTROL.search(text) or "\ufffd" in text:
        return None
    lines = text.splitlines()
    if len(lines) > 1 and all(_SETTING.match(line) for line in lines):
        return None
    plain = text.casefold()
    if len(text) <= 200 and (
        _MACHINE.fullmatch(text) or (_EXTENSION.search(text) and " " not in text)
    ):
        return None
    return None if any(plain == other.casefold() for other in not_like if other) else text
