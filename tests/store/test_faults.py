"""What each error of Redis becomes: told in time, with its cause in the log, and mended where it can be."""

import asyncio
import hashlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import uvloop
from redis.exceptions import ResponseError

from gateway.errors import StoreUnavailable
from gateway.store.breaker import PROBE_INTERVAL_SECONDS
from gateway.store.confirmations import Unconfirmed
from gateway.store.faults import LOG_INTERVAL_SECONDS, FaultLog
from gateway.store.store import Script, Store
from tests.conftest import OpenStore
from tests.harness import RedisServer, free_port

pytestmark = [pytest.mark.redis, pytest.mark.one_server("it is what a single server answers")]

TOLD_WITHIN_SECONDS = 1.1
MakeRedis = Callable[..., RedisServer]


def script(text: str) -> Script:
    return Script("of_the_test", text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


SET = script("return redis.call('SET', KEYS[1], ARGV[1])")
HGET = script("return redis.call('HGET', KEYS[1], 'field')")


class Log:
    """The lines that the store has logged."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def of(self, code: str) -> list[logging.LogRecord]:
        """Give the lines of one code."""
        return [record for record in self._caplog.records if vars(record).get("fields", {}).get("code") == code]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    """Give what is logged."""
    caplog.set_level(logging.INFO, "gateway")
    return Log(caplog)


async def told(call: Awaitable[object], code: str, log: Log, *, as_error: bool = False) -> None:
    """See that a call fails in time and in the one way that it may, and that the log says why and how to mend it."""
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable) as raised:
        await call
    seconds = time.monotonic() - begun
    assert raised.value.cause == code
    assert seconds < TOLD_WITHIN_SECONDS
    line = log.of(code)[0]
    assert (line.levelno >= logging.ERROR) == as_error
    fields = vars(line)["fields"]
    assert bool(fields.get("mend")) == as_error
    assert fields["cause"]
    print(f"{code} after {seconds * 1000:.0f} ms: {fields['cause'][:100]}; {fields.get('mend', 'passes by itself')}")


async def test_a_full_redis(own_redis: MakeRedis, open_store: OpenStore, log: Log) -> None:
    server = own_redis()
    store = open_store(server.url)
    server.command("CONFIG", "SET", "maxmemory", "1")
    await told(store.execute("SET", "gw:a", "b"), "OOM", log)
    await told(store.run(SET, ["gw:a"], "b"), "OOM", log)
    server.command("CONFIG", "SET", "maxmemory", "0")
    await store.run(SET, ["gw:a"], "b")


async def test_a_key_that_holds_something_else(own_redis: MakeRedis, open_store: OpenStore, log: Log) -> None:
    store = open_store(own_redis().url)
    await store.execute("SET", "gw:a", "text")
    await told(store.execute("HGET", "gw:a", "field"), "WRONGTYPE", log, as_error=True)
    await told(store.run(HGET, ["gw:a"]), "WRONGTYPE", log, as_error=True)


async def test_a_user_who_may_not(own_redis: MakeRedis, open_store: OpenStore, log: Log) -> None:
    server = own_redis()
    server.command("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@read", "+echo", "+evalsha", "+script|load")
    store = open_store(f"redis://reader:secret@127.0.0.1:{server.port}/0")
    await store.execute("GET", "gw:a")
    await told(store.execute("SET", "gw:a", "b"), "NOPERM", log, as_error=True)
    await told(store.run(SET, ["gw:a"], "b"), "NOPERM", log, as_error=True)
    server.command("ACL", "SETUSER", "reader", "+set")
    await store.run(SET, ["gw:a"], "b")


async def test_passwords_that_are_wanting_or_wrong(own_redis: MakeRedis, open_store: OpenStore, log: Log) -> None:
    server = own_redis()
    server.command("CONFIG", "SET", "requirepass", "theirs")
    await told(open_store(server.url).execute("GET", "gw:a"), "NOAUTH", log, as_error=True)
    wrong = open_store(f"redis://:wrong@127.0.0.1:{server.port}/0")
    await told(wrong.execute("GET", "gw:a"), "WRONGPASS", log, as_error=True)
    for line in log.of("WRONGPASS"):
        assert "wrong@" not in str(vars(line)["fields"])


async def test_a_redis_that_runs_a_long_script(own_redis: MakeRedis, open_store: OpenStore, log: Log) -> None:
    server = own_redis("--busy-reply-threshold", "50")
    store, other = open_store(server.url), open_store(server.url)
    await other.execute("GET", "gw:a")
    running = asyncio.create_task(other.run(script("while true do end"), ["gw:a"]))
    await asyncio.sleep(0.2)
    await told(store.execute("GET", "gw:a"), "BUSY", log)
    await told(running, "TIMEOUT", log)
    server.command("SCRIPT", "KILL")
    begun = time.monotonic()
    while True:
        with suppress(StoreUnavailable):
            await store.execute("GET", "gw:a")
            break
        assert time.monotonic() - begun < 5
        await asyncio.sleep(0.02)


async def test_a_redis_that_cannot_write_to_its_disk(own_redis: MakeRedis, open_store: OpenStore, log: Log) -> None:
    server = own_redis("--stop-writes-on-bgsave-error", "yes", "--dbfilename", "taken.rdb")
    store = open_store(server.url)
    await store.execute("SET", "gw:a", "b")
    (server.directory / "taken.rdb").mkdir()  # no file can take the name of a folder
    server.command("CONFIG", "SET", "save", "3600 1")
    server.command("BGSAVE")
    begun = time.monotonic()
    while b"rdb_last_bgsave_status:err" not in server.command("INFO", "persistence"):
        assert time.monotonic() - begun < 10
        await asyncio.sleep(0.05)
    await told(store.execute("SET", "gw:a", "b"), "MISCONF", log)
    await told(store.run(SET, ["gw:a"], "b"), "MISCONF", log)
    assert await store.execute("GET", "gw:a") == b"b"
    server.command("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
    await store.run(SET, ["gw:a"], "b")


async def test_a_master_with_too_few_replicas(own_redis: MakeRedis, open_store: OpenStore, log: Log) -> None:
    server = own_redis("--min-replicas-to-write", "1")
    store = open_store(server.url)
    await told(store.execute("SET", "gw:a", "b"), "NOREPLICAS", log)
    await told(store.run(SET, ["gw:a"], "b"), "NOREPLICAS", log)


async def test_a_server_with_no_room_for_one_more_client(own_redis: MakeRedis, open_store: OpenStore, log: Log) -> None:
    server = own_redis("--maxclients", "2")
    keepers = [open_store(server.url) for _ in range(2)]
    for keeper in keepers:
        await keeper.execute("GET", "gw:a")
    await told(open_store(server.url).execute("GET", "gw:a"), "MAXCLIENTS", log)


async def test_a_server_that_became_a_replica(own_redis: MakeRedis, open_store: OpenStore, log: Log) -> None:
    server, master = own_redis(), own_redis()
    store = open_store(server.url)
    server.command("REPLICAOF", "127.0.0.1", str(master.port))
    await told(store.execute("SET", "gw:a", "b"), "READONLY", log)
    await told(store.run(SET, ["gw:a"], "b"), "READONLY", log)
    await told(store.run(SET, ["gw:a"], "b", durable=True), "READONLY", log)


async def test_a_node_of_a_cluster_that_is_taken_for_a_server_of_its_own(
    own_redis: MakeRedis, open_store: OpenStore, log: Log
) -> None:
    server = own_redis("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    store = open_store(server.url)
    await told(store.execute("SET", "gw:a", "b"), "CLUSTERDOWN", log)
    server.command("CLUSTER", "ADDSLOTS", "1")
    server.command("CONFIG", "SET", "cluster-require-full-coverage", "no")
    await told(store.execute("SET", "gw:a", "b"), "CLUSTERDOWN", log)


class Injecting:
    """A TCP proxy before a Redis that answers commands which contain a marker by a line of its own."""

    def __init__(self) -> None:
        self.marker = b""
        self.line = b""
        self.times = 0
        self.injected = 0
        self.connections = 0
        self.port = 0

    def inject(self, marker: bytes, line: bytes, times: int) -> None:
        """Answer the next *times* commands with *marker* by *line*."""
        self.marker, self.line, self.times, self.injected = marker, line, times, 0

    @asynccontextmanager
    async def before(self, server: RedisServer) -> AsyncIterator["Injecting"]:
        """Serve in front of *server*."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", server.port)

            async def answers() -> None:
                with suppress(OSError):
                    while octets := await redis_reader.read(65536):
                        writer.write(octets)
                        await writer.drain()

            pumping = asyncio.create_task(answers())
            with suppress(OSError):
                while octets := await reader.read(65536):
                    if self.times > 0 and self.marker in octets:
                        commands = octets.count(self.marker)  # many come together, and a mark behind them
                        self.times -= commands
                        self.injected += commands
                        marks = octets.count(b"\r\nECHO\r\n")
                        writer.write((self.line + b"\r\n") * (commands + marks))
                        await writer.drain()
                    else:
                        redis_writer.write(octets)
            pumping.cancel()
            redis_writer.close()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
            self.port = listener.sockets[0].getsockname()[1]
            yield self
            await asyncio.sleep(0)


PASSING = {
    "LOADING": "LOADING Redis is loading the dataset in memory",
    "BUSY": "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "TRYAGAIN": "TRYAGAIN Multiple keys request during rehashing of slot",
    "CLUSTERDOWN": "CLUSTERDOWN The cluster is down",
    "MASTERDOWN": "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "MISCONF": "MISCONF Errors writing to the AOF file: No space left on device",
    "NOREPLICAS": "NOREPLICAS Not enough good replicas to write.",
    "READONLY": "READONLY You can't write against a read only replica.",
    "OOM": "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -OOM command not allowed",
    "ERROR": "ERR something that nobody has thought of",
}
LASTING = {
    "NOPERM": "NOPERM this user has no permissions to run the 'evalsha' command",
    "NOAUTH": "NOAUTH Authentication required.",
    "WRONGPASS": "WRONGPASS invalid username-password pair or user is disabled.",
    "WRONGTYPE": "WRONGTYPE Operation against a key holding the wrong kind of value",
    "MOVED": "MOVED 3999 127.0.0.1:6381",
    "CROSSSLOT": "CROSSSLOT Keys in request don't hash to the same slot",
}


@pytest.mark.parametrize("code", [*PASSING, *LASTING])
async def test_each_error_line_is_told_and_the_next_call_works(
    own_redis: MakeRedis, open_store: OpenStore, log: Log, code: str
) -> None:
    """Shows ASVS 16.3.4."""
    async with Injecting().before(own_redis()) as proxy:
        store = open_store(f"redis://127.0.0.1:{proxy.port}/0")
        await store.run(SET, ["gw:a"], "b")
        proxy.inject(b"EVALSHA", f"-{(PASSING | LASTING)[code]}".encode(), 100)
        await told(store.run(SET, ["gw:a"], "c"), code, log, as_error=code in LASTING)
        assert 1 <= proxy.injected <= 3
        proxy.inject(b"", b"", 0)
        await store.run(SET, ["gw:a"], "d")
        await store.close()


async def test_errors_of_one_call_do_not_open_the_breaker(own_redis: MakeRedis, open_store: OpenStore) -> None:
    """They are quick, and other calls may work."""
    server = own_redis("--maxmemory", "1")
    store = open_store(server.url)
    for _ in range(50):
        with pytest.raises(StoreUnavailable) as raised:
            await store.execute("SET", "gw:a", "b")
        assert raised.value.cause == "OOM"
        assert await store.execute("GET", "gw:a") is None


@pytest.mark.parametrize("code", ["LOADING", "BUSY", "MASTERDOWN"])
async def test_a_server_that_says_it_serves_nobody_is_asked_by_nobody_but_a_probe(
    own_redis: MakeRedis, open_store: OpenStore, code: str
) -> None:
    async with Injecting().before(own_redis()) as proxy:
        store = open_store(f"redis://127.0.0.1:{proxy.port}/0")
        await store.run(SET, ["gw:a"], "b")
        proxy.inject(b"gw:a", f"-{PASSING[code]}".encode(), 10_000)
        causes, begun = Counter[str](), time.monotonic()
        while time.monotonic() - begun < 1.0:
            with pytest.raises(StoreUnavailable) as raised:
                await store.run(SET, ["gw:a"], "c")
            causes[raised.value.cause] += 1
            await asyncio.sleep(0.005)
        print(f"{sum(causes.values())} calls in a second: {dict(causes)}; {proxy.injected} reached the server")
        assert causes["AWAY"] > causes[code] > 0
        assert proxy.injected <= causes[code] * 3 + 1.0 / PROBE_INTERVAL_SECONDS + 1
        proxy.inject(b"", b"", 0)
        await asyncio.sleep(PROBE_INTERVAL_SECONDS * 3)
        await store.run(SET, ["gw:a"], "d")
        await store.close()


async def test_a_connection_to_a_former_master_is_looked_up_again_and_the_call_repeated_once(
    own_redis: MakeRedis, open_store: OpenStore
) -> None:
    """The address may lead to the new master by now: nobody is told."""
    async with Injecting().before(own_redis()) as proxy:
        store = open_store(f"redis://127.0.0.1:{proxy.port}/0")
        await store.run(SET, ["gw:a"], "b")
        connections = proxy.connections
        proxy.inject(b"EVALSHA", f"-{PASSING['READONLY']}".encode(), 1)
        await store.run(SET, ["gw:a"], "c")
        assert (proxy.injected, proxy.connections) == (1, connections + 1)
        assert await store.execute("GET", "gw:a") == b"c"
        await store.close()


async def test_many_that_meet_a_former_master_at_once_drop_the_connections_once(
    own_redis: MakeRedis, open_store: OpenStore
) -> None:
    async with Injecting().before(own_redis()) as proxy:
        store = open_store(f"redis://127.0.0.1:{proxy.port}/0")
        await asyncio.gather(*(store.run(SET, ["gw:a"], number) for number in range(100)))
        proxy.inject(b"EVALSHA", f"-{PASSING['READONLY']}".encode(), 1_000_000)
        before, calls, begun = proxy.connections, 0, time.monotonic()
        while time.monotonic() - begun < 1.0:
            answers = await asyncio.gather(
                *(store.run(SET, ["gw:a"], number) for number in range(20)), return_exceptions=True
            )
            assert {type(answer) for answer in answers} == {StoreUnavailable}
            calls += len(answers)
        print(f"{calls} calls to a former master: {proxy.connections - before} new connections")
        assert calls > 200
        assert proxy.connections - before < calls / 2
        proxy.inject(b"", b"", 0)
        await store.run(SET, ["gw:a"], "d")
        await store.close()


async def test_scripts_that_are_flushed_all_the_time_are_no_error_and_nothing_is_evaluated(
    own_redis: MakeRedis, open_store: OpenStore
) -> None:
    """In a tight loop, by a user who may not EVAL. Shows ASVS 1.2.4."""
    server = own_redis("--appendfsync", "always")  # several waits for one disk are longer than a call may take
    server.command(
        "ACL",
        "SETUSER",
        "gateway",
        "on",
        ">secret",
        "~gw:*",
        "+incr",
        "+echo",
        "+evalsha",
        "+script|load",
        "+info",
        "+@connection",
    )
    store, flusher = open_store(f"redis://gateway:secret@127.0.0.1:{server.port}/0"), open_store(server.url)
    count = script("return redis.call('INCR', KEYS[1])")
    flushes, ended = 0, False

    async def flush() -> None:
        nonlocal flushes
        while not ended:
            with suppress(StoreUnavailable):  # 0.5 s without an answer, where others use the cores
                await flusher.execute("SCRIPT", "FLUSH")
                flushes += 1

    flushing = [asyncio.create_task(flush()) for _ in range(4)]
    runs, errors, begun = 0, Counter[str](), time.monotonic()
    while time.monotonic() - begun < 2.0 or (flushes <= 1000 and time.monotonic() - begun < 20.0):
        answers = await asyncio.gather(
            *(store.run(count, ["gw:n"], durable=number % 2 == 0) for number in range(16)), return_exceptions=True
        )
        runs += len(answers)
        errors.update(type(answer).__name__ for answer in answers if isinstance(answer, BaseException))
    ended = True
    await asyncio.gather(*flushing)
    print(f"{runs} runs of a script through {flushes} flushes: errors {dict(errors)}")
    assert flushes > 1000
    assert runs > 100
    assert not errors
    assert server.command("GET", "gw:n") == b"$%d\r\n%d\r\n" % (len(str(runs)), runs)


def test_the_log_tells_a_fault_at_once_and_then_its_number_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    faults = FaultLog(lambda: now)
    for _ in range(100):
        faults.tell("SET", ResponseError("OOM command not allowed"))
    faults.tell("SET", Unconfirmed())
    now = LOG_INTERVAL_SECONDS
    faults.tell("SET", ResponseError("OOM command not allowed"))
    fields = [vars(record)["fields"] for record in caplog.records]
    assert [(field["code"], field.get("count")) for field in fields] == [
        ("OOM", None),
        ("UNCONFIRMED", None),
        ("OOM", 100),
    ]


@pytest.mark.parametrize("ending", ["close", "abort"])
def test_a_connection_that_ends_as_it_is_written_to_is_no_error_of_ours(own_redis: MakeRedis, ending: str) -> None:
    """F1: uvloop tells of it by a RuntimeError, and nothing has been sent; the call is made over another connection."""
    server = own_redis()

    async def run() -> int:
        store, rounds = Store(server.url, "torn:"), 0
        for number in range(20):
            await store.execute("SET", store.key("a"), number)
            [line] = store._clients.ordinary.turns._lines
            getattr(line._writer.transport, ending)()
            rounds += await store.execute("GET", store.key("a")) == str(number).encode()
        await store.close()
        return rounds

    assert uvloop.run(run()) == 20
