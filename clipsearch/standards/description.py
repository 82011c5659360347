"""What one source says of an image, and the order in which sources count."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .texts import clean_keywords

__all__ = ["Description", "camera_of", "combined"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What one source says of an image: a standard in its file, or a file beside it.

    The three dates are ISO 8601 local times, or as much of one as is said.
    """

    original: str | None = None  # when it was taken
    digitized: str | None = None  # when it was scanned or stored, for a camera the same
    modified: str | None = None  # when it was changed, which an editor moves
    camera: str | None = None
    place: tuple[float, float] | None = None  # latitude and longitude in degrees
    caption: str | None = None
    keywords: tuple[str, ...] = ()

    def digest(self) -> str | None:
        """What tells it from another description; None for one that says nothing."""
        said = {name: value for name, value in asdict(self).items() if value}
        if not said:
            return None
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def combined(descriptions: Sequence[Description]) -> Description:
    """One description of several, of which the first that says something counts.

    Of dates, an original one of any source counts before a digitized one of another, and that
    before a modified one. Keywords are joined.
    """
    keywords = [word for one in descriptions for word in one.keywords]
    return Description(
        original=_first(one.original for one in descriptions),
        digitized=_first(one.digitized for one in descriptions),
        modified=_first(one.modified for one in descriptions),
        camera=_first(one.camera for one in descriptions),
        place=_first(one.place for one in descriptions),
        caption=_first(one.caption for one in descriptions),
        keywords=clean_keywords(keywords) if keywords else (),
    )


def _first(values: Iterable[Any]) -> Any:
    return next((value for value in values if value is not None), None)


def camera_of(make: str | None, model: str | None) -> str | None:
    """Maker and model in one phrase, without saying the maker twice.

    `NIKON CORPORATION` and `NIKON D90` are a `NIKON D90`; `Canon` and `Canon EOS` a `Canon EOS`.
    """
    maker = " ".join((make or "").split())
    name = " ".join((model or "").split())
    if not maker or not name:
        return maker or name or None
    brand = maker.split()[0].strip(",.").casefold()
    begins = name.casefold()
    if begins.startswith(maker.casefold()) or begins.split()[0].strip(",.") == brand:
        return name
    return f"{maker} {name}"
