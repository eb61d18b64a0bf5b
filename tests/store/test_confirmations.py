"""
A durable write is answered when the disk has it, by WAITAOF: on the Valkey of the wheel in every run.

With everysec WAITAOF of Valkey 9.1.2 answers before the second's fdatasync, so no test here times that.
"""

import asyncio
import hashlib
import random
import time
from collections.abc import Callable

import pytest

from gateway.errors import StoreUnavailable
from gateway.store.confirmations import DISK_TIMEOUT_MILLISECONDS, WAITAOF_SINCE, version_of
from gateway.store.private import find_server
from gateway.store.store import DURABLE_DEADLINE_SECONDS, Script, Store
from tests.conftest import OpenStore
from tests.harness import GatewayProcess, RedisServer
from tests.web.asking import log_in
from tests.web.second_steps import with_totp

pytestmark = [pytest.mark.redis, pytest.mark.one_server("each node of a cluster is asked in the same way")]

ROUNDS = 5
WRITERS = 16
LONGEST_ROUND_SECONDS = 1.2
MakeRedis = Callable[..., RedisServer]
INCREMENT = "return redis.call('INCR', KEYS[1])"
COUNT = Script("of_the_test", INCREMENT, hashlib.sha1(INCREMENT.encode(), usedforsecurity=False).hexdigest())


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

        log_out(tokens[0])  # with this one Redis gets to know the scripts, and is asked after each try
        before = questions(server)
        for token in tokens[1:]:
            log_out(token)
        assert questions(server) - before == 3


async def test_a_write_that_is_followed_asks_what_confirms_before_it_is_sent(
    own_valkey: MakeRedis, open_store: OpenStore
) -> None:
    """Else the first one after a start, or after a failure, would wait for the disk as well as the one after it."""
    server = own_valkey("--appendfsync", "everysec")
    await open_store(server.url).run(COUNT, ["gw:known"])  # a script that Redis does not know is tried twice
    for number in range(2):
        store = open_store(server.url)
        await store.run(COUNT, [store.key("first")], durable=True, is_followed=True)
        assert questions(server) == number
        await store.run(COUNT, [store.key("second")], durable=True)
        assert questions(server) == number + 1


async def test_what_is_confirmed_together_waits_once_at_the_end(own_valkey: MakeRedis, open_store: OpenStore) -> None:
    server = own_valkey("--appendfsync", "everysec")
    store = open_store(server.url)
    await store.run(COUNT, ["gw:known"])
    async with store.confirmed_together():
        await store.run(COUNT, ["gw:a"], durable=True)
        async with store.confirmed_together():
            await store.execute("SET", "gw:b", "c", durable=True)
        assert questions(server) == 0
        await asyncio.create_task(store.execute("SET", "gw:d", "e", durable=True))  # it may be for others, too
        assert questions(server) == 1
    assert questions(server) == 2
    async with store.confirmed_together():
        await store.run(COUNT, ["gw:a"])
    assert questions(server) == 2


async def test_what_nobody_confirms_together_is_told(own_valkey: MakeRedis, open_store: OpenStore) -> None:
    server = own_valkey("--appendfsync", "no")
    store = open_store(server.url)

    async def write_together() -> None:
        async with store.confirmed_together():
            await store.run(COUNT, ["gw:a"], durable=True)

    with pytest.raises(StoreUnavailable):
        await write_together()


async def test_a_write_that_is_followed_waits_for_nothing_where_no_write_does(
    own_valkey: MakeRedis, open_store: OpenStore
) -> None:
    """Nor is a server asked for facts that nobody needs (`redis_durability = fast`)."""
    server = own_valkey("--appendfsync", "everysec")
    store = Store(server.url, "gw:", waits_for_confirmation=False)
    await store.run(COUNT, [store.key("first")], durable=True, is_followed=True)
    await store.close()
    with server.client() as client:
        calls = client.info("commandstats")
    assert not {"cmdstat_waitaof", "cmdstat_info"} & calls.keys()


def test_a_second_factor_and_a_login_by_it_wait_for_the_disk_once_each(
    own_valkey: MakeRedis, make_gateway: Callable[..., GatewayProcess]
) -> None:
    """A login uses up the factor and what was pending, and here ends the session that it replaces."""
    server = own_valkey("--appendfsync", "everysec")
    gateway = make_gateway(redis_url=server.url)
    waits = []
    with gateway.client() as client:
        for _ in range(2):  # with the first user Redis gets to know the scripts
            session = log_in(gateway, client)
            before = questions(server)
            app = with_totp(session)
            waits.append(questions(server) - before)
            body = {"username": session.user.email, "password": session.user.password}
            pending = client.post("/auth/login", json=body).json()["pending"]
            before = questions(server)
            cookie = {"Cookie": f"refresh_token={session.refresh_token}"}
            step = {"pending": pending, "totp": app.code()}
            assert client.post("/auth/login", json=step, headers=cookie).status_code == 200
            assert not session.is_alive()
            waits.append(questions(server) - before)
    assert waits[2:] == [1, 1]


def test_the_first_logout_is_answered_where_the_disk_takes_its_second(
    own_redis: MakeRedis, make_gateway: Callable[..., GatewayProcess]
) -> None:
    """Redis 7.2 and 8 confirm after the fdatasync of everysec, up to a second later: two such waits are too long."""
    server = own_redis("--appendfsync", "everysec")
    with server.client() as redis_client:
        facts = redis_client.info("server")
    if version_of(facts) < WAITAOF_SINCE or "valkey_version" in facts:
        pytest.skip(f"{find_server()[1]} does not wait for its disk: this needs a Redis 7.2 or 8")
    gateway = make_gateway(redis_url=server.url)
    user = gateway.add_user()
    with gateway.client() as client:
        token = gateway.login(user, client, delivery="body")["refresh_token"]
        with server.client() as redis_client:
            redis_client.set("a", "b")
            redis_client.execute_command("WAITAOF", 1, 0, DISK_TIMEOUT_MILLISECONDS)  # the next one takes a second
        begun = time.monotonic()
        answer = client.post("/auth/logout", json={"refresh_token": token})
        print(f"{answer.status_code} after {time.monotonic() - begun:.2f} s, {questions(server)} waits in all")
    assert answer.status_code == 204


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
