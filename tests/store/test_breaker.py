"""The breaker: calls fail at once while a server is not heard, one probe at a time listens, and the log stays short."""

import asyncio
import logging
import random
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.errors import StoreUnavailable
from gateway.store.breaker import PROBE_INTERVAL_SECONDS, REPORT_INTERVAL_SECONDS, SUSPICIOUS_FAILURES, Breaker
from gateway.store.clients import send_together
from gateway.store.faults import LOG_INTERVAL_SECONDS
from gateway.store.store import CALL_DEADLINE_SECONDS, MAX_CALLS_UNDER_WAY, PROBE_SECONDS, Store
from gateway.tasks import CANCEL_AGAIN_SECONDS
from tests.clocks import FakeClock
from tests.conftest import OpenStore
from tests.harness import RedisServer
from tests.topologies import SERVICE, SentinelServer

CALLERS = 100
OUTAGE_SECONDS = 2.5
HEARD_WITHIN_SECONDS = 0.5
AT_ONCE_SECONDS = 0.05
MASTERS_LEFT = 5
LONG_PROBE_SECONDS = 0.6


class Server:
    """Something to probe that is there or not, and counts who asks at a time."""

    def __init__(self) -> None:
        self.is_there = False
        self.takes_seconds = 0.0
        self.probes = self.most_at_a_time = self._at_a_time = 0

    async def probe(self) -> bool:
        """Answer whether it is there."""
        self.probes += 1
        self._at_a_time += 1
        self.most_at_a_time = max(self.most_at_a_time, self._at_a_time)
        await asyncio.sleep(self.takes_seconds)
        self._at_a_time -= 1
        return self.is_there


async def until(condition: Callable[[], bool], seconds: float = 2.0) -> None:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds
        await asyncio.sleep(0.001)


async def test_it_opens_after_some_failures_in_a_row_and_a_probe_that_fails_too() -> None:
    server = Server()
    breaker = Breaker("", server.probe, FakeClock())
    for _ in range(SUSPICIOUS_FAILURES - 1):
        breaker.unheard()
    breaker.heard()
    for _ in range(SUSPICIOUS_FAILURES - 1):
        breaker.unheard()
    await asyncio.sleep(0.01)
    assert server.probes == 0
    breaker.unheard()
    assert not breaker.is_open
    await until(lambda: breaker.is_open)
    assert server.probes == 1
    await breaker.close()


async def test_slow_calls_to_a_server_that_answers_a_probe_do_not_open_it() -> None:
    server = Server()
    server.is_there = True
    breaker = Breaker("", server.probe, FakeClock())
    for _ in range(10 * SUSPICIOUS_FAILURES):
        breaker.unheard()
    await until(lambda: server.probes == 1)
    assert not breaker.is_open
    await breaker.close()


async def test_there_is_one_probe_at_a_time_and_the_first_that_is_answered_closes_it() -> None:
    server = Server()
    server.takes_seconds = 0.02
    breaker = Breaker("", server.probe, FakeClock())
    begun = time.monotonic()
    while time.monotonic() - begun < 5 * PROBE_INTERVAL_SECONDS:
        breaker.unheard()
        await asyncio.sleep(0.001)
    assert breaker.is_open
    assert server.most_at_a_time == 1
    assert 2 <= server.probes <= 6
    server.is_there = True
    begun = time.monotonic()
    await until(lambda: not breaker.is_open)
    assert time.monotonic() - begun < 3 * PROBE_INTERVAL_SECONDS
    asked = server.probes
    await asyncio.sleep(3 * PROBE_INTERVAL_SECONDS)
    assert server.probes == asked, "nobody probes a server that is heard"
    await breaker.close()


async def test_any_answer_closes_it_and_it_can_open_again() -> None:
    server = Server()
    breaker = Breaker("", server.probe, FakeClock())
    for _ in range(2):
        for _ in range(SUSPICIOUS_FAILURES):
            breaker.unheard()
        await until(lambda: breaker.is_open)
        breaker.heard()
        assert not breaker.is_open
    await breaker.close()


async def test_the_log_says_when_redis_goes_now_and_then_that_it_is_away_and_when_it_is_heard_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With how many seconds, and how many calls were refused."""
    caplog.set_level(logging.INFO, "gateway.breaker")
    server, clock = Server(), FakeClock()
    breaker = Breaker("127.0.0.1:7000", server.probe, clock)
    for _ in range(SUSPICIOUS_FAILURES):
        breaker.unheard()
    await until(lambda: breaker.is_open)
    breaker.refused += 7
    for _ in range(3):
        clock.now += round(REPORT_INTERVAL_SECONDS / 2)
        probes = server.probes
        await until(lambda asked=probes: server.probes > asked + 1)  # type: ignore[misc]
    server.is_there = True
    await until(lambda: not breaker.is_open)
    await breaker.close()
    lines = [(record.message, vars(record)["fields"]) for record in caplog.records]
    assert [message for message, _ in lines] == [
        "redis is away: calls are refused until it is heard",
        "redis is still away",
        "redis is heard again",
    ]
    assert [fields["seconds"] for _, fields in lines] == [0.0, REPORT_INTERVAL_SECONDS, REPORT_INTERVAL_SECONDS * 1.5]
    assert [fields["refused"] for _, fields in lines] == [0, 7, 7]
    assert {fields["server"] for _, fields in lines} == {"127.0.0.1:7000"}


@pytest.mark.redis
@pytest.mark.parametrize("trouble", ["killed", "stopped"])
async def test_while_redis_is_away_calls_fail_at_once_and_it_is_probed_by_one_at_a_time(
    own_redis: Callable[..., RedisServer], trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway")
    server = own_redis()
    store = Store(server.url, "gw:")
    await store.execute("GET", "gw:a")
    (server.kill if trouble == "killed" else lambda: server.signal(signal.SIGSTOP))()
    waits: list[tuple[float, float]] = []
    away_since, ended = time.monotonic(), False

    async def keep_calling() -> None:
        while not ended:
            begun = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await store.execute("GET", "gw:a")
            waits.append((begun - away_since, time.monotonic() - begun))
            await asyncio.sleep(0.01)

    callers = [asyncio.create_task(keep_calling()) for _ in range(CALLERS)]
    await asyncio.sleep(OUTAGE_SECONDS)
    ended = True
    await asyncio.gather(*callers)
    opened_after = CALL_DEADLINE_SECONDS + PROBE_SECONDS + 0.2
    slow = [seconds for begun, seconds in waits if begun > opened_after and seconds > AT_ONCE_SECONDS]
    longest = max(seconds for _, seconds in waits)
    print(f"{trouble}: {len(waits)} calls failed, the slowest after {longest:.2f} s, {len(slow)} slow ones later")
    assert len(waits) > 1000
    assert longest < CALL_DEADLINE_SECONDS + 0.1
    assert len(slow) < len(waits) / 100

    begun = time.monotonic()
    if trouble == "killed":
        server.start()
        begun = time.monotonic()
    else:
        server.signal(signal.SIGCONT)
    failed = 0
    while True:
        try:
            await store.execute("GET", "gw:a")
            break
        except StoreUnavailable:
            failed += 1
            await asyncio.sleep(0.002)
    recovery = time.monotonic() - begun
    await asyncio.gather(*(store.execute("GET", "gw:a") for _ in range(CALLERS)))
    print(f"{trouble}: heard {recovery * 1000:.0f} ms after its return; {failed} calls failed in between")
    assert recovery < HEARD_WITHIN_SECONDS
    await store.close()

    lines = [record.message for record in caplog.records]
    print(f"{trouble}: {len(lines)} log lines for {len(waits)} failed calls")
    assert lines.count("redis is away: calls are refused until it is heard") == 1
    assert lines.count("redis is heard again") == 1
    assert lines.count("redis does not serve") <= 2 * (1 + OUTAGE_SECONDS / LOG_INTERVAL_SECONDS)


async def test_a_server_that_takes_connections_and_says_nothing_has_one_of_ours_at_a_time() -> None:
    """However many callers there are."""
    connections: list[float] = []
    open_now = most_open_now = 0

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most_open_now
        connections.append(time.monotonic())
        open_now += 1
        most_open_now = max(most_open_now, open_now)
        await reader.read()
        while await reader.read(65536):
            pass
        open_now -= 1
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        store = Store(f"redis://127.0.0.1:{silent.sockets[0].getsockname()[1]}/0", "gw:")

        async def call() -> None:
            with pytest.raises(StoreUnavailable):
                await store.execute("GET", "gw:a")

        await asyncio.gather(*(call() for _ in range(CALLERS)))
        most_before, most_open_now = most_open_now, 0
        await asyncio.sleep(PROBE_SECONDS + PROBE_INTERVAL_SECONDS)
        connections.clear()
        most_open_now = open_now
        begun, calls = time.monotonic(), 0
        while time.monotonic() - begun < 2.0:
            await asyncio.gather(*(call() for _ in range(CALLERS)))
            calls += CALLERS
            await asyncio.sleep(0.01)
        print(
            f"{calls} calls: {len(connections)} connections, {most_open_now} at a time; {most_before} at the beginning"
        )
        await store.close()
    assert most_open_now == 1
    assert 2 <= len(connections) <= 2.0 / PROBE_SECONDS + 2
    assert most_before <= MAX_CALLS_UNDER_WAY + 1


@pytest.mark.redis
async def test_a_breaker_that_is_open_ends_with_its_store(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    store = Store(server.url, "gw:")
    server.kill()
    before = asyncio.all_tasks()
    for _ in range(SUSPICIOUS_FAILURES):
        with pytest.raises(StoreUnavailable):
            await store.execute("GET", "gw:a")
    assert len(asyncio.all_tasks() - before) == 1
    await store.close()
    assert asyncio.all_tasks() == before


@pytest.mark.redis
async def test_a_probe_that_loses_its_cancellation_ends_with_its_store_too(
    own_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As redis-py can on Python 3.11; it would open connections that nobody closes."""
    under_way, lost = 0, 0

    async def send(*words: object, **options: object) -> object:
        nonlocal under_way, lost
        under_way += 1
        try:
            return await send_together(*words, **options)  # type: ignore[arg-type]
        except asyncio.CancelledError:
            lost += 1
            await asyncio.sleep(CANCEL_AGAIN_SECONDS * 3)
            raise
        finally:
            under_way -= 1

    server = own_redis()
    store = Store(server.url, "gw:")
    await store.execute("GET", "gw:a")
    monkeypatch.setattr("gateway.store.store.send_together", send)
    server.signal(signal.SIGSTOP)
    calls = [store.execute("GET", "gw:a") for _ in range(SUSPICIOUS_FAILURES)]
    await asyncio.gather(*calls, return_exceptions=True)
    await until(lambda: under_way == 1)
    await store.close()
    assert (under_way, lost) == (0, 1)


@pytest.mark.redis
@pytest.mark.one_server("it starts a Sentinel of its own")
async def test_a_master_that_hangs_is_left_as_soon_as_the_sentinel_names_another(
    own_redis: Callable[..., RedisServer], open_store: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F8: the probe that waits for it is not waited for."""
    monkeypatch.setattr("gateway.store.store.PROBE_SECONDS", LONG_PROBE_SECONDS)
    master, other = own_redis(), own_redis()
    sentinel = SentinelServer(tmp_path / "sentinel", master.port, 60_000, 1).start()
    store, taken = open_store(sentinel.url), []
    try:
        for _ in range(MASTERS_LEFT):
            await store.execute("SET", "gw:key", "value")
            master.signal(signal.SIGSTOP)
            calls = [store.execute("GET", "gw:key") for _ in range(SUSPICIOUS_FAILURES)]
            await asyncio.gather(*calls, return_exceptions=True)
            await until(lambda: store._breakers[""].is_open)
            await asyncio.sleep(random.uniform(0, LONG_PROBE_SECONDS))
            sentinel.command("SENTINEL", "REMOVE", SERVICE)
            sentinel.command("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", str(other.port), "1")
            begun = time.monotonic()
            await until(lambda: not store._breakers[""].is_open)
            taken.append(time.monotonic() - begun)
            master.signal(signal.SIGCONT)
            master, other = other, master
    finally:
        sentinel.stop()
        master.signal(signal.SIGCONT)
    print(f"left a master that hangs {len(taken)} times: after {[round(seconds, 3) for seconds in sorted(taken)]} s")
    assert statistics.median(taken) < LONG_PROBE_SECONDS / 4, taken
