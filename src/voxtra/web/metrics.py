"""Metrics in Prometheus' form: requests as they are counted here, the rest as the database has it.

Every label is out of a closed list (route templates, methods, classes of status, states, kinds of
jobs): nothing that a client or a caller writes becomes one. The numbers of the database are those
of the whole service, whichever of its processes is asked.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from voxtra.model import RecordingState
from voxtra.service.context import Service
from voxtra.store.usage import Backlog, backlog
from voxtra.version import __version__

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

FRESH: Final = 5.0
"""Seconds that numbers of the database are good for, however often somebody asks."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The metrics of one process, in a registry of its own."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._looked = -FRESH
        self._one = asyncio.Lock()
        self.registry = CollectorRegistry()
        info = Gauge(
            "voxtra_info", "1, with the version.", ["version", "node"], registry=self.registry
        )
        info.labels(__version__, service.node).set(1)
        self._requests = Counter(
            "voxtra_http_requests",
            "Requests by route, method and class of status (0xx: never answered).",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "voxtra_http_request_seconds",
            "Seconds from the request to the end of its answer.",
            ["route", "method"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._live = self._gauge("recordings_live", "Recordings that are not finished.", "state")
        self._jobs = self._gauge("jobs_waiting", "Jobs that wait or are being done.", "kind")
        self._deliveries = self._gauge("deliveries_waiting", "Deliveries that have not arrived.")
        self._age = self._gauge(
            "deliveries_oldest_seconds", "Age of the oldest delivery that has not arrived."
        )
        self._events = self._gauge("events_last", "Number of the newest event.")
        self._used = self._gauge("disk_used_ratio", "Used share of the fullest disk.")
        self._free = self._gauge("disk_free_bytes", "Bytes left on the fullest disk.")
        self._pressure = self._gauge("disk_pressure", "0: none, 1: low, 2: tight, 3: full.")
        self._refusing = self._gauge("disk_refuses_recordings", "1: no new recording begins.")

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; `route` is a template, `status` 0 if it was never answered."""
        method = method if method in _METHODS else "OTHER"
        self._requests.labels(route, method, f"{status // 100}xx").inc()
        self._seconds.labels(route, method).observe(seconds)

    async def text(self) -> bytes:
        """Return all metrics as text. Raises what the database raises."""
        async with self._one:
            if time.monotonic() - self._looked >= FRESH:
                async with self._service.database.read() as connection:
                    found = await backlog(connection)
                self._set(found)
                self._looked = time.monotonic()
        return generate_latest(self.registry)

    def _set(self, found: Backlog) -> None:
        for state in RecordingState:
            if not state.is_final:
                self._live.labels(state.value).set(found.live.get(state.value, 0))
        for kind, number in found.jobs.items():
            self._jobs.labels(kind).set(number)
        self._deliveries.set(found.deliveries)
        oldest = found.oldest_delivery
        now = self._service.clock()
        self._age.set(0 if oldest is None else max(0.0, (now - oldest).total_seconds()))
        self._events.set(found.events)
        plan = self._service.disk.plan
        self._pressure.set(plan.pressure)
        self._refusing.set(plan.refuse_recordings)
        if plan.volume is not None:
            self._used.set(plan.volume.used)
            self._free.set(plan.volume.free)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"voxtra_{name}", text, labels, registry=self.registry)
