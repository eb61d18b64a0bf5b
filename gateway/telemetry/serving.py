"""Serving the metrics: what the process does that starts the workers."""

import socket

from gateway.telemetry.metric_reports import Totals


def serve_metrics(listener: socket.socket, version: str) -> socket.socket:
    """Serve `/metrics` of all workers on a listening socket, and give where each of them sends its reports."""
    from gateway.telemetry.exposition import serve_totals  # with its library, for who wants metrics alone

    totals = Totals()
    serve_totals(listener, totals, version)
    return totals.listen()
