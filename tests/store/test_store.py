"""The door to Redis under every fault: it answers in time, says what it is, and works again by itself."""

import asyncio
import hashlib
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.errors import StartupError, StoreUnavailable
from gateway.store.private import find_server
from gateway.store.store import CALL_DEADLINE_SECONDS, DURABLE_DEADLINE_SECONDS, MAX_CALLS_UNDER_WAY, Script, Store
from gateway.store.turns import MAX_LINES
from tests.conftest import OpenStore
from tests.harness import RedisServer, free_port, wait_until

pytestmark = [pytest.mark.redis, pytest.mark.one_server("test_cluster_store.py is about the others")]

TOLD_WITHIN_SECONDS = 1.1
HEARD_WITHIN_SECONDS = 0.5
MakeRedis = Callable[..., RedisServer]


def script(text: str) -> Script:
    return Script("of_the_test", text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


COUNT = script("return redis.call('INCR', KEYS[1])")
COUNT_SLOWLY = script("""
redis.call('INCR', KEYS[1])
local begun = redis.call('TIME')
local spent_us = 0
while spent_us < tonumber(ARGV[1]) do
  local now = redis.call('TIME')
  spent_us = (now[1] - begun[1]) * 1000000 + now[2] - begun[2]
end
return 1
""")


async def seconds_until_told(call: Awaitable[object]) -> float:
    """Give the seconds after which a call has failed, in the only way that a call may fail."""
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await call
    return time.monotonic() - begun


def every_call(store: Store) -> dict[str, Callable[[], Awaitable[object]]]:
    async def scan() -> list[str]:
        return [key async for key in store.scan("*")]

    return {
        "run": lambda: store.run(COUNT, [store.key("count")]),
        "execute": lambda: store.execute("SET", store.key("a"), "b"),
        "scan": scan,
        "read_stream": lambda: store.read_stream(store.key("stream"), "0-0", 10, wait=False),
        "server_facts": store.server_facts,
    }


async def until_heard(store: Store) -> float:
    """Give the seconds until the first call passes again. Nothing may fail after it."""
    begun = time.monotonic()
    while True:
        with suppress(StoreUnavailable):
            await store.execute("GET", store.key("a"))
            return time.monotonic() - begun
        assert time.monotonic() - begun < 20
        await asyncio.sleep(0.002)


async def works(store: Store) -> None:
    for call in every_call(store).values():
        await call()


async def test_replies_are_octets_numbers_and_lists(store: Store) -> None:
    key = store.key("a")
    assert key == store.prefix + "a"
    await store.execute("SET", key, b"\xff\0")
    assert await store.execute("GET", key) == b"\xff\0"
    assert await store.execute("GET", store.key("none")) is None
    assert await store.run(script("return {1, KEYS[1], ARGV[1], ARGV[2]}"), [key], 7, b"\xff") == [
        1,
        key.encode(),
        b"7",
        b"\xff",
    ]


async def test_keys_of_a_pattern_are_found_and_those_of_others_are_not(store: Store, redis_server: RedisServer) -> None:
    other = Store(redis_server.url, "other-" + store.prefix)
    await other.execute("SET", other.key("user:{x}"), "1")
    for number in range(1200):
        await store.execute("SET", store.key(f"user:{{{number}}}"), "1")
    await store.execute("SET", store.key("email:x"), "1")
    found = {key async for key in store.scan("user:*")}
    assert found == {store.key(f"user:{{{number}}}") for number in range(1200)}
    await other.close()


async def test_a_stream_is_read_in_pages(store: Store) -> None:
    key = store.key("stream")
    assert await store.read_stream(key, "0-0", 10, wait=False) == []
    for number in range(5):
        await store.execute("XADD", key, f"{number + 1}-0", "sid", number)
    page = await store.read_stream(key, "0-0", 3, wait=True)
    assert page == [("1-0", {b"sid": b"0"}), ("2-0", {b"sid": b"1"}), ("3-0", {b"sid": b"2"})]
    assert [entry_id for entry_id, _ in await store.read_stream(key, "3-0", 3, wait=False)] == ["4-0", "5-0"]
    begun = time.monotonic()
    assert await store.read_stream(key, "5-0", 3, wait=True) == []
    assert 0.4 < time.monotonic() - begun < TOLD_WITHIN_SECONDS


async def test_a_script_that_redis_has_forgotten_is_loaded_again(store: Store) -> None:
    for _ in range(3):
        await store.execute("SCRIPT FLUSH")
        await store.run(COUNT, [store.key("count")])
        await store.execute("SCRIPT FLUSH")
        await store.run(COUNT, [store.key("count")], durable=True)
    assert await store.execute("GET", store.key("count")) == b"6"


async def test_flushing_the_scripts_all_the_time_is_no_error(own_redis: MakeRedis, open_store: OpenStore) -> None:
    """A hundred times a second."""
    server = own_redis()
    store, flusher = open_store(server.url), open_store(server.url)
    ended = False

    async def flush() -> int:
        count = 0
        while not ended:
            await flusher.execute("SCRIPT FLUSH")
            count += 1
            await asyncio.sleep(0.01)
        return count

    flushing = asyncio.create_task(flush())
    begun, runs = time.monotonic(), 0
    while time.monotonic() - begun < 1.5:
        await asyncio.gather(*(store.run(COUNT, ["count"]) for _ in range(20)))
        runs += 20
    ended = True
    print(f"{runs} runs of a script through {await flushing} flushes")
    assert await store.execute("GET", "count") == str(runs).encode()


async def test_redis_that_is_not_there_is_told_in_time() -> None:
    store = Store(f"redis://127.0.0.1:{free_port()}/0", "gw:")
    for name, call in every_call(store).items():
        assert await seconds_until_told(call()) < TOLD_WITHIN_SECONDS, name
    await store.close()


async def test_redis_that_answers_nothing_is_told_in_time_and_works_again_at_once(
    own_redis: MakeRedis, open_store: OpenStore
) -> None:
    server = own_redis()
    store = open_store(server.url)
    await works(store)
    server.signal(signal.SIGSTOP)
    for name, call in every_call(store).items():
        waited = await seconds_until_told(call())
        assert waited < TOLD_WITHIN_SECONDS + (0.5 if name in ("scan", "read_stream") else 0), name
    assert await seconds_until_told(store.run(COUNT, ["count"], durable=True)) < DURABLE_DEADLINE_SECONDS + 0.1
    # A hundred at once: some wait for an answer, some for a connection, all are told.
    waits = await asyncio.gather(*(seconds_until_told(store.execute("GET", "a")) for _ in range(100)))
    assert max(waits) < TOLD_WITHIN_SECONDS
    server.signal(signal.SIGCONT)
    seconds = await until_heard(store)
    print(f"heard {seconds * 1000:.0f} ms after it went on")
    assert seconds < HEARD_WITHIN_SECONDS
    await works(store)
    await asyncio.gather(*(store.execute("GET", "a") for _ in range(100)))


@pytest.mark.parametrize("busy", [False, True])
async def test_redis_that_was_killed_and_started_again_works_with_the_next_calls(
    own_redis: MakeRedis, open_store: OpenStore, busy: bool
) -> None:
    """Without one more failure, though every connection is broken and every script forgotten."""
    server = own_redis()
    store = open_store(server.url)
    await asyncio.gather(*(store.run(COUNT, ["count"]) for _ in range(64)))
    server.kill()
    if busy:
        for _ in range(3):
            assert await seconds_until_told(store.execute("GET", "a")) < TOLD_WITHIN_SECONDS
    server.start()
    if busy:
        seconds = await until_heard(store)
        print(f"heard {seconds * 1000:.0f} ms after it was back")
        assert seconds < HEARD_WITHIN_SECONDS
    await asyncio.gather(*(store.run(COUNT, ["count"]) for _ in range(64)))
    assert await store.execute("GET", "count") == b"128"


async def test_a_command_whose_answer_does_not_come_in_time_is_not_sent_again(
    own_redis: MakeRedis, open_store: OpenStore
) -> None:
    """Shows ASVS 13.2.6."""
    server = own_redis()
    store = open_store(server.url)
    await store.run(COUNT_SLOWLY, ["count"], 0, durable=True)
    for count, durable in ((2, False), (3, True)):
        slow_us = round(DURABLE_DEADLINE_SECONDS * 1.2e6) if durable else round(CALL_DEADLINE_SECONDS * 1.2e6)
        await seconds_until_told(store.run(COUNT_SLOWLY, ["count"], slow_us, durable=durable))
        wait_until(server.answers)
        assert await store.execute("GET", "count") == str(count).encode()


async def test_a_command_whose_connection_breaks_is_sent_again(own_redis: MakeRedis, open_store: OpenStore) -> None:
    """Once at least, three times at most: what is run here must bear that."""
    server, executed = own_redis(), script("return redis.call('INCR', KEYS[1])")
    store = open_store(server.url)
    await store.run(executed, ["count"])
    broken = 0

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, breaks: bool) -> None:
        nonlocal broken
        with suppress(OSError):
            while octets := await reader.read(65536):
                if breaks and octets.startswith(b":2\r\n"):
                    broken += 1
                    break  # executed, and the answer is lost
                writer.write(octets)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(
            pump(reader, redis_writer, breaks=False), pump(redis_reader, writer, breaks=True), return_exceptions=True
        )

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as proxy:
        through_proxy = Store(f"redis://127.0.0.1:{proxy.sockets[0].getsockname()[1]}/0", "gw:")
        assert await through_proxy.run(executed, ["count"]) == 3
        await through_proxy.close()
        await asyncio.sleep(0)
    assert broken == 1


async def test_a_store_takes_no_more_connections_than_it_may_and_tells_in_time_when_all_are_in_use(
    own_redis: MakeRedis, open_store: OpenStore
) -> None:
    """Shows ASVS 13.2.6."""
    server = own_redis()
    store = open_store(server.url)
    answers = await asyncio.gather(*(store.run(COUNT, ["count"]) for _ in range(500)))
    assert sorted(answers) == list(range(1, 501))
    clients = (await store.server_facts())["connected_clients"]
    assert clients <= MAX_LINES
    waiting = [asyncio.create_task(store.execute("BLPOP", f"none-{n}", 0)) for n in range(2 * MAX_CALLS_UNDER_WAY)]
    begun = time.monotonic()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert time.monotonic() - begun < TOLD_WITHIN_SECONDS
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    await works(store)


async def test_a_cancelled_call_leaves_no_answer_behind_for_another(store: Store) -> None:
    """Requests come and go; nobody gets what somebody else has asked for."""

    async def ask(number: int) -> None:
        assert await store.run(script("return ARGV[1]"), [store.key("a")], number) == str(number).encode()

    answered = 0
    begun = time.monotonic()
    while answered < 600:
        assert time.monotonic() - begun < 20, f"{answered} answers"
        tasks = [asyncio.create_task(ask(number)) for number in range(50)]
        await asyncio.sleep(0.001)
        for task in tasks[::3]:
            task.cancel()
        answers = [type(answer) for answer in await asyncio.gather(*tasks, return_exceptions=True)]
        # Without a core for long enough nobody connects in time, and is told so; nobody gets the answer of another.
        assert set(answers) <= {type(None), asyncio.CancelledError, StoreUnavailable}
        answered += answers.count(type(None))
        if StoreUnavailable in answers:
            await asyncio.sleep(0.1)
    while True:
        with suppress(StoreUnavailable):
            await works(store)
            return
        assert time.monotonic() - begun < 20


async def test_a_server_that_became_a_replica_is_left_and_taken_again(
    own_redis: MakeRedis, open_store: OpenStore
) -> None:
    """No connection to it is kept, since the address may lead to another server by now."""
    server = own_redis()
    store = open_store(server.url)
    await asyncio.gather(*(store.run(COUNT, ["count"]) for _ in range(64)))
    server.command("REPLICAOF", "127.0.0.1", str(free_port()))
    before = (await store.server_facts())["total_connections_received"]
    for durable in (False, True):
        assert await seconds_until_told(store.run(COUNT, ["count"], durable=durable)) < TOLD_WITHIN_SECONDS
        assert await seconds_until_told(store.execute("SET", "a", "b", durable=durable)) < TOLD_WITHIN_SECONDS
    waits = await asyncio.gather(*(seconds_until_told(store.run(COUNT, ["count"])) for _ in range(100)))
    assert max(waits) < TOLD_WITHIN_SECONDS
    assert (await store.server_facts())["total_connections_received"] > before + 1
    server.command("REPLICAOF", "NO", "ONE")
    await works(store)
    assert await store.run(COUNT, ["count"]) == 65


async def test_every_answer_that_is_an_error_is_told_as_unavailable(
    own_redis: MakeRedis, open_store: OpenStore
) -> None:
    server = own_redis()
    store = open_store(server.url)
    await store.execute("SET", "text", "text")
    await seconds_until_told(store.execute("HGET", "text", "field"))  # WRONGTYPE
    await seconds_until_told(store.run(script("return redis.call('HGET', KEYS[1], 'field')"), ["text"]))
    await seconds_until_told(store.run(script("return nil .. 'x'"), ["text"]))
    await seconds_until_told(store.run(script("this is no Lua"), ["text"]))
    await seconds_until_told(store.execute("NOSUCHCOMMAND"))
    server.command("CONFIG", "SET", "maxmemory", "1")
    await seconds_until_told(store.execute("SET", "a", "b"))  # OOM
    await seconds_until_told(store.run(script("return redis.call('SET', KEYS[1], 'b')"), ["a"]))
    server.command("CONFIG", "SET", "maxmemory", "0")
    server.command("CONFIG", "SET", "min-replicas-to-write", "1")
    await seconds_until_told(store.execute("SET", "a", "b"))  # NOREPLICAS
    server.command("CONFIG", "SET", "min-replicas-to-write", "0")
    server.command("CONFIG", "SET", "requirepass", "a-new-password")
    await seconds_until_told(open_store(server.url).execute("GET", "a"))  # NOAUTH
    server.command("AUTH", "a-new-password")
    await store.execute("CONFIG", "SET", "requirepass", "")
    await works(store)


async def test_a_server_with_no_room_for_one_more_client_is_told(own_redis: MakeRedis, open_store: OpenStore) -> None:
    server = own_redis("--maxclients", "1")
    keeper = open_store(server.url)
    await keeper.execute("PING")
    store = open_store(server.url)
    assert await seconds_until_told(store.execute("PING")) < TOLD_WITHIN_SECONDS
    await keeper.close()
    await store.execute("PING")


async def test_a_durable_write_waits_for_the_replica_that_there_is(own_redis: MakeRedis, open_store: OpenStore) -> None:
    """One that has gone silent is told, since the write may be lost; the write itself is there and may be repeated."""
    master = own_redis("--repl-diskless-sync-delay", "0")
    replica = own_redis("--replicaof", "127.0.0.1", str(master.port))
    store = open_store(master.url)
    replicate(master, replica)
    assert await store.run(COUNT, ["count"], durable=True) == 1
    assert replica.command("GET", "count") == b"$1\r\n1\r\n"
    replica.signal(signal.SIGSTOP)
    assert await seconds_until_told(store.run(COUNT, ["count"], durable=True)) < DURABLE_DEADLINE_SECONDS + 0.1
    assert await store.run(COUNT, ["count"]) == 3
    replica.signal(signal.SIGCONT)
    assert await store.run(COUNT, ["count"], durable=True) == 4


def replicate(master: RedisServer, replica: RedisServer) -> None:
    """Wait until a replica has what its master has."""
    wait_until(lambda: b"state=online" in master.command("INFO", "replication"))
    master.command("SET", "is-there", "1")
    wait_until(lambda: replica.command("GET", "is-there") == b"$1\r\n1\r\n")


@pytest.fixture
def sentinel(own_redis: MakeRedis, tmp_path: Path) -> Iterator[tuple[str, RedisServer]]:
    """Give the URL of a service that one Sentinel watches, and its master; there is a replica too."""
    master = own_redis("--repl-diskless-sync-delay", "0")
    replicate(master, own_redis("--replicaof", "127.0.0.1", str(master.port)))
    watcher = RedisServer(tmp_path / "sentinel")
    watcher.directory.mkdir()
    configuration = watcher.directory / "sentinel.conf"
    configuration.write_text(
        f"port {watcher.port}\nbind 127.0.0.1\ndir {watcher.directory}\nlogfile {watcher.directory}/log\n"
        f"sentinel monitor sessions 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds sessions 500\nsentinel failover-timeout sessions 5000\n"
    )
    watcher.process = subprocess.Popen([find_server()[0], str(configuration), "--sentinel"])
    wait_until(watcher.answers, what="Sentinel")
    wait_until(lambda: b"slaves=1" in watcher.command("INFO", "sentinel"), what="Sentinel to find the replica")
    yield f"redis+sentinel://127.0.0.1:{watcher.port}/sessions/0", master
    watcher.stop()


@pytest.mark.parametrize("trouble", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
async def test_a_new_master_is_found_by_sentinel(sentinel: tuple[str, RedisServer], trouble: signal.Signals) -> None:
    """Until then every call is told that Redis is away, in time."""
    url, master = sentinel
    store = Store(url, "gw:")
    await works(store)
    assert await store.run(COUNT, ["count"], durable=True) == 1
    master.signal(trouble)
    begun, longest, is_back = time.monotonic(), 0.0, False
    while not is_back:
        asked = time.monotonic()
        with suppress(StoreUnavailable):
            assert await store.run(COUNT, ["count"]) == 2
            is_back = True
        longest = max(longest, time.monotonic() - asked)
        assert time.monotonic() - begun < 20
        await asyncio.sleep(0.02)
    print(f"a new master after {time.monotonic() - begun:.1f} s")
    assert longest < TOLD_WITHIN_SECONDS
    await works(store)
    assert await store.run(COUNT, ["count"], durable=True) == 3
    await store.close()


def test_the_deadlines_keep_what_the_contract_says() -> None:
    """Told within 2 s, whatever was asked for. Shows ASVS 13.2.6."""
    assert CALL_DEADLINE_SECONDS <= 1.0
    assert DURABLE_DEADLINE_SECONDS < 2.0


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("redis://127.0.0.1/0?no_such_option=1", "no_such_option"),
        ("rediss://127.0.0.1/0?ssl_cert_reqs=perhaps", "perhaps"),
        ("redis://127.0.0.1/0?sentinel_password=x", "sentinel_password"),
        ("redis+sentinel://127.0.0.1:1/sessions?no_such_option=1", "no_such_option"),
        ("redis+sentinel://127.0.0.1:1/sessions?ssl_ca_certs=/etc/ca.pem", "ssl_ca_certs"),
        ("redis+sentinel://127.0.0.1:1/sessions?host=elsewhere", "host"),
        ("redis+sentinel://127.0.0.1:1/sessions?ssl=true", "ssl"),
        ("rediss+sentinel://127.0.0.1:1/sessions?ssl_min_version=newest", "ssl_min_version"),
        ("redis+cluster://127.0.0.1:1?no_such_option=1", "no_such_option"),
        ("redis+cluster://127.0.0.1:1?ssl_ca_certs=/etc/ca.pem", "ssl_ca_certs"),
        ("redis+cluster://127.0.0.1:1?sentinel_password=x", "sentinel_password"),
        ("redis+cluster://127.0.0.1:1?db=1", "db"),
        ("rediss+cluster://127.0.0.1:1?ssl=false", "ssl"),
        ("rediss+cluster://127.0.0.1:1?ssl_cafile=/etc/ca.pem", "ssl_cafile"),
    ],
)
def test_an_option_that_the_address_cannot_have_is_refused(url: str, cause: str) -> None:
    with pytest.raises(StartupError, match="redis_url cannot be used") as refused:
        Store(url, "gw:")
    assert cause in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_a_server_on_a_unix_socket_is_a_server(
    own_redis: MakeRedis, open_store: OpenStore, tmp_path: Path
) -> None:
    path = tmp_path / "redis.sock"
    server = own_redis("--unixsocket", str(path))
    server.url = f"unix://{path}"
    await works(open_store(server.url))
