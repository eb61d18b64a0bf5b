"""How often somebody may try a second factor: lanes of the account, limits of the address, and known devices."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.harness import GatewayProcess, TestUser, run_command
from tests.web.asking import client_of, log_in, problem_of, set_cookies
from tests.web.second_steps import (
    first_step,
    log_in_with,
    new_user_with_totp,
    recovery_codes,
    second_step,
    with_passkey,
)


@pytest.fixture
def throttled(gateway_with: Callable[..., GatewayProcess]) -> GatewayProcess:
    return gateway_with(account_throttle="on")


@pytest.fixture
def client(throttled: GatewayProcess) -> Iterator[httpx2.Client]:
    """Give an HTTP client of it that keeps no cookie."""
    with client_of(throttled) as opened:
        yield opened


def test_five_wrong_codes_make_the_next_wait_and_slow_down_nothing_else(
    throttled: GatewayProcess, client: httpx2.Client
) -> None:
    session, app = new_user_with_totp(throttled, client)
    strong = log_in_with(throttled, client, session.user, totp=app.code())
    codes = recovery_codes(strong)
    device = with_passkey(strong)
    pending = first_step(client, session.user)["pending"]
    wrong = ({"totp": app.wrong_code()}, {"recovery": "00000-00000"}) * 3
    statuses = [second_step(client, pending, **one).status_code for one in wrong]
    assert statuses == [401] * 5 + [429]
    for right in ({"totp": app.code()}, {"recovery": codes[0]}):
        refused = second_step(client, pending, **right)
        problem_of(refused, 429, "rate-limited")
        assert refused.headers["Retry-After"] == "30"
    asked = first_step(client, session.user)  # the password has a lane of its own
    passkey = {"passkey": device.get(asked["publicKey"])}  # and nobody guesses a passkey
    assert second_step(client, asked["pending"], **passkey).status_code == 200

    done = run_command("users", "unlock", session.user.email, env=throttled.env)
    assert done.returncode == 0, done.stderr
    assert second_step(client, pending, recovery=codes[0]).status_code == 200


def test_only_a_wrong_code_counts(throttled: GatewayProcess, client: httpx2.Client) -> None:
    session, app = new_user_with_totp(throttled, client)
    pending = first_step(client, session.user)["pending"]
    used = [second_step(client, pending, totp=app.last_code()).status_code for _ in range(8)]
    over = [second_step(client, "x" * 43, totp="123456").status_code for _ in range(8)]
    assert set(used + over) == {401}
    assert second_step(client, pending, totp=app.code()).status_code == 200


def test_a_success_ends_the_count(throttled: GatewayProcess, client: httpx2.Client) -> None:
    session, app = new_user_with_totp(throttled, client)
    for _ in range(2):
        pending = first_step(client, session.user)["pending"]
        wrong = [second_step(client, pending, totp=app.wrong_code()).status_code for _ in range(4)]
        assert wrong == [401] * 4
        assert second_step(client, pending, totp=app.code()).status_code == 200


def test_a_device_is_known_after_the_whole_login_and_not_before(
    throttled: GatewayProcess, client: httpx2.Client
) -> None:
    session, app = new_user_with_totp(throttled, client)
    body = {"username": session.user.email, "password": session.user.password}
    first = client.post("/auth/login", json=body)
    assert not set_cookies(first)
    assert "device_token" not in first.json()
    second = second_step(client, first.json()["pending"], totp=app.code())
    assert set(set_cookies(second)) == {"refresh_token", "known_device"}


def test_the_device_of_the_first_step_stays_the_same_one(throttled: GatewayProcess, client: httpx2.Client) -> None:
    """So it has one lane, which strangers who fail do not share."""
    session, app = new_user_with_totp(throttled, client)
    device = with_passkey(log_in_with(throttled, client, session.user, totp=app.code()))
    first = client.post("/auth/login/passkey").json()
    known = second_step(client, first["pending"], passkey=device.get(first["publicKey"]), delivery="body").json()
    token = known["device_token"]

    shut_strangers_out(client, session.user)
    asked = first_step(client, session.user, device_token=token)
    again = second_step(client, asked["pending"], totp=app.code()).json()["device_token"]
    alone = client.post("/auth/login/passkey").json()
    shown = {"passkey": device.get(alone["publicKey"]), "delivery": "body", "device_token": again}
    last = second_step(client, alone["pending"], **shown).json()["device_token"]
    assert {one[1:24] for one in (again, last)} == {token[1:24]}


def shut_strangers_out(client: httpx2.Client, user: TestUser) -> None:
    body = {"username": user.email, "password": "not the password"}
    statuses = [client.post("/auth/login", json=body).status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/auth/login/passkey", {}, 200),
        ("/auth/login", {"pending": "x", "totp": "123456"}, 401),
        ("/auth/factors/totp", {"pending": "x"}, 401),
        ("/auth/factors/passkeys/options", {"pending": "x"}, 401),
        ("/auth/factors/totp/confirm", {"pending": "x", "id": "x", "code": "123456"}, 401),
    ],
)
def test_who_has_no_session_may_ask_as_often_as_log_in(
    gateway_with: Callable[..., GatewayProcess], path: str, body: dict[str, Any], status: int
) -> None:
    limited = gateway_with(login_limit="3/hour", trusted_proxies="127.0.0.1")
    address = {"X-Forwarded-For": f"192.0.2.{1 + len(path + str(body)) % 250}"}
    with client_of(limited) as client:
        answers = [client.post(path, json=body, headers=address) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [status] * 3 + [429]
    assert answers[3].headers["RateLimit-Policy"].endswith(";q=3;w=3600")
    assert int(answers[3].headers["Retry-After"]) > 0


def test_both_steps_of_a_login_have_limits_of_their_own(gateway_with: Callable[..., GatewayProcess]) -> None:
    """Or people with a second factor could log in half as often."""
    limited = gateway_with(login_limit="3/hour", trusted_proxies="127.0.0.1")
    with client_of(limited) as client:
        client.headers["X-Forwarded-For"] = "192.0.2.251"
        session = log_in(limited, client)
        device = with_passkey(session)
        for _ in range(2):
            asked = first_step(client, session.user)
            shown = second_step(client, asked["pending"], passkey=device.get(asked["publicKey"]))
            assert shown.status_code == 200
