"""What a thief with the cookie of a browser session can do, and what he cannot: the table of docs/portal.md."""

import time
from collections.abc import Callable, Iterator

import httpx2
import pytest

from gateway.verifier import AccessTokenError, AccessTokenVerifier
from tests.harness import GatewayProcess, run_command, wait_until
from tests.web.asking import client_of, problem_of
from tests.web.personal_tokens import status_with
from tests.web.test_browser_sessions import NAME, cookie_of, sign_in

pytestmark = pytest.mark.redis
ASKED = "/api/authz/auth-request"


@pytest.fixture
def thief(gateway: GatewayProcess) -> Iterator[httpx2.Client]:
    """Give a client that is none of the owner's."""
    with client_of(gateway) as opened:
        yield opened


def test_he_gets_in_as_its_owner_and_is_seen_as_the_owners_session(
    gateway: GatewayProcess, thief: httpx2.Client
) -> None:
    user = gateway.add_user()
    stolen = cookie_of(sign_in(thief, user))
    assert thief.get(ASKED, headers=stolen).headers["remote-user"] == user.email
    [row] = thief.get("/auth/sessions", headers=stolen).json()["sessions"]
    assert row["current"]


def test_he_cannot_change_the_password_without_knowing_it(gateway: GatewayProcess, thief: httpx2.Client) -> None:
    stolen = cookie_of(sign_in(thief, gateway.add_user()))
    body = {"current_password": "a guess that is wrong", "new_password": "the thief's own password"}
    problem_of(thief.post("/auth/change-password", json=body, headers=stolen), 403, "invalid-credentials")


def test_he_cannot_make_tokens_of_it(gateway: GatewayProcess, thief: httpx2.Client) -> None:
    stolen = sign_in(thief, gateway.add_user())
    for cookies in (f"refresh_token={stolen}", f"{NAME}={stolen}; refresh_token={stolen}"):
        assert thief.post("/auth/refresh", headers={"Cookie": cookies}).status_code == 401
    assert thief.post("/auth/refresh", headers=cookie_of(stolen)).status_code == 401


def test_no_offline_verifier_takes_it(gateway: GatewayProcess, thief: httpx2.Client) -> None:
    stolen = sign_in(thief, gateway.add_user())
    verifier = AccessTokenVerifier(issuer=gateway.url, audience=gateway.url)
    with pytest.raises(AccessTokenError):
        verifier.verify(stolen)


def test_it_says_nothing_of_its_owner(gateway: GatewayProcess, thief: httpx2.Client) -> None:
    """Shows NIST 5.1.1g."""
    user = gateway.add_user()
    stolen = sign_in(thief, user)
    assert len(stolen) == 92
    assert user.email.partition("@")[0] not in stolen


@pytest.mark.parametrize("how", ["logout", "logout-all", "a new password", "the list of sessions"])
def test_the_owner_throws_him_out(gateway: GatewayProcess, thief: httpx2.Client, how: str) -> None:
    user = gateway.add_user()
    with client_of(gateway) as owner:
        stolen, other = cookie_of(sign_in(owner, user)), cookie_of(sign_in(owner, user))
        assert thief.get(ASKED, headers=stolen).status_code == 200
        match how:
            case "logout":
                assert owner.post("/auth/logout", headers=stolen).status_code == 204
            case "logout-all":
                assert owner.post("/auth/logout-all", headers=other).status_code == 200
            case "a new password":
                body = {"current_password": user.password, "new_password": "another long pass phrase"}
                assert owner.post("/auth/change-password", json=body, headers=other).status_code == 204
            case _:
                rows = owner.get("/auth/sessions", headers=other).json()["sessions"]
                [sid] = [row["id"] for row in rows if not row["current"]]
                assert owner.delete(f"/auth/sessions/{sid}", headers=other).status_code == 204
        assert thief.get(ASKED, headers=stolen).status_code == 401


@pytest.mark.parametrize("command", [("sessions", "revoke", "--all"), ("users", "disable")], ids=" ".join)
def test_an_operator_throws_him_out_within_a_second(
    gateway: GatewayProcess, thief: httpx2.Client, command: tuple[str, ...]
) -> None:
    user = gateway.add_user()
    stolen = cookie_of(sign_in(thief, user))
    assert thief.get(ASKED, headers=stolen).status_code == 200
    words = [*command[:2], user.email, *command[2:]]
    assert run_command(*words, env=gateway.env).returncode == 0
    ended_at = time.monotonic()
    wait_until(lambda: thief.get(ASKED, headers=stolen).status_code == 401, 2)
    assert time.monotonic() - ended_at < 1


def test_using_it_does_not_make_it_last_longer(make_gateway: Callable[..., GatewayProcess]) -> None:
    gateway = make_gateway(browser_session_ttl_seconds=2, session_check_seconds=1)
    with client_of(gateway) as thief:
        stolen = cookie_of(sign_in(thief, gateway.add_user()))
        ends_at = time.monotonic() + 2.2
        while time.monotonic() < ends_at:
            thief.get(ASKED, headers=stolen)
            time.sleep(0.1)
        assert thief.get(ASKED, headers=stolen).status_code == 401


def test_where_a_young_login_is_asked_for_an_old_one_does_not_do(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    gateway = make_gateway()
    with client_of(gateway) as thief:
        stolen = cookie_of(sign_in(thief, gateway.add_user()))
        assert thief.get(f"{ASKED}?max_auth_age=1", headers=stolen).status_code == 200
        time.sleep(2.1)
        problem_of(thief.get(f"{ASKED}?max_auth_age=1", headers=stolen), 401, "authentication-too-weak")


def test_a_personal_token_that_he_made_just_after_the_login_is_in_the_owners_list(
    gateway: GatewayProcess, thief: httpx2.Client
) -> None:
    user = gateway.add_user()
    stolen = cookie_of(sign_in(thief, user))
    token = thief.post("/auth/tokens", json={"name": "harmless"}, headers=stolen).json()["token"]
    with client_of(gateway) as owner:
        cookie = cookie_of(sign_in(owner, user))
        assert owner.post("/auth/logout-all", headers=cookie).status_code == 200
        assert thief.get(ASKED, headers=stolen).status_code == 401
        assert status_with(thief, token) == 200
        cookie = cookie_of(sign_in(owner, user))
        [made] = owner.get("/auth/tokens", headers=cookie).json()["tokens"]
        assert owner.delete(f"/auth/tokens/{made['id']}", headers=cookie).status_code == 204
        assert status_with(thief, token) == 401


def test_a_gateway_with_another_secret_does_not_know_it(
    gateway: GatewayProcess, make_gateway: Callable[..., GatewayProcess], thief: httpx2.Client
) -> None:
    other = make_gateway(secret="a secret of quite another gateway, 42 bytes")
    with client_of(other) as there:
        stolen = cookie_of(sign_in(thief, gateway.add_user()))
        assert there.get(ASKED, headers=stolen).status_code == 401


def test_beside_the_owners_own_cookie_it_is_refused(gateway: GatewayProcess, thief: httpx2.Client) -> None:
    """A sibling host can plant a second cookie of the name, to put somebody into a session of its own."""
    one, other = (sign_in(thief, gateway.add_user()) for _ in range(2))
    answer = thief.get(ASKED, headers={"Cookie": f"{NAME}={one}; {NAME}={other}"})
    assert answer.status_code == 401
