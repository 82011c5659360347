"""Fetching an image that the person at the terminal names by its URL. Servers never do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import InvalidInputError

if TYPE_CHECKING:
    import httpx

__all__ = ["fetch_image", "without_secrets"]

_MAX_BYTES = 64 * 1024**2
_MAX_S = 30.0  # for all of it; a server that sends a byte now and then would never time out
_MAX_REDIRECTS = 5
_OTHER_TYPES = ("", "application/octet-stream", "binary/octet-stream")
_HEADERS = {"Accept": "image/*", "User-Agent": "clipsearch"}


def fetch_image(url: str) -> bytes:
    """The bytes of an image on the web.

    Args:
        url: Begins with `http://` or `https://`.

    Raises:
        InvalidInputError: It cannot be fetched within the limits, or is no image.
    """
    import httpx

    shown = without_secrets(url)
    deadline = time.monotonic() + _MAX_S
    try:
        with (
            httpx.Client(
                follow_redirects=True,
                max_redirects=_MAX_REDIRECTS,
                timeout=_MAX_S / 2,
                headers=_HEADERS,
            ) as client,
            client.stream("GET", url) as answer,
        ):
            if not answer.is_success:
                raise InvalidInputError(f"cannot fetch {shown}: HTTP status {answer.status_code}")
            kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if not kind.startswith("image/") and kind not in _OTHER_TYPES:
                raise InvalidInputError(
                    f"{shown} is not an image but {kind}; give the URL of the image itself"
                )
            return _read(answer, shown, deadline)
    except InvalidInputError:
        raise
    except httpx.TooManyRedirects as exc:
        raise InvalidInputError(
            f"cannot fetch {shown}: more than {_MAX_REDIRECTS} redirects"
        ) from exc
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as exc:
        detail = " ".join(str(exc).split()) or type(exc).__name__
        raise InvalidInputError(f"cannot fetch {shown}: {detail}") from exc


def _read(answer: httpx.Response, shown: str, deadline: float) -> bytes:
    data = bytearray()
    for part in answer.iter_bytes(64 * 1024):
        data += part
        if len(data) > _MAX_BYTES:
            raise InvalidInputError(f"{shown} is larger than {_MAX_BYTES // 1024**2} MB")
        if time.monotonic() > deadline:
            raise InvalidInputError(f"{shown} takes longer than {_MAX_S:g} s")
    if not data:
        raise InvalidInputError(f"{shown} is empty")
    return bytes(data)


def without_secrets(url: str) -> str:
    """A URL to show: without name, password and what follows `?`."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    except ValueError:
        return url.partition("?")[0]
