"""Who asks, and by which scheme, where proxies stand between."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from starlette.types import Scope

from ..errors import InvalidInputError

__all__ = ["Proxies", "checked_proxies", "client_network"]

_SAID_BY_PROXIES = (
    b"forwarded",
    b"true-client-ip",
    b"x-client-ip",
    b"x-gradio-server",  # which Gradio takes for its own address
    b"x-real-ip",
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxies:
    """The proxies that are believed; none are where none are given.

    Args:
        addresses: IP addresses and networks, such as 10.0.0.0/8.

    Raises:
        InvalidInputError: One is neither.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self._networks = []
        for text in addresses:
            try:
                self._networks.append(ipaddress.ip_network(text, strict=False))
            except ValueError:
                raise InvalidInputError(
                    f"--proxy {text} is no IP address or network; write 10.0.0.5 or 10.0.0.0/8"
                ) from None

    def apply(self, scope: Scope) -> None:
        """Give a request the address and scheme that a believed proxy says, and drop the rest.

        Nothing behind this sees the headers; so what anyone else claims has no effect.

        Args:
            scope: Of the request; changed.
        """
        said: dict[bytes, list[str]] = {}
        kept = []
        for name, value in scope["headers"]:
            if name.startswith(b"x-forwarded-") or name in _SAID_BY_PROXIES:
                said.setdefault(name, []).extend(value.decode("latin-1").split(","))
            else:
                kept.append((name, value))
        if len(kept) == len(scope["headers"]):
            return
        scope["headers"] = kept
        host, port = scope.get("client") or ("", 0)
        if not self._believed(host):
            return
        scheme = said.get(b"x-forwarded-proto", [""])[-1].strip().lower()
        if scheme in ("http", "https"):
            scope["scheme"] = scheme
        for entry in reversed(said.get(b"x-forwarded-for", [])):
            address = _address(entry)
            if address is None:
                break
            scope["client"] = (str(address), port)
            if not self._believed(str(address)):
                break

    def _believed(self, host: str) -> bool:
        address = _address(host)
        return address is not None and any(address in network for network in self._networks)


def checked_proxies(given: Sequence[str] | None) -> tuple[str, ...]:
    """What `--proxy` names.

    Raises:
        InvalidInputError: One is no address.
    """
    Proxies(given or ())
    return tuple(given or ())


def client_network(host: str) -> str:
    """What counts as one client: an address, or the network of one that has version 6."""
    address = _address(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host if address is None else str(address)


def _address(text: str) -> Address | None:
    """The address in `1.2.3.4`, `1.2.3.4:5`, `::1` or `[::1]:5`."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped
