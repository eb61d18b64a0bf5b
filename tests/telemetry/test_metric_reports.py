"""Reports: the sum of all workers, whoever comes, goes, or is not heard."""

import contextlib
import socket
from collections.abc import Iterator

import msgspec
import pytest

from gateway.telemetry.exposition import MAX_CONNECTIONS, serve_totals
from gateway.telemetry.metric_reports import HEARD_OF_SECONDS, Report, Reporter, Totals
from gateway.telemetry.metrics import (
    BREAKER_OPEN,
    LOGINS,
    MAX_SERIES,
    PASSWORD_QUEUE,
    REDIS_SECONDS,
    REQUEST_BOUNDS,
    SIGNING_KEY_NEXT_READY,
    WORKERS,
    Histogram,
    Metrics,
)
from tests.harness import wait_until

Line = tuple[socket.socket, socket.socket]


@pytest.fixture
def line() -> Iterator[Line]:
    """Two ends: where reports are received, and where they are sent."""
    receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiving.setblocking(False)
    yield receiving, sending
    receiving.close()
    sending.close()


def received(receiving: socket.socket) -> list[Report]:
    reports = []
    while True:
        try:
            reports.append(msgspec.msgpack.decode(receiving.recv(1 << 18), type=Report))
        except BlockingIOError:
            return reports


async def test_a_report_has_what_has_grown_since_the_one_before(line: Line) -> None:
    metrics = Metrics()
    reporter = Reporter(metrics, line[1])
    metrics.count(LOGINS, "succeeded", "pwd", by=3)
    assert reporter._report()
    metrics.count(LOGINS, "failed", "pwd")
    metrics.count(LOGINS, "succeeded", "pwd")
    assert reporter._report()
    assert reporter._report()
    grown = [[(labels, numbers) for _, labels, numbers in report.grown] for report in received(line[0])]
    assert grown == [
        [(("succeeded", "pwd"), [3])],
        [(("succeeded", "pwd"), [1]), (("failed", "pwd"), [1])],
        [],
    ]


async def test_what_could_not_be_sent_is_in_the_next_report(line: Line) -> None:
    metrics, totals = Metrics(), Totals()
    reporter = Reporter(metrics, line[1])
    sent = 0
    while reporter._report():
        metrics.count(LOGINS, "failed", "pwd")
        sent += 1
        assert sent < 10_000
    for report in received(line[0]):
        totals.add(report)
    assert reporter._report()
    for report in received(line[0]):
        totals.add(report)
    assert dict(totals.series(LOGINS.name))["failed", "pwd"] == [sent]


async def test_a_report_of_any_size_arrives(line: Line) -> None:
    metrics, totals = Metrics(), Totals()
    for number in range(MAX_SERIES):
        metrics.observe(REDIS_SECONDS, 0.1, f"call-{number:0100}")
    reporter = Reporter(metrics, line[1])
    while not reporter._report():
        for report in received(line[0]):
            totals.add(report)
    for report in received(line[0]):
        totals.add(report)
    assert {tuple(numbers[:-1]).count(1) for _, numbers in totals.series(REDIS_SECONDS.name)} == {1}
    assert len(totals.series(REDIS_SECONDS.name)) == MAX_SERIES


async def test_the_last_report_takes_the_gauges_back_and_leaves_the_counters(line: Line) -> None:
    metrics, totals = Metrics(), Totals()
    metrics.gauges[PASSWORD_QUEUE] = lambda: 7
    metrics.count(LOGINS, "failed", "pwd")
    reporter = Reporter(metrics, line[1])
    reporter._report()
    for report in received(line[0]):
        totals.add(report)
    assert totals.gauges() == {PASSWORD_QUEUE.name: 7.0, WORKERS.name: 1.0}
    metrics.count(LOGINS, "failed", "pwd")
    await reporter.close()
    for report in received(line[0]):
        totals.add(report)
    assert totals.gauges() == {WORKERS.name: 0.0}
    assert dict(totals.series(LOGINS.name))["failed", "pwd"] == [2]


async def test_nobody_waits_for_who_does_not_listen(line: Line) -> None:
    line[0].close()
    reporter = Reporter(Metrics(), line[1])
    assert not reporter._report()


def test_gauges_come_together_as_each_says() -> None:
    totals = Totals()
    for worker, values in ((b"a", (3, 0, 1)), (b"b", (4, 1, 0))):
        names = (PASSWORD_QUEUE.name, BREAKER_OPEN.name, SIGNING_KEY_NEXT_READY.name)
        totals.add(Report(worker, [], dict(zip(names, map(float, values), strict=True))))
    assert totals.gauges() == {
        PASSWORD_QUEUE.name: 7.0,
        BREAKER_OPEN.name: 1.0,
        SIGNING_KEY_NEXT_READY.name: 0.0,
        WORKERS.name: 2.0,
    }


def test_a_worker_that_is_not_heard_of_has_no_gauges_and_keeps_its_counts() -> None:
    now = [100.0]
    totals = Totals(lambda: now[0])
    totals.add(Report(b"a", [(LOGINS.name, ("failed", "pwd"), [5])], {PASSWORD_QUEUE.name: 3.0}))
    now[0] += HEARD_OF_SECONDS
    assert totals.gauges() == {WORKERS.name: 0.0}
    assert dict(totals.series(LOGINS.name))["failed", "pwd"] == [5]
    totals.add(Report(b"a", [(LOGINS.name, ("failed", "pwd"), [1])], {PASSWORD_QUEUE.name: 2.0}))
    assert totals.gauges() == {PASSWORD_QUEUE.name: 2.0, WORKERS.name: 1.0}
    assert dict(totals.series(LOGINS.name))["failed", "pwd"] == [6]


def test_totals_hear_what_is_sent_to_them() -> None:
    totals = Totals()
    with totals.listen() as sending:
        reporter = Reporter(metrics := Metrics(), sending)
        metrics.count(LOGINS, "failed", "pwd")
        assert reporter._report()
        wait_until(lambda: dict(totals.series(LOGINS.name))["failed", "pwd"] == [1])


def test_a_bucket_has_what_is_not_more_than_its_bound() -> None:
    histogram = Histogram(REQUEST_BOUNDS)
    for seconds in (0.0, REQUEST_BOUNDS[0], REQUEST_BOUNDS[-1], REQUEST_BOUNDS[-1] * 1.001):
        histogram.observe(seconds)
    assert (histogram.counts[0], histogram.counts[-2], histogram.counts[-1]) == (2, 1, 1)
    assert sum(histogram.counts) == 4


def test_series_without_end_share_the_last_one() -> None:
    metrics = Metrics()
    for number in range(3 * MAX_SERIES):
        metrics.count(LOGINS, f"outcome-{number}", "pwd")
    rows = [row for row in metrics.rows() if row[0] == LOGINS.name]
    assert len(rows) == MAX_SERIES + 1
    assert sum(row[2][0] for row in rows) == 3 * MAX_SERIES


def test_few_are_answered_at_once() -> None:
    """One more is hung up on, until another one has gone."""
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as opened:
        address = listener.getsockname()
        serve_totals(listener, Totals(), "0")
        waiting = [opened.enter_context(socket.create_connection(address, timeout=5)) for _ in range(MAX_CONNECTIONS)]
        with socket.create_connection(address, timeout=5) as one_more:
            assert one_more.recv(1) == b""
        waiting[0].close()

        def is_answered() -> bool:
            with socket.create_connection(address, timeout=5) as asking, contextlib.suppress(ConnectionError):
                asking.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                return asking.recv(12) == b"HTTP/1.0 200"
            return False

        wait_until(is_answered)
