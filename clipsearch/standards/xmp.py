"""XMP, in an image or beside it: RDF that is read without entities and with bounds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .coordinates import place_of_texts
from .dates import parse_date
from .description import Description, camera_of
from .texts import clean_keywords, clean_text, decode, person_text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

__all__ = ["MAX_XMP_BYTES", "describe_xmp"]

MAX_XMP_BYTES = 4 * 1024 * 1024  # histories of edits make some large; more is not worth its time
_MOST_DEPTH = 12
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_NAMESPACES = {
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
    "http://ns.adobe.com/lightroom/1.0/": "lr",
    "http://www.digikam.org/ns/1.0/": "digiKam",
    "http://ns.microsoft.com/photo/1.0": "MicrosoftPhoto",
    "http://ns.microsoft.com/photo/1.0/": "MicrosoftPhoto",
    "http://ns.microsoft.com/photo/1.2/t/Region#": "MPReg",
    "http://ns.acdsee.com/iptc/1.0/": "acdsee",
    "http://ns.iview-multimedia.com/mediapro/1.0/": "mediapro",
    "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/": "Iptc4xmpCore",
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": "Iptc4xmpExt",
    "http://www.metadataworkinggroup.com/schemas/regions/": "mwg-rs",
}
_CAPTIONS = (
    "dc:description", "tiff:ImageDescription", "acdsee:caption",
    "Iptc4xmpCore:AltTextAccessibility", "Iptc4xmpCore:ExtDescrAccessibility",
    "photoshop:Headline", "dc:title", "exif:UserComment",
)  # fmt: skip
_KEYWORDS = ("dc:subject", "acdsee:keywords")
# Keywords within keywords, and what parts them; the last one says what is on the image.
_PATHS = {
    "lr:hierarchicalSubject": "|",
    "mediapro:CatalogSets": "|",
    "digiKam:TagsList": "/",
    "MicrosoftPhoto:LastKeywordXMP": "/",
}
_FACES = ("mwg-rs:Name", "MPReg:PersonDisplayName")
_PEOPLE = ("Iptc4xmpExt:PersonInImage", *_FACES)

# Phones write XMP that says nothing of these, which need not be parsed.
_TOLD = re.compile(
    rb"[\w-]:(?:description|ImageDescription|caption|AltText\w*|ExtDescr\w*|Headline|title|UserComment"
    rb"|subject|keywords|hierarchicalSubject|CatalogSets|TagsList|LastKeywordXMP|PersonInImage|Name"
    rb"|PersonDisplayName|DateTime\w*|DateCreated|CreateDate|ModifyDate|GPSLatitude|Make|Model)\b"
)

_Texts = dict[str, list[tuple[str, str]]]  # property -> language and text of each value


def describe_xmp(data: bytes) -> Description | None:
    """The description in an XMP packet or file; None if it cannot be read."""
    if b"\0" not in data.strip(b"\0") and b"rdf:RDF" in data and not _TOLD.search(data):
        return Description()
    root = _parsed(data)
    if root is None:
        return None
    said: _Texts = {}
    for rdf in root.iter(f"{_RDF}RDF"):
        for description in rdf:
            _collect(description, said)
    if b"regions/" in data or b"photo/1.2" in data:
        _collect_people(root, said)

    def one(name: str) -> str | None:
        return _preferred(said.get(name, ()))

    keywords = [text for name in _KEYWORDS for _, text in said.get(name, ())]
    for name, mark in _PATHS.items():
        keywords += [text.rstrip(mark).rpartition(mark)[2] for _, text in said.get(name, ())]
    keywords += [text for name in _PEOPLE for _, text in said.get(name, ())]
    camera = camera_of(one("tiff:Make"), one("tiff:Model"))
    captions = (person_text(one(name), not_like=(camera,)) for name in _CAPTIONS)
    return Description(
        original=_date(one("exif:DateTimeOriginal")) or _date(one("photoshop:DateCreated")),
        digitized=_date(one("exif:DateTimeDigitized")) or _date(one("xmp:CreateDate")),
        modified=_date(one("xmp:ModifyDate")) or _date(one("tiff:DateTime")),
        camera=camera,
        place=place_of_texts(
            one("exif:GPSLatitude"),
            one("exif:GPSLongitude"),
            one("exif:GPSLatitudeRef"),
            one("exif:GPSLongitudeRef"),
        ),
        caption=next((caption for caption in captions if caption), None),
        keywords=clean_keywords(keywords),
    )


def _date(text: str | None) -> str | None:
    return parse_date(text) if text else None


def _parsed(data: bytes) -> Element | None:
    if len(data) > MAX_XMP_BYTES:
        return None
    found = decode(data)
    if found is None or "<" not in found.text:
        return None
    text = found.text[found.text.index("<") : found.text.rfind(">") + 1]
    if text.startswith("<?xml"):  # whose encoding is not that of the text any more
        text = text.partition("?>")[2]
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    try:
        root: Element = fromstring(text, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, RecursionError):
        return None
    return root


def _collect(description: Element, said: _Texts) -> None:
    """The properties of a description: its attributes and children."""
    for name, value in description.attrib.items():
        _note(said, name, "", value)
    for child in description:
        for language, text in _values(child, 0):
            _note(said, child.tag, language, text)


def _collect_people(root: Element, said: _Texts) -> None:
    """The names of faces, which lie deep within the regions of the image."""
    for element in root.iter():
        names = [(element.tag, element.text), *element.attrib.items()]
        for name, text in names:
            if text and _prefixed(name) in _FACES:
                _note(said, name, "", text)


def _values(element: Element, depth: int) -> Iterator[tuple[str, str]]:
    """Language and text of the values of a property: one, or those of its list."""
    lists = [child for child in element if child.tag in (f"{_RDF}Alt", f"{_RDF}Bag", f"{_RDF}Seq")]
    for one in lists:
        for entry in one:
            for language, text in _values(entry, depth + 1) if depth < _MOST_DEPTH else ():
                yield entry.get(_LANGUAGE, language), text
    if lists:
        return
    value = element.find(f"{_RDF}value")
    said: str | None = element.text if value is None and not len(element) else _text_of(value)
    said = said or element.get(f"{_RDF}resource") or element.get(f"{_RDF}value")
    if said:
        yield element.get(_LANGUAGE, ""), said


def _text_of(element: Element | None) -> str | None:
    return None if element is None else element.text


def _prefixed(name: Any) -> str:
    """A property's name with its usual prefix; empty for one that is not read."""
    if not isinstance(name, str):  # of a comment
        return ""
    namespace, _, local = name.lstrip("{").partition("}")
    prefix = _NAMESPACES.get(namespace)
    return f"{prefix}:{local}" if prefix else ""


def _note(said: _Texts, name: Any, language: str, text: str) -> None:
    known = _prefixed(name)
    if known and (clean := clean_text(text)):
        said.setdefault(known, []).append((language.casefold(), clean))


def _preferred(values: Sequence[tuple[str, str]]) -> str | None:
    """Of a text in several languages: the default one, else English, else the first."""
    by_language = dict(reversed(values))
    for language in ("x-default", ""):
        if language in by_language:
            return by_language[language]
    for language, text in values:
        if language.startswith("en"):
            return text
    return values[0][1] if values else None
