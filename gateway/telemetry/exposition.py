"""
Exposition: the numbers of all workers in Prometheus's text form, on a listener of their own.

Who may connect may read them; nothing here is for the public. Only this module knows prometheus_client.
"""

import socket
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, MetricsHandler
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gateway.telemetry.metric_reports import Totals
from gateway.telemetry.metrics import BUILD_INFO, METRICS, Kind, Metric

PATH = "/metrics"
MAX_CONNECTIONS = 8
CONNECTION_SECONDS = 10.0


class Summed(Collector):
    """Gives prometheus_client all that there is in `Totals`."""

    def __init__(self, totals: Totals, version: str) -> None:
        self._totals = totals
        self._version = version

    def collect(self) -> Iterator[Family]:
        """Give each metric of `METRICS`, in their order."""
        gauges = self._totals.gauges()
        for metric in METRICS:
            match metric.kind:
                case Kind.COUNTER:
                    yield self._counter(metric)
                case Kind.HISTOGRAM:
                    yield self._histogram(metric)
                case Kind.GAUGE:
                    family = GaugeMetricFamily(metric.name, metric.meaning, labels=metric.labels)
                    if metric is BUILD_INFO:
                        family.add_metric((self._version,), 1)
                    elif metric.name in gauges:
                        family.add_metric((), gauges[metric.name])
                    yield family

    def _counter(self, metric: Metric) -> Family:
        family = CounterMetricFamily(metric.name, metric.meaning, labels=metric.labels)
        for labels, (count,) in self._totals.series(metric.name):
            family.add_metric(labels, count)
        return family

    def _histogram(self, metric: Metric) -> Family:
        family = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
        bounds = [*map(floatToGoString, metric.bounds), "+Inf"]
        for labels, (*counts, seconds) in self._totals.series(metric.name):
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            family.add_metric(labels, buckets=buckets, sum_value=seconds)
        return family


class _Server(ThreadingHTTPServer):
    """Answers few at once, since few ask, and none for long."""

    def __init__(self, listener: socket.socket, registry: CollectorRegistry) -> None:
        super().__init__(listener.getsockname()[:2], _handler(registry), bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self._room = threading.BoundedSemaphore(MAX_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: who asked has gone, or was too slow."""


def _handler(registry: CollectorRegistry) -> type[MetricsHandler]:
    served = registry

    class Handler(MetricsHandler):
        registry = served
        timeout = CONNECTION_SECONDS

        def do_GET(self) -> None:
            if self.path.partition("?")[0] == PATH:
                super().do_GET()
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        def send_response(self, code: int, message: str | None = None) -> None:
            """Begin an answer, without the header that names the server and its version."""
            self.send_response_only(code, message)
            self.send_header("Date", self.date_time_string())

    return Handler


def serve_totals(listener: socket.socket, totals: Totals, version: str) -> None:
    """Answer `GET /metrics` on a listening socket, on threads that end with the process."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Summed(totals, version))
    threading.Thread(target=_Server(listener, registry).serve_forever, name="metrics", daemon=True).start()
