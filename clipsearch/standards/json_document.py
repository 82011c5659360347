"""JSON beside an image: Google Takeout's, exiftool's, and the plain kinds with a caption."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import Any

from .coordinates import place_of_degrees, place_of_texts
from .dates import parse_date, utc_of_timestamp
from .description import Description
from .texts import clean_keywords, clean_text, person_text

__all__ = ["CAPTION_KEYS", "caption_of", "describe_json", "title_of"]

CAPTION_KEYS = ("caption", "description", "title", "text")  # of a JSON document, by preference
_EXIFTOOL_CAPTIONS = ("imagedescription", "caption-abstract", "alttextaccessibility", "headline")
_KEYWORD_KEYS = ("tags", "keywords", "subject", "people", "personinimage")
_TAKEN_KEYS = ("datetimeoriginal", "date_taken", "taken_at", "datetaken", "datecreated")
_DIGITIZED_KEYS = ("createdate", "datetimedigitized")
_TAKEOUT = ("photoTakenTime", "geoData", "geoDataExif", "photoLastModifiedTime")


def describe_json(document: Any) -> Description:
    """The description in a JSON document; empty for one that has none.

    Google Takeout's times are UTC, and stay so: the document does not say where it was taken.
    """
    if isinstance(document, list) and len(document) == 1:
        document = document[0]  # exiftool's
    if not isinstance(document, dict):
        return Description()
    if any(key in document for key in _TAKEOUT):
        return _of_takeout(document)
    fields = {str(key).rpartition(":")[2].casefold(): value for key, value in document.items()}
    keywords = [word for key in _KEYWORD_KEYS for word in _words(fields.get(key))]
    latitude, longitude = (
        _first(fields, (f"gps{axis}", axis, axis[:3])) for axis in ("latitude", "longitude")
    )
    return Description(
        original=_date(fields, _TAKEN_KEYS),
        digitized=_date(fields, _DIGITIZED_KEYS),
        place=place_of_texts(
            latitude, longitude, fields.get("gpslatituderef"), fields.get("gpslongituderef")
        ),
        caption=_caption(fields, (*CAPTION_KEYS, *_EXIFTOOL_CAPTIONS)),
        keywords=clean_keywords(keywords),
    )


def caption_of(document: Any) -> str | None:
    """The caption in a JSON document, if it has one."""
    return describe_json(document).caption if isinstance(document, dict) else None


def title_of(document: Any) -> str | None:
    """The name of the image that a document of Google Takeout belongs to."""
    title = document.get("title") if isinstance(document, dict) else None
    return title if isinstance(title, str) else None


def _of_takeout(document: Mapping[str, Any]) -> Description:
    """The title is the name of the file there, so it is no caption."""
    taken = document.get("photoTakenTime")
    description = _text(document.get("description"))
    places = (document.get(key) for key in ("geoData", "geoDataExif"))
    found = (
        place_of_degrees(place.get("latitude"), place.get("longitude"))
        for place in places
        if isinstance(place, dict)
    )
    return Description(
        original=utc_of_timestamp(taken.get("timestamp")) if isinstance(taken, dict) else None,
        place=next((place for place in found if place), None),
        caption=clean_text(html.unescape(description)) if description else None,
        keywords=clean_keywords(_words(document.get("people"))),
    )


def _caption(fields: Mapping[str, Any], keys: Iterable[str]) -> str | None:
    for key in keys:
        text = _text(fields.get(key))
        text = person_text(text) if key == "title" else clean_text(text or "")
        if text:
            return text
    return None


def _text(value: Any) -> str | None:
    """A text, or the first of several, or the English one of several languages."""
    if isinstance(value, dict):
        value = value.get("en") or list(value.values())
    if isinstance(value, list):
        value = next((one for one in value if isinstance(one, str)), None)
    return value if isinstance(value, str) else None


def _words(value: Any) -> list[str]:
    if isinstance(value, str):
        return value.replace(";", ",").split(",")
    if not isinstance(value, list):
        return []
    named = (one.get("name") if isinstance(one, dict) else one for one in value)
    return [word for word in named if isinstance(word, str)]


def _first(fields: Mapping[str, Any], keys: Iterable[str]) -> Any:
    return next((fields[key] for key in keys if fields.get(key) is not None), None)


def _date(fields: Mapping[str, Any], keys: Iterable[str]) -> str | None:
    return next((date for key in keys if (date := parse_date(fields.get(key)))), None)
