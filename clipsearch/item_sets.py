"""Sets of items of any size, kept under a token that stands for them in filters and links."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence

from .cache import cache_folder, read_entry, write_entry
from .errors import InvalidInputError

__all__ = ["is_token", "keep_items", "kept_items"]

_TOKEN = re.compile("[0-9a-f]{32}")


def is_token(text: str) -> bool:
    """Whether a text has the form of a token."""
    return _TOKEN.fullmatch(text) is not None


def keep_items(index_id: str, items: Sequence[str]) -> str:
    """Keep a set of items in the cache, which drops it when it was not used for long.

    The token is a hash of the set, so that it never stands for another one.

    Args:
        index_id: Of the index.
        items: The items, each as one text that names it and its content.

    Returns:
        The token, 32 hex digits.

    Raises:
        InvalidInputError: The cache cannot be written.
    """
    data = f"{index_id}\n{json.dumps(sorted(items))}".encode()
    token = hashlib.sha256(data).hexdigest()[:32]
    name = f"items/{token}.json"
    write_entry(name, data)
    if read_entry(name) != data:
        raise InvalidInputError(
            f"the selection cannot be kept, as {cache_folder()} cannot be written; select fewer "
            "images, or set CLIPSEARCH_CACHE to another folder"
        )
    return token


def kept_items(token: str) -> tuple[str, str]:
    """What a token stands for: the id of an index, and its items as a JSON list.

    Raises:
        InvalidInputError: It is no token, or its set is no longer kept.
    """
    data = read_entry(f"items/{token}.json") if is_token(token) else None
    if data is None or hashlib.sha256(data).hexdigest()[:32] != token:
        raise InvalidInputError(
            f"the selection {token!r} is no longer kept on this machine; select the images again"
        )
    index_id, _, items = data.decode().partition("\n")
    return index_id, items
