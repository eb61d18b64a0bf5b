"""`second_factor = required`: who has no factor sets one up after the password, and gets no session before."""

from collections.abc import Callable, Iterator

import httpx2
import pytest

from tests.harness import GatewayProcess
from tests.web.asking import client_of, problem_of, set_cookies
from tests.web.second_steps import enrol_by_pending, first_step, passkey_of, session_of


@pytest.fixture
def strict(gateway_with: Callable[..., GatewayProcess]) -> GatewayProcess:
    """Give a gateway that asks everybody for a second factor."""
    return gateway_with(second_factor="required")


@pytest.fixture
def client(strict: GatewayProcess) -> Iterator[httpx2.Client]:
    """Give an HTTP client of it that keeps no cookie."""
    with client_of(strict) as opened:
        yield opened


def test_who_has_no_factor_is_told_to_set_one_up(strict: GatewayProcess, client: httpx2.Client) -> None:
    """Shows ASVS 6.3.3."""
    asked = first_step(client, strict.add_user())
    assert asked["methods"] == []
    assert "publicKey" not in asked


def test_the_confirmation_of_a_first_app_opens_the_session(strict: GatewayProcess, client: httpx2.Client) -> None:
    """Shows ASVS 6.3.3."""
    user = strict.add_user()
    _, answer = enrol_by_pending(client, first_step(client, user)["pending"])
    session = session_of(strict, client, user, answer)
    assert session.is_alive()
    assert [one["amr"] for one in client.get("/auth/sessions", headers=session.bearer).json()["sessions"]] == [
        ["pwd", "otp", "mfa"]
    ]
    assert first_step(client, user)["methods"] == ["totp"]


def test_a_first_passkey_opens_the_session(strict: GatewayProcess, client: httpx2.Client) -> None:
    user = strict.add_user()
    pending = first_step(client, user, delivery="session")["pending"]
    options = client.post("/auth/factors/passkeys/options", json={"pending": pending}).json()["publicKey"]
    credential = passkey_of(strict).create(options)
    answer = client.post("/auth/factors/passkeys", json={"pending": pending, "credential": credential, "name": "Key"})
    assert set(answer.json()) == {"user"}
    assert "gateway_session" in set_cookies(answer)
    again = client.post("/auth/factors/passkeys", json={"pending": pending, "credential": credential})
    problem_of(again, 401, "second-factor-invalid")
