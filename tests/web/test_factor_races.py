"""A factor, and a pending login, decide once, however many bring them at the same time to however many gateways."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.conftest import quick_environment
from tests.harness import GatewayProcess, RedisServer
from tests.web.asking import client_of, log_in
from tests.web.second_steps import (
    App,
    first_step,
    log_in_with,
    new_user_with_totp,
    recovery_codes,
    second_step,
    with_passkey,
)

TRIES = 20


@pytest.fixture(scope="module")
def beside(
    gateway: GatewayProcess, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """Give another gateway on the Redis of the ordinary one, behind the same issuer."""
    env = quick_environment(redis_server.url, redis_key_prefix="shared:", issuer=gateway.url)
    process = GatewayProcess(env, tmp_path_factory.mktemp("beside") / "gateway.log").start()
    yield process
    process.stop()


@pytest.fixture
def clients(gateway: GatewayProcess, beside: GatewayProcess) -> Iterator[list[httpx2.Client]]:
    """Give a client of each."""
    with client_of(gateway) as one, client_of(beside) as other:
        yield [one, other]


def at_once(clients: list[httpx2.Client], bodies: list[dict[str, Any]]) -> list[int]:
    """Send the bodies to all gateways in turn, at the same time, and give the statuses."""

    def send(number: int) -> int:
        return clients[number % len(clients)].post("/auth/login", json=bodies[number]).status_code

    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(send, range(len(bodies))))


def sessions(client: httpx2.Client, bearer: dict[str, str]) -> int:
    return len(client.get("/auth/sessions", headers=bearer).json()["sessions"])


def test_one_of_twenty_tries_with_one_code_opens_a_session(
    gateway: GatewayProcess, clients: list[httpx2.Client]
) -> None:
    """Shows ASVS 15.4.2, ASVS 6.5.1."""
    for _ in range(4):
        session, app = new_user_with_totp(gateway, clients[0])
        pending = [first_step(clients[0], session.user)["pending"] for _ in range(TRIES)]
        code = app.code()
        statuses = at_once(clients, [{"pending": one, "totp": code} for one in pending])
        assert sorted(statuses) == [200] + [401] * (TRIES - 1)
        assert sessions(clients[1], session.bearer) == 2


def test_one_of_twenty_tries_with_one_recovery_code_opens_a_session(
    gateway: GatewayProcess, clients: list[httpx2.Client]
) -> None:
    session, app = new_user_with_totp(gateway, clients[0])
    codes = recovery_codes(log_in_with(gateway, clients[0], session.user, totp=app.code()))
    for round_number, code in enumerate(codes[:3]):
        pending = [first_step(clients[0], session.user)["pending"] for _ in range(TRIES)]
        statuses = at_once(clients, [{"pending": one, "recovery": code} for one in pending])
        assert sorted(statuses) == [200] + [401] * (TRIES - 1)
        assert sessions(clients[1], session.bearer) == 3 + round_number


def test_one_pending_login_opens_one_session_whatever_factors_are_right(
    gateway: GatewayProcess, clients: list[httpx2.Client]
) -> None:
    session, app = new_user_with_totp(gateway, clients[0])
    codes = recovery_codes(log_in_with(gateway, clients[0], session.user, totp=app.code()))
    pending = first_step(clients[0], session.user)["pending"]
    statuses = at_once(clients, [{"pending": pending, "recovery": code} for code in codes])
    assert sorted(statuses) == [200] + [401] * (len(codes) - 1)
    assert sessions(clients[1], session.bearer) == 3


def test_one_answer_of_a_passkey_opens_one_session(gateway: GatewayProcess, clients: list[httpx2.Client]) -> None:
    session = log_in(gateway, clients[0])
    device = with_passkey(session)
    for alone in (False, True):
        asked = clients[0].post("/auth/login/passkey").json() if alone else first_step(clients[0], session.user)
        body = {"pending": asked["pending"], "passkey": device.get(asked["publicKey"]), "delivery": "body"}
        assert sorted(at_once(clients, [body] * TRIES)) == [200] + [401] * (TRIES - 1)
    assert sessions(clients[1], session.bearer) == 3


def test_one_of_twenty_first_factors_opens_a_session(gateway_with: Callable[..., GatewayProcess]) -> None:
    gateway = gateway_with(second_factor="required")
    with client_of(gateway) as client:
        user = gateway.add_user()
        bodies = []
        for _ in range(TRIES):
            pending = first_step(client, user)["pending"]
            new = client.post("/auth/factors/totp", json={"pending": pending})
            bodies.append({"pending": pending, "id": new.json()["id"], "code": App.of(new).code()})
        with ThreadPoolExecutor(TRIES) as pool:
            answers = list(pool.map(lambda body: client.post("/auth/factors/totp/confirm", json=body), bodies))
        assert sorted(answer.status_code for answer in answers) == [200] + [401] * (TRIES - 1)
        assert first_step(client, user)["methods"] == ["totp"]
        [opened] = [answer.json() for answer in answers if answer.status_code == 200]
        bearer = {"Authorization": f"Bearer {opened['access_token']}"}
        assert len(client.get("/auth/factors", headers=bearer).json()["factors"]) == 1
        assert second_step(client, bodies[0]["pending"], totp="123456").status_code == 401
