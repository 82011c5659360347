"""The limits of one server."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ServerSettings", "is_loopback"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What a server accepts, and from whom."""

    tokens: tuple[str, ...] = ()  # any of them opens the door; none means no authentication
    allowed_hosts: tuple[str, ...] | None = None  # Host headers answered; None answers all
    proxies: tuple[str, ...] = ()  # addresses and networks whose X-Forwarded-* are believed
    rate_per_s: float | None = None  # requests a second of one client; None is unlimited
    rate_burst: int = 200
    max_in_flight: int = 128  # requests under way at once, waiting ones included
    max_body_bytes: int = 32 * 1024**2
    max_held_bytes: int = 512 * 1024**2  # of the bodies of all requests under way
    body_timeout_s: float = 30.0  # for the whole body
    max_pixels: int = 50_000_000  # of one uploaded image: larger than any phone's photos
    decode_timeout_s: float = 15.0
    max_images: int = 32  # in one request
    max_texts: int = 64
    max_text_length: int = 2000  # characters; models read about 300 of them
    max_labels: int = 256
    max_label_length: int = 200  # characters, synonyms included
    max_sentences: int = 4096  # labels times templates, which is what costs
    max_terms: int = 32  # of one query
    max_k: int = 1000
    max_offset: int = 100_000
    max_batch: int = 64  # texts or images encoded together
    batch_wait_ms: float = 2.0  # that the first of a batch waits for others
    decoders: int = 2
    classifiers_kept: int = 32
    may_build: bool = False  # whether the page may make indexes
    # below which it may (none allows uploads only), and whose images may be shown
    roots: tuple[Path, ...] = ()
    language: str | None = None  # of the page; None follows the browser


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
