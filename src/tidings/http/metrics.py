"""Counting requests cheaply: plain numbers here, Prometheus' text only when somebody asks."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

#: Upper bounds in seconds.
BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})


class Meter(Collector):
    """Requests by method, route and status; their latency by method and route; gauges of the rest of the server."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, int], int] = {}
        self._latency: dict[tuple[str, str], list[float]] = {}
        self._callbacks: dict[tuple[str, str], int] = {}
        self.gauges: Mapping[str, float] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def observe(self, method: str, route: str, status: int, taken_s: float) -> None:
        """One answered request. `route` is the template of its path, so that the labels stay few."""
        if method not in _METHODS:
            method = "other"
        counted = (method, route, status)
        self._counts[counted] = self._counts.get(counted, 0) + 1
        timed = self._latency.get((method, route))
        if timed is None:
            timed = self._latency[method, route] = [0.0] * (len(BOUNDS_S) + 2)
        timed[bisect_left(BOUNDS_S, taken_s)] += 1
        timed[-1] += taken_s

    def count_callback(self, provider: str, result: str) -> None:
        """One call of a carrier to a provider that there is: taken, forged, unreadable or not_kept."""
        self._callbacks[provider, result] = self._callbacks.get((provider, result), 0) + 1

    def collect(self) -> Iterable[Metric]:
        """The metric families."""
        requests = CounterMetricFamily(
            "tidings_http_requests", "Answered requests", labels=("method", "route", "status")
        )
        for (method, route, status), count in self._counts.items():
            requests.add_metric((method, route, str(status)), count)
        yield requests
        callbacks = CounterMetricFamily(
            "tidings_callbacks", "Calls of carriers by what came of them", labels=("provider", "result")
        )
        for counted, count in self._callbacks.items():
            callbacks.add_metric(counted, count)
        yield callbacks
        latency = HistogramMetricFamily(
            "tidings_http_request_seconds", "From the first byte to the last", labels=("method", "route")
        )
        for (method, route), timed in self._latency.items():
            buckets: list[tuple[str, float]] = []
            so_far = 0.0
            for bound, count in zip([*map(str, BOUNDS_S), "+Inf"], timed, strict=False):
                so_far += count
                buckets.append((bound, so_far))
            latency.add_metric((method, route), buckets, timed[-1])
        yield latency
        families: dict[str, GaugeMetricFamily] = {}
        for name, value in self.gauges.items():
            base, _, rest = name.partition("{")
            labels = dict(_LABEL.findall(rest))
            family = families.get(base)
            if family is None:
                family = families[base] = GaugeMetricFamily(base, "See docs, Metrics", labels=tuple(labels))
            family.add_metric(tuple(labels.values()), value)
        yield from families.values()

    def text(self, gauges: Callable[[], Mapping[str, float]]) -> bytes:
        """Prometheus' exposition format 0.0.4."""
        self.gauges = gauges()
        return generate_latest(self._registry)
