"""Metrics in Prometheus form, and one log line a request without anything that users wrote."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..names import shown
from .problems import Problem, problem_response

__all__ = ["Telemetry", "TelemetryMiddleware", "access_log"]

access_log = logging.getLogger("clipsearch.access")
error_log = logging.getLogger("clipsearch.server")

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Telemetry:
    """The numbers of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "clipsearch_requests",
            "Requests answered.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.latency = Histogram(
            "clipsearch_request_seconds",
            "Time to answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "clipsearch_requests_in_flight", "Requests under way.", registry=self.registry
        )
        self.refused = Counter(
            "clipsearch_refused",
            "Requests refused before any work.",
            ["code"],
            registry=self.registry,
        )
        self.skipped = Counter(
            "clipsearch_skipped_files",
            "Uploaded images that could not be decoded.",
            registry=self.registry,
        )
        self._batches = Histogram(
            "clipsearch_batch_size",
            "Values encoded in one call of the model.",
            ["kind"],
            buckets=_SIZES,
            registry=self.registry,
        )
        self._watched = _Watched()
        self.registry.register(self._watched)

    def batch_observer(self, kind: str) -> Callable[[int], None]:
        """What a batcher of that kind reports its batch sizes to."""
        histogram = self._batches.labels(kind)
        return lambda size: histogram.observe(size)

    def watch_queue(self, kind: str, read: Callable[[], int]) -> None:
        """Report how many values wait in a queue."""
        self._watched.queues[kind] = read

    def watch_index(self, name: str, read: Callable[[], tuple[int, int]]) -> None:
        """Report the generation and the number of items of an index."""
        self._watched.indexes[name] = read

    def exposition(self) -> bytes:
        """All metrics as text."""
        return generate_latest(self.registry)


class _Watched(Collector):
    """Gauges that are read when they are asked for."""

    def __init__(self) -> None:
        self.queues: dict[str, Callable[[], int]] = {}
        self.indexes: dict[str, Callable[[], tuple[int, int]]] = {}

    def collect(self) -> Iterable[GaugeMetricFamily]:
        queue = GaugeMetricFamily("clipsearch_queue", "Values waiting.", labels=["kind"])
        for kind, read in self.queues.items():
            queue.add_metric([kind], read())
        generation = GaugeMetricFamily(
            "clipsearch_index_generation", "Number of the committed state.", labels=["index"]
        )
        items = GaugeMetricFamily("clipsearch_index_items", "Items.", labels=["index"])
        for name, numbers in self.indexes.items():
            try:
                now, count = numbers()
            except Exception:  # a broken index must not hide the other metrics
                error_log.exception("cannot read index %s for the metrics", name)
                continue
            generation.add_metric([shown(name)], now)
            items.add_metric([shown(name)], count)
        return (queue, generation, items)


class TelemetryMiddleware:
    """Request id, metrics, access log, last-resort errors."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 0

        async def reply(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                identified = (b"x-request-id", request_id.encode())
                message["headers"] = [*message.get("headers", ()), identified]
            await send(message)

        self._telemetry.in_flight.inc()
        try:
            await self._app(scope, receive, reply)
        except Exception as exc:
            error_log.exception("request %s failed", request_id, exc_info=exc)
            if status == 0:
                problem = Problem(500, "internal", "an unexpected error; the log says more")
                await problem_response(problem, request_id)(scope, receive, reply)
        finally:
            self._telemetry.in_flight.dec()
            self._note(scope, request_id, status, time.perf_counter() - started)

    def _note(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = route_of(scope)
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        self._telemetry.requests.labels(route, method, str(status)).inc()
        self._telemetry.latency.labels(route).observe(seconds)
        if access_log.isEnabledFor(logging.INFO):
            access_log.info(
                json.dumps(
                    {
                        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                        "request_id": request_id,
                        "client": (scope.get("client") or ("",))[0],
                        "method": method,
                        "route": route,  # the pattern: no names, ids, words or tokens
                        "status": status,
                        "ms": round(1000 * seconds, 2),
                    }
                )
            )


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


def route_of(scope: Scope) -> str:
    """The pattern that matched, such as /v1/indexes/{name}/search; never what the user typed."""
    route: Any = scope.get("route")
    path = getattr(route, "path", None)
    if isinstance(path, str) and path:
        return path
    return "(ui)" if scope.get("root_path") or scope.get("app_root_path") else "(none)"


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            if _REQUEST_ID.fullmatch(text):
                return str(text)
    return uuid.uuid4().hex
