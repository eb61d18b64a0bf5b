"""
Reports: how the numbers of all workers come together in the process that started them.

A worker sends what has grown since its last report, once a second and at its end, as a datagram that arrives whole or
not at all. So what a worker counted stays in the sum when it ends; a killed one takes along its last second at most. A
gauge counts while its worker is heard of.
"""

import asyncio
import secrets
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from gateway.telemetry.metrics import EVENT_LOOP_LAG, METRICS, WORKERS, Kind, Metrics, Row

REPORT_SECONDS = 1.0
LAG_LOOKS_OF_A_REPORT = 10
LAG_REPORTS = 15
HEARD_OF_SECONDS = 5.0
ROWS_OF_A_DATAGRAM = 200
MAX_DATAGRAM_BYTES = 1 << 18
LAST_WORDS_SECONDS = 1.0
LAST_WORDS_RETRY_SECONDS = 0.02


class Report(msgspec.Struct, array_like=True):
    """What one worker says: by how much numbers have grown, and its gauges as they are; none in its last report."""

    worker: bytes
    grown: list[Row]
    gauges: dict[str, float]
    is_last: bool = False


def _line() -> tuple[socket.socket, socket.socket]:
    """Give the two ends of the line: where reports are received, and where all workers send them."""
    receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end, option in ((receiving, socket.SO_RCVBUF), (sending, socket.SO_SNDBUF)):
        end.setsockopt(socket.SOL_SOCKET, option, MAX_DATAGRAM_BYTES)
    return receiving, sending


class Reporter:
    """Tells the numbers of this process, and looks how late its event loop is."""

    def __init__(self, metrics: Metrics, sending: socket.socket) -> None:
        sending.setblocking(False)
        self._metrics = metrics
        self._sending = sending
        self._worker = secrets.token_bytes(8)
        self._told: dict[tuple[str, tuple[str, ...]], list[int | float]] = {}
        self._lags: deque[float] = deque(maxlen=LAG_REPORTS)
        metrics.gauges[EVENT_LOOP_LAG] = lambda: max(self._lags, default=None)

    async def follow(self) -> None:
        """Report once a second until cancelled."""
        self._report()
        while True:
            self._lags.append(await _lag_seconds())
            self._report()

    async def close(self) -> None:
        """Report for the last time, if who listens takes it within `LAST_WORDS_SECONDS`."""
        for _ in range(round(LAST_WORDS_SECONDS / LAST_WORDS_RETRY_SECONDS)):
            if self._report(is_last=True):
                break
            await asyncio.sleep(LAST_WORDS_RETRY_SECONDS)
        self._sending.close()

    def _report(self, *, is_last: bool = False) -> bool:
        """Send what has grown, and tell whether all of it went out; what did not is in the next report."""
        rows = list(self._metrics.rows())
        grown = [(row, growth) for row in rows if any(growth := self._growth(row))]
        gauges = {} if is_last else self._metrics.gauge_values()
        for begin in range(0, max(1, len(grown)), ROWS_OF_A_DATAGRAM):
            part = grown[begin : begin + ROWS_OF_A_DATAGRAM]
            report = Report(self._worker, [(*row[:2], growth) for row, growth in part], gauges, is_last)
            try:
                self._sending.send(msgspec.msgpack.encode(report))
            except OSError:
                return False
            self._told |= {row[:2]: row[2] for row, _ in part}
        return True

    def _growth(self, row: Row) -> list[int | float]:
        told = self._told.get(row[:2])
        return row[2] if told is None else [now - before for now, before in zip(row[2], told, strict=True)]


async def _lag_seconds() -> float:
    """Give by how much the event loop was late, the worst of a second."""
    nap_seconds, worst = REPORT_SECONDS / LAG_LOOKS_OF_A_REPORT, 0.0
    for _ in range(LAG_LOOKS_OF_A_REPORT):
        begun = time.monotonic()
        await asyncio.sleep(nap_seconds)
        worst = max(worst, time.monotonic() - begun - nap_seconds)
    return worst


class _Heard(NamedTuple):
    """The gauges of a worker, and when it told them."""

    at: float
    gauges: dict[str, float]


class Totals:
    """
    The numbers of all workers, those that have ended included. Any thread may ask.

    Args:
        monotonic: Seconds that never go back, to know who is heard of.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._heard: dict[bytes, _Heard] = {}
        self._series: defaultdict[str, dict[tuple[str, ...], list[int | float]]] = defaultdict(dict)
        for metric in METRICS:
            if metric.kind is not Kind.GAUGE:
                numbers = len(metric.bounds) + 2 if metric.kind is Kind.HISTOGRAM else 1
                self._series[metric.name] = {
                    labels: [0] * numbers for labels in (metric.known if metric.labels else ((),))
                }

    def listen(self) -> socket.socket:
        """Begin to add up what workers send, on a thread that ends with the process; give where they send it."""
        receiving, sending = _line()
        threading.Thread(target=self._receive, args=(receiving,), name="reports", daemon=True).start()
        return sending

    def _receive(self, receiving: socket.socket) -> None:
        decoder = msgspec.msgpack.Decoder(Report)
        while True:
            try:
                datagram = receiving.recv(MAX_DATAGRAM_BYTES)
            except OSError:
                return
            if datagram:
                self.add(decoder.decode(datagram))

    def add(self, report: Report) -> None:
        """Add one report."""
        with self._lock:
            for name, labels, growth in report.grown:
                series = self._series[name]
                before = series.get(labels)
                series[labels] = growth if before is None else [a + b for a, b in zip(before, growth, strict=True)]
            self._heard.pop(report.worker, None)
            if not report.is_last:
                self._heard[report.worker] = _Heard(self._monotonic(), report.gauges)

    def series(self, name: str) -> list[tuple[tuple[str, ...], list[int | float]]]:
        """Give label values and numbers of a counter or a histogram, in order."""
        with self._lock:
            return sorted(self._series[name].items())

    def gauges(self) -> dict[str, float]:
        """Give the gauges that somebody tells, and how many tell any."""
        with self._lock:
            since = self._monotonic() - HEARD_OF_SECONDS
            self._heard = {worker: heard for worker, heard in self._heard.items() if heard.at > since}
            told = [heard.gauges for heard in self._heard.values()]
        values = {metric: [one[metric.name] for one in told if metric.name in one] for metric in METRICS}
        together = {metric.name: float(metric.of_all(each)) for metric, each in values.items() if each}
        return together | {WORKERS.name: float(len(told))}
