"""Calls that share a connection: sent together, answered each with its own, and not held up by one another."""

import asyncio
import random
import re
import signal
import time
from collections.abc import Callable

import pytest

from gateway.errors import StoreUnavailable
from gateway.store.store import Store
from tests.conftest import OpenStore
from tests.harness import RedisServer
from tests.store.shared_line import (
    BY_A_RELAY,
    BY_THE_NETWORK,
    CALLERS,
    ECHO,
    Pulse,
    Relay,
    Told,
    fill,
    reply_bytes,
    round_of_callers,
)

pytestmark = [pytest.mark.redis, pytest.mark.one_server("it is what happens on one connection")]

ROUNDS = 25
SLOW_ROUNDS = 2
MakeRedis = Callable[..., RedisServer]


async def test_calls_of_one_turn_are_one_write_on_one_connection(own_redis: MakeRedis) -> None:
    async with Relay().before(own_redis()) as relay:
        store = Store(f"redis://127.0.0.1:{relay.port}/0", "gw:")
        await fill(store, 50)
        writes = relay.writes
        answers = await asyncio.gather(*(store.execute("GET", f"gw:of-{number:04}") for number in range(50)))
        assert answers == [f"of-{number:04}".encode() for number in range(50)]
        assert (relay.writes - writes, relay.connections) == (1, 1)
        await store.close()


async def test_who_asks_nothing_is_answered(store: Store) -> None:
    assert await store.refusals([]) == []


@pytest.mark.parametrize("what", [*BY_THE_NETWORK, *BY_A_RELAY])
async def test_nobody_gets_anothers_answer_whatever_happens_to_the_replies(own_redis: MakeRedis, what: str) -> None:
    """At bytes that are drawn here; at every byte by `make faults`."""
    async with Relay().before(own_redis()) as relay:
        store, told, drawn = Store(f"redis://127.0.0.1:{relay.port}/0", "gw:"), Told(), random.Random(what)
        await fill(store, CALLERS)
        is_echoed = what in BY_A_RELAY
        await round_of_callers(store, Told(), CALLERS, is_echoed=is_echoed)
        length = reply_bytes(CALLERS, is_echoed=is_echoed)
        rounds = SLOW_ROUNDS if what == "silenced" else ROUNDS
        for _ in range(rounds):
            relay.arm((BY_THE_NETWORK | BY_A_RELAY)[what], drawn.randrange(length))
            await round_of_callers(store, told, CALLERS, is_echoed=is_echoed)
        relay.disarm()
        print(
            f"{what}: {rounds} rounds of {CALLERS} callers, {relay.struck} strikes within {length} bytes, "
            f"{told.answered} answered, {dict(told.refused)} refused, slowest {told.slowest_seconds:.2f} s, "
            f"{len(told.violations)} violations"
        )
        assert relay.struck >= rounds - 1
        assert what == "silenced" or told.answered >= rounds * CALLERS / 2
        assert not told.violations, told.violations[:5]
        await store.close()


@pytest.mark.parametrize("unasked", [b"+OK\r\n", b"_\r\n", b">2\r\n+message\r\n+x\r\n", b"-ERR what\r\n", b"hello\r\n"])
async def test_what_nobody_has_asked_for_ends_the_connection(own_redis: MakeRedis, unasked: bytes) -> None:
    async with Relay().before(own_redis()) as relay:
        store, told = Store(f"redis://127.0.0.1:{relay.port}/0", "gw:"), Told()
        await fill(store, 2)
        relay.say(unasked)
        await asyncio.sleep(0.02)
        await round_of_callers(store, told, 2, is_echoed=False)
        assert (told.answered, told.violations) == (2, [])
        assert relay.connections == 2
        await store.close()


@pytest.mark.parametrize(
    ("error", "connections"),
    [
        (b"-BUSY Redis is busy running a script.\r\n", 1),
        (b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n", 1),
        (b"-NOPERM this user has no permissions to run the 'echo' command\r\n", 1),
        (b"-NOPERM this user has no permissions to access one of the keys used as arguments\r\n", 2),
        (b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", 2),
        (b"-ERR value is not an integer or out of range\r\n", 2),
    ],
)
async def test_an_error_in_the_place_of_a_mark_is_another_ones_unless_it_is_said_to_all(
    own_redis: MakeRedis, error: bytes, connections: int
) -> None:
    async with Relay().before(own_redis()) as relay:
        store, told = Store(f"redis://127.0.0.1:{relay.port}/0", "gw:"), Told()
        await fill(store, 2)
        relay.arm(lambda octets, _: [re.sub(rb"\$[0-9]+\r\n[0-9]+\r\n\Z", error, octets)], 0)
        await round_of_callers(store, told, 2, is_echoed=False)
        assert (told.answered, told.violations, relay.struck) == (2, [], 1)
        assert relay.connections == connections
        await store.close()


async def test_an_answer_to_another_question_ends_the_connection_for_all(own_redis: MakeRedis) -> None:
    async with Relay().before(own_redis()) as relay:
        store = Store(f"redis://127.0.0.1:{relay.port}/0", "gw:")
        echo, _ = await store.run(ECHO, ["gw:a"], "0001")
        with pytest.raises(StoreUnavailable) as raised:
            store.check_echo(echo, "0002")
        assert raised.value.cause == "another-answer"
        echo, _ = await store.run(ECHO, ["gw:a"], "0003")
        store.check_echo(echo, "0003")
        assert relay.connections == 2
        await store.close()


async def test_nobody_waits_behind_an_answer_that_does_not_come(own_redis: MakeRedis) -> None:
    """Nor behind one that nobody waits for any more."""
    async with Relay().before(own_redis()) as relay:
        store = Store(f"redis://127.0.0.1:{relay.port}/0", "gw:")
        await fill(store, 1)
        for is_cancelled in (False, True):
            hanging = asyncio.create_task(store.execute("BLPOP", "gw:none", 0))
            await asyncio.sleep(0.15)
            if is_cancelled:
                hanging.cancel()
            begun, pulse = time.monotonic(), Pulse()
            beating = asyncio.create_task(pulse.beat())
            await asyncio.gather(*(store.execute("GET", "gw:of-0000") for _ in range(20)))
            beating.cancel()
            seconds = time.monotonic() - begun - pulse.stood_still_seconds
            print(f"20 calls beside one that hangs: {seconds * 1000:.0f} ms")
            assert not hanging.done() or is_cancelled
            assert seconds < 0.3
            await asyncio.gather(hanging, return_exceptions=True)
        await store.close()


async def test_a_spare_connection_is_closed_when_it_is_needed_no_more(
    own_redis: MakeRedis, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.turns.SPARE_TICKS", 1)
    server = own_redis()
    store = open_store(server.url)
    await store.execute("GET", "gw:a")
    turns = store._clients.ordinary.turns
    hanging = asyncio.create_task(store.execute("BLPOP", "gw:list", 0))
    await asyncio.sleep(0.15)
    await store.execute("GET", "gw:a")
    assert turns.lines == 2
    server.command("LPUSH", "gw:list", "there")
    assert await hanging == (b"gw:list", b"there")
    begun = time.monotonic()
    while turns.lines > 1:
        assert time.monotonic() - begun < 2
        await asyncio.sleep(0.02)
    assert await store.execute("GET", "gw:a") is None


async def test_what_lies_unanswered_is_bounded(
    own_redis: MakeRedis, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.turns.MAX_LINES", 1)
    monkeypatch.setattr("gateway.store.turns.MAX_CALLS_OF_A_LINE", 4)
    server = own_redis()
    store = open_store(server.url)
    await store.execute("GET", "gw:a")
    server.signal(signal.SIGSTOP)
    answers = await asyncio.gather(*(store.execute("GET", "gw:a") for _ in range(10)), return_exceptions=True)
    server.signal(signal.SIGCONT)
    causes = [answer.cause for answer in answers if isinstance(answer, StoreUnavailable)]
    assert sorted(causes) == ["BUSYPOOL"] * 6 + ["TIMEOUT"] * 4


def test_a_store_that_was_closed_serves_another_event_loop(own_redis: MakeRedis) -> None:
    store = Store(own_redis().url, "gw:")

    async def ask() -> bytes:
        await store.execute("SET", "gw:a", "b")
        answer: bytes = await store.execute("GET", "gw:a")
        await store.close()
        return answer

    assert [asyncio.run(ask()) for _ in range(2)] == [b"b", b"b"]
