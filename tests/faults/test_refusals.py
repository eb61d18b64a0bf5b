"""Redis is there, but does not do what it is asked for (F3, F5, F6, F7, F11, F12, F24)."""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator

import httpx2
import pytest

from tests.conftest import quick_environment
from tests.families.proxy import Fault as Cut
from tests.families.proxy import Proxy
from tests.faults.conftest import MakeFault, MakeScene
from tests.faults.entries import Entry
from tests.faults.proxies import TurningProxy
from tests.faults.scenes import Scene, Size
from tests.harness import GatewayProcess, RedisServer, free_port
from tests.scripts import load_script
from tests.store.shared_line import BY_THE_NETWORK, COME_TWICE

ERRORS = {
    "LOADING": "Redis is loading the dataset in memory",
    "BUSY": "Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "MISCONF": "Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "NOREPLICAS": "Not enough good replicas to write.",
    "CLUSTERDOWN": "The cluster is down",
    "MASTERDOWN": "Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "TRYAGAIN": "Multiple keys request during rehashing of slot",
    "OOM": "command not allowed when used memory > 'maxmemory'.",
    "NOPERM": "this user has no permissions to run the 'evalsha' command",
    "ERR": "max number of clients reached",
}
FILLER_BYTES = 4096
ROOM_BYTES = 65_536


@pytest.fixture(scope="module")
def proxies(server: RedisServer) -> Iterator[tuple[Proxy, TurningProxy]]:
    """Give two proxies: one that cuts commands, and before it one that answers errors."""
    cutting = Proxy(server)
    inner = RedisServer(server.directory, port=int(cutting.url.rpartition(":")[2].removesuffix("/0")))
    turning = TurningProxy(inner)
    yield cutting, turning
    for proxy in (turning, cutting):
        proxy.close()


@pytest.fixture(scope="module")
def scene(proxies: tuple[Proxy, TurningProxy], make_lasting_scene: MakeScene) -> Scene:
    """Give two gateways that have Redis behind both proxies."""
    return make_lasting_scene(proxies[1].url)


@contextlib.contextmanager
def until_the_end(work: Callable[[], None]) -> Iterator[None]:
    """Do something again and again on a thread while the block runs."""
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            work()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_connections_to_redis_are_reset_at_any_byte(
    scene: Scene, proxies: tuple[Proxy, TurningProxy], make_fault: MakeFault, size: Size
) -> None:
    """F3: within the command or its reply, once or until the gateway gives up; tests/families has the sweep."""
    cutting, rotate = proxies[0], load_script("family_rotate").sha1.encode()
    with make_fault(scene, "F3", "The connection to Redis is reset within a rotation, at a random byte") as fault:

        def cut() -> None:
            side, times = random.choice(("request", "reply")), random.choice((1, 1, 1, 3))
            cutting.arm(rotate, Cut("request" if side == "request" else "reply", random.randrange(250)), times)
            time.sleep(0.03)

        before = cutting.injected
        with fault.strike(), until_the_end(cut):
            time.sleep(size.of(1, 40))
        cutting.disarm()
        fault.injected = cutting.injected - before


def test_replies_of_a_shared_connection_are_cut_delayed_or_come_twice(
    scene: Scene, proxies: tuple[Proxy, TurningProxy], make_fault: MakeFault, size: Size
) -> None:
    """F24: at a random byte; test_shared_line.py has the sweep, and what a relay can do beyond that."""
    turning, title = proxies[1], "Replies of a connection that calls share are cut, delayed, or come twice"
    with make_fault(scene, "F24", f"{title}, at a random byte") as fault:

        def change() -> None:
            turning.change = random.choice([*BY_THE_NETWORK.values(), *COME_TWICE])
            time.sleep(0.03)

        before = turning.injected
        with fault.strike(), until_the_end(change):
            time.sleep(size.of(1, 40))
        turning.change = None
        fault.injected = turning.injected - before


def test_redis_is_full(scene: Scene, server: RedisServer, make_fault: MakeFault, size: Size) -> None:
    """F5: logins and refreshes are told to come again, and every logout works."""
    with make_fault(scene, "F5", "Redis is full (maxmemory, noeviction); every logout works all the same") as fault:

        def refuse_no_logout(entry: Entry) -> str:
            refused = entry.what == "logout" and entry.status != 204 and fault.is_struck(entry)
            return "no logout at maxmemory" if refused else ""

        fault.rule = refuse_no_logout
        for number in range(size.of(1, 6)):
            with fault.strike():
                fill(server)
                time.sleep(size.of(1, 5))
                server.command("CONFIG", "SET", "maxmemory", "0")
                server.command("DEL", *[f"filler:{n}" for n in range(ROOM_BYTES // FILLER_BYTES * 4)])
            if number + 1 < size.of(1, 6):
                scene.restock(20)
        logouts = sum(e.what == "logout" and e.status == 204 and fault.is_struck(e) for e in scene.reader.peek())
        fault.notes["logouts meanwhile"] = str(logouts)
        fault.expect(logouts > 0, "no logout was tried while Redis was full")


def fill(server: RedisServer) -> None:
    """Leave Redis no more room."""
    with contextlib.closing(server.client()) as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] + ROOM_BYTES)
        with contextlib.suppress(Exception):
            for number in range(ROOM_BYTES // FILLER_BYTES * 4):
                client.set(f"filler:{number}", "x" * FILLER_BYTES)


def test_redis_would_drop_keys(scene: Scene, server: RedisServer, make_fault: MakeFault, size: Size) -> None:
    """F6: no gateway starts on such a Redis; one that runs goes on, and says that it is not ready."""
    with make_fault(scene, "F6", "Redis gets an eviction policy (`allkeys-lru`, `volatile-ttl`) while it is used") as f:
        told = []
        for number in range(size.of(1, 4)):
            policy = ("allkeys-lru", "volatile-ttl")[number % 2]
            with f.strike():
                server.command("CONFIG", "SET", "maxmemory-policy", policy)
                env = quick_environment(server.url, redis_key_prefix=scene.prefix)
                started = GatewayProcess(env, scene.directory / "refused.log").start(wait=False)
                assert started.process is not None
                f.expect(started.process.wait(timeout=20) == 3, f"it starts with {policy}")
                mend = "CONFIG SET maxmemory-policy noeviction" in started.log_text()
                f.expect(mend, f"no mend is told for {policy}")
                time.sleep(size.of(1, 6))
                told.append(httpx2.get(f"{scene.gateways[0].url}/readyz", timeout=3).status_code)
                f.expect(told[-1] == 503, f"/readyz says {told[-1]} with {policy}")
                server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        f.notes["/readyz of a running gateway says"] = ", ".join(map(str, sorted(set(told))))
        f.notes["starts refused with exit status 3"] = str(len(f.strikes))


def test_redis_becomes_a_replica(scene: Scene, server: RedisServer, make_fault: MakeFault, size: Size) -> None:
    """F7: READONLY is told as 503, and the way back is found at once."""
    with make_fault(
        scene, "F7", "Redis becomes a replica (`READONLY`), and a master again", redis_is_away=True
    ) as fault:
        for _ in range(size.of(1, 12)):
            with fault.strike():
                server.command("REPLICAOF", "127.0.0.1", str(free_port()))
                time.sleep(random.uniform(0.3, 1.5))
                server.command("REPLICAOF", "NO", "ONE")


def test_redis_forgets_all_scripts(scene: Scene, server: RedisServer, make_fault: MakeFault, size: Size) -> None:
    """F11: a hundred times a second, and nobody notices."""
    with make_fault(scene, "F11", "SCRIPT FLUSH a hundred times a second; nobody is told to come again") as fault:
        fault.rule = lambda entry: "told to come again" if entry.is_failure and fault.is_struck(entry) else ""
        fault.injected = 0
        with contextlib.closing(server.client()) as client, fault.strike():
            ends = time.monotonic() + size.of(1, 30)
            while time.monotonic() < ends:
                client.script_flush()
                fault.injected += 1
                time.sleep(0.01)


def test_redis_answers_errors(
    scene: Scene, proxies: tuple[Proxy, TurningProxy], make_fault: MakeFault, size: Size
) -> None:
    """F12: each of them is our trouble and not the client's, and its cause is in the log."""
    turning = proxies[1]
    title = f"Every command is answered with an error: {', '.join(f'`{name}`' for name in ERRORS)}"
    with make_fault(scene, "F12", title, redis_is_away=True) as fault:
        before = turning.injected
        for name, words in list(ERRORS.items()) * size.of(1, 2):
            size_of_log = scene.gateways[0].log_size()
            with fault.strike(settle_seconds=size.of(1, 10) / 10):
                turning.error = f"-{name} {words}\r\n".encode()
                time.sleep(size.of(2, 10) / 10)
                turning.error = b""
            causes = [str(line.get("cause", "")) for line in scene.gateways[0].log_lines(size_of_log)]
            is_told = any(words[:20] in cause or name in cause for cause in causes)
            fault.expect(is_told, f"the log does not tell of {name}: {sorted(set(causes))}")
        time.sleep(size.settle_seconds)
        fault.injected = turning.injected - before


def test_redis_has_no_room_for_clients(scene: Scene, server: RedisServer, make_fault: MakeFault, size: Size) -> None:
    """F12: maxclients, for real."""
    with make_fault(scene, "F12 maxclients", "Redis takes no more clients (`maxclients`)", redis_is_away=True) as fault:
        for _ in range(size.of(1, 5)):
            with contextlib.closing(server.client()) as client, fault.strike():
                client.config_set("maxclients", 1)
                client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                time.sleep(size.of(1, 3))
                client.config_set("maxclients", 10_000)
