"""The campaign: scenes for the faults, a row of the table for each, and docs/faults.md at the end of the long run."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.faults.checker import Allowance
from tests.faults.entries import Order
from tests.faults.prober import probing
from tests.faults.scenes import LONG, SHORT, Fault, Scene, Size
from tests.faults.table import Row, Table
from tests.harness import RedisServer

# High enough for all clients, who have one address; but counted.
LIMITS = {
    "login_limit": "100000/minute",
    "refresh_limit": "100000/minute",
    "account_throttle": "on",
    "trusted_proxies": "127.0.0.1",
}
MakeScene = Callable[..., Scene]
MakeFault = Callable[..., AbstractContextManager[Fault]]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--faults`: the same faults, many more times and with 200 users (`make faults`)."""
    parser.addoption("--faults", action="store_true", help="run the fault campaign with the numbers of `make faults`")


@pytest.fixture(scope="session")
def size(pytestconfig: pytest.Config) -> Size:
    """Give the size of the run."""
    # The option is unknown when pytest was not given this folder: then it is not the long run.
    return LONG if pytestconfig.getoption("--faults", default=False) else SHORT


@pytest.fixture(scope="session")
def table(size: Size) -> Iterator[Table]:
    """Give the table; the long run writes docs/faults.md with it, if no row is missing."""
    table = Table()
    yield table
    if size.is_long:
        table.write()


@pytest.fixture(scope="session")
def make_fault(size: Size, table: Table, pytestconfig: pytest.Config) -> MakeFault:
    """Give a factory of faults: clients run while the block does, and at its end the journal is judged."""

    def tell(text: str) -> None:
        capture = pytestconfig.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            print(f"\n{text}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def fault(
        scene: Scene,
        name: str,
        title: str,
        *,
        limit_seconds: float = 1.0,
        from_mend: bool = True,
        redis_is_away: bool = False,
        newcomer: bool = False,
        stock: int = 0,
    ) -> Iterator[Fault]:
        begun = time.monotonic()
        scene.order(Order("forget"))
        scene.reader.new()
        scene.restock(stock or size.of(12, 120))
        scene.order(Order("go_on"))
        with probing([gateway.port for gateway in scene.gateways], scene.access_token()) as prober:
            time.sleep(size.calm_seconds)
            fault, idle_from = Fault(scene), time.monotonic()
            time.sleep(size.idle_seconds)
            try:
                yield fault
            except BaseException:
                scene.order(Order("pause"))
                raise
        scene.order(Order("check", ports=[gateway.port for gateway in scene.gateways]))
        if newcomer:
            with scene.newcomer() as gateway:
                scene.order(Order("check", ports=[gateway.port]))
        scene.order(Order("pause"))
        entries = scene.reader.new()
        allowance = Allowance(limit_seconds, from_mend, redis_is_away, size.slack_seconds)
        users = {user.session_id for user in scene.users}
        verdict = scene.checker.judge(entries, fault.strikes, allowance, users=users)
        strikes = [(strike.begun, strike.mended) for strike in fault.strikes]
        ends = [begun for begun, _ in strikes[1:]] + [float("inf")]
        verdict.idle_p99 = prober.p99([(idle_from, strikes[0][0])])
        verdict.struck_p99 = prober.p99(strikes)
        verdict.settling_p99 = prober.p99(zip((mended for _, mended in strikes), ends, strict=True))
        verdict.violations += fault.violations
        verdict.violations += [f"{wrong}: {entry}" for entry in entries if (wrong := fault.rule(entry))]
        injected = len(fault.strikes) if fault.injected is None else fault.injected
        row = Row(name, title, injected, verdict, fault.notes, allowance, time.monotonic() - begun)
        table.rows.append(row)
        tell(row.line())
        for what in ("refresh", "login", "authz", "browser", "logout"):
            assert verdict.requests[what] > 0, f"no {what}"
        assert injected > 0
        assert not verdict.violations, "\n".join([row.line(), *verdict.violations[:20]])

    return fault


@contextlib.contextmanager
def scenes_of(directories: pytest.TempPathFactory, size: Size, table: Table) -> Iterator[MakeScene]:
    """Give a factory of scenes; they end with the block, and must leave nothing behind in the gateways."""
    scenes: list[Scene] = []

    def make(redis_url: str, *, size_of_scene: Size = size, **settings: Any) -> Scene:
        scenes.append(Scene(directories.mktemp("scene"), redis_url, size_of_scene, **LIMITS | settings))
        return scenes[-1].start()

    yield make
    leaks = []
    for scene in scenes:
        try:
            leaks += scene.leaks(table.resources)
        finally:
            scene.stop()
    table.leaks += leaks
    assert not leaks, "\n".join(leaks)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Give a Redis that has on disk what it has answered."""
    arguments = ("--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
    server = RedisServer(tmp_path_factory.mktemp("redis") / "redis", *arguments).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def scene(server: RedisServer, tmp_path_factory: pytest.TempPathFactory, size: Size, table: Table) -> Iterator[Scene]:
    """Give two gateways on that Redis, for many faults."""
    with scenes_of(tmp_path_factory, size, table) as make:
        yield make(server.url)


@pytest.fixture
def make_scene(tmp_path_factory: pytest.TempPathFactory, size: Size, table: Table) -> Iterator[MakeScene]:
    """Give a factory of scenes that end with the test, before the Redis that they are on."""
    with scenes_of(tmp_path_factory, size, table) as make:
        yield make


@pytest.fixture(scope="module")
def make_lasting_scene(tmp_path_factory: pytest.TempPathFactory, size: Size, table: Table) -> Iterator[MakeScene]:
    """Give a factory of scenes that end with the module."""
    with scenes_of(tmp_path_factory, size, table) as make:
        yield make
