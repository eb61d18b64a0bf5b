"""
Exposition: the numbers of all workers in Prometheus's text form, on a listener of their own.

Who may connect may read them; nothing here is for the public. Only this module knows prometheus_client.
"""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
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
            so_far = [sum(counts[: number + 1]) for number in range(len(counts))]
            family.add_metric(labels, buckets=list(zip(bounds, so_far, strict=True)), sum_value=seconds)
        return family


class _Server(ThreadingMixIn, WSGIServer):
    """Answers few at once, since few ask, and none for long."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, app: Callable[..., Iterable[bytes]]) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = listener.getsockname()[:2]
        self.setup_environ()
        self.set_app(app)
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


class _Handler(WSGIRequestHandler):
    timeout = CONNECTION_SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def serve_totals(listener: socket.socket, totals: Totals, version: str) -> None:
    """Answer `GET /metrics` on a listening socket, on threads that end with the process."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Summed(totals, version))
    tell = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == PATH and environ["REQUEST_METHOD"] == "GET":
            told: Iterable[bytes] = tell(environ, start_response)
            return told
        status = HTTPStatus.NOT_FOUND
        start_response(f"{status.value} {status.phrase}", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"The metrics are at {PATH}.\n".encode()]

    threading.Thread(target=_Server(listener, answer).serve_forever, name="metrics", daemon=True).start()
