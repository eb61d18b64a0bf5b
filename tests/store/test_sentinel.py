import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.clock import system_clock
from gateway.sessions.revocations import Revocations
from tests.conftest import OpenStore
from tests.harness import RedisServer, until
from tests.topologies import SERVICE, SentinelServer

pytestmark = [pytest.mark.redis, pytest.mark.one_server("it starts a Sentinel of its own")]
KNOWN_EVERYWHERE_SECONDS = 1.0
SWITCHES = 5


async def test_a_former_master_that_answers_still_is_left_within_a_second(
    own_redis: Callable[..., RedisServer], open_store: OpenStore, tmp_path: Path
) -> None:
    """
    F8: one that stalled, and that no Sentinel has told yet that it is none any more, which takes them 8 seconds.

    Nothing is added to its stream, and what is written there is lost.
    """
    master, other = own_redis(), own_redis()
    sentinel = SentinelServer(tmp_path / "sentinel", master.port, 60_000, 1).start()
    store, taken = open_store(sentinel.url), []
    follower = Revocations(store, system_clock)
    following = asyncio.create_task(follower.follow())
    try:
        assert await follower.wait_until_read(5)
        for number in range(SWITCHES):
            await store.execute("SET", store.key("at"), "before")
            sentinel.command("SENTINEL", "REMOVE", SERVICE)
            sentinel.command("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", str(other.port), "1")
            begun = time.monotonic()
            there = open_store(other.url, prefix=store.prefix)
            await Revocations(there, system_clock).announce((f"session-{number}",))
            await until(lambda: f"session-{number}" in follower)  # noqa: B023
            taken.append(time.monotonic() - begun)
            await store.execute("SET", store.key("at"), f"after-{number}")
            assert await there.execute("GET", store.key("at")) == f"after-{number}".encode()
            master, other = other, master
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        sentinel.stop()
    print(f"left a former master {SWITCHES} times, after {[round(seconds, 2) for seconds in taken]} s")
    assert max(taken) < KNOWN_EVERYWHERE_SECONDS
