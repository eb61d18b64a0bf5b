"""
A durable write is answered when the disk has it, by WAITAOF: on the Valkey of the wheel in every run.

With everysec WAITAOF of Valkey 9.1.2 answers before the second's fdatasync, so no test here times that.
"""

import asyncio
import random
import time
from collections.abc import Callable

import pytest

from gateway.errors import StoreUnavailable
from gateway.store.confirmations import DISK_TIMEOUT_MILLISECONDS
from gateway.store.store import DURABLE_DEADLINE_SECONDS, Store
from tests.conftest import OpenStore
from tests.harness import GatewayProcess, RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.one_server("each node of a cluster is asked in the same way")]

ROUNDS = 5
WRITERS = 16
LONGEST_ROUND_SECONDS = 1.2
MakeRedis = Callable[..., RedisServer]


def questions(server: RedisServer) -> int:
    """Give how often a server was asked whether the disk has a write."""
    with server.client() as client:
        return int(client.info("commandstats").get("cmdstat_waitaof", {"calls": 0})["calls"])


async def test_each_durable_write_asks_the_disk_and_no_other_does(own_valkey: MakeRedis, open_store: OpenStore) -> None:
    server = own_valkey("--appendfsync", "always")
    store = open_store(server.url)
    for number in range(5):
        await store.execute("SET", store.key("ordinary"), number)
    assert questions(server) == 0
    for number in range(5):
        await store.execute("SET", store.key("durable"), number, durable=True)
    assert questions(server) == 5


def test_the_end_of_a_session_waits_for_the_disk_once(
    own_valkey: MakeRedis, make_gateway: Callable[..., GatewayProcess]
) -> None:
    """Its announcement comes after its mark, into the same file: a disk that has the one has the other."""
    server = own_valkey("--appendfsync", "everysec")
    gateway = make_gateway(redis_url=server.url)
    user = gateway.add_user()
    with gateway.client() as client:
        tokens = [gateway.login(user, client, delivery="body")["refresh_token"] for _ in range(4)]

        def log_out(refresh_token: str) -> None:
            assert client.post("/auth/logout", json={"refresh_token": refresh_token}).status_code == 204

        log_out(tokens[0])  # with this one it learns that there is a disk to wait for
        before = questions(server)
        for token in tokens[1:]:
            log_out(token)
        assert questions(server) - before == 3


async def test_a_server_without_an_append_only_file_is_not_asked(own_valkey: MakeRedis, open_store: OpenStore) -> None:
    server = own_valkey("--appendonly", "no")
    store = open_store(server.url)
    await store.execute("SET", store.key("a"), "b", durable=True)
    assert questions(server) == 0


async def test_a_write_that_the_disk_does_not_confirm_is_told_in_time(
    own_valkey: MakeRedis, open_store: OpenStore
) -> None:
    """Nobody asks the disk for it: it is there and may be repeated. With a disk that is asked it is confirmed."""
    server = own_valkey("--appendfsync", "no")
    store = open_store(server.url)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await store.execute("SET", store.key("a"), "b", durable=True)
    seconds = time.monotonic() - begun
    print(f"not confirmed, told after {seconds:.2f} s")
    assert DISK_TIMEOUT_MILLISECONDS / 1000 <= seconds < DURABLE_DEADLINE_SECONDS
    assert await store.execute("GET", store.key("a")) == b"b"
    server.command("CONFIG", "SET", "appendfsync", "always")
    await store.execute("SET", store.key("a"), "c", durable=True)
    assert questions(server) == 2


async def test_no_confirmed_write_is_lost_when_the_server_is_killed(
    own_valkey: MakeRedis, open_store: OpenStore
) -> None:
    """At any moment of the second that everysec leaves open. What the kernel holds outlives a kill, not a power cut."""
    server, chance = own_valkey("--appendfsync", "everysec"), random.Random()
    store = open_store(server.url)
    confirmed, unconfirmed, asked = set[str](), set[str](), 0

    async def write(round_number: int, writer: int) -> None:
        number = 0
        while True:
            key = store.key(f"{round_number}-{writer}-{number}")
            try:
                await store.execute("SET", key, "there", durable=True)
            except StoreUnavailable:
                unconfirmed.add(key)
                return
            confirmed.add(key)
            number += 1

    for round_number in range(ROUNDS):
        writing = [asyncio.create_task(write(round_number, writer)) for writer in range(WRITERS)]
        await asyncio.sleep(chance.uniform(0.1, LONGEST_ROUND_SECONDS))
        asked += questions(server)
        server.kill()
        await asyncio.gather(*writing)
        server.start()
        await heard(store)
    lost = {key for key in confirmed if await store.execute("GET", key) != b"there"}
    print(
        f"{ROUNDS} rounds, {ROUNDS} kills: the disk was asked {asked} times, {len(confirmed)} writes confirmed, "
        f"{len(unconfirmed)} not; of the confirmed ones {len(lost)} lost"
    )
    assert not lost
    assert len(confirmed) >= ROUNDS
    assert len(unconfirmed) >= ROUNDS
    assert asked >= len(confirmed)


async def heard(store: Store) -> None:
    """Wait until a call passes."""
    begun = time.monotonic()
    while True:
        try:
            await store.execute("PING")
        except StoreUnavailable:
            assert time.monotonic() - begun < 5
            await asyncio.sleep(0.01)
        else:
            return
