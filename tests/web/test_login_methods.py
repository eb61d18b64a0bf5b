"""How a login was made, as it is told over HTTP: in tokens, at subrequests, and after every refresh."""

import httpx2
import jwt
import pytest

from gateway.sessions import BY_PASSKEY_IN_HARDWARE, BY_PASSWORD, BY_PASSWORD_AND_CODE, new_family_id
from gateway.state import Gateway
from tests.harness import GatewayProcess, in_gateway

pytestmark = pytest.mark.redis
ASKED = "/api/authz/auth-request"


def sign_in(gateway: GatewayProcess, amr: tuple[str, ...]) -> tuple[str, str]:
    """Open a session that was made so; give its refresh token and its cookie."""
    user = gateway.add_user()

    async def work(parts: Gateway) -> tuple[str, str]:
        opened = await parts.families.open(user.user_id, 1, new_family_id(), "192.0.2.7", "curl", amr=amr)
        return opened.refresh_token, parts.families.cookie_of(user.user_id, opened)

    return in_gateway(gateway.env, work)


@pytest.mark.parametrize("amr", [BY_PASSWORD, BY_PASSWORD_AND_CODE, BY_PASSKEY_IN_HARDWARE])
def test_every_token_of_a_session_tells_how_its_login_was_made(
    gateway: GatewayProcess, client: httpx2.Client, amr: tuple[str, ...]
) -> None:
    refresh_token, _ = sign_in(gateway, amr)
    for _ in range(3):
        answer = client.post("/auth/refresh", json={"refresh_token": refresh_token}).json()
        claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
        assert claims["amr"] == list(amr)
        refresh_token = answer["refresh_token"]
        bearer = {"Authorization": f"Bearer {answer['access_token']}"}
        status = client.get(f"{ASKED}?amr=mfa", headers=bearer).status_code
        assert status == (200 if "mfa" in amr else 401)


@pytest.mark.parametrize(
    ("amr", "asked", "status"),
    [
        (BY_PASSWORD, "amr=mfa", 401),
        (BY_PASSWORD_AND_CODE, "amr=mfa", 200),
        (BY_PASSWORD_AND_CODE, "amr=pop,hwk", 401),
        (BY_PASSKEY_IN_HARDWARE, "amr=mfa&amr=pop", 200),
        (BY_PASSKEY_IN_HARDWARE, "amr=swk", 401),
    ],
)
def test_a_browser_session_is_judged_by_how_its_login_was_made(
    gateway: GatewayProcess, client: httpx2.Client, amr: tuple[str, ...], asked: str, status: int
) -> None:
    """Shows ASVS 10.3.4."""
    _, cookie = sign_in(gateway, amr)
    headers = {"Cookie": f"gateway_session={cookie}"}
    assert client.get(f"{ASKED}?{asked}", headers=headers).status_code == status
