"""Fixtures: one real Redis for each test process, one ordinary gateway on it, and a factory for others."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.store.private import find_server
from gateway.store.store import Store
from tests.certificates import Certificates, make_certificates
from tests.deployments import KIND, KINDS, RedisOfTests, prefer_valkey
from tests.harness import SECRET, GatewayProcess, RedisServer, environment, free_port, wait_until

MEMORY = Path("/dev/shm")
ENOUGH_BYTES = 4 * 2**30
OpenStore = Callable[..., Store]

QUICK: dict[str, Any] = {
    "insecure_test_settings": "true",
    "bcrypt_cost": 4,
    "login_limit": "off",
    "refresh_limit": "off",
    "account_throttle": "off",
    "log_format": "json",
}


def pytest_configure(config: pytest.Config) -> None:
    """Heed TEST_REDIS: whatever is started from here on is of that kind."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a job in the background of a shell
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Hundreds of gateways are started; each would compile all of its modules anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # noqa: TID251 - what the interpreters of children read
    sys.dont_write_bytecode = False
    # Where there is room in memory, what tests write goes there: servers that all wait for one disk to be synced answer
    # late, and no test is about that disk (those that are about one mount it).
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))  # noqa: TID251 - what pytest itself reads
    if KIND not in KINDS:
        raise pytest.UsageError(f"TEST_REDIS is one of {', '.join(KINDS)}, not {KIND}")
    if KIND == "valkey":
        directory = tempfile.TemporaryDirectory()
        config.add_cleanup(directory.cleanup)
        prefer_valkey(Path(directory.name))


def pytest_report_header() -> str:
    """Tell what the tests run on."""
    return f"redis: {KIND}, {find_server()[1]}"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio alone."""
    return "asyncio"


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Give the Redis of this test process. Never stop it or change its configuration: make your own."""
    server = RedisOfTests(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Give what servers of Redis show to who speaks TLS; skips where the server was built without it."""
    directory = tmp_path_factory.mktemp("certificates")
    certificates = make_certificates(directory)
    server = RedisServer(directory / "try", certificates=certificates)
    words = [part for name, value in server.listening() for part in (f"--{name}", value)]
    process = subprocess.Popen([find_server()[0], *words, "--dir", str(directory), "--logfile", "log"])
    wait_until(lambda: server.answers() or process.poll() is not None)
    has_tls = process.poll() is None
    process.kill()
    process.wait()
    if not has_tls:
        pytest.skip(f"{find_server()[1]}, {find_server()[2]}, was built without TLS")
    return certificates


@pytest.fixture
async def open_store() -> AsyncIterator[OpenStore]:
    """Give a factory of stores, from a URL and a prefix of keys; they are closed with the test."""
    opened: list[Store] = []

    def make(url: str, prefix: str = "gw:") -> Store:
        opened.append(Store(url, prefix))
        return opened[-1]

    yield make
    for store in opened:
        await store.close()


@pytest.fixture
def own_redis(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., RedisServer]]:
    """
    Give a factory of what a test may kill, stop and configure; it ends with the test.

    It makes what TEST_REDIS says: a cluster is used as a server is. A test that is marked `one_server` gets one.
    """
    servers: list[RedisServer] = []
    kind = RedisServer if request.node.get_closest_marker("one_server") else RedisOfTests

    def make(*arguments: str) -> RedisServer:
        servers.append(kind(tmp_path / f"redis-{len(servers)}", *arguments))
        return servers[-1].start()

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[Store]:
    """Give a store under a key prefix of its own."""
    opened = Store(redis_server.url, f"t{secrets.token_hex(4)}:")
    yield opened
    await opened.close()


def quick_environment(redis_url: str, **settings: Any) -> dict[str, str]:
    """Give the environment of a gateway for tests: cheap passwords, no limits, and *settings* on top."""
    defaults = {"redis_url": redis_url, "secret": SECRET, "port": free_port()} | QUICK
    chosen = {name: value for name, value in (defaults | settings).items() if value is not None}
    return environment(**chosen)


@pytest.fixture
def gateway_env(redis_server: RedisServer) -> dict[str, str]:
    """Give the environment of a gateway under a key prefix of its own, for commands and for `in_gateway`."""
    return quick_environment(redis_server.url, redis_key_prefix=f"t{secrets.token_hex(4)}:")


@pytest.fixture
def make_gateway(redis_server: RedisServer, tmp_path: Path) -> Iterator[Callable[..., GatewayProcess]]:
    """
    Give a factory of gateways.

    Keyword arguments are settings (None takes one away); `start=False` leaves it to the test to start it, and
    `open_files` is its limit of these. All of one test share a key prefix, so that they behave as one.
    """
    made: list[GatewayProcess] = []
    prefix = f"t{secrets.token_hex(4)}:"

    def make(*arguments: str, start: bool = True, open_files: int | None = None, **settings: Any) -> GatewayProcess:
        env = quick_environment(**{"redis_url": redis_server.url, "redis_key_prefix": prefix} | settings)
        process = GatewayProcess(env, tmp_path / f"gateway-{len(made)}.log", arguments, open_files)
        made.append(process)
        return process.start() if start else process

    yield make
    started = [process for process in made if process.process is not None]
    for process in started:
        process.tell_to_end()
    for process in started:
        process.stop()


@pytest.fixture(scope="session")
def gateway(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Give the ordinary gateway of this test process; add users of your own to it."""
    env = quick_environment(redis_server.url, redis_key_prefix="shared:")
    process = GatewayProcess(env, tmp_path_factory.mktemp("gateway") / "gateway.log").start()
    yield process
    process.stop()


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[httpx2.Client]:
    """Give an HTTP client of the ordinary gateway, with an empty cookie jar."""
    with gateway.client() as opened:
        yield opened
