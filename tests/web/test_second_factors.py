"""Logging in with a second factor: what is asked for after the password, and what completes the login."""

from typing import Any

import httpx2
import jwt
import pytest

from tests.harness import GatewayProcess
from tests.web.asking import log_in, problem_of, set_cookies
from tests.web.second_steps import (
    first_step,
    log_in_with,
    new_user_with_totp,
    recovery_codes,
    second_step,
    session_of,
    with_passkey,
)


def claims_of(access_token: str) -> dict[str, Any]:
    """Read an access token, unverified."""
    claims: dict[str, Any] = jwt.decode(access_token, options={"verify_signature": False})
    return claims


def test_a_right_password_opens_no_session_where_there_is_a_factor(
    gateway: GatewayProcess, client: httpx2.Client
) -> None:
    session, _ = new_user_with_totp(gateway, client)
    answer = client.post("/auth/login", json={"username": session.user.email, "password": session.user.password})
    problem = problem_of(answer, 401, "second-factor-required")
    assert problem["methods"] == ["totp"]
    assert "publicKey" not in problem
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="token-gateway"'
    assert not set_cookies(answer)
    assert len(client.get("/auth/sessions", headers=session.bearer).json()["sessions"]) == 1


def test_a_code_completes_the_login(gateway: GatewayProcess, client: httpx2.Client) -> None:
    session, app = new_user_with_totp(gateway, client)
    pending = first_step(client, session.user)["pending"]
    answer = second_step(client, pending, totp=app.code())
    assert claims_of(answer.json()["access_token"])["amr"] == ["pwd", "otp", "mfa"]
    assert answer.json()["user"]["email"] == session.user.email
    assert session_of(gateway, client, session.user, answer).is_alive()


def test_a_wrong_code_does_not_use_up_the_pending_login_and_a_right_one_does(
    gateway: GatewayProcess, client: httpx2.Client
) -> None:
    session, app = new_user_with_totp(gateway, client)
    pending = first_step(client, session.user)["pending"]
    problem_of(second_step(client, pending, totp=app.wrong_code()), 401, "second-factor-invalid")
    assert second_step(client, pending, totp=app.code()).status_code == 200
    problem_of(second_step(client, pending, totp=app.code()), 401, "second-factor-invalid")


def test_a_recovery_code_completes_a_login_once(gateway: GatewayProcess, client: httpx2.Client) -> None:
    session, app = new_user_with_totp(gateway, client)
    codes = recovery_codes(log_in_with(gateway, client, session.user, totp=app.code()))
    assert first_step(client, session.user)["methods"] == ["totp", "recovery"]
    opened = log_in_with(gateway, client, session.user, recovery=codes[3])
    assert claims_of(opened.access_token)["amr"] == ["pwd", "otp", "mfa"]
    pending = first_step(client, session.user)["pending"]
    problem_of(second_step(client, pending, recovery=codes[3]), 401, "second-factor-invalid")
    assert second_step(client, pending, recovery=codes[4].lower()).status_code == 200


def test_a_passkey_is_a_second_factor(gateway: GatewayProcess, client: httpx2.Client) -> None:
    session = log_in(gateway, client)
    device = with_passkey(session)
    asked = first_step(client, session.user)
    assert asked["methods"] == ["passkey"]
    assert [one["id"] for one in asked["publicKey"]["allowCredentials"]]
    answer = second_step(client, asked["pending"], passkey=device.get(asked["publicKey"]))
    assert claims_of(answer.json()["access_token"])["amr"] == ["pop", "user", "mfa", "hwk"]
    again = second_step(client, asked["pending"], passkey=device.get(asked["publicKey"]))
    problem_of(again, 401, "second-factor-invalid")


def test_a_passkey_alone_logs_in_as_its_own_delivery_says(gateway: GatewayProcess, client: httpx2.Client) -> None:
    session = log_in(gateway, client)
    device = with_passkey(session)
    asked = client.post("/auth/login/passkey").json()
    assert set(asked) == {"pending", "publicKey"}
    assert asked["publicKey"]["allowCredentials"] == []
    answer = second_step(client, asked["pending"], passkey=device.get(asked["publicKey"]), delivery="session")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"user": answer.json()["user"]}
    assert set(set_cookies(answer)) == {"gateway_session"}


def test_the_delivery_of_the_first_step_counts(gateway: GatewayProcess, client: httpx2.Client) -> None:
    session, app = new_user_with_totp(gateway, client)
    pending = first_step(client, session.user, delivery="session", remember=True)["pending"]
    answer = second_step(client, pending, totp=app.code(), delivery="body")
    assert set(answer.json()) == {"user"}
    assert "Max-Age" in set_cookies(answer)["gateway_session"]


@pytest.mark.parametrize(
    "body",
    [
        {"pending": "x"},
        {"pending": "x", "totp": "123456", "recovery": "ABCDE-FGHJK"},
        {"pending": "x", "totp": "123456", "username": "ann", "password": "secret"},
        {"pending": "x", "totp": 123456},
        {"pending": "x", "otp": "123456"},
        {"pending": "x", "passkey": {"id": "x"}},
        {"totp": "123456"},
        {"username": "ann", "password": "secret", "totp": "123456"},
    ],
    ids=str,
)
def test_a_second_step_is_pending_and_exactly_one_factor(client: httpx2.Client, body: dict[str, Any]) -> None:
    problem_of(client.post("/auth/login", json=body), 400, "malformed-request")
