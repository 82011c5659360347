"""Dates as cameras, programs and people write them, as ISO 8601 local times."""

from __future__ import annotations

import datetime as dt
import email.utils
import re
from typing import Any

from .texts import field_text

__all__ = ["parse_date", "utc_of_timestamp"]

_FIRST_YEAR = 1000  # an archive may date a painting; a year below is a default of a clock
_DAY = re.compile(
    r"(?P<year>\d{4})"
    r"(?:(?P<compact>\d{4})(?!\d)"
    r"|\s*[:/.\-_ ]\s*(?P<month>\d{1,2})(?:\s*[:/.\-_ ]\s*(?P<day>\d{1,2})(?!\d))?)?"
)
_JAPANESE_DAY = re.compile(r"(\d{4})\s*[年년]\s*(\d{1,2})\s*[月월]\s*(\d{1,2})\s*[日일]")
_TIME = re.compile(
    r"(?P<early>[^\d:]*?)(?P<hour>\d{1,2})"
    r"(?:\s*[:.\-_hH時时시]\s*(?P<minute>\d{1,2})|(?P<compact>\d{2}(?:\d{2})?)(?!\d))"
    r"(?:\s*[:.\-_mM'分분]\s*(?P<second>\d{1,3}|0?\s))?(?P<rest>.*)",
    re.DOTALL,
)
_AM = re.compile(r"\b(?:a\.?m\b\.?|오전)|上午|午前|오전", re.I)
_PM = re.compile(r"\b(?:p\.?m\b\.?|오후)|下午|午後|오후", re.I)


def parse_date(value: Any) -> str | None:
    """A date field as an ISO 8601 local time, without its zone and parts of a second.

    Blank and zero fields, and days that no calendar has, are None. A time that no clock has
    leaves the day; a second that no clock has (60) leaves the minute.

    Args:
        value: Text or bytes: `2024:07:04 10:00:00`, `2024-07-04T10:00:00.5+02:00`, `20240704`,
            `Thu, 04 Jul 2024 10:00:00 GMT` and whatever is close to these.

    Returns:
        `2024-07-04T10:00:00`, or `2024-07-04`, `2024-07`, `2024` where no more is said; or None.
    """
    text = field_text(value)
    if text is None or len(text) > 100:
        return None
    text = text.strip(" \t\r\n\"'")
    if found := _JAPANESE_DAY.match(text):
        text = "-".join(found.groups()) + " " + text[found.end() :]
    found = _DAY.match(text)
    if found is None:
        return _spelled_out(text)
    year, month, day = int(found["year"]), _number(found["month"]), _number(found["day"])
    if found["compact"]:
        month, day = int(found["compact"][:2]), int(found["compact"][2:])
    rest = text[found.end() :]
    if year < _FIRST_YEAR or re.match(r"\d", rest):
        return None
    if month is None or day is None:
        said = re.search(r"\d", rest)  # of a day that cannot be read, or a month of 13 digits
        if said or month == 0 or (month or 1) > 12:
            return None
        return f"{year:04}" if month is None else f"{year:04}-{month:02}"
    try:
        date = dt.date(year, month, day)
    except ValueError:
        return None
    clock = _clock(rest)
    return date.isoformat() if clock is None else f"{date.isoformat()}T{clock.isoformat()}"


def utc_of_timestamp(value: Any) -> str | None:
    """Seconds since 1970, a number or text, as a UTC time; None for none, 0 and nonsense."""
    try:
        seconds = float(value)
        if not seconds:
            return None
        if abs(seconds) > 1e11:  # milliseconds
            seconds /= 1000
        start = dt.datetime(1970, 1, 1)
        return (start + dt.timedelta(seconds=int(seconds))).isoformat(timespec="seconds")
    except (TypeError, ValueError, OverflowError):
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text else None


def _clock(text: str) -> dt.time | None:
    """The time after a day; None where none is said, or one that no clock has."""
    found = _TIME.match(text.lstrip("Tt :,;-_"))
    if found is None:
        return None
    hour, minute, second = int(found["hour"]), found["minute"], found["second"]
    if found["compact"]:
        minute, second = found["compact"][:2], found["compact"][2:]
    around = found["early"] + found["rest"]
    if hour <= 12 and _PM.search(around):
        hour = hour % 12 + 12
    elif hour == 12 and _AM.search(around):
        hour = 0
    seconds = int(second) if second and second.strip() else 0
    try:
        return dt.time(hour, int(minute or 0), seconds if seconds < 60 else 0)
    except ValueError:
        return None


def _spelled_out(text: str) -> str | None:
    """A date as mail and C write it: with the name of the month."""
    try:
        found = email.utils.parsedate(text)
        if found is None or found[0] < _FIRST_YEAR or not re.search(r"\d{4}", text):
            return None
        hour, minute, second = found[3:6]
        moment = dt.datetime(*found[:3], hour, minute, second if second < 60 else 0)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment.isoformat() if ":" in text else moment.date().isoformat()
