"""What the operator of the page decides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator decides.

    Attributes:
        names: Indexes to show, names or folders; None for all in the home of indexes.
        roots: Folders whose images may be shown, beside those that were indexed on this machine,
            and below which the page may index; none allows uploads only.
        language: "en" or "es" whatever the browser says; None follows the browser.
        device: Where models run.
        max_pixels: Of one image that a visitor gives.
        max_upload_bytes: Of one image that a visitor gives.
        shows_paths: Whether the visitor is the person whose files these are, and sees their paths.
        may_build: Whether images may be added from the page.
        allowed_hosts: Host headers answered by an application of the page's own; None answers all.
        proxies: Addresses whose X-Forwarded-* such an application believes.
    """

    names: tuple[str, ...] | None = None
    roots: tuple[Path, ...] = ()
    language: str | None = None
    device: str = "auto"
    max_pixels: int = 50_000_000
    max_upload_bytes: int = 16 * 1024**2
    shows_paths: bool = False
    may_build: bool = True
    allowed_hosts: tuple[str, ...] | None = None
    proxies: tuple[str, ...] = ()
