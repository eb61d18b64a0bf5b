"""Fixtures of the HTTP surface: sessions, and gateways with other settings that many tests share."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import quick_environment
from tests.deployments import RedisOfTests
from tests.harness import GatewayProcess, RedisServer
from tests.web.asking import CASES, Answered, Case, Session, client_of, log_in


@pytest.fixture(scope="session")
def gateway_with(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., GatewayProcess]]:
    """
    Give the gateway that has these settings and a key prefix of its own.

    It is started once and shared by all tests that ask for the same settings: never stop it.
    """
    running: dict[str, GatewayProcess] = {}
    directory = tmp_path_factory.mktemp("gateways")

    def get(**settings: Any) -> GatewayProcess:
        name = repr(sorted(settings.items()))
        if name not in running:
            env = quick_environment(redis_server.url, redis_key_prefix=f"t{secrets.token_hex(4)}:", **settings)
            running[name] = GatewayProcess(env, directory / f"gateway-{len(running)}.log").start()
        return running[name]

    yield get
    for process in running.values():
        assert process.process is not None
        process.process.terminate()
    for process in running.values():
        process.stop()


@pytest.fixture(scope="module")
def orphan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Give a session on a gateway whose Redis was killed after the login, and stays away."""
    directory: Path = tmp_path_factory.mktemp("orphan")
    server = RedisOfTests(directory / "redis").start()
    process = GatewayProcess(quick_environment(server.url), directory / "gateway.log").start()
    with client_of(process) as client:
        session = log_in(process, client)
        server.kill()
        yield session
    process.stop()


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[httpx2.Client]:
    """Give an HTTP client of the ordinary gateway that keeps no cookie."""
    with client_of(gateway) as opened:
        yield opened


@pytest.fixture
def session(gateway: GatewayProcess, client: httpx2.Client) -> Session:
    """Give a session of a user of its own on the ordinary gateway."""
    return log_in(gateway, client)


@pytest.fixture(scope="module")
def standing(gateway: GatewayProcess) -> Iterator[Session]:
    """Give a session that many tests ask with, of a user with the roles staff and ops: never end it or refresh it."""
    with client_of(gateway) as opened:
        yield log_in(gateway, opened, gateway.add_user(roles=("staff", "ops")))


@pytest.fixture(scope="session")
def answered(gateway: GatewayProcess) -> Iterator[Answered]:
    """Give who asked and what came back: each case is asked once, for all the tests that look at its answer."""
    known: dict[int, tuple[Session, httpx2.Response]] = {}

    with client_of(gateway) as opened:

        def get(case: Case) -> tuple[Session, httpx2.Response]:
            number = CASES.index(case)
            if number not in known:
                asking = log_in(gateway, opened)
                known[number] = asking, case.ask(asking)
            return known[number]

        yield get
