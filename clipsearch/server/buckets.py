"""How often a client may do something: a bucket of tokens for each, in constant memory."""

from __future__ import annotations

import time
from collections import OrderedDict

__all__ = ["Buckets"]

_MAX_CLIENTS = 10_000  # remembered; the one that was quiet longest is forgotten


class Buckets:
    """Full buckets at first; each is refilled at a rate and never holds more than the burst.

    Args:
        rate: Tokens a second.
        burst: Tokens of a full bucket.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when

    def left(self, client: str) -> float:
        """Tokens in a client's bucket now."""
        tokens, at = self._buckets.get(client, (self._burst, 0.0))
        return min(self._burst, tokens + (time.monotonic() - at) * self._rate)

    def is_full(self, client: str) -> bool:
        """Whether the client took none of late."""
        return self.left(client) >= self._burst

    def wait_s(self, client: str) -> int:
        """Seconds until the client may take a token, rounded up; 0 for now."""
        missing = 1.0 - self.left(client)
        return 0 if missing <= 0 else max(1, round(missing / self._rate + 0.5))

    def take(self, client: str) -> int:
        """Take a token; if there is none, nothing is taken.

        Returns:
            Seconds to wait, 0 if there was one.
        """
        wait = self.wait_s(client)
        tokens = self.left(client) - (not wait)
        self._buckets[client] = (tokens, time.monotonic())
        self._buckets.move_to_end(client)
        while len(self._buckets) > _MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return wait
