"""IPTC-IIM, the records that news agencies and older photo programs write."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Mapping

from .dates import parse_date
from .description import Description
from .texts import clean_keywords, clean_text, field_text, person_text

__all__ = ["describe_iptc", "iptc_of_info", "iptc_of_resources"]

_MARK = 0x1C
_UTF8 = b"\x1b%G"  # of the field that names the encoding
_CHARSET = (1, 90)
_TITLE, _KEYWORD, _HEADLINE, _CAPTION = (2, 5), (2, 25), (2, 105), (2, 120)
_CREATED, _CREATED_AT, _SCANNED, _SCANNED_AT = (2, 55), (2, 60), (2, 62), (2, 63)
_MOST_FIELDS = 5000
_IPTC_RESOURCE = 0x0404  # of Photoshop's


def describe_iptc(data: bytes) -> Description:
    """The description in IPTC-IIM records; broken ones end where they are broken."""
    fields: dict[tuple[int, int], list[bytes]] = {}
    for count, (key, value) in enumerate(_fields(data)):
        if count >= _MOST_FIELDS:
            break
        fields.setdefault(key, []).append(value)
    is_utf8 = fields.get(_CHARSET, [b""])[0] == _UTF8

    def texts(key: tuple[int, int]) -> list[str]:
        found = (_text(value, is_utf8) for value in fields.get(key, ()))
        return [text for text in found if text]

    def date(day: tuple[int, int], clock: tuple[int, int]) -> str | None:
        return _date("".join(texts(day)[:1]), "".join(texts(clock)[:1]))

    captions = (text for key in (_CAPTION, _HEADLINE, _TITLE) for text in texts(key))
    return Description(
        original=date(_CREATED, _CREATED_AT),
        digitized=date(_SCANNED, _SCANNED_AT),
        caption=next((found for text in captions if (found := person_text(text))), None),
        keywords=clean_keywords(word for text in texts(_KEYWORD) for word in text.split(";")),
    )


def _fields(data: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    at = 0
    while at + 5 <= len(data):
        if data[at] != _MARK:
            at += 1  # padding
            continue
        record, dataset, size = struct.unpack_from(">BBH", data, at + 1)
        at += 5
        if size & 0x8000:  # the size is in so many bytes
            width = size & 0x7FFF
            if width > 4:
                return
            size = int.from_bytes(data[at : at + width], "big")
            at += width
        yield (record, dataset), data[at : at + size]
        at += size


def _text(value: bytes, is_utf8: bool) -> str | None:
    if is_utf8:
        return clean_text(value.rstrip(b"\0 ").decode("utf-8", "ignore"))
    return field_text(value)


def _date(day: str, clock: str) -> str | None:
    """CCYYMMDD, in which month and day may be zero, and HHMMSS+HHMM."""
    if len(day) == 8 and day.isdecimal():
        if day.endswith("0000"):
            return parse_date(day[:4])
        if day.endswith("00"):
            return parse_date(f"{day[:4]}-{day[4:6]}")
        if clock[:6].isdecimal() and len(clock) >= 6:
            return parse_date(f"{day} {clock[:6]}")
    return parse_date(f"{day} {clock}".strip())


def iptc_of_resources(data: bytes) -> bytes | None:
    """The IPTC records among Photoshop's image resources ("8BIM"), or the data itself."""
    if data[:1] == bytes([_MARK]):
        return data
    at = data.find(b"8BIM")
    with contextlib.suppress(struct.error, IndexError):
        while at >= 0 and data[at : at + 4] == b"8BIM":
            (code,) = struct.unpack_from(">H", data, at + 4)
            name = data[at + 6] + 1
            start = at + 6 + name + name % 2
            (size,) = struct.unpack_from(">I", data, start)
            if code == _IPTC_RESOURCE:
                return data[start + 4 : start + 4 + size]
            at = start + 4 + size + size % 2
    return None


def iptc_of_info(resources: object) -> bytes | None:
    """The IPTC records among resources that Pillow has read apart."""
    found = resources.get(_IPTC_RESOURCE) if isinstance(resources, Mapping) else None
    return found if isinstance(found, bytes) else None
